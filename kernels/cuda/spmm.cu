// Sums of dense rows that the entries of a sparse matrix select.
//
// Floor: the pattern and its values once, x's rows once per entry from the second-level cache (nnz
// * width * element bytes), y once. The gather is all there is. A group of lanes holds a row of the
// result in registers, 16 bytes of it per lane, and four gathers are on their way at a time; they
// are added in the order of the entries.
//
// A row longer than segment_entries is the sum of its segments' sums, in order. With merge_path its
// segments are work of their own: one kernel lists the long rows, one sums all segments, one joins
// them. So neither the variant nor the size of the grid changes a bit.
//
// Sectors over the ideal: the groups of a warp read entries of rows of their own, a sector each for
// the column and one for the value, which the next seven entries find in the first-level cache.
// With x rows of R sectors and G groups that is (R + 2) G to R G + 2 ceil(G / 8) per entry: with
// eight entries, row pointers and y, 1.7 for rows of 64 bytes (R = 2, G = 8), 1.1 for 256 (R = 8, G
// = 2). Pointers to where a row ends begin beside a sector: 9 for 8.
#include "tessera/kernels/cuda/spmm.cuh"

#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/cuda/vendor.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr int gathers_in_flight = 4;
constexpr int blocks_resident = 3;  // leaves 80 registers, which the gathers need

/// What an entry is multiplied with.
enum class Weight : uint8_t { one, value, value_and_col_scale };

/// One product: y[rows, width] from x[cols, width], where `width` counts all heads' columns.
template <class T>
struct Product {
  using C = compute_t<T>;
  int64_t rows;
  const int32_t* row_ptr;
  const int32_t* col;  // null: entry e selects row e
  const T* values;     // null: ones
  int64_t value_heads, head_width;
  const C* row_scale;  // null: ones, as col_scale
  const C* col_scale;
  const T* x;
  int64_t x_stride;
  T* y;
  int64_t y_stride, width;
  C alpha, beta;
  bool mean;
};

template <class C, int n>
struct Sums {
  C lane[n] = {};

  TS_DEVICE void add(const Sums& other) {
#pragma unroll
    for (int k = 0; k < n; ++k) lane[k] += other.lane[k];
  }
};

/// Adds the rows of `count` entries from `e` on, all on their way before the first is added.
template <int count, Weight kind, class T, int n>
TS_DEVICE void add_entries(const Product<T>& p, int32_t e, int64_t column, int64_t head,
                           Sums<compute_t<T>, n>& sums) {
  using C = compute_t<T>;
  Pack<T, n> row[count];
  C weight[count];
#pragma unroll
  for (int k = 0; k < count; ++k) {
    const int64_t c = p.col ? p.col[e + k] : e + k;
    row[k] = *reinterpret_cast<const Pack<T, n>*>(p.x + c * p.x_stride + column);
    weight[k] = C{1};
    if constexpr (kind != Weight::one) {
      if (p.values) weight[k] = widen(p.values[(e + k) * p.value_heads + head]);
      if constexpr (kind == Weight::value_and_col_scale) weight[k] *= p.col_scale[c];
    }
  }
#pragma unroll
  for (int k = 0; k < count; ++k)
#pragma unroll
    for (int j = 0; j < n; ++j) {
      if constexpr (kind == Weight::one)
        sums.lane[j] += widen(row[k].lane[j]);
      else
        sums.lane[j] = fma(widen(row[k].lane[j]), weight[k], sums.lane[j]);
    }
}

template <Weight kind, class T, int n>
TS_DEVICE auto sum_segment(const Product<T>& p, int32_t begin, int32_t end, int64_t column) {
  Sums<compute_t<T>, n> sums;
  const int64_t head = p.value_heads > 1 ? column / p.head_width : 0;
  int32_t e = begin;
  for (; e + gathers_in_flight <= end; e += gathers_in_flight)
    add_entries<gathers_in_flight, kind>(p, e, column, head, sums);
  for (; e < end; ++e) add_entries<1, kind>(p, e, column, head, sums);
  return sums;
}

