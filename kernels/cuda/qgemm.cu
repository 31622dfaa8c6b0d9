// Products with quantised operands on tensor cores, for compute capability 8.0 and up: codes by
// codes with exact 32-bit sums (m16n8k32), and numbers by a weight whose codes become floats on
// their way into shared memory: it is read in its low precision, and multiplied as precisely as
// floats are (gemm_tile.cuh).
//
// Floor: 2 m n k operations, or codes and results once. A product of few rows costs what reading
// the weight's codes costs; parts of a long k keep all of a GPU at it.
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/faults.cuh"
#include "tessera/kernels/cuda/gemm_block.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/qgemm_operands.hpp"
#include "tessera/kernels/quantize.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t block_threads = 256;

// ---------------------------------------------------------------- codes by codes

/// How a sum of products of codes becomes a result.
template <class T>
struct Scaled {
  PerRow a_scale, b_scale, a_zero, b_zero;
  const int32_t *a_sums, *b_sums;  // of the codes of rows, null where no zeros are given
  const T* bias;
  T* y;
  int64_t n, k;
  Activation activation;

  TS_DEVICE void store(int64_t row, int64_t column, int32_t sum) const {
    int64_t exact = sum;
    if (a_sums) {
      const auto za = static_cast<int64_t>(a_zero[row]), zb = static_cast<int64_t>(b_zero[column]);
      exact += k * za * zb - zb * a_sums[row] - za * b_sums[column];
    }
    float value = a_scale[row] * b_scale[column] * static_cast<float>(exact);
    if (bias) value += widen(bias[column]);
    y[row * n + column] = narrow<T>(activated(activation, value));
  }
};
struct Exact {
  int32_t* c;
  int64_t n;
  TS_DEVICE void store(int64_t row, int64_t column, int32_t sum) const {
    c[row * n + column] = sum;
  }
};

template <class A>
struct CodeJob {
  const A* a;
  const int8_t* b;
  int32_t* parts;  // [parts, m, n]; null for one part
  int64_t m, n, k, a_stride, b_stride;
  bool a_chunks, b_chunks;
};

template <class A, class B, class Result>
__global__ void __launch_bounds__(B::threads, 256 / B::threads)
    multiply_codes(CodeJob<A> job, ProductCut cut, Result result) {
  using Product = BlockProduct<A, int8_t, int32_t, B, true, true>;
  auto& shared = dynamic_shared<typename Product::Shared>();
  const BlockPlace place(cut, block_index().x);
  const int64_t first_row = place.row * B::extent, first_column = place.column * B::extent;
  Product product(job.m - first_row, job.n - first_column);
  product.multiply(shared, place.count, [&](typename Product::Stage& stage, int64_t i) {
    const int64_t k = (place.begin + i) * tile_bytes;
    stage.a.template load<B::threads>(job.a, job.a_stride, first_row, job.m, k, job.k,
                                      job.a_chunks);
    stage.b.template load<B::threads>(job.b, job.b_stride, first_column, job.n, k, job.k,
                                      job.b_chunks);
  });
  product.write(shared, [&](int i, int j, int32_t sum) {
    const int64_t row = first_row + i, column = first_column + j;
    if (row >= job.m || column >= job.n) return;
    if (job.parts)
      job.parts[(place.part * job.m + row) * job.n + column] = sum;
    else
      result.store(row, column, sum);
  });
}

template <class Sum, class Result>
__global__ void __launch_bounds__(block_threads)
    join_parts(const Sum* parts, int64_t count, int64_t m, int64_t n, Result result) {
  for (int64_t i = first_element(); i < m * n; i += element_step()) {
    Sum sum = parts[i];
    for (int64_t part = 1; part < count; ++part) sum += parts[part * m * n + i];
    result.store(i / n, i % n, sum);
  }
}

template <class Sum, class Result>
void launch_join(Stream& stream, const char* name, const Sum* parts, const ProductCut& cut,
                 int64_t m, int64_t n, const Result& result) {
  launch(stream, {name, {blocks_for(m * n, block_threads)}, {block_threads}},
         join_parts<Sum, Result>, parts, cut.parts, m, n, result);
}

