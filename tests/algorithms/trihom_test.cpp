// Metrics against hand-computed graphs and against their formulas written out on dense matrices.
#include "tessera/algorithms/trihom/trihom.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "tessera/models/data/csbm.hpp"
#include "tessera/models/data/spectrum.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms::trihom {
namespace {

using test::at;
using test::expect_error;
using Edges = std::vector<std::pair<int64_t, int64_t>>;
using Matrix = std::vector<std::vector<double>>;

models::GraphData graph_of(const std::vector<int32_t>& labels, const Edges& edges,
                           const Matrix& features = {}) {
  models::GraphData graph;
  graph.name = "small";
  graph.nodes = static_cast<int64_t>(labels.size());
  graph.labels = Tensor::from(labels, {graph.nodes}, Device::cpu());
  for (const int32_t label : labels) graph.classes = std::max<int64_t>(graph.classes, label + 1);
  std::vector<int64_t> from, to;
  for (const auto& [u, v] : edges) {
    if (u == v) graph.self_loops.push_back(u);
    from.push_back(u), to.push_back(v);
  }
  graph.adjacency = CsrMatrix::from_edges(graph.nodes, graph.nodes, from, to,
                                          {.duplicates = EdgeOptions::Duplicates::merge,
                                           .self_loops = EdgeOptions::SelfLoops::remove,
                                           .symmetrize = true});
  if (!features.empty()) {
    std::vector<float> x;
    for (const auto& row : features)
      for (const double value : row) x.push_back(static_cast<float>(value));
    graph.dense_features =
        Tensor::from(x, {graph.nodes, static_cast<int64_t>(features[0].size())}, Device::cpu());
  }
  return graph;
}

LabelMetrics label_metrics(const models::GraphData& graph, Mode mode = Mode::correct) {
  return label_homophily(labelled_graph(graph, mode), mode, Rng(0));
}

TEST(TrihomLabels, APathByHand) {
  // 0 - 0 - 1 - 1: edges same, different, same.
  const LabelMetrics m = label_metrics(graph_of({0, 0, 1, 1}, {{0, 1}, {1, 2}, {2, 3}}));
  EXPECT_NEAR(m.graph.edge, 2 / 3.0, 1e-15);
  EXPECT_NEAR(m.graph.node, 0.75, 1e-15);  // 1, 1/2, 1/2, 1
  EXPECT_NEAR(m.graph.class_, 2 / 3.0 - 0.5 + 2 / 3.0 - 0.5, 1e-15);
  EXPECT_NEAR(m.graph.adjusted, (2 / 3.0 - 0.5) / 0.5, 1e-15);
  EXPECT_NEAR(m.graph.density, (2 / 4.0 - 1 / 4.0) / 2 + 0.5, 1e-15);
  EXPECT_NEAR(m.graph.two_hop, 0, 1e-15);         // 0-2, 1-3
  EXPECT_NEAR(m.graph.neighborhood, 0.5, 1e-15);  // {0, 2}, {1, 3}, ...
  // Pairs: 1/3, 1/6, 1/6, 1/3; classes: 1/2, 1/2.
  const double pairs = 2 / 3.0 * std::log(1 / 3.0) + 1 / 3.0 * std::log(1 / 6.0);
  EXPECT_NEAR(m.graph.informativeness, 2 - pairs / std::log(0.5), 1e-14);
  // Shares (1, 0), (1/2, 1/2), (1/2, 1/2), (0, 1): products 1/2 inside; 1/2, 0, 1/2, 1/2 between.
  EXPECT_NEAR(m.graph.similarity, (2 * 2 * 0.5 / 2) / (2 * 1.5 / 2), 1e-14);
  EXPECT_NEAR(m.graph.aggregation, 1, 1e-15);
  const double deviation = std::sqrt(0.125);  // of 1 and 1/2, n - 1
  EXPECT_NEAR(m.graph.structural, 1 - deviation / 0.5, 1e-14);
  EXPECT_EQ(m.classes.edge, (std::vector<double>{2 / 3.0, 2 / 3.0}));
}

TEST(TrihomLabels, AStarAndACompleteBipartiteGraph) {
  // The middle of class 0, leaves of class 1.
  const LabelMetrics star = label_metrics(graph_of({0, 1, 1, 1}, {{0, 1}, {0, 2}, {0, 3}}));
  EXPECT_EQ(star.graph.edge, 0);
  EXPECT_EQ(star.graph.class_, 0);
  EXPECT_EQ(star.graph.two_hop, 1);  // the leaves see each other; the middle nobody
  EXPECT_EQ(star.graph.neighborhood, 1);
  EXPECT_NEAR(star.graph.adjusted, -1, 1e-15);
  EXPECT_NEAR(star.graph.informativeness, 1, 1e-15);
  EXPECT_EQ(star.graph.structural, 1);  // class 0 has one node and does not count
  EXPECT_TRUE(std::isnan(star.classes.structural[0]));

  Edges all;
  for (int64_t i = 0; i < 3; ++i)
    for (int64_t j = 3; j < 8; ++j) all.emplace_back(i, j);
  const LabelMetrics m = label_metrics(graph_of({0, 0, 0, 1, 1, 1, 1, 1}, all));
  EXPECT_EQ(m.graph.edge, 0);
  EXPECT_EQ(m.graph.two_hop, 1);
  EXPECT_EQ(m.graph.structural, 1);
  EXPECT_EQ(m.graph.aggregation, 1);  // heterophilous, yet aggregation tells classes apart
  EXPECT_TRUE(std::isnan(m.graph.similarity));  // classes have nothing in common
  EXPECT_NEAR(m.graph.density, (0 - 1.0) / 2 + 0.5, 1e-15);
}

TEST(TrihomLabels, WhatIsNotDefinedIsNaN) {
  const LabelMetrics empty = label_metrics(graph_of({0, 1, 1}, {}));
  for (const double value :
       {empty.graph.edge, empty.graph.node, empty.graph.adjusted, empty.graph.informativeness,
        empty.graph.two_hop, empty.graph.similarity})
    EXPECT_TRUE(std::isnan(value));
  EXPECT_EQ(empty.graph.neighborhood, 0);
  EXPECT_EQ(empty.graph.class_, 0);
  EXPECT_EQ(empty.graph.structural, 1);
  const LabelMetrics single = label_metrics(graph_of({0, 0, 0}, {{0, 1}, {1, 2}}));
  EXPECT_EQ(single.graph.edge, 1);
  EXPECT_EQ(single.graph.node, 1);
  for (const double value : {single.graph.class_, single.graph.adjusted, single.graph.density,
                             single.graph.informativeness, single.graph.structural,
                             single.graph.similarity, single.graph.aggregation})
    EXPECT_TRUE(std::isnan(value));
}

TEST(TrihomLabels, AbsentClassesAndNodesWithoutLabel) {
  models::GraphData graph = graph_of({0, 4, 4, 7, 0}, {{0, 1}, {1, 2}, {2, 3}, {3, 4}, {2, 2}});
  const LabelMetrics with_gaps = label_metrics(graph),
                     without =
                         label_metrics(graph_of({0, 1, 1, 2, 0}, {{0, 1}, {1, 2}, {2, 3}, {3, 4}}));
  LabelHomophily::visit(with_gaps.graph, [&, k = 0](std::string_view name, double value) mutable {
    double other = 0;
    LabelHomophily::visit(without.graph, [&, j = 0](std::string_view, double v) mutable {
      if (j++ == k) other = v;
    });
    ++k;
    EXPECT_EQ(value, other) << name;
  });
  const LabelledGraph named = labelled_graph(graph, Mode::correct);
  EXPECT_EQ(named.class_id, (std::vector<int64_t>{0, 4, 7}));

  graph.unlabelled = {4};
  EXPECT_EQ(labelled_graph(graph, Mode::correct).node_id, (std::vector<int64_t>{0, 1, 2, 3}));
  EXPECT_EQ(labelled_graph(graph, Mode::correct).neighbours.ends(), 6);
  EXPECT_EQ(labelled_graph(graph, Mode::compat).nodes(), 5);
  graph.unlabelled = {0, 1, 2, 3, 4};
  expect_error([&] { labelled_graph(graph, Mode::correct); }, {"small", "no node with a label"},
               ErrorKind::invalid_argument);
}

TEST(TrihomLabels, CompatKeepsTheTablesSlips) {
  // A triangle of class 0 with a tail of class 1 and a self-loop there; degrees 2, 2, 3, 1 (2).
  const auto graph = graph_of({0, 0, 0, 1}, {{0, 1}, {1, 2}, {0, 2}, {2, 3}, {3, 3}});
  const LabelMetrics right = label_metrics(graph), table = label_metrics(graph, Mode::compat);
  EXPECT_NEAR(right.graph.edge, 6 / 8.0, 1e-15);
  EXPECT_NEAR(table.graph.edge, 7 / 9.0, 1e-15);
  EXPECT_NEAR(table.edge_without_loops, 6 / 8.0, 1e-15);
  EXPECT_EQ(table.graph.node, right.graph.node);
  EXPECT_EQ(table.graph.structural, right.graph.structural);
  // Degrees less 1: 1 + 1 + 2 = 4 and 1, of 5.
  const double squares = 16 / 25.0 + 1 / 25.0;
  EXPECT_NEAR(table.graph.adjusted, (7 / 9.0 - squares) / (1 - squares), 1e-14);
  const auto term = [](double p) { return p * std::log(p); };
  const double pairs = term(6 / 5.0) + 2 * term(1 / 5.0) + term(1e-8);
  EXPECT_NEAR(table.graph.informativeness, 2 - pairs / (term(4 / 5.0) + term(1 / 5.0)), 1e-14);
}

// A random graph with isolated nodes and hubs: rows of bits and lists of neighbours take part.
models::GraphData random_graph(int64_t nodes, int64_t features, uint64_t seed) {
  test::Numbers next(seed);
  std::vector<int32_t> labels;
  Edges edges;
  Matrix x;
  for (int64_t i = 0; i < nodes; ++i) {
    labels.push_back(static_cast<int32_t>(next() % 4));
    std::vector<double> row;
    for (int64_t f = 0; f < features; ++f)
      row.push_back(next() % 3 == 0 ? static_cast<double>(next() % 7) - 2 : 0);
    x.push_back(row);
  }
  const auto pick = [&](int64_t below) {
    return static_cast<int64_t>(next() % static_cast<uint64_t>(below));
  };
  for (int64_t k = 0; k < 2 * nodes; ++k) {
    const int64_t u = pick(nodes - 5), v = k % 4 == 0 ? pick(3) : pick(nodes - 5);
    if (u != v) edges.emplace_back(u, v);
  }
  return graph_of(labels, edges, x);
}

Matrix dense(const models::GraphData& graph) {
  Matrix a(at(graph.nodes), std::vector<double>(at(graph.nodes)));
  for (size_t i = 0; i < a.size(); ++i)
    for (int32_t e = graph.adjacency.row_ptr.host<int32_t>()[i];
         e < graph.adjacency.row_ptr.host<int32_t>()[i + 1]; ++e)
      a[i][at(graph.adjacency.col.host<int32_t>()[at(e)])] = 1;
  return a;
}

TEST(TrihomLabels, TwoStepsFromEveryNode) {
  for (const int64_t nodes : {40, 200, 700}) {
    const auto data = random_graph(nodes, 0, 11);
    const Matrix a = dense(data);
    const LabelledGraph graph = labelled_graph(data, Mode::correct);
    const auto counts = two_step_class_counts(graph.neighbours, graph);
    for (size_t i = 0; i < a.size(); ++i) {
      std::set<size_t> reached;
      for (size_t j = 0; j < a.size(); ++j)
        if (a[i][j] != 0)
          for (size_t k = 0; k < a.size(); ++k)
            if (a[j][k] != 0) reached.insert(k);
      std::vector<int32_t> expected(4);
      for (const size_t k : reached) ++expected[at(graph.label[k])];
      for (size_t c = 0; c < 4; ++c) ASSERT_EQ(counts[i * 4 + c], expected[c]) << nodes << " " << i;
    }
  }
}

TEST(TrihomLabels, AggregationBySingleProducts) {
  const auto data = random_graph(80, 0, 3);
  const Matrix a = dense(data);
  const auto label = data.labels.host<int32_t>();
  for (const Mode mode : {Mode::correct, Mode::compat}) {
    Matrix h(a.size(), std::vector<double>(4));
    double alike = 0;
    for (size_t i = 0; i < a.size(); ++i) {
      double d = 0;
      for (size_t j = 0; j < a.size(); ++j) h[i][at(label[j])] += a[i][j], d += a[i][j];
      if (mode == Mode::correct && d > 0)
        for (double& share : h[i]) share /= d;
    }
    for (size_t i = 0; i < a.size(); ++i) {
      double same = 0, other = 0, size = 0;
      for (size_t j = 0; j < a.size(); ++j) {
        double product = 0;
        for (size_t k = 0; k < 4; ++k) product += h[i][k] * h[j][k];
        (label[i] == label[j] ? same : other) += product;
        size += label[i] == label[j];
      }
      if (same > 0 || other > 0) alike += same / size >= other / (80 - size) * (1 - 1e-12);
    }
    EXPECT_NEAR(label_metrics(data, mode).graph.aggregation, 2 * alike / 80 - 1, 1e-12);
  }
}

// The formulas of feature_homophily.hpp on dense matrices.
struct DenseFeatures {
  double ge = 0, cosine = 0, euclidean = 0, attribute = 0, controlled = 0, controlled_table = 0;
};
DenseFeatures dense_features(const models::GraphData& data) {
  const Matrix a = dense(data);
  const size_t n = a.size(), width = at(data.features());
  const auto label = data.labels.host<int32_t>();
  Matrix x(n, std::vector<double>(width));
  for (size_t i = 0; i < n; ++i) {
    double sum = 0;
    for (size_t f = 0; f < width; ++f) x[i][f] = data.dense_features.host<float>()[i * width + f];
    for (const double v : x[i]) sum += std::abs(v);
    if (sum > 0)
      for (double& v : x[i]) v /= sum;
  }
  std::vector<double> degree(n);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j) degree[i] += a[i][j];
  DenseFeatures out;
  double ends = 0;
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j) {
      if (a[i][j] == 0) continue;
      double product = 0, ii = 0, jj = 0, distance = 0;
      for (size_t f = 0; f < width; ++f) {
        product += x[i][f] * x[j][f], ii += x[i][f] * x[i][f], jj += x[j][f] * x[j][f];
        distance += (x[i][f] - x[j][f]) * (x[i][f] - x[j][f]);
      }
      const double cosine = ii * jj > 0 ? product / std::sqrt(ii * jj) : 0;
      out.ge += cosine, ++ends;
      out.cosine += cosine / degree[i] / static_cast<double>(n);
      out.euclidean -= std::sqrt(distance) / degree[i] / static_cast<double>(n);
    }
  out.ge /= ends;
  for (size_t f = 0; f < width; ++f) {
    double top = 0, bottom = 0;
    for (size_t i = 0; i < n; ++i) {
      bottom += x[i][f];
      for (size_t j = 0; j < n; ++j)
        if (a[i][j] != 0) top += x[i][f] * x[j][f] / degree[i];
    }
    out.attribute += top / (bottom == 0 ? 1 : bottom) / static_cast<double>(width);
  }
  Matrix centred = x;
  for (size_t f = 0; f < width; ++f)
    for (int32_t c = 0; c < 4; ++c) {
      double mean = 0, count = 0;
      for (size_t i = 0; i < n; ++i)
        if (label[i] == c) mean += x[i][f], ++count;
      for (size_t i = 0; i < n; ++i)
        if (label[i] == c) centred[i][f] -= mean / count;
    }
  const auto distance = [&](size_t i, size_t j) {
    double sum = 0;
    for (size_t f = 0; f < width; ++f)
      sum += (centred[i][f] - centred[j][f]) * (centred[i][f] - centred[j][f]);
    return sum;
  };
  std::vector<double> of_end;
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j)
      if (a[i][j] != 0) of_end.push_back(distance(i, j));
  double level = 0, table_level = 0, base = 0, distances = 0;
  for (size_t i = 0; i < n; ++i) {
    double b = 0;
    for (size_t f = 0; f < width; ++f) b += 2 * centred[i][f] * centred[i][f];
    base += b;
    for (size_t j = 0; j < n; ++j)
      if (a[i][j] != 0) {
        level += b - distance(i, j);
        table_level += b - of_end[i];
        distances += distance(i, j);
      }
  }
  out.controlled = level / std::max(base, distances);
  out.controlled_table = table_level / std::max(base, distances);
  return out;
}

