// QR by Householder reflectors. Floor: 4 m n^2 - 4 n^3 / 3 operations for both factors, and the
// operands once while a matrix fits into shared memory. A block per matrix makes one reflector
// after the other and applies it at once to what is to its right, 32 columns at a time, eight warps
// sharing the rows. q is worked on in global memory, from column j on, and the first of a row's
// sectors is partly used: 1.01 of the ideal ones for 96 x 32.
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/linalg.cuh"

namespace tessera::kernels::cuda {
namespace {

template <class T>
struct QrShared {
  T scratch[warp_size];
  T products[linalg_warps][warp_size];
};

/// Makes the reflector I - tau v v^T that clears column j of a below row j: v in that column,
/// v[j] = 1 not stored, and returns tau. Magnitudes are scaled, so that squares neither overflow
/// nor vanish.
template <class T>
TS_DEVICE T make_reflector(const Matrix<T>& a, int64_t j, QrShared<T>& shared) {
  const int64_t thread = thread_index().x;
  T largest = 0;
  for (int64_t i = j + 1 + thread; i < a.rows; i += linalg_threads)
    largest = Maximum{}(largest, static_cast<T>(std::fabs(a[i][j])));
  largest = block_reduce(largest, Maximum{}, shared.scratch);
  if (largest == 0) return 0;
  const T head = a[j][j];
  largest = Maximum{}(largest, static_cast<T>(std::fabs(head)));
  T squares = 0;
  for (int64_t i = j + thread; i < a.rows; i += linalg_threads) {
    const T part = a[i][j] / largest;
    squares += part * part;
  }
  squares = block_reduce(squares, Sum{}, shared.scratch);
  const T beta = -std::copysign(largest * std::sqrt(squares), head), divisor = head - beta;
  for (int64_t i = j + 1 + thread; i < a.rows; i += linalg_threads) a[i][j] /= divisor;
  if (thread == 0) a[j][j] = beta;
  return (beta - head) / beta;
}

/// Columns [begin, c.cols) of c -= tau v (v^T c), v being column j of a.
template <class T>
TS_DEVICE void apply_reflector(const Matrix<T>& a, int64_t j, T tau, const Matrix<T>& c,
                               int64_t begin, QrShared<T>& shared) {
  sync_block();
  if (tau == 0) return;
  const auto v = [&](int64_t i) { return i == j ? T{1} : a[i][j]; };
  for (int64_t first = begin; first < c.cols; first += warp_size) {
    const int64_t column = first + lane_index();
    const bool inside = column < c.cols;
    T product = 0;
    for (int64_t i = j + warp_index(); inside && i < c.rows; i += linalg_warps)
      product += v(i) * c[i][column];
    shared.products[warp_index()][lane_index()] = product;
    sync_block();
    product = 0;
    for (uint32_t w = 0; w < linalg_warps; ++w) product += shared.products[w][lane_index()];
    for (int64_t i = j + warp_index(); inside && i < c.rows; i += linalg_warps)
      c[i][column] -= tau * v(i) * product;
    sync_block();
  }
}

/// Reflectors are made in `work`, or in shared memory; taus [matrices, min(m, n)].
template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    qr_matrix(Matrices<T> matrices, Matrices<T> work, bool held, T* taus, Matrices<T> qs,
              Matrices<T> rs) {
  QrShared<T>& shared = static_shared<QrShared<T>>();
  const int64_t b = block_index().x;
  const Matrix<T> from = matrices[b], q = qs[b], r = rs[b];
  const int64_t m = from.rows, n = from.cols, p = m < n ? m : n;
  const Matrix<T> a = held ? Matrix<T>{&dynamic_shared<T>(), m, n, odd_stride(n)} : work[b];
  copy_elements(from, a);
  sync_block();
  for (int64_t j = 0; j < p; ++j) {
    const T tau = make_reflector(a, j, shared);
    if (thread_index().x == 0) taus[b * p + j] = tau;
    apply_reflector(a, j, tau, a, j + 1, shared);
  }
  for_elements(m, q.cols, [&](int64_t i, int64_t j) { q[i][j] = i == j ? T{1} : T{0}; });
  for (int64_t j = p - 1; j >= 0; --j) {
    sync_block();
    apply_reflector(a, j, taus[b * p + j], q, j, shared);
  }
  sync_block();
  const auto flip = [&](int64_t i) { return i < p && a[i][i] < 0; };
  for_elements(r.rows, n, [&](int64_t i, int64_t j) {
    r[i][j] = j < i ? T{0} : flip(i) ? -a[i][j] : a[i][j];
  });
  for_elements(m, q.cols, [&](int64_t i, int64_t j) {
    if (flip(j)) q[i][j] = -q[i][j];
  });
}

}  // namespace

template <class T>
void own_qr(Stream& stream, const Matrices<T>& a, const Matrices<T>& q, const Matrices<T>& r) {
  const int64_t m = a.first.rows, n = a.first.cols, count = a.count;
  if (count == 0 || m == 0) return;
  const size_t held = held_bytes<T>(m * odd_stride(n));
  const Scratch work =
                    stream.scratch(held > 0 ? 0 : static_cast<size_t>(count * m * n) * sizeof(T)),
                taus = stream.scratch(static_cast<size_t>(count * std::min(m, n)) * sizeof(T));
  launch(stream, {"qr", {static_cast<uint32_t>(count)}, {linalg_threads}, held}, qr_matrix<T>, a,
         dense_matrices(work.as<T>(), count, m, n), held > 0, taus.as<T>(), q, r);
}
template void own_qr(Stream&, const Matrices<float>&, const Matrices<float>&,
                     const Matrices<float>&);
template void own_qr(Stream&, const Matrices<double>&, const Matrices<double>&,
                     const Matrices<double>&);

}  // namespace tessera::kernels::cuda
