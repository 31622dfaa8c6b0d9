// The experiment as a whole, and the tables that it makes of outcomes.
#include "tessera/algorithms/gfs/experiment.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <sstream>

#include "tessera/runtime/io/npy.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/sample_graphs.hpp"

namespace tessera::algorithms::gfs {
namespace {

using test::expect_error;
using test::SampleGraph;

const std::string own_folder = TESSERA_SOURCE_DIR "/algorithms/gfs/";

double cell(const Table& table, const std::string& row, const std::string& column) {
  return table.values.at(table.row(row).value()).at(table.column(column).value());
}

Scores scores_of(std::vector<double> validation, std::vector<double> test) {
  return {std::move(validation), std::move(test)};
}

TEST(GfsComparison, ChoosesOnValidationAndReportsTest) {
  const Pair pair{"g",
                  models::TrunkModule::sage,
                  {0, 0.3, 0.6, 1},
                  {scores_of({1, 1}, {0.5, 0.5}), scores_of({0.2, 0.4}, {0.9, 0.9}),
                   scores_of({0.4, 0.4}, {0.6, 0.8}), scores_of({1, 1}, {0.65, 0.65})}};
  EXPECT_EQ(chosen_ratio(pair), 2u);  // neither 0 nor 1, whose scores are better
  const Table table = comparison_table({pair});
  EXPECT_EQ(table.rows, std::vector<std::string>{"g sage"});
  EXPECT_NEAR(cell(table, "g sage", "MLP"), 50, 1e-12);
  EXPECT_NEAR(cell(table, "g sage", "GNN"), 65, 1e-12);
  EXPECT_NEAR(cell(table, "g sage", "GFS"), 70, 1e-12);
  EXPECT_NEAR(cell(table, "g sage", "GFS std"), 100 * std::sqrt(0.02), 1e-9);
  EXPECT_EQ(cell(table, "g sage", "r"), 0.6);
  EXPECT_NEAR(cell(table, "g sage", "GFS - GNN"), 5, 1e-9);
  EXPECT_NEAR(cell(table, "g sage", "GFS - MLP"), 20, 1e-9);
  // Differences -.05 and .15: t = 1/2 with one degree of freedom, Cauchy's distribution.
  EXPECT_NEAR(cell(table, "g sage", "p GNN"), 1 - 2 / M_PI * std::atan(0.5), 1e-9);
}

TEST(GfsComparison, CountsWins) {
  const auto pair = [](double mlp, double gfs, double gnn) {
    return Pair{
        "g",
        models::TrunkModule::gcn,
        {0, 0.5, 1},
        {scores_of({0, 0, 0}, {mlp, mlp + .01, mlp}), scores_of({0, 0, 0}, {gfs, gfs + .01, gfs}),
         scores_of({0, 0, 0}, {gnn, gnn + .01, gnn})}};
  };
  std::vector<Pair> pairs{pair(.5, .75, .625), pair(.75, .625, .5), pair(.5, .5, .5),
                          pair(.25, .5, .375)};
  pairs.push_back(
      {"h", models::TrunkModule::gcn, {0.5}, {scores_of({0}, {1})}});  // nothing to compare with
  const Table table = win_table(pairs);
  EXPECT_EQ(cell(table, "GFS - GNN", "pairs"), 4);
  EXPECT_EQ(cell(table, "GFS - GNN", "higher"), 3);
  EXPECT_EQ(cell(table, "GFS - GNN", "equal"), 1);
  EXPECT_EQ(cell(table, "GFS - GNN", "higher p<.05"), 3);  // differences that do not vary
  EXPECT_EQ(cell(table, "GFS - GNN", "sign test p"), 0.25);
  EXPECT_EQ(cell(table, "GFS - MLP", "lower"), 1);
  EXPECT_EQ(cell(table, "GFS - MLP", "lower p<.05"), 1);
  EXPECT_EQ(cell(table, "GFS - both", "higher"), 2);
  EXPECT_TRUE(std::isnan(cell(comparison_table({pairs.back()}), "h gcn", "p GNN")));
  EXPECT_TRUE(std::isnan(cell(comparison_table({pairs.back()}), "h gcn", "MLP")));
}

class GfsExperiment : public testing::Test {
 protected:
  GfsExperiment() : progress(text, 0) { context.progress = &progress; }

