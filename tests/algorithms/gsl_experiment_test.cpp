// The comparison and the study as experiments, and structures of real graphs.
#include "tessera/algorithms/gsl/experiment.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <sstream>

#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms::gsl {
namespace {

using test::expect_error;
using test::shared_data;
using test::TemporaryFolder;

const std::string own_folder = TESSERA_SOURCE_DIR "/algorithms/gsl/";

double cell(const Table& table, const std::string& row, const std::string& column) {
  return table.values.at(table.row(row).value()).at(table.column(column).value());
}

class GslExperiment : public testing::Test {
 protected:
  GslExperiment() : progress(text, 0) { context.progress = &progress; }

  Config smoke() const {
    Config config;
    load_config(config, own_folder + "config.smoke.json");
    return config;
  }
  /// Two classes of `each` nodes in rings, with features that tell them apart, one node isolated.
  void save(const std::string& name, int32_t each, bool with_features = true) {
    std::vector<int32_t> from, to, labels;
    std::vector<float> x;
    for (int32_t i = 0; i < 2 * each; ++i) {
      labels.push_back(i / each);
      x.insert(x.end(), {static_cast<float>(i / each), 1.0f, static_cast<float>(i % 3)});
      if (i == 0) continue;
      from.push_back(i);
      to.push_back(i / each * each + (i + 1) % each);
    }
    const auto edges = static_cast<int64_t>(from.size());
    from.insert(from.end(), to.begin(), to.end());
    std::map<std::string, Tensor> arrays{
        {"edges", Tensor::from(from, {2, edges}, Device::cpu())},
        {"labels", Tensor::from(labels, {2 * each}, Device::cpu())}};
    if (with_features) arrays["x"] = Tensor::from(x, {2 * each, 3}, Device::cpu());
    save_npz(folder / name, arrays);
  }

