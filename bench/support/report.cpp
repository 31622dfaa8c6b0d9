#include "tessera/bench/support/report.hpp"

#include <omp.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <thread>

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/device.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::bench {
namespace {

using Json = nlohmann::ordered_json;

Json to_json(const Result& r) {
  return {{"name", r.name},       {"case", r.size},
          {"variant", r.variant}, {"device", r.device},
          {"dtype", r.dtype},     {"median_s", r.median},
          {"p10_s", r.p10},       {"p90_s", r.p90},
          {"n", r.samples},       {"peak_bytes", r.peak_bytes ? Json(*r.peak_bytes) : Json()},
          {"bytes", r.bytes},     {"flops", r.flops},
          {"notes", ""}};
}

Result from_json(const Json& j) {
  Result r{.name = j.at("name"),
           .size = j.at("case"),
           .variant = j.value("variant", ""),
           .device = j.at("device"),
           .dtype = j.at("dtype"),
           .median = j.at("median_s"),
           .p10 = j.at("p10_s"),
           .p90 = j.at("p90_s"),
           .samples = j.at("n")};
  if (j.contains("peak_bytes") && j.at("peak_bytes").is_number()) r.peak_bytes = j.at("peak_bytes");
  return r;
}

/// Adds a document's results to those of its program.
void merge(const Json& document, std::vector<Report>& peers) {
  const std::string program = document.at("peer");
  if (program == "tessera") return;
  auto known = std::find_if(peers.begin(), peers.end(),
                            [&](const Report& report) { return report.program == program; });
  if (known == peers.end()) known = peers.insert(peers.end(), Report{program, {}});
  for (const Json& result : document.at("results")) known->results.push_back(from_json(result));
}

double load_of_last_minute() {
  double load = 0;
  std::ifstream("/proc/loadavg") >> load;
  return load;
}

bool same_case(const Result& a, const Result& b) {
  return a.name == b.name && a.size == b.size && a.dtype == b.dtype && a.device == b.device;
}

const Result* floor_of(const Report& report, const Result& result) {
  for (const Result& other : report.results)
    if (same_case(other, result) && other.variant == "floor") return &other;
  return nullptr;
}

/// The peer's fastest variant.
const Result* best_of(const Report& peer, const Result& result) {
  const Result* best = nullptr;
  for (const Result& other : peer.results)
    if (same_case(other, result) && (!best || other.median < best->median)) best = &other;
  return best;
}

template <class... Args>
std::string format(const char* pattern, Args... args) {
  char text[64];
  std::snprintf(text, sizeof text, pattern, args...);
  return text;
}

std::string duration(double seconds) {
  if (seconds < 1e-6) return format("%.1f ns", seconds * 1e9);
  if (seconds < 1e-3) return format("%.2f us", seconds * 1e6);
  if (seconds < 1) return format("%.3f ms", seconds * 1e3);
  return format("%.3f s", seconds);
}

}  // namespace

void write(const Report& report, const std::filesystem::path& file) {
  const DeviceInfo cpu = describe(Device::cpu());
  Json document = {{"peer", report.program},
                   {"versions",
                    {{"tessera", TESSERA_VERSION},
                     {"compiler", __VERSION__},
                     {"kernels", std::string(kernels::backend(Device::cpu()).name)}}},
                   {"machine",
                    {{"cpu", cpu.name},
                     {"cores", std::thread::hardware_concurrency()},
                     {"memory_bytes", cpu.memory_bytes},
                     {"load_1m", load_of_last_minute()}}},
                   {"threads", omp_get_max_threads()},
                   {"results", Json::array()}};
  for (const Result& result : report.results) document["results"].push_back(to_json(result));
  std::ofstream out(file);
  out << document.dump(1) << "\n";
  out.close();
  if (!out) throw Error(ErrorKind::io, concat("cannot write ", file.string()));
}

std::vector<Report> read_peers(const std::filesystem::path& folder) {
  std::vector<Report> peers;
  if (!std::filesystem::is_directory(folder)) return peers;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    if (entry.path().extension() != ".json") continue;
    std::ifstream in(entry.path());
    try {
      const Json file = Json::parse(in);
      for (const Json& document : file.is_array() ? file : Json::array({file}))
        merge(document, peers);
    } catch (const nlohmann::json::exception& error) {
      throw Error(ErrorKind::io, concat(entry.path().string(), ": ", error.what()));
    }
  }
  return peers;
}

std::string table(const Report& report, const std::vector<Report>& peers) {
  std::vector<std::vector<std::string>> rows{
      {"name", "case", "dtype", "variant", "median", "p10..p90", "GB/s", "GF/s", "floor/ours"}};
  for (const Report& peer : peers) rows[0].push_back(peer.program + "/ours");
  for (const Result& r : report.results) {
    const Result* floor = r.variant == "floor" ? nullptr : floor_of(report, r);
    std::vector<std::string> row{r.name,
                                 r.size,
                                 r.dtype,
                                 r.variant,
                                 duration(r.median),
                                 duration(r.p10) + " .. " + duration(r.p90),
                                 r.bytes > 0 ? format("%.1f", r.bytes / r.median / 1e9) : "",
                                 r.flops > 0 ? format("%.1f", r.flops / r.median / 1e9) : "",
                                 floor ? format("%.2f", floor->median / r.median) : ""};
    for (const Report& peer : peers) {
      const Result* other = r.variant == "floor" ? nullptr : best_of(peer, r);
      row.push_back(other ? format("%.2f", other->median / r.median) : "");
    }
    rows.push_back(std::move(row));
  }
  std::vector<size_t> widths(rows[0].size(), 0);
  for (const auto& row : rows)
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  std::string text;
  for (const auto& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) {
      const std::string padding(widths[i] - row[i].size(), ' ');
      text +=
          i < 4 ? row[i] + padding : padding + row[i];  // names to the left, numbers to the right
      text += i + 1 < row.size() ? "  " : "\n";
    }
  }
  return text;
}

}  // namespace tessera::bench
