// Reductions over any axes. Floor: x once. Where x's nearest axis is reduced, a group of threads
// walks the terms of each result, in packs where they are dense; where it is kept, neighbouring
// threads have neighbouring results. Few results of many terms are cut into chunks, whose partial
// results a second kernel puts together. Extents alone decide who adds what in which order, so the
// bits are always the same; sums of threads are in the compute type, those of chunks in double. The
// sums of a chunk lie where those that put them together read them, a sector per result: beside 256
// rows of 256, 1.01 to 1.03 of the ideal sectors.
#include "tessera/kernels/cuda/reduce.cuh"

#include <type_traits>

#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/elements.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/reduce_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

/// A reduction of elements S to a number: what a thread, a chunk and a result hold.
template <ReduceOp op, class S>
struct ToNumber {
  using C = compute_t<S>;
  using Value = C;
  using Partial = std::conditional_t<std::is_floating_point_v<C>, double, C>;
  using Result = S;
  using Chunks = ToNumber<Reducer<op>::sums ? ReduceOp::sum : op, S>;

  template <class V>
  TS_DEVICE static V identity() {
    return Reducer<op>::template identity<V>();
  }
  TS_DEVICE static Value term(C x, int64_t) { return Reducer<op>::term(x); }
  template <class V>
  TS_DEVICE V operator()(V a, V b) const {
    return Reducer<op>::combine(a, b);
  }
  TS_DEVICE static Result result(Partial x, double divisor) {
    if constexpr (std::is_floating_point_v<C>)
      return narrow<S>(static_cast<C>(x / divisor));
    else
      return x;
  }
};

/// To the number of the first extreme term; NaN is the extreme.
template <bool largest, class S>
struct ToIndex {
  using C = compute_t<S>;
  struct Value {
    C value;
    int64_t index;
  };
  using Partial = Value;
  using Result = int64_t;
  using Chunks = ToIndex;

  template <class V>
  TS_DEVICE static V identity() {
    return {Reducer < largest ? ReduceOp::maximum : ReduceOp::minimum > ::template identity<C>(),
            std::numeric_limits<int64_t>::max()};
  }
  TS_DEVICE static Value term(C x, int64_t number) { return {x, number}; }
  TS_DEVICE Value operator()(Value a, Value b) const {
    const bool a_nan = functors::is_nan(a.value), b_nan = functors::is_nan(b.value);
    const bool equal = a.value == b.value || (a_nan && b_nan);
    if (equal) return a.index < b.index ? a : b;
    if (a_nan || b_nan) return a_nan ? a : b;
    return (largest ? a.value > b.value : a.value < b.value) ? a : b;
  }
  TS_DEVICE static Result result(Partial x, double) { return x.index; }
};

/// One launch: results and the terms of each. Chunks are numbered over all launches.
struct Reduction {
  Elements results;  // operands y and x: where a result goes and where its terms begin
  Elements terms;    // operand x: where they lie from there
  uint32_t numbers;  // of packs or elements among the terms
  uint32_t chunk, chunks;
  uint32_t first_chunk, all_chunks;
  uint32_t group;  // threads that share a result (rows), or whose results are neighbours (columns)
  void* partial;   // [results, all_chunks]; null where one chunk is all
  double divisor;
};

template <class K>
TS_DEVICE void put(const Reduction& r, int64_t y_at, uint32_t result, uint32_t chunk,
                   typename K::Partial value) {
  if (r.partial)
    static_cast<typename K::Partial*>(
        r.partial)[int64_t{result} * r.all_chunks + r.first_chunk + chunk] = value;
  else
    r.results.as<typename K::Result>(0)[y_at] = K::result(value, r.divisor);
}

/// Combines the packs or elements [begin, end) that lie `step` apart.
template <class K, class S>
TS_DEVICE typename K::Partial combine_terms(const Elements& terms, const S* x, uint32_t begin,
                                            uint32_t end, uint32_t step) {
  constexpr int n = pack_length<S>;
  typename K::Value value = K::template identity<typename K::Value>();
  int64_t at[1];
  if (!terms.packed) {
    for (uint32_t i = begin; i < end; i += step) {
      terms.locate(i, at);
      value = K{}(value, K::term(widen(x[at[0]]), i));
    }
    return value;
  }
  typename K::Value values[n];
#pragma unroll
  for (int j = 0; j < n; ++j) values[j] = value;
  for (uint32_t i = begin; i < end; i += step) {
    terms.locate(i, at);
    const uint32_t count = terms.size - i * n;
    const Pack<S, n> pack = load_pack<S, n>(x + at[0], count);
#pragma unroll
    for (uint32_t j = 0; j < n; ++j)
      if (j < count) values[j] = K{}(values[j], K::term(widen(pack.lane[j]), int64_t{i} * n + j));
  }
  typename K::Partial all = values[0];
#pragma unroll
  for (int j = 1; j < n; ++j) all = K{}(all, static_cast<typename K::Partial>(values[j]));
  return all;
}

