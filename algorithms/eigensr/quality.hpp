#pragma once

#include <cstdint>

#include "tessera/runtime/tensor.hpp"

namespace tessera::algorithms::eigensr {

/// How near an estimate Y is to a reference X, both [rows, columns, bands]. But for ERGAS, both are
/// first mapped by (v - min X) / (max X - min X), the extremes of the whole cube; Y is not clipped.
struct Quality {
  double psnr = 0;   // dB: mean over bands of 10 log10(1 / MSE_b), without `exact_bands`
  double ssim = 0;   // mean over bands and 7 x 7 windows inside the image; equal weights, sample
                     // covariance, K1 = .01, K2 = .03 (Wang et al. 2004; scikit-image's defaults)
  double sam = 0;    // degrees: mean angle between spectra, without `zero_spectra`
  double rmse = 0;   // over everything
  double ergas = 0;  // (100 / scale) sqrt(mean_b (RMSE_b / mean X_b)^2), bands of mean 0 left out
  double cc = 0;     // mean over bands that vary in both of Pearson's correlation
  int64_t exact_bands = 0;   // constant in X, or without any error
  int64_t zero_spectra = 0;  // pixels where either spectrum is 0 in all bands once mapped

  static void visit(auto& self, auto&& f) {
    f("psnr", self.psnr);
    f("ssim", self.ssim);
    f("sam", self.sam);
    f("rmse", self.rmse);
    f("ergas", self.ergas);
    f("cc", self.cc);
  }
};

/// Tensors f32 or f64 on the host, of equal shape; computed in f64. `scale`: of super-resolution.
/// Means over nothing are NaN. Throws where shapes differ, the image is smaller than a window, a
/// number is not finite, or the reference is constant.
Quality quality(const Tensor& reference, const Tensor& estimate, double scale);

/// Mean over bands of |X - Y|, in the units of X: f64 [rows, columns].
Tensor error_map(const Tensor& reference, const Tensor& estimate);

}  // namespace tessera::algorithms::eigensr
