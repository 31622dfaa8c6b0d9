// Products of codes by codes on tensor cores with exact 32-bit sums: m16n8k32 for compute
// capability 8.0 and up, warp groups for large ones where the GPU has them. Products of numbers by
// codes are in qgemm_weight.cu.
//
// Floor: 2 m n k operations, or codes and results once.
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/faults.cuh"
#include "tessera/kernels/cuda/gemm_warpgroup.cuh"
#include "tessera/kernels/cuda/qgemm.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/qgemm_operands.hpp"

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

  bool in_chunks() const { return aligned(y, chunk_bytes); }
  /// Whether four results make up 16 bytes, or eight.
  TS_DEVICE static constexpr bool wide() { return sizeof(T) == 4; }
  TS_DEVICE void operator()(int64_t i, int32_t sum) const { store(i / n, i % n, sum); }
  TS_DEVICE void store(int64_t row, int64_t column, int32_t sum) const {
    y[row * n + column] = value(row, column, sum);
  }
  /// As many columns as 16 bytes hold; n is a multiple of 8.
  template <int count>
  TS_DEVICE void store(int64_t row, int64_t column, const Pack<int32_t, count>& sums) const {
    Pack<T, count> out;
#pragma unroll
    for (int i = 0; i < count; ++i) out.lane[i] = value(row, column + i, sums.lane[i]);
    store_vector(reinterpret_cast<Pack<T, count>*>(y + row * n + column), out);
  }
  TS_DEVICE T value(int64_t row, int64_t column, int32_t sum) const {
    int64_t exact = sum;
    if (a_sums) {
      const auto za = static_cast<int64_t>(a_zero[row]), zb = static_cast<int64_t>(b_zero[column]);
      exact += k * za * zb - zb * a_sums[row] - za * b_sums[column];
    }
    float x = a_scale[row] * b_scale[column] * static_cast<float>(exact);
    if (bias) x += widen(bias[column]);
    return narrow<T>(activated(activation, x));
  }
};
struct Exact {
  int32_t* c;
  int64_t n;
  bool in_chunks() const { return aligned(c, chunk_bytes); }
  TS_DEVICE static constexpr bool wide() { return true; }
  TS_DEVICE void operator()(int64_t i, int32_t sum) const { c[i] = sum; }
  TS_DEVICE void store(int64_t row, int64_t column, int32_t sum) const {
    c[row * n + column] = sum;
  }
  TS_DEVICE void store(int64_t row, int64_t column, const Pack<int32_t, 4>& sums) const {
    store_vector(reinterpret_cast<Pack<int32_t, 4>*>(c + row * n + column), sums);
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

/// Large products, where the GPU has warp groups.
template <class Result>
struct StoreWithin {
  const Result& result;
  int64_t m, n;

  TS_DEVICE static constexpr bool wide() { return Result::wide(); }
  template <int count>
  TS_DEVICE void operator()(int64_t, int64_t row, int64_t column,
                            const Pack<int32_t, count>& sums) const {
    if constexpr (count == (wide() ? 4 : 8))
      if (row < m && column < n) result.store(row, column, sums);
  }
};
template <class A, int columns, class Result>
__global__ void __launch_bounds__(3 * 128, 1)
    multiply_codes_by_warpgroups(const __grid_constant__ TensorMap a,
                                 const __grid_constant__ TensorMap b, int64_t m, int64_t n,
                                 WarpgroupCut cut, Result result) {
  using Product = WarpgroupProduct<A, int8_t, int32_t, columns, true, true>;
  Product::run(dynamic_shared<typename Product::Shared>(), a, b, {}, cut,
               StoreWithin<Result>{result, m, n});
}

template <class A, int columns, class Result>
bool launch_warpgroups(Stream& stream, const CodeProduct& p, const Result& result) {
  using Product = WarpgroupProduct<A, int8_t, int32_t, columns, true, true>;
  const A* a = p.a.as<A>();
  const int8_t* b = p.b.as<int8_t>();
  if (!has_warpgroups(stream) || p.k == 0 || p.n % 8 != 0 ||
      !WarpgroupCut::pays(p.m, p.n, 1, columns) || !result.in_chunks() ||
      !in_chunks(a, p.a.stride[0]) || !in_chunks(b, p.b.stride[0]))
    return false;
  const WarpgroupCut cut(p.m, p.n, 1, ceil_divide(p.k, Product::depth), columns);
  launch(stream,
         {.name = "qgemm",
          .grid = {cut.blocks()},
          .block = {Product::threads},
          .shared_bytes = sizeof(typename Product::Shared),
          .cluster = {2}},
         multiply_codes_by_warpgroups<A, columns, Result>,
         group_map("qgemm", a, true, p.m, p.k, p.a.stride[0], 1, 0),
         group_map("qgemm", b, true, p.n, p.k, p.b.stride[0], 1, 0), p.m, p.n, cut, result);
  return true;
}

template <class A, class B, class Result>
void launch_codes(Stream& stream, const CodeProduct& p, const Result& result) {
  const auto stride = [](const View& v) { return v.shape[0] > 1 ? v.stride[0] : 0; };
  const CodeJob<A> job{.a = p.a.as<A>(),
                       .b = p.b.as<int8_t>(),
                       .parts = nullptr,
                       .m = p.m,
                       .n = p.n,
                       .k = p.k,
                       .a_stride = stride(p.a),
                       .b_stride = stride(p.b),
                       .a_chunks = in_chunks(p.a.as<A>(), stride(p.a)),
                       .b_chunks = in_chunks(p.b.as<int8_t>(), stride(p.b))};
  using Shared = typename BlockProduct<A, int8_t, int32_t, B, true, true>::Shared;
  launch_product(
      stream, {"qgemm", "qgemm parts"},
      ProductCut("qgemm", p.m, p.n, 1, ceil_divide(p.k, tile_bytes), B::extent), B::threads,
      sizeof(Shared), job, [&](const CodeJob<A>&) { return result; }, multiply_codes<A, B, Result>,
      result);
}

template <class Result>
void multiply(Stream& stream, const CodeProduct& p, const Result& result) {
  const auto launch_for = [&]<class A>() {
    if (launch_warpgroups<A, 256>(stream, p, result) ||
        launch_warpgroups<A, 128>(stream, p, result))
      return;
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

}  // namespace

extern const QgemmKernels qgemm_kernels{
    .qgemm = qgemm,
    .qgemm_scaled = qgemm_scaled,
    .weight_only = weight_only_gemm,
};

}  // namespace tessera::kernels::cuda