template <class T, int n>
TS_DEVICE void write_row(const Product<T>& p, int64_t row, int64_t column,
                         const Sums<compute_t<T>, n>& sums) {
  using C = compute_t<T>;
  C scale = p.alpha;
  if (p.row_scale) scale *= p.row_scale[row];
  const int32_t degree = p.row_ptr[row + 1] - p.row_ptr[row];
  if (p.mean && degree > 0) scale /= static_cast<C>(degree);
  auto* const to = reinterpret_cast<Pack<T, n>*>(p.y + row * p.y_stride + column);
  Pack<T, n> out;
  if (p.beta != 0) {
    const Pack<T, n> before = *to;
#pragma unroll
    for (int j = 0; j < n; ++j)
      out.lane[j] = narrow<T>(fma(p.beta, widen(before.lane[j]), sums.lane[j] * scale));
  } else {
#pragma unroll
    for (int j = 0; j < n; ++j) out.lane[j] = narrow<T>(sums.lane[j] * scale);
  }
  *to = out;
}

/// A group of `lanes` lanes per row, n columns per lane; blocks in y take further columns. Rows
/// with more than `longest` entries are left out.
template <Weight kind, class T, int n>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    sum_rows(Product<T> p, uint32_t lanes, int32_t longest) {
  const int64_t row = first_element() / lanes;
  const int64_t column = (block_index().y * lanes + thread_index().x % lanes) * int64_t{n};
  if (row >= p.rows || column >= p.width) return;
  const int32_t begin = p.row_ptr[row], end = p.row_ptr[row + 1];
  if (end - begin > longest) return;
  Sums<compute_t<T>, n> sums;
  for (int32_t at = begin; at < end; at += segment_entries) {
    const int32_t stop = end - at < segment_entries ? end : at + segment_entries;
    sums.add(sum_segment<kind, T, n>(p, at, stop, column));
  }
  write_row<T, n>(p, row, column, sums);
}

__global__ void clear_counts(LongRows found) { found.count[0] = found.count[1] = 0; }

__global__ void __launch_bounds__(block_threads, blocks_resident)
    list_long_rows(const int32_t* row_ptr, int64_t rows, LongRows found) {
  for (int64_t row = first_element(); row < rows; row += element_step()) {
    const int32_t begin = row_ptr[row], end = row_ptr[row + 1];
    if (end - begin <= segment_entries) continue;
    const int32_t segments = (end - begin + segment_entries - 1) / segment_entries;
    const int32_t first = atomic_add(found.count + 1, segments);
    found.rows[atomic_add(found.count, 1)] = {static_cast<int32_t>(row), first, segments};
    for (int32_t s = 0; s < segments; ++s) {
      const int32_t at = begin + s * segment_entries;
      found.segments[first + s] = {at, end - at < segment_entries ? end : at + segment_entries,
                                   static_cast<int32_t>(row)};
    }
  }
}

template <Weight kind, class T, int n>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    sum_segments(Product<T> p, LongRows found, uint32_t lanes, compute_t<T>* partial) {
  const int64_t segment = first_element() / lanes;
  const int64_t column = (block_index().y * lanes + thread_index().x % lanes) * int64_t{n};
  if (segment >= found.count[1] || column >= p.width) return;
  const Segment s = found.segments[segment];
  const auto sums = sum_segment<kind, T, n>(p, s.begin, s.end, column);
  for (int j = 0; j < n; ++j) partial[segment * p.width + column + j] = sums.lane[j];
}

