#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "tessera/algorithms/registry.hpp"

namespace tessera::algorithms {

/// Every combination of the values of some settings, in the order of an odometer: the last axis
/// turns fastest.
struct Grid {
  struct Axis {
    std::string key;
    std::vector<std::string> values;
  };
  std::vector<Axis> axes;

  /// Of texts "key=a,b,c". Throws invalid_argument where one has no "=" or an empty value, and on
  /// a key that comes twice.
  static Grid parse(std::span<const std::string> texts);

  int64_t size() const;
  /// "key=value" of each axis.
  std::vector<std::string> assignments(int64_t index) const;
};

/// An algorithm with each of a grid's settings, all of which fit: throws otherwise, before anything
/// runs.
std::vector<Experiment> configure(const Algorithm& algorithm, const Settings& settings,
                                  const Grid& grid);

/// Runs the experiments one after another and reports the one whose mean `metric` is greatest, the
/// first of equal ones; NaN is worse than any number. The report has a table "grid" with the means
/// of the first one's metrics for every experiment, NaN where one has no such metric.
///
/// With `context.out`, number k works in the folder out/grid/k, and with `context.resume` those
/// that have their report are not run again (theirs are the metrics only, no curves), and one that
/// was stopped goes on from its checkpoint where its algorithm has any. Throws invalid_argument
/// naming the metrics there are when `metric` is none of them, and where results to go on with are
/// of other settings, seed or data; `cancelled` when interrupted.
Report run_grid(const std::vector<Experiment>& experiments, const Grid& grid,
                const std::string& metric, Context& context);

}  // namespace tessera::algorithms
