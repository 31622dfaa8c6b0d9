// The program tessera: lists algorithms and runs one of them.
//
// Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted (Ctrl-C; the last checkpoint is
// intact).
#include <CLI/CLI.hpp>

#include <charconv>
#include <csignal>
#include <cstdio>
#include <iostream>
#include <new>

#include "tessera/algorithms/grid.hpp"
#include "tessera/algorithms/profile.hpp"
#include "tessera/algorithms/registry.hpp"
#include "tessera/kernels/threads.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/atomic_file.hpp"

namespace {

using namespace tessera;
using namespace tessera::algorithms;

enum Status : int { done = 0, failed = 1, wrong_usage = 2, interrupted = 130 };

constexpr const char* program_examples = R"(examples:
  tessera list
  tessera run node_classification
  tessera run node_classification --data cora.npz --set model=gcn --set runs=100 --out results
  tessera run node_classification --help
  tessera profile gemm 512 512 512

exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted)";

constexpr const char* run_examples = R"(examples:
  tessera run node_classification --device cpu --threads 2 --seed 7
  tessera run node_classification --config algorithms/node_classification/config.smoke.json
  tessera run node_classification --data cora.npz --set hidden=32 --set dropout=0.6 --out results
  tessera run node_classification --data cora.npz --out results --resume
  tessera run node_classification --data texas.npz --set split=fixed --grid lr=0.01,0.05 --grid dropout=0.2,0.5

`tessera run NAME --help` lists the settings of NAME. With --out, results/ holds report.json (metrics, config,
versions), config.json (to repeat the run with --config), curves.svg and curves.csv. Ctrl-C stops at the next
step, a lost terminal does the same. node_classification and eigensr then keep a checkpoint, from which --resume
continues; with --grid, --resume runs what has no report yet, of any algorithm.)";

struct RunOptions {
  std::string name, device = "auto";
  Context context;
  Settings settings;
  std::vector<std::string> grid;
  std::string select = "validation_accuracy";
  int threads = 0;
};

/// The first signal asks training to stop at its next step, the second ends the program at once.
/// Signals that whoever started the program has it ignore (nohup) stay ignored. A pipe without
/// reader and a file that may not grow are errors of the call that writes.
void stop_on_signals() {
  struct sigaction action {
  }, before{};
  action.sa_handler = [](int) { request_stop(); };
  action.sa_flags = static_cast<int>(SA_RESETHAND);
  for (const int number : {SIGINT, SIGTERM, SIGHUP})
    if (sigaction(number, nullptr, &before) == 0 && before.sa_handler != SIG_IGN)
      sigaction(number, &action, nullptr);
  for (const int number : {SIGPIPE, SIGXFSZ}) std::signal(number, SIG_IGN);
}

Status list() {
  size_t widest = 0;
  for (const Algorithm& a : registry()) widest = std::max(widest, a.name.size());
  for (const Algorithm& a : registry())
    std::cout << a.name << std::string(widest + 2 - a.name.size(), ' ') << a.summary << "\n";
  return done;
}

Status info() {
  for (const auto& [name, version] : versions()) std::cout << name << ": " << version << "\n";
  std::cout << "threads: " << kernels::cpu_threads() << "\n";
  for (const Device device : {Device::cpu(), Device::cuda(0), Device::simt()}) {
    std::string reason;
    if (!available(device, &reason)) {
      std::cout << to_string(device) << ": not available: " << reason << "\n";
      continue;
    }
    for (Device each = device; available(each); ++each.index) {
      const DeviceInfo about = describe(each);
      std::cout << to_string(each) << ": " << about.name;
      if (!about.detail.empty()) std::cout << ", " << about.detail;
      std::cout << ", " << about.memory_bytes / (1 << 20) << " MiB\n";
    }
  }
  return done;
}

Status run(RunOptions& options) {
  Grid grid;
  std::vector<Experiment> experiments;
  try {
    grid = Grid::parse(options.grid);
    experiments = configure(find_algorithm(options.name), options.settings, grid);
    options.context.device = parse_device(options.device);
    TS_CHECK(!options.context.resume || !options.context.out.empty(),
             "--resume needs --out: the folder with the checkpoint");
    TS_CHECK(!options.context.resume || !options.grid.empty() || experiments.front().resumes,
             "--resume: a run of ", options.name, " cannot be resumed, only a --grid of them");
  } catch (const Error& error) {
    std::cerr << "tessera: " << error.what() << "\n";
    return error.kind() == ErrorKind::invalid_argument ? wrong_usage : failed;
  }
  std::string reason;
  if (!available(options.context.device, &reason))
    throw Error(ErrorKind::unsupported,
                concat("device ", options.context.device, " is not available: ", reason));
  if (options.threads > 0) kernels::set_cpu_threads(options.threads);

  Progress progress(std::cerr, terminal_columns());
  options.context.progress = &progress;
  stop_on_signals();
  const Report report = options.grid.empty()
                            ? run_experiment(experiments.front(), options.context)
                            : run_grid(experiments, grid, options.select, options.context);
  std::cout << report_table(report)
            << std::flush;  // before the files: a full disk must not hide the result
  if (!options.context.out.empty()) write_report(report, options.context.out);
  return done;
}

struct ProfileOptions {
  ProfileRequest request;
  std::string json;
};

