#include "tessera/algorithms/bigset/experiment.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "tessera/algorithms/picture.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/envi.hpp"
#include "tessera/runtime/io/png.hpp"

namespace tessera::algorithms::bigset {
namespace {

namespace fs = std::filesystem;

bool trains(const Config& config) {
  return config.detector == Detector::ae || config.detector == Detector::msnet;
}

/// Throws where a known truth has no anomalies, or nothing else, among valid pixels: before the
/// work that could not be judged.
void check_truth(const Scene& scene, const std::string& name) {
  if (scene.truth.empty()) return;
  int64_t anomalies = 0;
  for (size_t p = 0; p < scene.truth.size(); ++p) anomalies += scene.valid[p] && scene.truth[p];
  TS_CHECK(anomalies > 0 && anomalies < scene.valid_pixels(), name, ": its map has ", anomalies,
           " anomalies among ", scene.valid_pixels(), " valid pixels: metrics need both kinds");
}

/// What became of one scene.
struct Outcome {
  std::vector<Evaluation> evaluations;   // of each run; empty without truth
  std::vector<std::vector<double>> auc;  // [run][period]
  std::vector<double> scores;            // of the first run
  std::vector<double> loss;              // of the first run
  double share = 0;
};

Outcome score(const Config& config, const Scene& scene, const std::string& name, Context& context) {
  Outcome outcome;
  const int64_t runs = trains(config) ? config.runs : 1,
                steps = trains(config) ? config.periods * config.epochs : 1;
  context.progress->begin(concat(config.detector, " on ", name), runs * steps);
  for (int64_t run = 0; run < runs && !stop_requested(); ++run) {
    const Detection found = detect(
        scene, config, context.device, Rng(context.seed).split(static_cast<uint64_t>(run)),
        [&](int64_t done, double loss) {
          context.progress->update(run * steps + done, concat("loss ", static_cast<float>(loss)));
        });
    if (stop_requested()) break;
    if (run == 0) {
      outcome.scores = found.scores;
      outcome.loss = found.history.loss;
      outcome.share = found.history.share;
    }
    if (scene.truth.empty()) continue;
    outcome.evaluations.push_back(evaluate(found.scores, scene.truth, scene.valid));
    outcome.auc.emplace_back();
    for (const auto& residuals : found.history.residuals)
      outcome.auc.back().push_back(evaluate(residuals, scene.truth, scene.valid).auc);
  }
  return outcome;
}

/// Values that stretch a score map: its least, and what 99.9 % of valid pixels stay below.
std::pair<double, double> range_of(const std::vector<double>& scores) {
  std::vector<double> valid;
  for (const double s : scores)
    if (std::isfinite(s)) valid.push_back(s);
  if (valid.empty()) return {0, 1};
  std::sort(valid.begin(), valid.end());
  return {valid.front(), valid[static_cast<size_t>(0.999 * static_cast<double>(valid.size() - 1))]};
}

void write_pictures(const models::Cube& cube, const Scene& scene, const Outcome& outcome,
                    const std::string& folder) {
  EnviHeader header;
  header.other = {{"description", "{anomaly scores}"}};
  std::vector<float> narrow(outcome.scores.begin(), outcome.scores.end());
  save_envi(folder + "/scores.img",
            Tensor::from(narrow, {scene.rows, scene.columns, 1}, Device::cpu()), header);
  if (!png_available()) return;
  const int64_t factor = std::max<int64_t>(1, 300 / std::max(scene.rows, scene.columns));
  const auto [low, high] = range_of(outcome.scores);
  const Tensor map =
      enlarged(colour_map(outcome.scores, scene.rows, scene.columns, low, high), factor);
  std::vector<Tensor> panels{enlarged(pseudo_rgb(cube), factor)};
  if (!scene.truth.empty())
    panels.push_back(enlarged(black_and_white(scene.truth, scene.rows, scene.columns), factor));
  panels.push_back(map);
  panels.push_back(colour_bar(map.size(0), 12));
  save_png(folder + "/map.png", side_by_side({map, colour_bar(map.size(0), 12)}));
  save_png(folder + "/panels.png", side_by_side(panels));
}

Curve logarithmic(Curve curve) {
  for (double& x : curve.x) x = std::log10(std::max(x, 1e-4));
  return curve;
}

void add_plots(const Config& config, const Scene& scene, const Outcome& outcome, Report& report) {
  if (!outcome.loss.empty()) {
    Curve loss{"loss", {}, outcome.loss};
    for (size_t e = 0; e < outcome.loss.size(); ++e) loss.x.push_back(static_cast<double>(e + 1));
    report.plots.push_back({"loss", "epoch", "", {loss}});
  }
  if (scene.truth.empty()) return;
  std::vector<Curve> curves;
  const auto add = [&](const std::string& name, const std::vector<double>& scores) {
    const Roc roc = roc_curve(scores, scene.truth, scene.valid);
    curves.push_back({name, roc.pf, roc.pd});
  };
  add(std::string(to_string(config.detector)), outcome.scores);
  if (config.detector != Detector::grx) add("grx", global_rx(scene));
  report.plots.push_back({"roc", "false alarms", "detection", curves});
  std::vector<Curve> stretched;
  stretched.reserve(curves.size());
  for (const Curve& c : curves) stretched.push_back(logarithmic(c));
  report.plots.push_back({"roc, logarithmic", "log10 of false alarms", "detection", stretched});
  if (outcome.auc.empty() || outcome.auc[0].empty()) return;
  Curve auc{"auc, mean of runs", {}, std::vector<double>(outcome.auc[0].size())};
  for (size_t period = 0; period < auc.y.size(); ++period) {
    auc.x.push_back(static_cast<double>((static_cast<int64_t>(period) + 1) * config.epochs));
    for (const auto& run : outcome.auc)
      auc.y[period] += run[period] / static_cast<double>(outcome.auc.size());
  }
  report.plots.push_back({"auc", "epoch", "auc", {auc}});
}

void note_bands(const models::Cube& cube, const Scene& scene, Report& report) {
  if (scene.constant > 0)
    report.notes.push_back(concat(cube.name, ": ", scene.constant, " of ", cube.bands(),
                                  " bands are constant and were left out"));
  if (scene.bad > 0)
    report.notes.push_back(concat(cube.name, ": ", scene.bad, " bad bands were left out"));
  if (scene.valid_pixels() < scene.pixels())
    report.notes.push_back(concat(cube.name, ": ", scene.pixels() - scene.valid_pixels(), " of ",
                                  scene.pixels(), " pixels are not valid"));
  if (scene.truth.empty()) report.notes.push_back(concat(cube.name, ": no truth, so no metrics"));
}

Report run_scene(const Config& config, const models::Cube& cube, Context& context) {
  const Scene scene = make_scene(cube, config.drop_bad);
  check_truth(scene, cube.name);
  Report report;
  const Outcome outcome = score(config, scene, cube.name, context);
  if (stop_requested()) return report;
  for (Evaluation e : outcome.evaluations)
    Evaluation::visit(e, [&](const char* name, double value) { report.add(name, value); });
  if (outcome.evaluations.empty()) report.add("pixels", static_cast<double>(scene.valid_pixels()));
  if (outcome.share > 0)
    report.notes.push_back(concat("share of pixels in the mask: ", outcome.share));
  note_bands(cube, scene, report);
  add_plots(config, scene, outcome, report);
  if (!context.out.empty()) write_pictures(cube, scene, outcome, context.out);
  return report;
}

Report run_folder(const Config& config, Context& context) {
  Report report;
  Table table{.name = "scenes", .corner = "scene", .rows = {}, .columns = {}, .values = {}};
  Evaluation names;
  Evaluation::visit(names, [&](const char* name, double) { table.columns.push_back(name); });
  for (const std::string& path : models::cube_files(context.data)) {
    if (stop_requested()) break;
    models::Cube cube;
    Scene scene;
    Outcome outcome;
    try {
      cube = models::load_cube(path, {config.variable, config.truth, config.rows, config.columns});
      scene = make_scene(cube, config.drop_bad);
      note_bands(cube, scene, report);
      if (scene.truth.empty()) continue;
      check_truth(scene, cube.name);
      outcome = score(config, scene, cube.name, context);
    } catch (const Error& error) {  // of this file; the others go on
      if (error.kind() != ErrorKind::io && error.kind() != ErrorKind::invalid_argument) throw;
      report.notes.push_back(
          concat("left out: ", fs::path(path).filename().string(), ": ", error.what()));
      continue;
    }
    if (stop_requested()) break;
    std::vector<double> means(table.columns.size());
    for (Evaluation e : outcome.evaluations) {
      size_t c = 0;
      Evaluation::visit(e, [&](const char*, double value) {
        means[c++] += value / static_cast<double>(outcome.evaluations.size());
      });
    }
    for (size_t c = 0; c < means.size(); ++c) report.add(table.columns[c], means[c]);
    table.add(cube.name, std::move(means));
    if (!context.out.empty()) {
      const std::string folder = context.file(cube.name);
      fs::create_directories(folder);
      write_pictures(cube, scene, outcome, folder);
    }
  }
  if (table.rows.empty() && !stop_requested()) {
    std::string why;
    for (const std::string& note : report.notes) why += "\n" + note;
    throw Error(ErrorKind::io,
                concat(context.data, ": no image with a map of anomalies here", why));
  }
  report.tables.push_back(std::move(table));
  return report;
}

}  // namespace

Report run(const Config& config, Context& context) {
  if (context.data.empty())
    return run_scene(
        config, models::synthetic_cube(config.scene, Rng(context.seed).split(1'000'000)), context);
  if (fs::is_directory(context.data)) return run_folder(config, context);
  return run_scene(
      config,
      models::load_cube(context.data, {config.variable, config.truth, config.rows, config.columns}),
      context);
}

}  // namespace tessera::algorithms::bigset
