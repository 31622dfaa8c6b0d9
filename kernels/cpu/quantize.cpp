#include "tessera/kernels/quantize.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/simd.hpp"
#include "tessera/kernels/quantize_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t grain = 16 * 1024;  // elements that pay for waking a thread

// Calls body(x offset, scale offset, count) for pieces of rows, all of which together cover x.
template <class Body>
void for_rows(const ScaleBlocks& blocks, int64_t total, Body&& body) {
  const int64_t inner = blocks.inner(), stride = blocks.inner_scale_stride();
  parallel_for(total, grain, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end;) {
      const int64_t row = at / inner, column = at % inner;
      const int64_t count = std::min(inner - column, end - at);
      body(at, blocks.scale_offset(row) + column * stride, count);
      at += count;
    }
  });
}

// scale and zero along a row, as vectors of the compute type
template <class C>
struct Grid {
  const float* scale;
  const float* zero;  // or null
  int64_t stride;

  Grid(const ScaleBlocks& blocks, const View& s, const View& z, int64_t offset)
      : scale(s.as<float>() + offset),
        zero(z ? z.as<float>() + offset : nullptr),
        stride(blocks.inner_scale_stride()) {}

  Vec<C> scales(int64_t i, int64_t n) const { return values(scale, i, n); }
  Vec<C> zeros(int64_t i, int64_t n) const { return zero ? values(zero, i, n) : Vec<C>(C(0)); }

 private:
  Vec<C> values(const float* p, int64_t i, int64_t n) const {
    if (stride == 0) return Vec<C>(static_cast<C>(p[0]));
    if constexpr (std::is_same_v<C, float>) {
      return load(p + i, n);
    } else {
      Vec<C> out(C(1));
      for (int64_t l = 0; l < n; ++l) out.set(static_cast<int>(l), p[i + l]);
      return out;
    }
  }
};

template <class C>
struct Rounded {
  Vec<C> free, clamped;  // round(x / scale) + zero before and after clamping; NaN counts as 0
};

template <class C>
struct Range {
  Vec<C> lowest, highest;
  explicit Range(CodeRange r)
      : lowest(static_cast<C>(r.lowest)), highest(static_cast<C>(r.highest)) {}
  Rounded<C> operator()(Vec<C> x, Vec<C> scale, Vec<C> zero) const {
    const Vec<C> ratio = x / scale;
    const Vec<C> free = round(where(is_nan(ratio), Vec<C>(C(0)), ratio)) + zero;
    return {free, min(max(free, lowest), highest)};
  }
};

template <class Code, class C>
void store_codes(Code* out, Vec<C> codes, int64_t n) {
  if constexpr (std::is_same_v<C, float>) {
    if (n == Vec<C>::width) {
      const auto narrow = __builtin_convertvector(convert<int32_t>(codes).native,
                                                  detail::native_t<Code, Vec<C>::width>);
      std::memcpy(out, &narrow, sizeof narrow);
      return;
    }
  }
  for (int64_t l = 0; l < n; ++l)
    out[l] = static_cast<Code>(static_cast<int32_t>(codes[static_cast<int>(l)]));
}

void quantize(Stream&, View x, View scale, View zero, View code, CodeRange range) {
  const ScaleBlocks blocks = check_quantize(x, scale, zero, code, range);
  for_float(x.dtype, "quantize", [&]<class T>() {
    for_code("quantize", code.dtype, [&]<class Code>() {
      using C = compute_t<T>;
      const Range<C> to_grid(range);
      for_rows(blocks, x.numel(), [&](int64_t at, int64_t scale_at, int64_t count) {
        const Grid<C> grid(blocks, scale, zero, scale_at);
        for (int64_t i = 0; i < count; i += Vec<C>::width) {
          const int64_t n = std::min<int64_t>(Vec<C>::width, count - i);
          const Rounded<C> r =
              to_grid(load(x.as<T>() + at + i, n), grid.scales(i, n), grid.zeros(i, n));
          store_codes(code.as<Code>() + at + i, r.clamped, n);
        }
      });
    });
  });
}

void dequantize(Stream&, View code, View scale, View zero, View x) {
  const ScaleBlocks blocks = check_dequantize(code, scale, zero, x);
  for_float(x.dtype, "dequantize", [&]<class T>() {
    for_code("dequantize", code.dtype, [&]<class Code>() {
      using C = compute_t<T>;
      for_rows(blocks, x.numel(), [&](int64_t at, int64_t scale_at, int64_t count) {
        const Grid<C> grid(blocks, scale, zero, scale_at);
        const Code* from = code.as<Code>() + at;
        for (int64_t i = 0; i < count; i += Vec<C>::width) {
          const int64_t n = std::min<int64_t>(Vec<C>::width, count - i);
          C wide[Vec<C>::width] = {};
          for (int64_t l = 0; l < n; ++l) wide[l] = static_cast<C>(from[i + l]);
          store(x.as<T>() + at + i, (load(wide) - grid.zeros(i, n)) * grid.scales(i, n), n);
        }
      });
    });
  });
}