template <class A, class B, class Result>
void launch_codes(Stream& stream, const CodeProduct& p, const Result& result) {
  const ProductCut cut(p.m, p.n, 1, ceil_divide(p.k, tile_bytes), B::extent);
  const Scratch parts = stream.scratch(
      cut.parts > 1 ? static_cast<size_t>(cut.parts * p.m * p.n) * sizeof(int32_t) : 0);
  const auto stride = [](const View& v) { return v.shape[0] > 1 ? v.stride[0] : 0; };
  const CodeJob<A> job{.a = p.a.as<A>(),
                       .b = p.b.as<int8_t>(),
                       .parts = cut.parts > 1 ? parts.as<int32_t>() : nullptr,
                       .m = p.m,
                       .n = p.n,
                       .k = p.k,
                       .a_stride = stride(p.a),
                       .b_stride = stride(p.b),
                       .a_chunks = in_chunks(p.a.as<A>(), stride(p.a)),
                       .b_chunks = in_chunks(p.b.as<int8_t>(), stride(p.b))};
  using Shared = typename BlockProduct<A, int8_t, int32_t, B, true, true>::Shared;
  launch(stream,
         {.name = "qgemm",
          .grid = {cut.blocks()},
          .block = {B::threads},
          .shared_bytes = sizeof(Shared)},
         multiply_codes<A, B, Result>, job, cut, result);
  if (job.parts) launch_join(stream, "qgemm parts", job.parts, cut, p.m, p.n, result);
}

template <class Result>
void multiply(Stream& stream, const CodeProduct& p, const Result& result) {
  const auto launch_for = [&]<class A>() {
    if (ProductCut::wants_large(p.m, p.n, 1))
      launch_codes<A, LargeBlock>(stream, p, result);
    else
      launch_codes<A, SmallBlock>(stream, p, result);
  };
  p.a.dtype == DType::i8 ? launch_for.template operator()<int8_t>()
                         : launch_for.template operator()<uint8_t>();
}

void qgemm(Stream& stream, View a, View b, View c) {
  const CodeProduct p = check_qgemm(a, b, c);
  TS_CHECK(c.dtype == DType::i32, "qgemm: c must be i32, is ", c.dtype);
  if (p.m == 0 || p.n == 0) return;
  multiply(stream, p, Exact{c.as<int32_t>(), p.n});
}

constexpr int64_t zero_limit = 256;

/// A warp per row; also sees to it that the row's zero is a whole number.
template <class A>
__global__ void __launch_bounds__(block_threads)
    sum_rows(const A* codes, int64_t rows, int64_t stride, int64_t k, PerRow zeros, int32_t* sums,
             Finding* finding, int32_t call) {
  for (int64_t row = first_element() / warp_size; row < rows; row += element_step() / warp_size) {
    int32_t sum = 0;
    for (int64_t i = lane_index(); i < k; i += warp_size) sum += codes[row * stride + i];
    sum = warp_reduce(sum, Sum{});
    if (lane_index() != 0) continue;
    sums[row] = sum;
    const float zero = zeros[row];
    const bool within = zero >= -zero_limit && zero <= zero_limit;
    if (!within || zero != static_cast<float>(static_cast<int32_t>(zero)))
      report(finding, call, row, within ? static_cast<int64_t>(zero) : zero_limit + 1, -zero_limit,
             zero_limit + 1);
  }
}

void launch_sums(Stream& stream, const View& codes, const PerRow& zeros, const char* what,
                 int32_t* sums) {
  Faults& faults = stream.resource<Faults>();
  const auto launch_for = [&]<class A>() {
    launch(stream,
           {"qgemm row sums",
            {blocks_for(codes.shape[0] * warp_size, block_threads)},
            {block_threads}},
           sum_rows<A>, codes.as<A>(), codes.shape[0], codes.stride[0], codes.shape[1], zeros, sums,
           faults.finding(), faults.expect(what));
  };
  codes.dtype == DType::i8 ? launch_for.template operator()<int8_t>()
                           : launch_for.template operator()<uint8_t>();
  faults.launched();
}

