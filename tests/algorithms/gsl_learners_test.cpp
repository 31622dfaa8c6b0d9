// Networks that learn their structure.
#include <gtest/gtest.h>

#include <cmath>

#include "tessera/algorithms/gsl/learner_comparison.hpp"
#include "tessera/models/data/synthetic.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms::gsl {
namespace {

models::GraphData easy_graph(double homophily = 0.9) {
  return models::synthetic_graph({.nodes = 90,
                                  .classes = 3,
                                  .features = 10,
                                  .degree = 6,
                                  .homophily = homophily,
                                  .feature_signal = 1.5,
                                  .splits = 2},
                                 Rng(3));
}

/// Short trainings.
LearnerOptions quick() {
  LearnerOptions o;
  o.methods = {Learner::grcn, Learner::idgl, Learner::slaps,
               Learner::gen,  Learner::gaug, Learner::nodeformer};
  for (TaskOptions* task :
       {&o.grcn.task, &o.idgl.task, &o.slaps.task, &o.gen.task, &o.gaug.task, &o.nodeformer.task}) {
    task->epochs = 40;
    task->hidden = 16;
    task->dropout = 0.2;
    task->learning_rate = 0.02;
    task->evaluate_every = 10;
  }
  o.grcn.k = 10;
  o.grcn.graph_learning_rate = 0.01;
  o.idgl.anchors = 30;
  o.idgl.iterations = 4;
  o.slaps.k = 8;
  o.slaps.denoising_hidden = 16;
  o.gen.task.epochs = 20;
  o.gen.iterations = 3;
  o.gaug.embedding_hidden = 16;
  o.gaug.embedding = 8;
  o.gaug.candidates = 6;
  o.gaug.pretrain_edges = 30;
  o.gaug.pretrain_nodes = 5;
  o.nodeformer.samples = 3;
  return o;
}

class GslLearners : public testing::TestWithParam<Learner> {};

TEST_P(GslLearners, LearnAndRepeat) {
  const models::GraphData graph = easy_graph();
  const Problem problem = prepare(graph, false, Device::cpu());
  const auto run = [&](uint64_t seed) {
    return learn(GetParam(), problem, graph.fixed_splits.at(0), quick(), Rng(seed));
  };
  const Learned first = run(1), again = run(1);
  EXPECT_GT(first.scores.test, 0.5);  // chance is a third
  EXPECT_GT(first.scores.epoch, 0);
  EXPECT_EQ(first.scores.test, again.scores.test);
  EXPECT_EQ(first.scores.validation, again.scores.validation);
  if (GetParam() == Learner::nodeformer)
    EXPECT_TRUE(std::isnan(first.homophily));
  else
    EXPECT_GT(first.homophily, 0.4);
}

TEST_P(GslLearners, GraphsWithoutEdgesAreFine) {
  models::GraphData graph = easy_graph();
  graph.adjacency = CsrMatrix::from_edges(graph.nodes, graph.nodes, {}, {});
  const Problem problem = prepare(graph, false, Device::cpu());
  const Learned found = learn(GetParam(), problem, graph.fixed_splits.at(0), quick(), Rng(1));
  EXPECT_GT(found.scores.test, 0.5);
}

INSTANTIATE_TEST_SUITE_P(Each, GslLearners, testing::ValuesIn(quick().methods),
                         [](const auto& each) { return std::string(to_string(each.param)); });

// What the autoencoder learned of A is there after the GCN's own pretraining, whose weight decay is
// not for it.
TEST(GslGaug, PretrainingTheGcnLeavesTheAutoencoder) {
  const models::GraphData graph = easy_graph();
  const Problem problem = prepare(graph, false, Device::cpu());
  LearnerOptions options = quick();
  options.gaug.task.epochs = 1;
  options.gaug.task.weight_decay = 1e-3;
  const auto homophily = [&](int64_t pretrain_nodes) {
    options.gaug.pretrain_nodes = pretrain_nodes;
    return gaug(problem, graph.fixed_splits.at(0), options.gaug, Rng(1)).homophily;
  };
  const double without = homophily(0);
  EXPECT_GT(without, 0.75);
  EXPECT_NEAR(homophily(60), without, 0.02);
}

TEST(GslLearnerComparison, HasARowForEachAndEverySplit) {
  const models::GraphData graph = easy_graph();
  const Problem problem = prepare(graph, false, Device::cpu());
  LearnerOptions options = quick();
  options.methods = {Learner::grcn, Learner::nodeformer};
  int64_t told = 0;
  const auto results = compare_learners(problem, graph.fixed_splits, options, Rng(1),
                                        [&](int64_t done, int64_t total, const std::string&) {
                                          EXPECT_EQ(done, ++told);
                                          EXPECT_EQ(total, 12);
                                        });
  EXPECT_EQ(told, 12);
  ASSERT_EQ(results.size(), 2u);
  for (const LearnerResult& result : results)
    for (const LearnerSide* side : {&result.with, &result.on_graph, &result.without_edges}) {
      ASSERT_EQ(side->test.size(), 2u);
      EXPECT_GT(side->seconds[0], 0);
      EXPECT_GT(side->peak_bytes[0], 4 * 90 * 10);  // at least a copy of activations
    }
  // The structure costs memory that a GCN on A does not need.
  EXPECT_GT(results[0].with.peak_bytes[0], results[0].on_graph.peak_bytes[0]);
  const Table table = learner_table("small", results);
  EXPECT_EQ(table.name, "small.learners");
  EXPECT_EQ(table.rows, (std::vector<std::string>{"grcn", "nodeformer"}));
  EXPECT_EQ(table.columns.size(), 13u);
  EXPECT_NEAR(table.values[0][0], 50 * (results[0].with.test[0] + results[0].with.test[1]), 1e-9);
}

}  // namespace
}  // namespace tessera::algorithms::gsl