void fake_quantize(Stream&, View x, View scale, View zero, View y, View inside, View slope,
                   CodeRange range) {
  const ScaleBlocks blocks = check_fake_quantize(x, scale, zero, y, inside, slope, range);
  for_float(x.dtype, "fake_quantize", [&]<class T>() {
    using C = compute_t<T>;
    const Range<C> to_grid(range);
    for_rows(blocks, x.numel(), [&](int64_t at, int64_t scale_at, int64_t count) {
      const Grid<C> grid(blocks, scale, zero, scale_at);
      for (int64_t i = 0; i < count; i += Vec<C>::width) {
        const int64_t n = std::min<int64_t>(Vec<C>::width, count - i);
        const Vec<C> v = load(x.as<T>() + at + i, n), s = grid.scales(i, n), z = grid.zeros(i, n);
        const Rounded<C> r = to_grid(v, s, z);
        const Mask<C> kept = r.free == r.clamped;
        if (inside) {
          bool* out = inside.as<bool>() + at + i;
          for (int64_t l = 0; l < n; ++l) out[l] = kept.native[l] != 0;
        }
        if (slope)
          store(slope.as<T>() + at + i, where(kept, r.clamped - z - v / s, r.clamped - z), n);
        store(y.as<T>() + at + i, (r.clamped - z) * s, n);
      }
    });
  });
}

// ---- ranges
// --------------------------------------------------------------------------------------

struct Extremes {
  float low = std::numeric_limits<float>::infinity(),
        high = -std::numeric_limits<float>::infinity();
  void add(float v) { add(Extremes{v, v}); }
  void add(const Extremes& other) {  // once NaN, no comparison replaces it
    low = other.low < low || std::isnan(other.low) ? other.low : low;
    high = other.high > high || std::isnan(other.high) ? other.high : high;
  }
};

template <class T>
Extremes extremes(const T* x, int64_t n) {
  using C = compute_t<T>;
  Vec<C> low(std::numeric_limits<C>::infinity()), high(-std::numeric_limits<C>::infinity());
  Mask<C> nan = is_nan(low);
  int64_t i = 0;
  for (; i + Vec<C>::width <= n; i += Vec<C>::width) {
    const Vec<C> v = load(x + i);
    nan = nan | is_nan(v);
    low = min(v, low);
    high = max(v, high);
  }
  Extremes e;
  e.low = static_cast<float>(horizontal_min(low));
  e.high = static_cast<float>(horizontal_max(high));
  if (any(nan)) e.low = e.high = std::numeric_limits<float>::quiet_NaN();
  for (; i < n; ++i) {
    const float v = static_cast<float>(static_cast<C>(x[i]));
    e.add(Extremes{v, v});
  }
  return e;
}

void range(Stream&, View x, View low, View high) {
  const ScaleBlocks blocks = check_range("quantize_range", x, low, high);
  for_float(x.dtype, "quantize_range", [&]<class T>() {
    const T* data = x.as<T>();
    const auto write = [&](int64_t entry, const Extremes& e) {
      low.as<float>()[entry] = e.low;
      high.as<float>()[entry] = e.high;
    };
    if (blocks.entries == 1) {  // extremes of parts join in any order
      const int64_t n = x.numel(), parts = (n + grain - 1) / grain;
      std::vector<Extremes> part(static_cast<size_t>(parts));
      parallel_blocks(parts, [&](int64_t p) {
        part[static_cast<size_t>(p)] = extremes(data + p * grain, std::min(grain, n - p * grain));
      });
      Extremes all;
      for (const Extremes& e : part) all.add(e);
      return write(0, all);
    }
    const int64_t per_entry =
        std::max<int64_t>(1, x.numel() / std::max<int64_t>(blocks.entries, 1));
    parallel_for(
        blocks.entries, std::max<int64_t>(1, grain / per_entry), [&](int64_t begin, int64_t end) {
          for (int64_t entry = begin; entry < end; ++entry) {
            Extremes all;
            blocks.for_runs_of(
                entry, [&](int64_t at, int64_t count) { all.add(extremes(data + at, count)); });
            write(entry, all);
          }
        });
  });
}