TEST(TrihomFeatures, AgreeWithDenseFormulas) {
  const auto data = random_graph(70, 9, 8);
  const LabelledGraph graph = labelled_graph(data, Mode::correct);
  const FeatureRows rows = feature_rows(data, graph);
  const FeatureMetrics right = feature_homophily(graph, rows, Mode::correct),
                       table = feature_homophily(graph, rows, Mode::compat);
  const DenseFeatures expected = dense_features(data);
  EXPECT_NEAR(right.graph.generalized_edge, expected.ge, 1e-12);
  EXPECT_NEAR(right.graph.local_cosine, expected.cosine, 1e-12);
  EXPECT_NEAR(right.graph.local_euclidean, expected.euclidean, 1e-7);
  EXPECT_NEAR(right.graph.attribute, expected.attribute, 1e-12);
  EXPECT_NEAR(right.graph.class_controlled, expected.controlled, 1e-12);
  EXPECT_NEAR(table.graph.class_controlled, expected.controlled_table, 1e-12);
  EXPECT_NE(right.graph.class_controlled, table.graph.class_controlled);
}

TEST(TrihomFeatures, SparseAndDenseFeaturesAreTheSame) {
  auto data = random_graph(60, 7, 21);
  const auto x = data.dense_features.values<float>();
  auto sparse = data;
  std::vector<int64_t> row, col;
  std::vector<float> value;
  for (int64_t k = 0; k < 60 * 7; ++k)
    for (int part = 0; part < 2 && x[at(k)] != 0; ++part) {  // halves, to be added up
      row.push_back(k / 7), col.push_back(k % 7), value.push_back(x[at(k)] / 2);
    }
  sparse.dense_features = Tensor();
  sparse.sparse_features =
      CsrMatrix::from_edges(60, 7, row, col, value, {.duplicates = EdgeOptions::Duplicates::keep});
  const LabelledGraph graph = labelled_graph(data, Mode::correct);
  EXPECT_EQ(feature_rows(sparse, graph).value, feature_rows(data, graph).value);
  EXPECT_EQ(feature_rows(sparse, graph).column, feature_rows(data, graph).column);
}

