#pragma once

#include <functional>
#include <string>

#include "tessera/runtime/device.hpp"

/// Measuring: each file bench/<layer>/<family>_bench.cpp is a program that lists its cases and
/// calls `main`.
///
///     int main(int argc, char** argv) {
///       bench::add({.name = "elementwise/add", .size = "16777216", .prepare = [] { ... return
///       Work{...}; }}); return bench::main(argc, argv);
///     }
namespace tessera::bench {

/// What one measurement runs. `prepare` of a Case builds it, data included.
struct Work {
  std::function<void()>
      run;  // the call that is timed; its device is synchronised inside the timing
  std::function<void()> check =
      {};            // throws unless the result of `run` is right; called once, before timing
  double bytes = 0;  // memory traffic and
  double flops = 0;  // arithmetic that one call cannot avoid
};

/// One measurement. Name, size and dtype are spelt as in bench/peers, so that results can be
/// joined.
struct Case {
  std::string name;           // "<family>/<what>"
  std::string size;           // "4096x1024"
  std::string dtype = "f32";  // "f32->f16" for a cast
  std::string variant =
      {};  // empty: what the library does by itself; `floor`: see below; else a variant's name
  Device device = Device::cpu();
  std::function<Work()> prepare;
};

/// The variant of a case that shows what the machine allows: a threaded copy, a direct call of
/// OpenBLAS.
inline constexpr const char* floor = "floor";

/// Adds a case to this program's list.
void add(Case measured);

/// Measures the listed cases and prints a table: median, spread, rates, share of the floor, and the
/// factor to each peer whose results lie in bench/results. Arguments: [PATTERN] [--out FILE.json]
/// [--min-time S]
/// [--peers FOLDER] [--list]. Returns the exit status.
///
/// A case is prepared, run once and checked, warmed up, then sampled for at least `min-time`
/// seconds and 5 samples. Calls too short for the clock are timed in groups.
int main(int argc, char** argv);

}  // namespace tessera::bench
