#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "tessera/algorithms/plot.hpp"
#include "tessera/algorithms/progress.hpp"
#include "tessera/algorithms/table.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/device.hpp"

/// What every algorithm of the program shares: the surroundings of a run, its report, and the files
/// it leaves.
namespace tessera::algorithms {

/// The surroundings of one run.
struct Context {
  Device device;
  uint64_t seed = 0;
  std::string data;              // file or folder; empty: the algorithm's synthetic data
  std::string out;               // folder for results and checkpoints; empty: nothing is written
  bool resume = false;           // go on from the checkpoint in `out`
  Progress* progress = nullptr;  // never null while an algorithm runs

  /// `name` inside the output folder; "" without one.
  std::string file(const std::string& name) const { return out.empty() ? "" : out + "/" + name; }
};

/// A number measured once per run.
struct Metric {
  std::string name;
  std::vector<double> runs;
};

/// What an algorithm found. `run_experiment` adds the rest: algorithm, config, seed, device,
/// versions, time and memory.
struct Report {
  std::string algorithm;
  Json config;
  uint64_t seed = 0;
  Device device;
  std::vector<Metric> metrics;
  std::vector<Plot> plots;
  std::vector<Table> tables;
  std::vector<std::string> notes;  // for people, a line each
  double seconds = 0;
  int64_t peak_bytes = 0;

  /// Appends one run's value to a metric, made on first use.
  void add(const std::string& name, double value);
};

/// An algorithm whose settings are chosen.
struct Experiment {
  std::string algorithm;
  Json config;
  std::function<Report(Context&)> run;
  bool resumes = false;  // leaves checkpoints and goes on from them
};

/// Runs and measures: seconds on the wall, peak bytes of tensors on the device. Creates
/// `context.out` and leaves config.json there before the run (one that is resumed keeps it),
/// report.json, curves.svg, curves.csv and the tables as NAME.csv after it. An interrupted run
/// throws an Error of kind `cancelled`.
Report run_experiment(const Experiment& experiment, Context& context);

/// {"algorithm", "config", "seed", "device", "versions", "metrics": {name: {"mean", "std",
/// "runs"}}, "seconds", "peak_bytes"}: the same for every algorithm. Values that are not finite
/// become null.
Json report_json(const Report& report);

/// The tables, metrics as a table for people (mean, standard deviation, least and greatest over the
/// runs), the notes.
std::string report_table(const Report& report);

/// Writes the files of a finished run into the folder `out`.
void write_report(const Report& report, const std::string& out);

/// Name and version of everything that shapes the numbers: tessera, compiler, CPU kernels, BLAS.
std::vector<std::pair<std::string, std::string>> versions();

}  // namespace tessera::algorithms
