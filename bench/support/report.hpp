#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace tessera::bench {

/// One line of a result file; times in seconds per call.
struct Result {
  std::string name, size, variant, device, dtype;
  double median = 0, p10 = 0, p90 = 0;
  int64_t samples = 0;
  std::optional<int64_t> peak_bytes = {};  // above what was live before the call
  double bytes = 0, flops = 0;
};

/// The results of one program in one environment.
struct Report {
  std::string program;  // "tessera", "torch", ...
  std::vector<Result> results;
};

/// Writes a file in the form of bench/peers/schema.json, with this machine and its threads
/// described.
void write(const Report& report, const std::filesystem::path& file);

/// Reads every *.json below `folder`; files of tessera itself are left out. Throws on a malformed
/// file.
std::vector<Report> read_peers(const std::filesystem::path& folder);

/// One row per result: times, rates, median of the floor over the median, peers' medians over the
/// median.
std::string table(const Report& report, const std::vector<Report>& peers);

}  // namespace tessera::bench
