#include "tessera/kernels/qgemm.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/epilogue.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/vector.hpp"
#include "tessera/kernels/qgemm_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

// ---- dot products of small integers
// ----------------------------------------------------------------
//
// A step multiplies `depth` neighbouring k of one row of A, held in 32 bits, with the same k of a
// vector of rows of B, and adds the products to 32-bit sums. Sums are exact modulo 2^32, hence
// exact when the result fits. B is packed by panels of `panel` rows: step after step, one group of
// `depth` elements per row.

using Sum = Vec<int32_t>;

// Both operands widened to 16 bits; every level has a multiply-add of 16-bit pairs.
struct WideStep {
  using Element = int16_t;
  static constexpr int depth = 2;
  static constexpr int32_t a_offset = 0;  // what packing adds to elements of A

  [[gnu::always_inline]] static void add(Sum& sum, int32_t a, Sum y) {
    const Sum x(a);
#if defined(__AVX512BW__)
    sum += Sum(reinterpret_cast<Sum::Native>(_mm512_madd_epi16(
        reinterpret_cast<__m512i>(x.native), reinterpret_cast<__m512i>(y.native))));
#elif defined(__AVX2__)
    sum += Sum(reinterpret_cast<Sum::Native>(_mm256_madd_epi16(
        reinterpret_cast<__m256i>(x.native), reinterpret_cast<__m256i>(y.native))));
#elif defined(__SSE2__)
    sum += Sum(reinterpret_cast<Sum::Native>(
        _mm_madd_epi16(reinterpret_cast<__m128i>(x.native), reinterpret_cast<__m128i>(y.native))));
#else
    sum += ((x << 16) >> 16) * ((y << 16) >> 16) + (x >> 16) * (y >> 16);
#endif
  }
};

#if defined(__AVX512F__)
// Bytes, four at a time, with the VNNI extension, which is no part of the level: asm, as the
// compiler would not emit it. A is unsigned, so signed elements are shifted by 128 and the shift is
// taken out at the end.
struct VnniStep {
  using Element = int8_t;
  static constexpr int depth = 4;
  static constexpr int32_t a_offset = 128;

  [[gnu::always_inline]] static void add(Sum& sum, int32_t a, Sum b) {
    const Sum x(a);
    asm("vpdpbusd %2, %1, %0" : "+v"(sum.native) : "v"(x.native), "v"(b.native));
  }
};
#endif

#if defined(__AVX512F__)
constexpr int tile_rows = 12;
#else
constexpr int tile_rows = 6;
#endif
constexpr int tile_vectors = 2;
constexpr int panel = tile_vectors * Sum::width;

template <class Step, int rows>
void multiply_tile(int64_t steps, const typename Step::Element* a, int64_t a_stride,
                   const typename Step::Element* b, int32_t* out) {
  Sum sum[rows * tile_vectors];
  unrolled<rows * tile_vectors>([&](auto i) __attribute__((always_inline)) { sum[i] = Sum(0); });
  for (int64_t k = 0; k < steps; ++k) {
    Sum y[tile_vectors];
    unrolled<tile_vectors>([&](auto v) __attribute__((always_inline)) {
      std::memcpy(&y[v].native, b + v * Sum::width * Step::depth, sizeof y[v].native);
    });
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      int32_t x;
      std::memcpy(&x, a + r * a_stride, sizeof x);
      unrolled<tile_vectors>([&](auto v) __attribute__((always_inline)) {
        Step::add(sum[r * tile_vectors + v], x, y[v]);
      });
    });
    a += Step::depth;
    b += panel * Step::depth;
  }
  unrolled<rows * tile_vectors>([&](auto i) __attribute__((always_inline)) {
    store(out + i * Sum::width, sum[i]);
  });
}

template <class Step>
using TileFunction = void (*)(int64_t, const typename Step::Element*, int64_t,
                              const typename Step::Element*, int32_t*);

template <class Step>
TileFunction<Step> tile_of(int64_t rows) {
  static constexpr auto table = []<int... r>(std::integer_sequence<int, r...>) {
    return std::array<TileFunction<Step>, tile_rows>{multiply_tile<Step, r + 1>...};
  }
  (std::make_integer_sequence<int, tile_rows>{});
  return table[static_cast<size_t>(rows - 1)];
}

