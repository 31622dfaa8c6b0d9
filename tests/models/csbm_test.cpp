#include "tessera/models/data/csbm.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <set>

#include "tessera/models/data/spectrum.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::models {
namespace {

using test::at;
using test::expect_error;

CsrMatrix graph_of(int64_t nodes, const std::vector<std::pair<int64_t, int64_t>>& edges) {
  std::vector<int64_t> from, to;
  for (const auto& [u, v] : edges) from.push_back(u), to.push_back(v);
  return CsrMatrix::from_edges(nodes, nodes, from, to, {.symmetrize = true});
}

TEST(Spectrum, RadiusOfGraphsWithKnownSpectra) {
  std::vector<std::pair<int64_t, int64_t>> complete, star, path, bipartite;
  for (int64_t i = 0; i < 12; ++i)
    for (int64_t j = 0; j < i; ++j) complete.emplace_back(i, j);
  for (int64_t i = 1; i < 50; ++i) star.emplace_back(0, i);
  for (int64_t i = 1; i < 40; ++i) path.emplace_back(i - 1, i);
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 0; j < 12; ++j) bipartite.emplace_back(i, 3 + j);
  EXPECT_NEAR(spectral_radius(graph_of(12, complete)), 11, 1e-10);
  EXPECT_NEAR(spectral_radius(graph_of(50, star)), 7, 1e-10);
  EXPECT_NEAR(spectral_radius(graph_of(40, path)), 2 * std::cos(std::numbers::pi / 41), 1e-10);
  EXPECT_NEAR(spectral_radius(graph_of(15, bipartite)), 6, 1e-10);
  EXPECT_NEAR(spectral_radius(graph_of(3, {{0, 0}, {1, 2}})), 1, 1e-10);
  // Components apart from the largest, and isolated nodes.
  std::vector<std::pair<int64_t, int64_t>> parts = complete;
  for (const auto& [u, v] : path) parts.emplace_back(20 + u, 20 + v);
  EXPECT_NEAR(spectral_radius(graph_of(70, parts)), 11, 1e-10);
  EXPECT_EQ(spectral_radius(graph_of(4, {})), 0);
}

TEST(Spectrum, ShiftedSystemsAreSolved) {
  const CsrMatrix a = graph_of(5, {{0, 1}, {1, 2}, {2, 0}, {3, 3}});
  const std::vector<double> b{1, -2, 0.5, 3, 4};
  for (const double weight : {0.0, 0.4, -0.45}) {
    const auto x = solve_shifted(a, weight, b);
    const std::vector<double> back{x[0] - weight * (x[1] + x[2]), x[1] - weight * (x[0] + x[2]),
                                   x[2] - weight * (x[0] + x[1]), x[3] - weight * x[3], x[4]};
    for (size_t i = 0; i < b.size(); ++i) EXPECT_NEAR(back[i], b[i], 1e-11) << weight << " " << i;
  }
  EXPECT_EQ(solve_shifted(a, 0.4, std::vector<double>(5)), std::vector<double>(5));
  expect_error([&] { solve_shifted(a, 0.9, b); }, {"0.9", "not positive definite"},
               ErrorKind::invalid_argument);
}

double edge_homophily(const GraphData& graph) {
  const auto row_ptr = graph.adjacency.row_ptr.host<int32_t>();
  const auto col = graph.adjacency.col.host<int32_t>();
  const auto label = graph.labels.host<int32_t>();
  double same = 0;
  for (size_t i = 0; i < label.size(); ++i)
    for (int32_t e = row_ptr[i]; e < row_ptr[i + 1]; ++e) same += label[i] == label[at(col[at(e)])];
  return same / static_cast<double>(graph.adjacency.nnz());
}

TEST(Csbm3h, DialsTurnWhatTheyName) {
  Csbm3hOptions o{.nodes = 2000, .structural_homophily = 1};
  for (const double h_l : {0.0, 0.3, 0.8, 1.0}) {
    o.label_homophily = h_l;
    const GraphData graph = csbm_3h(o, Rng(1));
    EXPECT_NEAR(edge_homophily(graph), h_l, 0.025) << h_l;
    EXPECT_NEAR(static_cast<double>(graph.adjacency.nnz()) / 2000, 5, 0.2);
  }
  // Cut probabilities move it, to values that were measured with an independent program.
  o.nodes = 1000;
  o.structural_homophily = 0.2;
  const double expected[][2] = {{0, 0.16}, {1 / 3.0, 0.32}, {0.8, 0.59}, {1, 0.69}};
  for (const auto& [h_l, comes_out] : expected) {
    o.label_homophily = h_l;
    double mean = 0;
    for (uint64_t seed = 0; seed < 3; ++seed) mean += edge_homophily(csbm_3h(o, Rng(seed))) / 3;
    EXPECT_NEAR(mean, comes_out, 0.025) << h_l;
  }
}