  static Config quick() {
    Config config;
    config.models = {models::TrunkModule::gcn, models::TrunkModule::sgc};
    config.ratios = {1, 0, 0.5, 0.5};
    config.runs = 3;
    config.together = 2;
    config.training = {.hidden = 8, .heads = 2, .learning_rate = 0.01, .epochs = 4};
    config.synthetic.graph.nodes = 80;
    config.synthetic.ratios = {0, 0.5};
    config.synthetic.training = config.training;
    return config;
  }
  /// Arrays of a graph file with two splits: an isolated node, a class of one, a constant feature.
  static std::map<std::string, Tensor> arrays() {
    const SampleGraph s(30, 4, 0, 6);
    std::vector<int32_t> ends[2];
    for (const auto& [u, v] : s.edges) {
      ends[0].push_back(static_cast<int32_t>(u));
      ends[1].push_back(static_cast<int32_t>(v));
    }
    std::vector<int32_t> edges = ends[0];
    edges.insert(edges.end(), ends[1].begin(), ends[1].end());
    std::vector<float> x;
    for (const auto& row : s.x) {
      for (const double v : row) x.push_back(static_cast<float>(v));
      x[x.size() - 2] = 1;
    }
    std::map<std::string, Tensor> out{
        {"edges", Tensor::from(edges, {2, static_cast<int64_t>(ends[0].size())}, Device::cpu())},
        {"labels", Tensor::from(s.labels, {30}, Device::cpu())},
        {"x", Tensor::from(x, {30, 4}, Device::cpu())}};
    const char* const names[] = {"train_masks", "val_masks", "test_masks"};
    for (int part = 0; part < 3; ++part) {
      Tensor mask = Tensor::zeros({2, 30}, DType::bool_, Device::cpu());
      auto* const bits = static_cast<uint8_t*>(mask.data());
      for (int64_t i = 0; i < 60; ++i) bits[i] = (i + i / 30) % 3 == part;
      out.emplace(names[part], mask);
    }
    return out;
  }

