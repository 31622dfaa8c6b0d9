// Pooling and resampling of images. A thread per element of the result, neighbours in columns; taps
// and weights are worked out on the way, so nothing but the images is read. Floor: both images
// once; the windows' overlap is served by the first-level cache. Transposes gather too: each input
// element walks the outputs that may have it among their taps, in order, so no sum depends on the
// schedule.
//
// Sectors over the ideal: a tap of neighbouring windows of two steps over every other pixel, so its
// request touches 8 sectors where 4 would hold what it asks for, and the other tap's finds them in
// the cache. With 4 taps and 4 sectors of results that is (4 * 8 + 4) / (4 * 4 + 4) = 1.8 and, with
// 8 sectors of positions, (32 + 12) / (16 + 12) = 1.57. Positions that are gathered or scattered
// lie where the maxima are.
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/spmm.cuh"
#include "tessera/kernels/pool_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

LaunchShape over(const char* name, int64_t n) {
  return {name, {blocks_for(n, block_threads)}, {block_threads}};
}

template <class T>
__global__ void __launch_bounds__(block_threads)
    max_windows(PoolExtents e, PoolParams p, const T* x, T* y, int64_t* index) {
  using C = compute_t<T>;
  for (int64_t k = first_element(); k < e.planes * e.out_size(); k += element_step()) {
    const T* plane = x + k / e.out_size() * e.in_size();
    const int64_t i = k % e.out_size() / e.out_width, j = k % e.out_width;
    C best = 0;
    int64_t from = -1;
    for (int64_t r = 0; r < p.window[0]; ++r) {
      const int64_t row = i * p.stride[0] - p.padding[0] + r * p.dilation[0];
      if (row < 0 || row >= e.height) continue;
      for (int64_t s = 0; s < p.window[1]; ++s) {
        const int64_t column = j * p.stride[1] - p.padding[1] + s * p.dilation[1];
        if (column < 0 || column >= e.width) continue;
        const int64_t at = row * e.width + column;
        const C value = widen(plane[at]);
        // Not (value <= best) where either is NaN; a NaN that is there already stays.
        if (from < 0 || (!(value <= best) && best == best)) best = value, from = at;
      }
    }
    y[k] = narrow<T>(best);
    index[k] = from;
  }
}

void max_pool(Stream& stream, View x, View y, View index, const PoolParams& p) {
  const PoolExtents e = check_max_pool(x, y, index, p);
  if (y.numel() == 0) return;
  for_float(x.dtype, "max_pool", [&]<class T>() {
    launch(stream, over("max_pool", y.numel()), max_windows<T>, e, p, x.as<T>(), y.as<T>(),
           index.as<int64_t>());
  });
}

std::string element_of(const char* name) { return concat(name, ": index at element"); }

template <class T>
__global__ void __launch_bounds__(block_threads)
    gather_positions(PoolExtents e, const T* x, const int64_t* index, T* y, Finding* finding,
                     int32_t call) {
  for (int64_t k = first_element(); k < e.planes * e.out_size(); k += element_step()) {
    const int64_t at = index[k];
    if (at >= 0 && at < e.in_size())
      y[k] = x[k / e.out_size() * e.in_size() + at];
    else
      report(finding, call, k, at, 0, e.in_size());
  }
}

void pool_gather(Stream& stream, View x, View index, View y) {
  const PoolExtents e = check_images("pool_gather", x, y);
  check_pool_index("pool_gather", y, index);
  if (y.numel() == 0) return;
  Faults& faults = stream.resource<Faults>();
  for_float(x.dtype, "pool_gather", [&]<class T>() {
    launch(stream, over("pool_gather", y.numel()), gather_positions<T>, e, x.as<T>(),
           index.as<int64_t>(), y.as<T>(), faults.finding(),
           faults.expect(element_of("pool_gather")));
  });
  faults.launched();
}

