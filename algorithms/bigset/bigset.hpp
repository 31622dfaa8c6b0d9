#pragma once

#include "tessera/algorithms/bigset/detectors.hpp"
#include "tessera/algorithms/bigset/separation.hpp"
#include "tessera/models/nets/mlp.hpp"
#include "tessera/runtime/config.hpp"

/// One call for each detector.
namespace tessera::algorithms::bigset {

enum class Detector : uint8_t { grx, lrx, crd, ae, msnet };
std::string_view to_string(Detector detector);
void parse(std::string_view text, Detector& detector);

struct Options : SeparationOptions {
  Detector detector = Detector::ae;
  Normalisation normalisation = Normalisation::zscore_band;  // what networks see
  bool drop_bad = false;
  int64_t select = 0;                   // bands kept by projection; 0: all, and 64 for msnet
  std::vector<int64_t> hidden{64, 16};  // ae: widths from the input to the middle
  int64_t channels = 16, scales = 3;    // msnet
  Windows windows;                      // lrx, crd
  double shrinkage = 1e-3;              // lrx
  double collaborative_lambda = 1e-6;   // crd

  static void visit(auto& self, auto&& f) {
    f("detector", self.detector, "grx, lrx, crd, ae or msnet");
    SeparationOptions::visit(self, f);
    f("normalisation", self.normalisation,
      "of what networks see: zscore_band, minmax_image, minmax_band or none");
    f("drop_bad", self.drop_bad, "leave out the bands that the file calls bad");
    f("select", self.select, "bands kept by orthogonal projection; 0: all, with msnet 64",
      Bounds::at_least(0));
    f("hidden", self.hidden, "ae: widths from the input to the middle", Bounds::at_least(1));
    f("channels", self.channels, "msnet: inside its convolutions", Bounds::at_least(1));
    f("scales", self.scales, "msnet", Bounds::between(1, 10));
    f("inner", self.windows.inner, "lrx, crd: side of the window left out", Bounds::at_least(1));
    f("outer", self.windows.outer, "lrx, crd: side of the window", Bounds::at_least(3));
    f("shrinkage", self.shrinkage, "lrx: of the ring's covariance, in mean variances",
      Bounds::at_least(0));
    f("collaborative_lambda", self.collaborative_lambda, "crd", Bounds::at_least(0));
  }
};

struct Detection {
  std::vector<double> scores;  // of each pixel, NaN where it is not valid
  SeparationHistory history;   // of networks
};

/// Scores of a scene. Networks train on `device`, from `rng`.
Detection detect(const Scene& scene, const Options& options, Device device, const Rng& rng,
                 const std::function<void(int64_t, double)>& on_epoch = {});

/// B -> hidden -> ... -> B and back, fully connected, relu between, for every pixel alone.
struct PixelAutoencoder {
  models::Mlp net;

  static PixelAutoencoder make(int64_t bands, const std::vector<int64_t>& hidden, Rng& rng);
  models::Var operator()(const models::Var& x) const { return net(x); }

  static void visit(auto& self, auto&& f) { f("net", self.net); }
};

}  // namespace tessera::algorithms::bigset
