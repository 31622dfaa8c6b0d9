#pragma once

#include <cstdint>
#include <vector>

#include "tessera/runtime/tensor.hpp"

/// The spectral basis of a hyperspectral cube: with its valid pixels as the rows of A [pixels,
/// bands], A = U S V', it is V and S, from the Gram matrix A'A = V S^2 V'. Cubes are [rows,
/// columns, bands] or [pixels, bands], of any strides, f64 f32 f16 bf16 i16 or u16, on any device.
/// Products and sums are made in f64, and exactly for i16 and u16, so that singular values down to
/// about 1e-7 of the largest are told apart from rounding; spectral_svd.hpp goes further.
namespace tessera::models {

struct SpectralBasis {
  Tensor v;                   // f64 [bands, bands] on the cube's device: a vector per column, of
                              // which the component of largest magnitude is positive
  std::vector<double> sigma;  // [bands], falling; 0 where the cube has fewer dimensions
  Tensor mean;                // f64 [bands]: the mean spectrum; undefined where not centred
  int64_t pixels = 0;         // that counted
  int64_t live = 0;           // bands that are not 0 everywhere, around the mean where centred
};

/// Sums the Gram matrix of a cube that comes in slabs, in one pass over each. The same slabs give
/// the same bits on any number of threads; of i16 and u16 any slabs of the same pixels do.
class GramSum {
 public:
  /// `centred`: of A less its mean spectrum. Floating numbers are summed around the mean of the
  /// first pixels, so that what varies does not drown in what does not.
  explicit GramSum(bool centred = false) : centred_(centred) {}

  /// valid: bool, x's leading extents, the pixels that count; undefined: all. Slabs have one number
  /// of bands, one dtype and one device.
  void add(const Tensor& x, const Tensor& valid = {});

  /// Throws when a band has a number that is not finite, or no pixel counted.
  SpectralBasis basis() const;

  /// A'A f64 [bands, bands], row by row, around the mean where centred; `mean` gets the mean
  /// spectrum [bands]. At least one pixel has been added.
  std::vector<double> gram(std::vector<double>& mean) const;

  int64_t pixels() const { return pixels_; }  // that counted

 private:
  void begin(const Tensor& x, const Tensor& valid);
  bool exact() const { return gram_.dtype() == DType::i64; }

  bool centred_;
  DType dtype_ = DType::f32;
  Tensor gram_, sums_;  // f64 or i64, [bands, bands] and [bands]
  Tensor pilot_;        // f64 [bands]: what is subtracted meanwhile; undefined: nothing
  int64_t pixels_ = 0;
};

/// The basis of a whole cube: one pass and an eigenvalue problem of the bands.
SpectralBasis spectral_basis(const Tensor& x, const Tensor& valid = {}, bool centred = false);

/// f32 [count, rows, columns] (or [count, pixels]): the leading columns of A V, each a picture; 0
/// in pixels that are not valid. Products and sums in f64.
Tensor eigenimages(const Tensor& x, const SpectralBasis& basis, int64_t count,
                   const Tensor& valid = {});

/// Numbers of any kind as these functions take them: whole ones of 8 bits as i16, of 32 and 64 as
/// f64; others are the same tensor.
Tensor as_pixels(const Tensor& x);

/// How many of `bands` vectors a setting means: 0 all, a share below 1 that part rounded up, a
/// whole number itself, at most `bands`.
int64_t rank_of(double rank, int64_t bands);
/// The number of leading components k with (s_1 + .. + s_k) / sum s <= share, at least 1: EigenSR's
/// rule for the eigenimages that are worth learning from.
int64_t components_within(const std::vector<double>& sigma, double share);

}  // namespace tessera::models
