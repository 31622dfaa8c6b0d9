// Attention over the entries of each row, with nothing stored per entry.
//
// Floor: forward as a sparse product (x's rows once per entry from the second-level cache, y once);
// the gradient gathers x's rows once for the targets and gy's rows once for sources and x. Memory
// beside the operands: [rows, heads] numbers, and the sums of segments of long rows.
//
// Forward, a lane holds 16 bytes of one head's columns and keeps the softmax of that head online:
// lanes of one head compute the same weights, which costs exponentials (two per entry and lane)
// instead of a pass over the scores. Backward, a group of lanes takes one head of a row (of the
// transpose: of a column), since the inner products of gy and x are sums over its width. Long rows
// are cut as in spmm.cu. Sectors over the ideal as there: groups read columns and scores of their
// own rows, a sector for each number of 2 or 4 bytes: 1.05 to 1.2 for 64 floats, to 1.45 for
// halves.
#include "tessera/kernels/cuda/exponentials.cuh"
#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/cuda/spmm.cuh"
#include "tessera/kernels/cuda/warp.cuh"

namespace tessera::kernels::cuda {
namespace {

constexpr int gathers_in_flight = 4;
constexpr int blocks_resident = 3;  // leaves 80 registers

template <class T>
struct Problem {
  using C = compute_t<T>;
  CsrView a;
  const T *target, *source, *x;
  C* lse;
  int64_t heads, width, x_stride;
  C slope, kept;  // kept: factor of weights that dropout keeps
  EdgeDropout dropout;

  TS_DEVICE C score(int64_t row, int64_t column, int64_t head) const {
    return widen(target[row * heads + head]) + widen(source[column * heads + head]);
  }
  TS_DEVICE C leaky(C v) const { return v > 0 ? v : slope * v; }
  TS_DEVICE C factor(int64_t e, int64_t head) const {
    if (dropout.drop_below == 0) return C{1};
    return dropout.drops(e, head) ? C{0} : kept;
  }
};

/// Entries [begin, end) of a row, all of it or a segment.
struct Part {
  int64_t row, begin, end;
};
/// Part `index` of the rows that are not long or, with `segments`, of the long ones.
TS_DEVICE bool part_of(const CsrView& a, const LongRows& found, bool segments, bool cut,
                       int64_t index, Part& part) {
  if (segments) {
    if (index >= found.count[1]) return false;
    const Segment s = found.segments[index];
    part = {s.row, s.begin, s.end};
    return true;
  }
  if (index >= a.rows) return false;
  part = {index, a.row_ptr[index], a.row_ptr[index + 1]};
  return !cut || part.end - part.begin <= segment_entries;
}

// ---------------------------------------------------------------- forward

/// The softmax of some entries and the sum that it weights, n columns of it.
template <class C, int n>
struct Attended {
  C top = -INFINITY, sum = 0, lane[n] = {};