// Adds up products tile by tile and gives them to epilogue(row, first column, columns, sums of that
// row).
template <class Step, class Epilogue>
void multiply(Stream& stream, const CodeProduct& p, Epilogue&& epilogue) {
  using Element = typename Step::Element;
  const int64_t steps = (p.k + Step::depth - 1) / Step::depth, padded = steps * Step::depth;
  const int64_t panels = (p.n + panel - 1) / panel, row_tiles = (p.m + tile_rows - 1) / tile_rows;
  const Scratch a_memory = stream.scratch(static_cast<size_t>(p.m * padded) * sizeof(Element));
  const Scratch b_memory =
      stream.scratch(static_cast<size_t>(panels * panel * padded) * sizeof(Element));
  const Scratch b_sums = stream.scratch(static_cast<size_t>(panels * panel) * sizeof(int32_t));
  auto* a = a_memory.as<Element>();
  auto* b = b_memory.as<Element>();
  // Packing shifts A so that it is unsigned where the step wants that; sums of B take the shift out
  // again.
  const int32_t shift = p.a.dtype == DType::i8 ? Step::a_offset : 0;

  parallel_for(p.m, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Element* to = a + i * padded;
      const auto pack = [&](const auto* from) {
        for (int64_t k = 0; k < p.k; ++k) to[k] = static_cast<Element>(from[k] + shift);
      };
      if (p.a.dtype == DType::i8)
        pack(p.a.as<int8_t>() + i * p.a.stride[0]);
      else
        pack(p.a.as<uint8_t>() + i * p.a.stride[0]);
      std::fill(to + p.k, to + padded, Element(0));
    }
  });
  parallel_for(panels, 4, [&](int64_t begin, int64_t end) {
    for (int64_t q = begin; q < end; ++q) {
      Element* to = b + q * panel * padded;
      std::fill(to, to + panel * padded, Element(0));
      for (int64_t j = 0; j < panel; ++j) {
        int32_t total = 0;
        if (const int64_t row = q * panel + j; row < p.n) {
          const int8_t* from = p.b.as<int8_t>() + row * p.b.stride[0];
          for (int64_t k = 0; k < p.k; ++k) {
            to[(k / Step::depth * panel + j) * Step::depth + k % Step::depth] = from[k];
            total += from[k];
          }
        }
        b_sums.as<int32_t>()[q * panel + j] = total;
      }
    }
  });

  // A few panels at a time stay in the second-level cache while all rows of A pass.
  parallel_blocks(row_tiles, [&](int64_t t) {
    const int64_t row = t * tile_rows, rows = std::min<int64_t>(tile_rows, p.m - row);
    const TileFunction<Step> tile = tile_of<Step>(rows);
    alignas(vector_bytes) int32_t sums[tile_rows * panel];
    for (int64_t q = 0; q < panels; ++q) {
      tile(steps, a + row * padded, padded, b + q * panel * padded, sums);
      const int32_t* correction = b_sums.as<int32_t>() + q * panel;
      for (int64_t i = 0; i < rows; ++i) {
        int32_t* line = sums + i * panel;
        if (shift != 0)
          for (int j = 0; j < panel; ++j)
            line[j] = static_cast<int32_t>(static_cast<uint32_t>(line[j]) -
                                           static_cast<uint32_t>(shift) *
                                               static_cast<uint32_t>(correction[j]));
        epilogue(row + i, q * panel, std::min<int64_t>(panel, p.n - q * panel), line);
      }
    }
  });
}

template <class Epilogue>
void multiply(Stream& stream, const CodeProduct& p, Epilogue&& epilogue) {
  if (p.m == 0 || p.n == 0) return;
#if defined(__AVX512F__)
  static const bool vnni = __builtin_cpu_supports("avx512vnni");
  if (vnni) return multiply<VnniStep>(stream, p, epilogue);
#endif
  multiply<WideStep>(stream, p, epilogue);
}

void qgemm(Stream& stream, View a, View b, View c) {
  const CodeProduct p = check_qgemm(a, b, c);
  TS_CHECK(c.dtype == DType::i32, "qgemm: c must be i32, is ", c.dtype);
  multiply(stream, p, [&](int64_t row, int64_t column, int64_t n, const int32_t* sums) {
    std::copy_n(sums, n, c.as<int32_t>() + row * p.n + column);
  });
}

// ---- epilogues
// -------------------------------------------------------------------------------------

