#include "tessera/algorithms/bigset/separation.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::algorithms::bigset {
namespace {

constexpr std::string_view mask_names[] = {"none", "binary", "soft", "otsu"};
using models::Var;

constexpr double log_kernel[5][5] = {{-2, -4, -4, -4, -2},
                                     {-4, 0, 8, 0, -4},
                                     {-4, 8, 24, 8, -4},
                                     {-4, 0, 8, 0, -4},
                                     {-2, -4, -4, -4, -2}};

/// A row of M LoG for each pixel with M > 0; taps on the mirrored border fall on inner pixels.
CsrMatrix laplacian_rows(const Scene& scene, std::span<const double> mask) {
  std::vector<int64_t> row, col;
  std::vector<float> values;
  int64_t rows = 0;
  for (int64_t p = 0; p < scene.pixels(); ++p) {
    const double m = mask[static_cast<size_t>(p)];
    if (m == 0) continue;
    const int64_t r = p / scene.columns, c = p % scene.columns;
    for (int64_t dr = -2; dr <= 2; ++dr)
      for (int64_t dc = -2; dc <= 2; ++dc) {
        const double tap = log_kernel[dr + 2][dc + 2];
        if (tap == 0) continue;
        row.push_back(rows);
        col.push_back(mirrored(r + dr, scene.rows) * scene.columns +
                      mirrored(c + dc, scene.columns));
        values.push_back(static_cast<float>(m * tap));
      }
    ++rows;
  }
  return CsrMatrix::from_edges(rows, scene.pixels(), row, col, values, {});
}

std::vector<double> residuals_of(const Tensor& x, const Tensor& y) {
  const Var apart = Var(x) - Var(y);
  const Tensor sums = autograd::sum(apart * apart, {1}).value().to(Device::cpu());
  if (sums.dtype() == DType::f64) return sums.values<double>();
  const auto narrow = sums.values<float>();
  return {narrow.begin(), narrow.end()};
}

// Y -> the loss, W (X - Y), and A Y where A exists; what the loss and its gradient take over pixels
// is one pass each. Training spends what products leave here.
struct Separation final : autograd::Op {
  Tensor target, weights;                           // X; W = (1 - M) / sqrt(n_0), [pixels, 1]
  std::optional<autograd::SparseMatrix> laplacian;  // A = M LoG: rows are pixels in the mask
  double roughness = 0;                             // lambda / (n_1 + 1e-6)

  std::string_view name() const override { return "separation"; }
  int outputs() const override { return 3; }
  autograd::Saved saves() const override { return {0, 0b110}; }
  double per_band() const { return 1 / static_cast<double>(target.size(1)); }

  void eval(autograd::Values y, autograd::Outputs out) const override {
    Stream& stream = current_stream(target.device());
    const Tensor apart = autograd::binary(name(), kernels::BinaryOp::subtract, target, y[0]);
    kernels::binary(stream, kernels::BinaryOp::multiply, apart.view(),
                    weights.broadcast_to(apart.shape()).view(), apart.view());
    Var loss = autograd::inner_product(Var(apart), Var(apart));
    out[1] = apart;
    if (laplacian) {
      out[2] = autograd::spmm(*laplacian, Var(y[0]));
      loss = loss + autograd::inner_product(out[2], out[2]) * roughness;
    }
    out[0] = loss * per_band();
  }
  void jvp(autograd::Inputs, autograd::Inputs out, autograd::Inputs dy,
           autograd::Outputs dout) const override {
    dout[1] = -(dy[0] * Var(weights));
    Var dloss = autograd::inner_product(out[1], dout[1]);
    if (laplacian) {
      dout[2] = autograd::spmm(*laplacian, dy[0]);
      dloss = dloss + autograd::inner_product(out[2], dout[2]) * roughness;
    }
    dout[0] = dloss * (2 * per_band());
  }
  void vjp(autograd::Inputs, autograd::Inputs out, autograd::Inputs gout, std::span<const bool>,
           autograd::Outputs gy) const override;
};

// (gloss, W (X - Y), A Y) -> gY.
struct SeparationGradient final : autograd::Op {
  std::shared_ptr<const Separation> of;
  explicit SeparationGradient(std::shared_ptr<const Separation> op) : of(std::move(op)) {}
  std::string_view name() const override { return "separation_gradient"; }
  uint32_t optional() const override { return 0b100; }
  autograd::Saved saves() const override { return autograd::Saved::only_inputs(); }
  Var factor(const Var& gloss) const { return gloss * (-2 * of->per_band()) * Var(of->weights); }
  Var rough(const Var& gloss, const Var& laplacian) const {
    return laplacian * (gloss * (2 * of->per_band() * of->roughness));
  }

  void eval(autograd::Values x, autograd::Outputs gy) const override {
    const Tensor g =
        autograd::binary(name(), kernels::BinaryOp::multiply, x[1], factor(Var(x[0])).value());
    gy[0] = g;
    if (!of->laplacian) return;
    const CsrMatrix& back = of->laplacian->transposed().matrix();
    const Tensor z = rough(Var(x[0]), Var(x[2])).value();
    kernels::spmm(current_stream(g.device()), autograd::view_of(back, back.values), z.view(),
                  g.view(), {.beta = 1});
  }
  void decompose(autograd::Inputs x, autograd::Outputs gy) const override {
    gy[0] = x[1] * factor(x[0]);
    if (of->laplacian)
      gy[0] = gy[0] + autograd::spmm(of->laplacian->transposed(), rough(x[0], x[2]));
  }
};

void Separation::vjp(autograd::Inputs, autograd::Inputs out, autograd::Inputs gout,
                     std::span<const bool>, autograd::Outputs gy) const {
  const auto self = std::static_pointer_cast<const Separation>(shared_from_this());
  if (gout[0].defined())
    gy[0] = autograd::apply_op(std::make_shared<SeparationGradient>(self), gout[0], out[1], out[2]);
  if (gout[1].defined()) autograd::accumulate(gy[0], -(gout[1] * Var(weights)));
  if (gout[2].defined())
    autograd::accumulate(gy[0], autograd::spmm(laplacian->transposed(), gout[2]));
}

}  // namespace