/// A group of threads (a power of two of lanes, or the block) per chunk of a result.
template <class K, class S>
__global__ void __launch_bounds__(element_threads, 3) reduce_rows(Reduction r) {
  using Partial = typename K::Partial;
  struct Shared {
    Partial warps[element_threads / warp_size];
  };
  Shared& shared = static_shared<Shared>();
  const uint32_t lane = thread_index().x % r.group, group = thread_index().x / r.group;
  const int64_t groups = element_threads / r.group, jobs = int64_t{r.results.size} * r.chunks;
  for (int64_t first = block_index().x * groups; first < jobs; first += grid_size().x * groups) {
    const int64_t job = first + group;
    const auto result = static_cast<uint32_t>(job / r.chunks),
               chunk = static_cast<uint32_t>(job % r.chunks);
    Partial value = K::template identity<Partial>();
    int64_t at[2];
    if (job < jobs) {
      r.results.locate(result, at);
      const uint32_t begin = chunk * r.chunk;
      const uint32_t end = r.numbers - begin < r.chunk ? r.numbers : begin + r.chunk;
      value =
          combine_terms<K>(r.terms, r.results.as<const S>(1) + at[1], begin + lane, end, r.group);
    }
    value = warp_reduce(value, K{}, r.group < warp_size ? r.group : warp_size);
    if (r.group > warp_size) {
      if (lane_index() == 0) shared.warps[warp_index()] = value;
      sync_block();
      if (lane == 0)
        for (uint32_t w = 1; w < element_threads / warp_size; ++w)
          value = K{}(value, shared.warps[w]);
      sync_block();
    }
    if (job < jobs && lane == 0) put<K>(r, at[0], result, chunk, value);
  }
}

/// Threads of a group have neighbouring results; the groups of a block share a chunk of their
/// terms.
template <class K, class S>
__global__ void __launch_bounds__(element_threads, 3) reduce_columns(Reduction r) {
  using Partial = typename K::Partial;
  struct Shared {
    Partial values[element_threads];
  };
  Shared& shared = static_shared<Shared>();
  const uint32_t lane = thread_index().x % r.group, group = thread_index().x / r.group;
  const uint32_t groups = element_threads / r.group;
  const int64_t jobs = ceil_divide(r.results.size, r.group) * r.chunks;
  for (int64_t job = block_index().x; job < jobs; job += grid_size().x) {
    const auto result = static_cast<uint32_t>(job / r.chunks) * r.group + lane,
               chunk = static_cast<uint32_t>(job % r.chunks);
    auto value = K::template identity<typename K::Value>();
    int64_t at[2], term[1];
    if (result < r.results.size) {
      r.results.locate(result, at);
      const S* x = r.results.as<const S>(1) + at[1];
      const uint32_t begin = chunk * r.chunk;
      const uint32_t end = r.numbers - begin < r.chunk ? r.numbers : begin + r.chunk;
      if (r.terms.rank == 1) {  // apart, so that loads need not wait for each other
        const int64_t stride = r.terms.stride[0][0];
#pragma unroll 4
        for (uint32_t i = begin + group; i < end; i += groups)
          value = K{}(value, K::term(widen(x[i * stride]), i));
      } else {
        for (uint32_t i = begin + group; i < end; i += groups) {
          r.terms.locate(i, term);
          value = K{}(value, K::term(widen(x[term[0]]), i));
        }
      }
    }
    shared.values[thread_index().x] = value;
    sync_block();
    if (group == 0 && result < r.results.size) {
      Partial all = value;
      for (uint32_t g = 1; g < groups; ++g) all = K{}(all, shared.values[g * r.group + lane]);
      put<K>(r, at[0], result, chunk, all);
    }
    sync_block();
  }
}

/// A warp per result puts its chunks together.
template <class K>
__global__ void __launch_bounds__(element_threads)
    join_chunks(Elements results, const typename K::Partial* partial, uint32_t chunks,
                double divisor) {
  using Partial = typename K::Partial;
  for (uint32_t result = static_cast<uint32_t>(first_element() / warp_size); result < results.size;
       result += static_cast<uint32_t>(element_step() / warp_size)) {
    Partial value = K::template identity<Partial>();
    for (uint32_t c = lane_index(); c < chunks; c += warp_size)
      value = K{}(value, partial[int64_t{result} * chunks + c]);
    value = warp_reduce(value, K{});
    int64_t at[1];
    results.locate(result, at);
    if (lane_index() == 0) results.as<typename K::Result>(0)[at[0]] = K::result(value, divisor);
  }
}

