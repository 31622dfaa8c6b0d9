// The experiment as a whole, and the published tables on the data sets they are of.
#include "tessera/algorithms/trihom/experiment.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <fstream>
#include <map>
#include <sstream>

#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms::trihom {
namespace {

using test::expect_error;
using test::shared_data;
using test::TemporaryFolder;

const std::string own_folder = TESSERA_SOURCE_DIR "/algorithms/trihom/";

Table table_at(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  return parse_csv(std::string{std::istreambuf_iterator<char>(in), {}}, path);
}

Table published() { return table_at(shared_data("graphs/homophily_reference.csv")); }

double cell(const Table& table, const std::string& row, const std::string& column) {
  return table.values.at(table.row(row).value()).at(table.column(column).value());
}

class TrihomPublished : public testing::Test {
 protected:
  void SetUp() override {
    if (shared_data("graphs/homophily_reference.csv").empty())
      GTEST_SKIP() << "no graphs/homophily_reference.csv in the shared data sets";
  }
};

// Every graph of the table whose file is there.
TEST_F(TrihomPublished, MetricsOfEveryGraph) {
  const Table reference = published();
  const std::vector<std::string> exact{"h_edge", "h_node",   "h_class",  "h_adj", "h_den",
                                       "h_2hop", "h_nei",    "LI",       "h_NS",  "h_S",
                                       "h_GE",   "h_LS_cos", "h_LS_euc", "h_attr"};
  MetricOptions options{.mode = Mode::compat, .classifiers = {.trials = 0}};
  int graphs = 0;
  for (const std::string& name : reference.rows) {
    const std::string path =
        shared_data("graphs/" + name + (name == "pubmed" ? "_graph_only" : "") + ".npz");
    if (path.empty()) continue;
    ++graphs;
    models::GraphData data = models::load_graph(path);
    data.name = name;
    const GraphMetrics metrics = graph_metrics(data, options, Rng(0), cell(reference, name, "h_F"));
    const Table row = metric_table({metrics});
    for (const std::string& column : exact) {
      const double found = cell(row, name, column);
      if (std::isnan(found)) continue;  // of features that are not there, which the next line asks
      EXPECT_NEAR(found, cell(reference, name, column), 2e-4) << name << " " << column;
    }
    EXPECT_EQ(std::isnan(cell(row, name, "h_attr")), !data.has_features()) << name;
    // 10,000 nodes and more are sampled, by other random numbers than ours.
    EXPECT_NEAR(cell(row, name, "h_agg"), cell(reference, name, "h_agg"),
                data.nodes < 10000 ? 2e-4 : 6e-3)
        << name;
    if (data.has_features()) {
      EXPECT_NEAR(cell(row, name, "h_CF"), cell(reference, name, "h_CF"), 5e-4) << name;
    }
    for (const char* column : {"J_notG", "J_G"})
      EXPECT_NEAR(cell(row, name, column), cell(reference, name, column), 2e-4) << name << column;
  }
  EXPECT_GT(graphs, 0);
}

// Its h_edge column has self-loops in six rows, where Tri-Hom's h_L has none.
TEST_F(TrihomPublished, TriHomOfAllRows) {
  const Table reference = published();
  ASSERT_EQ(reference.rows.size(), 31u);
  const std::map<std::string, double> without_loops{{"questions", 0.8396}, {"citeseer", 0.7355},
                                                    {"flickr", 0.3195},    {"ogbn_arxiv", 0.6542},
                                                    {"genius", 0.5932},    {"wikics", 0.6543}};
  for (const std::string& name : reference.rows) {
    const auto known = without_loops.find(name);
    const double h_l =
        known != without_loops.end() ? known->second : cell(reference, name, "h_edge");
    const TriHom found =
        tri_hom(h_l, cell(reference, name, "h_S"), cell(reference, name, "h_F"), 3, 10);
    EXPECT_NEAR(found.without_graph, cell(reference, name, "J_notG"), 2e-4) << name;
    EXPECT_NEAR(found.with_graph, cell(reference, name, "J_G"), name == "flickr" ? 5e-4 : 3e-4)
        << name;
  }
}

TEST_F(TrihomPublished, CorrelationsWithTheReproducedAccuracies) {
  const Table found = correlations(published(), table_at(own_folder + "accuracies.csv"));
  const std::map<std::string, std::array<double, 4>> expected{
      {"h_edge", {.523, .698, .571, .657}}, {"h_class", {.676, .663, .578, .631}},
      {"h_adj", {.549, .605, .486, .567}},  {"h_agg", {.578, .564, .591, .563}},
      {"h_S", {.266, .505, .429, .477}},    {"h_F", {.445, .537, .445, .518}},
      {"J_notG", {.642, .680, .581, .648}}, {"J_G", {.661, .814, .732, .791}}};
  const char* const models[] = {"MLP", "GCN", "SAGE", "GAT"};
  for (const auto& [metric, values] : expected)
    for (size_t m = 0; m < 4; ++m)
      EXPECT_NEAR(cell(found, metric, models[m]), values[m], 1e-3) << metric << " " << models[m];
  for (const std::string& metric : found.rows)  // the paper's claim: none ranks before J_G
    EXPECT_GE(cell(found, metric, "rank"), cell(found, "J_G", "rank")) << metric;
}

TEST_F(TrihomPublished, ValuesOfTheCorrectReading) {
  if (shared_data("graphs/cora.npz").empty() || shared_data("graphs/texas.npz").empty())
    GTEST_SKIP() << "no graphs/cora.npz and graphs/texas.npz in the shared data sets";
  MetricOptions options{.mode = Mode::correct, .classifiers = {.trials = 0}};
  const auto of = [&](const std::string& name) {
    return graph_metrics(models::load_graph(shared_data("graphs/" + name)), options, Rng(0));
  };
  EXPECT_NEAR(of("cora.npz").label.graph.informativeness, 0.5904, 1e-4);
  EXPECT_NEAR(of("texas.npz").label.graph.informativeness, 0.1923, 1e-4);
  EXPECT_NEAR(of("cora.npz").label.graph.adjusted, 0.7711, 1e-4);
}

class TrihomExperiment : public testing::Test {
 protected:
  TrihomExperiment() : progress(text, 0) { context.progress = &progress; }