std::string_view to_string(MaskKind kind) { return mask_names[static_cast<int>(kind)]; }
void parse(std::string_view text, MaskKind& kind) { parse_enum(text, mask_names, kind); }

std::vector<double> mask_of(std::span<const double> residuals, std::span<const uint8_t> valid,
                            MaskKind kind, double share) {
  TS_CHECK(residuals.size() == valid.size(), "mask_of: ", residuals.size(), " residuals for ",
           valid.size(), " pixels");
  std::vector<double> mask(residuals.size());
  std::vector<size_t> pixels;
  for (size_t p = 0; p < residuals.size(); ++p)
    if (valid[p]) pixels.push_back(p);
  if (kind == MaskKind::none || pixels.empty()) return mask;
  double least = std::numeric_limits<double>::infinity(), greatest = -least;
  for (const size_t p : pixels) {
    least = std::min(least, residuals[p]);
    greatest = std::max(greatest, residuals[p]);
  }
  if (!(greatest > least)) return mask;
  if (kind == MaskKind::binary) {
    const auto count =
        static_cast<std::ptrdiff_t>(std::floor(share * static_cast<double>(pixels.size())));
    std::stable_sort(pixels.begin(), pixels.end(),
                     [&](size_t a, size_t b) { return residuals[a] > residuals[b]; });
    for (std::ptrdiff_t k = 0; k < count; ++k) mask[pixels[static_cast<size_t>(k)]] = 1;
  } else if (kind == MaskKind::soft) {
    for (const size_t p : pixels) mask[p] = (residuals[p] - least) / (greatest - least);
  } else {
    std::vector<double> values;
    values.reserve(pixels.size());
    for (const size_t p : pixels) values.push_back(residuals[p]);
    const double threshold = otsu_threshold(values);
    for (const size_t p : pixels) mask[p] = residuals[p] > threshold;
  }
  return mask;
}

SeparationLoss::SeparationLoss(const Scene& scene, Tensor target, double lambda)
    : scene_(scene), target_(std::move(target)), lambda_(lambda) {
  TS_CHECK(scene.rows >= 3 && scene.columns >= 3, "separation training: an image of ", scene.rows,
           " x ", scene.columns, " pixels cannot be mirrored by 2; at least 3 x 3 are needed");
  set_mask(std::vector<double>(static_cast<size_t>(scene.pixels())));
}

void SeparationLoss::set_mask(std::span<const double> mask) {
  double background = 0, masked = 0;  // n_0, n_1
  for (size_t p = 0; p < mask.size(); ++p) {
    if (!scene_.valid[p]) continue;
    masked += mask[p];
    background += 1 - mask[p];
  }
  TS_CHECK(background > 0, "separation training: the mask covers every pixel");
  std::vector<double> weights(mask.size());
  for (size_t p = 0; p < mask.size(); ++p)
    weights[p] = scene_.valid[p] ? (1 - mask[p]) / std::sqrt(background) : 0;
  const auto op = std::make_shared<Separation>();
  op->target = target_;
  op->weights = autograd::convert(
                    Tensor::from(weights, {static_cast<int64_t>(weights.size()), 1}, Device::cpu()),
                    target_.dtype())
                    .to(target_.device());
  if (masked > 0 && lambda_ != 0) {
    CsrMatrix rows = laplacian_rows(scene_, mask);
    rows.values = autograd::convert(rows.values, target_.dtype());
    op->laplacian.emplace(rows.to(target_.device()));
    op->roughness = lambda_ / (masked + 1e-6);
  }
  op_ = op;
}

Var SeparationLoss::operator()(const Var& reconstruction) const {
  TS_CHECK(reconstruction.shape() == target_.shape() && reconstruction.dtype() == target_.dtype(),
           "separation training: a reconstruction ", reconstruction.value(), " of ", target_);
  Var out[3];
  autograd::apply_op(op_, autograd::Inputs(&reconstruction, 1), out);
  return out[0];
}

SeparationHistory separate(const Scene& scene, const Tensor& target, Reconstruction& network,
                           const SeparationOptions& options, std::span<const double> rx_scores,
                           const std::function<void(int64_t, double)>& on_epoch) {
  SeparationHistory history;
  if (options.mask == MaskKind::binary)
    history.share = options.share > 0
                        ? options.share
                        : std::clamp(proportion(rx_scores, options.rule), options.least_share,
                                     std::max(options.least_share, options.greatest_share));
  SeparationLoss loss(scene, target, options.lambda);
  for (int64_t period = 0; period < options.periods && !stop_requested(); ++period) {
    models::TrainHooks hooks;
    hooks.on_loss = [&](int64_t step, std::span<const double> losses) {
      history.loss.push_back(losses[0]);
      if (on_epoch) on_epoch(step + 1, losses[0]);
    };
    models::train(
        period * options.epochs, (period + 1) * options.epochs,
        [&](int64_t) { return network.step(loss); }, hooks);
    history.residuals.push_back(residuals_of(target, network.reconstruct()));
    loss.set_mask(mask_of(history.residuals.back(), scene.valid, options.mask, history.share));
  }
  return history;
}

}  // namespace tessera::algorithms::bigset