template <class K>
void launch_join(Stream& stream, const char* name, const Elements& results, const Scratch& partial,
                 uint32_t chunks, double divisor) {
  launch(stream, {name, {blocks_for(results.size, element_threads / warp_size)}, {element_threads}},
         join_chunks<typename K::Chunks>, results, partial.as<typename K::Partial>(), chunks,
         divisor);
}

// ---------------------------------------------------------------- how to go about it

constexpr uint32_t wanted_blocks = 1024;

/// Sizes of groups and chunks.
void plan(Reduction& r, bool rows) {
  uint32_t blocks = 0, least = 0;  // blocks without chunks, and numbers worth a chunk
  if (rows) {
    r.group = 1;
    while (r.group < warp_size && r.group < r.numbers) r.group *= 2;
    if (r.numbers > 8 * warp_size) r.group = element_threads;
    blocks = static_cast<uint32_t>(ceil_divide(r.results.size, element_threads / r.group));
    least = 8 * r.group;
  } else {
    r.group = 4;
    while (r.group < warp_size && r.group < r.results.size) r.group *= 2;
    blocks = static_cast<uint32_t>(ceil_divide(r.results.size, r.group));
    least = 16 * element_threads / r.group;
  }
  const int64_t most = std::max<int64_t>(1, wanted_blocks / blocks);
  r.chunk = static_cast<uint32_t>(std::max<int64_t>(ceil_divide(r.numbers, most), least));
  r.chunks = static_cast<uint32_t>(ceil_divide(r.numbers, r.chunk));
}

/// The dimensions of v that are reduced, or the others; of the shape `x`.
View dimensions(const View& v, const View& x, const View& y, bool reduced) {
  View part{.data = v.data, .dtype = v.dtype};
  for (int d = 0; d < x.rank; ++d) {
    if ((x.shape[d] != y.shape[d]) != reduced) continue;
    part.shape[part.rank] = x.shape[d];
    part.stride[part.rank++] = v.stride[d];
  }
  return part;
}

/// y = the reduction K of x over the axes where their extents differ.
template <class K, class S>
void reduce_as(Stream& stream, const char* name, const View& x, const View& y, double divisor) {
  constexpr int n = pack_length<S>;
  const View kept_x = dimensions(x, x, y, false), kept_y = dimensions(y, x, y, false),
             reduced_x = dimensions(x, x, y, true);
  // in the order of x, whose elements are the many
  const std::vector<Elements> results = cut_elements({&kept_y, 1}, kept_x, 1);
  if (x.numel() == 0) {
    const Scratch none = stream.scratch(0);
    for (const Elements& part : cut_elements({}, y, 1))
      launch_join<K>(stream, name, part, none, 0, divisor);
    return;
  }
  for (const Elements& part : results) {
    std::vector<Elements> terms = cut_elements({}, reduced_x, n);
    bool packed = terms[0].packed;
    for (int d = 0; d < part.rank; ++d) packed = packed && part.stride[1][d] % n == 0;
    if (!packed) {
      terms = cut_elements({}, reduced_x, 1);
      for (Elements& t : terms) t.packed = false;
    }
    const bool rows =
        packed || part.size == 1 || std::abs(terms[0].stride[0][0]) < std::abs(part.stride[1][0]);
    std::vector<Reduction> launches;
    uint32_t chunks = 0;
    for (const Elements& t : terms) {
      Reduction& r = launches.emplace_back();
      r.results = part;
      r.terms = t;
      r.numbers = packed ? static_cast<uint32_t>(ceil_divide(t.size, n)) : t.size;
      r.divisor = divisor;
      plan(r, rows);
      r.first_chunk = chunks;
      chunks += r.chunks;
    }
    const Scratch partial =
        stream.scratch(chunks == 1 ? 0 : size_t{part.size} * chunks * sizeof(typename K::Partial));
    for (Reduction& r : launches) {
      r.all_chunks = chunks;
      r.partial = chunks == 1 ? nullptr : partial.as<void>();
      const int64_t jobs =
          rows ? ceil_divide(int64_t{part.size} * r.chunks, element_threads / r.group)
               : ceil_divide(part.size, r.group) * r.chunks;
      launch(stream, {name, {blocks_for(jobs, 1)}, {element_threads}},
             rows ? reduce_rows<K, S> : reduce_columns<K, S>, r);
    }
    if (chunks > 1) launch_join<K>(stream, name, part, partial, chunks, divisor);
  }
}

