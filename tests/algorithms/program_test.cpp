// The program as its users meet it: what it prints, what it leaves, how it ends.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <thread>
#include <vector>

#include "tessera/algorithms/registry.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::algorithms {
namespace {

namespace fs = std::filesystem;

struct Ended {
  int status = -1;   // exit status; 128 + signal when killed
  std::string text;  // both streams
};

/// Starts the program with both streams in a pipe.
class Running {
 public:
  explicit Running(std::vector<std::string> arguments)
      : Running(TESSERA_PROGRAM_FILE, std::move(arguments)) {}
  Running(std::string program, std::vector<std::string> arguments) {
    int ends[2];
    if (pipe(ends) != 0) throw Error(ErrorKind::io, "pipe");
    process_ = fork();
    if (process_ == 0) {
      dup2(ends[1], STDOUT_FILENO);
      dup2(ends[1], STDERR_FILENO);
      close(ends[0]);
      close(ends[1]);
      std::vector<char*> argv{program.data()};
      for (std::string& argument : arguments) argv.push_back(argument.data());
      argv.push_back(nullptr);
      execv(program.c_str(), argv.data());
      _exit(127);
    }
    close(ends[1]);
    output_ = ends[0];
  }
  ~Running() {
    if (output_ >= 0) wait();
  }

  void signal(int number) { kill(process_, number); }

  Ended wait() {
    Ended ended;
    std::array<char, 4096> buffer;
    for (ssize_t n; (n = read(output_, buffer.data(), buffer.size())) > 0;)
      ended.text.append(buffer.data(), static_cast<size_t>(n));
    close(output_);
    output_ = -1;
    int status = 0;
    waitpid(process_, &status, 0);
    ended.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return ended;
  }