  std::ostringstream text;
  Progress progress;
  Context context;
  test::TemporaryFolder folder;
};

TEST_F(GfsExperiment, AFolderOfGraphs) {
  save_npz(folder / "b.npz", arrays());
  auto bare = arrays();
  bare.erase("x");
  save_npz(folder / "a.npz", bare);
  std::vector<float> published(8);
  for (size_t i = 0; i < 8; ++i) published[i] = static_cast<float>(i % 4);
  save_npz(folder / "scores.npz", {{"b", Tensor::from(published, {2, 4}, Device::cpu())}});
  test::write_bytes(folder / "tuned.csv", "graph,hidden,r\nb,4,0.25\n");
  context.data = folder / "";
  context.out = folder / "out";
  std::filesystem::create_directories(context.out);
  Config config = quick();
  config.published = folder / "scores.npz";
  config.tuned = folder / "tuned.csv";
  const Report report = run(config, context);
  ASSERT_EQ(report.tables.size(), 4u);
  EXPECT_EQ(report.tables[0].name, "tfi");
  EXPECT_EQ(report.tables[0].rows, std::vector<std::string>{"b"});
  EXPECT_GE(cell(report.tables[0], "b", "upper half"), cell(report.tables[0], "b", "lower half"));
  EXPECT_EQ(cell(report.tables[1], "b", "splits"), 2);
  EXPECT_EQ(cell(report.tables[1], "b", "published 0"), 1.5);
  const Table& comparison = report.tables[2];
  EXPECT_EQ(comparison.rows, (std::vector<std::string>{"b gcn", "b sgc"}));
  EXPECT_EQ(cell(comparison, "b gcn", "r"), 0.25);  // that of the file
  EXPECT_EQ(cell(comparison, "b gcn", "MLP"), cell(comparison, "b sgc", "MLP"));
  EXPECT_EQ(cell(report.tables[3], "GFS - GNN", "pairs"), 2);
  ASSERT_EQ(report.plots.size(), 1u);
  EXPECT_EQ(report.plots[0].curves[0].x, (std::vector<double>{0, 0.25, 1}));
  ASSERT_EQ(report.notes.size(), 2u);
  EXPECT_NE(report.notes[0].find("scores.npz"), std::string::npos);
  EXPECT_NE(report.notes[1].find("a.npz"), std::string::npos);
  write_report(report, context.out);
  for (const char* file : {"tfi.csv", "agreement.csv", "comparison.csv", "wins.csv", "scores.csv",
                           "curves.svg", "report.json"})
    EXPECT_TRUE(std::filesystem::exists(context.file(file))) << file;
}

TEST_F(GfsExperiment, GeneratedGraphsHaveTheSameNumbersEachTime) {
  const Config config = quick();
  const Report first = run(config, context), second = run(config, context);
  ASSERT_EQ(first.tables.size(), 3u);
  for (size_t t = 0; t < first.tables.size(); ++t)
    EXPECT_EQ(to_csv(first.tables[t]), to_csv(second.tables[t]));
  Config alone = config;
  alone.together = 1;
  EXPECT_EQ(to_csv(run(alone, context).tables[1]), to_csv(first.tables[1]));
  Config other = config;
  other.models.clear();
  other.metric = Metric::tfi_high;
  EXPECT_EQ(run(other, context).tables.size(), 1u);
}

TEST_F(GfsExperiment, FewLabels) {
  auto three = arrays();
  three["labels"].host_mutable<int32_t>()[0] = 0;
  save_npz(folder / "g.npz", three);
  context.data = folder / "g.npz";
  Config config = quick();
  config.train_per_class = 3;
  EXPECT_EQ(run(config, context).tables[1].rows.size(), 2u);
  save_npz(folder / "g.npz", arrays());
  expect_error([&] { run(config, context); }, {"class 3 of graph g has 1 nodes"},
               ErrorKind::invalid_argument);
  config.train_per_class = 0;
  save_npz(folder / "g.npz", three);
  config.split = models::SplitKind::random;
  EXPECT_EQ(run(config, context).tables[1].rows.size(), 2u);
}

TEST_F(GfsExperiment, GraphsWithoutEdges) {
  auto lonely = arrays();
  lonely["edges"] = Tensor::zeros({2, 0}, DType::i32, Device::cpu());
  save_npz(folder / "g.npz", lonely);
  context.data = folder / "g.npz";
  Config config = quick();
  config.models = {models::TrunkModule::gat, models::TrunkModule::appnp};
  const Report report = run(config, context);
  EXPECT_EQ(cell(report.tables[0], "g", "mean"), 0);
  EXPECT_TRUE(std::isfinite(cell(report.tables[1], "g gat", "GFS")));
}

TEST_F(GfsExperiment, BadInputIsNamed) {
  save_npz(folder / "g.npz", arrays());
  context.data = folder / "g.npz";
  Config config = quick();
  config.split = models::SplitKind::public_;
  expect_error([&] { run(config, context); }, {"g", "public"}, ErrorKind::invalid_argument);
  config = quick();
  config.ratios.clear();
  expect_error([&] { run(config, context); }, {"ratios"}, ErrorKind::invalid_argument);
  config = quick();
  config.models = {models::TrunkModule::gcn, models::TrunkModule::gt};
  config.training.hidden = 12;
  config.training.heads = 8;
  expect_error([&] { run(config, context); }, {"12", "8 heads of gt"}, ErrorKind::invalid_argument);
  config = quick();
  config.tuned = folder / "tuned.csv";
  test::write_bytes(config.tuned, "graph,hiden\ng,4\n");
  expect_error([&] { run(config, context); }, {"tuned.csv", "hiden", "hidden"},
               ErrorKind::invalid_argument);
  test::write_bytes(config.tuned, "graph,r\ng,4\n");
  expect_error([&] { run(config, context); }, {"tuned.csv", "out of range"},
               ErrorKind::invalid_argument);
  for (const char* layers : {"1.5", "0", "1e300"}) {
    test::write_bytes(config.tuned, concat("graph,layers\ng,", layers, "\n"));
    expect_error([&] { run(config, context); }, {"tuned.csv", "layers of g"},
                 ErrorKind::invalid_argument);
  }
  config = quick();
  config.published = folder / "scores.npz";
  save_npz(config.published, {{"g", Tensor::zeros({0, 4}, DType::f32, Device::cpu())}});
  expect_error([&] { run(config, context); }, {"scores.npz", "at least one split"},
               ErrorKind::invalid_argument);
  save_npz(config.published, {{"g", Tensor::zeros({2, 5}, DType::f32, Device::cpu())}});
  expect_error([&] { run(config, context); }, {"scores.npz", "[splits, 4]"},
               ErrorKind::invalid_argument);
  context.data.clear();
  expect_error([&] { run(config, context); }, {"--data"}, ErrorKind::invalid_argument);
  test::TemporaryFolder empty;
  context.data = empty / "";
  expect_error([&] { run(quick(), context); }, {"no .npz file"});
}

TEST_F(GfsExperiment, ConfigFilesHoldTheDefaults) {
  Config config;
  config.runs = 99;  // the file must set it back
  load_config(config, own_folder + "config.json");
  EXPECT_EQ(to_string(config_json(config)), to_string(config_json(Config{})));
  load_config(config, own_folder + "config.smoke.json");
  EXPECT_LE(config.runs * config.synthetic.training.epochs, 100);
}

}  // namespace
}  // namespace tessera::algorithms::gfs