void qgemm_scaled(Stream& stream, QuantizedView a, QuantizedView b, View y,
                  const QgemmParams& params) {
  TS_CHECK(!a.packed && !b.packed, "qgemm_scaled: packed codes; unpack them first");
  const CodeProduct p = check_qgemm(a.codes, b.codes, y);
  check_bias("qgemm_scaled", params.bias, y);
  const PerRow a_scale("the scale of a", a.scale, p.m, 1.0f),
      b_scale("the scale of b", b.scale, p.n, 1.0f), a_zero("the zero of a", a.zero, p.m, 0.0f),
      b_zero("the zero of b", b.zero, p.n, 0.0f);
  for_output("qgemm_scaled", y.dtype, [&]<class T>() {
    if (p.m == 0 || p.n == 0) return;
    const bool zeros = a.zero || b.zero;
    const Scratch sums =
        stream.scratch(zeros ? static_cast<size_t>(p.m + p.n) * sizeof(int32_t) : 0);
    auto* a_sums = zeros ? sums.as<int32_t>() : nullptr;
    auto* b_sums = zeros ? a_sums + p.m : nullptr;
    if (zeros) {
      constexpr const char* of_a = "qgemm_scaled: the zero of a, a whole number, at row";
      constexpr const char* of_b = "qgemm_scaled: the zero of b, a whole number, at row";
      launch_sums(stream, a.codes, a_zero, of_a, a_sums);
      launch_sums(stream, b.codes, b_zero, of_b, b_sums);
    }
    multiply(stream, p,
             Scaled<T>{a_scale, b_scale, a_zero, b_zero, a_sums, b_sums,
                       params.bias ? params.bias.as<T>() : nullptr, y.as<T>(), p.n, p.k,
                       params.activation});
  });
}

// ---------------------------------------------------------------- weights in low precision

struct Weight {
  const uint8_t* codes;  // bytes, of one code or two
  const float *scale, *zero;
  int64_t k, group, row_bytes;
  int64_t scale_stride;  // between rows of scales; 0 where all rows share one
  bool packed, is_signed;

  TS_DEVICE float code(int64_t row, int64_t at) const {
    const uint8_t byte = codes[row * row_bytes + (packed ? at / 2 : at)];
    if (packed) {
      const int which = static_cast<int>(at % 2);
      return static_cast<float>(is_signed ? unpack_int4(byte, which) : unpack_uint4(byte, which));
    }
    return static_cast<float>(is_signed ? static_cast<int8_t>(byte) : byte);
  }
  /// Elements [at, at + 4) of a row; a group is looked up only where it begins.
  TS_DEVICE Pack<float, 4> values(int64_t row, int64_t at) const {
    Pack<float, 4> out{};
    int64_t of_group = at / group, left = group - at % group;
    float s = 0, z = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (at + i >= k) break;
      if (i == 0 || left == 0) {
        if (left == 0) ++of_group, left = group;
        s = scale[row * scale_stride + of_group];
        z = zero ? zero[row * scale_stride + of_group] : 0;
      }
      --left;
      out.lane[i] = (code(row, at + i) - z) * s;
    }
    return out;
  }
};

/// The same of a row of k numbers.
template <class E>
TS_DEVICE Pack<float, 4> widened(const E* row, int64_t at, int64_t k) {
  Pack<float, 4> out{};
#pragma unroll
  for (int i = 0; i < 4; ++i)
    if (at + i < k) out.lane[i] = widen(row[at + i]);
  return out;
}

template <class E>
struct WeightJob {
  const E* x;
  const E* bias;
  E* y;
  float* parts;
  Weight w;
  int64_t m, n, k;
  Activation activation;

