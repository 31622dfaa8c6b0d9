// Kernels on the entries of a sparse matrix: scores from pairs of dense rows, and softmax over
// rows.
//
// Sectors over the ideal: groups of lanes read entries of their own, eight apart in sddmm, so that
// pattern and scores cost a sector per group, from which the next entries find theirs in the
// first-level cache; lanes that look for the row of their entry by bisection, and rows that columns
// select, lie where the pattern says.
#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/cuda/spmm.cuh"
#include "tessera/kernels/cuda/warp.cuh"

namespace tessera::kernels::cuda {
namespace {

constexpr int64_t entries_per_group = 8;

template <class T>
struct Scores {
  CsrView a;
  const T *x, *z;
  T* scores;
  int64_t x_stride, z_stride, heads, width;
  compute_t<T> alpha;
};

/// A group of lanes takes entries_per_group neighbouring entries, whose x row mostly is the same
/// and stays in the first-level cache. Floor: z's rows once per entry from the second-level cache.
/// Groups of equal work, so hubs cost nothing extra. ptxas spills 8 bytes of the form for bf16 with
/// eight columns per lane, beside the sixteen that each entry gathers.
template <class T, int n>
__global__ void __launch_bounds__(block_threads) dot_rows(Scores<T> p, uint32_t lanes) {
  const int64_t group = first_element() / lanes;
  const uint32_t lane = thread_index().x % lanes;
  const uint32_t mask = (lanes == warp_size ? full_warp : (1u << lanes) - 1)
                        << lane_index() / lanes * lanes;
  const int64_t begin = group * entries_per_group;
  const int64_t end = begin + entries_per_group < p.a.nnz ? begin + entries_per_group : p.a.nnz;
  if (begin >= end) return;
  int64_t row = row_of_entry(p.a.row_ptr, p.a.rows, begin);
  for (int64_t e = begin; e < end; ++e) {
    while (p.a.row_ptr[row + 1] <= e) ++row;
    const T* x = p.x + row * p.x_stride;
    const T* z = p.z + p.a.col[e] * p.z_stride;
    for (int64_t h = 0; h < p.heads; ++h, x += p.width, z += p.width) {
      compute_t<T> sum = 0;
      for (int64_t j = lane * n; j < p.width; j += lanes * n) {
        const auto u = *reinterpret_cast<const Pack<T, n>*>(x + j);
        const auto v = *reinterpret_cast<const Pack<T, n>*>(z + j);
#pragma unroll
        for (int k = 0; k < n; ++k) sum = fma(widen(u.lane[k]), widen(v.lane[k]), sum);
      }
      for (uint32_t bits = lanes / 2; bits > 0; bits /= 2)
        sum += shuffle_xor(sum, bits, warp_size, mask);
      if (lane == 0) p.scores[e * p.heads + h] = narrow<T>(p.alpha * sum);
    }
  }
}

template <class T, int n>
void run(Stream& stream, const Scores<T>& p) {
  const uint32_t lanes = lanes_for(ceil_divide(p.width, n));
  const int64_t groups = ceil_divide(p.a.nnz, entries_per_group);
  launch(stream,
         {"sddmm",
          {static_cast<uint32_t>(ceil_divide(groups * lanes, block_threads))},
          {block_threads}},
         dot_rows<T, n>, p, lanes);
}

template <class T>
__global__ void __launch_bounds__(block_threads, 3)
    add_ends(CsrView a, const T* x, const T* z, T* scores, int64_t heads) {
  for (int64_t e = first_element(); e < a.nnz; e += element_step()) {
    const int64_t row = row_of_entry(a.row_ptr, a.rows, e), c = a.col[e];
    for (int64_t h = 0; h < heads; ++h)
      scores[e * heads + h] = narrow<T>(widen(x[row * heads + h]) + widen(z[c * heads + h]));
  }
}

/// The entries of one row for up to `heads_side` heads: a warp as a rectangle of entries x heads,
/// its lanes next to each other in memory.
struct RowLanes {
  int64_t begin, end, entry_step, heads, head;
  bool works;

  TS_DEVICE RowLanes(const CsrView& a, int64_t row, int64_t all_heads, uint32_t heads_side)
      : begin(a.row_ptr[row] + lane_index() / heads_side),
        end(a.row_ptr[row + 1]),
        entry_step(warp_size / heads_side),
        heads(all_heads),
        head(block_index().y * heads_side + lane_index() % heads_side),
        works(head < all_heads) {}