TEST(TrihomFeatures, FeaturesThatAreNotNumbersAreNamed) {
  auto data = random_graph(20, 3, 1);
  data.dense_features.host_mutable<float>()[3 * 7 + 2] = NAN;
  const LabelledGraph graph = labelled_graph(data, Mode::correct);
  expect_error([&] { feature_rows(data, graph); }, {"small", "feature 2 of node 7"},
               ErrorKind::invalid_argument);
}

// V(h) = within-class variance of X0 = X - (h / rho) A X on a fine grid, of standardised X.
// `correct` adds the determinant.
TEST(TrihomFeatures, FilterHomophilyIsTheMinimum) {
  auto data = random_graph(90, 4, 17);
  for (size_t i = 0; i < 90; ++i) data.dense_features.host_mutable<float>()[i * 4 + 3] = 2;
  const LabelledGraph graph = labelled_graph(data, Mode::correct);
  const FeatureRows rows = feature_rows(data, graph);
  const double rho = models::spectral_radius(data.adjacency);
  const GraphFilter right = feature_filter_homophily(graph, rows, rho, Mode::correct),
                    table = feature_filter_homophily(graph, rows, rho, Mode::compat);
  const Matrix a = dense(data);
  for (size_t f = 0; f < 3; ++f) {
    std::vector<double> x(90), ax(90);
    double mean = 0;
    for (size_t i = 0; i < 90; ++i) x[i] = data.dense_features.host<float>()[i * 4 + f];
    for (const double v : x) mean += v / 90;
    for (double& v : x) v -= mean;
    for (size_t i = 0; i < 90; ++i)
      for (size_t j = 0; j < 90; ++j) ax[i] += a[i][j] * x[j];
    const auto within = [&](double h) {
      double total = 0;
      for (int32_t c = 0; c < 4; ++c) {
        double sum = 0, squares = 0, count = 0;
        for (size_t i = 0; i < 90; ++i)
          if (graph.label[i] == c) {
            const double v = x[i] - h / rho * ax[i];
            sum += v, squares += v * v, ++count;
          }
        total += squares - sum * sum / count;
      }
      return total;
    };
    double best = -1;
    for (int k = -100; k <= 100; ++k)
      if (within(k / 100.0) < within(best)) best = k / 100.0;
    EXPECT_NEAR(table.by_feature[f], best, 1e-12) << f;
    // ln det(I - h / rho A) by elimination, in place of its series.
    const auto likelihood = [&](double h) {
      Matrix m(90, std::vector<double>(90));
      double log_determinant = 0;
      for (size_t i = 0; i < 90; ++i)
        for (size_t j = 0; j < 90; ++j) m[i][j] = (i == j ? 1 : 0) - h / rho * a[i][j];
      for (size_t k = 0; k < 90; ++k) {
        log_determinant += std::log(m[k][k]);
        for (size_t i = k + 1; i < 90; ++i)
          for (size_t j = 90; j-- > k;) m[i][j] -= m[i][k] / m[k][k] * m[k][j];
      }
      return std::log(within(h)) - 2 * log_determinant / 90;
    };
    double likely = -0.96;
    for (int k = -24; k <= 24; ++k)
      if (likelihood(k / 25.0) < likelihood(likely)) likely = k / 25.0;
    EXPECT_NEAR(right.by_feature[f], likely, 0.06) << f;
  }
  EXPECT_TRUE(std::isnan(right.by_feature[3]) && std::isnan(table.by_feature[3]));  // constant
  EXPECT_NEAR(right.mean, (right.by_feature[0] + right.by_feature[1] + right.by_feature[2]) / 3,
              1e-15);
}

