// Views, bases and structures against dense formulas and each other.
#include "tessera/algorithms/gsl/gsl.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tessera/algorithms/gsl/block_posterior.hpp"
#include "tessera/algorithms/gsl/weighted_graph.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/models/data/synthetic.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/mutual_information.hpp"
#include "tessera/models/runs.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms::gsl {
namespace {

using test::at;
using test::expect_error;

constexpr Backbone backbones[] = {Backbone::gcn, Backbone::sage, Backbone::gat, Backbone::sgc};

models::GraphData easy_graph(double feature_signal = 2, double homophily = 0.9) {
  return models::synthetic_graph({.nodes = 120,
                                  .classes = 3,
                                  .features = 12,
                                  .degree = 6,
                                  .homophily = homophily,
                                  .feature_signal = feature_signal,
                                  .splits = 3},
                                 Rng(3));
}

LearningOptions quick(int64_t epochs = 30) {
  return {.hidden = 16, .heads = 4, .dropout = 0, .epochs = epochs};
}

std::vector<double> dense(const CsrMatrix& m) {
  std::vector<double> a(at(m.rows * m.cols));
  const auto first = m.row_ptr.values<int32_t>(), col = m.col.values<int32_t>();
  for (int64_t i = 0; i < m.rows; ++i)
    for (int32_t e = first[at(i)]; e < first[at(i) + 1]; ++e)
      a[at(i * m.cols + col[at(e)])] =
          m.values.defined() ? static_cast<double>(m.values.values<float>()[at(e)]) : 1;
  return a;
}

// ---- views

class GslViews : public testing::TestWithParam<Backbone> {
 protected:
  static FusedNetwork network(Fusion fusion, double weight = 1, uint64_t seed = 1) {
    Rng rng(seed);
    return FusedNetwork::make(GetParam(), fusion, weight, problem().nodes(),
                              problem().features.width(), problem().classes, quick(), rng);
  }
  static std::vector<double> logits(const FusedNetwork& net, const Views& views) {
    ForwardContext context{true, Rng(0)};
    return test::to_doubles(net(views, problem().features, context).value());
  }
  static const Problem& problem() {
    static const Problem value = prepare(easy_graph(), false, Device::cpu());
    return value;
  }
  static CsrMatrix structure() { return models::similarity_graph(problem().x, {}); }
};

TEST_P(GslViews, OfOneGraphAreThePlainNetwork) {
  const Views same = views_of(problem(), problem().adjacency);
  FusedNetwork plain = network(Fusion::original);
  const auto expected = logits(plain, same);
  ForwardContext context;
  test::expect_close(plain.first(problem().graph, problem().features, context).value(), expected,
                     {.rtol = 0, .atol = 0}, "the network itself");
  const auto expect = [&](Fusion fusion, double weight, double times) {
    plain.fusion = fusion;
    plain.weight = weight;
    const auto found = logits(plain, same);
    for (size_t i = 0; i < expected.size(); ++i)
      ASSERT_NEAR(found[i], times * expected[i], 2e-5) << to_string(fusion) << " " << i;
  };
  expect(Fusion::structure, 1, 1);
  expect(Fusion::merged, 1, 1);
  expect(Fusion::outputs_shared, 1, 2);
  expect(Fusion::outputs_shared, 0.5, 1.5);
  expect(Fusion::layers_shared, 0, 1);
  // Early fusion with itself doubles what every layer gives.
  Var h;
  for (int64_t i = 0; i < layer_count(plain.first); ++i)
    h = layer(plain.first, i, problem().graph,
              i == 0 ? LayerInput{.features = &problem().features}
                     : LayerInput{.hidden = between_layers(plain.first, h, context)},
              context) *
        2;
  plain.weight = 1;
  test::expect_close(h.value(), logits(plain, same), {.rtol = 1e-5, .atol = 1e-5}, "twice");
}

TEST_P(GslViews, OfTwoGraphsAreAdded) {
  const Views views = views_of(problem(), structure());
  for (const Fusion fusion : {Fusion::layers, Fusion::outputs}) {
    FusedNetwork net = network(fusion, 0);
    ASSERT_EQ(net.second.size(), 1u);
    FusedNetwork first = net, second = net;
    first.fusion = Fusion::original;
    second.first = net.second.front();
    second.fusion = Fusion::structure;
    const auto of_first = logits(first, views), of_second = logits(second, views);
    EXPECT_NE(of_first, of_second);
    const auto alone = logits(net, views);
    for (size_t i = 0; i < alone.size(); ++i)
      ASSERT_NEAR(alone[i], of_first[i], 1e-5) << to_string(fusion) << " " << i;
    net.weight = 0.25;
    const auto both = logits(net, views);
    ForwardContext context;
    Var h;
    for (int64_t l = 0; l < layer_count(net.first); ++l) {
      const LayerInput input = l == 0 ? LayerInput{.features = &problem().features}
                                      : LayerInput{.hidden = between_layers(net.first, h, context)};
      h = layer(net.first, l, views.original, input, context) +
          layer(net.second.front(), l, *views.structure, input, context) * 0.25;
    }
    const auto by_layers = test::to_doubles(h.value());
    for (size_t i = 0; i < both.size(); ++i)
      ASSERT_NEAR(both[i],
                  fusion == Fusion::layers ? by_layers[i] : of_first[i] + 0.25 * of_second[i],
                  1e-5);
  }
}

TEST_P(GslViews, LayersOneByOneAreTheNetwork) {
  const FusedNetwork net = network(Fusion::original);
  ForwardContext context;
  const Var hidden = representation(net.first, problem().graph, problem().features, context);
  const Var last =
      layer(net.first, layer_count(net.first) - 1, problem().graph, {.hidden = hidden}, context);
  test::expect_close(last.value(), logits(net, views_of(problem())), {.rtol = 1e-5, .atol = 1e-6},
                     "layers");
}

TEST_P(GslViews, RunsSideBySideAreWhatTheyAreAlone) {
  const models::GraphData graph = easy_graph();
  const Views views = views_of(problem(), structure());
  LearningOptions learning = quick(12);
  learning.dropout = 0.3;
  const std::vector<Rng> rngs{Rng(1), Rng(2), Rng(3)};
  for (const Fusion fusion : {Fusion::layers, Fusion::outputs_shared, Fusion::merged}) {
    const auto train = [&](size_t first, size_t count) {
      return train_network(problem(), problem().features, views, GetParam(), fusion, 0.5,
                           std::span(graph.fixed_splits).subspan(first, count), learning,
                           std::span(rngs).subspan(first, count))
          .scores;
    };
    const std::vector<Scores> together = train(0, 3);
    for (size_t r = 0; r < 3; ++r) {
      const Scores alone = train(r, 1).front();
      EXPECT_NEAR(together[r].test, alone.test, 0.04) << to_string(fusion) << r;
      EXPECT_NEAR(together[r].validation, alone.validation, 0.04) << to_string(fusion) << r;
    }
  }
}

TEST_P(GslViews, EveryFusionLearns) {
  const models::GraphData graph = easy_graph();
  const Views views = views_of(problem(), structure());
  for (int f = 0; f <= static_cast<int>(Fusion::outputs_shared); ++f) {
    const Rng rngs[] = {Rng(5)};
    const Scores scores =
        train_network(problem(), problem().features, views, GetParam(), static_cast<Fusion>(f), 0.5,
                      std::span(graph.fixed_splits).first(1), quick(60), rngs)
            .scores.front();
    EXPECT_GT(scores.test, 0.45) << to_string(static_cast<Fusion>(f));  // chance is a third
    EXPECT_GT(scores.epoch, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Each, GslViews, testing::ValuesIn(backbones),
                         [](const auto& each) { return std::string(to_string(each.param)); });

TEST(Gsl, FeaturesOfNoWidthAreNone) {
  models::GraphData graph = easy_graph();
  graph.dense_features = Tensor::zeros({graph.nodes, 0}, DType::f32, Device::cpu());
  expect_error([&] { prepare(graph, false, Device::cpu()); }, {"synthetic", "no node features"},
               ErrorKind::invalid_argument);
}

TEST(Gsl, PredictionsCutShortAreNoGraph) {
  const models::GraphData graph = easy_graph();
  const Problem problem = prepare(graph, false, Device::cpu());
  LearningOptions options = quick();
  options.evaluate_every = 2;
  request_stop();
  const CsrMatrix none = predicted_graph(problem, graph.fixed_splits.at(0), options, Rng(1));
  clear_stop_request();
  EXPECT_EQ(none.rows, 0);
  EXPECT_EQ(predicted_graph(problem, graph.fixed_splits.at(0), options, Rng(1)).rows, graph.nodes);
}

TEST(Gsl, BadInputIsNamed) {
  const auto kind = ErrorKind::invalid_argument;
  const Problem problem = prepare(easy_graph(), false, Device::cpu());
  Rng rng(1);
  const FusedNetwork net =
      FusedNetwork::make(Backbone::gcn, Fusion::layers, 0.5, 120, 12, 3, quick(), rng);
  ForwardContext context;
  expect_error([&] { net(views_of(problem), problem.features, context); }, {"layers", "structure"},
               kind);
  LearningOptions odd = quick();
  odd.heads = 5;
  expect_error(
      [&] { FusedNetwork::make(Backbone::gat, Fusion::original, 0.5, 120, 12, 3, odd, rng); },
      {"16", "5 heads"}, kind);
  expect_error([&] { FusedNetwork::make(Backbone::gcn, Fusion::layers, -1, 120, 12, 3, odd, rng); },
               {"weight of -1"}, kind);
  const std::vector<models::Split> empty{{{0, 1}, {}, {2}}};
  expect_error([&] { NodeTask(problem, empty); }, {"split 0", "to validate"}, kind);
  expect_error([&] { NodeTask(problem, {}); }, {"no splits"}, kind);
  models::GraphData bare = easy_graph();
  bare.dense_features = Tensor();
  expect_error([&] { prepare(bare, false, Device::cpu()); }, {bare.name, "no node features"}, kind);
  ComparisonOptions none;
  none.backbones.clear();
  const std::vector<models::Split> splits = easy_graph().fixed_splits;
  expect_error([&] { compare(problem, splits, none, quick(), {}, 1, Rng(0), [](auto...) {}); },
               {"backbones"}, kind);
  int64_t trained = 0;
  expect_error(
      [&] {
        compare(problem, splits, {.bases = {Base::x}}, odd, {}, 1, Rng(0),
                [&](auto...) { ++trained; });
      },
      {"16", "5 heads of gat"}, kind);
  EXPECT_EQ(trained, 0);
  const auto gcnii =
      models::GraphNetwork::make(120, 12, 3, {.model = models::GraphNetworkKind::gcnii}, rng);
  expect_error([&] { layer_count(gcnii); }, {"expected a gcn"}, kind);
}

// ---- weighted graphs

TEST(GslWeightedGraph, PropagatesAsDenseMatrices) {
  const CsrMatrix a = easy_graph().adjacency;
  const int64_t n = a.rows;
  const CsrMatrix parts[] = {a, identity_matrix(n)};
  const JoinedPattern all = joined(parts, Device::cpu());
  const Var e = unit_rows(test::uniform({n, 4}, DType::f32, 1));
  const WeightedGraph graph{all.pattern,
                            autograd::square(autograd::sddmm(all.pattern, e, e)) * all.values[0] +
                                Var(all.values[1]) * 0.5};
  const Tensor x = test::uniform({n, 3}, DType::f32, 2);
  const auto units = test::to_doubles(e.value()), values = test::to_doubles(x);
  std::vector<double> w = dense(a), sum(at(n));
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      double product = 0;
      for (int64_t f = 0; f < 4; ++f) product += units[at(i * 4 + f)] * units[at(j * 4 + f)];
      w[at(i * n + j)] = w[at(i * n + j)] * product * product + (i == j ? 0.5 : 0);
      sum[at(i)] += w[at(i * n + j)];
    }
  std::vector<double> expected(values.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t f = 0; f < 3; ++f)
        expected[at(i * 3 + f)] +=
            w[at(i * n + j)] / std::sqrt(sum[at(i)] * sum[at(j)]) * values[at(j * 3 + f)];
  test::expect_close(propagate(graph, x).value(), expected, {.rtol = 1e-4, .atol = 1e-5},
                     "propagate");
}

TEST(GslWeightedGraph, JoinsPatternsAndCountsChoices) {
  const std::vector<int64_t> from{0, 1, 2}, to{1, 2, 0}, other{2, 2, 1};
  const std::vector<float> values{2, 3, 4};
  const CsrMatrix parts[] = {CsrMatrix::from_edges(3, 3, from, to),
                             CsrMatrix::from_edges(3, 3, from, other, values, {})};
  const JoinedPattern all = joined(parts, Device::cpu());
  EXPECT_EQ(all.pattern.entries(), 5);  // (0 1) (0 2) (1 2) (2 0) (2 1)
  EXPECT_EQ(all.values[0].values<float>(), (std::vector<float>{1, 0, 1, 1, 0}));
  EXPECT_EQ(all.values[1].values<float>(), (std::vector<float>{0, 2, 3, 0, 4}));
  // On a line of directions the middle one is chosen by both others.
  const Tensor x = test::from_doubles({1, 0, /**/ 1, 1, /**/ 0.1, 1}, {3, 2}, DType::f32);
  EXPECT_EQ(dense(neighbour_choices(x, 1)), (std::vector<double>{0, 1, 0, 1, 0, 2, 0, 2, 0}));
  EXPECT_EQ(dense(neighbour_choices(x, 9)), (std::vector<double>{0, 2, 2, 2, 0, 2, 2, 2, 0}));
  const Tensor weights = test::from_doubles({1, 2, 3, 4, 5}, {5}, DType::f32);
  EXPECT_NEAR(weighted_homophily(all.pattern.matrix(), weights,
                                 test::from_doubles({0, 0, 1}, {3}, DType::i32)),
              1 / 15.0, 1e-12);
}

// ---- probabilities of edges

/// The same by a loop over all pairs, for so many rounds.
std::vector<double> posterior(const std::vector<CsrMatrix>& seen, const std::vector<int32_t>& label,
                              size_t classes, int64_t rounds, double& a, double& b) {
  const size_t n = label.size(), m = seen.size();
  std::vector<double> times(n * n), q(n * n), w(classes * classes), pairs(w.size());
  for (const CsrMatrix& o : seen) {
    const auto one = dense(o);
    for (size_t p = 0; p < one.size(); ++p) times[p] += one[p];
  }
  const auto each = [&](auto&& f) {
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j)
        if (i != j) f(i * n + j, at(label[i]) * classes + at(label[j]));
  };
  double shown = 0, all = 0;
  each([&](size_t p, size_t c) { shown += times[p] > 0, ++all, w[c] += times[p] > 0, ++pairs[c]; });
  for (size_t c = 0; c < w.size(); ++c) w[c] /= pairs[c];
  a = 0.7, b = shown / all;
  for (int64_t round = 0;; ++round) {
    each([&](size_t p, size_t c) {
      const double e = times[p], rest = static_cast<double>(m) - e;
      const double yes = w[c] * std::pow(a, e) * std::pow(1 - a, rest),
                   no = (1 - w[c]) * std::pow(b, e) * std::pow(1 - b, rest);
      q[p] = yes / (yes + no);
    });
    if (round == rounds) return q;
    double edges = 0, others = 0, in_edges = 0, in_others = 0;
    std::fill(w.begin(), w.end(), 0.0);
    each([&](size_t p, size_t c) {
      edges += q[p], others += 1 - q[p];
      in_edges += q[p] * times[p], in_others += (1 - q[p]) * times[p];
      w[c] += q[p] / pairs[c];
    });
    a = in_edges / (static_cast<double>(m) * edges);
    b = in_others / (static_cast<double>(m) * others);
  }
}

TEST(GslBlockPosterior, IsThatOfAllPairsAndFindsThePlantedGraph) {
  constexpr int64_t n = 60;
  Rng rng(7);
  std::vector<int32_t> label;
  for (int64_t i = 0; i < n; ++i) label.push_back(static_cast<int32_t>(i % 3));
  std::vector<double> planted(at(n * n));
  std::vector<std::vector<int64_t>> from(4), to(4);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) {
      const bool edge = rng.uniform() < (label[at(i)] == label[at(j)] ? 0.3 : 0.03);
      planted[at(i * n + j)] = edge;
      for (size_t m = 0; m < 4; ++m)
        if (rng.uniform() < (edge ? 0.8 : 0.05)) from[m].push_back(i), to[m].push_back(j);
    }
  std::vector<CsrMatrix> seen;
  for (size_t m = 0; m < 4; ++m)
    seen.push_back(CsrMatrix::from_edges(n, n, from[m], to[m], {.symmetrize = true}));
  const BlockPosterior found = block_posterior(seen, label, 3, 0.5, 1e-9);
  double a = 0, b = 0;
  const auto q = posterior(seen, label, 3, found.rounds, a, b);
  EXPECT_NEAR(found.true_positive, a, 1e-9);
  EXPECT_NEAR(found.false_positive, b, 1e-9);
  const auto graph = dense(found.graph);
  int64_t wrong = 0, edges = 0;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) {
      const size_t p = at(i * n + j);
      EXPECT_NEAR(graph[p], q[p] > 0.5 ? q[p] : 0, 1e-6);
      wrong += (graph[p] > 0) != (planted[p] > 0);
      edges += planted[p] > 0;
    }
  EXPECT_NEAR(found.true_positive, 0.8, 0.04);
  EXPECT_NEAR(found.false_positive, 0.05, 0.01);
  EXPECT_NEAR(found.prior[0], 0.3, 0.07);
  EXPECT_LT(wrong, edges / 10);
  expect_error([&] { block_posterior(seen, std::vector<int32_t>(n, 5), 3, 0.5, 0.1); },
               {"label 5 of 3"}, ErrorKind::invalid_argument);
}

