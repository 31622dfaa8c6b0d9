#pragma once

#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

/// What a worse sensor would have seen. Cubes are f32 [rows, columns, bands] on the host; results
/// share no memory with them.
namespace tessera::algorithms::eigensr {

/// x + deviation n, n standard normal.
Tensor with_noise(const Tensor& cube, double deviation, const Rng& rng);
/// The deviation of noise at `decibels` = 10 log10(mean x^2 / deviation^2).
double deviation_at(const Tensor& cube, double decibels);
/// Columns of single bands set to 0, each with this probability: dead detectors of a line scanner.
Tensor with_stripes(const Tensor& cube, double probability, const Rng& rng);
/// Single elements (3-D) or whole spectra (2-D) set to 0, each with this probability.
enum class Dropped : uint8_t { elements, pixels };
Tensor with_zeros(const Tensor& cube, double probability, Dropped what, const Rng& rng);

/// Any of them one after another, in this order.
struct Degradation {
  double noise = 0;    // deviation of Gaussian noise, in the cube's unit
  double snr = 0;      // noise by its ratio in dB; 0: none
  double stripes = 0;  // probability of a column of a band
  double zeros = 0;    // of an element
  double missing_pixels = 0;

  static void visit(auto& self, auto&& f) {
    f("noise", self.noise, "deviation of Gaussian noise, in the unit of the data",
      Bounds::at_least(0));
    f("snr", self.snr, "Gaussian noise by its signal-to-noise ratio in dB; 0: none",
      Bounds::finite());
    f("stripes", self.stripes, "probability that a column of a band is 0", Bounds::between(0, 1));
    f("zeros", self.zeros, "probability that an element is 0", Bounds::between(0, 1));
    f("missing_pixels", self.missing_pixels, "probability that a whole spectrum is 0",
      Bounds::between(0, 1));
  }
};
/// The cube, bicubically smaller by `scale` (rows and columns that are left over are cut off first)
/// and degraded. Each step has random numbers of its own.
Tensor degraded(const Tensor& cube, int64_t scale, const Degradation& by, const Rng& rng);

/// The first rows and columns of a cube, as many as `scale` divides. Throws where none remain.
Tensor cropped_to(const Tensor& cube, int64_t scale);

}  // namespace tessera::algorithms::eigensr