TEST(TrihomFeatures, FilterHomophilyOfGeneratedGraphs) {
  for (const double h_f : {-0.7, 0.0, 0.6}) {
    const auto data = models::csbm_3h(
        {.nodes = 1500, .features = 40, .structural_homophily = 0.8, .feature_homophily = h_f},
        Rng(6));
    MetricOptions options{.mode = Mode::correct, .classifiers = {.trials = 0}};
    EXPECT_NEAR(graph_metrics(data, options, Rng(0)).filter.mean, h_f, 0.06) << h_f;
  }
}

TEST(Trihom, TheFormulaByHand) {
  // C = 2, h_L = 1: m = 1, S = 2 (1 - h_S)^2 + 1.
  const TriHom found = tri_hom(1, 0.5, 0.5, 2, 2);
  const double s = 2 * 0.25 + 1, j = (1 - s / 16) / (0.75 * 0.75);
  EXPECT_NEAR(found.without_graph, j, 1e-15);
  EXPECT_NEAR(found.with_graph, j / s, 1e-15);
  EXPECT_NEAR(tri_hom(1 / 3.0, 0.9, 0.5, 3, 10).with_graph, 0, 1e-15);  // the pitfall
  EXPECT_EQ(tri_hom(0.4, 0.9, 0, 3, 0).without_graph, 1);               // no edges
  EXPECT_TRUE(std::isnan(tri_hom(1, 1, 0, 1, 1).without_graph));
}