  TS_DEVICE void store(int64_t row, int64_t column, float sum) const {
    if (bias) sum += widen(bias[column]);
    y[row * n + column] = narrow<E>(activated(activation, sum));
  }
};

template <class E, class B>
__global__ void __launch_bounds__(B::threads, 256 / B::threads)
    multiply_weight(WeightJob<E> job, ProductCut cut) {
  using Product = BlockProduct<float, float, float, B, true, true>;
  auto& shared = dynamic_shared<typename Product::Shared>();
  const BlockPlace place(cut, block_index().x);
  const int64_t first_row = place.row * B::extent, first_column = place.column * B::extent;
  Product product(job.m - first_row, job.n - first_column);
  product.multiply(shared, place.count, [&](typename Product::Stage& stage, int64_t i) {
    const int64_t k = (place.begin + i) * tile_depth<float>;
    stage.a.template fill<B::threads>([&](int line, int at) {
      const int64_t row = first_row + line;
      return row < job.m ? widened(job.x + row * job.k, k + at, job.k) : Pack<float, 4>{};
    });
    stage.b.template fill<B::threads>([&](int line, int at) {
      const int64_t row = first_column + line;
      return row < job.n ? job.w.values(row, k + at) : Pack<float, 4>{};
    });
  });
  product.write(shared, [&](int i, int j, float sum) {
    const int64_t row = first_row + i, column = first_column + j;
    if (row >= job.m || column >= job.n) return;
    if (job.parts)
      job.parts[(place.part * job.m + row) * job.n + column] = sum;
    else
      job.store(row, column, sum);
  });
}

template <class E, class B>
void launch_weight(Stream& stream, WeightJob<E> job) {
  const ProductCut cut(job.m, job.n, 1, ceil_divide(job.k, tile_depth<float>), B::extent);
  const Scratch parts = stream.scratch(
      cut.parts > 1 ? static_cast<size_t>(cut.parts * job.m * job.n) * sizeof(float) : 0);
  if (cut.parts > 1) job.parts = parts.as<float>();
  using Shared = typename BlockProduct<float, float, float, B, true, true>::Shared;
  launch(stream,
         {.name = "weight_only_gemm",
          .grid = {cut.blocks()},
          .block = {B::threads},
          .shared_bytes = sizeof(Shared)},
         multiply_weight<E, B>, job, cut);
  if (job.parts) launch_join(stream, "weight_only_gemm parts", job.parts, cut, job.m, job.n, job);
}

void weight_only(Stream& stream, View x, QuantizedView w, View y, const QgemmParams& params) {
  const WeightExtents e = check_weight_only(x, w, y, params);
  for_output("weight_only_gemm", y.dtype, [&]<class E>() {
    if (y.numel() == 0) return;
    const WeightJob<E> job{.x = x.as<E>(),
                           .bias = params.bias ? params.bias.as<E>() : nullptr,
                           .y = y.as<E>(),
                           .parts = nullptr,
                           .w = {.codes = static_cast<const uint8_t*>(w.codes.data),
                                 .scale = w.scale.as<float>(),
                                 .zero = w.zero ? w.zero.as<float>() : nullptr,
                                 .k = e.k,
                                 .group = e.group,
                                 .row_bytes = w.codes.shape[1],
                                 .scale_stride = w.scale.shape[0] == 1 ? 0 : w.scale.shape[1],
                                 .packed = w.packed,
                                 .is_signed = w.packed ? w.is_signed : w.codes.dtype == DType::i8},
                           .m = x.shape[0],
                           .n = e.n,
                           .k = e.k,
                           .activation = params.activation};
    if (ProductCut::wants_large(job.m, job.n, 1))
      launch_weight<E, LargeBlock>(stream, job);
    else
      launch_weight<E, SmallBlock>(stream, job);
  });
}

}  // namespace

extern const QgemmKernels qgemm_kernels{
    .qgemm = qgemm,
    .qgemm_scaled = qgemm_scaled,
    .weight_only = weight_only,
};

}  // namespace tessera::kernels::cuda
