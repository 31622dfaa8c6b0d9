#include "tessera/kernels/cpu/reduce.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/reduce_space.hpp"
#include "tessera/kernels/cpu/simd_math.hpp"
#include "tessera/kernels/reduce_operands.hpp"

// Sums are taken in three stages whose extents depend on the shape alone, never on the threads:
// runs of at most 4096 elements (or 256 rows of columns) in the compute type, chunks of runs in
// `Wide`, and chunks in `Wide`, in order. Only chunks are spread over threads.

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t run_rows = 256, tile_columns = 1024;
constexpr int64_t chunk_elements = 65536;

// --- runs and rows ---

/// The first n lanes from memory, the others `rest`.
template <class S>
Vec<compute_t<S>> load_or(const S* p, int64_t n, compute_t<S> rest) {
  compute_t<S> buffer[Vec<compute_t<S>>::width];
  store(buffer, load(p, n));
  std::fill(buffer + n, buffer + Vec<compute_t<S>>::width, rest);
  return load(buffer);
}

template <class R, class T>
T across_lanes(Vec<T> x) {
  if constexpr (R::sums) return horizontal_sum(x);
  T result = x[0];
  for (int i = 1; i < Vec<T>::width; ++i) result = R::combine(result, x[i]);
  return result;
}

/// One run of contiguous elements.
template <class R, class S>
Wide<S> reduce_run(const S* x, int64_t n) {
  using T = compute_t<S>;
  if constexpr (std::is_floating_point_v<T>) {
    constexpr int64_t width = Vec<T>::width;
    Vec<T> a = R::template identity<T>(), b = a, c = a, d = a;
    int64_t i = 0;
    for (; i + 4 * width <= n; i += 4 * width) {
      a = R::combine(a, R::term(load(x + i)));
      b = R::combine(b, R::term(load(x + i + width)));
      c = R::combine(c, R::term(load(x + i + 2 * width)));
      d = R::combine(d, R::term(load(x + i + 3 * width)));
    }
    for (; i + width <= n; i += width) a = R::combine(a, R::term(load(x + i)));
    if (i < n) b = R::combine(b, R::term(load_or(x + i, n - i, R::template identity<T>())));
    return across_lanes<R>(R::combine(R::combine(a, b), R::combine(c, d)));
  } else {
    int64_t result = R::template identity<int64_t>();
    for (int64_t i = 0; i < n; ++i)
      result = R::combine(result, R::term(static_cast<int64_t>(x[i])));
    return result;
  }
}

/// acc[c] joined with four rows' column c, the rows first among themselves.
template <class R, class S, class T>
void add_four_rows(const S* x, int64_t row_stride, int64_t cols, T* acc) {
  const S *x0 = x, *x1 = x + row_stride, *x2 = x1 + row_stride, *x3 = x2 + row_stride;
  int64_t c = 0;
  if constexpr (std::is_floating_point_v<T>) {
    constexpr int64_t width = Vec<T>::width;
    const auto rows = [&](auto... lanes) {
      return R::combine(
          R::combine(R::term(load(x0 + c, lanes...)), R::term(load(x1 + c, lanes...))),
          R::combine(R::term(load(x2 + c, lanes...)), R::term(load(x3 + c, lanes...))));
    };
    for (; c + width <= cols; c += width) store(acc + c, R::combine(load(acc + c), rows()));
    if (c < cols) store(acc + c, R::combine(load(acc + c, cols - c), rows(cols - c)), cols - c);
  } else {
    const auto at = [&](const S* row) { return R::term(static_cast<T>(row[c])); };
    for (; c < cols; ++c)
      acc[c] =
          R::combine(acc[c], R::combine(R::combine(at(x0), at(x1)), R::combine(at(x2), at(x3))));
  }
}
template <class R, class S, class T>
void add_row(const S* x, int64_t cols, T* acc) {
  int64_t c = 0;
  if constexpr (std::is_floating_point_v<T>) {
    constexpr int64_t width = Vec<T>::width;
    for (; c + width <= cols; c += width)
      store(acc + c, R::combine(load(acc + c), R::term(load(x + c))));
    if (c < cols)
      store(acc + c, R::combine(load(acc + c, cols - c), R::term(load(x + c, cols - c))), cols - c);
  } else {
    for (; c < cols; ++c) acc[c] = R::combine(acc[c], R::term(static_cast<T>(x[c])));
  }
}

/// n elements `stride` apart, made contiguous if they are not.
template <class S>
const S* gathered(const S* x, int64_t n, int64_t stride, S* buffer) {
  if (stride == 1) return x;
  for (int64_t i = 0; i < n; ++i) buffer[i] = x[i * stride];
  return buffer;
}

