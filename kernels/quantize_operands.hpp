#pragma once

#include <limits>
#include <string_view>

#include "tessera/kernels/quantize.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/host_device.hpp"

/// Operands of the quantize family, checked against the contract of the family's header; errors
/// name the operation, shapes and dtypes.
namespace tessera::kernels {

/// x's extents, each cut in two where an entry of scale serves several indices, then merged again
/// into as few dimensions as possible. A scale stride of 0 repeats an entry. The last dimension has
/// stride 1 in x, and 0 or 1 in scale.
struct ScaleBlocks {
  int rank = 0;
  int64_t shape[2 * max_rank];
  int64_t x_stride[2 * max_rank];
  int64_t scale_stride[2 * max_rank];
  int64_t entries = 1;

  ScaleBlocks(std::string_view operation, const View& x, const View& scale) {
    TS_CHECK(scale.rank == x.rank, operation, ": scale ", scale.dims(), " must have the rank of x ",
             x.dims());
    int64_t wide[2 * max_rank], x_step[2 * max_rank], scale_step[2 * max_rank];
    int n = 2 * x.rank;
    int64_t x_at = 1, scale_at = 1;
    for (int i = x.rank - 1; i >= 0; --i) {
      const int64_t cuts = scale.shape[i], extent = x.shape[i];
      TS_CHECK(cuts > 0 ? extent % cuts == 0 : extent == 0, operation, ": scale ", scale.dims(),
               " does not divide x ", x.dims(), " in dimension ", i);
      const int64_t width = cuts > 0 ? extent / cuts : 0;
      wide[2 * i + 1] = width;
      x_step[2 * i + 1] = x_at;
      scale_step[2 * i + 1] = 0;
      wide[2 * i] = cuts;
      x_step[2 * i] = x_at * width;
      scale_step[2 * i] = scale_at;
      x_at *= extent;
      scale_at *= cuts;
    }
    entries = scale_at;
    for (int i = 0; i < n; ++i) {
      if (wide[i] == 1) continue;
      const int last = rank - 1;
      if (rank > 0 && x_stride[last] == x_step[i] * wide[i] &&
          scale_stride[last] == scale_step[i] * wide[i]) {
        shape[last] *= wide[i];
        x_stride[last] = x_step[i];
        scale_stride[last] = scale_step[i];
      } else {
        shape[rank] = wide[i];
        x_stride[rank] = x_step[i];
        scale_stride[rank++] = scale_step[i];
      }
    }
    if (rank == 0) {
      shape[0] = x.numel();
      x_stride[0] = 1;
      scale_stride[0] = 0;
      rank = 1;
    }
  }

  TS_HD int64_t inner() const { return shape[rank - 1]; }
  TS_HD int64_t inner_scale_stride() const { return scale_stride[rank - 1]; }