// Turning the filter around must give back features that are independent of the graph: with means
// of classes taken off, those of neighbours are uncorrelated. As they stand they are not.
TEST(Csbm3h, FeaturesAreFilteredByTheGraph) {
  const GraphData graph = csbm_3h({.nodes = 1500,
                                   .features = 20,
                                   .degree_low = 3,
                                   .degree_high = 9,
                                   .structural_homophily = 0.9,
                                   .feature_homophily = 0.9},
                                  Rng(5));
  std::vector<int64_t> from, to;
  const auto row_ptr = graph.adjacency.row_ptr.host<int32_t>();
  const auto col = graph.adjacency.col.host<int32_t>();
  for (int64_t i = 0; i < graph.nodes; ++i)
    for (int32_t e = row_ptr[at(i)]; e < row_ptr[at(i) + 1]; ++e)
      from.push_back(i), to.push_back(col[at(e)]);
  for (const int64_t i : graph.self_loops) from.push_back(i), to.push_back(i);
  const double weight =
      0.9 / spectral_radius(CsrMatrix::from_edges(graph.nodes, graph.nodes, from, to));
  const auto label = graph.labels.host<int32_t>();
  const auto x = graph.dense_features.host<float>();
  const auto neighbour_correlation = [&](bool turned_around) {
    double products = 0, squares = 0;
    for (size_t f = 0; f < 20; ++f) {
      std::vector<double> column(at(graph.nodes)), sum(3), count(3);
      for (size_t i = 0; i < column.size(); ++i) column[i] = x[i * 20 + f];
      if (turned_around)
        for (size_t e = 0; e < from.size(); ++e)
          column[at(from[e])] -= weight * x[at(to[e]) * 20 + f];
      for (size_t i = 0; i < column.size(); ++i) {
        sum[at(label[i])] += column[i];
        ++count[at(label[i])];
      }
      for (size_t i = 0; i < column.size(); ++i)
        column[i] -= sum[at(label[i])] / count[at(label[i])];
      for (size_t e = 0; e < from.size(); ++e)
        if (from[e] != to[e]) {
          products += column[at(from[e])] * column[at(to[e])];
          squares += column[at(from[e])] * column[at(from[e])];
        }
    }
    return products / squares;
  };
  EXPECT_GT(neighbour_correlation(false), 0.1);
  EXPECT_NEAR(neighbour_correlation(true), 0, 0.01);
}

TEST(Csbm3h, OneSeedGivesOneGraph) {
  const Csbm3hOptions o{.nodes = 300, .feature_homophily = -0.5, .splits = 2};
  const GraphData a = csbm_3h(o, Rng(4)), b = csbm_3h(o, Rng(4)), c = csbm_3h(o, Rng(5));
  EXPECT_EQ(a.adjacency.col.values<int32_t>(), b.adjacency.col.values<int32_t>());
  EXPECT_EQ(a.dense_features.values<float>(), b.dense_features.values<float>());
  EXPECT_EQ(a.fixed_splits[1].test, b.fixed_splits[1].test);
  EXPECT_NE(a.fixed_splits[0].test, a.fixed_splits[1].test);
  EXPECT_NE(a.adjacency.col.values<int32_t>(), c.adjacency.col.values<int32_t>());
  EXPECT_TRUE(std::is_sorted(a.self_loops.begin(), a.self_loops.end()));
}

TEST(Csbm3h, SaysWhatItCannotMake) {
  expect_error([] { csbm_3h({.classes = 1}, Rng(0)); }, {"csbm_3h", "1 classes"},
               ErrorKind::invalid_argument);
  expect_error([] { csbm_3h({.degree_low = 6, .degree_high = 5}, Rng(0)); },
               {"degrees from 6 to 5"}, ErrorKind::invalid_argument);
  expect_error([] { csbm_3h({.feature_homophily = 1}, Rng(0)); }, {"h_F 1", "(-1, 1)"},
               ErrorKind::invalid_argument);
}

TEST(CsbmH, FeaturesAndEdgesFollowTheClass) {
  const GraphData graph = csbm_h({.nodes0 = 3000,
                                  .nodes1 = 3000,
                                  .mean0 = {-1, 0},
                                  .mean1 = {0, 2},
                                  .variance0 = 1,
                                  .variance1 = 4,
                                  .degree0 = 7,
                                  .degree1 = 7,
                                  .homophily = 0.7},
                                 Rng(2));
  EXPECT_NEAR(edge_homophily(graph), 0.7, 0.015);
  EXPECT_NEAR(static_cast<double>(graph.adjacency.nnz()) / 6000, 7, 0.1);
  const auto x = graph.dense_features.host<float>();
  for (size_t c = 0; c < 2; ++c)
    for (size_t f = 0; f < 2; ++f) {
      double mean = 0, squares = 0;
      for (size_t i = c * 3000; i < (c + 1) * 3000; ++i) mean += x[i * 2 + f] / 3000;
      for (size_t i = c * 3000; i < (c + 1) * 3000; ++i)
        squares += (x[i * 2 + f] - mean) * (x[i * 2 + f] - mean) / 3000;
      EXPECT_NEAR(mean, c == 0 ? f == 0 ? -1 : 0 : f == 0 ? 0 : 2, 0.12);
      EXPECT_NEAR(squares, c == 0 ? 1 : 4, 0.3);
    }
  expect_error([] { csbm_h({.mean0 = {1}}, Rng(0)); }, {"means of 1 and 2"},
               ErrorKind::invalid_argument);
}

TEST(Csbm, SplitsAreHalvesAndQuarters) {
  const Split split = split_by_half(1003, Rng(1));
  EXPECT_EQ(split.train.size(), 501u);
  EXPECT_EQ(split.validation.size(), 250u);
  EXPECT_EQ(split.test.size(), 252u);
  std::set<int64_t> all(split.train.begin(), split.train.end());
  all.insert(split.validation.begin(), split.validation.end());
  all.insert(split.test.begin(), split.test.end());
  EXPECT_EQ(all.size(), 1003u);
}

}  // namespace
}  // namespace tessera::models