  /// body(position of an entry operand) for the entries of this lane.
  template <class Body>
  TS_DEVICE void each(Body&& body) const {
    if (!works) return;
    for (int64_t e = begin; e < end; e += entry_step) body(e * heads + head);
  }
};

/// Combines over the lanes that hold the same head.
template <class C, class Combine>
TS_DEVICE C over_entries(C value, uint32_t heads_side, Combine combine) {
  for (uint32_t bits = warp_size / 2; bits >= heads_side; bits /= 2)
    value = combine(value, shuffle_xor(value, bits));
  return value;
}

/// A warp per row and group of heads: three passes over entries that stay in the first-level cache.
template <class T>
__global__ void __launch_bounds__(block_threads, 3)
    softmax_rows(CsrView a, const T* x, T* y, int64_t heads, uint32_t heads_side) {
  using C = compute_t<T>;
  const int64_t row = first_element() / warp_size;
  if (row >= a.rows) return;
  const RowLanes lanes(a, row, heads, heads_side);
  C top = -INFINITY, sum = 0;
  lanes.each([&](int64_t at) { top = Maximum{}(top, widen(x[at])); });
  top = over_entries(top, heads_side, Maximum{});
  lanes.each([&](int64_t at) { sum += exp(widen(x[at]) - top); });
  sum = over_entries(sum, heads_side, Sum{});
  const C factor = C{1} / sum;
  lanes.each([&](int64_t at) { y[at] = narrow<T>(exp(widen(x[at]) - top) * factor); });
}

template <class T>
__global__ void __launch_bounds__(block_threads, 3)
    softmax_gradient_rows(CsrView a, const T* y, const T* dy, T* dx, int64_t heads,
                          uint32_t heads_side) {
  using C = compute_t<T>;
  const int64_t row = first_element() / warp_size;
  if (row >= a.rows) return;
  const RowLanes lanes(a, row, heads, heads_side);
  C sum = 0;
  lanes.each([&](int64_t at) { sum = fma(widen(y[at]), widen(dy[at]), sum); });
  sum = over_entries(sum, heads_side, Sum{});
  lanes.each([&](int64_t at) { dx[at] = narrow<T>(widen(y[at]) * (widen(dy[at]) - sum)); });
}

/// The grid for a warp per row and group of heads, and the heads of a group.
struct RowGrid {
  Extent3 blocks;
  uint32_t heads_side;
};
RowGrid row_grid(int64_t rows, int64_t heads) {
  const uint32_t side = lanes_for(heads);
  return {{static_cast<uint32_t>(ceil_divide(rows * warp_size, block_threads)),
           static_cast<uint32_t>(ceil_divide(heads, side))},
          side};
}

}  // namespace

void sddmm(Stream& stream, const CsrView& a, View x, View z, View scores, double alpha) {
  const SddmmOperands o = check_sddmm(a, x, z, scores);
  if (a.nnz == 0 || o.heads == 0) return;
  for_float(x.dtype, "sddmm", [&]<class T>() {
    const Scores<T> p{a,
                      x.as<T>(),
                      z.as<T>(),
                      scores.as<T>(),
                      o.x.stride,
                      o.z.stride,
                      o.heads,
                      o.x.width,
                      static_cast<compute_t<T>>(alpha)};
    constexpr int n = vector_length<T>;
    const bool packed = p.width % n == 0 && p.x_stride % n == 0 && p.z_stride % n == 0 &&
                        aligned(p.x, 16) && aligned(p.z, 16);
    if (packed)
      run<T, n>(stream, p);
    else
      run<T, 1>(stream, p);
  });
}

void edge_add(Stream& stream, const CsrView& a, View x, View z, View scores) {
  const int64_t heads = check_edge_add(a, x, z, scores);
  if (a.nnz == 0) return;
  for_float(scores.dtype, "edge_add", [&]<class T>() {
    launch(stream, {"edge_add", {blocks_for(a.nnz, block_threads)}, {block_threads}}, add_ends<T>,
           a, x.as<T>(), z.as<T>(), scores.as<T>(), heads);
  });
}

void edge_softmax(Stream& stream, const CsrView& a, View x, View y) {
  const int64_t heads = same_heads("edge_softmax", a, "x", x, "y", y);
  if (a.nnz == 0 || heads == 0) return;
  const RowGrid grid = row_grid(a.rows, heads);
  for_float(x.dtype, "edge_softmax", [&]<class T>() {
    launch(stream, {"edge_softmax", grid.blocks, {block_threads}}, softmax_rows<T>, a, x.as<T>(),
           y.as<T>(), heads, grid.heads_side);
  });
}

void edge_softmax_gradient(Stream& stream, const CsrView& a, View y, View dy, View dx) {
  const int64_t heads = same_heads("edge_softmax_gradient", a, "y", y, "dy", dy);
  same_heads("edge_softmax_gradient", a, "y", y, "dx", dx);
  if (a.nnz == 0 || heads == 0) return;
  const RowGrid grid = row_grid(a.rows, heads);
  for_float(y.dtype, "edge_softmax_gradient", [&]<class T>() {
    launch(stream, {"edge_softmax_gradient", grid.blocks, {block_threads}},
           softmax_gradient_rows<T>, a, y.as<T>(), dy.as<T>(), dx.as<T>(), heads, grid.heads_side);
  });
}

}  // namespace tessera::kernels::cuda
