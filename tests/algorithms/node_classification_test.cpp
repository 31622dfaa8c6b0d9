#include "tessera/algorithms/node_classification/node_classification.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <sstream>

#include "tessera/algorithms/node_classification/experiment.hpp"
#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/data/synthetic.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/tests/support/files.hpp"

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

Options with(int64_t epochs, int64_t evaluate_every = 10) {
  Options options;
  options.epochs = epochs;
  options.evaluate_every = evaluate_every;
  return options;
}

/// Runs with these seeds side by side.
Training trained(const models::GraphData& graph, const Options& options,
                 const std::vector<uint64_t>& seeds = {1}, Device device = Device::cpu()) {
  const Problem problem = prepare(graph, models::FeatureScaling::raw, device);
  std::vector<Rng> rngs;
  for (const uint64_t seed : seeds) rngs.emplace_back(seed);
  const std::vector<models::Split> splits(seeds.size(), graph.fixed_splits.at(0));
  Training training = start(problem, options, rngs);
  resume(training, problem, splits, options, rngs);
  return training;
}
const History& history(const Training& training) { return training.histories.at(0); }

std::vector<std::vector<float>> values_of(const Training& training) {
  std::vector<std::vector<float>> values;
  models::for_each_parameter(training.model, [&](const std::string&, const models::Var& p) {
    values.push_back(p.value().values<float>());
  });
  return values;
}

TEST(NodeClassification, RunsSideBySideAreWhatTheyAreAlone) {
  const models::GraphData graph = easy_graph();
  const Options options = with(12, 5);
  const Training together = trained(graph, options, {1, 2, 3});
  for (size_t r = 0; r < 3; ++r) {
    const Training alone = trained(graph, options, {r + 1});
    EXPECT_EQ(together.histories[r].loss, history(alone).loss) << r;
    EXPECT_EQ(together.histories[r].validation, history(alone).validation) << r;
    EXPECT_EQ(together.histories[r].test, history(alone).test) << r;
  }
  EXPECT_NE(together.histories[0].loss, together.histories[1].loss);
}

TEST(NodeClassification, EveryNetworkLearns) {
  const models::GraphData graph = easy_graph();
  const auto learns = [&](const Options& options) {
    const History h = history(trained(graph, options));
    EXPECT_LT(h.loss.back(), 0.9 * h.loss.front()) << to_string(options.model);
    EXPECT_GT(h.test.back(), 0.45) << to_string(options.model);  // chance is a third
  };
  for (int kind = 0; kind <= static_cast<int>(models::GraphNetworkKind::trunk); ++kind) {
    Options options = with(60, 0);
    options.model = static_cast<models::GraphNetworkKind>(kind);
    options.dropout = 0.2;
    learns(options);
  }
  Options adamw = with(60, 0);
  adamw.model = models::GraphNetworkKind::trunk;
  adamw.module = models::TrunkModule::gt_sep;
  adamw.decoupled = true;
  adamw.decay = Decay::weights;
  learns(adamw);
}

