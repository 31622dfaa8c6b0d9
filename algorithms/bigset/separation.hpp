#pragma once

#include <functional>
#include <span>
#include <vector>

#include "tessera/algorithms/bigset/evaluation.hpp"
#include "tessera/algorithms/bigset/scene.hpp"
#include "tessera/autograd/op.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/train.hpp"

/// Separation training: a network that reconstructs the image it is to judge learns the background
/// on the pixels that a mask takes for it, and is asked for smoothness, not for likeness, where the
/// mask suspects an anomaly.
namespace tessera::algorithms::bigset {

/// The mask of a period, from the residuals of the one before.
enum class MaskKind : uint8_t {
  none,    // an ordinary autoencoder
  binary,  // the share p of largest residuals (BiGSeT)
  soft,    // residuals scaled to [0, 1] (MSNet)
  otsu,    // residuals beyond Otsu's threshold
};
std::string_view to_string(MaskKind kind);
void parse(std::string_view text, MaskKind& kind);

struct SeparationOptions {
  MaskKind mask = MaskKind::binary;
  int64_t periods = 6, epochs = 50;  // epochs of one period; the mask is new after each period
  double learning_rate = 1e-3;
  double lambda = 1e-3;  // weight of smoothness
  double share = 0;      // of the pixels a binary mask holds; 0: by `rule` from RX scores, within
  ProportionRule rule = ProportionRule::log_mad;
  double least_share = 0.002, greatest_share = 0.02;

  static void visit(auto& self, auto&& f) {
    f("mask", self.mask, "none, binary, soft or otsu");
    f("periods", self.periods, "the mask is new after each", Bounds::at_least(1));
    f("epochs", self.epochs, "of a period: steps on the whole image", Bounds::at_least(1));
    f("lr", self.learning_rate, "of Adam", Bounds::at_least(0));
    f("lambda", self.lambda, "weight of smoothness where the mask is", Bounds::at_least(0));
    f("share", self.share, "of pixels in a binary mask; 0: estimated by `rule`",
      Bounds::up_to_below(0, 1));
    f("rule", self.rule, "log_mad, mean_3std, mad_6, mad_10 or otsu, on RX scores");
    f("least_share", self.least_share, "least of an estimate", Bounds::between(0, 1));
    f("greatest_share", self.greatest_share, "greatest of an estimate", Bounds::between(0, 1));
  }
};

/// The mask [pixels], in [0, 1], for residuals of which those of pixels that are not valid do not
/// count. `share` is for binary masks: the floor(share * valid pixels) largest, of equal ones the
/// first. Residuals that are all equal give no mask.
std::vector<double> mask_of(std::span<const double> residuals, std::span<const uint8_t> valid,
                            MaskKind kind, double share);

/// What is minimised for a reconstruction Y [pixels, bands] of X:
///
///   (sum_i ((1 - M_i) (X_i - Y_i))^2 / n_0 + lambda sum_i (M_i LoG(Y)_i)^2 / (n_1 + 1e-6)) / bands
///
/// with n_1 the sum of M over valid pixels and n_0 that of 1 - M. LoG is the 5 x 5 Laplacian of a
/// Gaussian, 24 at its centre, on the image mirrored at its border; it is formed at pixels with M >
/// 0 only, as a sparse matrix.
class SeparationLoss {
 public:
  /// target: [pixels, bands] on the device the work is done on.
  SeparationLoss(const Scene& scene, Tensor target, double lambda);
  void set_mask(std::span<const double> mask);
  models::Var operator()(const models::Var& reconstruction) const;

 private:
  const Scene& scene_;
  Tensor target_;
  double lambda_;
  autograd::OpRef op_;  // of the current mask
};

/// A network as training sees it: what minimising its loss takes, whatever it is inside.
struct Reconstruction {
  /// One step on the loss of the whole image; returns the loss, one element.
  std::function<Tensor(const SeparationLoss&)> step;
  /// [pixels, bands] by the current parameters.
  std::function<Tensor()> reconstruct;
};

struct SeparationHistory {
  std::vector<double> loss;                    // of every epoch
  std::vector<std::vector<double>> residuals;  // after every period: |X - Y|^2 of each pixel
  double share = 0;                            // of a binary mask
};
/// Trains for all periods. `on_epoch` is told the number of epochs done and the loss.
SeparationHistory separate(const Scene& scene, const Tensor& target, Reconstruction& network,
                           const SeparationOptions& options, std::span<const double> rx_scores,
                           const std::function<void(int64_t, double)>& on_epoch = {});

/// Of a model with `Var operator()(const Var& x) const`, x and its result [pixels, bands]. Model
/// and optimizer must outlive the result.
template <class M>
Reconstruction reconstruction_by(M& model, models::Adam& adam, const Tensor& x) {
  return {[&model, &adam, x](const SeparationLoss& loss) {
            const auto [value, gradients] =
                models::value_and_grad(model, [&](const M& m) { return loss(m(models::Var(x))); });
            adam.step(model, gradients);
            return value.value();
          },
          [&model, x] { return model(models::Var(x)).value(); }};
}

}  // namespace tessera::algorithms::bigset
