// Softmax, its logarithm and their gradients. Floor: the inputs once, the result once. A row of up
// to 512 elements in 128-bit packs of four belongs to lanes of a warp, longer ones to a block; a
// group's registers hold its first 64 bytes per thread and operand (4096 elements of f32 in a
// block), and what lies behind is read a second time, from the second-level cache. One pass finds
// the maximum and the sum of exponentials together: a thread rescales its sum when its maximum
// grows, and so does each step of the group's reduction.
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/exponentials.cuh"
#include "tessera/kernels/cuda/rowwise.cuh"

namespace tessera::kernels::cuda {
namespace {

template <class T, int n, bool logarithm>
__global__ void __launch_bounds__(row_threads, 2) softmax_rows(Rows rows, const T* x, T* y) {
  using C = compute_t<T>;
  for_rows(rows, [&](const Row& row) {
    const RowPacks<T, n, 1> packs(row, x);
    Exponentials<C> e;
    packs.each([&](uint32_t, const auto& p) { e.add(p.of[0]); });
    e = row.reduce(e, JoinExponentials{});
    T* const to = y + row.number * row.n;
    const C scale = C{1} / e.sum, log_sum = functors::log(e.sum);
    packs.each([&](uint32_t column, const auto& p) {
      store_values<n>(to + column, [&](int i) {
        const C shifted = widen(p.of[0].lane[i]) - e.top;
        return logarithm ? shifted - log_sum : functors::exp(shifted) * scale;
      });
    });
  });
}

/// Operands: y, gy.
template <class T, int n, bool logarithm>
__global__ void __launch_bounds__(row_threads, 2)
    softmax_gradient_rows(Rows rows, const T* y, const T* gy, T* gx) {
  using C = compute_t<T>;
  for_rows(rows, [&](const Row& row) {
    const RowPacks<T, n, 2> packs(row, y, gy);
    C sum = 0;
    packs.each([&](uint32_t, const auto& p) {
#pragma unroll
      for (int i = 0; i < n; ++i) {
        const C g = widen(p.of[1].lane[i]);
        sum = logarithm ? sum + g : functors::fma(g, widen(p.of[0].lane[i]), sum);
      }
    });
    sum = row.reduce(sum, Sum{});
    T* const to = gx + row.number * row.n;
    packs.each([&](uint32_t column, const auto& p) {
      store_values<n>(to + column, [&](int i) {
        const C result = widen(p.of[0].lane[i]), g = widen(p.of[1].lane[i]);
        return logarithm ? g - functors::exp(result) * sum : result * (g - sum);
      });
    });
  });
}

template <bool logarithm>
void softmax_of(const char* name, Stream& stream, const View& x, const View& y) {
  const RowExtents e = check_rows(name, {{"x", x}, {"y", y}});
  if (e.rows * e.n == 0) return;
  for_float(x.dtype, name, [&]<class T>() {
    for_pack<T>(e.n, {x, y}, [&]<int n>() {
      const Rows rows = rows_for<T, n>(name, e.rows, e.n);
      launch(stream, shape_for(name, rows), softmax_rows<T, n, logarithm>, rows, x.as<T>(),
             y.as<T>());
    });
  });
}
void softmax(Stream& s, View x, View y) { softmax_of<false>("softmax", s, x, y); }
void log_softmax(Stream& s, View x, View y) { softmax_of<true>("log_softmax", s, x, y); }

template <bool logarithm>
void gradient_of(const char* name, Stream& stream, const View& y, const View& gy, const View& gx) {
  const RowExtents e = check_rows(name, {{"y", y}, {"gy", gy}, {"gx", gx}});
  if (e.rows * e.n == 0) return;
  for_float(y.dtype, name, [&]<class T>() {
    for_pack<T>(e.n, {y, gy, gx}, [&]<int n>() {
      const Rows rows = rows_for<T, n>(name, e.rows, e.n);
      launch(stream, shape_for(name, rows), softmax_gradient_rows<T, n, logarithm>, rows, y.as<T>(),
             gy.as<T>(), gx.as<T>());
    });
  });
}
void softmax_gradient(Stream& s, View y, View gy, View gx) {
  gradient_of<false>("softmax_gradient", s, y, gy, gx);
}
void log_softmax_gradient(Stream& s, View y, View gy, View gx) {
  gradient_of<true>("log_softmax_gradient", s, y, gy, gx);
}

}  // namespace

extern const RowwiseKernels rowwise_kernels{
    .softmax = softmax,
    .log_softmax = log_softmax,
    .softmax_gradient = softmax_gradient,
    .log_softmax_gradient = log_softmax_gradient,
    .layer_norm = layer_norm,
    .layer_norm_gradient = layer_norm_gradient,
    .rms_norm = rms_norm,
    .rms_norm_gradient = rms_norm_gradient,
    .batch_statistics = batch_statistics,
    .batch_norm = batch_norm,
    .batch_norm_gradient = batch_norm_gradient,
    .batch_statistics_tangent = batch_statistics_tangent,
    .batch_norm_tangent = batch_norm_tangent,
    .batch_norm_gradient_tangent = batch_norm_gradient_tangent,
    .group_norm = group_norm,
    .group_norm_gradient = group_norm_gradient,
    .cross_entropy = cross_entropy,
    .cross_entropy_gradient = cross_entropy_gradient,
    .binary_cross_entropy = binary_cross_entropy,
    .binary_cross_entropy_gradient = binary_cross_entropy_gradient,
};

}  // namespace tessera::kernels::cuda