template <class T>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    join_segments(Product<T> p, LongRows found, const compute_t<T>* partial) {
  for (int32_t at = static_cast<int32_t>(block_index().x); at < found.count[0];
       at += static_cast<int32_t>(grid_size().x)) {
    const LongRow r = found.rows[at];
    for (int64_t column = thread_index().x; column < p.width; column += block_threads) {
      Sums<compute_t<T>, 1> sums;
      for (int32_t s = 0; s < r.segments; ++s)
        sums.lane[0] += partial[(r.first_segment + s) * p.width + column];
      write_row<T, 1>(p, r.row, column, sums);
    }
  }
}

template <Weight kind, class T, int n>
void run(Stream& stream, const Product<T>& p, int64_t nnz, bool cut_long_rows) {
  const int64_t packs = ceil_divide(p.width, n);
  const uint32_t lanes = lanes_for(packs);
  const auto columns = static_cast<uint32_t>(ceil_divide(packs, lanes));
  const auto blocks = [&](int64_t groups) {
    return Extent3{static_cast<uint32_t>(ceil_divide(groups * lanes, block_threads)), columns};
  };
  launch(stream, {"spmm sum_rows", blocks(p.rows), {block_threads}}, sum_rows<kind, T, n>, p, lanes,
         cut_long_rows ? segment_entries : INT32_MAX);
  if (!cut_long_rows) return;

  const int64_t segments = most_segments(nnz);
  const LongRowList list(stream, p.row_ptr, p.rows, nnz);
  const LongRows found = list.found();
  const Scratch partial =
      stream.scratch(static_cast<size_t>(segments * p.width) * sizeof(compute_t<T>));
  launch(stream, {"spmm sum_segments", blocks(segments), {block_threads}}, sum_segments<kind, T, n>,
         p, found, lanes, partial.as<compute_t<T>>());
  launch(stream,
         {"spmm join_segments",
          {static_cast<uint32_t>(std::min<int64_t>(nnz / segment_entries + 1, 1024))},
          {block_threads}},
         join_segments<T>, p, found, partial.as<compute_t<T>>());
}

template <Weight kind, class T>
void run(Stream& stream, const Product<T>& p, int64_t nnz, bool cut_long_rows) {
  constexpr int n = vector_length<T>;
  const bool packed = p.width % n == 0 && p.x_stride % n == 0 && p.y_stride % n == 0 &&
                      (p.value_heads == 1 || p.head_width % n == 0) && aligned(p.x, 16) &&
                      aligned(p.y, 16);
  if (packed)
    run<kind, T, n>(stream, p, nnz, cut_long_rows);
  else
    run<kind, T, 1>(stream, p, nnz, cut_long_rows);
}

template <class T>
void run(Stream& stream, const Product<T>& p, int64_t nnz, SpmmVariant variant) {
  if (p.rows == 0 || p.width == 0) return;
  // The longest row is on the device; looking for long ones costs little beside that many entries.
  const bool cut = variant == SpmmVariant::merge_path ||
                   (variant == SpmmVariant::automatic && worth_cutting(nnz));
  if (p.col_scale)
    run<Weight::value_and_col_scale>(stream, p, nnz, cut);
  else if (p.values)
    run<Weight::value>(stream, p, nnz, cut);
  else
    run<Weight::one>(stream, p, nnz, cut);
}

void spmm(Stream& stream, const CsrView& a, View x, View y, const SpmmParams& params) {
  if (params.variant == SpmmVariant::vendor) return vendor_spmm(stream, a, x, y, params);
  const SpmmOperands o = check_spmm(a, x, y, params);
  for_float(x.dtype, "spmm", [&]<class T>() {
    using C = compute_t<T>;
    run(stream,
        Product<T>{a.rows, a.row_ptr, a.col, a.values.as<T>(), o.value_heads, o.x.width,
                   params.row_scale.as<C>(), params.col_scale.as<C>(), x.as<T>(), o.x.stride,
                   y.as<T>(), o.y.stride, o.x.heads * o.x.width, static_cast<C>(params.alpha),
                   static_cast<C>(params.beta), params.mean},
        a.nnz, params.variant);
  });
}

// ---------------------------------------------------------------- segments