std::vector<int32_t> whole_zeros(const char* what, const View& zero, int64_t rows) {
  const PerRow values(what, zero, rows, 0.0f);
  std::vector<int32_t> out(static_cast<size_t>(rows));
  for (int64_t i = 0; i < rows; ++i) {
    const float z = values[i];
    TS_CHECK(z == std::nearbyint(z) && std::abs(z) <= 256, "qgemm_scaled: ", what, " of row ", i,
             " must be a whole number within 256, is ", z);
    out[static_cast<size_t>(i)] = static_cast<int32_t>(z);
  }
  return out;
}

std::vector<int32_t> row_sums(const View& v) {
  std::vector<int32_t> out(static_cast<size_t>(v.shape[0]));
  for (int64_t i = 0; i < v.shape[0]; ++i) {
    int32_t total = 0;
    for (int64_t k = 0; k < v.shape[1]; ++k)
      total += v.dtype == DType::i8 ? v.as<int8_t>()[i * v.stride[0] + k]
                                    : v.as<uint8_t>()[i * v.stride[0] + k];
    out[static_cast<size_t>(i)] = total;
  }
  return out;
}

void qgemm_scaled(Stream& stream, QuantizedView a, QuantizedView b, View y,
                  const QgemmParams& params) {
  TS_CHECK(!a.packed && !b.packed, "qgemm_scaled: packed codes; unpack them first");
  const CodeProduct p = check_qgemm(a.codes, b.codes, y);
  check_bias("qgemm_scaled", params.bias, y);
  const PerRow a_scale("the scale of a", a.scale, p.m, 1.0f),
      b_scale("the scale of b", b.scale, p.n, 1.0f);
  const std::vector<int32_t> a_zero = whole_zeros("the zero of a", a.zero, p.m);
  const std::vector<int32_t> b_zero = whole_zeros("the zero of b", b.zero, p.n);
  const auto any = [](const std::vector<int32_t>& v) {
    return std::any_of(v.begin(), v.end(), [](int32_t z) { return z != 0; });
  };
  // sum (a - za)(b - zb) = sum a b - zb sum a - za sum b + k za zb
  const bool with_a = any(a_zero), with_b = any(b_zero);
  const std::vector<int32_t> a_sums = with_b ? row_sums(a.codes) : std::vector<int32_t>();
  const std::vector<int32_t> b_sums = with_a ? row_sums(b.codes) : std::vector<int32_t>();

  for_output("qgemm_scaled", y.dtype, [&]<class T>() {
    const T* bias = params.bias ? params.bias.as<T>() : nullptr;
    multiply(stream, p, [&](int64_t row, int64_t column, int64_t n, const int32_t* sums) {
      const auto i = static_cast<size_t>(row);
      const float row_scale = a_scale[row];
      float values[panel];
      for (int64_t j = 0; j < n; ++j) {
        const auto c = static_cast<size_t>(column + j);
        int64_t exact = sums[j];
        if (with_b) exact -= int64_t{b_zero[c]} * a_sums[i];
        if (with_a) exact -= int64_t{a_zero[i]} * b_sums[c];
        if (with_a && with_b) exact += p.k * a_zero[i] * b_zero[c];
        values[j] = row_scale * b_scale[column + j] * static_cast<float>(exact);
      }
      finish_row(values, n, 0.0f, bias ? bias + column : nullptr, 0.0f, params.activation,
                 y.as<T>() + row * p.n + column);
    });
  });
}

// ---- weights in low precision
// ----------------------------------------------------------------------

// A quantised weight as whole rows of f32.
class WeightRows {
 public:
  WeightRows(const QuantizedView& w, const WeightExtents& e) : w_(w), k_(e.k), group_(e.group) {}

  int64_t group() const { return group_; }
  float scale(int64_t row, int64_t g) const { return at(w_.scale, row, g); }
  float zero(int64_t row, int64_t g) const { return w_.zero ? at(w_.zero, row, g) : 0.0f; }

  // Codes [first, first + n) of a row as floats, zeros not taken off.
  void codes(int64_t row, int64_t first, int64_t n, float* out) const {
    if (!w_.packed) {
      const auto widen = [&](const auto* from) {
        for (int64_t i = 0; i < n; ++i) out[i] = static_cast<float>(from[i]);
      };
      if (w_.codes.dtype == DType::i8) return widen(w_.codes.as<int8_t>() + row * k_ + first);
      return widen(w_.codes.as<uint8_t>() + row * k_ + first);
    }
    const uint8_t* bytes =
        w_.codes.as<uint8_t>() + row * ((k_ + 1) / 2) + first / 2;  // first is even
    const int bias = w_.is_signed ? 8 : 0;
    for (int64_t i = 0; i + 1 < n; i += 2) {
      out[i] = static_cast<float>(((bytes[i / 2] & 15) ^ bias) - bias);
      out[i + 1] = static_cast<float>(((bytes[i / 2] >> 4) ^ bias) - bias);
    }
    if (n % 2) out[n - 1] = static_cast<float>(((bytes[n / 2] & 15) ^ bias) - bias);
  }