// ---- bases

TEST(GslBases, ContrastFindsCommunitiesWithoutLabels) {
  const Problem problem = prepare(easy_graph(0.3), false, Device::cpu());
  ContrastiveOptions options{.hidden = 16, .epochs = 60, .learning_rate = 0.01};
  const Tensor embedding = contrastive_embedding(problem, options, Rng(1));
  EXPECT_EQ(embedding.shape(), (Shape{120, 16}));
  const auto homophily = [&](const Tensor& base) {
    return models::edge_homophily(models::similarity_graph(base, {}), problem.labels);
  };
  EXPECT_GT(homophily(embedding), homophily(problem.x) + 0.15);
  EXPECT_EQ(test::to_doubles(contrastive_embedding(problem, options, Rng(1))),
            test::to_doubles(embedding));
  options.batch = 40;  // contrasts of a part of the nodes
  EXPECT_GT(homophily(contrastive_embedding(problem, options, Rng(1))), homophily(problem.x) + 0.1);
}

TEST(GslBases, TrainedOnesAreHiddenLayersOfEachSplit) {
  const models::GraphData graph = easy_graph(1.2);
  const Problem problem = prepare(graph, false, Device::cpu());
  const std::vector<Rng> rngs{Rng(1), Rng(2), Rng(3)};
  const auto homophily = [&](const Tensor& base) {
    return models::edge_homophily(models::similarity_graph(base, {}), problem.labels);
  };
  for (const Base base : {Base::mlp, Base::gcn}) {
    const auto found = make_bases(base, problem, graph.fixed_splits, quick(60), {}, rngs);
    ASSERT_EQ(found.size(), 3u);
    EXPECT_NE(test::to_doubles(found[0]), test::to_doubles(found[1]));
    for (const Tensor& b : found) {
      EXPECT_EQ(b.shape(), (Shape{120, 16}));
      EXPECT_GT(homophily(b),
                base == Base::gcn ? homophily(problem.x) + 0.1 : 0.38);  // chance: 1/3
    }
    // They are those of the epoch that is reported, as the logits beside them.
    const Trained trained =
        train_network(problem, problem.features, views_of(problem), Backbone::gcn,
                      base == Base::gcn ? Fusion::original : Fusion::none, 0, graph.fixed_splits,
                      quick(60), rngs, true);
    for (size_t r = 0; r < 3; ++r) {
      EXPECT_EQ(test::to_doubles(trained.representations[r]), test::to_doubles(found[r]));
      const NodeTask one(problem, std::span(graph.fixed_splits).subspan(r, 1));
      EXPECT_EQ(one.scores(trained.logits[r]).front().test, trained.scores[r].test);
      EXPECT_EQ(one.scores(trained.logits[r]).front().validation, trained.scores[r].validation);
    }
  }
  // A_s X by a dense product.
  const auto ax = make_bases(Base::ax, problem, graph.fixed_splits, quick(), {}, rngs);
  auto a = dense(graph.adjacency);
  std::vector<double> degree(120, 1), expected(120 * 12);
  const auto x = test::to_doubles(problem.x);
  for (size_t i = 0; i < 120; ++i) {
    a[i * 120 + i] = 1;
    degree[i] = 0;
    for (size_t j = 0; j < 120; ++j) degree[i] += a[i * 120 + j];
  }
  for (size_t i = 0; i < 120; ++i)
    for (size_t j = 0; j < 120; ++j)
      for (size_t f = 0; f < 12; ++f)
        expected[i * 12 + f] += a[i * 120 + j] / std::sqrt(degree[i] * degree[j]) * x[j * 12 + f];
  test::expect_close(ax.front(), expected, {.rtol = 1e-5, .atol = 1e-5}, "A_s X");
}