  TS_DEVICE void raise(C to) {
    if (!(to > top)) return;
    const C factor = exp(top - to);
    sum *= factor;
#pragma unroll
    for (int j = 0; j < n; ++j) lane[j] *= factor;
    top = to;
  }
  TS_DEVICE void add(const Attended& other) {
    const C to = other.top > top ? other.top : top;
    if (to == -INFINITY) {
      sum += other.sum;  // 0, or NaN that must not be lost
      return;
    }
    Attended more = other;
    raise(to), more.raise(to);
    sum += more.sum;
#pragma unroll
    for (int j = 0; j < n; ++j) lane[j] += more.lane[j];
  }
};

template <int count, class T, int n>
TS_DEVICE void add_entries(const Problem<T>& p, int64_t row, int64_t e, int64_t column,
                           int64_t head, Attended<compute_t<T>, n>& all) {
  using C = compute_t<T>;
  Pack<T, n> x[count];
  C score[count], most = -INFINITY;
#pragma unroll
  for (int k = 0; k < count; ++k) {
    const int64_t c = p.a.col[e + k];
    x[k] = *reinterpret_cast<const Pack<T, n>*>(p.x + c * p.x_stride + column);
    score[k] = p.leaky(p.score(row, c, head));
    most = score[k] > most ? score[k] : most;
  }
  all.raise(most);
  const C origin = all.top == -INFINITY ? C{0} : all.top;
#pragma unroll
  for (int k = 0; k < count; ++k) {
    const C weight = exp(score[k] - origin);
    all.sum += weight;
    const C dropped = weight * p.factor(e + k, head);
#pragma unroll
    for (int j = 0; j < n; ++j) all.lane[j] = fma(widen(x[k].lane[j]), dropped, all.lane[j]);
  }
}

template <class T, int n>
TS_DEVICE auto attend(const Problem<T>& p, const Part& part, int64_t column) {
  Attended<compute_t<T>, n> all;
  const int64_t head = column / p.width;
  int64_t e = part.begin;
  for (; e + gathers_in_flight <= part.end; e += gathers_in_flight)
    add_entries<gathers_in_flight, T, n>(p, part.row, e, column, head, all);
  for (; e < part.end; ++e) add_entries<1, T, n>(p, part.row, e, column, head, all);
  return all;
}

template <class T, int n>
TS_DEVICE void write_row(const Problem<T>& p, T* y, int64_t y_stride, int64_t row, int64_t column,
                         const Attended<compute_t<T>, n>& all) {
  using C = compute_t<T>;
  const C factor = all.sum == 0 ? C{0} : 1 / all.sum;
  Pack<T, n> out;
#pragma unroll
  for (int j = 0; j < n; ++j) out.lane[j] = narrow<T>(all.lane[j] * factor);
  *reinterpret_cast<Pack<T, n>*>(y + row * y_stride + column) = out;
  if (column % p.width == 0)
    p.lse[row * p.heads + column / p.width] = all.sum == 0 ? -INFINITY : all.top + log(all.sum);
}

/// A group of `lanes` lanes per row or segment; blocks in y take further columns. Segments leave
/// what they found in `partial` [segments, packs].
template <class T, int n>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    attend_parts(Problem<T> p, T* y, int64_t y_stride, LongRows found, bool segments, bool cut,
                 uint32_t lanes, Attended<compute_t<T>, n>* partial) {
  const int64_t index = first_element() / lanes;
  const int64_t pack = block_index().y * lanes + thread_index().x % lanes;
  Part part;
  if (!part_of(p.a, found, segments, cut, index, part) || pack * n >= p.heads * p.width) return;
  const auto all = attend<T, n>(p, part, pack * n);
  if (segments)
    partial[index * (p.heads * p.width / n) + pack] = all;
  else
    write_row<T, n>(p, y, y_stride, part.row, pack * n, all);
}

template <class T, int n>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    join_rows(Problem<T> p, T* y, int64_t y_stride, LongRows found,
              const Attended<compute_t<T>, n>* partial) {
  const int64_t packs = p.heads * p.width / n;
  for (int32_t at = static_cast<int32_t>(block_index().x); at < found.count[0];
       at += static_cast<int32_t>(grid_size().x)) {
    const LongRow r = found.rows[at];
    for (int64_t pack = thread_index().x; pack < packs; pack += block_threads) {
      Attended<compute_t<T>, n> all;
      for (int32_t s = 0; s < r.segments; ++s)
        all.add(partial[(r.first_segment + s) * packs + pack]);
      write_row<T, n>(p, y, y_stride, r.row, pack * n, all);
    }
  }
}

Extent3 blocks_of(int64_t groups, uint32_t lanes, uint32_t columns = 1) {
  return {static_cast<uint32_t>(ceil_divide(groups * lanes, block_threads)), columns};
}
Extent3 blocks_to_join(int64_t nnz) {
  return {static_cast<uint32_t>(std::min<int64_t>(nnz / segment_entries + 1, 1024))};
}

template <class T, int n>
void run(Stream& stream, const Problem<T>& p, T* y, int64_t y_stride) {
  using Found = Attended<compute_t<T>, n>;
  const int64_t packs = p.heads * p.width / n, nnz = p.a.nnz;
  const uint32_t lanes = lanes_for(packs);
  const auto columns = static_cast<uint32_t>(ceil_divide(packs, lanes));
  const bool cut = worth_cutting(nnz);
  launch(stream, {"edge_attention", blocks_of(p.a.rows, lanes, columns), {block_threads}},
         attend_parts<T, n>, p, y, y_stride, LongRows{}, false, cut, lanes,
         static_cast<Found*>(nullptr));
  if (!cut) return;
  const LongRowList list(stream, p.a.row_ptr, p.a.rows, nnz);
  const Scratch partial =
      stream.scratch(static_cast<size_t>(most_segments(nnz) * packs) * sizeof(Found));
  launch(
      stream,
      {"edge_attention segments", blocks_of(most_segments(nnz), lanes, columns), {block_threads}},
      attend_parts<T, n>, p, y, y_stride, list.found(), true, cut, lanes, partial.as<Found>());
  launch(stream, {"edge_attention join", blocks_to_join(nnz), {block_threads}}, join_rows<T, n>, p,
         y, y_stride, list.found(), partial.as<Found>());
}

// ---------------------------------------------------------------- gradient

/// The lanes that work on one head of a row.
struct Group {
  uint32_t lanes, lane, mask;

