#include "tessera/algorithms/plot.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <regex>

#include "tessera/runtime/error.hpp"

namespace tessera::algorithms {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

/// Every opened element is closed, in order; attributes are quoted.
void expect_well_formed(const std::string& svg) {
  std::vector<std::string> open;
  const std::regex tag(R"(<(/?)([a-z]+)((?:\s+[a-zA-Z0-9:-]+="[^"<]*")*)\s*(/?)>)");
  size_t tags = 0;
  for (std::sregex_iterator it(svg.begin(), svg.end(), tag), end; it != end; ++it, ++tags) {
    if (!(*it)[4].str().empty()) continue;
    if ((*it)[1].str().empty()) {
      open.push_back((*it)[2]);
    } else {
      ASSERT_FALSE(open.empty());
      EXPECT_EQ(open.back(), (*it)[2].str());
      open.pop_back();
    }
  }
  EXPECT_TRUE(open.empty());
  EXPECT_EQ(tags, count_of(svg, "<"));
  EXPECT_EQ(count_of(svg, "nan") + count_of(svg, "inf"), 0u);
}

TEST(RoundTicks, AreRoundAndEnclose) {
  EXPECT_EQ(round_ticks(0, 200), (std::vector<double>{0, 50, 100, 150, 200}));
  EXPECT_EQ(round_ticks(0.1, 1.9, 4), (std::vector<double>{0, 0.5, 1, 1.5, 2}));
  EXPECT_EQ(round_ticks(-7, 7, 4), (std::vector<double>{-10, -5, 0, 5, 10}));
}

TEST(RoundTicks, HoldForAnyRange) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(-200, 200), sign(-1, 1);
  for (int i = 0; i < 10000; ++i) {
    double low = sign(random) * std::pow(10, exponent(random));
    double high = i % 7 == 0 ? low : sign(random) * std::pow(10, exponent(random));
    if (low > high) std::swap(low, high);
    const auto ticks = round_ticks(low, high);
    ASSERT_GE(ticks.size(), 2u) << low << " " << high;
    ASSERT_LE(ticks.size(), 7u) << low << " " << high;
    const double slack = 1e-9 * (ticks.back() - ticks.front());
    EXPECT_LE(ticks.front(), low + slack);
    EXPECT_GE(ticks.back(), high - slack);
    for (size_t t = 1; t < ticks.size(); ++t) EXPECT_LT(ticks[t - 1], ticks[t]);
  }
}

TEST(RoundTicks, RejectWhatIsNoRange) {
  EXPECT_THROW(round_ticks(1, 0), Error);
  EXPECT_THROW(round_ticks(nan, 0), Error);
}

TEST(Svg, MapsPointsLinearly) {
  const Plot plot{"loss", "step", "value", {{"train", {0, 50, 200}, {0, 1, 2}}}};
  const std::string svg = to_svg({&plot, 1});
  expect_well_formed(svg);
  // Ticks 0..200 span x 64..424, ticks 0..2 span y 272..34: 50 lies at 154, the middle at 153.
  EXPECT_NE(svg.find("M64.0 272.0L154.0 153.0L424.0 34.0"), std::string::npos) << svg;
}

TEST(Svg, LeavesGapsWhereThereIsNoNumber) {
  const Plot plot{"", "", "", {{"a", {0, 1, 2, 3, 4}, {0, 1, nan, 3, 4}}}};
  const std::string svg = to_svg({&plot, 1});
  expect_well_formed(svg);
  const std::regex path("d=\"(M[^\"]*)\" fill=\"none\"");
  std::smatch match;
  ASSERT_TRUE(std::regex_search(svg, match, path));
  EXPECT_EQ(count_of(match[1], "M"), 2u);
  EXPECT_EQ(count_of(match[1], "L"), 2u);
}

TEST(Svg, NamesCurvesOnlyWhereThereAreSeveral) {
  Plot plot{"t", "x", "y", {{"first", {0, 1}, {0, 1}}}};
  EXPECT_EQ(to_svg({&plot, 1}).find(">first<"), std::string::npos);
  plot.curves.push_back({"second", {0, 1}, {1, 0}});
  const std::string svg = to_svg({&plot, 1});
  EXPECT_NE(svg.find(">first<"), std::string::npos);
  EXPECT_NE(svg.find(">second<"), std::string::npos);
}

TEST(Svg, EscapesText) {
  const Plot plot{"a < b & c > d", "x", "y", {}};
  const std::string svg = to_svg({&plot, 1});
  expect_well_formed(svg);
  EXPECT_NE(svg.find("a &lt; b &amp; c &gt; d"), std::string::npos);
}

TEST(Svg, DrawsEmptyConstantAndHugeData) {
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<Plot> plots{
      {"none", "", "", {}},
      {"no points", "", "", {{"a", {}, {}}}},
      {"one point", "", "", {{"a", {3}, {5}}}},
      {"constant", "", "", {{"a", {0, 1}, {7, 7}}}},
      {"huge", "", "", {{"a", {0, 1}, {-1e300, 1e300}}}},
      {"unbounded", "", "", {{"a", {0, 1, 2}, {infinity, 1, -infinity}}}}};
  const std::string svg = to_svg(plots);
  expect_well_formed(svg);
  EXPECT_NE(svg.find("width=\"2640\""), std::string::npos);
  expect_well_formed(to_svg({}));
}

}  // namespace
}  // namespace tessera::algorithms
