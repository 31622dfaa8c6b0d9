// Networks and their training against dense formulas, the plain networks that they become, and
// themselves alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tessera/algorithms/gfs/mixed_features.hpp"
#include "tessera/algorithms/gfs/training.hpp"
#include "tessera/autograd/ops/loss.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/golden.hpp"
#include "tessera/tests/support/sample_graphs.hpp"

namespace tessera::algorithms::gfs {
namespace {

using test::Edges;
using test::expect_error;
using test::graph_of;
using test::Matrix;
using test::SampleGraph;

TEST(GfsNetwork, AgreesWithDenseFormulas) {
  const test::Golden data("graph_networks");
  const auto edges = data.tensor("edges").values<int32_t>();
  Edges pairs;
  for (size_t e = 0; e < edges.size() / 2; ++e)
    pairs.emplace_back(edges[e], edges[edges.size() / 2 + e]);
  const auto graph_data = graph_of(std::vector<int32_t>(17), pairs, Matrix(17, {0.0}));
  const models::GraphOperators graph(graph_data.adjacency, Device::cpu());
  const StandardFeatures::Input x{models::NodeFeatures(data.tensor("x", DType::f64)), 0};
  const auto selected = test::Golden("trunk_modules").tensor("selected").values<int64_t>();
  Selection selection{selected, {}};
  for (int64_t f = 0; f < 6; ++f)
    if (std::find(selected.begin(), selected.end(), f) == selected.end())
      selection.without_graph.push_back(f);
  for (const char* module : {"gt", "fagcn"}) {
    SCOPED_TRACE(module);
    const test::Golden golden("trunk_modules", concat("gfs_", module, "."));
    NetworkOptions options{.hidden = 8, .heads = 2, .dropout = 0};
    parse(module, options.module);
    Rng rng(0);
    Network model = Network::make(selection, 3, options, rng);
    golden.initialize(model);
    const auto logits = [&](const Network& m) {
      ForwardContext context{true, Rng(0)};
      return m(graph, x, context);
    };
    test::expect_golden(logits(model).value().values<double>(), golden.values("logits"), 1e-12,
                        "logits");
    const auto [loss, gradients] = models::value_and_grad(model, [&](const Network& m) {
      return autograd::cross_entropy(logits(m), data.tensor("labels"),
                                     {.rows = data.tensor("mask")});
    });
    EXPECT_NEAR(loss.item(), golden.values("loss")[0], 1e-12);
    test::expect_family(golden, "grad", model, gradients, 1e-10);
  }
}

TEST(GfsNetwork, OneTrunkIsThePlainNetwork) {
  const SampleGraph s(40, 6, 0, 21);
  const auto data = graph_of(s.labels, s.edges, s.x);
  const models::GraphOperators graph(data.adjacency, Device::cpu());
  const StandardFeatures::Input x = StandardFeatures(data).input(Device::cpu());
  const std::vector<double> scores{3, 1, 2, 6, 5, 4};
  for (const double ratio : {0.0, 1.0})
    for (const char* name : {"gcn", "gat", "sage", "gt", "sgc", "appnp", "acm_gcn", "fagcn"}) {
      NetworkOptions options{.hidden = 16, .heads = 4, .dropout = 0.3};
      parse(name, options.module);
      Rng one(7), other(7);
      const Network gfs = Network::make(select_features(scores, ratio), 4, options, one);
      models::TrunkOptions plain{.module = options.module,
                                 .layers = 2,
                                 .hidden = 16,
                                 .heads = 4,
                                 .dropout = 0.3,
                                 .self_loops_everywhere = true,
                                 .feed_forward_after_dot = false};
      if (ratio == 0) plain.module = models::TrunkModule::resnet, plain.layers = 3;
      const auto trunk = models::ResidualTrunk::make(6, 4, plain, other);
      for (const bool training : {false, true}) {
        ForwardContext first{training, Rng(3)}, second{training, Rng(3)};
        EXPECT_EQ(test::to_doubles(gfs(graph, x, first).value()),
                  test::to_doubles(trunk(graph, x.x, second).value()))
            << name << " r " << ratio << (training ? " in training" : "");
      }
      EXPECT_EQ(models::count_parameters(gfs), models::count_parameters(trunk));
    }
}

// Features of the other trunk have no part in a trunk.
TEST(GfsNetwork, TrunksSeeTheirOwnFeatures) {
  SampleGraph s(30, 4, 0, 8);
  const auto data = graph_of(s.labels, s.edges, s.x);
  const models::GraphOperators graph(data.adjacency, Device::cpu());
  Rng rng(1);
  const Network model = Network::make({{0, 2}, {1, 3}}, 3, {.hidden = 8}, rng);
  const auto representations = [&](const Matrix& features) {
    const auto x = StandardFeatures(graph_of(s.labels, s.edges, features)).input(Device::cpu());
    ForwardContext context;
    return std::pair(test::to_doubles(model.gnn_input(x, context).value()),
                     test::to_doubles(model.mlp_input(x, context).value()));
  };
  const auto before = representations(s.x);
  std::swap(s.x[3][1], s.x[9][1]);  // mean and deviation stay
  const auto after = representations(s.x);
  EXPECT_EQ(before.first, after.first);
  EXPECT_NE(before.second, after.second);
}

class GfsTraining : public testing::Test {
 protected:
  models::GraphData graph = mixed_graph({.nodes = 120, .splits = 3}, Rng(4));
  StandardFeatures features{graph};
  TrainingOptions quick{
      .hidden = 8, .heads = 2, .learning_rate = 0.01, .epochs = 12, .evaluate_every = 3};