  TS_DEVICE explicit Group(uint32_t count)
      : lanes(count),
        lane(thread_index().x % count),
        mask((count == warp_size ? full_warp : (1u << count) - 1) << lane_index() / count * count) {
  }

  template <class C>
  TS_DEVICE C sum(C value) const {
    for (uint32_t bits = lanes / 2; bits > 0; bits /= 2)
      value += shuffle_xor(value, bits, warp_size, mask);
    return value;
  }
  /// Inner product of `width` elements; every lane gets it.
  template <int n, class T>
  TS_DEVICE compute_t<T> dot(const T* u, const T* v, int64_t width) const {
    compute_t<T> sum_of_lane = 0;
    for (int64_t j = lane * n; j < width; j += lanes * n) {
      const auto a = *reinterpret_cast<const Pack<T, n>*>(u + j);
      const auto b = *reinterpret_cast<const Pack<T, n>*>(v + j);
#pragma unroll
      for (int k = 0; k < n; ++k)
        sum_of_lane = fma(widen(a.lane[k]), widen(b.lane[k]), sum_of_lane);
    }
    return sum(sum_of_lane);
  }
};

template <class T>
struct Gradient : Problem<T> {
  using C = compute_t<T>;
  const T* gy;
  int64_t gy_stride;
  C* delta;  // [rows, heads]: gy . y

