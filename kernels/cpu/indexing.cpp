// Selection by index. Sums over equal indices are products with a sparse matrix of ones:
// scatter_add groups the positions by index and leaves the sums to the spmm family.
#include "tessera/kernels/indexing.hpp"

#include <algorithm>
#include <cstring>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/grouping.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/select.hpp"
#include "tessera/kernels/cpu/simd.hpp"
#include "tessera/kernels/indexing_operands.hpp"
#include "tessera/kernels/spmm.hpp"

namespace tessera::kernels::cpu {
namespace {

/// Throws, naming the first position at fault, unless lowest <= index < limit everywhere.
template <class I>
void check_indices(std::string_view operation, const I* index, int64_t count, int64_t lowest,
                   int64_t limit) {
  const int64_t blocks = (count + (1 << 15) - 1) >> 15;
  parallel_blocks(blocks, [&](int64_t b) {
    const int64_t begin = b << 15, end = std::min(count, begin + (1 << 15));
    bool good = true;
    for (int64_t k = begin; k < end; ++k) good &= (index[k] >= lowest) & (index[k] < limit);
    if (good) [[likely]]
      return;
    for (int64_t k = begin; k < end; ++k)
      TS_CHECK(index[k] >= lowest && index[k] < limit, operation, ": index ", k, " is ", index[k],
               ", outside [", lowest, ", ", limit, ")");
  });
}

void gather(Stream&, View x, View index, View y) {
  check_gather(x, index, y);
  const int64_t width = x.shape[1], grain = 1 + (1 << 14) / std::max<int64_t>(width, 1);
  for_index(index.dtype, "gather", [&]<class I>() {
    const I* rows = index.as<I>();
    check_indices("gather", rows, y.shape[0], 0, x.shape[0]);
    for_bits(x.dtype, [&]<class S>() {
      parallel_for(y.shape[0], grain, [&](int64_t first, int64_t last) {
        if (width == 1) {
          for (int64_t k = first; k < last; ++k)
            y.as<S>()[k * y.stride[0]] = x.as<S>()[rows[k] * x.stride[0]];
          return;
        }
        if constexpr (masked_memory && sizeof(S) == sizeof(float)) {
          if (width <= Vec<float>::width) {  // a call per row would cost more than the row
            for (int64_t k = first; k < last; ++k) {
              if (k + 16 < last) __builtin_prefetch(x.as<S>() + rows[k + 16] * x.stride[0]);
              store(y.as<float>() + k * y.stride[0],
                    load(x.as<float>() + rows[k] * x.stride[0], width), width);
            }
            return;
          }
        }
        for (int64_t k = first; k < last; ++k) {
          if (k + 4 < last) __builtin_prefetch(x.as<S>() + rows[k + 4] * x.stride[0]);
          std::copy_n(x.as<S>() + rows[k] * x.stride[0], width, y.as<S>() + k * y.stride[0]);
        }
      });
    });
  });
}

void scatter_add(Stream& stream, View x, View index, View y) {
  check_scatter_add(x, index, y);
  const int64_t count = x.shape[0], n = y.shape[0];
  const Scratch start = stream.scratch(static_cast<size_t>(n + 1) * sizeof(int32_t));
  const Scratch order = stream.scratch(static_cast<size_t>(count) * sizeof(int32_t));
  for_index(index.dtype, "scatter_add", [&]<class I>() {
    check_indices("scatter_add", index.as<I>(), count, 0, n);
    group_positions(stream, index.as<I>(), count, n, start.as<int32_t>(), order.as<int32_t>());
  });
  spmm_kernels.spmm(stream, {n, count, count, start.as<int32_t>(), order.as<int32_t>()}, x, y,
                    {.beta = 1});
}

/// body(chosen position, full position) for all index >= 0; each line along the axis belongs to one
/// thread and is walked in order.
template <class I, class Body>
void for_each_along(const Along& along, const I* index, Body&& body) {
  constexpr int64_t piece = 64;  // of the inner extent
  const Along a = along;
  const int64_t pieces = (a.inner + piece - 1) / piece;
  const int64_t grain = 1 + (1 << 13) / std::max<int64_t>(a.chosen * std::min(a.inner, piece), 1);
  parallel_for(a.outer * pieces, grain, [=, &body](int64_t first, int64_t last) {
    for (int64_t line = first; line < last; ++line) {
      const int64_t o = line / pieces, begin = line % pieces * piece,
                    end = std::min(begin + piece, a.inner);
      for (int64_t k = 0; k < a.chosen; ++k)
        for (int64_t i = begin; i < end; ++i) {
          const int64_t from = (o * a.chosen + k) * a.inner + i;
          if (index[from] >= 0) body(from, (o * a.full + index[from]) * a.inner + i);
        }
    }
  });
}

void take_along(Stream&, View x, int axis, View index, View y) {
  const Along along = check_along("take_along", x, axis, index, y);
  for_index(index.dtype, "take_along", [&]<class I>() {
    check_indices("take_along", index.as<I>(), index.numel(), -1, along.full);
    for_bits(x.dtype, [&]<class S>() {
      S* to = y.as<S>();
      const S* from = x.as<S>();
      const I* at = index.as<I>();
      parallel_for(index.numel(), 1 << 14, [&](int64_t first, int64_t last) {
        for (int64_t k = first; k < last; ++k)
          if (at[k] < 0) to[k] = S{0};
      });
      for_each_along(along, at, [=](int64_t chosen, int64_t full) { to[chosen] = from[full]; });
    });
  });
}

void add_along(Stream& stream, View x, int axis, View index, View y) {
  const Along along = check_along("add_along", y, axis, index, x);
  for_index(index.dtype, "add_along", [&]<class I>() {
    check_indices("add_along", index.as<I>(), index.numel(), -1, along.full);
    for_float(x.dtype, "add_along", [&]<class T>() {
      using C = compute_t<T>;
      const T* from = x.as<T>();
      T* to = y.as<T>();
      if constexpr (std::is_same_v<T, C>) {
        for_each_along(along, index.as<I>(),
                       [=](int64_t chosen, int64_t full) { to[full] += from[chosen]; });
      } else {
        const int64_t n = y.numel();
        const Scratch scratch = stream.scratch(static_cast<size_t>(n) * sizeof(C));
        C* sums = scratch.as<C>();
        parallel_for(n, 1 << 14, [&](int64_t first, int64_t last) {
          for (int64_t i = first; i < last; ++i) sums[i] = to[i];
        });
        for_each_along(along, index.as<I>(),
                       [=](int64_t chosen, int64_t full) { sums[full] += C(from[chosen]); });
        parallel_for(n, 1 << 14, [&](int64_t first, int64_t last) {
          for (int64_t i = first; i < last; ++i) to[i] = T(sums[i]);
        });
      }
    });
  });
}

void put_along(Stream&, View x, int axis, View index, View y) {
  const Along along = check_along("put_along", y, axis, index, x);
  for_index(index.dtype, "put_along", [&]<class I>() {
    check_indices("put_along", index.as<I>(), index.numel(), 0, along.full);
    for_bits(x.dtype, [&]<class S>() {
      for_each_along(along, index.as<I>(),
                     [to = y.as<S>(), from = x.as<S>()](int64_t chosen, int64_t full) {
                       to[full] = from[chosen];
                     });
    });
  });
}

void one_hot(Stream&, View index, View y) {
  check_one_hot(index, y);
  const int64_t count = index.numel(), classes = y.shape[index.rank];
  for_index(index.dtype, "one_hot", [&]<class I>() {
    const I* at = index.as<I>();
    check_indices("one_hot", at, count, 0, classes);
    for_computed(y.dtype, "one_hot", [&]<class T>() {
      parallel_for(count, 1 + (1 << 14) / std::max<int64_t>(classes, 1),
                   [&](int64_t first, int64_t last) {
                     std::memset(y.as<T>() + first * classes, 0,
                                 static_cast<size_t>((last - first) * classes) * sizeof(T));
                     for (int64_t k = first; k < last; ++k)
                       y.as<T>()[k * classes + at[k]] = static_cast<T>(1.0f);
                   });
    });
  });
}

void top_k(Stream& stream, View x, bool largest, View values, View index) {
  check_top_k(x, values, index);
  const int64_t n = x.shape[x.rank - 1], k = values.shape[x.rank - 1];
  if (k == 0) return;
  const int64_t rows = x.numel() / n;
  const int64_t pieces = std::min<int64_t>(max_threads(), 1 + rows * n / (1 << 14));
  const Scratch scratch =
      stream.scratch(k <= 64 ? 0 : static_cast<size_t>(pieces * n) * sizeof(int64_t));
  for_computed(x.dtype, "top_k", [&]<class T>() {
    parallel_blocks(pieces, [&](int64_t piece) {
      for (int64_t r = rows * piece / pieces; r < rows * (piece + 1) / pieces; ++r) {
        const T* from = x.as<T>() + r * n;
        T* to = values.as<T>() + r * k;
        int64_t* at = index.as<int64_t>() + r * k;
        int64_t* order = scratch.as<int64_t>() + piece * n;
        if (largest)
          top_k_row<T, true>(from, n, k, to, at, order);
        else
          top_k_row<T, false>(from, n, k, to, at, order);
      }
    });
  });
}

void nonzero(Stream& stream, View mask, View index, View count) {
  check_nonzero(mask, index, count);
  constexpr int64_t size = 1 << 14;
  const int64_t n = mask.shape[0], blocks = (n + size - 1) / size;
  const bool* set = mask.as<bool>();
  const Scratch scratch = stream.scratch(static_cast<size_t>(blocks + 1) * sizeof(int64_t));
  int64_t* start = scratch.as<int64_t>();
  start[0] = 0;
  parallel_for(blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b)
      start[b + 1] = std::count(set + b * size, set + std::min(n, (b + 1) * size), true);
  });
  for (int64_t b = 0; b < blocks; ++b) start[b + 1] += start[b];
  parallel_for(blocks, 1, [&](int64_t first, int64_t last) {
    for (int64_t b = first; b < last; ++b) {
      int64_t* to = index.as<int64_t>() + start[b];
      for (int64_t i = b * size; i < std::min(n, (b + 1) * size); ++i)
        if (set[i]) *to++ = i;
    }
  });
  *count.as<int64_t>() = start[blocks];
}

}  // namespace

const IndexingKernels indexing_kernels{
    .gather = gather,
    .scatter_add = scatter_add,
    .take_along = take_along,
    .add_along = add_along,
    .put_along = put_along,
    .one_hot = one_hot,
    .top_k = top_k,
    .nonzero = nonzero,
};

}  // namespace tessera::kernels::cpu
