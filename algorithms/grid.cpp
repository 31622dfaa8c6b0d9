#include "tessera/algorithms/grid.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <optional>

#include "tessera/models/metrics.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/io/atomic_file.hpp"

namespace tessera::algorithms {
namespace {

namespace fs = std::filesystem;

constexpr int64_t most_experiments = 1'000'000;

std::string joined(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += (all.empty() ? "" : " ") + text;
  return all;
}

double mean_of(const Metric& metric) { return models::mean_std(metric.runs).mean; }

/// NaN for a metric that this report has not.
double mean_of(const Report& report, const std::string& name) {
  for (const Metric& metric : report.metrics)
    if (metric.name == name) return mean_of(metric);
  return std::numeric_limits<double>::quiet_NaN();
}

const Metric& find_metric(const Report& report, const std::string& name) {
  std::string names;
  for (const Metric& metric : report.metrics) {
    if (metric.name == name) return metric;
    names += (names.empty() ? "" : ", ") + metric.name;
  }
  throw Error(ErrorKind::invalid_argument,
              concat("--select ", name, ": ", report.algorithm, " reports ", names));
}

std::string text_of(const std::string& path) {
  std::ifstream in(path);
  return {std::istreambuf_iterator<char>(in), {}};
}

/// Settings do not tell what data they are for: a file beside the results does. Throws where those
/// to go on with are of another algorithm or of other data.
void keep_to_one_data(const std::string& algorithm, const Context& context) {
  if (context.out.empty()) return;
  const std::string path = context.file("grid/grid.json"),
                    data = context.data.empty() ? "" : fs::weakly_canonical(context.data).string();
  const Json now(Json::Object{{"algorithm", Json(algorithm)}, {"data", Json(data)}});
  if (context.resume && fs::exists(path)) {
    const Json before = parse_json(text_of(path), path);
    TS_CHECK(to_string(before) == to_string(now), path, " is ", to_string(before), ", now it is ",
             to_string(now), ": take another --out");
    return;
  }
  std::error_code ignored;  // write_file tells
  fs::create_directories(context.file("grid"), ignored);
  write_file(path, to_string(now, 2) + "\n");
}

/// The metrics of a report.json that belongs to `experiment` and `context`; none where there is no
/// such file.
std::optional<Report> finished(const Experiment& experiment, const Context& context) {
  const std::string path = context.file("report.json");
  if (!fs::exists(path)) return std::nullopt;
  const Json json = parse_json(text_of(path), path);
  const auto bad = [&](std::string_view what) {
    return Error(ErrorKind::io, concat(path, ": no ", what, ": not a report of this program"));
  };
  const Json *config = json.find("config"), *metrics = json.find("metrics"),
             *seed = json.find("seed"), *seconds = json.find("seconds"),
             *peak = json.find("peak_bytes");
  if (!config || !metrics || !seed || !seconds || !peak) throw bad("config, metrics or seed");
  if (to_string(*config) != to_string(experiment.config))
    throw Error(ErrorKind::invalid_argument,
                concat(path, " has other settings: the grid has changed; take another --out"));
  if (to_string(*seed) != std::to_string(context.seed))
    throw Error(ErrorKind::invalid_argument,
                concat(path, " has seed ", to_string(*seed), ", now it is ", context.seed));
  Report report;
  report.algorithm = experiment.algorithm;
  report.config = experiment.config;
  report.seed = context.seed;
  report.device = context.device;
  report.seconds = detail::number_from_json(*seconds);
  report.peak_bytes = static_cast<int64_t>(detail::number_from_json(*peak));
  const auto* members = metrics->get_if<Json::Object>();
  if (!members) throw bad("object of metrics");
  for (const auto& [name, metric] : *members) {
    const Json* runs = metric.find("runs");
    if (!runs) throw bad("runs of a metric");
    for (const Json& value : detail::list_from_json(*runs))
      report.add(name, value.get_if<std::nullptr_t>() ? std::numeric_limits<double>::quiet_NaN()
                                                      : detail::number_from_json(value));
  }
  return report;
}

bool has_checkpoint(const std::string& folder) {
  if (!fs::is_directory(folder)) return false;
  return std::any_of(fs::directory_iterator(folder), {}, [](const fs::directory_entry& entry) {
    return entry.path().filename().string().starts_with("checkpoint");
  });
}

Report run_one(const Experiment& experiment, Context& context, bool resume) {
  if (resume && !context.out.empty()) {
    if (std::optional<Report> report = finished(experiment, context)) return *std::move(report);
    context.resume = experiment.resumes && has_checkpoint(context.out);
  }
  Report report = run_experiment(experiment, context);
  if (!context.out.empty()) write_report(report, context.out);
  return report;
}

}  // namespace

Grid Grid::parse(std::span<const std::string> texts) {
  Grid grid;
  for (const std::string& text : texts) {
    const size_t sign = text.find('=');
    TS_CHECK(sign != std::string::npos && sign > 0, "--grid ", text,
             ": expected KEY=VALUE,VALUE,...");
    Axis axis{text.substr(0, sign), {}};
    for (size_t begin = sign + 1; begin <= text.size();) {
      const size_t comma = std::min(text.find(',', begin), text.size());
      TS_CHECK(comma > begin, "--grid ", text, ": an empty value");
      axis.values.push_back(text.substr(begin, comma - begin));
      begin = comma + 1;
    }
    TS_CHECK(!axis.values.empty() && text.back() != ',', "--grid ", text, ": an empty value");
    for (const Axis& other : grid.axes)
      TS_CHECK(other.key != axis.key, "--grid: the key ", axis.key, " comes twice");
    grid.axes.push_back(std::move(axis));
  }
  double combinations = 1;
  for (const Axis& axis : grid.axes) combinations *= static_cast<double>(axis.values.size());
  TS_CHECK(combinations <= most_experiments, "--grid: ", combinations, " combinations, at most ",
           most_experiments, " are possible");
  return grid;
}

int64_t Grid::size() const {
  int64_t combinations = 1;
  for (const Axis& axis : axes) combinations *= std::ssize(axis.values);
  return combinations;
}

std::vector<std::string> Grid::assignments(int64_t index) const {
  std::vector<std::string> chosen(axes.size());
  for (size_t a = axes.size(); a-- > 0;) {
    const auto count = std::ssize(axes[a].values);
    chosen[a] = axes[a].key + "=" + axes[a].values[static_cast<size_t>(index % count)];
    index /= count;
  }
  return chosen;
}

std::vector<Experiment> configure(const Algorithm& algorithm, const Settings& settings,
                                  const Grid& grid) {
  std::vector<Experiment> experiments;
  for (int64_t k = 0; k < grid.size(); ++k) {
    Settings with = settings;
    for (const std::string& assignment : grid.assignments(k)) {
      const std::string key = assignment.substr(0, assignment.find('=') + 1);
      for (const std::string& fixed : settings.assignments)
        TS_CHECK(!fixed.starts_with(key), "--grid and --set both give ", key);
      with.assignments.push_back(assignment);
    }
    experiments.push_back(algorithm.configure(with));
  }
  return experiments;
}

Report run_grid(const std::vector<Experiment>& experiments, const Grid& grid,
                const std::string& metric, Context& context) {
  TS_CHECK(std::ssize(experiments) == grid.size() && !experiments.empty(),
           "run_grid: ", experiments.size(), " experiments for a grid of ", grid.size());
  keep_to_one_data(experiments.front().algorithm, context);
  const auto begin = std::chrono::steady_clock::now();
  Table table{.name = "grid", .corner = "settings", .rows = {}, .columns = {}, .values = {}};
  Report best;
  double best_mean = 0;
  int64_t best_index = 0, peak = 0;
  for (int64_t k = 0; k < grid.size(); ++k) {
    Context own = context;
    own.resume = false;
    own.out = context.file(concat("grid/", k));
    context.progress->prefix(concat(k + 1, "/", grid.size(), " "));
    Report report = run_one(experiments[static_cast<size_t>(k)], own, context.resume);
    const double mean = mean_of(find_metric(report, metric));
    if (k == 0)
      for (const Metric& m : report.metrics) table.columns.push_back(m.name);
    std::vector<double> means;
    means.reserve(table.columns.size());
    for (const std::string& name : table.columns) means.push_back(mean_of(report, name));
    table.add(joined(grid.assignments(k)), std::move(means));
    peak = std::max(peak, report.peak_bytes);
    if (k == 0 || mean > best_mean || (std::isnan(best_mean) && !std::isnan(mean))) {
      best = std::move(report);
      best_mean = mean;
      best_index = k;
    }
  }
  context.progress->prefix("");
  best.tables.push_back(std::move(table));
  best.notes.push_back(
      concat("best of ", grid.size(), " by ", metric, ": ", joined(grid.assignments(best_index))));
  best.peak_bytes = peak;
  best.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return best;
}

}  // namespace tessera::algorithms