/// Offsets as 32-bit row pointers; those that fall or leave [0, n] are reported and mended.
template <class I>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    narrow_offsets(const I* from, int64_t count, int64_t n, int32_t* to, Finding* finding,
                   int32_t call) {
  for (int64_t s = first_element(); s < count; s += element_step()) {
    const int64_t value = from[s], before = s == 0 ? 0 : static_cast<int64_t>(from[s - 1]);
    if (value < before || value > n) report(finding, call, s, value, before, n + 1);
    to[s] = static_cast<int32_t>(value < 0 ? 0 : value > n ? n : value);
  }
}

__global__ void __launch_bounds__(block_threads, blocks_resident)
    check_permutation(const int32_t* from, int64_t n, int32_t* to, Finding* finding, int32_t call) {
  for (int64_t k = first_element(); k < n; k += element_step()) {
    const int32_t value = from[k];
    const bool fits = value >= 0 && value < n;
    if (!fits) report(finding, call, k, value, 0, n);
    to[k] = fits ? value : 0;
  }
}

/// Segments as the rows of a pattern without values.
class Segments {
 public:
  Segments(Stream& stream, const char* operation, const View& offsets, const View& permutation,
           int64_t n)
      : narrowed_(stream.scratch(static_cast<size_t>(offsets.numel()) * sizeof(int32_t))),
        order_(stream.scratch(permutation ? static_cast<size_t>(n) * sizeof(int32_t) : 0)) {
    check_segments(operation, offsets, permutation, n);
    Faults& faults = stream.resource<Faults>();
    view_ = {offsets.shape[0] - 1, n, n, narrowed_.as<int32_t>(), nullptr};
    for_index(offsets.dtype, operation, [&]<class I>() {
      launch(stream,
             {"segment narrow_offsets",
              {blocks_for(offsets.shape[0], block_threads)},
              {block_threads}},
             narrow_offsets<I>, offsets.as<I>(), offsets.shape[0], n, narrowed_.as<int32_t>(),
             faults.finding(), faults.expect(concat(operation, ": offset")));
    });
    if (permutation && n > 0) {
      view_.col = order_.as<int32_t>();
      launch(stream, {"segment check_permutation", {blocks_for(n, block_threads)}, {block_threads}},
             check_permutation, permutation.as<int32_t>(), n, order_.as<int32_t>(),
             faults.finding(), faults.expect(concat(operation, ": permutation")));
    }
    faults.launched();
  }
  const CsrView& view() const { return view_; }

 private:
  Scratch narrowed_, order_;
  CsrView view_;
};

void segment_reduce(Stream& stream, SegmentOp op, View x, View offsets, View permutation, View y,
                    View index) {
  const DenseRows from = dense_rows("segment_reduce", "x", x),
                  to = dense_rows("segment_reduce", "y", y);
  const Segments segments(stream, "segment_reduce", offsets, permutation, from.n);
  const CsrView& a = segments.view();
  TS_CHECK(x.rank == 2 && y.rank == 2 && to.n == a.rows && to.width == from.width,
           "segment_reduce: x ", x.dims(), " in ", a.rows, " segments does not give y ", y.dims());
  check_dtype("segment_reduce", "y", y, x.dtype);
  if (op == SegmentOp::maximum || op == SegmentOp::minimum)
    return segment_extreme(stream, op, a, x, y, index);
  for_float(x.dtype, "segment_reduce", [&]<class T>() {
    run(stream,
        Product<T>{a.rows, a.row_ptr, a.col, nullptr, 1, from.width, nullptr, nullptr, x.as<T>(),
                   from.stride, y.as<T>(), to.stride, from.width, 1, 0, op == SegmentOp::mean},
        a.nnz, SpmmVariant::automatic);
  });
}

