#include "tessera/kernels/reduce.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/simd_math.hpp"
#include "tessera/kernels/functors.hpp"

// Sums are taken in three stages whose extents depend on the shape alone, never on the threads:
// runs of at most 4096 elements (or 256 rows of columns) in the compute type, chunks of runs in
// `Wide`, and chunks in `Wide`, in order. Only chunks are spread over threads.

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t run_elements = 4096, run_rows = 256, tile_columns = 1024;
constexpr int64_t chunk_elements = 65536;
constexpr int64_t thread_grain = 32768;

/// The type in which runs are put together.
template <class S>
using Wide = std::conditional_t<std::is_floating_point_v<compute_t<S>>, double, int64_t>;

/// What enters of an element, how two partial results become one, and what changes nothing.
template <ReduceOp op>
struct Reducer {
  static constexpr bool sums =
      op != ReduceOp::product && op != ReduceOp::maximum && op != ReduceOp::minimum;

  template <class V>
  static V term(V x) {
    if constexpr (op == ReduceOp::sum_of_squares) return functors::multiply(x, x);
    if constexpr (op == ReduceOp::sum_of_abs) return functors::absolute(x);
    return x;
  }
  template <class V>
  static V combine(V a, V b) {
    if constexpr (op == ReduceOp::product) return functors::multiply(a, b);
    if constexpr (op == ReduceOp::maximum) return functors::maximum(a, b);
    if constexpr (op == ReduceOp::minimum) return functors::minimum(a, b);
    if constexpr (sums) return functors::add(a, b);
  }
  template <class T>
  static constexpr T identity() {
    using Limits = std::numeric_limits<T>;
    if constexpr (op == ReduceOp::product) return 1;
    if constexpr (op == ReduceOp::maximum)
      return Limits::has_infinity ? -Limits::infinity() : Limits::lowest();
    if constexpr (op == ReduceOp::minimum)
      return Limits::has_infinity ? Limits::infinity() : Limits::max();
    return 0;
  }
};

// --- the space: kept axes, reduced axes, and the innermost axis of memory, which is one or the
// other ---

struct Axis {
  int64_t extent, x, y;  // strides in x and y
  bool reduced;
};

struct Space {
  Axis kept[max_rank], reduced[max_rank];
  int kept_rank = 0, reduced_rank = 0;
  Axis inner{1, 1, 1, true};
  int64_t outputs = 1, runs = 1;  // products of the extents in `kept` and in `reduced`

  Space(const View& x, const View& y) {
    Axis axes[max_rank];
    int rank = 0;
    for (int d = 0; d < x.rank; ++d) {
      if (x.shape[d] == 1) continue;
      const Axis axis{x.shape[d], x.stride[d], y.stride[d], y.shape[d] != x.shape[d]};
      int at = rank++;  // nearest elements last; what repeats the same memory comes first
      for (; at > 0 && distance(axes[at - 1]) < distance(axis); --at) axes[at] = axes[at - 1];
      axes[at] = axis;
    }
    int merged = 0;
    for (int d = 1; d < rank; ++d) {
      Axis& outer = axes[merged];
      const Axis& axis = axes[d];
      if (outer.reduced == axis.reduced && outer.x == axis.x * axis.extent &&
          (axis.reduced || outer.y == axis.y * axis.extent))
        outer = {outer.extent * axis.extent, axis.x, axis.y, axis.reduced};
      else
        axes[++merged] = axis;
    }
    rank = std::min(rank, merged + 1);
    if (rank > 0) inner = axes[--rank];
    for (int d = 0; d < rank; ++d) {
      if (axes[d].reduced) {
        runs *= axes[d].extent;
        reduced[reduced_rank++] = axes[d];
      } else {
        outputs *= axes[d].extent;
        kept[kept_rank++] = axes[d];
      }
    }
  }

  /// Offsets in x and y of element `index` of the kept axes, in x of element `index` of the reduced
  /// ones.
  int64_t kept_x(int64_t index) const { return offset(kept, kept_rank, index, &Axis::x); }
  int64_t kept_y(int64_t index) const { return offset(kept, kept_rank, index, &Axis::y); }
  int64_t reduced_x(int64_t index) const { return offset(reduced, reduced_rank, index, &Axis::x); }

