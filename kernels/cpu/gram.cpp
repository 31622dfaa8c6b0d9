// The two passes over pixels x bands: Gram matrix with column sums, and projection on a basis.
//
// Both take pixels in slabs of a fixed number of rows, widened to f64 in memory that stays in the
// second-level cache, and multiply a slab by the register tile of gemm_tile.hpp. A Gram matrix is
// summed in parts of consecutive slabs, whose number depends on the pixels alone; parts are added
// up in order. Only tiles that touch the upper triangle are computed.
//
// Exact sums are the same f64 products: 16-bit numbers give products below 2^32, and a part has at
// most 2^20 rows, so that every sum is an integer below 2^53.
#include "tessera/kernels/cpu/gemm_tile.hpp"
#include "tessera/kernels/cpu/linalg.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/transpose.hpp"
#include "tessera/kernels/linalg_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t slab_rows = 128, part_rows = 1 << 20, least_part_rows = 1024, most_parts = 32;
constexpr int64_t line = 8;  // f64 in a line of the caches

constexpr int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Doubles between rows of a slab: whole lines, an odd number of them, so that a column of tiles
/// does not meet few sets of the caches only.
constexpr int64_t slab_stride(int64_t n) { return (divide_up(n, line) | 1) * line; }

size_t bytes(int64_t doubles) { return static_cast<size_t>(doubles) * sizeof(double); }

template <class T>
Vec<double> load_wide(const T* p) {
  if constexpr (std::is_same_v<T, double>) {
    return load(p);
  } else if constexpr (std::is_arithmetic_v<T>) {
    detail::native_t<T, Vec<double>::width> x;
    std::memcpy(&x, p, sizeof x);
    return __builtin_convertvector(x, Vec<double>::Native);
  } else {
    Vec<double> x;
    for (int i = 0; i < x.width; ++i) x.set(i, static_cast<double>(p[i]));
    return x;
  }
}

/// Reads pixels as the rows of a slab.
template <class T>
class Rows {
 public:
  Rows(const View& x, const Pixels& pixels, const SpectralParams& params)
      : x_(x.as<T>()),
        pixels_(pixels),
        shift_(params.shift.as<double>()),
        valid_(params.valid.as<bool>()) {}

  /// Pixels first .. first + count, shifted, to `slab`; rows that are not valid become 0.
  void widen(int64_t first, int64_t count, double* slab, int64_t stride) const {
    for (int64_t r = 0; r < count;) {  // what lies in one row of the image
      const int64_t run = std::min(count - r, pixels_.columns - (first + r) % pixels_.columns);
      const T* from = x_ + pixels_.row(first + r);
      if (pixels_.column_step == 1 && pixels_.band != 1)
        by_bands(from, run, slab + r * stride, stride);
      else
        by_pixels(from, first + r, run, slab + r * stride, stride);
      r += run;
    }
    for (int64_t r = 0; valid_ && r < count; ++r)
      if (!valid_[first + r]) std::fill_n(slab + r * stride, pixels_.bands, 0.0);
  }

 private:
  void by_pixels(const T* from, int64_t first, int64_t run, double* to, int64_t stride) const {
    const int64_t n = pixels_.bands, band = pixels_.band;
    for (int64_t r = 0; r < run; ++r, from += pixels_.column_step, to += stride) {
      if (valid_ && !valid_[first + r]) continue;
      if (band != 1)
        for (int64_t j = 0; j < n; ++j) to[j] = static_cast<double>(from[j * band]);
      else if (!shift_)
        for (int64_t j = 0; j < n; ++j) to[j] = static_cast<double>(from[j]);
      else
        for (int64_t j = 0; j < n; ++j) to[j] = static_cast<double>(from[j]) - shift_[j];
      for (int64_t j = 0; band != 1 && shift_ && j < n; ++j) to[j] -= shift_[j];
    }
  }
  /// Pixels are neighbours within a band: squares of bands x pixels are transposed in registers.
  void by_bands(const T* from, int64_t run, double* to, int64_t stride) const {
    constexpr int64_t w = Vec<double>::width;
    const int64_t n = pixels_.bands, band = pixels_.band;
    const int64_t bands = n / w * w, rows = run / w * w;
    for (int64_t j = 0; j < bands; j += w) {
      const Vec<double> shift = shift_ ? load(shift_ + j) : Vec<double>(0.0);
      for (int64_t r = 0; r < rows; r += w) {
        Vec<double> square[w];
        unrolled<w>([&](auto i) __attribute__((always_inline)) {
          square[i] = load_wide(from + (j + i) * band + r);
        });
        transpose_square(square);
        unrolled<w>([&](auto i) __attribute__((always_inline)) {
          store(to + (r + i) * stride + j, square[i] - shift);
        });
      }
    }
    for (int64_t j = 0; j < n; ++j)
      for (int64_t r = j < bands ? rows : 0; r < run; ++r)
        to[r * stride + j] = static_cast<double>(from[j * band + r]) - (shift_ ? shift_[j] : 0.0);
  }

