#include "tessera/algorithms/svd/experiment.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <optional>

#include "tessera/algorithms/picture.hpp"
#include "tessera/models/data/cube_rows.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/envi.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/runtime/io/png.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::algorithms::svd {
namespace {

using models::SpectralSvd;

/// The cube of a run, in memory or in slabs of a file.
struct Source {
  std::optional<models::Cube> cube;
  std::optional<models::CubeRows> file;
  int64_t rows = 0, columns = 0, bands = 0;
  Tensor x, valid;  // of a cube in memory, on the device
  models::Slabs slabs;
};

/// Leading eigenimages [count, rows, columns], filled slab after slab.
class Images {
 public:
  Images(int64_t count, const Source& source)
      : rows_(source.rows),
        columns_(source.columns),
        values_(Tensor::zeros({count, rows_, columns_}, DType::f32, Device::cpu())) {}

  void add(const SpectralSvd& svd) {
    const int64_t k = svd.u.size(-1), rows = svd.u.size(0);
    const Tensor host = svd.u.to(Device::cpu()).clone();
    const auto to = values_.host_mutable<float>();
    const auto put = [&](const auto& u) {
      for (int64_t i = 0; i < values_.size(0); ++i)
        for (int64_t p = 0; p < rows * columns_; ++p)
          to[static_cast<size_t>((i * rows_ + first_) * columns_ + p)] =
              static_cast<float>(static_cast<double>(u[static_cast<size_t>(p * k + i)]) *
                                 svd.sigma[static_cast<size_t>(i)]);
    };
    if (host.dtype() == DType::f64)
      put(host.host<double>());
    else
      put(host.host<float>());
    first_ += rows;
  }
  const Tensor& values() const { return values_; }

 private:
  int64_t rows_, columns_, first_ = 0;
  Tensor values_;
};

Source open(const Config& config, const Context& context) {
  if (std::filesystem::is_directory(context.data))
    throw Error(ErrorKind::io, concat(context.data, ": a folder; svd takes one image"));
  Source source;
  if (config.slab > 0) {
    TS_CHECK(!context.data.empty(), "svd: slab is for files, and there is no --data");
    source.file.emplace(context.data);
    const models::CubeRows& file = *source.file;
    source.rows = file.rows(), source.columns = file.columns(), source.bands = file.bands();
    source.slabs = [&file, slab = config.slab, device = context.device](const models::Slab& body) {
      for (int64_t first = 0; first < file.rows() && !stop_requested(); first += slab) {
        const Tensor values = file.values(first, std::min(slab, file.rows() - first)),
                     valid = file.valid(values);
        body(models::as_pixels(values).to(device), valid.defined() ? valid.to(device) : valid);
      }
    };
    return source;
  }
  source.cube =
      context.data.empty()
          ? models::synthetic_cube(config.scene, Rng(context.seed))
          : models::load_cube(context.data, {config.variable, "", config.rows, config.columns});
  const models::Cube& cube = *source.cube;
  source.rows = cube.rows(), source.columns = cube.columns(), source.bands = cube.bands();
  source.x = models::as_pixels(cube.values).to(context.device);
  if (cube.valid.defined()) source.valid = cube.valid.to(context.device);
  return source;
}

struct Outcome {
  SpectralSvd svd;
  double seconds = 0;
  models::SvdCheck check;
  std::optional<Images> images;
};

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

/// One decomposition. What is measured of it, and pictures, are not in its time.
Outcome decompose(const Config& config, const Context& context, const Source& source,
                  bool checked) {
  const models::SvdOptions options{.method = config.method,
                                   .rank = config.rank,
                                   .centred = config.centred,
                                   .left = config.left,
                                   .precision = config.precision,
                                   .oversampling = config.oversampling,
                                   .power_steps = config.power_steps,
                                   .rng = Rng(context.seed).split(1)};
  Outcome outcome;
  double aside = 0;
  const auto look = [&](const Tensor& x, const Tensor& valid, const SpectralSvd& svd) {
    const double before = now();
    if (checked) {
      if (!outcome.images)
        outcome.images.emplace(std::min(config.images, std::ssize(svd.sigma)), source);
      outcome.check.add(x, valid, svd);
      outcome.images->add(svd);
    }
    aside += now() - before;
  };
  const double begin = now();
  if (source.file) {
    outcome.svd = models::spectral_svd(source.slabs, options,
                                       config.left ? models::LeftSlab(look) : models::LeftSlab());
  } else {
    outcome.svd = models::spectral_svd(source.x, source.valid, options);
    current_stream(context.device).synchronize();
  }
  outcome.seconds = now() - begin - aside;
  if (!source.file && config.left) look(source.x, source.valid, outcome.svd);
  return outcome;
}

Table leading_values(const SpectralSvd& svd, size_t most) {
  Table table{.name = "leading",
              .corner = "component",
              .rows = {},
              .columns = {"sigma", "share of squares", "sum of sigma so far"},
              .values = {}};
  double sum = 0, squares = 0, so_far = 0;
  for (const double s : svd.sigma) sum += s, squares += s * s;
  for (size_t i = 0; i < svd.sigma.size(); ++i) {
    const double s = svd.sigma[i];
    so_far += s;
    if (i < most)
      table.add(std::to_string(i + 1),
                {s, squares > 0 ? s * s / squares : 0, sum > 0 ? so_far / sum : 0});
  }
  return table;
}

/// log10 of the singular values that are not 0.
Curve logarithms(const SpectralSvd& svd) {
  Curve curve{"log10 sigma", {}, {}};
  for (size_t i = 0; i < svd.sigma.size(); ++i)
    if (svd.sigma[i] > 0) {
      curve.x.push_back(static_cast<double>(i + 1));
      curve.y.push_back(std::log10(svd.sigma[i]));
    }
  return curve;
}

void write_files(const Config& config, const Source& source, const Outcome& outcome,
                 const Context& context) {
  const SpectralSvd& svd = outcome.svd;
  std::map<std::string, Tensor> basis{
      {"v", svd.v.to(Device::cpu()).clone()},
      {"sigma", Tensor::from(svd.sigma, {std::ssize(svd.sigma)}, Device::cpu())}};
  if (svd.mean.defined()) basis["mean"] = svd.mean.to(Device::cpu());
  save_npz(context.file("basis.npz"), basis);
  const bool png = png_available();
  if (const Curve curve = logarithms(svd); png && curve.x.size() > 1)
    save_png(context.file("singular_values.png"), line_picture(curve, 320, 480));
  if (!outcome.images || outcome.images->values().numel() == 0) return;
  const Tensor& images = outcome.images->values();
  EnviHeader header;
  header.other = {{"description", "{eigenimages, the largest singular value first}"}};
  save_envi(context.file("eigenimages.img"), images.permute({1, 2, 0}), header);
  if (!png) return;
  const int64_t factor = std::max<int64_t>(1, 200 / std::max(source.rows, source.columns));
  std::vector<Tensor> panels;
  if (source.cube) panels.push_back(enlarged(pseudo_rgb(*source.cube), factor));
  for (int64_t i = 0; i < std::min(config.images, images.size(0)); ++i) {
    const auto narrow = images.select(0, i).values<float>();
    const std::vector<double> values(narrow.begin(), narrow.end());
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const size_t cut = sorted.size() / 100;  // stretched from the 1st to the 99th percentile
    panels.push_back(enlarged(colour_map(values, source.rows, source.columns, sorted[cut],
                                         sorted[sorted.size() - 1 - cut]),
                              factor));
  }
  save_png(context.file("panels.png"), side_by_side(panels));
}

}  // namespace