  std::vector<Outcome> train(const models::GraphData& data, std::vector<size_t> runs,
                             models::TrunkModule module = models::TrunkModule::gcn) const {
    const StandardFeatures x(data);
    const Problem problem = prepare(data, x, Device::cpu());
    std::vector<models::Split> splits;
    std::vector<Selection> selections;
    std::vector<Rng> rngs;
    for (const size_t r : runs) {
      splits.push_back(data.fixed_splits[r]);
      std::vector<double> scores;
      for (size_t f = 0; f < 20; ++f) scores.push_back(static_cast<double>((7 * f + r) % 20));
      selections.push_back(select_features(scores, 0.5));
      rngs.push_back(Rng(1).split(r));
    }
    return train_runs(problem, splits, selections, module, quick, rngs);
  }
};

TEST_F(GfsTraining, RunsSideBySideAreWhatTheyAreAlone) {
  for (const auto module : {models::TrunkModule::gcn, models::TrunkModule::appnp}) {
    const auto together = train(graph, {0, 1, 2}, module);
    ASSERT_EQ(together.size(), 3u);
    for (size_t r = 0; r < 3; ++r) {
      const auto alone = train(graph, {r}, module);
      EXPECT_EQ(together[r].test, alone[0].test) << r;
      EXPECT_EQ(together[r].validation, alone[0].validation) << r;
      EXPECT_EQ(together[r].epoch, alone[0].epoch) << r;
    }
  }
}

TEST_F(GfsTraining, LearnsWhatThereIsToLearn) {
  quick.epochs = 60;
  for (const Outcome& outcome : train(graph, {0, 1, 2})) {
    EXPECT_GT(outcome.validation, 0.6);
    EXPECT_GT(outcome.test, 0.5);
    EXPECT_EQ(outcome.epoch % 3, 0);
  }
}

TEST_F(GfsTraining, TwoClassesHaveOneLogitAndAuc) {
  auto two = mixed_graph({.nodes = 120, .classes = 2, .splits = 3}, Rng(4));
  quick.epochs = 40;
  const auto outcomes = train(two, {0, 1});
  for (const Outcome& outcome : outcomes) EXPECT_GT(outcome.test, 0.7);
  // AUC takes steps of 1 / (positives negatives), accuracy of 1 / 30.
  const double steps = outcomes[0].test * 30;
  EXPECT_GT(std::abs(steps - std::round(steps)) +
                std::abs(outcomes[1].test * 30 - std::round(outcomes[1].test * 30)),
            1e-9);
}

TEST_F(GfsTraining, OneClassIsRightOfNecessity) {
  auto one = graph;
  one.labels = Tensor::zeros({120}, DType::i32, Device::cpu());
  one.classes = 1;
  for (const Outcome& outcome : train(one, {0, 1})) EXPECT_EQ(outcome.test, 1);
}

TEST_F(GfsTraining, BadInputIsNamed) {
  const Problem problem = prepare(graph, features, Device::cpu());
  const std::vector<models::Split> splits{graph.fixed_splits[0], graph.fixed_splits[1]};
  const std::vector<double> scores(20);
  const std::vector<Selection> differing{select_features(scores, 0.5),
                                         select_features(scores, 0.4)};
  const std::vector<Rng> rngs{Rng(0), Rng(1)};
  expect_error(
      [&] { train_runs(problem, splits, differing, models::TrunkModule::gcn, quick, rngs); },
      {"10", "8", "features"}, ErrorKind::invalid_argument);
  expect_error(
      [&] {
        train_runs(problem, splits, differing, models::TrunkModule::gcn, quick,
                   std::span(rngs).first(1));
      },
      {"2 splits", "1 generators"}, ErrorKind::invalid_argument);
  auto two = mixed_graph({.nodes = 120, .classes = 2, .splits = 3}, Rng(4));
  const auto label = two.labels.host<int32_t>();
  std::erase_if(two.fixed_splits[1].test,
                [&](int64_t i) { return label[static_cast<size_t>(i)] == 1; });
  expect_error(
      [&] {
        train(two, {0, 1});
      },
      {"test nodes of run 1", "0 of class 1", "AUC"}, ErrorKind::invalid_argument);
  auto narrow = graph;
  narrow.dense_features = Tensor::zeros({120, 0}, DType::f32, Device::cpu());
  expect_error([&] { StandardFeatures none(narrow); }, {"mixed", "width 0"},
               ErrorKind::invalid_argument);
  auto bare = graph;
  bare.dense_features = Tensor();
  expect_error([&] { StandardFeatures none(bare); }, {"mixed", "no node features"},
               ErrorKind::invalid_argument);
}

}  // namespace
}  // namespace tessera::algorithms::gfs