/// What the reduction of one element type by one op consists of.
template <class W>
struct Steps {
  int64_t element_size;
  W identity;
  /// *result joined with n elements `stride` apart: one run.
  void (*run)(const void* x, int64_t n, int64_t stride, W* result);
  /// result[c] joined with column c of the rows [begin, end) of the reduced axes.
  void (*rows)(const void* x, const ReduceSpace& space, int64_t begin, int64_t end, int64_t cols,
               W* result);
  /// result[i] joined with other[i].
  void (*join)(const W* other, int64_t n, W* result);
  /// y[at + i * stride] = result[i] / divisor, in y's dtype.
  void (*finish)(const W* result, int64_t n, double divisor, void* y, int64_t at, int64_t stride);
};

template <class R, class S>
void join_run(const void* x, int64_t n, int64_t stride, Wide<S>* result) {
  if (stride == 1) {
    *result = R::combine(*result, reduce_run<R>(static_cast<const S*>(x), n));
  } else {
    S buffer[run_elements];
    *result = R::combine(*result,
                         reduce_run<R>(gathered(static_cast<const S*>(x), n, stride, buffer), n));
  }
}

template <class R, class S>
void join_rows(const void* x, const ReduceSpace& space, int64_t begin, int64_t end, int64_t cols,
               Wide<S>* result) {
  using T = std::conditional_t<std::is_same_v<Wide<S>, double>, compute_t<S>, int64_t>;
  const S* base = static_cast<const S*>(x);
  T acc[tile_columns];
  S buffer[tile_columns];
  while (begin < end) {
    std::fill_n(acc, cols, R::template identity<T>());
    const int64_t stop = std::min(end, begin + run_rows);
    if (space.inner.x == 1 && space.reduced_rank == 1)
      for (const int64_t stride = space.reduced[0].x; begin + 4 <= stop; begin += 4)
        add_four_rows<R>(base + begin * stride, stride, cols, acc);
    for (; begin < stop; ++begin)
      add_row<R>(gathered(base + space.reduced_x(begin), cols, space.inner.x, buffer), cols, acc);
    for (int64_t c = 0; c < cols; ++c)
      result[c] = R::combine(result[c], static_cast<Wide<S>>(acc[c]));
  }
}

template <class R, class W>
void join(const W* other, int64_t n, W* result) {
  for (int64_t i = 0; i < n; ++i) result[i] = R::combine(result[i], other[i]);
}

template <class S>
void finish(const Wide<S>* result, int64_t n, double divisor, void* y, int64_t at, int64_t stride) {
  for (int64_t i = 0; i < n; ++i) {
    S& out = static_cast<S*>(y)[at + i * stride];
    if constexpr (std::is_same_v<Wide<S>, double>)
      out = static_cast<S>(static_cast<compute_t<S>>(result[i] / divisor));
    else
      out = static_cast<S>(result[i]);
  }
}

template <ReduceOp op, class S>
constexpr Steps<Wide<S>> steps{sizeof(S),
                               Reducer<op>::template identity<Wide<S>>(),
                               join_run<Reducer<op>, S>,
                               join_rows<Reducer<op>, S>,
                               join<Reducer<op>, Wide<S>>,
                               finish<S>};

// --- the drivers ---

/// The innermost axis is reduced: runs lie along it.
template <class W>
void reduce_rows(Stream& stream, const Steps<W>& steps, const char* x, const ReduceSpace& space,
                 double divisor, void* y) {
  const int64_t n = space.inner.extent, pieces = divide_up(n, run_elements);
  const int64_t runs = space.runs * pieces, run_size = std::min(n, run_elements);
  const int64_t chunk = std::max<int64_t>(1, chunk_elements / run_size),
                chunks = divide_up(runs, chunk);

  const auto reduce_chunk = [&](int64_t output, int64_t at) {
    const int64_t base = space.kept_x(output);
    W result = steps.identity;
    for (int64_t run = at * chunk; run < std::min(runs, (at + 1) * chunk); ++run) {
      const int64_t start = run % pieces * run_elements;
      const int64_t from = base + space.reduced_x(run / pieces) + start * space.inner.x;
      steps.run(x + from * steps.element_size, std::min(n - start, run_elements), space.inner.x,
                &result);
    }
    return result;
  };

  if (chunks == 1) {
    for_tasks(space.outputs, runs * run_size, [&](int64_t o) {
      const W result = reduce_chunk(o, 0);
      steps.finish(&result, 1, divisor, y, space.kept_y(o), 0);
    });
    return;
  }
  const Scratch scratch = stream.scratch(static_cast<size_t>(space.outputs * chunks) * sizeof(W));
  W* partial = scratch.as<W>();
  for_tasks(space.outputs * chunks, chunk * run_size,
            [&](int64_t t) { partial[t] = reduce_chunk(t / chunks, t % chunks); });
  for_tasks(space.outputs, chunks, [&](int64_t o) {
    W* result = partial + o * chunks;
    for (int64_t c = 1; c < chunks; ++c) steps.join(result + c, 1, result);
    steps.finish(result, 1, divisor, y, space.kept_y(o), 0);
  });
}