Report run(const Config& config, Context& context) {
  const Source source = open(config, context);
  Report report;
  std::optional<Outcome> first;
  context.progress->begin("decomposition", config.repeats);
  for (int64_t i = 0; i < config.repeats && !stop_requested(); ++i) {
    Outcome outcome;
    try {
      outcome = decompose(config, context, source, i == 0);
    } catch (const Error& error) {
      if (stop_requested()) break;
      if (context.data.empty()) throw;
      throw Error(error.kind(), concat(context.data, ": ", error.what()));
    }
    if (stop_requested()) break;
    const double bytes = static_cast<double>(source.rows * source.columns * source.bands) *
                         static_cast<double>(size_of(source.file ? source.file->dtype()
                                                                 : source.cube->values.dtype()));
    report.add("seconds", outcome.seconds);
    report.add("GB/s", bytes / outcome.seconds / 1e9);
    if (!first) first = std::move(outcome);
    context.progress->update(i + 1);
  }
  if (!first || stop_requested()) return report;
  const SpectralSvd& svd = first->svd;
  report.add("pixels", static_cast<double>(svd.pixels));
  report.add("bands", static_cast<double>(source.bands));
  report.add("triples", static_cast<double>(svd.sigma.size()));
  report.add("rank", static_cast<double>(svd.rank));
  report.add("condition",
             svd.rank > 0 ? svd.sigma.front() / svd.sigma[static_cast<size_t>(svd.rank - 1)] : 1);
  report.add("within .97", static_cast<double>(models::components_within(svd.sigma, 0.97)));
  report.add("passes", svd.passes);
  if (config.left) {
    report.add("residual", first->check.residual());
    report.add("orthogonality", first->check.orthogonality());
  }
  report.notes.push_back(concat("method: ", svd.method, ", ",
                                source.file ? "in slabs of the file" : "the cube in memory"));
  if (svd.pixels < source.rows * source.columns)
    report.notes.push_back(concat(source.rows * source.columns - svd.pixels, " of ",
                                  source.rows * source.columns, " pixels are not valid"));
  if (svd.rank < std::ssize(svd.sigma))
    report.notes.push_back(
        concat(std::ssize(svd.sigma) - svd.rank, " singular values are 0 to working precision"));
  report.tables.push_back(leading_values(svd, 10));
  report.plots.push_back({"singular values", "component", "log10 sigma", {logarithms(svd)}});
  if (!context.out.empty()) write_files(config, source, *first, context);
  return report;
}

}  // namespace tessera::algorithms::svd