TEST(Trihom, RowsOfGraphsWithoutFeaturesOrEdges) {
  const MetricOptions options{.mode = Mode::correct, .classifiers = {.trials = 3}};
  const GraphMetrics bare = graph_metrics(random_graph(50, 0, 5), options, Rng(0));
  EXPECT_FALSE(std::isnan(bare.label.graph.edge));
  EXPECT_TRUE(std::isnan(bare.feature.graph.attribute));
  EXPECT_TRUE(std::isnan(bare.tri_hom.with_graph));
  const GraphMetrics known = graph_metrics(random_graph(50, 0, 5), options, Rng(0), 0.25);
  EXPECT_FALSE(std::isnan(known.tri_hom.with_graph));
  const GraphMetrics apart =
      graph_metrics(graph_of({0, 1, 0, 1}, {}, {{1, 0}, {0, 1}, {1, 1}, {0, 0}}), options, Rng(0));
  EXPECT_EQ(apart.spectral_radius, 0);
  EXPECT_EQ(apart.feature.graph.local_cosine, 0);
  EXPECT_TRUE(std::isnan(apart.feature.graph.generalized_edge));
  EXPECT_EQ(class_table(apart).rows, (std::vector<std::string>{"0", "1"}));
  EXPECT_EQ(feature_table(apart).rows.size(), 2u);
  EXPECT_EQ(metric_table({apart, known}).columns.size(), 23u);
}

