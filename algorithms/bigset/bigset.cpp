#include "tessera/algorithms/bigset/bigset.hpp"

#include <algorithm>
#include <limits>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/pool.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/nets/msnet.hpp"

namespace tessera::algorithms::bigset {
namespace {

constexpr std::string_view detector_names[] = {"grx", "lrx", "crd", "ae", "msnet"};
constexpr int64_t bands_of_msnet = 64;
using models::Var;
using models::Vars;

std::vector<double> last_residuals(const Scene& scene, const SeparationHistory& history) {
  if (history.residuals.empty()) return {};
  std::vector<double> scores = history.residuals.back();
  for (size_t p = 0; p < scores.size(); ++p)
    if (!scene.valid[p]) scores[p] = std::numeric_limits<double>::quiet_NaN();
  return scores;
}

/// MSNet on the image as a whole, with the loss of its coarser reconstructions:
/// mean over l of |down_l(X) - down_l(d_l)|^2 / (pixels of level l) / bands, down_l to 1 / 2^l of
/// both extents. Pixels that are not valid are 0 in X and in d_l.
class MultiScale {
 public:
  MultiScale(const Scene& scene, const Tensor& x, models::MsNet& net, models::Adam& adam)
      : rows_(scene.rows),
        columns_(scene.columns),
        image_(to_image(Var(x))),
        valid_(valid_image(scene, x)),
        net_(net),
        adam_(adam) {}

  Reconstruction reconstruction() {
    return {[this](const SeparationLoss& loss) {
              const auto [value, gradients] =
                  models::value_and_grad(net_, [&](const models::MsNet& m) {
                    const Vars outputs = m(image_);
                    return loss(to_table(outputs[0])) + coarse_loss(outputs);
                  });
              adam_.step(net_, gradients);
              return value.value();
            },
            [this] { return autograd::contiguous(to_table(net_(image_)[0]).value()); }};
  }

 private:
  /// [1, 1, rows, columns], 1 where a pixel is valid; undefined where all are.
  static Var valid_image(const Scene& scene, const Tensor& x) {
    if (scene.valid_pixels() == scene.pixels()) return {};
    const std::vector<float> ones(scene.valid.begin(), scene.valid.end());
    return Var(Tensor::from(ones, {1, 1, scene.rows, scene.columns}, Device::cpu()).to(x.device()));
  }
  Var to_image(const Var& table) const {  // [pixels, bands] -> [1, bands, rows, columns]
    return autograd::reshape(autograd::transpose(table, 0, 1), {1, table.size(1), rows_, columns_});
  }
  Var to_table(const Var& image) const {
    return autograd::transpose(autograd::reshape(image, {image.size(1), rows_ * columns_}), 0, 1);
  }
  Var coarse_loss(const Vars& outputs) const {
    Var sum;
    int64_t rate = 1;
    for (const Var& d : outputs) {
      const int64_t height = rows_ / rate, width = columns_ / rate;
      const auto down = [&](const Var& image) {
        return rate == 1 ? image
                         : autograd::resample2d(image, height, width,
                                                {.mode = autograd::ResampleMode::bilinear});
      };
      const Var apart = down(image_) - down(valid_.defined() ? d * valid_ : d);
      const Var part = autograd::inner_product(apart, apart) *
                       (1 / static_cast<double>(height * width * image_.size(1)));
      sum = sum.defined() ? sum + part : part;
      rate *= 2;
    }
    return sum * (1 / static_cast<double>(outputs.size()));
  }

  int64_t rows_, columns_;
  Var image_, valid_;
  models::MsNet& net_;
  models::Adam& adam_;
};

}  // namespace

std::string_view to_string(Detector d) { return detector_names[static_cast<int>(d)]; }
void parse(std::string_view text, Detector& d) { parse_enum(text, detector_names, d); }

PixelAutoencoder PixelAutoencoder::make(int64_t bands, const std::vector<int64_t>& hidden,
                                        Rng& rng) {
  TS_CHECK(!hidden.empty(), "PixelAutoencoder: no hidden width");
  std::vector<int64_t> widths{bands};
  widths.insert(widths.end(), hidden.begin(), hidden.end());
  widths.insert(widths.end(), hidden.rbegin() + 1, hidden.rend());
  widths.push_back(bands);
  return {models::Mlp::make(widths, rng, models::Activation::relu)};
}

Detection detect(const Scene& scene, const Options& options, Device device, const Rng& rng,
                 const std::function<void(int64_t, double)>& on_epoch) {
  switch (options.detector) {
    case Detector::grx:
      return {global_rx(scene), {}};
    case Detector::lrx:
      return {local_rx(normalised(scene, Normalisation::minmax_image), options.windows,
                       options.shrinkage),
              {}};
    case Detector::crd:
      return {collaborative(normalised(scene, Normalisation::minmax_image), options.windows,
                            options.collaborative_lambda),
              {}};
    default:
      break;
  }
  std::vector<double> rx;
  if (options.mask == MaskKind::binary && options.share == 0) rx = global_rx(scene);
  const bool ae = options.detector == Detector::ae;
  int64_t keep = options.select;
  if (keep == 0) keep = ae ? scene.spectra.size(1) : bands_of_msnet;
  keep = std::min(keep, scene.spectra.size(1));
  const Scene seen = normalised(
      keep < scene.spectra.size(1) ? with_bands(scene, select_bands(scene, keep)) : scene,
      options.normalisation);
  const Tensor x = autograd::convert(seen.spectra, DType::f32).to(device);
  models::Adam adam{.learning_rate = options.learning_rate};
  Rng initial = rng.split(0);
  Detection detection;
  if (ae) {
    auto model = models::to(PixelAutoencoder::make(keep, options.hidden, initial), device);
    Reconstruction network = reconstruction_by(model, adam, x);
    detection.history = separate(seen, x, network, options, rx, on_epoch);
  } else {
    auto model =
        models::to(models::MsNet::make(keep, options.channels, options.scales, initial), device);
    MultiScale scales(seen, x, model, adam);
    Reconstruction network = scales.reconstruction();
    detection.history = separate(seen, x, network, options, rx, on_epoch);
  }
  detection.scores = last_residuals(seen, detection.history);
  return detection;
}

}  // namespace tessera::algorithms::bigset