__global__ void __launch_bounds__(block_threads)
    keys_of_positions(PoolExtents e, const int64_t* index, int32_t* keys, Finding* finding,
                      int32_t call) {
  for (int64_t k = first_element(); k < e.planes * e.out_size(); k += element_step()) {
    const int64_t at = index[k];
    const bool fits = at >= 0 && at < e.in_size();
    if (!fits) report(finding, call, k, at, 0, e.in_size());
    keys[k] =
        static_cast<int32_t>(fits ? k / e.out_size() * e.in_size() + at : e.planes * e.in_size());
  }
}

View column_of(const View& x) {
  View column = x;
  column.rank = 2;
  column.shape[0] = x.numel();
  column.shape[1] = column.stride[0] = column.stride[1] = 1;
  return column;
}

/// Sums over equal positions: a product with the sparse matrix of ones that has a row per element
/// of x and the outputs that point at it, in order, as its entries.
void pool_scatter(Stream& stream, View y, View index, View x) {
  const PoolExtents e = check_images("pool_scatter", x, y);
  check_pool_index("pool_scatter", y, index);
  const int64_t count = y.numel(), n = x.numel();
  if (n == 0) return;
  TS_CHECK(n < INT32_MAX && count < INT32_MAX, "pool_scatter: images ", x.dims(),
           " are more than 32-bit indices can address");
  const Scratch keys = stream.scratch(static_cast<size_t>(count) * sizeof(int32_t)),
                order = stream.scratch(static_cast<size_t>(count) * sizeof(int32_t)),
                start = stream.scratch(static_cast<size_t>(n + 2) * sizeof(int32_t));
  Faults& faults = stream.resource<Faults>();
  if (count > 0)
    launch(stream, over("pool_scatter keys", count), keys_of_positions, e, index.as<int64_t>(),
           keys.as<int32_t>(), faults.finding(), faults.expect(element_of("pool_scatter")));
  faults.launched();
  group_positions(stream, keys.as<int32_t>(), count, n + 1, start.as<int32_t>(),
                  order.as<int32_t>());
  spmm(stream, CsrView{n, count, count, start.as<int32_t>(), order.as<int32_t>()}, column_of(y),
       column_of(x));
}

// ---------------------------------------------------------------- linear maps of rows times
// columns

/// Of both maps ptxas (13.0) spills 16 to 24 bytes in the forms for doubles, whose sums and
/// quotient take twice the registers.
template <class T>
__global__ void __launch_bounds__(block_threads)
    map_rows_columns(int64_t planes, PoolAxis rows, PoolAxis columns, const T* x, T* y) {
  using C = compute_t<T>;
  const int64_t out_size = rows.out * columns.out;
  for (int64_t k = first_element(); k < planes * out_size; k += element_step()) {
    const T* plane = x + k / out_size * rows.in * columns.in;
    const int64_t i = k % out_size / columns.out, j = k % columns.out;
    C sum = 0;
    columns.taps(j, [&](int64_t c, double column_weight) {
      C mixed = 0;
      rows.taps(i, [&](int64_t r, double row_weight) {
        mixed = fma(static_cast<C>(row_weight), widen(plane[r * columns.in + c]), mixed);
      });
      sum = fma(static_cast<C>(column_weight), mixed, sum);
    });
    y[k] = narrow<T>(sum / static_cast<C>(rows.divisor(i) * columns.divisor(j)));
  }
}

/// The weight with which output i takes input `input`, over its divisor.
TS_DEVICE double share(const PoolAxis& axis, int64_t i, int64_t input) {
  double weight = 0;
  axis.taps(i, [&](int64_t j, double w) { weight += j == input ? w : 0; });
  return weight / axis.divisor(i);
}

