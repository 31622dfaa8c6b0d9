#include "tessera/algorithms/experiment.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera::algorithms {
namespace {

namespace fs = std::filesystem;

class RunExperiment : public testing::Test {
 protected:
  RunExperiment() : progress(text, 0) {
    folder = fs::temp_directory_path() / concat("tessera_experiment_", getpid());
    fs::remove_all(folder);
    context.progress = &progress;
    context.out = (folder / "a" / "b").string();
  }
  ~RunExperiment() override { fs::remove_all(folder); }

  static std::string content(const std::string& path) {
    std::ifstream in(path);
    EXPECT_TRUE(in) << path;
    return {std::istreambuf_iterator<char>(in), {}};
  }

  std::ostringstream text;
  Progress progress;
  Context context;
  fs::path folder;
  Experiment experiment{
      "example", parse_json(R"({"lr": 0.5})", "test"), [](Context&) {
        const Tensor big = Tensor::zeros({1000}, DType::f32, Device::cpu());
        Report report;
        for (const double accuracy : {0.5, 0.75}) report.add("test_accuracy", accuracy);
        report.add("broken", std::numeric_limits<double>::quiet_NaN());
        report.plots.push_back({"loss", "step", "", {{"train", {0, 1}, {2, 1.5}}}});
        return report;
      }};
};

TEST_F(RunExperiment, FillsInTheSurroundings) {
  context.seed = 7;
  const Report report = run_experiment(experiment, context);
  EXPECT_EQ(report.algorithm, "example");
  EXPECT_EQ(report.seed, 7u);
  EXPECT_GE(report.peak_bytes, 4000);
  EXPECT_GT(report.seconds, 0);
}

TEST_F(RunExperiment, LeavesItsFiles) {
  const Report report = run_experiment(experiment, context);
  EXPECT_EQ(content(context.file("config.json")), "{\n  \"lr\": 0.5\n}\n");
  EXPECT_FALSE(fs::exists(context.file("report.json")));
  write_report(report, context.out);

  const Json json = parse_json(content(context.file("report.json")), "report.json");
  std::vector<std::string> keys;
  for (const auto& [key, value] : *json.get_if<Json::Object>()) keys.push_back(key);
  EXPECT_EQ(keys, (std::vector<std::string>{"algorithm", "config", "seed", "device", "versions",
                                            "metrics", "seconds", "peak_bytes"}));
  const Json& accuracy = *json.find("metrics")->find("test_accuracy");
  EXPECT_EQ(to_string(accuracy),
            concat(R"({"mean":0.625,"std":)", std::sqrt(0.03125), R"(,"runs":[0.5,0.75]})"));
  EXPECT_EQ(to_string(*json.find("metrics")->find("broken")->find("runs")), "[null]");
  for (const char* name : {"tessera", "compiler", "cpu_kernels", "blas"})
    EXPECT_TRUE(json.find("versions")->find(name)) << name;

  EXPECT_EQ(content(context.file("curves.csv")),
            "plot,curve,x,y\nloss,train,0,2\nloss,train,1,1.5\n");
  EXPECT_EQ(content(context.file("curves.svg")).substr(0, 4), "<svg");
}

TEST_F(RunExperiment, CurvesWithCommasInTheirNames) {
  Report report = run_experiment(experiment, context);
  report.plots = {{"roc, logarithmic", "", "", {{"a \"b\"", {1}, {0.5}}}}};
  write_report(report, context.out);
  EXPECT_EQ(content(context.file("curves.csv")),
            "plot,curve,x,y\n\"roc, logarithmic\",\"a \"\"b\"\"\",1,0.5\n");
}

TEST_F(RunExperiment, WritesNothingWithoutAFolder) {
  context.out.clear();
  run_experiment(experiment, context);
  EXPECT_FALSE(fs::exists(folder));
}

TEST_F(RunExperiment, RefusesABadFolderBeforeTheWork) {
  fs::create_directories(folder);
  std::ofstream(folder / "file") << "x";
  bool ran = false;
  experiment.run = [&](Context&) { return ran = true, Report(); };
  for (const char* name : {"file", "file/below", "/dev/null/x", "/proc/nothing"}) {
    context.out = name[0] == '/' ? name : (folder / name).string();
    try {
      run_experiment(experiment, context);
      ADD_FAILURE() << context.out;
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::io);
      EXPECT_NE(std::string(error.what()).find(context.out), std::string::npos) << error.what();
    }
  }
  EXPECT_FALSE(ran);
}

TEST_F(RunExperiment, ReportsAnInterruption) {
  experiment.run = [](Context&) { return request_stop(), Report(); };
  try {
    run_experiment(experiment, context);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::cancelled);
    EXPECT_EQ(std::string(error.what()).find("--resume"), std::string::npos) << error.what();
  }
  clear_stop_request();
}

TEST_F(RunExperiment, PassesErrorsOn) {
  experiment.run = [](Context&) -> Report { throw Error(ErrorKind::out_of_memory, "no room"); };
  EXPECT_THROW(run_experiment(experiment, context), Error);
}

TEST(ReportTable, HoldsMeanDeviationAndRange) {
  Report report;
  report.algorithm = "example";
  report.seconds = 3.2;
  report.peak_bytes = 5 << 20;
  for (const double value : {1.0, 2.0, 3.0}) report.add("score", value);
  EXPECT_EQ(report_table(report),
            "metric        mean         std         min         max        runs\n"
            "score            2           1           1           3           3\n"
            "example on cpu, seed 0: 3 s, peak memory 5.0 MiB\n");
}

TEST(ContextFile, IsEmptyWithoutAFolder) {
  Context context;
  EXPECT_EQ(context.file("x"), "");
  context.out = "o";
  EXPECT_EQ(context.file("x"), "o/x");
}

}  // namespace
}  // namespace tessera::algorithms
