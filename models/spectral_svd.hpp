#pragma once

#include <functional>

#include "tessera/models/spectral_basis.hpp"
#include "tessera/runtime/rng.hpp"

/// Economy singular value decompositions A = U S V' of pixels x bands, many pixels and few bands.
///
/// One chain covers all methods. A is multiplied by small matrices until its columns are
/// orthonormal, Q = A B_1 B_2 .., each B from the eigenvalues W L W' of the Gram matrix of what is
/// there so far: B = W (L + shift)^-1/2. With R = .. (L + shift)^1/2 W', A = Q R, and the
/// decomposition of R [k, bands] by Jacobi rotations completes that of A. One step is the Gram
/// route, with U orthonormal to eps (s_1 / s_k)^2; a second is CholeskyQR2 (Yamamoto et al. 2015)
/// with eigenvalues in place of Cholesky's factor; a shift, wherever the first Gram matrix is
/// singular to working precision, makes a third, shifted CholeskyQR3 (Fukaya et al. 2020).
/// Intermediate products are made again in each pass, slab by slab, so that no step needs more
/// memory than the cube, and the cube may come from a file.
namespace tessera::models {

enum class SvdMethod : uint8_t {
  automatic,    // gram, and cholesky_qr where s_1 / s_k is beyond what that can resolve
  gram,         // one pass, and one for U
  cholesky_qr,  // two or three passes, and one for U: any condition
  randomized,   // subspace iteration from random vectors (Halko et al. 2011): the leading part
};
std::string_view to_string(SvdMethod method);
void parse(std::string_view text, SvdMethod& method);

struct SvdOptions {
  SvdMethod method = SvdMethod::automatic;
  double rank = 0;               // of triples: 0 all, a share of the bands below 1, or a number
  bool centred = false;          // of A less its mean spectrum
  bool left = true;              // U is wanted
  DType precision = DType::f32;  // of U; f64 or f32
  int64_t oversampling = 10, power_steps = 2;  // randomized: extra vectors, further passes
  Rng rng{0};                                  // randomized: its vectors

  /// Beyond this condition s_1 / s_k `automatic` leaves the Gram route: its U would be orthonormal
  /// to less than about 1e-5; without U, sigma_k would lose half its digits.
  static constexpr double gram_condition = 1e5, gram_condition_without_u = 1e6;
};

struct SpectralSvd {
  Tensor u;  // [pixels, k] or [rows, columns, k] in `precision`; 0 in pixels that are not valid;
             // undefined where not wanted
  std::vector<double> sigma;  // [k], falling
  Tensor v;                   // f64 [bands, k]; signs as in SpectralBasis
  Tensor mean;                // f64 [bands]; undefined where not centred
  int64_t pixels = 0;         // that counted
  int64_t rank = 0;           // singular values above max(pixels, bands) eps s_1
  int passes = 0;             // over A
  SvdMethod method = SvdMethod::gram;
};

/// The slabs of a cube in order: calls back with each and its valid pixels (undefined: all). May be
/// asked for several times.
using Slab = std::function<void(const Tensor& x, const Tensor& valid)>;
using Slabs = std::function<void(const Slab&)>;

/// Of a whole cube, as in spectral_basis.hpp. Singular values that are 0 have vectors all the same:
/// V's columns are always orthonormal, and U's where there are as many pixels as columns.
SpectralSvd spectral_svd(const Tensor& x, const Tensor& valid = {}, const SvdOptions& options = {});

/// What gets the slabs of a decomposition: A's with `svd.u` for it (columns of singular values that
/// are 0 are 0).
using LeftSlab = std::function<void(const Tensor& x, const Tensor& valid, const SpectralSvd& svd)>;
/// The same from slabs, without U; `left`, where given, gets U slab after slab in a last pass.
SpectralSvd spectral_svd(const Slabs& slabs, SvdOptions options = {}, const LeftSlab& left = {});

/// Measures a decomposition by a pass over A and U, in slabs or whole.
class SvdCheck {
 public:
  void add(const Tensor& x, const Tensor& valid, const SpectralSvd& svd);
  double residual() const;       // ||A - U S V'|| / ||A||, Frobenius
  double orthogonality() const;  // max |U'U - I|, where singular values are not 0

 private:
  double difference_ = 0, squares_ = 0;
  int64_t rank_ = 0;
  Tensor gram_;
};
double relative_residual(const Tensor& x, const SpectralSvd& svd, const Tensor& valid = {});
/// max |U'U - I|, of all columns.
double orthogonality_error(const Tensor& u);

}  // namespace tessera::models