  const T* x_;
  Pixels pixels_;
  const double* shift_;
  const bool* valid_;
};

/// The upper triangle of sum [n, n] = or += slab^T slab.
void multiply_slab(const double* slab, int64_t rows, int64_t stride, int64_t n, double* sum,
                   bool add) {
  constexpr int64_t w = Vec<double>::width;
  const Split down(n, tile_rows);
  for (int64_t t = 0; t < down.parts; ++t) {
    const int64_t i = down.begin(t), height = down.size(t);
    for (int64_t j = i / w * w; j < n; j += tile_columns<double>) {
      const int64_t width = std::min<int64_t>(tile_columns<double>, n - j);
      tile_kernel<double>(TileA::columns, height, width)({.k = rows,
                                                          .a = slab + i,
                                                          .a_stride = stride,
                                                          .b = slab + j,
                                                          .b_stride = stride,
                                                          .c = sum + i * n + j,
                                                          .c_stride = n,
                                                          .columns = width,
                                                          .alpha = 1,
                                                          .beta = add ? 1.0 : 0.0});
    }
  }
}

/// sum [n, n] and, where wanted, columns [n] of pixels first .. last.
template <class T>
void sum_part(const Rows<T>& x, int64_t first, int64_t last, int64_t n, double* slab, double* sum,
              double* columns) {
  const int64_t stride = slab_stride(n);
  if (columns) std::fill_n(columns, n, 0.0);
  for (int64_t begin = first; begin < last; begin += slab_rows) {
    const int64_t rows = std::min(slab_rows, last - begin);
    x.widen(begin, rows, slab, stride);
    for (int64_t r = 0; columns && r < rows; ++r)
      for (int64_t j = 0; j < n; ++j) columns[j] += slab[r * stride + j];
    multiply_slab(slab, rows, stride, n, sum, begin > first);
  }
}

/// total += the sums of parts in order, `step` doubles apart, for the elements from .. to.
template <class G>
void add_parts(const double* parts, int64_t count, int64_t step, int64_t from, int64_t to, G* total,
               bool keep) {
  for (int64_t at = from; at < to; ++at) {
    G sum = static_cast<G>(parts[at]);
    for (int64_t p = 1; p < count; ++p) sum += static_cast<G>(parts[p * step + at]);
    total[at] = keep ? total[at] + sum : sum;
  }
}

/// The Gram matrix in G, f64 or i64; `keep` adds to what is there.
template <class T, class G>
void gram(Stream& stream, const Rows<T>& x, int64_t m, int64_t n, G* g, G* sums, bool keep) {
  const int64_t wanted = m / least_part_rows < 8
                             ? divide_up(m, least_part_rows)
                             : std::min(m / least_part_rows / 8 * 8, most_parts);
  const int64_t step =
      std::clamp<int64_t>(divide_up(m, std::max<int64_t>(wanted, 1)), 1, part_rows);
  const int64_t parts = divide_up(m, step), part_size = n * n + n;
  const int64_t slab_size = slab_rows * slab_stride(n);
  const Scratch slabs = stream.scratch(bytes(max_threads() * slab_size));
  const Scratch partial = stream.scratch(bytes(std::min(parts, most_parts) * part_size));
  double* const part_sums = partial.as<double>();
  if (m == 0 && !keep) {
    std::fill_n(g, n * n, G{0});
    if (sums) std::fill_n(sums, n, G{0});
  }
  for (int64_t from = 0; from < parts; from += most_parts) {
    const int64_t count = std::min(most_parts, parts - from);
    parallel_blocks(count, [&](int64_t p, int thread) {
      double* sum = part_sums + p * part_size;
      const int64_t first = (from + p) * step;
      sum_part(x, first, std::min(first + step, m), n, slabs.as<double>() + thread * slab_size, sum,
               sums ? sum + n * n : nullptr);
    });
    const bool add = keep || from > 0;
    parallel_for(n, 1 + (1 << 16) / (count * n), [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        add_parts(part_sums, count, part_size, i * n + i, (i + 1) * n, g, add);
    });
    if (sums) add_parts(part_sums + n * n, count, part_size, 0, n, sums, add);
  }
  for (int64_t i = 0; i < n; ++i)  // one triangle for both: symmetric to the last bit
    for (int64_t j = 0; j < i; ++j) g[i * n + j] = g[j * n + i];
}

}  // namespace

