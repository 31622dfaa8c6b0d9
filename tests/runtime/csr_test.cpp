#include "tessera/runtime/csr.hpp"

#include <gtest/gtest.h>

#include <limits>
#include <map>

namespace tessera {
namespace {

using Duplicates = EdgeOptions::Duplicates;
using SelfLoops = EdgeOptions::SelfLoops;
using Indices = std::vector<int64_t>;

Tensor ints(const std::vector<int32_t>& values) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())}, Device::cpu());
}

std::string message_of(const std::function<void()>& call) {
  try {
    call();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    return error.what();
  }
  return "no error";
}

void expect_error(const std::function<void()>& call, const std::string& part) {
  const std::string message = message_of(call);
  EXPECT_NE(message.find(part), std::string::npos) << "'" << message << "' lacks '" << part << "'";
}

TEST(CsrMatrix, SortsEdgesAndCountsRows) {
  const CsrMatrix m = CsrMatrix::from_edges(4, 5, Indices{3, 0, 3, 0}, Indices{1, 4, 0, 2});
  EXPECT_EQ(m.row_ptr.values<int32_t>(), (std::vector<int32_t>{0, 2, 2, 2, 4}));
  EXPECT_EQ(m.col.values<int32_t>(), (std::vector<int32_t>{2, 4, 0, 1}));
  EXPECT_FALSE(m.values.defined());
  EXPECT_EQ(m.nnz(), 4);
  EXPECT_FALSE(m.symmetric);
  EXPECT_EQ(to_string(m), "csr 4 x 5, 4 entries on cpu");
}

TEST(CsrMatrix, Duplicates) {
  const Indices row{1, 0, 1, 1}, col{2, 0, 2, 2};
  const std::vector<float> values{1, 5, 10, 100};
  const CsrMatrix merged = CsrMatrix::from_edges(2, 3, row, col, values, {});
  EXPECT_EQ(merged.values.values<float>(), (std::vector<float>{5, 111}));
  EXPECT_EQ(CsrMatrix::from_edges(2, 3, row, col).nnz(), 2);

  const CsrMatrix kept =
      CsrMatrix::from_edges(2, 3, row, col, values, {.duplicates = Duplicates::keep});
  EXPECT_EQ(kept.values.values<float>(),
            (std::vector<float>{5, 1, 10, 100}));  // in the order of edges

  expect_error([&] { CsrMatrix::from_edges(2, 3, row, col, {.duplicates = Duplicates::reject}); },
               "edge 2 repeats (1, 2)");
}

TEST(CsrMatrix, SelfLoops) {
  const Indices row{0, 1, 2}, col{0, 2, 1};
  const std::vector<float> values{7, 2, 3};
  EXPECT_EQ(CsrMatrix::from_edges(4, 4, row, col, {.self_loops = SelfLoops::remove}).nnz(), 2);
  const CsrMatrix m = CsrMatrix::from_edges(4, 4, row, col, values, {.self_loops = SelfLoops::add});
  EXPECT_EQ(m.row_ptr.values<int32_t>(), (std::vector<int32_t>{0, 1, 3, 5, 6}));
  EXPECT_EQ(m.col.values<int32_t>(), (std::vector<int32_t>{0, 1, 2, 1, 2, 3}));
  EXPECT_EQ(m.values.values<float>(), (std::vector<float>{7, 1, 2, 3, 1, 1}));
}

TEST(CsrMatrix, SymmetrizeMirrorsEdgesOnce) {
  const CsrMatrix m =
      CsrMatrix::from_edges(3, 3, Indices{0, 1, 2, 2}, Indices{1, 0, 2, 0}, {.symmetrize = true});
  EXPECT_EQ(m.row_ptr.values<int32_t>(), (std::vector<int32_t>{0, 2, 3, 5}));
  EXPECT_EQ(m.col.values<int32_t>(), (std::vector<int32_t>{1, 2, 0, 0, 2}));
  EXPECT_TRUE(m.symmetric);
}

TEST(CsrMatrix, SymmetryIncludesValuesAndUnsortedRows) {
  // [[0, 1, 2], [1, 0, 0], [2, 0, 0]] with row 0 written backwards
  const Tensor row_ptr = ints({0, 2, 3, 4}), col = ints({2, 1, 0, 0});
  const auto with = [&](std::vector<float> values) {
    return CsrMatrix::from_parts(3, 3, row_ptr, col, Tensor::from(values, {4}, Device::cpu()))
        .symmetric;
  };
  EXPECT_TRUE(CsrMatrix::from_parts(3, 3, row_ptr, col).symmetric);
  EXPECT_TRUE(with({2, 1, 1, 2}));
  EXPECT_FALSE(with({1, 2, 1, 2}));
  EXPECT_FALSE(CsrMatrix::from_parts(3, 3, row_ptr, ints({2, 1, 0, 1})).symmetric);
}

