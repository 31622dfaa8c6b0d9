#include "tessera/algorithms/eigensr/experiment.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>

#include "tessera/algorithms/eigensr/experiment_learning.hpp"
#include "tessera/algorithms/eigensr/experiment_pictures.hpp"
#include "tessera/algorithms/eigensr/experiment_weights.hpp"
#include "tessera/algorithms/eigensr/quality.hpp"
#include "tessera/autograd/launch.hpp"
#include "tessera/models/spectral_basis.hpp"
#include "tessera/runtime/interrupt.hpp"

namespace tessera::algorithms::eigensr {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view task_names[] = {"train", "infer", "degrade", "metrics"};
constexpr std::string_view stage_names[] = {"eigen", "rgb", "rgb+eigen"};

/// What one way makes of a test scene.
struct Estimate {
  std::string method;
  Tensor cube;
};

/// Errors name the scene.
Quality quality_of(const std::string& name, const Tensor& reference, const Tensor& estimate,
                   const Config& config) {
  Quality q;
  autograd::named(name,
                  [&] { q = quality(reference, estimate, static_cast<double>(config.scale)); });
  return q;
}

std::vector<Estimate> estimates_of(const Scene& scene, const Learnt& learnt, const Config& config,
                                   Context& context) {
  std::vector<Estimate> estimates{
      {"bicubic", resized_cube(scene.small, scene.reference.size(0), scene.reference.size(1))}};
  Regularisation once = config.regularisation;
  once.iterations = 1;
  const int64_t iterations = config.regularisation.iterations,
                passes = iterations + (iterations > 1);
  context.progress->begin(scene.name, std::ssize(config.stages) * passes);
  int64_t done = 0;
  for (const Stage stage : config.stages) {
    const Upscaler upscale = upscaler_of(learnt.networks.at(stage), config);
    const auto add = [&](const Regularisation& options) {
      estimates.push_back({concat(stage, " T=", options.iterations),
                           super_resolve(scene.small, config.scale, options, upscale, [&](int64_t) {
                             context.progress->update(++done, to_string(stage));
                           })});
    };
    add(once);
    if (iterations > 1 && !stop_requested()) add(config.regularisation);
    if (stop_requested()) break;
  }
  context.progress->end();
  return estimates;
}

Plot loss_plot(const Learnt& learnt) {
  Plot plot{"loss", "step", "mean absolute difference, mean of 20 steps", {}};
  for (const auto& [stage, history] : learnt.histories) {
    Curve curve{std::string(to_string(stage)), {}, {}};
    for (size_t i = 0; i < history.loss.size(); i += 20) {
      const size_t end = std::min(i + 20, history.loss.size());
      double sum = 0;
      for (size_t k = i; k < end; ++k) sum += history.loss[k];
      curve.x.push_back(static_cast<double>(end));
      curve.y.push_back(sum / static_cast<double>(end - i));
    }
    plot.curves.push_back(std::move(curve));
  }
  return plot;
}

Curve singular_values(const Scene& scene) {
  Curve curve{scene.name, {}, {}};
  for (const double s : models::spectral_basis(scene.reference).sigma) {
    curve.x.push_back(static_cast<double>(curve.x.size() + 1));
    curve.y.push_back(std::log10(s));
  }
  return curve;
}

Report run_training(const Config& config, Context& context) {
  TS_CHECK(config.scale == 2 || config.scale == 4 || config.scale == 8, "eigensr: scale ",
           config.scale, " is not 2, 4 or 8");
  check_patch(config.network, "patch", config.training.patch);
  check_patch(config.network, "tile", config.tiling.tile);
  Report report;
  const Scenes scenes =
      load_scenes(context.data, config.data, config.scale, Rng(context.seed).split(1'000'000));
  report.notes = scenes.notes;
  TS_CHECK((config.training.validate_every > 0) == !scenes.validation.empty(),
           "eigensr: validate_every is ", config.training.validate_every, " with ",
           scenes.validation.size(), " scenes for validation; set both or neither");
  const Learnt learnt = learn(config, scenes, context);
  if (stop_requested()) return report;
  if (!context.out.empty())
    for (const Stage stage : config.stages)
      save_network(
          context.file(concat(stage, ".safetensors")),
          {config.network, config.scale, low_rank_of(config, stage), learnt.networks.at(stage)});

  Table table{
      .name = "quality", .corner = "scene: method", .rows = {}, .columns = {}, .values = {}};
  Quality names;
  Quality::visit(names, [&](const char* name, double) { table.columns.push_back(name); });
  Plot values{"singular values", "number", "log10", {}};
  for (const Scene& scene : scenes.test) {
    const std::vector<Estimate> estimates = estimates_of(scene, learnt, config, context);
    if (stop_requested()) return report;
    for (const Estimate& e : estimates) {
      Quality q = quality_of(scene.name, scene.reference, e.cube, config);
      std::vector<double> row;
      Quality::visit(q, [&](const char* name, double value) {
        report.add(concat(name, " ", e.method), value);
        row.push_back(value);
      });
      table.add(concat(scene.name, ": ", e.method), std::move(row));
    }
    values.curves.push_back(singular_values(scene));
    if (context.out.empty()) continue;
    const std::string folder = context.file(scene.name);
    fs::create_directories(folder);
    const Estimate& ours = estimates.back();
    write_cube(folder + "/estimate.img", ours.cube, scene.about,
               concat(scene.name, " x", config.scale, ", ", ours.method));
    write_pictures(folder, scene, estimates.front().cube, ours.cube);
  }
  report.tables.push_back(std::move(table));
  report.plots = {loss_plot(learnt), values};
  return report;
}

/// Every cube of the data, one after another, into files `suffix` of the output folder.
Report run_cubes(const Config& config, Context& context, const std::string& suffix,
                 const std::function<Tensor(const Scene&)>& work) {
  TS_CHECK(!context.data.empty() && !context.out.empty(), "eigensr: task ", config.task,
           " needs --data with cubes and --out for what becomes of them");
  Report report;
  const std::vector<std::string> paths =
      fs::is_directory(context.data) ? models::cube_files(context.data) : std::vector{context.data};
  context.progress->begin(std::string(to_string(config.task)), std::ssize(paths));
  for (size_t i = 0; i < paths.size() && !stop_requested(); ++i) {
    const Scene scene = load_scene(paths[i], config.data, report.notes);
    const Tensor made = work(scene);
    if (stop_requested()) break;
    write_cube(context.file(concat(scene.name, suffix)), made, scene.about,
               concat(scene.name, ", ", config.task, " x", config.scale));
    report.add("pixels", static_cast<double>(made.size(0) * made.size(1)));
    context.progress->update(static_cast<int64_t>(i) + 1, scene.name);
  }
  context.progress->end();
  return report;
}

Report run_inference(const Config& config, Context& context) {
  TS_CHECK(!config.weights.empty(), "eigensr: task infer needs the setting weights");
  const StoredNetwork stored = load_network(config.weights);
  check_patch(stored.options, "tile", config.tiling.tile);
  Config with = config;
  with.scale = stored.scale;
  const Upscaler upscale = upscaler_of(models::to(stored.network, context.device), with);
  return run_cubes(with, context, concat(".x", with.scale, ".img"), [&](const Scene& scene) {
    return super_resolve(scene.reference, with.scale, with.regularisation, upscale);
  });
}

Report run_degradation(const Config& config, Context& context) {
  uint64_t number = 0;
  return run_cubes(config, context, concat(".d", config.scale, ".img"), [&](const Scene& scene) {
    return degraded(scene.reference, config.scale, config.data.degradation,
                    Rng(context.seed).split(number++));
  });
}

Report run_metrics(const Config& config, Context& context) {
  TS_CHECK(!context.data.empty() && !config.reference.empty(),
           "eigensr: task metrics needs --data with a cube and the setting reference");
  Report report;
  const Scene estimate = load_scene(context.data, config.data, report.notes),
              right = load_scene(config.reference, config.data, report.notes);
  Quality q = quality_of(concat(context.data, " and ", config.reference), right.reference,
                         estimate.reference, config);
  Quality::visit(q, [&](const char* name, double value) { report.add(name, value); });
  return report;
}

}  // namespace

std::string_view to_string(Task task) { return task_names[static_cast<int>(task)]; }
void parse(std::string_view text, Task& task) { parse_enum(text, task_names, task); }
std::string_view to_string(Stage stage) { return stage_names[static_cast<int>(stage)]; }
void parse(std::string_view text, Stage& stage) { parse_enum(text, stage_names, stage); }

int64_t low_rank_of(const Config& config, Stage stage) {
  const bool frozen = stage == Stage::rgb_eigen && config.freeze_body;
  return frozen && config.network.body == Body::transformer ? config.low_rank : 0;
}

Report run(const Config& config, Context& context) {
  switch (config.task) {
    case Task::infer:
      return run_inference(config, context);
    case Task::degrade:
      return run_degradation(config, context);
    case Task::metrics:
      return run_metrics(config, context);
    default:
      return run_training(config, context);
  }
}

}  // namespace tessera::algorithms::eigensr
