#include "tessera/algorithms/grid.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "tessera/runtime/error.hpp"

namespace tessera::algorithms {
namespace {

namespace fs = std::filesystem;

struct Config {
  double x = 0;
  int64_t y = 1;
  std::string mode = "plain";

  static void visit(auto& self, auto&& f) {
    f("x", self.x, "");
    f("y", self.y, "", Bounds::at_least(0));
    f("mode", self.mode, "");
  }
};

int calls = 0;

// Best where x is 3; `test_accuracy` is best where it is not.
Report parabola(const Config& config, Context&) {
  ++calls;
  if (config.mode == "stop") throw Error(ErrorKind::cancelled, "stopped");
  Report report;
  if (config.mode == "more") report.add("extra", 7);
  for (const double noise : {-0.25, 0.25}) {
    report.add("validation_accuracy",
               config.mode == "nan" ? NAN : -(config.x - 3) * (config.x - 3) + noise);
    report.add("test_accuracy", config.x + static_cast<double>(config.y));
  }
  return report;
}

class GridTest : public testing::Test {
 protected:
  GridTest() : progress(text, 0) {
    folder = fs::temp_directory_path() / concat("tessera_grid_", getpid());
    fs::remove_all(folder);
    context.progress = &progress;
    calls = 0;
  }
  ~GridTest() override { fs::remove_all(folder); }

  Report run(const std::vector<std::string>& texts, const std::string& metric,
             const Settings& settings = {}) {
    const Grid grid = Grid::parse(texts);
    return run_grid(configure(example, settings, grid), grid, metric, context);
  }

  Algorithm example = algorithm("example", "", parabola);
  std::ostringstream text;
  Progress progress;
  Context context;
  fs::path folder;
};

TEST_F(GridTest, CountsLikeAnOdometer) {
  const Grid grid = Grid::parse(std::vector<std::string>{"a=1,2", "b=x,y,z"});
  ASSERT_EQ(grid.size(), 6);
  EXPECT_EQ(grid.assignments(0), (std::vector<std::string>{"a=1", "b=x"}));
  EXPECT_EQ(grid.assignments(1), (std::vector<std::string>{"a=1", "b=y"}));
  EXPECT_EQ(grid.assignments(5), (std::vector<std::string>{"a=2", "b=z"}));
  EXPECT_EQ(Grid{}.size(), 1);
  EXPECT_TRUE(Grid{}.assignments(0).empty());
}

TEST_F(GridTest, ReportsTheBestAndAllMeans) {
  const Report report = run({"x=1,2.5,4", "y=0,7"}, "validation_accuracy");
  EXPECT_EQ(calls, 6);
  const Json* x = report.config.find("x");
  ASSERT_TRUE(x && x->get_if<double>());
  EXPECT_EQ(*x->get_if<double>(), 2.5);
  ASSERT_EQ(report.tables.size(), 1u);
  const Table& table = report.tables[0];
  ASSERT_EQ(table.rows.size(), 6u);
  EXPECT_EQ(table.rows[3], "x=2.5 y=7");
  EXPECT_EQ(table.columns, (std::vector<std::string>{"validation_accuracy", "test_accuracy"}));
  EXPECT_EQ(table.values[0], (std::vector<double>{-4, 1}));
  EXPECT_EQ(table.values[5], (std::vector<double>{-1, 11}));
  EXPECT_EQ(report.notes.back(), "best of 6 by validation_accuracy: x=2.5 y=0");
  EXPECT_EQ(run({"x=1,2.5,4", "y=0,7"}, "test_accuracy").notes.back(),
            "best of 6 by test_accuracy: x=4 y=7");
}

TEST_F(GridTest, NotANumberLosesAgainstAnyNumber) {
  EXPECT_EQ(run({"mode=nan,plain,nan"}, "validation_accuracy").notes.back(),
            "best of 3 by validation_accuracy: mode=plain");
}

TEST_F(GridTest, MetricsThatSomeExperimentsLack) {
  const Report report = run({"mode=more,plain"}, "validation_accuracy");
  const Table& table = report.tables.at(0);
  EXPECT_EQ(table.columns,
            (std::vector<std::string>{"extra", "validation_accuracy", "test_accuracy"}));
  EXPECT_EQ(table.values.at(0), (std::vector<double>{7, -9, 1}));
  EXPECT_TRUE(std::isnan(table.values.at(1).at(0)));
  EXPECT_EQ(table.values.at(1).at(1), -9);
}

TEST_F(GridTest, RefusesResultsOfOtherData) {
  context.out = folder.string();
  context.data = (folder / "a").string();
  run({"x=1,3"}, "validation_accuracy");
  context.resume = true;
  context.data = (folder / "." / "a").string();  // the same
  run({"x=1,3"}, "validation_accuracy");
  EXPECT_EQ(calls, 2);
  context.data = (folder / "b").string();
  EXPECT_THROW(run({"x=1,3"}, "validation_accuracy"), Error);
  context.resume = false;  // begins anew
  run({"x=1,3"}, "validation_accuracy");
  EXPECT_EQ(calls, 4);
}

TEST_F(GridTest, GoesOnWhereItWasStopped) {
  context.out = folder.string();
  EXPECT_THROW(run({"x=1,3", "mode=plain,stop"}, "validation_accuracy"), Error);
  EXPECT_EQ(calls, 2);
  context.resume = true;
  EXPECT_THROW(run({"x=1,3", "mode=plain,stop"}, "validation_accuracy"), Error);
  EXPECT_EQ(calls, 3);  // the first was not run again
  // what it reported is what it had found
  const Report report = run({"x=1"}, "validation_accuracy");
  EXPECT_EQ(calls, 3);
  EXPECT_EQ(report.metrics.at(0).runs, (std::vector<double>{-4.25, -3.75}));
  EXPECT_EQ(report.tables.at(0).values.at(0), (std::vector<double>{-4, 2}));
}

TEST_F(GridTest, RefusesResultsOfOtherSettings) {
  context.out = folder.string();
  run({"x=1,3"}, "validation_accuracy");
  context.resume = true;
  EXPECT_THROW(run({"x=1,4"}, "validation_accuracy"), Error);
  context.seed = 5;
  EXPECT_THROW(run({"x=1,3"}, "validation_accuracy"), Error);
  context.seed = 0;
  std::ofstream(folder / "grid" / "0" / "report.json") << "{\"config\": ";
  EXPECT_THROW(run({"x=1,3"}, "validation_accuracy"), Error);
}

TEST_F(GridTest, RejectsBeforeAnythingRuns) {
  for (const char* wrong : {"x", "=1", "x=", "x=1,", "x=,1", "x=1,,2", "z=1", "x=1,abc", "y=1,-1"})
    EXPECT_THROW(run({wrong}, "validation_accuracy"), Error) << wrong;
  EXPECT_THROW(run({"x=1", "x=2"}, "validation_accuracy"), Error);
  EXPECT_THROW(run({"x=1,2"}, "validation_accuracy", {.config_file = {}, .assignments = {"x=5"}}),
               Error);
  const std::vector<std::string> huge(7, "k=0,1,2,3,4,5,6,7,8,9");
  std::vector<std::string> axes;
  for (size_t i = 0; i < huge.size(); ++i)
    axes.push_back("k" + std::to_string(i) + huge[i].substr(1));
  EXPECT_THROW(Grid::parse(axes), Error);
  EXPECT_EQ(calls, 0);
  EXPECT_THROW(run({"x=1"}, "loss"), Error);
}

}  // namespace
}  // namespace tessera::algorithms