TEST(CsrMatrix, TransposeAgreesWithADictionary) {
  const Indices row{5, 1, 1, 4, 0, 5, 5}, col{2, 0, 3, 2, 3, 1, 3};
  std::vector<float> values{1, 2, 3, 4, 5, 6, 7};
  const CsrMatrix m = CsrMatrix::from_edges(6, 4, row, col, values, {});
  const CsrTranspose t = m.transpose();
  ASSERT_EQ(t.matrix.rows, 4);
  ASSERT_EQ(t.matrix.cols, 6);
  std::map<std::pair<int, int>, float> wanted, got;
  for (size_t k = 0; k < row.size(); ++k) wanted[{int(col[k]), int(row[k])}] = values[k];
  const auto row_ptr = t.matrix.row_ptr.host<int32_t>(), columns = t.matrix.col.host<int32_t>();
  const auto moved = t.matrix.values.host<float>(), original = m.values.host<float>();
  const auto permutation = t.permutation.host<int32_t>();
  for (int i = 0; i < 4; ++i)
    for (int e = row_ptr[i]; e < row_ptr[i + 1]; ++e) {
      got[{i, columns[e]}] = moved[e];
      EXPECT_EQ(moved[e], original[permutation[e]]);
      EXPECT_TRUE(e == row_ptr[i] || columns[e - 1] < columns[e]);
    }
  EXPECT_EQ(got, wanted);
}

TEST(CsrMatrix, ValuesPerHeadMoveTogether) {
  const CsrMatrix pattern = CsrMatrix::from_edges(2, 2, Indices{0, 0, 1}, Indices{0, 1, 0});
  const CsrMatrix m = pattern.with_values(
      Tensor::from(std::vector<double>{1, 2, 3, 4, 5, 6}, {3, 2}, Device::cpu()));
  EXPECT_EQ(m.transpose().matrix.values.values<double>(), (std::vector<double>{1, 2, 5, 6, 3, 4}));
}

TEST(CsrMatrix, EmptyMatrices) {
  EXPECT_EQ(CsrMatrix::from_edges(0, 0, {}, {}).nnz(), 0);
  const CsrMatrix m = CsrMatrix::from_edges(3, 3, {}, {});
  EXPECT_TRUE(m.symmetric);
  EXPECT_EQ(m.transpose().matrix.row_ptr.values<int32_t>(), (std::vector<int32_t>{0, 0, 0, 0}));
  EXPECT_EQ(CsrMatrix::from_edges(2, 2, {}, {}, {.self_loops = SelfLoops::add}).nnz(), 2);
}

TEST(CsrMatrix, RejectsBadEdges) {
  const Indices good{0, 1, 1};
  expect_error(
      [&] {
        CsrMatrix::from_edges(2, 2, Indices{0, 2, 1}, good);
      },
      "edge 1 has row 2, outside [0, 2)");
  expect_error(
      [&] {
        CsrMatrix::from_edges(2, 2, good, Indices{0, 1, -3});
      },
      "edge 2 has column -3, outside [0, 2)");
  expect_error(
      [&] {
        CsrMatrix::from_edges(2, 2, good, Indices{int64_t{1} << 32, 0, 0});
      },
      "edge 0 has column 4294967296");
  expect_error([&] { CsrMatrix::from_edges(2, 2, good, Indices{0, 1}); }, "3 rows but 2 columns");
  expect_error([&] { CsrMatrix::from_edges(2, 2, good, good, std::vector<float>{1}, {}); },
               "1 values for 3 edges");
  expect_error([&] { CsrMatrix::from_edges(2, 3, good, good, {.symmetrize = true}); }, "2 x 3");
  expect_error([&] { CsrMatrix::from_edges(2, 3, good, good, {.self_loops = SelfLoops::add}); },
               "square");
  expect_error([&] { CsrMatrix::from_edges(-1, 2, {}, {}); }, "-1 x 2");
  expect_error([&] { CsrMatrix::from_edges(2, int64_t{1} << 31, {}, {}); }, "2147483648");
}

TEST(CsrMatrix, RejectsBadParts) {
  const Tensor row_ptr = ints({0, 1, 3}), col = ints({1, 0, 1});
  EXPECT_EQ(CsrMatrix::from_parts(2, 2, row_ptr, col).nnz(), 3);
  expect_error([&] { CsrMatrix::from_parts(3, 2, row_ptr, col); }, "row_ptr must be i32 [4]");
  expect_error(
      [&] {
        CsrMatrix::from_parts(2, 2, ints({1, 1, 3}), col);
      },
      "row_ptr[0] must be 0, got 1");
  expect_error(
      [&] {
        CsrMatrix::from_parts(2, 2, ints({0, 4, 3}), col);
      },
      "falls from 4 to 3 at row 1");
  expect_error(
      [&] {
        CsrMatrix::from_parts(2, 2, ints({0, 1, 2}), col);
      },
      "ends with 2 but there are 3");
  expect_error(
      [&] {
        CsrMatrix::from_parts(2, 2, row_ptr, ints({1, 2, 0}));
      },
      "entry 1 has column 2, outside [0, 2)");
  expect_error(
      [&] {
        CsrMatrix::from_parts(2, 2, row_ptr, ints({1, 0, -1}));
      },
      "entry 2 has column -1");
  expect_error(
      [&] {
        CsrMatrix::from_parts(2, 2, row_ptr, ints({1, 0, std::numeric_limits<int>::min()}));
      },
      "entry 2 has column -2147483648");
  expect_error(
      [&] { CsrMatrix::from_parts(2, 2, Tensor::zeros({3}, DType::i64, Device::cpu()), col); },
      "i64 [3]");
  expect_error(
      [&] {
        CsrMatrix::from_parts(2, 2, row_ptr, Tensor::zeros({3, 1}, DType::i32, Device::cpu()));
      },
      "rank 1");
  expect_error(
      [&] {
        CsrMatrix::from_parts(2, 2, row_ptr, col, Tensor::zeros({2}, DType::f32, Device::cpu()));
      },
      "values must be [3]");
  expect_error([&] { CsrMatrix::from_parts(2, 2, row_ptr, col, ints({1, 2, 3})); }, "floating");
}

}  // namespace
}  // namespace tessera