  TS_HD int64_t scale_offset(int64_t row) const {  // row: a number over all dimensions but the last
    int64_t at = 0;
    for (int i = rank - 2; i >= 0; --i) {
      at += row % shape[i] * scale_stride[i];
      row /= shape[i];
    }
    return at;
  }
  /// Where in x the elements of an entry begin.
  TS_HD int64_t first_of(int64_t entry) const {
    int64_t at = 0;
    for (int i = 0; i < rank; ++i)
      if (scale_stride[i] != 0) at += entry / scale_stride[i] % shape[i] * x_stride[i];
    return at;
  }
  /// How far from there its element `number` lies.
  TS_HD int64_t offset_in_entry(int64_t number) const {
    int64_t at = 0;
    for (int i = rank - 1; i >= 0; --i) {
      if (scale_stride[i] != 0) continue;
      at += number % shape[i] * x_stride[i];
      number /= shape[i];
    }
    return at;
  }
  /// Calls body(offset, count) for the contiguous runs of x that one entry serves.
  template <class Body>
  void for_runs_of(int64_t entry, Body&& body) const {
    const int64_t run = inner_scale_stride() == 0 ? inner() : 1, base = first_of(entry);
    int64_t count = 1;
    for (int i = 0; i < rank; ++i)
      if (scale_stride[i] == 0) count *= shape[i];
    for (int64_t k = 0; k < count; k += run) body(base + offset_in_entry(k), run);
  }
};

inline void check_grid(std::string_view operation, const View& x, const View& scale,
                       const View& zero) {
  TS_CHECK(is_float(x.dtype) && x.contiguous(), operation,
           ": x must be floating and contiguous, is ", x.dtype, " ", x.dims());
  TS_CHECK(scale.dtype == DType::f32 && scale.contiguous(), operation,
           ": scale must be contiguous f32, is ", scale.dtype, " ", scale.dims());
  TS_CHECK(!zero || (zero.dtype == DType::f32 && zero.contiguous() && zero.dims() == scale.dims()),
           operation, ": zero must be contiguous f32 ", scale.dims(), ", is ", zero.dtype, " ",
           zero.dims());
}

inline void check_same_shape(std::string_view operation, const View& x, const View& y) {
  TS_CHECK(y.contiguous() && x.dims() == y.dims(), operation, ": shapes ", x.dims(), " and ",
           y.dims(), " (both contiguous)");
}

/// Calls f with the type of codes.
template <class F>
void for_code(std::string_view operation, DType dtype, F&& f) {
  if (dtype == DType::i8) return f.template operator()<int8_t>();
  if (dtype == DType::u8) return f.template operator()<uint8_t>();
  unsupported_dtype(operation, dtype);
}

inline ScaleBlocks check_quantize(const View& x, const View& scale, const View& zero,
                                  const View& code, CodeRange range) {
  check_grid("quantize", x, scale, zero);
  check_same_shape("quantize", x, code);
  for_code("quantize", code.dtype, [&]<class Code>() {
    TS_CHECK(range.lowest >= std::numeric_limits<Code>::min() &&
                 range.highest <= std::numeric_limits<Code>::max() && range.lowest <= range.highest,
             "quantize: the range [", range.lowest, ", ", range.highest, "] does not fit ",
             code.dtype);
  });
  return {"quantize", x, scale};
}

inline ScaleBlocks check_dequantize(const View& code, const View& scale, const View& zero,
                                    const View& x) {
  check_grid("dequantize", x, scale, zero);
  check_same_shape("dequantize", code, x);
  return {"dequantize", x, scale};
}

inline ScaleBlocks check_fake_quantize(const View& x, const View& scale, const View& zero,
                                       const View& y, const View& inside, const View& slope,
                                       CodeRange range) {
  check_grid("fake_quantize", x, scale, zero);
  check_same_shape("fake_quantize", x, y);
  if (inside) check_same_shape("fake_quantize", x, inside);
  if (slope) check_same_shape("fake_quantize", x, slope);
  TS_CHECK(y.dtype == x.dtype && (!slope || slope.dtype == x.dtype) &&
               (!inside || inside.dtype == DType::bool_),
           "fake_quantize: x is ", x.dtype, ", y ", y.dtype, ", inside ", inside.dtype, ", slope ",
           slope.dtype);
  TS_CHECK(range.lowest <= range.highest, "fake_quantize: empty range [", range.lowest, ", ",
           range.highest, "]");
  return {"fake_quantize", x, scale};
}

inline ScaleBlocks check_range(std::string_view operation, const View& x, const View& low,
                               const View& high) {
  check_grid(operation, x, low, {});
  TS_CHECK(high.dtype == DType::f32 && high.contiguous() && high.dims() == low.dims(), operation,
           ": high must be contiguous f32 ", low.dims(), ", is ", high.dtype, " ", high.dims());
  TS_CHECK(x.numel() > 0 || low.numel() == 0, operation, ": x ", x.dims(), " is empty");
  return {operation, x, low};
}

inline ScaleBlocks check_quantile_range(const View& x, double fraction, const View& low,
                                        const View& high) {
  const ScaleBlocks blocks = check_range("quantile_range", x, low, high);
  TS_CHECK(fraction >= 0.5 && fraction <= 1,
           "quantile_range: the fraction must be in [0.5, 1], is ", fraction);
  return blocks;
}

inline void check_fit_range(const View& low, const View& high, const View& scale, const View& zero,
                            CodeRange codes) {
  for (const View* v : {&low, &high, &scale, &zero})
    TS_CHECK(!*v || (v->dtype == DType::f32 && v->contiguous() && v->dims() == low.dims()),
             "fit_range: operands must be contiguous f32 ", low.dims(), ", one is ", v->dtype, " ",
             v->dims());
  TS_CHECK(codes.highest > codes.lowest && (zero || codes.highest > 0), "fit_range: codes [",
           codes.lowest, ", ", codes.highest, "]");
}

/// Returns the codes in a row.
inline int64_t check_packing(std::string_view operation, const View& code, const View& bytes) {
  TS_CHECK(code.rank >= 1 && code.rank == bytes.rank &&
               (code.dtype == DType::i8 || code.dtype == DType::u8) && bytes.dtype == DType::u8 &&
               code.contiguous() && bytes.contiguous(),
           operation, ": code ", code.dtype, " ", code.dims(), " and bytes ", bytes.dtype, " ",
           bytes.dims());
  Shape packed = code.dims();
  packed[code.rank - 1] = (packed.back() + 1) / 2;
  TS_CHECK(bytes.dims() == packed, operation, ": code ", code.dims(), " takes bytes ", packed,
           ", given ", bytes.dims());
  return code.shape[code.rank - 1];
}

}  // namespace tessera::kernels