// The value at position q (n - 1) of the sorted values, interpolated linearly between neighbours.
float quantile(std::vector<float>& values, double q) {
  const double position = q * static_cast<double>(values.size() - 1);
  const auto k = static_cast<size_t>(position);
  const auto kth = values.begin() + static_cast<std::ptrdiff_t>(k);
  std::nth_element(values.begin(), kth, values.end());
  const float below = *kth;
  if (k + 1 >= values.size()) return below;
  const float above = *std::min_element(kth + 1, values.end());
  return static_cast<float>(below + (position - static_cast<double>(k)) *
                                        (static_cast<double>(above) - below));
}

void quantile_range(Stream&, View x, double fraction, View low, View high) {
  const ScaleBlocks blocks = check_quantile_range(x, fraction, low, high);
  for_float(x.dtype, "quantile_range", [&]<class T>() {
    parallel_blocks(blocks.entries, [&](int64_t entry) {
      std::vector<float> values;
      bool nan = false;
      blocks.for_runs_of(entry, [&](int64_t at, int64_t count) {
        for (int64_t i = 0; i < count; ++i) {
          const auto v = static_cast<float>(static_cast<compute_t<T>>(x.as<T>()[at + i]));
          nan = nan || std::isnan(v);
          values.push_back(v);
        }
      });
      constexpr float not_a_number = std::numeric_limits<float>::quiet_NaN();
      low.as<float>()[entry] = nan ? not_a_number : quantile(values, 1 - fraction);
      high.as<float>()[entry] = nan ? not_a_number : quantile(values, fraction);
    });
  });
}

void fit_range(Stream&, View low, View high, View scale, View zero, CodeRange codes) {
  check_fit_range(low, high, scale, zero, codes);
  for (int64_t i = 0; i < low.numel(); ++i) {
    const float l = std::min(low.as<float>()[i], 0.0f), h = std::max(high.as<float>()[i], 0.0f);
    float& s = scale.as<float>()[i];
    if (!zero) {
      s = std::max(-l, h) / static_cast<float>(codes.highest);
      if (s == 0) s = 1;
      continue;
    }
    s = (h - l) / static_cast<float>(codes.highest - codes.lowest);
    if (s == 0) s = 1;
    const float z = std::nearbyint(static_cast<float>(codes.lowest) - l / s);
    zero.as<float>()[i] =
        std::clamp(z, static_cast<float>(codes.lowest), static_cast<float>(codes.highest));
  }
}

// ---- packing
// -------------------------------------------------------------------------------------

void pack_int4(Stream&, View code, View bytes) {
  const int64_t n = check_packing("pack_int4", code, bytes), width = (n + 1) / 2;
  if (code.numel() == 0) return;
  for_code("pack_int4", code.dtype, [&]<class Code>() {
    constexpr int lowest = std::is_signed_v<Code> ? -8 : 0, highest = lowest + 15;
    parallel_for(
        code.numel() / n, std::max<int64_t>(1, grain / n), [&](int64_t begin, int64_t end) {
          for (int64_t r = begin; r < end; ++r) {
            const Code* from = code.as<Code>() + r * n;
            uint8_t* to = bytes.as<uint8_t>() + r * width;
            for (int64_t i = 0; i < n; ++i)
              TS_CHECK(from[i] >= lowest && from[i] <= highest, "pack_int4: code ", int{from[i]},
                       " in row ", r, ", column ", i, " is outside [", lowest, ", ", highest, "]");
            for (int64_t j = 0; j < width; ++j)
              to[j] = pack_int4_pair(from[2 * j], 2 * j + 1 < n ? from[2 * j + 1] : 0);
          }
        });
  });
}

void unpack_int4(Stream&, View bytes, View code) {
  const int64_t n = check_packing("unpack_int4", code, bytes), width = (n + 1) / 2;
  if (code.numel() == 0) return;
  for_code("unpack_int4", code.dtype, [&]<class Code>() {
    parallel_for(code.numel() / n, std::max<int64_t>(1, grain / n),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t r = begin; r < end; ++r) {
                     const uint8_t* from = bytes.as<uint8_t>() + r * width;
                     Code* to = code.as<Code>() + r * n;
                     for (int64_t i = 0; i < n; ++i) {
                       const int which = static_cast<int>(i & 1);
                       to[i] = static_cast<Code>(std::is_signed_v<Code>
                                                     ? kernels::unpack_int4(from[i / 2], which)
                                                     : unpack_uint4(from[i / 2], which));
                     }
                   }
                 });
  });
}

}  // namespace

const QuantizeKernels quantize_kernels{
    .quantize = quantize,
    .dequantize = dequantize,
    .fake_quantize = fake_quantize,
    .range = range,
    .quantile_range = quantile_range,
    .fit_range = fit_range,
    .pack_int4 = pack_int4,
    .unpack_int4 = unpack_int4,
};

}  // namespace tessera::kernels::cpu
