// The experiment as a whole.
#include "tessera/algorithms/hignn/experiment.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms::hignn {
namespace {

using test::expect_error;
using test::TemporaryFolder;

const std::string own_folder = TESSERA_SOURCE_DIR "/algorithms/hignn/";

class HignnExperiment : public testing::Test {
 protected:
  HignnExperiment() : progress(text, 0) {
    context.seed = 3;
    context.out = folder / "";
    context.progress = &progress;
  }
  std::ostringstream text;
  Progress progress;
  Context context;
  TemporaryFolder folder;

  static Config quick() {
    Config config;
    load_config(config, own_folder + "config.smoke.json");
    return config;
  }
};

double cell(const Table& table, const std::string& row, const std::string& column) {
  return table.values.at(table.row(row).value()).at(table.column(column).value());
}

TEST_F(HignnExperiment, TablesAndPictures) {
  Config config = quick();
  config.lambdas = {1, 0.01};
  const Report report = run(config, context);
  ASSERT_EQ(report.tables.size(), 2u);
  const Table& accuracies = report.tables[0];
  ASSERT_EQ(accuracies.rows.size(), 4u);  // first stage, two weights, the chosen one
  EXPECT_EQ(parse_csv(to_csv(accuracies), "accuracies").rows, accuracies.rows);
  const std::string graph = accuracies.rows[0].substr(0, accuracies.rows[0].find(':'));
  const auto validation = [&](size_t row) {
    return accuracies.values[row][accuracies.column("validation").value()];
  };
  EXPECT_EQ(validation(3), std::max(validation(1), validation(2)));
  const size_t better = validation(1) >= validation(2) ? 1 : 2;
  for (size_t c = 0; c < accuracies.columns.size(); ++c)
    EXPECT_EQ(accuracies.values[3][c], accuracies.values[better][c]);

  // Of the synthetic graph, one in twenty of whose edges stays within a class.
  const Table& homophilies = report.tables[1];
  EXPECT_NEAR(cell(homophilies, graph, "A"), 0.05, 0.06);
  for (const double threshold : config.homophily_at) {
    const std::string column = concat(static_cast<float>(threshold));
    EXPECT_GT(cell(homophilies, graph, column), 0) << column;
    EXPECT_LE(cell(homophilies, graph, column), 1) << column;
  }
  EXPECT_GT(cell(homophilies, graph, "ratio 0.3"), cell(homophilies, graph, "ratio 0.9"));
  std::vector<std::string> names = folder.names();
  for (const std::string& name :
       {graph + "_A.svg", graph + "_A_new.csv", std::string("homophily.svg")})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
  const auto first = std::find_if(report.metrics.begin(), report.metrics.end(), [&](const auto& m) {
    return m.name == graph + " first_test_accuracy";
  });
  ASSERT_NE(first, report.metrics.end());
  EXPECT_EQ(first->runs.size(), 2u);
}

TEST_F(HignnExperiment, AblationsRunOnEveryNewGraph) {
  Config config = quick();
  config.ablations = true;
  config.first.epochs = config.second.epochs = 3;
  config.runs = 1;
  config.graph.nodes = 60;
  context.out.clear();
  const Report report = run(config, context);
  const Table& accuracies = report.tables[0];
  EXPECT_EQ(accuracies.rows.size(), 1u + 1 + 2 + 5 + 10 + 1);
  for (const auto& row : accuracies.values) EXPECT_TRUE(std::isfinite(row[0]));
}

TEST_F(HignnExperiment, BackbonesOfEveryKind) {
  for (const char* backbone : {"gcn", "gat", "sage", "sgc", "mixhop"}) {
    Config config = quick();
    parse(backbone, config.first.backbone);
    parse(backbone, config.second.backbone);
    config.first.epochs = config.second.epochs = 3;
    config.graph.nodes = 60;
    context.out.clear();
    EXPECT_EQ(run(config, context).tables[0].rows.size(), 3u) << backbone;
  }
}

TEST_F(HignnExperiment, BadInput) {
  Config config = quick();
  config.lambdas.clear();
  expect_error([&] { run(config, context); }, {"lambdas"}, ErrorKind::invalid_argument);
  config = quick();
  config.new_graph.kind = NewGraphKind::k_means;
  config.new_graph.clusters = 100000;
  expect_error([&] { run(config, context); }, {"100000 clusters", "synthetic"},
               ErrorKind::invalid_argument);
  context.data = folder / "";
  expect_error([&] { run(quick(), context); }, {"'edges'", "'labels'"});
  context.data = folder / "missing.npz";
  expect_error([&] { run(quick(), context); }, {"missing.npz"});
  context.data.clear();
  context.resume = true;
  expect_error([&] { run(quick(), context); }, {"resumed"}, ErrorKind::invalid_argument);
}

TEST(HignnConfig, FilesAreTheDefaultsAndASmallRun) {
  Config config;
  config.runs = 99;  // the file must set it back
  load_config(config, own_folder + "config.json");
  EXPECT_EQ(to_string(config_json(config)), to_string(config_json(Config{})));
  load_config(config, own_folder + "config.smoke.json");
  EXPECT_LE(config.runs * config.second.epochs, 100);
}

}  // namespace
}  // namespace tessera::algorithms::hignn