  void save(const std::string& name, std::map<std::string, Tensor> arrays) {
    save_npz(folder / name, arrays);
  }
  static std::map<std::string, Tensor> triangle_and_tail() {
    return {{"edges", Tensor::from<int32_t>({0, 1, 2, 2, 1, 3, /**/ 1, 2, 0, 3, 0, 3}, {2, 6},
                                            Device::cpu())},
            {"labels", Tensor::from<int32_t>({0, 0, 0, 1, 1}, {5}, Device::cpu())},
            {"x", Tensor::from<float>({1, 0, 1, 0, 1, 1, 0, 1, 0, 0}, {5, 2}, Device::cpu())}};
  }
  Config quick() const {
    Config config;
    config.classifiers.trials = 0;
    config.learning.epochs = 5;
    config.grid.nodes = 60;
    config.grid.runs = 2;
    config.grid.label_homophily = {0.1, 0.9};
    config.grid.structural_homophily = {0.8};
    config.grid.feature_homophily = {0};
    return config;
  }

  std::ostringstream text;
  Progress progress;
  Context context;
  TemporaryFolder folder;
};

TEST_F(TrihomExperiment, AFolderOfGraphs) {
  save("b.npz", triangle_and_tail());
  auto other = triangle_and_tail();
  other.erase("x");
  save("a.npz", other);
  save("scores.npz", {{"x", Tensor::zeros({2, 2}, DType::f32, Device::cpu())}});
  test::write_bytes(folder / "known.csv", "dataset,h_edge,h_F\na,0.5,0.25\n");
  test::write_bytes(folder / "accuracies.csv", "dataset,MLP\na,1\nb,2\n");
  context.data = folder / "";
  context.out = folder / "out";
  std::filesystem::create_directories(context.out);
  Config config = quick();
  config.published = folder / "known.csv";
  config.accuracies = folder / "accuracies.csv";
  const Report report = run(config, context);
  ASSERT_EQ(report.tables.size(), 3u);
  const Table& metrics = report.tables[0];
  EXPECT_EQ(metrics.rows, (std::vector<std::string>{"a", "b"}));
  // Edges that come twice and in both directions count once; the self-loop counts as one end.
  EXPECT_NEAR(cell(metrics, "a", "h_edge"), 7 / 9.0, 1e-12);
  EXPECT_FALSE(std::isnan(cell(metrics, "a", "J_G")));  // with the h_F that is known
  EXPECT_NEAR(cell(report.tables[2], "h_edge", "largest"), 7 / 9.0 - 0.5, 1e-12);
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_NE(report.notes[0].find("scores.npz"), std::string::npos);
  write_report(report, context.out);
  for (const char* file : {"metrics.csv", "metrics.svg", "correlations.csv", "correlations.svg",
                           "deviations.csv", "a.classes.csv", "b.features.csv", "report.json"})
    EXPECT_TRUE(std::filesystem::exists(context.file(file))) << file;
  EXPECT_NE(report_table(report).find("dataset"), std::string::npos);
}

TEST_F(TrihomExperiment, BadInputIsNamed) {
  auto arrays = triangle_and_tail();
  arrays.erase("labels");
  save("damaged.npz", arrays);
  context.data = folder / "";
  expect_error([&] { run(quick(), context); }, {"damaged.npz", "'labels'"});
  arrays = triangle_and_tail();
  arrays["x"].host_mutable<float>()[3] = NAN;
  save("damaged.npz", arrays);
  expect_error([&] { run(quick(), context); }, {"damaged.npz", "'x'", "feature 1 of node 1"});
  TemporaryFolder empty;
  context.data = empty / "";
  expect_error([&] { run(quick(), context); }, {"no .npz file", "'edges' and 'labels'"});
  context.data = folder / "table.csv";
  test::write_bytes(context.data, "dataset,h_edge\na,x\n");
  expect_error([&] { run(quick(), context); }, {"table.csv", "accuracies"},
               ErrorKind::invalid_argument);
  Config config = quick();
  config.accuracies = own_folder + "accuracies.csv";
  expect_error([&] { run(config, context); }, {"table.csv, line 2", "'h_edge'", "'x'"});
  context.data.clear();
  expect_error([&] { run(config, context); }, {"--data"}, ErrorKind::invalid_argument);
}

TEST_F(TrihomExperiment, GeneratedGraphsHaveTheSameNumbersEachTime) {
  const Config config = quick();
  const Report first = run(config, context), second = run(config, context);
  ASSERT_EQ(first.tables.size(), 5u);
  for (size_t t = 0; t < first.tables.size(); ++t)
    EXPECT_EQ(to_csv(first.tables[t]), to_csv(second.tables[t]));
  EXPECT_EQ(first.tables[0].columns, (std::vector<std::string>{"L0.1", "L0.9"}));
  EXPECT_EQ(first.tables[0].rows, (std::vector<std::string>{"S0.8 F0"}));
  Config other = config;
  other.grid.generator = Generator::csbm_h;
  EXPECT_EQ(run(other, context).tables[0].rows, (std::vector<std::string>{"csbm_h"}));
}

TEST_F(TrihomExperiment, StoppedBeforeItsFirstGraph) {
  test::TemporaryFolder out;
  context.out = out / "";
  request_stop();
  EXPECT_NO_THROW(run(quick(), context));
  clear_stop_request();
}

// Accuracies of a two-layer MLP and GCN as an independent program found them, within the spread of
// three graphs.
TEST_F(TrihomExperiment, NetworksOnGeneratedGraphs) {
  struct Spot {
    double h_s, h_f, h_l, mlp, gcn;
  };
  const Spot spots[] = {{.2, 0, 1, .82, .89}, {.8, 0, .2, .82, .51}, {.8, .8, 1, .92, .98}};
  Config config;
  config.classifiers.trials = 0;
  for (const Spot& spot : spots) {
    config.grid.label_homophily = {spot.h_l};
    config.grid.structural_homophily = {spot.h_s};
    config.grid.feature_homophily = {spot.h_f};
    const Report report = run(config, context);
    EXPECT_NEAR(report.tables[0].values[0][0], spot.mlp, 0.06) << spot.h_s << " " << spot.h_l;
    EXPECT_NEAR(report.tables[1].values[0][0], spot.gcn, 0.06) << spot.h_s << " " << spot.h_l;
  }
}

TEST_F(TrihomExperiment, ConfigFilesHoldTheDefaults) {
  Config config;
  config.grid.runs = 99;  // the file must set it back
  load_config(config, own_folder + "config.json");
  EXPECT_EQ(to_string(config_json(config)), to_string(config_json(Config{})));
  load_config(config, own_folder + "config.smoke.json");
  EXPECT_LE(config.grid.runs * config.learning.epochs, 100);
}

}  // namespace
}  // namespace tessera::algorithms::trihom