void reduce(Stream& stream, ReduceOp op, View x, View y) {
  check_reduce(op, x, y);
  if (y.numel() == 0) return;
  const double mean_of = static_cast<double>(x.numel()) / static_cast<double>(y.numel());
  for_computed(x.dtype, "reduce", [&]<class S>() {
    if constexpr (std::is_same_v<S, bool>) {
      if (op == ReduceOp::any)
        reduce_as<ToNumber<ReduceOp::any, uint8_t>, uint8_t>(stream, "any", x, y, 1);
      else
        reduce_as<ToNumber<ReduceOp::all, uint8_t>, uint8_t>(stream, "all", x, y, 1);
    } else {
      switch (op) {
        case ReduceOp::sum:
          return reduce_as<ToNumber<ReduceOp::sum, S>, S>(stream, "sum", x, y, 1);
        case ReduceOp::mean:
          return reduce_as<ToNumber<ReduceOp::sum, S>, S>(stream, "mean", x, y, mean_of);
        case ReduceOp::product:
          return reduce_as<ToNumber<ReduceOp::product, S>, S>(stream, "product", x, y, 1);
        case ReduceOp::maximum:
          return reduce_as<ToNumber<ReduceOp::maximum, S>, S>(stream, "maximum", x, y, 1);
        case ReduceOp::minimum:
          return reduce_as<ToNumber<ReduceOp::minimum, S>, S>(stream, "minimum", x, y, 1);
        case ReduceOp::sum_of_squares:
          return reduce_as<ToNumber<ReduceOp::sum_of_squares, S>, S>(stream, "sum_of_squares", x, y,
                                                                     1);
        case ReduceOp::sum_of_abs:
          return reduce_as<ToNumber<ReduceOp::sum_of_abs, S>, S>(stream, "sum_of_abs", x, y, 1);
        default:
          return;
      }
    }
  });
}

template <bool largest>
void arg_extreme(Stream& stream, const char* name, View x, int axis, View y) {
  check_arg_extreme(name, x, axis, y);
  if (y.numel() == 0) return;
  TS_CHECK(x.shape[axis] < INT32_MAX, name, ": ", x.shape[axis], " elements along axis ", axis,
           " are more than 32-bit numbers count");
  if (x.dtype == DType::bool_) x.dtype = DType::u8;
  for_computed(x.dtype, name, [&]<class S>() {
    if constexpr (!std::is_same_v<S, bool>)
      reduce_as<ToIndex<largest, S>, S>(stream, name, x, y, 1);
  });
}
void argmax(Stream& s, View x, int axis, View y) { arg_extreme<true>(s, "argmax", x, axis, y); }
void argmin(Stream& s, View x, int axis, View y) { arg_extreme<false>(s, "argmin", x, axis, y); }

// ---------------------------------------------------------------- dot

/// A block per chunk of elements.
template <class S>
__global__ void __launch_bounds__(element_threads, 3)
    dot_chunks(const S* x0, const S* x1, int64_t n, int64_t chunk, bool packed, double* partial) {
  using C = compute_t<S>;
  constexpr int length = pack_length<S>;
  struct Shared {
    C warps[element_threads / warp_size];
  };
  const int64_t begin = block_index().x * chunk, end = n - begin < chunk ? n : begin + chunk;
  C sum = 0;
  int64_t i = begin + thread_index().x * length;
  for (; packed && i + length <= end; i += element_threads * length) {
    const Pack<S, length> a = load_pack<S, length>(x0 + i, length),
                          b = load_pack<S, length>(x1 + i, length);
#pragma unroll
    for (int j = 0; j < length; ++j) sum = functors::fma(widen(a.lane[j]), widen(b.lane[j]), sum);
  }
  for (; i < end; i += element_threads * length)
    for (int64_t j = i; j < i + length && j < end; ++j)
      sum = functors::fma(widen(x0[j]), widen(x1[j]), sum);
  sum = block_reduce(sum, Sum{}, static_shared<Shared>().warps);
  if (thread_index().x == 0) partial[block_index().x] = sum;
}

void dot(Stream& stream, View x0, View x1, View y) {
  check_dot(x0, x1, y);
  const int64_t n = x0.numel();
  const int64_t chunk = std::max<int64_t>(
      16384, ceil_divide(ceil_divide(n, wanted_blocks), element_threads) * element_threads);
  const int64_t chunks = ceil_divide(n, chunk);
  const Scratch partial = stream.scratch(static_cast<size_t>(chunks) * sizeof(double));
  if (n > 0)
    for_float(x0.dtype, "dot", [&]<class S>() {
      const bool packed = aligned(x0.data, 16) && aligned(x1.data, 16);
      launch(stream, {"dot", {static_cast<uint32_t>(chunks)}, {element_threads}}, dot_chunks<S>,
             x0.as<S>(), x1.as<S>(), n, chunk, packed, partial.as<double>());
    });
  launch_join<ToNumber<ReduceOp::sum, double>>(stream, "dot", cut_elements({}, y, 1)[0], partial,
                                               static_cast<uint32_t>(chunks), 1);
}

}  // namespace

extern const ReduceKernels reduce_kernels{
    .reduce = reduce,
    .argmax = argmax,
    .argmin = argmin,
    .dot = dot,
    .cumulative_sum = cumulative_sum,
};

}  // namespace tessera::kernels::cuda
