#include "tessera/algorithms/node_classification/node_classification.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/algorithms/node_classification/experiment.hpp"
#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/data/synthetic.hpp"
#include "tessera/runtime/interrupt.hpp"

namespace tessera::algorithms::node_classification {
namespace {

models::GraphData easy_graph() {
  return models::synthetic_graph({.nodes = 150,
                                  .classes = 3,
                                  .features = 12,
                                  .degree = 8,
                                  .homophily = 0.9,
                                  .feature_signal = 1.0,
                                  .splits = 1},
                                 Rng(3));
}

Training trained(const models::GraphData& graph, const Options& options, uint64_t seed = 1,
                 Device device = Device::cpu()) {
  const Problem problem = prepare(graph, options.model, false, device);
  Training training = start(problem, options, Rng(seed));
  resume(training, problem, graph.fixed_splits.at(0), options, Rng(seed));
  return training;
}

std::vector<std::vector<float>> values_of(const Training& training) {
  std::vector<std::vector<float>> values;
  models::for_each_parameter(training.model, [&](const std::string&, const models::Var& p) {
    values.push_back(p.value().values<float>());
  });
  return values;
}

TEST(NodeClassification, PreparesTheOperatorOfEachNetwork) {
  // 0 - 1 - 2, 3 alone.
  models::GraphData graph;
  graph.name = "path";
  graph.nodes = 4;
  graph.classes = 2;
  graph.adjacency = CsrMatrix::from_edges(4, 4, std::vector<int64_t>{0, 1, 1, 2},
                                          std::vector<int64_t>{1, 0, 2, 1});
  graph.labels = Tensor::from<int32_t>({0, 1, 0, 1}, {4}, Device::cpu());
  graph.dense_features =
      Tensor::from({1.f, 3.f, 0.f, 0.f, 2.f, 0.f, 1.f, 1.f}, {4, 2}, Device::cpu());

  const CsrMatrix gcn = prepare(graph, Network::gcn, false, Device::cpu()).adjacency.matrix();
  EXPECT_EQ(gcn.col.values<int32_t>(), (std::vector<int32_t>{0, 1, 0, 1, 2, 1, 2, 3}));
  const float a = 1 / std::sqrt(6.f);  // degrees with self-loops 2, 3, 2, 1
  const std::vector<float> expected{0.5f, a, a, 1 / 3.f, a, a, 0.5f, 1.f};
  const auto values = gcn.values.values<float>();
  ASSERT_EQ(values.size(), expected.size());
  for (size_t i = 0; i < values.size(); ++i) EXPECT_FLOAT_EQ(values[i], expected[i]) << i;

  const CsrMatrix mlp = prepare(graph, Network::mlp, false, Device::cpu()).adjacency.matrix();
  EXPECT_EQ(mlp.col.values<int32_t>(), (std::vector<int32_t>{0, 1, 2, 3}));
  EXPECT_FALSE(mlp.values.defined());
}

TEST(NodeClassification, LearnsAndTheEdgesHelp) {
  const models::GraphData graph = easy_graph();
  Options options{.epochs = 100, .evaluate_every = 0};
  const Accuracies gcn = selected(trained(graph, options).history, Selection::last);
  options.model = Network::mlp;
  const Accuracies mlp = selected(trained(graph, options).history, Selection::last);
  EXPECT_GT(mlp.test, 0.45);  // chance is a third
  EXPECT_GT(gcn.test, 0.9);
  EXPECT_GT(gcn.test, mlp.test + 0.1);
}

class NodeClassificationOn : public testing::TestWithParam<Device> {};

// Dropout and initial weights are the same numbers on every device; sums have other orders.
TEST_P(NodeClassificationOn, TrainsAsOnTheHost) {
  std::string reason;
  if (!available(GetParam(), &reason)) GTEST_SKIP() << reason;
  const models::GraphData graph = easy_graph();
  for (const Network network : {Network::gcn, Network::mlp}) {
    const Options options{.model = network, .epochs = 10, .evaluate_every = 5};
    const History host = trained(graph, options).history,
                  device = trained(graph, options, 1, GetParam()).history;
    ASSERT_EQ(device.loss.size(), host.loss.size());
    for (size_t i = 0; i < host.loss.size(); ++i)
      EXPECT_NEAR(device.loss[i], host.loss[i], 2e-5) << to_string(network) << ", epoch " << i;
    EXPECT_LT(device.loss.back(), device.loss.front());
    EXPECT_EQ(device.test, host.test) << to_string(network);
  }
}

TEST_P(NodeClassificationOn, RecordedEpochsHaveTheSameBits) {
  std::string reason;
  if (!available(GetParam(), &reason)) GTEST_SKIP() << reason;
  const models::GraphData graph = easy_graph();
  Options options{.epochs = 12, .evaluate_every = 5};
  const Training done = trained(graph, options, 1, GetParam());
  options.record = true;
  const Training replayed = trained(graph, options, 1, GetParam());
  EXPECT_EQ(replayed.history.loss, done.history.loss);
  EXPECT_EQ(replayed.history.test, done.history.test);
  EXPECT_EQ(values_of(replayed), values_of(done));
}

INSTANTIATE_TEST_SUITE_P(Devices, NodeClassificationOn,
                         testing::Values(Device::cuda(), Device::simt()), [](const auto& tested) {
                           return std::string(tested.param == Device::simt() ? "simt" : "cuda");
                         });

TEST(NodeClassification, FirstLossIsThatOfTheInitialNetwork) {
  const models::GraphData graph = easy_graph();
  const Options options{.dropout = 0, .epochs = 1};
  const Problem problem = prepare(graph, options.model, false, Device::cpu());
  const Training before = start(problem, options, Rng(5));
  models::ForwardContext inference;
  const Tensor logits = before.model(problem.adjacency, problem.features, inference).value();
  const auto z = logits.values<float>();
  const auto labels = problem.labels.values<int32_t>();
  double loss = 0;
  const models::Split& split = graph.fixed_splits.at(0);
  for (const int64_t node : split.train) {
    const float* row = &z[static_cast<size_t>(node) * 3];
    const double sum = std::exp(row[0]) + std::exp(row[1]) + std::exp(row[2]);
    loss += std::log(sum) - row[labels[static_cast<size_t>(node)]];
  }
  loss /= static_cast<double>(split.train.size());
  EXPECT_NEAR(trained(graph, options, 5).history.loss.at(0), loss, 1e-5);
}

TEST(NodeClassification, DecaysTheFirstLayerOnly) {
  // With a huge penalty Adam moves every decayed weight towards zero, whatever the loss says.
  const models::GraphData graph = easy_graph();
  const Options options{.epochs = 1, .learning_rate = 1e-4, .weight_decay = 1e6};
  const Problem problem = prepare(graph, options.model, false, Device::cpu());
  const auto before = values_of(start(problem, options, Rng(1)));
  const auto after = values_of(trained(graph, options));
  const auto shrunk = [&](size_t parameter) {
    size_t count = 0;
    for (size_t i = 0; i < before[parameter].size(); ++i)
      count += std::abs(after[parameter][i]) < std::abs(before[parameter][i]);
    return static_cast<double>(count) / static_cast<double>(before[parameter].size());
  };
  EXPECT_EQ(shrunk(0), 1.0);
  EXPECT_LT(shrunk(2), 0.9);
}

TEST(NodeClassification, RepeatsBitForBitAndFollowsTheSeed) {
  const models::GraphData graph = easy_graph();
  const Options options{.epochs = 20};
  const Training first = trained(graph, options), second = trained(graph, options);
  EXPECT_EQ(first.history.loss, second.history.loss);
  EXPECT_EQ(values_of(first), values_of(second));
  EXPECT_NE(first.history.loss, trained(graph, options, 2).history.loss);
}

TEST(NodeClassification, StoppedAndResumedIsTheSameTraining) {
  const models::GraphData graph = easy_graph();
  const Options options{.epochs = 23, .evaluate_every = 5};
  const Training straight = trained(graph, options);

  const Problem problem = prepare(graph, options.model, false, Device::cpu());
  const models::Split& split = graph.fixed_splits.at(0);
  Training training = start(problem, options, Rng(1));
  Hooks hooks;
  int64_t checkpoints = 0;
  hooks.checkpoint = [&](const Training& t) {
    ++checkpoints;
    EXPECT_EQ(static_cast<int64_t>(t.history.loss.size()), t.epochs_done);
  };
  for (const int64_t stop_after : {1, 9, 10, 17}) {
    hooks.on_epoch = [&](const Training& t, double) {
      if (t.epochs_done >= stop_after) request_stop();
    };
    EXPECT_TRUE(resume(training, problem, split, options, Rng(1), hooks).interrupted);
    EXPECT_LT(training.epochs_done, options.epochs);
    clear_stop_request();
  }
  EXPECT_GE(checkpoints, 4);
  EXPECT_FALSE(resume(training, problem, split, options, Rng(1)).interrupted);
  EXPECT_EQ(training.history.loss, straight.history.loss);
  EXPECT_EQ(training.history.test, straight.history.test);
  EXPECT_EQ(training.history.epoch, (std::vector<double>{5, 10, 15, 20, 23}));
  EXPECT_EQ(values_of(training), values_of(straight));
}

TEST(NodeClassification, SelectsTheFirstBestOnValidation) {
  const History history{.loss = {},
                        .epoch = {1, 2, 3, 4},
                        .train = {0.1, 0.2, 0.3, 0.4},
                        .validation = {0.5, 0.7, 0.7, 0.6},
                        .test = {0.5, 0.6, 0.8, 0.9}};
  EXPECT_EQ(selected(history, Selection::validation).test, 0.6);
  EXPECT_EQ(selected(history, Selection::last).test, 0.9);
  EXPECT_THROW(selected({}, Selection::last), Error);
}

TEST(NodeClassification, RejectsWhatCannotBeTrained) {
  models::GraphData graph = easy_graph();
  const Problem problem = prepare(graph, Network::gcn, true, Device::cpu());
  EXPECT_THROW(start(problem, {.layers = 0}, Rng(0)), Error);
  EXPECT_THROW(start(problem, {.hidden = 0}, Rng(0)), Error);
  EXPECT_THROW(start(problem, {.dropout = 1.0}, Rng(0)), Error);
  EXPECT_THROW(start(problem, {.dropout = -0.1}, Rng(0)), Error);
  graph.dense_features = Tensor();
  EXPECT_THROW(prepare(graph, Network::gcn, true, Device::cpu()), Error);
}

TEST(NodeClassification, ConfigFilesFitTheCode) {
  const std::string folder = TESSERA_SOURCE_DIR "/algorithms/node_classification/";
  Config config;
  config.runs = -1;  // the file must set it back
  load_config(config, folder + "config.json");
  EXPECT_EQ(to_string(config_json(config)), to_string(config_json(Config{})));
  load_config(config, folder + "config.smoke.json");
  EXPECT_LE(config.runs * config.epochs, 100);
}

}  // namespace
}  // namespace tessera::algorithms::node_classification
