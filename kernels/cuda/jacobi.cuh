#pragma once

#include "tessera/kernels/cuda/linalg.cuh"

/// One-sided Jacobi: what the kernels share that rotate pairs of rows until all are orthogonal.
/// jacobi.cu has a block for a matrix, jacobi_cluster.cu a cluster.
namespace tessera::kernels::cuda {

inline constexpr uint32_t team = 8;
inline constexpr int most_sweeps = 40;

/// Between rows in shared memory: a team further in the banks, or three, for doubles one of two.
constexpr int64_t held_stride(int64_t n) {
  return n + (2 * team + team - n % (2 * team)) % (2 * team);
}

/// Squared norms up to this are noise: they have lost their digits, or all of them.
template <class T>
inline constexpr T negligible = std::numeric_limits<T>::min() / std::numeric_limits<T>::epsilon();

template <class T>
struct SquaredNorms {
  T p, q;
  TS_DEVICE SquaredNorms operator+(const SquaredNorms& other) const {
    return {p + other.p, q + other.q};
  }
};

/// Makes rows p and q of x orthogonal by a rotation that is applied to y as well, by the lanes of a
/// team; false if they were already. All teams of a warp come here, some of them without rows
/// (p < 0).
template <class T>
TS_DEVICE bool orthogonalize(const Matrix<T>& x, const Matrix<T>& y, int64_t p, int64_t q,
                             T tolerance) {
  const uint32_t lane = lane_index() % team;
  SquaredNorms<T> norms{};
  T product = 0;
  for (int64_t i = lane; p >= 0 && i < x.cols; i += team) {
    const T a = x[p][i], b = x[q][i];
    norms = norms + SquaredNorms<T>{a * a, b * b};
    product += a * b;
  }
  norms = warp_reduce(norms, Sum{}, team);
  product = warp_reduce(product, Sum{}, team);
  if (p < 0 || !(norms.p > negligible<T> && norms.q > negligible<T>)) return false;
  if (std::fabs(product) <= tolerance * std::sqrt(norms.p) * std::sqrt(norms.q)) return false;
  const T zeta = (norms.q - norms.p) / (2 * product);
  const T tangent = std::copysign(T{1}, zeta) / (std::fabs(zeta) + std::hypot(T{1}, zeta));
  const T cosine = 1 / std::sqrt(1 + tangent * tangent), sine = cosine * tangent;
  // 1 - cosine = sine half: norms keep what a cosine that was rounded to 1 would cost them
  const T half = sine / (1 + cosine);
  const auto rotate = [&](const Matrix<T>& m) {
    for (int64_t i = lane; i < m.cols; i += team) {
      const T a = m[p][i], b = m[q][i];
      m[p][i] = a - sine * (b + half * a);
      m[q][i] = b + sine * (a - half * b);
    }
  };
  rotate(x);
  if (y.data) rotate(y);
  return true;
}

/// Rotates the rows of each x [n, n] until all are orthogonal to each other, each matrix in the
/// shared memory of a cluster; false, and nothing happens, where the GPU has no clusters or they
/// cannot hold the matrix. Status -1 for a matrix that does not converge.
template <class T>
bool rotate_in_clusters(Stream&, const Matrices<T>& x, int32_t* status);

}  // namespace tessera::kernels::cuda