// Structure made of B, and what is aggregated over it, is a function of B: nodes with equal rows
// get equal rows, and nothing is learned about the labels. A graph that knows of them tells more.
TEST(GslBases, StructureOfABaseAddsNoInformation) {
  Rng rng(11);
  std::vector<float> base;
  std::vector<int32_t> label;
  std::vector<int64_t> code, from, to;
  for (int64_t i = 0; i < 200; ++i) {
    label.push_back(static_cast<int32_t>(i % 2));
    const auto value = static_cast<int64_t>(rng.below(4)) + (rng.uniform() < 0.3 ? i % 2 : 0);
    code.push_back(value);
    for (const double b :
         {1.0, static_cast<double>(value), 0.3 * static_cast<double>(value * value)})
      base.push_back(static_cast<float>(b));
    for (int64_t j = 0; j < i; j += 9)
      if (label[at(j)] == label[at(i)]) from.push_back(i), to.push_back(j);
  }
  const Tensor b = Tensor::from(base, {200, 3}, Device::cpu());
  // Numbers, to the precision of f32 sums, as codes.
  const auto codes_of = [&](const Tensor& z) {
    const auto values = test::to_doubles(z);
    std::map<std::vector<int64_t>, int64_t> known;
    std::vector<int64_t> codes;
    for (size_t i = 0; i < values.size(); i += 3) {
      std::vector<int64_t> key;
      for (size_t f = 0; f < 3; ++f) key.push_back(std::llround(values[i + f] * 1e3));
      codes.push_back(known.emplace(key, static_cast<int64_t>(known.size())).first->second);
    }
    return codes;
  };
  const double of_base = models::discrete_mutual_information(code, label);
  EXPECT_NEAR(models::discrete_mutual_information(codes_of(b), label), of_base, 1e-12);
  for (const double threshold : {0.95, 0.99, 1.0}) {
    const CsrMatrix structure = models::similarity_graph(
        b, {.construction = models::GraphConstruction::cos_graph, .threshold = threshold});
    const models::GraphOperators graph(structure, Device::cpu());
    Tensor z = b;
    for (int step = 0; step < 3; ++step) {
      z = autograd::spmm(graph.random_walk(true), z).value();
      EXPECT_LE(models::discrete_mutual_information(codes_of(z), label), of_base + 1e-12)
          << threshold;
    }
  }
  const models::GraphOperators knowing(
      CsrMatrix::from_edges(200, 200, from, to, {.symmetrize = true}), Device::cpu());
  const Tensor z = autograd::spmm(knowing.random_walk(true), b).value();
  EXPECT_GT(models::discrete_mutual_information(codes_of(z), label), of_base + 0.1);
}

}  // namespace
}  // namespace tessera::algorithms::gsl