  /// What entry e, (row, column), passes to the sum of its target and source, whose product gy . x
  /// is given; `weight` becomes what it has in y.
  TS_DEVICE C passes(int64_t row, int64_t column, int64_t e, int64_t head, C product,
                     C& weight) const {
    const C v = this->score(row, column, head);
    const int64_t at = row * this->heads + head;
    const C lse = this->lse[at], before = exp(this->leaky(v) - (lse == -INFINITY ? C{0} : lse));
    weight = before * this->factor(e, head);
    return (weight * product - before * delta[at]) * (v > 0 ? C{1} : this->slope);
  }
};

template <class T, int n>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    products_of_rows(Gradient<T> p, const T* y, int64_t y_stride, uint32_t lanes) {
  const Group group(lanes);
  const int64_t at = first_element() / lanes, row = at / p.heads, head = at % p.heads;
  if (row >= p.a.rows) return;
  const auto product = group.template dot<n>(p.gy + row * p.gy_stride + head * p.width,
                                             y + row * y_stride + head * p.width, p.width);
  if (group.lane == 0) p.delta[at] = product;
}

/// gtarget: a group of lanes per row (or segment) and head.
template <class T, int n>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    target_parts(Gradient<T> p, T* gtarget, LongRows found, bool segments, bool cut, uint32_t lanes,
                 compute_t<T>* partial) {
  using C = compute_t<T>;
  const Group group(lanes);
  const int64_t at = first_element() / lanes, head = at % p.heads;
  Part part;
  if (!part_of(p.a, found, segments, cut, at / p.heads, part)) return;
  const T* gy = p.gy + part.row * p.gy_stride + head * p.width;
  C sum = 0;
  for (int64_t e = part.begin; e < part.end; ++e) {
    const int64_t column = p.a.col[e];
    C weight;
    const C product =
        group.template dot<n>(gy, p.x + column * p.x_stride + head * p.width, p.width);
    sum += p.passes(part.row, column, e, head, product, weight);
  }
  if (group.lane != 0) return;
  if (segments)
    partial[at] = sum;
  else
    gtarget[part.row * p.heads + head] = narrow<T>(sum);
}

/// gsource and gx: a group of lanes per column (or segment of its entries) and head. Columns of gx
/// beyond what the lanes hold at once are further rounds over the entries.
template <class T, int n>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    column_parts(Gradient<T> p, CsrView transposed, const int32_t* permutation, T* gsource, T* gx,
                 int64_t gx_stride, LongRows found, bool segments, bool cut, uint32_t lanes,
                 compute_t<T>* partial_source, compute_t<T>* partial_x) {
  using C = compute_t<T>;
  const Group group(lanes);
  const int64_t at = first_element() / lanes, head = at % p.heads;
  Part part;
  if (!part_of(transposed, found, segments, cut, at / p.heads, part)) return;
  const int64_t column = part.row;
  const T* x = p.x + column * p.x_stride + head * p.width;
  C sum = 0;
  for (int64_t first = 0; first < p.width; first += lanes * n) {
    const int64_t j = first + group.lane * n;
    const bool holds = j < p.width;
    C sums[n] = {};
    for (int64_t t = part.begin; t < part.end; ++t) {
      const int64_t row = transposed.col[t];
      const T* gy = p.gy + row * p.gy_stride + head * p.width;
      const C product = first == 0 ? group.template dot<n>(gy, x, p.width) : C{0};
      C weight;
      const C passed = p.passes(row, column, permutation[t], head, product, weight);
      if (first == 0) sum += passed;
      if (!holds) continue;
      const auto g = *reinterpret_cast<const Pack<T, n>*>(gy + j);
#pragma unroll
      for (int k = 0; k < n; ++k) sums[k] = fma(widen(g.lane[k]), weight, sums[k]);
    }
    if (!holds) continue;
    for (int k = 0; k < n; ++k) {
      if (segments)
        partial_x[at * p.width + j + k] = sums[k];
      else
        gx[column * gx_stride + head * p.width + j + k] = narrow<T>(sums[k]);
    }
  }
  if (group.lane != 0) return;
  if (segments)
    partial_source[at] = sum;
  else
    gsource[column * p.heads + head] = narrow<T>(sum);
}

/// to[row, j] = the sum over a long row's segments of from[segment, j], in order.
template <class T>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    join_segments(LongRows found, const compute_t<T>* from, int64_t width, T* to, int64_t stride) {
  for (int32_t at = static_cast<int32_t>(block_index().x); at < found.count[0];
       at += static_cast<int32_t>(grid_size().x)) {
    const LongRow r = found.rows[at];
    for (int64_t j = thread_index().x; j < width; j += block_threads) {
      compute_t<T> sum = 0;
      for (int32_t s = 0; s < r.segments; ++s) sum += from[(r.first_segment + s) * width + j];
      to[r.row * stride + j] = narrow<T>(sum);
    }
  }
}

template <class T, int n>
void run(Stream& stream, const Gradient<T>& p, const CsrView& transposed,
         const int32_t* permutation, const T* y, int64_t y_stride, T* gtarget, T* gsource, T* gx,
         int64_t gx_stride) {
  using C = compute_t<T>;
  const int64_t heads = p.heads, columns = heads * p.width, nnz = p.a.nnz;
  const uint32_t lanes = lanes_for(ceil_divide(p.width, n));
  const bool cut = worth_cutting(nnz);
  const int64_t segments = most_segments(nnz);
  const auto no_partial = static_cast<C*>(nullptr);
  if (p.a.rows > 0) {
    launch(stream, {"edge_attention products", blocks_of(p.a.rows * heads, lanes), {block_threads}},
           products_of_rows<T, n>, p, y, y_stride, lanes);
    launch(stream, {"edge_attention targets", blocks_of(p.a.rows * heads, lanes), {block_threads}},
           target_parts<T, n>, p, gtarget, LongRows{}, false, cut, lanes, no_partial);
  }
  if (transposed.rows > 0)
    launch(stream,
           {"edge_attention columns", blocks_of(transposed.rows * heads, lanes), {block_threads}},
           column_parts<T, n>, p, transposed, permutation, gsource, gx, gx_stride, LongRows{},
           false, cut, lanes, no_partial, no_partial);
  if (!cut) return;
  const Scratch of_heads = stream.scratch(static_cast<size_t>(segments * heads) * sizeof(C)),
                of_columns = stream.scratch(static_cast<size_t>(segments * columns) * sizeof(C));
  const auto join = [&](const LongRows& found, const C* from, int64_t width, T* to,
                        int64_t stride) {
    launch(stream, {"edge_attention join", blocks_to_join(nnz), {block_threads}}, join_segments<T>,
           found, from, width, to, stride);
  };
  const LongRowList rows(stream, p.a.row_ptr, p.a.rows, nnz);
  launch(stream,
         {"edge_attention target segments", blocks_of(segments * heads, lanes), {block_threads}},
         target_parts<T, n>, p, gtarget, rows.found(), true, cut, lanes, of_heads.as<C>());
  join(rows.found(), of_heads.as<C>(), heads, gtarget, heads);
  const LongRowList long_columns(stream, transposed.row_ptr, transposed.rows, nnz);
  const LongRows found = long_columns.found();
  launch(stream,
         {"edge_attention column segments", blocks_of(segments * heads, lanes), {block_threads}},
         column_parts<T, n>, p, transposed, permutation, gsource, gx, gx_stride, found, true, cut,
         lanes, of_heads.as<C>(), of_columns.as<C>());
  join(found, of_heads.as<C>(), heads, gsource, heads);
  join(found, of_columns.as<C>(), columns, gx, gx_stride);
}

/// Calls body with the elements of one access as a constant: 16 bytes, or one where operands'
/// widths, strides or addresses do not allow that.
template <class T, class Body>
void for_packs(int64_t width, std::initializer_list<View> operands, Body&& body) {
  constexpr int n = vector_length<T>;
  bool packed = width % n == 0;
  for (const View& v : operands) packed &= v.stride[0] % n == 0 && aligned(v.data, 16);
  if (packed)
    body(std::integral_constant<int, n>{});
  else
    body(std::integral_constant<int, 1>{});
}

template <class T>
Problem<T> problem(const CsrView& a, const View& target, const View& source, const View& x,
                   const View& lse, const EdgeAttentionOperands& o,
                   const EdgeAttentionParams& params) {
  using C = compute_t<T>;
  return {a,
          target.as<T>(),
          source.as<T>(),
          x.as<T>(),
          lse.as<C>(),
          o.heads,
          o.width,
          o.x.stride,
          static_cast<C>(params.slope),
          static_cast<C>(1 / (1 - params.dropout)),
          EdgeDropout(params, o.heads)};
}

}  // namespace

void edge_attention(Stream& stream, const CsrView& a, View target, View source, View x, View y,
                    View lse, const EdgeAttentionParams& params) {
  const EdgeAttentionOperands o =
      check_edge_attention("edge_attention", a, target, source, x, y, lse, params);
  if (a.rows == 0 || o.heads == 0) return;
  for_float(x.dtype, "edge_attention", [&]<class T>() {
    for_packs<T>(o.width, {x, y}, [&](auto n) {
      run<T, n>(stream, problem<T>(a, target, source, x, lse, o, params), y.as<T>(), o.y.stride);
    });
  });
}

void edge_attention_gradient(Stream& stream, const CsrView& a, const CsrView& transposed,
                             View permutation, View target, View source, View x, View y, View lse,
                             View gy, View gtarget, View gsource, View gx,
                             const EdgeAttentionParams& params) {
  const EdgeAttentionOperands o = check_edge_attention_gradient(
      a, transposed, permutation, target, source, x, y, lse, gy, gtarget, gsource, gx, params);
  if (o.heads == 0) return;
  for_float(x.dtype, "edge_attention_gradient", [&]<class T>() {
    using C = compute_t<T>;
    const Scratch delta = stream.scratch(static_cast<size_t>(a.rows * o.heads) * sizeof(C));
    const Gradient<T> p{problem<T>(a, target, source, x, lse, o, params), gy.as<T>(), gy.stride[0],
                        delta.as<C>()};
    for_packs<T>(o.width, {x, y, gy, gx}, [&](auto n) {
      run<T, n>(stream, p, transposed, permutation.as<int32_t>(), y.as<T>(), o.y.stride,
                gtarget.as<T>(), gsource.as<T>(), gx.as<T>(), gx.stride[0]);
    });
  });
}

}  // namespace tessera::kernels::cuda