 private:
  static int64_t distance(const Axis& a) {
    return a.x == 0 ? std::numeric_limits<int64_t>::max() : std::abs(a.x);
  }
  static int64_t offset(const Axis* axes, int rank, int64_t index, int64_t Axis::*stride) {
    int64_t at = 0;
    for (int d = rank - 1; d > 0; --d) {
      at += index % axes[d].extent * (axes[d].*stride);
      index /= axes[d].extent;
    }
    return rank > 0 ? at + index * (axes[0].*stride) : 0;
  }
};

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
  void (*rows)(const void* x, const Space& space, int64_t begin, int64_t end, int64_t cols,
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
void join_rows(const void* x, const Space& space, int64_t begin, int64_t end, int64_t cols,
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

int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

/// Calls body(task) for every task, of about `elements` elements each, on all threads.
template <class Body>
void for_tasks(int64_t tasks, int64_t elements, Body&& body) {
  parallel_for(tasks, std::max<int64_t>(1, thread_grain / std::max<int64_t>(elements, 1)),
               [&](int64_t begin, int64_t end) {
                 for (int64_t t = begin; t < end; ++t) body(t);
               });
}

/// The innermost axis is reduced: runs lie along it.
template <class W>
void reduce_rows(Stream& stream, const Steps<W>& steps, const char* x, const Space& space,
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
void reduce_columns(Stream& stream, const Steps<W>& steps, const char* x, const Space& space,
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
  const Space space(x, y);
  (space.inner.reduced ? reduce_rows<W> : reduce_columns<W>)(stream, steps, x.as<const char>(),
                                                             space, divisor, y.data);
}

void reduce(Stream& stream, ReduceOp op, View x, View y) {
  TS_CHECK(x.rank == y.rank, "reduce: from shape ", x.dims(), " to ", y.dims());
  for (int d = 0; d < x.rank; ++d)
    TS_CHECK(y.shape[d] == x.shape[d] || y.shape[d] == 1, "reduce: from shape ", x.dims(), " to ",
             y.dims());
  TS_CHECK(y.contiguous(), "reduce: the output must be contiguous");
  TS_CHECK(x.dtype == y.dtype, "reduce: from ", x.dtype, " to ", y.dtype);
  if (y.numel() == 0) return;

  if (op == ReduceOp::any || op == ReduceOp::all) {
    TS_CHECK(x.dtype == DType::bool_, "reduce: any and all need bool, got ", x.dtype);
    if (x.numel() == 0)
      return static_cast<void>(std::fill_n(y.as<bool>(), y.numel(), op == ReduceOp::all));
    return reduce_by(
        stream,
        op == ReduceOp::any ? steps<ReduceOp::maximum, uint8_t> : steps<ReduceOp::minimum, uint8_t>,
        x, y);
  }
  if (x.dtype == DType::bool_ || (op == ReduceOp::mean && !is_float(x.dtype)))
    unsupported_dtype(op == ReduceOp::mean ? "mean" : "reduce", x.dtype);
  const bool has_extreme = x.numel() > 0 || (op != ReduceOp::maximum && op != ReduceOp::minimum);
  TS_CHECK(has_extreme, "reduce: the ", op == ReduceOp::maximum ? "maximum" : "minimum",
           " of no elements, shape ", x.dims());

  const double mean_of = static_cast<double>(x.numel()) / static_cast<double>(y.numel());
  for_any(x.dtype, [&]<class S>() {
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

// --- along one axis ---

/// Calls body(offsets in x of the first elements of `count` lines, offset in y of the first line,
/// count) for groups of lines along `axis`; the lines of a group are neighbours in y, which is
/// contiguous with extent `y_extent` along the axis.
constexpr int64_t line_group = 64;
template <class Body>
void for_lines(const View& x, int axis, int64_t y_extent, Body&& body) {
  int64_t outer = 1, inner = 1;
  for (int d = 0; d < axis; ++d) outer *= x.shape[d];
  for (int d = axis + 1; d < x.rank; ++d) inner *= x.shape[d];
  const int64_t groups = divide_up(inner, line_group);
  for_tasks(outer * groups, x.shape[axis] * std::min(inner, line_group), [&](int64_t t) {
    int64_t base = 0;
    for (int64_t d = axis - 1, rest = t / groups; d >= 0; rest /= x.shape[d--])
      base += rest % x.shape[d] * x.stride[d];
    const int64_t first = t % groups * line_group, count = std::min(line_group, inner - first);
    int64_t offsets[line_group];
    for (int64_t i = 0; i < count; ++i) {
      offsets[i] = base;
      for (int64_t d = x.rank - 1, rest = first + i; d > axis; rest /= x.shape[d--])
        offsets[i] += rest % x.shape[d] * x.stride[d];
    }
    body(offsets, t / groups * y_extent * inner + first, count);
  });
}

template <class Better>
void arg_extreme(const char* operation, const View& x, int axis, const View& y, Better better) {
  TS_CHECK(axis >= 0 && axis < x.rank, operation, ": axis ", axis, " of shape ", x.dims());
  Shape expected = x.dims();
  expected[axis] = 1;
  TS_CHECK(y.dims() == expected && y.contiguous() && y.dtype == DType::i64, operation, " of shape ",
           x.dims(), " along axis ", axis, ": output ", y.dtype, " ", y.dims(),
           ", expected contiguous i64 ", expected);
  if (y.numel() == 0) return;
  TS_CHECK(x.shape[axis] > 0, operation, ": no elements along axis ", axis, " of shape ", x.dims());
  const int64_t n = x.shape[axis], stride = x.stride[axis];
  for_any(x.dtype, [&]<class S>() {
    using T = compute_t<S>;
    for_lines(x, axis, 1, [&](const int64_t* offsets, int64_t at, int64_t count) {
      T best[line_group];
      int64_t* index = y.as<int64_t>() + at;
      const S* from = x.as<const S>();
      for (int64_t l = 0; l < count; ++l) best[l] = from[offsets[l]], index[l] = 0;
      for (int64_t i = 1; i < n; ++i)
        for (int64_t l = 0; l < count; ++l) {
          const T value = from[offsets[l] + i * stride];
          if (better(value, best[l]) || (value != value && best[l] == best[l]))
            best[l] = value, index[l] = i;
        }
    });
  });
}

void argmax(Stream&, View x, int axis, View y) {
  arg_extreme("argmax", x, axis, y, [](auto a, auto b) { return a > b; });
}
void argmin(Stream&, View x, int axis, View y) {
  arg_extreme("argmin", x, axis, y, [](auto a, auto b) { return a < b; });
}

void cumulative_sum(Stream&, View x, int axis, View y) {
  TS_CHECK(axis >= 0 && axis < x.rank, "cumulative_sum: axis ", axis, " of shape ", x.dims());
  TS_CHECK(x.dims() == y.dims() && x.dtype == y.dtype && y.contiguous(), "cumulative_sum: from ",
           x.dtype, " ", x.dims(), " to ", y.dtype, " ", y.dims(),
           ", which must be equal, and contiguous");
  if (x.dtype == DType::bool_) unsupported_dtype("cumulative_sum", x.dtype);
  if (x.numel() == 0) return;
  int64_t inner = 1;
  for (int d = axis + 1; d < x.rank; ++d) inner *= x.shape[d];
  const int64_t n = x.shape[axis], stride = x.stride[axis];
  for_any(x.dtype, [&]<class S>() {
    using W = Wide<S>;
    for_lines(x, axis, n, [&](const int64_t* offsets, int64_t at, int64_t count) {
      W sum[line_group] = {};
      const S* from = x.as<const S>();
      S* to = y.as<S>() + at;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t l = 0; l < count; ++l) {
          sum[l] = functors::add(sum[l], static_cast<W>(from[offsets[l] + i * stride]));
          to[i * inner + l] = static_cast<S>(static_cast<compute_t<S>>(sum[l]));
        }
    });
  });
}

// --- dot ---

template <class S>
double dot_run(const S* p, const S* q, int64_t n) {
  using V = Vec<compute_t<S>>;
  V a = 0, b = 0, c = 0, d = 0;
  int64_t i = 0;
  for (; i + 4 * V::width <= n; i += 4 * V::width) {
    a = fma(load(p + i), load(q + i), a);
    b = fma(load(p + i + V::width), load(q + i + V::width), b);
    c = fma(load(p + i + 2 * V::width), load(q + i + 2 * V::width), c);
    d = fma(load(p + i + 3 * V::width), load(q + i + 3 * V::width), d);
  }
  for (; i + V::width <= n; i += V::width) a = fma(load(p + i), load(q + i), a);
  if (i < n) b = fma(load(p + i, n - i), load(q + i, n - i), b);
  return horizontal_sum((a + b) + (c + d));
}

void dot(Stream& stream, View x0, View x1, View y) {
  TS_CHECK(x0.dims() == x1.dims() && x0.dtype == x1.dtype, "dot: operands ", x0.dtype, " ",
           x0.dims(), " and ", x1.dtype, " ", x1.dims());
  TS_CHECK(x0.contiguous() && x1.contiguous(), "dot: operands must be contiguous");
  TS_CHECK(y.dtype == DType::f64 && y.numel() == 1, "dot: the result must be one f64, is ", y.dtype,
           " ", y.dims());
  const int64_t n = x0.numel(), runs = divide_up(n, run_elements);
  for_float(x0.dtype, "dot", [&]<class S>() {
    const auto run = [&](int64_t at) {
      const int64_t start = at * run_elements;
      return dot_run(x0.as<const S>() + start, x1.as<const S>() + start,
                     std::min(run_elements, n - start));
    };
    double sum = 0;
    if (n <= thread_grain) {
      for (int64_t r = 0; r < runs; ++r) sum += run(r);
    } else {
      const Scratch scratch = stream.scratch(static_cast<size_t>(runs) * sizeof(double));
      double* partial = scratch.as<double>();
      for_tasks(runs, run_elements, [&](int64_t r) { partial[r] = run(r); });
      for (int64_t r = 0; r < runs; ++r) sum += partial[r];
    }
    *y.as<double>() = sum;
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