  std::ostringstream text;
  Progress progress;
  Context context;
  TemporaryFolder folder;
};

TEST_F(GslExperiment, StudyHasTheSameNumbersEachTime) {
  const Config config = smoke();
  const Report first = run(config, context), second = run(config, context);
  ASSERT_EQ(first.tables.size(), 8u);
  for (size_t t = 0; t < first.tables.size(); ++t)
    EXPECT_EQ(to_csv(first.tables[t]), to_csv(second.tables[t]));
  ASSERT_EQ(first.plots.size(), 3u);
  EXPECT_EQ(first.plots[0].curves.size(), 7u);
  EXPECT_EQ(first.plots[1].curves.size(), 8u);
  EXPECT_EQ(first.tables[1].name, "mutual_information");
  for (const auto& row : first.tables[1].values)
    for (const double value : row) EXPECT_TRUE(value >= 0 && value < 1.2) << value;
}

// Aggregation over neighbours of the own class with chance h: class means h mu0 + (1 - h) mu1 and
// variances (h s0 + (1 - h) s1 + h (1 - h) |mu0 - mu1|^2) / d for d neighbours.
TEST_F(GslExperiment, AggregatedFeaturesOfCsbmHHaveTheirMoments) {
  for (const double h : {0.0, 0.3, 1.0}) {
    const models::GraphData graph = models::csbm_h({.nodes0 = 4000,
                                                    .nodes1 = 4000,
                                                    .mean0 = {-1, 0},
                                                    .mean1 = {1, 0},
                                                    .variance0 = 1,
                                                    .variance1 = 5,
                                                    .homophily = h},
                                                   Rng(2));
    const models::GraphOperators operators(graph.adjacency, Device::cpu());
    const auto z = test::to_doubles(
        autograd::spmm(operators.random_walk(false), Var(graph.dense_features)).value());
    const auto degree = models::degrees(graph.adjacency);
    double mean = 0, squares = 0, expected_squares = 0, count = 0;
    const double expected = -h + (1 - h), spread = h * 1 + (1 - h) * 5 + h * (1 - h) * 4;
    for (size_t i = 0; i < 4000; ++i) {
      if (degree[i] == 0) continue;
      ++count;
      mean += z[2 * i];
      squares += (z[2 * i] - expected) * (z[2 * i] - expected);
      expected_squares += spread / static_cast<double>(degree[i]);
    }
    EXPECT_NEAR(mean / count, expected, 0.05) << h;
    EXPECT_NEAR(squares / expected_squares, 1, 0.1) << h;
  }
}

TEST_F(GslExperiment, AFolderOfGraphs) {
  save("b.npz", 20);
  save("a.npz", 14);
  save("bare.npz", 10, false);
  save_npz(folder / "scores.npz", {{"x", Tensor::zeros({2, 2}, DType::f32, Device::cpu())}});
  context.data = folder / "";
  context.out = folder / "out";
  std::filesystem::create_directories(context.out);
  Config config = smoke();
  config.comparison.backbones = {Backbone::gcn, Backbone::sgc};
  const Report report = run(config, context);
  EXPECT_EQ(report.notes.size(), 2u);
  // Of each graph: homophilies, two tables for each backbone, learners; then the summary.
  ASSERT_EQ(report.tables.size(), 13u);
  EXPECT_EQ(report.tables[0].name, "a.homophily");
  EXPECT_EQ(report.tables[1].name, "a.gcn");
  EXPECT_EQ(report.tables[2].name, "a.gcn.std");
  EXPECT_EQ(report.tables[5].name, "a.learners");
  EXPECT_EQ(report.tables[1].columns,
            (std::vector<std::string>{"none", "original", "structure", "merged", "layers",
                                      "layers_shared", "outputs", "outputs_shared"}));
  EXPECT_EQ(report.tables[1].rows.size(), 15u);
  for (const Table& table : report.tables) {
    if (!table.name.ends_with("gcn") && !table.name.ends_with("sgc")) continue;
    for (const auto& row : table.values)
      for (const double value : row) EXPECT_TRUE(value >= 0 && value <= 100) << table.name;
  }
  EXPECT_EQ(report.tables[1].values[0][0], report.tables[3].values[0][0]);  // one MLP for both
  const Table& summary = report.tables.back();
  EXPECT_EQ(summary.rows, (std::vector<std::string>{"a gcn", "a sgc", "b gcn", "b sgc"}));
  EXPECT_EQ(cell(summary, "a gcn", "homophily"), 1);
  write_report(report, context.out);
  for (const char* file : {"a.homophily.csv", "b.gcn.std.csv", "gnn_against_gsl.csv", "a.graph.svg",
                           "b.x_knn.svg", "b.gcl_cos_graph.svg", "b.predicted.svg", "report.json"})
    EXPECT_TRUE(std::filesystem::exists(context.file(file))) << file;
}

TEST_F(GslExperiment, BadInputIsNamed) {
  std::filesystem::create_directories(folder / "none");
  context.data = folder / "none";
  expect_error([&] { run(smoke(), context); }, {"no .npz file"});
  save("few.npz", 3);  // a class of three has nobody to validate on
  context.data = folder / "few.npz";
  expect_error([&] { run(smoke(), context); }, {"few", "too small"}, ErrorKind::invalid_argument);
  Config config = smoke();
  config.comparison.bases.clear();
  save("good.npz", 8);
  context.data = folder / "good.npz";
  expect_error([&] { run(config, context); }, {"bases"}, ErrorKind::invalid_argument);
  context.data.clear();
  config.study.homophily.clear();
  expect_error([&] { run(config, context); }, {"0 homophilies"}, ErrorKind::invalid_argument);
  expect_error([&] { set_config(config, "comparison.bases=x,y"); }, {"'y'"},
               ErrorKind::invalid_argument);
}

TEST_F(GslExperiment, StopsBetweenTrainings) {
  save("a.npz", 14);
  for (const std::string& data : {std::string(), folder / "a.npz"}) {
    context.data = data;
    Config config = smoke();
    config.learners.methods = {Learner::gen};
    request_stop();
    EXPECT_NO_THROW(run(config, context)) << data;
    clear_stop_request();
  }
}

// Trainings that were cut short are in no table. The clock is asked when the first is done.
TEST_F(GslExperiment, StopsDuringTrainings) {
  save("a.npz", 14);
  context.data = folder / "a.npz";
  for (const bool learners : {false, true}) {
    Config config = smoke();
    config.learners.methods.clear();
    if (learners) {
      config.comparison.fusions.clear();
      config.learners.methods = {Learner::grcn, Learner::slaps};
      config.learners.slaps.task.epochs = 5;
    }
    Progress stopping(text, 0, [] {
      request_stop();
      return std::chrono::duration<double>(0);
    });
    context.progress = &stopping;
    const Report report = run(config, context);
    EXPECT_TRUE(stop_requested());
    clear_stop_request();
    EXPECT_TRUE(report.tables.empty()) << report.tables.front().name;
    EXPECT_TRUE(report.metrics.empty());
  }
  context.progress = &progress;
}

TEST_F(GslExperiment, ConfigFilesHoldTheDefaults) {
  Config config;
  config.runs = 99;  // the file must set it back
  load_config(config, own_folder + "config.json");
  EXPECT_EQ(to_string(config_json(config)), to_string(config_json(Config{})));
  EXPECT_LE(smoke().study.learning.epochs, 20);
}

TEST(GslPicture, SortsByClassAndPartsThem) {
  const std::vector<int64_t> from{0, 1}, to{2, 3};
  const CsrMatrix graph = CsrMatrix::from_edges(4, 4, from, to, {.symmetrize = true});
  const std::string svg =
      adjacency_picture(graph, test::from_doubles({0, 1, 0, 1}, {4}, DType::i32), "a < b");
  // Sorted 0, 2, 1, 3: cells of 120, edges in the two blocks on the diagonal.
  for (const char* part : {"a &lt; b", "<rect x=\"120\" y=\"0\"", "<rect x=\"0\" y=\"120\"",
                           "<rect x=\"360\" y=\"240\"", "<rect x=\"240\" y=\"360\"", "M250 30v480"})
    EXPECT_NE(svg.find(part), std::string::npos) << part;
  EXPECT_EQ(svg.find("<rect x=\"240\" y=\"0\""), std::string::npos);
}

// Homophily of the union of every node's five nearest neighbours, as an independent program
// measured it.
TEST(GslReal, StructuresOfFeaturesAndOfTheirAggregates) {
  struct Expected {
    const char* name;
    double of_graph, of_x, of_ax;
  };
  int graphs = 0;
  for (const Expected& e :
       {Expected{"texas", .06, .65, .28}, Expected{"wisconsin", .18, .69, .35}}) {
    const std::string path = shared_data(concat("graphs/", e.name, ".npz"));
    if (path.empty()) continue;
    ++graphs;
    const Problem problem = prepare(models::load_graph(path), true, Device::cpu());
    const auto homophily = [&](Base base) {
      return models::edge_homophily(
          models::similarity_graph(make_bases(base, problem, {}, {}, {}, {}).front(), {}),
          problem.labels);
    };
    EXPECT_NEAR(models::edge_homophily(problem.adjacency, problem.labels), e.of_graph, 0.005);
    EXPECT_NEAR(homophily(Base::x), e.of_x, 0.01) << e.name;
    EXPECT_NEAR(homophily(Base::ax), e.of_ax, 0.01) << e.name;
  }
  if (graphs == 0)
    GTEST_SKIP() << "no graphs/texas.npz, graphs/wisconsin.npz in the shared data sets";
}

}  // namespace
}  // namespace tessera::algorithms::gsl