  void values(int64_t row, float* out) const {
    for (int64_t g = 0; g * group_ < k_; ++g) {
      float* part = out + g * group_;
      codes(row, g * group_, group_, part);
      const float s = scale(row, g), z = zero(row, g);
      for (int64_t i = 0; i < group_; ++i) part[i] = (part[i] - z) * s;
    }
  }

 private:
  float at(const View& v, int64_t row, int64_t g) const {
    return v.as<float>()[(v.shape[0] == 1 ? 0 : row) * v.shape[1] + g];
  }
  QuantizedView w_;
  int64_t k_, group_;
};

// Rows of x up to which the weight is read once per product and expanded on the way: the product
// then costs what reading the codes costs. With more rows, blocks of the weight are expanded for a
// matrix product.
constexpr int64_t few_rows = 8, few_columns = 64;
constexpr int64_t block_rows = 256;

void weight_only(Stream& stream, View x, QuantizedView w, View y, const QgemmParams& params) {
  const WeightExtents extents = check_weight_only(x, w, y, params);
  const int64_t m = x.shape[0], n = extents.n, k = extents.k;
  const WeightRows weight(w, extents);
  if (m == 0 || n == 0) return;

  for_output("weight_only_gemm", y.dtype, [&]<class T>() {
    const Scratch wide = stream.scratch(static_cast<size_t>(m * k) * sizeof(float));
    auto* xf = wide.as<float>();
    parallel_for(m * k, 1 << 16, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) xf[i] = static_cast<float>(x.as<T>()[i]);
    });
    const T* bias = params.bias ? params.bias.as<T>() : nullptr;
    const auto finish = [&](int64_t i, int64_t first, int64_t count, const float* sums) {
      finish_row(sums, count, 0.0f, bias ? bias + first : nullptr, 0.0f, params.activation,
                 y.as<T>() + i * n + first);
    };

    if (m <= few_rows) {
      parallel_for(n, std::max<int64_t>(1, (1 << 15) / std::max<int64_t>(k, 1)),
                   [&](int64_t begin, int64_t end) {
                     std::vector<float> row(static_cast<size_t>(k));
                     float sums[few_rows][few_columns];
                     for (int64_t first = begin; first < end; first += few_columns) {
                       const int64_t count = std::min(few_columns, end - first);
                       for (int64_t j = 0; j < count; ++j) {
                         weight.values(first + j, row.data());
                         for (int64_t i = 0; i < m; ++i)
                           sums[i][j] = dot(xf + i * k, row.data(), k);
                       }
                       for (int64_t i = 0; i < m; ++i) finish(i, first, count, sums[i]);
                     }
                   });
      return;
    }
    const Scratch expanded = stream.scratch(static_cast<size_t>(block_rows * k) * sizeof(float));
    const Scratch product = stream.scratch(static_cast<size_t>(m * block_rows) * sizeof(float));
    for (int64_t first = 0; first < n; first += block_rows) {
      const int64_t rows = std::min(block_rows, n - first);
      parallel_for(rows, 8, [&](int64_t begin, int64_t end) {
        for (int64_t j = begin; j < end; ++j)
          weight.values(first + j, expanded.as<float>() + j * k);
      });
      const auto matrix = [](float* data, int64_t r, int64_t c, int64_t r_stride,
                             int64_t c_stride) {
        return View{.data = data,
                    .dtype = DType::f32,
                    .rank = 2,
                    .shape = {r, c},
                    .stride = {r_stride, c_stride}};
      };
      gemm_kernels.gemm(stream, matrix(xf, m, k, k, 1), matrix(expanded.as<float>(), k, rows, 1, k),
                        matrix(product.as<float>(), m, rows, rows, 1), {});
      parallel_for(m, std::max<int64_t>(1, (1 << 14) / rows), [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i)
          finish(i, first, rows, product.as<float>() + i * rows);
      });
    }
  });
}

}  // namespace

const QgemmKernels qgemm_kernels{
    .qgemm = qgemm,
    .qgemm_scaled = qgemm_scaled,
    .weight_only = weight_only,
};

}  // namespace tessera::kernels::cpu