Status run_profile(const ProfileOptions& options) {
  Profile found;
  try {
    found = profile(options.request);
  } catch (const Error& error) {
    std::cerr << "tessera: " << error.what() << "\n";
    return error.kind() == ErrorKind::invalid_argument ? wrong_usage : failed;
  }
  std::cout << profile_table(found) << std::flush;
  if (!options.json.empty()) write_file(options.json, to_string(profile_json(found), 2) + "\n");
  return done;
}

/// A check of whole numbers. CLI11 alone takes -1 for the largest unsigned number, and everything
/// beyond for it too.
auto whole_number(uint64_t low, uint64_t high) {
  return [=](const std::string& text) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    const bool whole = error == std::errc() && end == text.data() + text.size();
    if (whole && value >= low && value <= high) return std::string();
    return concat("expected a whole number from ", low, " to ", high, ", found '", text, "'");
  };
}

/// An empty name, mostly an unset variable of a script, would mean that the option was not given.
std::string named(const std::string& text) {
  return text.empty() ? "expected a name, found ''" : "";
}

void define_run(CLI::App& command, RunOptions& options) {
  command.add_option("NAME", options.name, "the algorithm")->required();
  command.add_option("--device", options.device, "auto, cpu, cuda:N or simt")
      ->capture_default_str();
  command
      .add_option("--data", options.context.data,
                  "file or folder; without it synthetic data is used")
      ->check(named);
  command.add_option("--config", options.settings.config_file, "JSON file of settings")
      ->check(named);
  command
      .add_option("--set", options.settings.assignments,
                  "KEY=VALUE: one setting, after --config; repeatable")
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
  command
      .add_option("--grid", options.grid,
                  "KEY=A,B,C: try each of these values, with every combination of several --grid; "
                  "the best is reported")
      ->expected(1)
      ->allow_extra_args(false)
      ->take_all();
  command
      .add_option("--select", options.select,
                  "the metric whose greatest mean is the best of --grid")
      ->capture_default_str()
      ->check(named);
  command.add_option("--seed", options.context.seed, "of everything random")
      ->capture_default_str()
      ->check(whole_number(0, UINT64_MAX));
  command.add_option("--out", options.context.out, "folder for report, curves and checkpoints")
      ->check(named);
  command.add_flag("--resume", options.context.resume,
                   "go on from the checkpoint, or with the unfinished part of --grid, in --out");
  command.add_option("--threads", options.threads, "CPU threads (default: all)")
      ->check(whole_number(1, kernels::most_cpu_threads));
  command.footer([&options] {
    for (const Algorithm& a : registry())
      if (a.name == options.name)
        return concat(a.name, ": ", a.summary, "\n\nsettings, for --set and --config:\n",
                      a.describe(), "\n", run_examples);
    return std::string(run_examples);
  });
}

void define_profile(CLI::App& command, ProfileOptions& options) {
  command.add_option("KERNEL", options.request.kernel, "the kernel")->required();
  command.add_option("SIZES", options.request.sizes, "its sizes")->required();
  command.add_option("--dtype", options.request.dtype, "f64, f32, f16 or bf16")->check(named);
  command.add_option("--gpu", options.request.gpu, "whose floor to tell: h200, h100 or a100")
      ->capture_default_str()
      ->check(named);
  command.add_option("--json", options.json, "file for the same as JSON")->check(named);
  command.footer(
      concat("kernels, their sizes and usual dtypes:\n", profile_kernels(),
             "\nThe interpreter runs the kernel with every access traced: sectors of 32 "
             "bytes of global memory,\nwavefronts of shared memory, operations of tensor "
             "cores. It tells no time; the floor is what the GPU's\nmemory and arithmetic "
             "cannot be faster than.\n\nexamples:\n  tessera profile gemm 512 512 512\n  "
             "tessera profile spmm 10000 100000 64 --gpu a100 --json spmm.json"));
}

Status parse_and_run(int argc, char** argv) {
  CLI::App app(
      "tessera: a tensor and autograd runtime with hand-written kernels, and the papers that run "
      "on it",
      "tessera");
  app.set_version_flag("--version", "tessera " TESSERA_VERSION);
  CLI::App* list_command = app.add_subcommand("list", "the algorithms, one line each");
  CLI::App* info_command =
      app.add_subcommand("info", "versions, devices and why one is absent, CPU kernels, BLAS");
  CLI::App* run_command = app.add_subcommand("run", "run an algorithm and print its results");
  CLI::App* profile_command =
      app.add_subcommand("profile", "how a kernel uses a GPU's memory, counted on the interpreter");
  app.footer(program_examples);  // after the subcommands, which would inherit it
  RunOptions options;
  define_run(*run_command, options);
  ProfileOptions profile_options;
  define_profile(*profile_command, profile_options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& stop) {
    return app.exit(stop) == 0 ? done : wrong_usage;
  }
  if (*list_command) return list();
  if (*info_command) return info();
  if (*run_command) return run(options);
  if (*profile_command) return run_profile(profile_options);
  std::cerr << app.help();
  return wrong_usage;
}

}  // namespace

int main(int argc, char** argv) {
  Status status = failed;
  try {
    status = parse_and_run(argc, argv);
  } catch (const Error& error) {
    std::cerr << "tessera: " << error.what() << "\n";
    if (error.kind() == ErrorKind::cancelled) status = interrupted;
  } catch (const std::bad_alloc&) {
    std::cerr << "tessera: the host is out of memory\n";
  } catch (const std::exception& error) {
    std::cerr << "tessera: " << error.what() << "\n";
  }
  std::cout.flush();
  if (!std::cout && status == done) {
    std::cerr << "tessera: cannot write to standard output\n";
    status = failed;
  }
  return status;
}