/// The innermost axis is kept: rows of columns are added up.
template <class W>
void reduce_columns(Stream& stream, const Steps<W>& steps, const char* x, const ReduceSpace& space,
                    double divisor, void* y) {
  const int64_t columns = space.inner.extent, width = std::min(columns, tile_columns);
  const int64_t tiles = divide_up(columns, width), lines = space.outputs * tiles;
  const int64_t chunk = std::max<int64_t>(16, chunk_elements / width),
                chunks = divide_up(space.runs, chunk);

  const auto columns_of = [&](int64_t line) {
    return std::min(width, columns - line % tiles * width);
  };
  const auto reduce_chunk = [&](int64_t line, int64_t at, W* result) {
    const int64_t from = space.kept_x(line / tiles) + line % tiles * width * space.inner.x;
    std::fill_n(result, columns_of(line), steps.identity);
    steps.rows(x + from * steps.element_size, space, at * chunk,
               std::min(space.runs, (at + 1) * chunk), columns_of(line), result);
  };
  const auto finish_line = [&](int64_t line, const W* result) {
    steps.finish(result, columns_of(line), divisor, y,
                 space.kept_y(line / tiles) + line % tiles * width * space.inner.y, space.inner.y);
  };

  if (chunks == 1) {
    for_tasks(lines, space.runs * width, [&](int64_t line) {
      W result[tile_columns];
      reduce_chunk(line, 0, result);
      finish_line(line, result);
    });
    return;
  }
  const Scratch scratch = stream.scratch(static_cast<size_t>(lines * chunks * width) * sizeof(W));
  W* partial = scratch.as<W>();
  for_tasks(lines * chunks, chunk * width,
            [&](int64_t t) { reduce_chunk(t / chunks, t % chunks, partial + t * width); });
  for_tasks(lines, chunks * width, [&](int64_t line) {
    W* result = partial + line * chunks * width;
    for (int64_t c = 1; c < chunks; ++c) steps.join(result + c * width, columns_of(line), result);
    finish_line(line, result);
  });
}

template <class W>
void reduce_by(Stream& stream, const Steps<W>& steps, const View& x, const View& y,
               double divisor = 1) {
  if (x.numel() == 0) {
    for (int64_t i = 0; i < y.numel(); ++i) steps.finish(&steps.identity, 1, divisor, y.data, i, 0);
    return;
  }
  const ReduceSpace space(x, y);
  (space.inner.reduced ? reduce_rows<W> : reduce_columns<W>)(stream, steps, x.as<const char>(),
                                                             space, divisor, y.data);
}

void reduce(Stream& stream, ReduceOp op, View x, View y) {
  check_reduce(op, x, y);
  if (y.numel() == 0) return;

  if (op == ReduceOp::any || op == ReduceOp::all) {
    if (x.numel() == 0)
      return static_cast<void>(std::fill_n(y.as<bool>(), y.numel(), op == ReduceOp::all));
    return reduce_by(
        stream,
        op == ReduceOp::any ? steps<ReduceOp::maximum, uint8_t> : steps<ReduceOp::minimum, uint8_t>,
        x, y);
  }
  const double mean_of = static_cast<double>(x.numel()) / static_cast<double>(y.numel());
  for_computed(x.dtype, "reduce", [&]<class S>() {
    if constexpr (!std::is_same_v<S, bool>) {
      switch (op) {
        case ReduceOp::sum:
          return reduce_by(stream, steps<ReduceOp::sum, S>, x, y);
        case ReduceOp::mean:
          return reduce_by(stream, steps<ReduceOp::sum, S>, x, y, mean_of);
        case ReduceOp::product:
          return reduce_by(stream, steps<ReduceOp::product, S>, x, y);
        case ReduceOp::maximum:
          return reduce_by(stream, steps<ReduceOp::maximum, S>, x, y);
        case ReduceOp::minimum:
          return reduce_by(stream, steps<ReduceOp::minimum, S>, x, y);
        case ReduceOp::sum_of_squares:
          return reduce_by(stream, steps<ReduceOp::sum_of_squares, S>, x, y);
        case ReduceOp::sum_of_abs:
          return reduce_by(stream, steps<ReduceOp::sum_of_abs, S>, x, y);
        default:
          return;
      }
    }
  });
}
}  // namespace

const ReduceKernels reduce_kernels{
    .reduce = reduce,
    .argmax = argmax,
    .argmin = argmin,
    .dot = dot,
    .cumulative_sum = cumulative_sum,
};

}  // namespace tessera::kernels::cpu
