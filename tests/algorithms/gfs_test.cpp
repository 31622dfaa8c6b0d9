// Scores of features against their definitions written out on dense matrices, and the authors'
// scores where those are there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "tessera/algorithms/gfs/feature_metrics.hpp"
#include "tessera/algorithms/gfs/mixed_features.hpp"
#include "tessera/algorithms/gfs/network.hpp"
#include "tessera/algorithms/gfs/tfi.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/models/statistics.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/sample_graphs.hpp"

namespace tessera::algorithms::gfs {
namespace {

using test::at;
using test::Edges;
using test::expect_error;
using test::graph_of;
using test::Matrix;
using test::SampleGraph;

double psi(int64_t m) {
  double sum = -0.57721566490153286;
  for (int64_t i = 1; i < m; ++i) sum += 1.0 / static_cast<double>(i);
  return sum;
}

/// Ross's estimate over all pairs; without noise, for columns without ties.
double ross(std::vector<double> z, const std::vector<int32_t>& label) {
  const auto [mean, sample_deviation] = models::mean_std(z);
  const auto n = static_cast<double>(z.size());
  for (double& v : z) v /= sample_deviation * std::sqrt((n - 1) / n);
  std::map<int32_t, int64_t> size;
  for (const int32_t c : label) ++size[c];
  double kept = 0, sum = 0;
  for (size_t i = 0; i < z.size(); ++i) {
    if (size[label[i]] < 2) continue;
    ++kept;
    std::vector<double> own;
    for (size_t j = 0; j < z.size(); ++j)
      if (j != i && label[j] == label[i]) own.push_back(std::abs(z[j] - z[i]));
    std::sort(own.begin(), own.end());
    const size_t k = std::min<size_t>(3, own.size());
    const double r = std::nextafter(own[k - 1], 0.0);
    int64_t m = 0;
    for (size_t j = 0; j < z.size(); ++j) m += size[label[j]] > 1 && std::abs(z[j] - z[i]) <= r;
    sum += psi(static_cast<int64_t>(k)) - psi(size[label[i]]) - psi(m);
  }
  return std::max(0.0, psi(static_cast<int64_t>(kept)) + sum / kept);
}

TEST(GfsTfi, AgreesWithAllPairsOnDenseMatrices) {
  for (const double zeros : {0.0, 0.5}) {
    const SampleGraph s(90, 7, zeros, 3);
    const Matrix x = s.standardized();
    const auto graph = graph_of(s.labels, s.edges, s.x, zeros > 0);
    const StandardFeatures features(graph);
    ASSERT_EQ(features.sparse(), zeros > 0);
    for (const Filter filter : {Filter::low, Filter::high}) {
      const auto found = topological_feature_informativeness(graph, features, s.train,
                                                             {.filter = filter}, Device::cpu());
      ASSERT_EQ(found.size(), 7u);
      for (size_t f = 0; f < 7; ++f) {
        std::vector<double> z;
        std::vector<int32_t> label;
        // The isolated node's sum is 0 for every feature, so columns still have no ties.
        for (const int64_t i : s.train) {
          double sum = 0;
          for (size_t j = 0; j < s.a.size(); ++j)
            if (s.a[at(i)][j] != 0)
              sum += x[j][f] / (std::sqrt(s.degree(at(i)) * s.degree(j)) + 1e-7);
          z.push_back(filter == Filter::low ? sum : x[at(i)][f] - sum);
          label.push_back(s.labels[at(i)]);
        }
        EXPECT_NEAR(found[f], ross(z, label), 1e-9) << f << " zeros " << zeros;
      }
    }
  }
}

TEST(GfsTfi, SparseAndDenseFeaturesAreTheSame) {
  SampleGraph s(60, 12, 0.9, 5);
  for (auto& row : s.x)
    for (double& v : row) v = v != 0;  // of bits: nearly all aggregated numbers tie
  const auto dense = graph_of(s.labels, s.edges, s.x),
             sparse = graph_of(s.labels, s.edges, s.x, true);
  auto pattern = sparse;  // without values
  pattern.sparse_features.values = Tensor();
  const auto of = [&](const models::GraphData& graph) {
    return topological_feature_informativeness(graph, StandardFeatures(graph), s.train, {.seed = 4},
                                               Device::cpu());
  };
  const auto wanted = of(dense);
  EXPECT_EQ(of(dense), wanted);  // ties are broken the same way every time
  EXPECT_GT(*std::max_element(wanted.begin(), wanted.end()), 0);
  for (const auto& graph : {sparse, pattern}) {
    const auto found = of(graph);
    for (size_t f = 0; f < found.size(); ++f) EXPECT_NEAR(found[f], wanted[f], 1e-9) << f;
    const auto a = StandardFeatures(graph).input(Device::cpu()),
               b = StandardFeatures(dense).input(Device::cpu());
    Rng rng(1);
    const auto layer = models::GraphLinear::make(12, 5, rng);
    const std::vector<int64_t> chosen{1, 4, 5};
    const SelectedLinear first =
        SelectedLinear::spread(models::GraphLinear::make(3, 5, rng), chosen, 12);
    ForwardContext context;
    test::expect_close(first(a, context).value(), test::to_doubles(first(b, context).value()),
                       {.rtol = 1e-5, .atol = 1e-5}, "first layer");
  }
}

// Scores that the authors publish, which have other random numbers in their ties.
TEST(GfsTfi, AgreesWithTheAuthorsScores) {
  const std::string reference = test::shared_data("graphs/tfi_reference.npz");
  if (reference.empty()) GTEST_SKIP() << "no graphs/tfi_reference.npz in the shared data sets";
  struct Expected {
    double mean, correlation;  // largest difference of means, least correlation
  };
  const std::map<std::string, Expected> expected{
      {"tolokers", {3e-4, 0.999}},          {"minesweeper", {3e-3, 0.98}},
      {"chameleon_filtered", {1e-3, 0.99}}, {"wisconsin", {2e-3, 0.97}},
      {"texas_4_classes", {3e-3, 0.93}},    {"actor", {1e-3, 0.3}}};
  int graphs = 0;
  for (const auto& [name, theirs] : load_npz(reference)) {
    const std::string path = test::shared_data("graphs/" + name + ".npz");
    const auto limits = expected.find(name);
    if (path.empty() || limits == expected.end()) continue;
    ++graphs;
    const models::GraphData graph = models::load_graph(path);
    const StandardFeatures features(graph);
    const auto found = topological_feature_informativeness(
        graph, features, graph.fixed_splits.at(0).train, {}, Device::cpu());
    const auto all = theirs.values<float>();
    const std::vector<double> wanted(all.begin(), all.begin() + features.features());
    EXPECT_NEAR(models::mean_std(found).mean, models::mean_std(wanted).mean, limits->second.mean)
        << name;
    EXPECT_GT(models::pearson(found, wanted).coefficient, limits->second.correlation) << name;
  }
  EXPECT_GT(graphs, 0);
}

TEST(GfsTfi, GraphsThatSayNothing) {
  SampleGraph s(40, 4, 0, 9);
  for (auto& row : s.x) row[2] = 1;  // constant
  const auto scores = [&](const Edges& edges, std::span<const int64_t> train) {
    const auto graph = graph_of(s.labels, edges, s.x);
    return topological_feature_informativeness(graph, StandardFeatures(graph), train, {},
                                               Device::cpu());
  };
  EXPECT_EQ(scores({}, s.train), std::vector<double>(4, 0.0));  // nothing is aggregated
  EXPECT_EQ(scores(s.edges, {}), std::vector<double>(4, 0.0));
  const std::vector<int64_t> one_class{0};
  EXPECT_EQ(scores(s.edges, one_class), std::vector<double>(4, 0.0));
  for (const double score : scores(s.edges, s.train)) EXPECT_TRUE(std::isfinite(score));
  const std::vector<int64_t> outside{40};
  expect_error([&] { scores(s.edges, outside); }, {"node 40 of 40"}, ErrorKind::invalid_argument);
  const std::vector<int64_t> twice{1, 1};
  expect_error([&] { scores(s.edges, twice); }, {"node 1 of 40", "at most once"},
               ErrorKind::invalid_argument);
  // All features alike: nothing varies, nothing divides by 0.
  for (auto& row : s.x) row.assign(4, 0.1);
  for (const double score : scores(s.edges, s.train)) EXPECT_TRUE(std::isfinite(score));
  s.x[7][3] = NAN;
  expect_error([&] { scores(s.edges, s.train); }, {"small", "feature 3 of node 7"},
               ErrorKind::invalid_argument);
}

TEST(GfsSelection, TakesTheHighestScores) {
  const std::vector<double> scores{0.1, 0.5, 0.1, NAN, 0.9};
  const auto with = [&](double ratio) { return select_features(scores, ratio).with_graph; };
  EXPECT_EQ(with(0), (std::vector<int64_t>{}));
  EXPECT_EQ(with(0.4), (std::vector<int64_t>{1, 4}));
  EXPECT_EQ(with(0.6), (std::vector<int64_t>{0, 1, 4}));  // the first of equal ones
  EXPECT_EQ(with(0.79), (std::vector<int64_t>{0, 1, 4}));
  EXPECT_EQ(with(1), (std::vector<int64_t>{0, 1, 2, 3, 4}));
  EXPECT_EQ(select_features(scores, 0.8).without_graph, (std::vector<int64_t>{3}));
  EXPECT_EQ(select_features(std::vector<double>(100), 0.29).with_graph.size(), 29u);
  EXPECT_THROW(select_features(scores, 1.5), Error);
}

TEST(GfsFeatureMetrics, AgreeWithTheirFormulas) {
  for (const bool sparse : {false, true}) {
    const SampleGraph s(30, 5, sparse ? 0.5 : 0, 11);
    const Matrix x = s.standardized();
    const auto graph = graph_of(s.labels, s.edges, s.x, sparse);
    const StandardFeatures features(graph);
    const FeatureHomophily found = feature_homophily(graph, features);
    const auto controlled = class_controlled_homophily(graph, features, s.train);
    const size_t n = x.size();
    const auto norm = [&](size_t i) {
      double squares = 0;
      for (const double v : x[i]) squares += v * v;
      return std::sqrt(squares);
    };
    for (size_t f = 0; f < 5; ++f) {
      double edges = 0, signs = 0, attribute = 0, total = 0, cosine = 0, euclidean = 0;
      for (size_t i = 0; i < n; ++i) {
        double around = x[i][f], c = 0, d = 0;
        for (size_t j = 0; j < n; ++j) {
          if (s.a[i][j] == 0) continue;
          ++edges;
          signs += x[i][f] * x[j][f] > 0 ? 1 : -1;
          around += x[j][f];
          c += x[i][f] * x[j][f] / (norm(i) * norm(j));
          d -= std::abs(x[i][f] - x[j][f]);
        }
        attribute += x[i][f] * around / (s.degree(i) + 1);
        total += x[i][f];
        if (s.degree(i) > 0) cosine += c / s.degree(i), euclidean += d / s.degree(i);
      }
      EXPECT_NEAR(found.edge[f], signs / edges, 1e-12);
      EXPECT_NEAR(found.attribute[f], attribute / total, 1e-9 * std::abs(attribute / total));
      EXPECT_NEAR(found.cosine[f], cosine / static_cast<double>(n), 1e-12);
      EXPECT_NEAR(found.euclidean[f], euclidean / static_cast<double>(n), 1e-12);

      std::map<int32_t, std::pair<double, double>> classes;  // sum, count
      for (const int64_t i : s.train) {
        classes[s.labels[at(i)]].first += x[at(i)][f];
        ++classes[s.labels[at(i)]].second;
      }
      const auto own = [&](int64_t i) {
        const auto& [sum, count] = classes[s.labels[at(i)]];
        return x[at(i)][f] - sum / count;
      };
      double centre = 0, sum = 0;
      for (const int64_t i : s.train) centre += own(i) / static_cast<double>(s.train.size());
      for (const int64_t i : s.train)
        for (const int64_t j : s.train)
          if (s.a[at(i)][at(j)] != 0)
            sum += 2 * std::pow(own(i) - centre, 2) - std::pow(own(i) - own(j), 2);
      EXPECT_NEAR(controlled[f], sum / static_cast<double>(s.train.size()), 1e-10);
    }
  }
}

TEST(GfsFeatureMetrics, EveryMetricScoresEveryFeature) {
  const SampleGraph s(40, 6, 0, 2);
  const auto graph = graph_of(s.labels, s.edges, s.x);
  const StandardFeatures features(graph);
  for (const char* name :
       {"tfi", "tfi_high", "h_GE", "h_attr", "h_sim_cos", "h_sim_euc", "h_CTF"}) {
    Metric metric{};
    parse(name, metric);
    EXPECT_EQ(to_string(metric), name);
    const auto scores = feature_scores(graph, features, s.train, metric, 0, Device::cpu());
    ASSERT_EQ(scores.size(), 6u) << name;
    EXPECT_NE(*std::min_element(scores.begin(), scores.end()),
              *std::max_element(scores.begin(), scores.end()))
        << name;
  }
  const auto lonely = graph_of(s.labels, {}, s.x);
  EXPECT_TRUE(std::isnan(feature_homophily(lonely, StandardFeatures(lonely)).edge[0]));
  EXPECT_EQ(feature_homophily(lonely, StandardFeatures(lonely)).cosine,
            std::vector<double>(6, 0.0));
}

// The aggregated half is told from the half that neighbours spoil.
TEST(GfsMixedGraph, TfiTellsTheHalvesApart) {
  const MixedGraphOptions options;
  const auto graph = mixed_graph(options, Rng(1));
  EXPECT_EQ(graph.features(), 20);
  const auto x = graph.dense_features.values<float>();
  std::vector<double> halves[2];
  for (size_t i = 0; i < x.size(); ++i) halves[i % 20 >= 10].push_back(x[i]);
  const auto friendly = models::mean_std(halves[0]), apart = models::mean_std(halves[1]);
  EXPECT_NEAR(apart.mean, friendly.mean, 0.1 * friendly.std);
  EXPECT_NEAR(apart.std, friendly.std, 0.25 * friendly.std);
  const auto scores = topological_feature_informativeness(
      graph, StandardFeatures(graph), graph.fixed_splits[0].train, {}, Device::cpu());
  std::vector<double> of_halves[2];
  for (size_t f = 0; f < 20; ++f) of_halves[f >= 10].push_back(scores[f]);
  EXPECT_GT(models::mean_std(of_halves[0]).mean, 3 * models::mean_std(of_halves[1]).mean);
  EXPECT_EQ(test::to_doubles(mixed_graph(options, Rng(1)).dense_features),
            test::to_doubles(graph.dense_features));
}

}  // namespace
}  // namespace tessera::algorithms::gfs