TEST(NodeClassification, LearnsAndTheEdgesHelp) {
  const models::GraphData graph = easy_graph();
  Options options = with(100, 0);
  const auto last = [](const History& h) {
    return selected(h, Selection::last, h.test.size() - 1);
  };
  const Scores gcn = last(history(trained(graph, options)));
  options.model = models::GraphNetworkKind::mlp;
  const Scores mlp = last(history(trained(graph, options)));
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
  using Kind = models::GraphNetworkKind;
  for (const Kind network : {Kind::gcn, Kind::mlp, Kind::gat, Kind::acm_gcn, Kind::trunk}) {
    Options options = with(10, 5);
    options.model = network;
    const History host = history(trained(graph, options)),
                  device = history(trained(graph, options, {1}, GetParam()));
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
  Options options = with(12, 5);
  const Training done = trained(graph, options, {1, 2}, GetParam());
  options.record = true;
  const Training replayed = trained(graph, options, {1, 2}, GetParam());
  for (size_t r = 0; r < 2; ++r) {
    EXPECT_EQ(replayed.histories[r].loss, done.histories[r].loss);
    EXPECT_EQ(replayed.histories[r].test, done.histories[r].test);
  }
  EXPECT_EQ(values_of(replayed), values_of(done));
}

INSTANTIATE_TEST_SUITE_P(Devices, NodeClassificationOn,
                         testing::Values(Device::cuda(), Device::simt()), [](const auto& tested) {
                           return std::string(tested.param == Device::simt() ? "simt" : "cuda");
                         });

TEST(NodeClassification, FirstLossIsThatOfTheInitialNetwork) {
  const models::GraphData graph = easy_graph();
  Options options = with(1);
  options.dropout = 0;
  const Problem problem = prepare(graph, models::FeatureScaling::raw, Device::cpu());
  const Training before = start(problem, options, std::vector<Rng>{Rng(5)});
  models::ForwardContext inference{.runs = 1};
  const Tensor logits = before.model(problem.graph, problem.features, inference).value();
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
  EXPECT_NEAR(history(trained(graph, options, {5})).loss.at(0), loss, 1e-5);
}

TEST(NodeClassification, DecaysTheFirstLayerOnly) {
  // With a huge penalty Adam moves every decayed weight towards zero, whatever the loss says.
  const models::GraphData graph = easy_graph();
  Options options = with(1);
  options.learning_rate = 1e-4;
  options.weight_decay = 1e6;
  const Problem problem = prepare(graph, models::FeatureScaling::raw, Device::cpu());
  const auto before = values_of(start(problem, options, std::vector<Rng>{Rng(1)}));
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

// Whatever a network calls them: matrices with a row for each feature.
TEST(NodeClassification, FirstLayersAreThoseThatReadTheFeatures) {
  const models::GraphData graph = easy_graph();
  const Problem problem = prepare(graph, models::FeatureScaling::raw, Device::cpu());
  using Kind = models::GraphNetworkKind;
  for (int k = 0; k <= static_cast<int>(Kind::trunk); ++k) {
    Options options = with(1);
    options.model = static_cast<Kind>(k);
    options.hidden = 8;
    options.radii = 1;
    const Training training = start(problem, options, std::vector<Rng>{Rng(1)});
    models::for_each_parameter(training.model, [&](const std::string& name, const models::Var& p) {
      const bool reads_features = p.rank() == 3 && p.size(0) == graph.features();
      const bool of_nodes = p.rank() == 3 && p.size(0) == graph.nodes;
      if (reads_features) {
        EXPECT_TRUE(training.optimizer.decays(name)) << to_string(options.model) << " " << name;
      }
      if (name.starts_with("output") || (of_nodes && name.starts_with("structure"))) {
        EXPECT_FALSE(training.optimizer.decays(name)) << to_string(options.model) << " " << name;
      }
    });
  }
}

TEST(NodeClassification, RepeatsBitForBitAndFollowsTheSeed) {
  const models::GraphData graph = easy_graph();
  const Options options = with(20);
  const Training first = trained(graph, options), second = trained(graph, options);
  EXPECT_EQ(history(first).loss, history(second).loss);
  EXPECT_EQ(values_of(first), values_of(second));
  EXPECT_NE(history(first).loss, history(trained(graph, options, {2})).loss);
}

TEST(NodeClassification, StoppedAndResumedIsTheSameTraining) {
  const models::GraphData graph = easy_graph();
  const Options options = with(23, 5);
  const Training straight = trained(graph, options, {1, 2});

  const Problem problem = prepare(graph, models::FeatureScaling::raw, Device::cpu());
  const std::vector<models::Split> splits(2, graph.fixed_splits.at(0));
  const std::vector<Rng> rngs{Rng(1), Rng(2)};
  Training training = start(problem, options, rngs);
  Hooks hooks;
  int64_t checkpoints = 0;
  hooks.checkpoint = [&](const Training& t) {
    ++checkpoints;
    EXPECT_EQ(static_cast<int64_t>(t.histories.at(1).loss.size()), t.epochs_done);
  };
  for (const int64_t stop_after : {1, 9, 10, 17}) {
    hooks.on_epoch = [&](const Training& t) {
      if (t.epochs_done >= stop_after) request_stop();
    };
    EXPECT_TRUE(resume(training, problem, splits, options, rngs, hooks).interrupted);
    EXPECT_LT(training.epochs_done, options.epochs);
    clear_stop_request();
  }
  EXPECT_GE(checkpoints, 4);
  EXPECT_FALSE(resume(training, problem, splits, options, rngs).interrupted);
  for (size_t r = 0; r < 2; ++r) {
    EXPECT_EQ(training.histories[r].loss, straight.histories[r].loss);
    EXPECT_EQ(training.histories[r].test, straight.histories[r].test);
  }
  EXPECT_EQ(training.evaluated, (std::vector<double>{5, 10, 15, 20, 23}));
  EXPECT_EQ(values_of(training), values_of(straight));
}

TEST(NodeClassification, SelectsTheFirstBestOnValidation) {
  const History history{.loss = {},
                        .train = {0.1, 0.2, 0.3, 0.4},
                        .validation = {0.5, 0.7, 0.7, 0.6},
                        .test = {0.5, 0.6, 0.8, 0.9}};
  EXPECT_EQ(selected(history, Selection::validation, 3).test, 0.6);
  EXPECT_EQ(selected(history, Selection::validation, 0).test, 0.5);
  EXPECT_EQ(selected(history, Selection::last, 3).test, 0.9);
  EXPECT_EQ(selected(history, Selection::last, 2).test, 0.8);
  EXPECT_THROW(selected(history, Selection::last, 4), Error);
  EXPECT_THROW(selected({}, Selection::last, 0), Error);
}

TEST(NodeClassification, ARunEndsWhenPatienceDoes) {
  const History history{
      .loss = {}, .train = {}, .validation = {0.5, 0.7, 0.7, 0.6, 0.8}, .test = {}};
  const std::vector<double> evaluated{10, 20, 30, 40, 45};
  EXPECT_EQ(end_of_run(history, evaluated, 0), std::nullopt);
  EXPECT_EQ(end_of_run(history, evaluated, 10), 2);
  EXPECT_EQ(end_of_run(history, evaluated, 20), 3);
  EXPECT_EQ(end_of_run(history, evaluated, 21), std::nullopt);  // better before that
  EXPECT_EQ(end_of_run({}, {}, 5), std::nullopt);
  EXPECT_THROW(end_of_run(history, {}, 5), Error);
}

// Side by side until the last has ended; what a run reports is what it reports alone.
TEST(NodeClassification, RunsThatEndEarlyAreWhatTheyAreAlone) {
  const models::GraphData graph = easy_graph();
  Options options = with(200, 2);
  options.patience = 6;
  options.select = Selection::validation;
  const std::vector<uint64_t> seeds{1, 2, 3};
  const auto reported = [&](const Training& training, size_t run) {
    const History& h = training.histories[run];
    const auto end = end_of_run(h, training.evaluated, options.patience);
    return std::pair(end, selected(h, options.select, end.value()).test);
  };
  const Training together = trained(graph, options, seeds);
  ASSERT_LT(together.epochs_done, options.epochs);
  size_t longest = 0;
  for (size_t r = 0; r < seeds.size(); ++r) {
    const Training alone = trained(graph, options, {seeds[r]});
    EXPECT_EQ(reported(together, r), reported(alone, 0)) << r;
    longest = std::max(longest, alone.evaluated.size());
  }
  EXPECT_EQ(together.evaluated.size(), longest);
}

/// Two classes of unequal size.
models::GraphData two_classes() {
  models::GraphData graph = easy_graph();
  for (int32_t& label : graph.labels.host_mutable<int32_t>()) label = label == 2;
  graph.classes = 2;
  return graph;
}

/// The share of pairs of a positive and a negative in the right order, ties half.
double pair_count(const std::vector<float>& score, const models::GraphData& graph,
                  const std::vector<int64_t>& nodes) {
  const auto label = graph.labels.values<int32_t>();
  double right = 0, pairs = 0;
  for (const int64_t p : nodes)
    for (const int64_t n : nodes) {
      const auto i = static_cast<size_t>(p), j = static_cast<size_t>(n);
      if (label[i] != 1 || label[j] != 0) continue;
      pairs += 1;
      right += score[i] > score[j] ? 1.0 : score[i] == score[j] ? 0.5 : 0.0;
    }
  return right / pairs;
}

TEST(NodeClassification, TwoClassesAreMeasuredByAuc) {
  const models::GraphData graph = two_classes();
  const Problem problem = prepare(graph, models::FeatureScaling::raw, Device::cpu());
  const models::Split& split = graph.fixed_splits.at(0);
  for (const auto model : {models::GraphNetworkKind::gcn, models::GraphNetworkKind::trunk}) {
    Options options = with(30, 10);
    options.model = model;
    const Training training = trained(graph, options, {1, 2});
    models::ForwardContext inference{.runs = 2};
    const Tensor logits = training.model(problem.graph, problem.features, inference).value();
    ASSERT_EQ(logits.size(2), model == models::GraphNetworkKind::trunk ? 1 : 2);
    for (int64_t r = 0; r < 2; ++r) {
      const auto z = logits.select(1, r).clone().values<float>();
      std::vector<float> score;
      for (size_t i = 0; i < static_cast<size_t>(graph.nodes); ++i)
        score.push_back(logits.size(2) == 1 ? z[i] : z[2 * i + 1] - z[2 * i]);
      const History& h = training.histories[static_cast<size_t>(r)];
      EXPECT_NEAR(h.test.back(), pair_count(score, graph, split.test), 1e-6);
      EXPECT_NEAR(h.validation.back(), pair_count(score, graph, split.validation), 1e-6);
      EXPECT_NEAR(h.train.back(), pair_count(score, graph, split.train), 1e-6);
      EXPECT_GT(h.test.back(), 0.7);
    }
    options.metric = models::NodeMetric::accuracy;
    const double accuracy = history(trained(graph, options)).test.back();
    const double right = accuracy * static_cast<double>(split.test.size());
    EXPECT_NEAR(right, std::round(right), 1e-9);
    EXPECT_GT(accuracy, 0.6);
  }
}

TEST(NodeClassification, ReportsByTheNameOfTheMetric) {
  std::ostringstream told;
  Progress progress(told, 0);
  Context context;
  context.progress = &progress;
  Config config;
  config.epochs = 3;
  config.runs = 2;
  config.split = models::SplitKind::random;
  config.graph.nodes = 80;
  const auto names = [&] {
    std::vector<std::string> found;
    for (const Metric& metric : run(config, context).metrics) found.push_back(metric.name);
    return found;
  };
  EXPECT_EQ(names(), (std::vector<std::string>{"test_accuracy", "validation_accuracy",
                                               "train_accuracy", "training_seconds"}));
  config.graph.classes = 2;
  EXPECT_EQ(names(), (std::vector<std::string>{"test_auc", "validation_auc", "train_auc",
                                               "training_seconds"}));
}

TEST(NodeClassification, AucNeedsTwoClasses) {
  models::GraphData graph = easy_graph();
  Options options = with(2);
  options.metric = models::NodeMetric::auc;
  test::expect_error([&] { trained(graph, options); }, {"auc", "3 classes"},
                     ErrorKind::invalid_argument);
  graph = two_classes();
  const auto label = graph.labels.values<int32_t>();
  std::erase_if(graph.fixed_splits.at(0).validation,
                [&](int64_t i) { return label[static_cast<size_t>(i)] == 1; });
  test::expect_error([&] { trained(graph, options); }, {"validation nodes of run 0", "class 1"},
                     ErrorKind::invalid_argument);
  options.metric = models::NodeMetric::accuracy;
  EXPECT_GT(history(trained(graph, options)).validation.back(), 0);
}

TEST(NodeClassification, RejectsWhatCannotBeTrained) {
  models::GraphData graph = easy_graph();
  const Problem problem = prepare(graph, models::FeatureScaling::row, Device::cpu());
  const std::vector<Rng> one{Rng(0)};
  const auto starts = [&](auto&& change) {
    Options options;
    change(options);
    (void)start(problem, options, one);
  };
  EXPECT_THROW(starts([](Options& o) { o.layers = 0; }), Error);
  EXPECT_THROW(starts([](Options& o) { o.hidden = 0; }), Error);
  EXPECT_THROW(starts([](Options& o) { o.dropout = 1; }), Error);
  EXPECT_THROW(starts([](Options& o) { o.dropout = -0.1; }), Error);
  EXPECT_THROW((void)start(problem, Options(), {}), Error);
  Training training = start(problem, Options(), one);
  EXPECT_THROW(resume(training, problem, {}, Options(), one), Error);
  graph.dense_features = Tensor::zeros({graph.nodes, 0}, DType::f32, Device::cpu());
  EXPECT_THROW(prepare(graph, models::FeatureScaling::row, Device::cpu()), Error);
  graph.dense_features = Tensor();
  EXPECT_THROW(prepare(graph, models::FeatureScaling::row, Device::cpu()), Error);
}

TEST(NodeClassification, ConfigFilesFitTheCode) {
  const std::string folder = TESSERA_SOURCE_DIR "/algorithms/node_classification/";
  Config config;
  config.runs = -1;  // the file must set it back
  load_config(config, folder + "config.json");
  EXPECT_EQ(to_string(config_json(config)), to_string(config_json(Config{})));
  load_config(config, folder + "config.smoke.json");
  EXPECT_LE(config.runs * config.epochs, 100);
  load_config(config, folder + "config.trunk.json");
  EXPECT_EQ(config.model, models::GraphNetworkKind::trunk);
  EXPECT_EQ(config.features, models::FeatureScaling::column);
}

}  // namespace
}  // namespace tessera::algorithms::node_classification