void gram(Stream& stream, View x, View g, View sums, const SpectralParams& params) {
  const Pixels pixels = check_gram(x, g, sums, params);
  const int64_t m = pixels.count, n = pixels.bands;
  if (n == 0) return;
  for_pixel(x.dtype, "gram", [&]<class T>() {
    const Rows<T> rows(x, pixels, params);
    if (g.dtype == DType::i64)
      return gram(stream, rows, m, n, g.as<int64_t>(), sums.as<int64_t>(), params.accumulate);
    if (g.dtype == DType::f64)
      return gram(stream, rows, m, n, g.as<double>(), sums.as<double>(), params.accumulate);
    const Scratch wide = stream.scratch(bytes(n * n + n));
    double *sum = wide.as<double>(), *columns = sums ? sum + n * n : nullptr;
    gram(stream, rows, m, n, sum, columns, false);
    const auto hand_over = [&]<class G>(const double* from, int64_t count, G* to) {
      for (int64_t i = 0; i < count; ++i)
        to[i] = static_cast<G>(params.accumulate ? from[i] + to[i] : from[i]);
    };
    hand_over(sum, n * n, g.as<float>());
    if (sums) hand_over(columns, n, sums.as<double>());
  });
}

namespace {

/// y = slab rows times the packed basis, panels of tile_columns columns, each [n, tile_columns]; of
/// an upper triangular basis to its diagonal.
void project_slab(const double* slab, int64_t rows, int64_t stride, int64_t n, const double* basis,
                  bool upper, int64_t k, double* y) {
  constexpr int64_t panel = tile_columns<double>;
  const Split down(rows, tile_rows);
  for (int64_t t = 0; t < down.parts; ++t)
    for (int64_t j = 0; j < k; j += panel) {
      const int64_t width = std::min(panel, k - j);
      tile_kernel<double>(TileA::rows, down.size(t),
                          width)({.k = upper ? std::min(n, j + width) : n,
                                  .a = slab + down.begin(t) * stride,
                                  .a_stride = stride,
                                  .b = basis + j * n,
                                  .b_stride = panel,
                                  .c = y + down.begin(t) * k + j,
                                  .c_stride = k,
                                  .columns = width,
                                  .alpha = 1,
                                  .beta = 0});
    }
}

template <class Y>
void store_rows(const double* from, int64_t first, int64_t rows, const Pixels& to, Y* y) {
  const int64_t k = to.bands;
  if (to.band == 1) {
    for (int64_t r = 0; r < rows; ++r) {
      Y* out = y + to.row(first + r);
      for (int64_t j = 0; j < k; ++j) out[j] = static_cast<Y>(from[r * k + j]);
    }
    return;
  }
  int64_t offset[slab_rows];
  for (int64_t r = 0; r < rows; ++r) offset[r] = to.row(first + r);
  for (int64_t j = 0; j < k; ++j)
    for (int64_t r = 0; r < rows; ++r) y[offset[r] + j * to.band] = static_cast<Y>(from[r * k + j]);
}

double squared_length(const double* x, int64_t n) {
  using V = Vec<double>;
  V sums[4] = {V(0.0), V(0.0), V(0.0), V(0.0)};
  int64_t j = 0;
  for (; j + 4 * V::width <= n; j += 4 * V::width)
    unrolled<4>([&](auto i) __attribute__((always_inline)) {
      const V v = load(x + j + i * V::width);
      sums[i] = fma(v, v, sums[i]);
    });
  double sum = horizontal_sum((sums[0] + sums[1]) + (sums[2] + sums[3]));
  for (; j < n; ++j) sum += x[j] * x[j];
  return sum;
}

}  // namespace

void project(Stream& stream, View x, View basis, View y, const SpectralParams& params) {
  const Pixels pixels = check_project(x, basis, y, params);
  constexpr int64_t panel = tile_columns<double>;
  const int64_t m = pixels.count, n = pixels.bands, k = basis.shape[1], stride = slab_stride(n);
  const int64_t slab_size = slab_rows * stride, room = slab_size + slab_rows * k;
  const Scratch buffers = stream.scratch(bytes(max_threads() * room));
  const Scratch packed = stream.scratch(bytes(divide_up(k, panel) * panel * n));
  for (int64_t j = 0; j < k; j += panel) {
    double* const to = packed.as<double>() + j * n;
    pack_panel(basis.as<double>() + j, 1, k, std::min(panel, k - j), panel, n, to);
    for (int64_t i = j + 1; params.upper && i < n; ++i)
      std::fill_n(to + i * panel, std::min(i - j, panel), 0.0);
  }
  for_pixel(x.dtype, "project", [&]<class T>() {
    const Rows<T> rows(x, pixels, params);
    for_real(y.dtype, "project", [&]<class Y>() {
      parallel_blocks(divide_up(m, slab_rows), [&](int64_t block, int thread) {
        double *slab = buffers.as<double>() + thread * room, *out = slab + slab_size;
        const int64_t first = block * slab_rows, count = std::min(slab_rows, m - first);
        rows.widen(first, count, slab, stride);
        project_slab(slab, count, stride, n, packed.as<double>(), params.upper, k, out);
        if (y.rank == x.rank)
          return store_rows(out, first, count, Pixels("project", y, {}), y.as<Y>());
        for (int64_t r = 0; r < count; ++r)
          y.as<Y>()[first + r] = static_cast<Y>(squared_length(out + r * k, k));
      });
    });
  });
}

}  // namespace tessera::kernels::cpu
