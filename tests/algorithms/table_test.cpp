#include "tessera/algorithms/table.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms {
namespace {

using test::expect_error;

TEST(Table, CsvThereAndBack) {
  const Table table = parse_csv("graph, a ,b\r\ncora,1.5,\nx y,-,2e-3\n\n", "t.csv");
  EXPECT_EQ(table.corner, "graph");
  EXPECT_EQ(table.rows, (std::vector<std::string>{"cora", "x y"}));
  EXPECT_EQ(table.columns, (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(table.values[0][0], 1.5);
  EXPECT_TRUE(std::isnan(table.values[0][1]) && std::isnan(table.values[1][0]));
  EXPECT_EQ(to_csv(table), "graph,a,b\ncora,1.5,\nx y,,0.002\n");
  EXPECT_EQ(table.row("x y"), 1u);
  EXPECT_EQ(table.column("c"), std::nullopt);
}

TEST(Table, NamesWithCommasAndQuotesComeBack) {
  Table table{"t", "scene, method", {}, {"a \"b\"", "c,d"}, {}};
  table.add("one, two", {1, 2});
  table.add("\"", {3, 4});
  const std::string csv = to_csv(table);
  EXPECT_EQ(csv, "\"scene, method\",\"a \"\"b\"\"\",\"c,d\"\n\"one, two\",1,2\n\"\"\"\",3,4\n");
  const Table back = parse_csv(csv, "t.csv");
  EXPECT_EQ(back.corner, table.corner);
  EXPECT_EQ(back.rows, table.rows);
  EXPECT_EQ(back.columns, table.columns);
  EXPECT_EQ(back.values, table.values);
  expect_error([] { parse_csv("g,a\n\"x,1\n", "t.csv"); }, {"t.csv, line 2", "quote"});
}

TEST(Table, ErrorsNameTheFileTheLineAndTheColumn) {
  expect_error([] { parse_csv("g,a\nx,1\ny,two\n", "t.csv"); },
               {"t.csv", "line 3", "column 'a'", "'two'"});
  expect_error([] { parse_csv("g,a\nx,1,2\n", "t.csv"); }, {"t.csv, line 2", "expected 2 cells"});
  expect_error([] { parse_csv("g,a\nx,1\nx,2\n", "t.csv"); }, {"line 3", "'x' comes twice"});
  expect_error([] { parse_csv("g,a,a\n", "t.csv"); }, {"line 1", "'a' comes twice"});
  expect_error([] { parse_csv("", "t.csv"); }, {"t.csv", "empty"});
  Table table = parse_csv("g,a\n", "t.csv");
  EXPECT_THROW(table.add("x", {1, 2}), Error);
}

TEST(Table, TextIsAligned) {
  const Table table = parse_csv("g,long name,b\nx,1,\nlonger,-2.25,3\n", "t.csv");
  EXPECT_EQ(to_text(table),
            "\ng       long name       b\nx          1.0000       -\nlonger    -2.2500  3.0000\n");
}

TEST(Table, HeatMapColoursByColumnOrAsAWhole) {
  const Table table = parse_csv("g,a,b\nx,0,10\ny,1,20\nz<,,15\n", "t.csv");
  const auto count = [](const std::string& text, const std::string& part) {
    size_t n = 0;
    for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++n;
    return n;
  };
  const std::string low = "fill=\"#3b6fb6\"", middle = "fill=\"#f5f5f5\"",
                    high = "fill=\"#c43e32\"";
  const std::string columns = heat_map(table, HeatScale::columns);
  EXPECT_EQ(count(columns, low), 2u);
  EXPECT_EQ(count(columns, high), 2u);
  EXPECT_EQ(count(columns, middle), 1u);
  const std::string whole = heat_map(table, HeatScale::whole);
  EXPECT_EQ(count(whole, low), 1u);
  EXPECT_EQ(count(whole, high), 1u);
  EXPECT_NE(whole.find("z&lt;"), std::string::npos);
  EXPECT_EQ(count(whole, "<rect"), 7u);  // the ground and six cells
}

}  // namespace
}  // namespace tessera::algorithms