 private:
  pid_t process_ = -1;
  int output_ = -1;
};

Ended run_program(std::vector<std::string> arguments) {
  return Running(std::move(arguments)).wait();
}

Ended run_shell(const std::string& command) { return Running("/bin/bash", {"-c", command}).wait(); }

std::string content(const fs::path& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

class Program : public testing::Test {
 protected:
  Program() : folder(fs::temp_directory_path() / concat("tessera_program_", getpid())) {
    fs::remove_all(folder);
    fs::create_directories(folder);
  }
  ~Program() override { fs::remove_all(folder); }

  /// A run that takes a fraction of a second, plus `more`.
  std::vector<std::string> quick(std::vector<std::string> more = {}) const {
    std::vector<std::string> arguments{
        "run",   "node_classification", "--set", "graph.nodes=60", "--set", "epochs=5", "--set",
        "runs=2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return arguments;
  }
  void expect_usage_error(const std::vector<std::string>& arguments, const std::string& part) {
    const Ended ended = run_program(arguments);
    EXPECT_EQ(ended.status, 2) << ended.text;
    EXPECT_NE(ended.text.find(part), std::string::npos) << ended.text;
  }
  void expect_failure(const std::vector<std::string>& arguments, const std::string& part) {
    const Ended ended = run_program(arguments);
    EXPECT_EQ(ended.status, 1) << ended.text;
    EXPECT_NE(ended.text.find(part), std::string::npos) << ended.text;
  }

  fs::path folder;
};

TEST_F(Program, ProfilesKernels) {
  expect_usage_error({"profile", "gem", "8", "8", "8"}, "did you mean 'gemm'");
  expect_usage_error({"profile", "gemm", "8", "8"}, "expected sizes M N K");
  expect_usage_error({"profile", "gemm", "8", "8", "0"}, "at least 1");
  expect_usage_error({"profile", "gemm", "8", "8", "8", "--dtype", "i8"}, "does not fit");
  expect_usage_error({"profile", "gemm", "8", "8", "8", "--gpu", "h20"}, "h200");
  const std::string file = (folder / "profile.json").string();
  const Ended ended = run_program({"profile", "gemm", "64", "64", "64", "--json", file});
  if (ended.text.find("libtessera_simt_checked.so") != std::string::npos)
    GTEST_SKIP() << "a build without the traced interpreter";
  expect_usage_error({"profile", "gemm", "10000", "10000", "10000"}, "choose smaller sizes");
  ASSERT_EQ(ended.status, 0) << ended.text;
  EXPECT_NE(ended.text.find("touch 1 times these bytes"), std::string::npos) << ended.text;
  const Json report = parse_json(content(file), file);
  const Json& kernel = report.find("kernels")->get_if<Json::Array>()->at(0);
  const auto number = [&](const char* name) { return *kernel.find(name)->get_if<int64_t>(); };
  EXPECT_EQ(*kernel.find("kernel")->get_if<std::string>(), "gemm");
  EXPECT_EQ(number("tensor_operations"), 2 * 64 * 64 * 64);
  EXPECT_EQ(number("unique_sectors") * 32, 3 * 64 * 64 * 2);  // each operand once
  EXPECT_EQ(number("shared_wavefronts"), number("ideal_wavefronts"));
  EXPECT_EQ(number("barriers"), 128 * (2 + 1));  // two tiles along k, and before the results
}

TEST_F(Program, ListsEveryAlgorithm) {
  const Ended ended = run_program({"list"});
  EXPECT_EQ(ended.status, 0);
  for (const Algorithm& a : registry())
    EXPECT_NE(ended.text.find(concat(a.name, "  ")), std::string::npos) << a.name;
}

TEST_F(Program, TellsVersionAndSurroundings) {
  EXPECT_EQ(run_program({"--version"}).text.substr(0, 8), "tessera ");
  const Ended info = run_program({"info"});
  EXPECT_EQ(info.status, 0);
  for (const char* part : {"cpu_kernels: cpu ", "blas: ", "threads: ", "\ncpu: ", "cuda", "simt"})
    EXPECT_NE(info.text.find(part), std::string::npos) << part;
}

TEST_F(Program, HelpsAtEachLevel) {
  const std::vector<std::pair<std::vector<std::string>, std::string>> levels{
      {{"--help"}, "examples:"},
      {{"run", "--help"}, "--resume"},
      {{"run", "node_classification", "--help"}, "weight_decay"}};
  for (const auto& [arguments, part] : levels) {
    const Ended ended = run_program(arguments);
    EXPECT_EQ(ended.status, 0);
    EXPECT_NE(ended.text.find(part), std::string::npos) << ended.text;
    EXPECT_NE(ended.text.find("tessera run node_classification"), std::string::npos);
  }
}

TEST_F(Program, ExplainsWrongUsage) {
  expect_usage_error({}, "examples:");
  expect_usage_error({"bogus"}, "bogus");
  expect_usage_error({"run"}, "NAME");
  expect_usage_error({"run", "node_clasification"}, "node_classification");
  expect_usage_error(quick({"--bogus"}), "--bogus");
  expect_usage_error(quick({"--set", "epoch=3"}), "epochs");  // the nearest name
  expect_usage_error(quick({"--set", "epochs"}), "epochs");   // no value
  expect_usage_error(quick({"--set", "epochs=many"}), "epochs");
  expect_usage_error(quick({"--set", "model=gnc"}), "gcn");
  expect_usage_error(quick({"--device", "gpu"}), "gpu");
  expect_usage_error(quick({"--set", "nothing=3"}), "checkpoint_every");  // none near: all names
  expect_usage_error(quick({"--set", "epochs=-3"}), "epochs: expected an integer, at least 1");
  expect_usage_error(quick({"--set", "runs=0"}), "runs: expected an integer, at least 1");
  expect_usage_error(quick({"--set", "dropout=1"}), "from 0 to below 1, found 1");
  expect_usage_error(quick({"--set", "lr=nan"}), "lr: expected a number, at least 0");
  expect_usage_error(quick({"--set", "graph.degree=inf"}), "graph.degree: expected a number");
  expect_usage_error(quick({"--set", "epochs=5", "extra"}), "extra");  // no value of --set
  expect_usage_error(quick({"--threads", "0"}), "expected a whole number from 1 to 1024");
  expect_usage_error(quick({"--threads", "1000000"}), "from 1 to 1024, found '1000000'");
  expect_usage_error(quick({"--seed", "-1"}), "seed");
  expect_usage_error(quick({"--seed", "18446744073709551616"}), "18446744073709551616");
  for (const char* option : {"--data", "--config", "--out"})  // an unset variable of a script
    expect_usage_error(quick({option, ""}), option);
  expect_usage_error(quick({"--resume"}), "--out");
  expect_usage_error({"run", "bigset", "--resume", "--out", "nowhere"}, "cannot be resumed");
}

TEST_F(Program, ExplainsFailures) {
  expect_failure(quick({"--data", (folder / "missing.npz").string()}), "missing.npz");
  expect_failure(quick({"--config", (folder / "missing.json").string()}), "missing.json");
  expect_failure(quick({"--device", "cuda:99"}), "cuda:99");
  expect_failure(quick({"--resume", "--out", folder.string()}), "checkpoint.safetensors");
  expect_failure(quick({"--out", "/proc/nothing"}), "/proc/nothing");
  std::ofstream(folder / "broken.npz") << "PK but nothing more";
  expect_failure(quick({"--data", (folder / "broken.npz").string()}), "broken.npz");
  expect_failure(quick({"--data", folder.string()}), "Is a directory");
  expect_failure(quick({"--set", "hidden=1000000000000"}), "cannot allocate");
  expect_failure(quick({"--set", "graph.features=1000000000000"}), "cannot allocate");
  expect_failure(quick({"--set", "graph.features=9000000000000000000"}), "more elements");
  expect_failure(quick({"--set", "runs=9000000000000000000"}), "runs of 5 epochs");
}

TEST_F(Program, TellsWhenTheHostIsOutOfMemory) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer reserves more address space than the limit leaves";
#endif
  // Enough address space to start in, not enough for the edges of so many nodes.
  const std::string command = std::string("ulimit -v 2000000; exec '") + TESSERA_PROGRAM_FILE +
                              "' run node_classification --set graph.nodes=2000000000 2>&1";
  const Ended ended = run_shell(command);
  EXPECT_EQ(ended.status, 1) << ended.text;
  EXPECT_NE(ended.text.find("memory"), std::string::npos) << ended.text;
}

TEST_F(Program, AFullDiskLeavesWholeFilesOnly) {
  // Files may grow to 4 KiB: the settings fit, the checkpoint does not.
  const fs::path out = folder / "out";
  const std::string command = std::string("ulimit -f 4; exec '") + TESSERA_PROGRAM_FILE +
                              "' run node_classification --set graph.nodes=60 --set runs=1 --set "
                              "epochs=3 --out '" +
                              out.string() + "' 2>&1";
  const Ended ended = run_shell(command);
  EXPECT_EQ(ended.status, 1) << ended.text;
  EXPECT_NE(ended.text.find("checkpoint.safetensors: cannot write"), std::string::npos)
      << ended.text;
  for (const auto& entry : fs::directory_iterator(out))
    EXPECT_EQ(entry.path().filename(), "config.json");
  EXPECT_TRUE(parse_json(content(out / "config.json"), "config.json").find("epochs"));
}

TEST_F(Program, AReaderThatLeavesDoesNotCostTheReport) {
  const fs::path out = folder / "out";
  const std::string command = std::string("{ '") + TESSERA_PROGRAM_FILE +
                              "' run node_classification --set graph.nodes=60 --set runs=1 --set "
                              "epochs=3 --out '" +
                              out.string() + "' 2>&1; echo status $? >'" +
                              (folder / "status").string() + "'; } | true";
  run_shell(command);
  EXPECT_TRUE(fs::exists(out / "report.json"));
  EXPECT_EQ(content(folder / "status"), "status 1\n");
}

TEST_F(Program, RefusesAReadOnlyFolderBeforeTraining) {
  if (geteuid() == 0) GTEST_SKIP() << "root may write anywhere";
  fs::permissions(folder, fs::perms::owner_read | fs::perms::owner_exec);
  expect_failure(quick({"--out", (folder / "results").string()}), "results");
  fs::permissions(folder, fs::perms::owner_all);
}

TEST_F(Program, TellsWhenStandardOutputIsFull) {
  if (!fs::exists("/dev/full")) GTEST_SKIP() << "no /dev/full";
  const std::string command =
      std::string("'") + TESSERA_PROGRAM_FILE + "' list >/dev/full 2>/dev/null";
  EXPECT_EQ(WEXITSTATUS(std::system(command.c_str())), 1);
}

TEST_F(Program, RunsAndReports) {
  const Ended ended = run_program(quick({"--out", folder.string(), "--seed", "9"}));
  ASSERT_EQ(ended.status, 0) << ended.text;
  for (const char* part : {"metric", "test_accuracy", "node_classification on cpu, seed 9"})
    EXPECT_NE(ended.text.find(part), std::string::npos) << ended.text;
  EXPECT_EQ(ended.text.find('\r'), std::string::npos);  // no bar where there is no terminal

  const Json report = parse_json(content(folder / "report.json"), "report.json");
  EXPECT_EQ(*report.find("algorithm")->get_if<std::string>(), "node_classification");
  EXPECT_EQ(*report.find("seed")->get_if<int64_t>(), 9);
  EXPECT_EQ(*report.find("config")->find("epochs")->get_if<int64_t>(), 5);
  EXPECT_EQ(
      report.find("metrics")->find("test_accuracy")->find("runs")->get_if<Json::Array>()->size(),
      2u);
  for (const char* name : {"curves.svg", "curves.csv", "config.json", "checkpoint.safetensors"})
    EXPECT_TRUE(fs::exists(folder / name)) << name;
}

TEST_F(Program, ConfigFileRepeatsTheRun) {
  ASSERT_EQ(run_program(quick({"--out", (folder / "first").string(), "--set", "hidden=7"})).status,
            0);
  ASSERT_EQ(run_program({"run", "node_classification", "--config",
                         (folder / "first" / "config.json").string(), "--out",
                         (folder / "second").string()})
                .status,
            0);
  EXPECT_FALSE(content(folder / "first" / "curves.csv").empty());
  EXPECT_EQ(content(folder / "first" / "curves.csv"), content(folder / "second" / "curves.csv"));
}

TEST_F(Program, ThreadCountDoesNotChangeTheResult) {
  for (const char* threads : {"1", "2"}) {
    ASSERT_EQ(
        run_program(quick({"--threads", threads, "--out", (folder / threads).string()})).status, 0);
  }
  EXPECT_FALSE(content(folder / "1" / "curves.csv").empty());
  EXPECT_EQ(content(folder / "1" / "curves.csv"), content(folder / "2" / "curves.csv"));
}

/// Runs `arguments` to the end in one go, and again stopped as often as it takes, into `folder`
/// "straight" and "stopped": both must leave the same curves.
void stop_and_resume(const fs::path& folder, const std::vector<std::string>& arguments) {
  const auto with = [&](const char* out, bool resume) {
    std::vector<std::string> all = arguments;
    all.insert(all.end(), {"--out", (folder / out).string()});
    if (resume) all.push_back("--resume");
    return all;
  };
  ASSERT_EQ(run_program(with("straight", false)).status, 0);

  // Interrupt as soon as a checkpoint is there, then again and again, each time some steps later.
  Running first(with("stopped", false));
  const fs::path checkpoint = folder / "stopped" / "checkpoint.safetensors";
  for (int i = 0; i < 2000 && !fs::exists(checkpoint); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_TRUE(fs::exists(checkpoint));
  first.signal(SIGINT);
  Ended ended = first.wait();
  int interruptions = ended.status == 130;
  EXPECT_TRUE(ended.status == 130 || ended.status == 0) << ended.text;
  for (int delay = 20; delay < 2000 && ended.status != 0; delay *= 2) {
    Running next(with("stopped", true));
    std::this_thread::sleep_for(std::chrono::milliseconds(delay));
    next.signal(delay % 3 == 0 ? SIGKILL : SIGINT);  // a kill must not damage the checkpoint either
    ended = next.wait();
    interruptions += ended.status == 130;
  }
  if (ended.status != 0) {
    ended = run_program(with("stopped", true));
  }
  ASSERT_EQ(ended.status, 0) << ended.text;
  EXPECT_GT(interruptions, 0);
  EXPECT_FALSE(content(folder / "straight" / "curves.csv").empty());
  EXPECT_EQ(content(folder / "straight" / "curves.csv"),
            content(folder / "stopped" / "curves.csv"));
}

TEST_F(Program, InterruptedAndResumedRunsAreWholeRuns) {
  stop_and_resume(folder, {"run", "node_classification", "--set", "graph.nodes=60", "--set",
                           "epochs=400", "--set", "runs=3", "--set", "checkpoint_every=50"});
}

TEST_F(Program, InterruptedAndResumedTrainingsOfEigensrAreWholeOnes) {
  stop_and_resume(folder, {"run", "eigensr", "--config",
                           (TESSERA_SOURCE_DIR "/algorithms/eigensr/config.smoke.json"), "--set",
                           "rgb_steps=150", "--set", "fine_steps=100", "--set", "eigen_steps=150",
                           "--set", "checkpoint_every=10"});
}

TEST_F(Program, ResumeRefusesOtherSettings) {
  ASSERT_EQ(run_program(quick({"--out", folder.string()})).status, 0);
  using Arguments = std::vector<std::string>;
  for (const auto& [other, part] :
       {std::pair{Arguments{"--set", "hidden=8"}, "config: hidden: 16 -> 8\n"},
        {Arguments{"--seed", "4"}, "another seed: it has 0, now it is 4"},
        {Arguments{"--set", "graph.nodes=61"}, "61 nodes"}}) {
    auto arguments = quick({"--out", folder.string(), "--resume"});
    arguments.insert(arguments.end(), other.begin(), other.end());
    const std::string config = content(folder / "config.json");
    expect_failure(arguments, "cannot be resumed");
    expect_failure(arguments, part);
    EXPECT_EQ(content(folder / "config.json"), config);
  }
}

TEST_F(Program, ResumeRefusesDamagedCheckpoints) {
  ASSERT_EQ(run_program(quick({"--out", folder.string()})).status, 0);
  const fs::path checkpoint = folder / "checkpoint.safetensors";
  const std::string whole = content(checkpoint);
  const auto refuses = [&](const std::string& bytes, const std::string& part) {
    std::ofstream(checkpoint, std::ios::binary) << bytes;
    expect_failure(quick({"--out", folder.string(), "--resume"}), part);
  };
  for (const size_t size : {size_t{0}, size_t{7}, size_t{100}, whole.size() - 1})
    refuses(whole.substr(0, size), "checkpoint.safetensors");
  const auto replaced = [&](const std::string& from, const std::string& to) {
    std::string bytes = whole;
    const size_t at = bytes.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    EXPECT_EQ(from.size(), to.size());
    return bytes.replace(at, from.size(), to);
  };
  refuses(replaced("steps_done", "steps_gone"), "steps_done");
  refuses(replaced("\\\"current_seconds\\\":0", "\\\"current_seconds\\\":x"), "JSON");
  refuses(replaced("\"steps_done\":\"5\"", "\"steps_done\":\"4\""), "does not fit its 4 epochs");
  std::ofstream(checkpoint, std::ios::binary) << whole;
  EXPECT_EQ(run_program(quick({"--out", folder.string(), "--resume"})).status, 0);
}

TEST_F(Program, ALostTerminalStopsLikeCtrlC) {
  Running run({"run", "node_classification", "--set", "graph.nodes=60", "--set", "epochs=1000000",
               "--set", "checkpoint_every=10", "--out", folder.string()});
  const fs::path checkpoint = folder / "checkpoint.safetensors";
  for (int i = 0; i < 2000 && !fs::exists(checkpoint); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  run.signal(SIGHUP);
  const Ended ended = run.wait();
  EXPECT_EQ(ended.status, 130) << ended.text;
  EXPECT_NE(ended.text.find("--resume"), std::string::npos) << ended.text;
}

}  // namespace
}  // namespace tessera::algorithms
