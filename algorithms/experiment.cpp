#include "tessera/algorithms/experiment.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <filesystem>

#include "tessera/kernels/backend.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/atomic_file.hpp"

namespace tessera::algorithms {
namespace {

Json finite_or_null(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

std::string fixed(double value, const char* pattern) {
  char text[48];
  std::snprintf(text, sizeof text, pattern, value);
  return text;
}

std::string padded(const std::string& text, size_t width, bool to_the_right) {
  const std::string space(width > text.size() ? width - text.size() : 0, ' ');
  return to_the_right ? space + text : text + space;
}

std::string bytes_text(int64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (value < 1024.0 * 1024) return fixed(value / 1024, "%.1f KiB");
  if (value < 1024.0 * 1024 * 1024) return fixed(value / (1024.0 * 1024), "%.1f MiB");
  return fixed(value / (1024.0 * 1024 * 1024), "%.2f GiB");
}

/// Long form: plot, curve, x, y.
std::string curves_csv(const std::vector<Plot>& plots) {
  std::string out = "plot,curve,x,y\n";
  for (const Plot& plot : plots)
    for (const Curve& curve : plot.curves)
      for (size_t i = 0; i < std::min(curve.x.size(), curve.y.size()); ++i)
        out += concat(csv_cell(plot.title), ",", csv_cell(curve.name), ",", curve.x[i], ",",
                      curve.y[i], "\n");
  return out;
}

void create_folder(const std::string& path) {
  std::error_code failure;
  std::filesystem::create_directories(path, failure);
  if (failure || !std::filesystem::is_directory(path))
    throw Error(ErrorKind::io,
                concat("cannot create the output folder ", path, ": ",
                       failure ? failure.message() : "a file of this name is in the way"));
}

}  // namespace

void Report::add(const std::string& name, double value) {
  const auto known =
      std::find_if(metrics.begin(), metrics.end(), [&](const Metric& m) { return m.name == name; });
  Metric& metric = known != metrics.end() ? *known : metrics.emplace_back(Metric{name, {}});
  metric.runs.push_back(value);
}

Report run_experiment(const Experiment& experiment, Context& context) {
  if (!context.out.empty()) {  // before the work: a folder that cannot be written to must not cost
                               // a training
    create_folder(context.out);
    const std::string config = context.file("config.json");
    if (!context.resume || !std::filesystem::exists(config))  // a run refused must not lose it
      write_file(config, to_string(experiment.config, 2) + "\n");
  }
  const auto tracking = std::make_shared<TrackingAllocator>(current_allocator(context.device.type));
  const auto start = std::chrono::steady_clock::now();
  Report report;
  {
    const AllocatorScope scope(context.device.type, tracking);
    report = experiment.run(context);
  }
  context.progress->end();
  if (stop_requested())
    throw Error(ErrorKind::cancelled, experiment.resumes && !context.out.empty()
                                          ? "interrupted; --resume goes on from here"
                                          : "interrupted");
  report.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  report.peak_bytes = tracking->peak_bytes();
  report.algorithm = experiment.algorithm;
  report.config = experiment.config;
  report.seed = context.seed;
  report.device = context.device;
  return report;
}

Json report_json(const Report& report) {
  Json::Object metrics, version_list;
  for (const Metric& metric : report.metrics) {
    Json::Array runs;
    for (const double value : metric.runs) runs.push_back(finite_or_null(value));
    const models::MeanStd summary = models::mean_std(metric.runs);
    metrics.emplace_back(metric.name, Json(Json::Object{{"mean", finite_or_null(summary.mean)},
                                                        {"std", finite_or_null(summary.std)},
                                                        {"runs", Json(std::move(runs))}}));
  }
  for (const auto& [name, version] : versions()) version_list.emplace_back(name, Json(version));
  const Json seed = report.seed <= uint64_t{INT64_MAX} ? Json(static_cast<int64_t>(report.seed))
                                                       : Json(report.seed);
  return Json(Json::Object{{"algorithm", Json(report.algorithm)},
                           {"config", report.config},
                           {"seed", seed},
                           {"device", Json(to_string(report.device))},
                           {"versions", Json(std::move(version_list))},
                           {"metrics", Json(std::move(metrics))},
                           {"seconds", finite_or_null(report.seconds)},
                           {"peak_bytes", Json(report.peak_bytes)}});
}

std::string report_table(const Report& report) {
  std::string out;
  for (const Table& table : report.tables) out += to_text(table) + "\n";
  size_t widest = 6;
  for (const Metric& metric : report.metrics) widest = std::max(widest, metric.name.size());
  out += padded("metric", widest, false);
  for (const char* head : {"mean", "std", "min", "max", "runs"}) out += padded(head, 12, true);
  out += '\n';
  for (const Metric& metric : report.metrics) {
    const models::MeanStd summary = models::mean_std(metric.runs);
    const auto [least, greatest] = std::minmax_element(metric.runs.begin(), metric.runs.end());
    out += padded(metric.name, widest, false);
    for (const double value : {summary.mean, summary.std, *least, *greatest})
      out += padded(fixed(value, "%.5g"), 12, true);
    out += padded(concat(metric.runs.size()), 12, true) + "\n";
  }
  for (const std::string& note : report.notes) out += note + "\n";
  return out + concat(report.algorithm, " on ", report.device, ", seed ", report.seed, ": ",
                      duration_text(report.seconds), ", peak memory ",
                      bytes_text(report.peak_bytes), "\n");
}

void write_report(const Report& report, const std::string& out) {
  write_file(out + "/report.json", to_string(report_json(report), 2) + "\n");
  for (const Table& table : report.tables)
    write_file(out + "/" + table.name + ".csv", to_csv(table));
  if (report.plots.empty()) return;
  write_file(out + "/curves.svg", to_svg(report.plots));
  write_file(out + "/curves.csv", curves_csv(report.plots));
}

std::vector<std::pair<std::string, std::string>> versions() {
  return {{"tessera", TESSERA_VERSION},
          {"compiler", "GCC " __VERSION__},
          {"cpu_kernels", std::string(kernels::backend(Device::cpu()).name)},
          {"blas", TESSERA_BLAS_NAME}};
}

}  // namespace tessera::algorithms