template <class T>
__global__ void __launch_bounds__(block_threads)
    map_rows_columns_transposed(int64_t planes, PoolAxis rows, PoolAxis columns, const T* y, T* x) {
  using C = compute_t<T>;
  const int64_t in_size = rows.in * columns.in;
  for (int64_t k = first_element(); k < planes * in_size; k += element_step()) {
    const T* plane = y + k / in_size * rows.out * columns.out;
    const int64_t r = k % in_size / columns.in, c = k % columns.in;
    C sum = 0;
    for (int64_t i = rows.first_output(r); i < rows.last_output(r); ++i) {
      const auto row_share = static_cast<C>(share(rows, i, r));
      if (row_share == 0) continue;
      C mixed = 0;
      for (int64_t j = columns.first_output(c); j < columns.last_output(c); ++j)
        mixed = fma(static_cast<C>(share(columns, j, c)), widen(plane[i * columns.out + j]), mixed);
      sum = fma(row_share, mixed, sum);
    }
    x[k] = narrow<T>(sum);
  }
}

void map_images(const char* name, Stream& stream, const View& x, const View& y, int64_t planes,
                const PoolAxis& rows, const PoolAxis& columns, bool transpose) {
  const int64_t results = transpose ? x.numel() : y.numel();
  if (results == 0) return;
  for_float(x.dtype, name, [&]<class T>() {
    if (transpose)
      launch(stream, over(name, results), map_rows_columns_transposed<T>, planes, rows, columns,
             y.as<T>(), x.as<T>());
    else
      launch(stream, over(name, results), map_rows_columns<T>, planes, rows, columns, x.as<T>(),
             y.as<T>());
  });
}

void pool_average(const char* name, Stream& s, View x, View y, const PoolParams& p,
                  bool transpose) {
  const PoolExtents e = check_images(name, x, y);
  TS_CHECK(p.dilation[0] == 1 && p.dilation[1] == 1, name, ": averages take no dilation");
  check_windows(name, e, p);
  map_images(name, s, x, y, e.planes, PoolAxis::windows(e.height, e.out_height, 0, p),
             PoolAxis::windows(e.width, e.out_width, 1, p), transpose);
}
void average_pool(Stream& s, View x, View y, const PoolParams& p) {
  pool_average("average_pool", s, x, y, p, false);
}
void average_pool_transpose(Stream& s, View y, View x, const PoolParams& p) {
  pool_average("average_pool_transpose", s, x, y, p, true);
}

void adaptive_average(const char* name, Stream& s, View x, View y, bool transpose) {
  const PoolExtents e = check_images(name, x, y);
  map_images(name, s, x, y, e.planes, PoolAxis::parts(e.height, e.out_height),
             PoolAxis::parts(e.width, e.out_width), transpose);
}
void adaptive_average_pool(Stream& s, View x, View y) {
  adaptive_average("adaptive_average_pool", s, x, y, false);
}
void adaptive_average_pool_transpose(Stream& s, View y, View x) {
  adaptive_average("adaptive_average_pool_transpose", s, x, y, true);
}

void resample_images(const char* name, Stream& s, View x, View y, const ResampleParams& p,
                     bool transpose) {
  const PoolExtents e = check_images(name, x, y);
  map_images(name, s, x, y, e.planes, PoolAxis::resample(e.height, e.out_height, p),
             PoolAxis::resample(e.width, e.out_width, p), transpose);
}
void resample(Stream& s, View x, View y, const ResampleParams& p) {
  resample_images("resample", s, x, y, p, false);
}
void resample_transpose(Stream& s, View y, View x, const ResampleParams& p) {
  resample_images("resample_transpose", s, x, y, p, true);
}

}  // namespace

extern const PoolKernels pool_kernels{
    .max_pool = max_pool,
    .pool_gather = pool_gather,
    .pool_scatter = pool_scatter,
    .average_pool = average_pool,
    .average_pool_transpose = average_pool_transpose,
    .adaptive_average_pool = adaptive_average_pool,
    .adaptive_average_pool_transpose = adaptive_average_pool_transpose,
    .resample = resample,
    .resample_transpose = resample_transpose,
};

}  // namespace tessera::kernels::cuda