template <class T>
__global__ void __launch_bounds__(block_threads, blocks_resident)
    expand(CsrView a, const T* y, int64_t y_stride, int64_t width, T* x, int64_t x_stride) {
  const int64_t first = a.row_ptr[0], last = a.row_ptr[a.rows];
  for (int64_t i = first_element(); i < (last - first) * width; i += element_step()) {
    const int64_t e = first + i / width, j = i % width;
    const int64_t row = row_of_entry(a.row_ptr, a.rows, e);
    x[(a.col ? a.col[e] : e) * x_stride + j] = y[row * y_stride + j];
  }
}

void segment_expand(Stream& stream, View y, View offsets, View permutation, View x) {
  const DenseRows from = dense_rows("segment_expand", "y", y),
                  to = dense_rows("segment_expand", "x", x);
  const Segments segments(stream, "segment_expand", offsets, permutation, to.n);
  const CsrView& a = segments.view();
  TS_CHECK(x.rank == 2 && y.rank == 2 && from.n == a.rows && to.width == from.width,
           "segment_expand: y ", y.dims(), " in ", a.rows, " segments does not give x ", x.dims());
  check_dtype("segment_expand", "x", x, y.dtype);
  if (a.rows == 0 || to.n * from.width == 0) return;
  for_float(y.dtype, "segment_expand", [&]<class T>() {
    launch(stream,
           {"segment expand", {blocks_for(to.n * from.width, block_threads)}, {block_threads}},
           expand<T>, a, y.as<T>(), from.stride, from.width, x.as<T>(), to.stride);
  });
}

// ---------------------------------------------------------------- transpose

/// The row of an entry is found by bisection of the row pointers; neighbouring entries of a column
/// come from rows far apart, so that all but the first steps touch a sector each: 4.7 for one that
/// the words would fill.
__global__ void __launch_bounds__(block_threads, blocks_resident)
    rows_of_positions(CsrView a, const int32_t* permutation, int32_t* col) {
  for (int64_t t = first_element(); t < a.nnz; t += element_step())
    col[t] = static_cast<int32_t>(row_of_entry(a.row_ptr, a.rows, permutation[t]));
}

void csr_transpose(Stream& stream, const CsrView& a, View row_ptr, View col, View permutation) {
  check_csr_transpose(a, row_ptr, col, permutation);
  group_positions(stream, a.col, a.nnz, a.cols, row_ptr.as<int32_t>(), permutation.as<int32_t>());
  if (a.nnz == 0) return;
  launch(stream, {"csr_transpose", {blocks_for(a.nnz, block_threads)}, {block_threads}},
         rows_of_positions, a, permutation.as<int32_t>(), col.as<int32_t>());
}

}  // namespace

LongRowList::LongRowList(Stream& stream, const int32_t* row_ptr, int64_t rows, int64_t nnz)
    : counts_(stream.scratch(2 * sizeof(int32_t))),
      rows_(stream.scratch(static_cast<size_t>(most_segments(nnz)) * sizeof(LongRow))),
      segments_(stream.scratch(static_cast<size_t>(most_segments(nnz)) * sizeof(Segment))) {
  launch(stream, {"spmm clear_counts", {1}, {1}}, clear_counts, found());
  launch(stream, {"spmm list_long_rows", {blocks_for(rows, block_threads)}, {block_threads}},
         list_long_rows, row_ptr, rows, found());
}

extern const SpmmKernels spmm_kernels{
    .spmm = spmm,
    .sddmm = sddmm,
    .edge_add = edge_add,
    .edge_softmax = edge_softmax,
    .edge_softmax_gradient = edge_softmax_gradient,
    .edge_attention = edge_attention,
    .edge_attention_gradient = edge_attention_gradient,
    .aggregate_extreme = aggregate_extreme,
    .aggregate_gather = aggregate_gather,
    .aggregate_scatter = aggregate_scatter,
    .segment_reduce = segment_reduce,
    .segment_expand = segment_expand,
    .similarity_spmm = similarity_spmm,
    .csr_transpose = csr_transpose,
};

}  // namespace tessera::kernels::cuda
