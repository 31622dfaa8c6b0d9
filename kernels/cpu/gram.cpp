// The two passes over pixels x bands: Gram matrix with column sums, and projection on a basis.
//
// Pixels are taken in slabs of fixed size, widened to f64 without the rows that do not count.
#include "tessera/kernels/cpu/linalg.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/linalg_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t slab = 256;

/// Rows first .. last of x, shifted, to `to` [.., n]; returns how many were valid.
template <class T>
int64_t widen(const View& x, const Pixels& pixels, const SpectralParams& params, int64_t first,
              int64_t last, double* to) {
  const bool* valid = params.valid.as<bool>();
  const double* shift = params.shift.as<double>();
  int64_t rows = 0;
  for (int64_t r = first; r < last; ++r) {
    if (valid && !valid[r]) continue;
    const T* from = x.as<T>() + pixels.row(r);
    double* out = to + rows++ * pixels.bands;
    for (int64_t j = 0; j < pixels.bands; ++j)
      out[j] = static_cast<double>(from[j * pixels.band]) - (shift ? shift[j] : 0.0);
  }
  return rows;
}

}  // namespace

void gram(Stream& stream, View x, View g, View sums, const SpectralParams& params) {
  const Pixels pixels = check_gram(x, g, sums, params);
  const int64_t n = pixels.bands;
  const auto bytes = [](int64_t count) { return static_cast<size_t>(count) * sizeof(double); };
  const Scratch rows = stream.scratch(bytes(slab * n)), part = stream.scratch(bytes(n * n + n));
  const auto run = [&]<class T, class G>() {
    const bool narrow = g.dtype == DType::f32;
    const Scratch wide = stream.scratch(narrow ? bytes(n * n) : 0);
    G* total = narrow ? wide.as<G>() : g.as<G>();
    G* column = sums.as<G>();
    if (narrow || !params.accumulate) std::fill_n(total, n * n, G{0});
    if (column && !params.accumulate) std::fill_n(column, n, G{0});
    for (int64_t begin = 0; begin < pixels.count; begin += slab) {
      const int64_t end = std::min(begin + slab, pixels.count);
      const int64_t count = widen<T>(x, pixels, params, begin, end, rows.as<double>());
      double* sum = part.as<double>();
      std::fill_n(sum, n * n + n, 0.0);
      for (int64_t r = 0; r < count; ++r) {
        const double* row = rows.as<double>() + r * n;
        for (int64_t i = 0; i < n; ++i) {
          for (int64_t j = i; j < n; ++j) sum[i * n + j] += row[i] * row[j];
          sum[n * n + i] += row[i];
        }
      }
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t j = i; j < n; ++j) total[i * n + j] += static_cast<G>(sum[i * n + j]);
        if (column) column[i] += static_cast<G>(sum[n * n + i]);
      }
    }
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < i; ++j) total[i * n + j] = total[j * n + i];
    for (int64_t i = 0; narrow && i < n * n; ++i)
      g.as<float>()[i] = static_cast<float>((params.accumulate ? g.as<float>()[i] : 0) + total[i]);
  };
  for_pixel(x.dtype, "gram", [&]<class T>() {
    if (g.dtype == DType::i64)
      run.template operator()<T, int64_t>();
    else
      run.template operator()<T, double>();
  });
}

void project(Stream& stream, View x, View basis, View y, const SpectralParams& params) {
  const Pixels pixels = check_project(x, basis, y, params), to("project", y, {});
  const int64_t n = pixels.bands, k = to.bands;
  const bool* valid = params.valid.as<bool>();
  const Scratch row = stream.scratch(static_cast<size_t>(n) * sizeof(double));
  const auto run = [&]<class T, class Y>() {
    for (int64_t r = 0; r < pixels.count; ++r) {
      Y* out = y.as<Y>() + to.row(r);
      if (!valid || valid[r]) {
        SpectralParams one = params;
        widen<T>(x, pixels, one, r, r + 1, row.as<double>());
      }
      for (int64_t j = 0; j < k; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < n && (!valid || valid[r]); ++i)
          sum += row.as<double>()[i] * basis.as<double>()[i * k + j];
        out[j * to.band] = static_cast<Y>(sum);
      }
    }
  };
  for_pixel(x.dtype, "project", [&]<class T>() {
    for_real(y.dtype, "project", [&]<class Y>() { run.template operator()<T, Y>(); });
  });
}

}  // namespace tessera::kernels::cpu