TEST(Trihom, CorrelationsRankMetrics) {
  const Table metrics = parse_csv("g,a,b,c\nx,1,3,5\ny,2,1,5\nz,3,2,5\nw,9,9,\nv,,1,5\n", "m");
  const Table accuracies = parse_csv("g,MLP,GCN\nx,10,3\ny,20,2\nz,30,1\nother,1,1\n", "a");
  const Table found = correlations(metrics, accuracies);
  EXPECT_EQ(found.rows, metrics.columns);
  EXPECT_EQ(found.columns, (std::vector<std::string>{"MLP", "MLP p", "GCN", "GCN p", "rank"}));
  EXPECT_NEAR(found.values[0][0], 1, 1e-15);
  EXPECT_NEAR(found.values[0][2], -1, 1e-15);
  EXPECT_NEAR(found.values[1][0], -0.5, 1e-15);
  EXPECT_NEAR(found.values[1][1], 2 / 3.0, 1e-12);  // Cauchy: t = -1 / sqrt 3
  EXPECT_TRUE(std::isnan(found.values[2][0]));
  EXPECT_EQ(found.values[0][4], 1.5);  // first and second
  EXPECT_EQ(found.values[1][4], 1.5);
  EXPECT_EQ(found.values[2][4], 3);
}

}  // namespace
}  // namespace tessera::algorithms::trihom
