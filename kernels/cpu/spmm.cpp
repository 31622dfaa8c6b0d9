// Sums of dense rows that the entries of a sparse matrix select.
//
// A row of the result is summed in registers, a chunk of columns at a time, and the gather is all
// there is to it. Rows of an x beyond the second-level cache are prefetched twice: long before into
// that cache, which has more misses under way than the first level can have, and from there shortly
// before. A row longer than `segment_entries` is cut into segments that are summed like rows of
// their own and joined in order, so that no row keeps one thread busy while the others are done,
// and the thread count does not change a bit.
#include "tessera/kernels/cpu/spmm.hpp"

#include <atomic>
#include <limits>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/column_chunks.hpp"
#include "tessera/kernels/cpu/grouping.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t segment_entries = 1024;
/// The second-level cache of a core, or more: an x beyond it is prefetched, a y beyond those of all
/// threads is written past the caches.
constexpr int64_t second_level_bytes = int64_t{2} << 20;

/// What an entry stands for.
enum class Entry : uint8_t {
  next_row,
  row,
  weighted_row,
  weighted_and_scaled_row,
  heads_of_a_vector,    // a row that has a weight for every vector,
  heads_of_two_vectors  // for every two
};

/// One product with one head, or a chunk of its columns.
template <class T>
struct Product {
  using C = compute_t<T>;
  int64_t rows, nnz;
  const int32_t* row_ptr;
  const int32_t* col;  // null: entry e selects row e
  const T* values;     // null: ones
  int64_t value_stride;
  const C* row_scale;  // null: ones, as col_scale
  const C* col_scale;
  const T* x;
  int64_t x_rows, x_stride;
  T* y;
  int64_t y_stride, width;
  C alpha, beta;
  bool mean;
  int64_t head_width = 0;    // columns that have a value in common; 0: all
  bool past_caches = false;  // y is large, aligned to vectors, and not read

  Product from_column(int64_t column) const {
    Product p = *this;
    p.x += column;
    p.y += column;
    if (head_width > 0) p.values += column / head_width;
    return p;
  }
  /// y is alpha times the sums and stays in the caches.
  bool plain() const { return !row_scale && !mean && beta == 0 && !past_caches; }
  C scale(int64_t row) const {
    C s = alpha;
    if (row_scale) s *= row_scale[row];
    const int32_t degree = row_ptr[row + 1] - row_ptr[row];
    if (mean && degree > 0) s /= static_cast<C>(degree);
    return s;
  }
};

/// Prefetches the chunk of columns at p into cache level `level`.
template <int level, int64_t lines>
[[gnu::always_inline]] inline void prefetch(const void* p) {
  for (int64_t line = 0; line < lines; ++line)
    __builtin_prefetch(static_cast<const char*>(p) + 64 * line, 0, 4 - level);
}

/// `far`: x lies beyond the second-level cache.
template <Entry kind, bool far, class T, class Chunk>
[[gnu::always_inline]] inline auto sum_entries(const Product<T>& p, int64_t begin, int64_t end,
                                               Chunk chunk) {
  using C = compute_t<T>;
  constexpr bool weighted = kind == Entry::weighted_row || kind == Entry::weighted_and_scaled_row;
  constexpr int64_t head_vectors = kind == Entry::heads_of_a_vector      ? 1
                                   : kind == Entry::heads_of_two_vectors ? 2
                                                                         : 0;
  constexpr int64_t lines =
      (Chunk::vectors * Vec<C>::width * static_cast<int64_t>(sizeof(T)) + 63) / 64;
  constexpr int64_t far_ahead = lines == 1 ? 128 : 64, near_ahead = 64 / lines;  // entries
  const int64_t last = p.nnz - 1;
  const auto row_of = [&](int64_t e) { return p.x + p.col[std::min(e, last)] * p.x_stride; };
  Sums<C, Chunk> sums;
  sums.each(p.x, [](const T*, Vec<C>& sum) { sum = C{0}; });
  for (int64_t e = begin; e < end; ++e) {
    const int64_t c = kind == Entry::next_row ? e : p.col[e];
    if constexpr (far) {
      prefetch<2, lines>(row_of(e + far_ahead));
      if constexpr (lines > 1) prefetch<1, lines>(row_of(e + near_ahead));
    }
    const T* const x = p.x + c * p.x_stride;
    if constexpr (head_vectors > 0) {
      const T* const values = p.values + e * p.value_stride;
      sums.each(
          x, [&](const T* from, Vec<C>& sum) __attribute__((always_inline)) {
            const int64_t head = (from - x) / (head_vectors * Vec<C>::width);
            sum = fma(chunk.read(from), Vec<C>(static_cast<C>(values[head])), sum);
          });
      continue;
    }
    Vec<C> weight{C{1}};
    if constexpr (kind == Entry::weighted_row)
      weight = static_cast<C>(p.values[e * p.value_stride]);
    if constexpr (kind == Entry::weighted_and_scaled_row)
      weight = p.col_scale[c] * (p.values ? static_cast<C>(p.values[e * p.value_stride]) : C{1});
    sums.each(
        x, [&](const T* from, Vec<C>& sum) __attribute__((always_inline)) {
          sum = weighted ? fma(chunk.read(from), weight, sum) : sum + chunk.read(from);
        });
  }
  return sums;
}

template <class T, class Chunk>
[[gnu::always_inline]] inline void write_row(const Product<T>& p, int64_t row,
                                             Sums<compute_t<T>, Chunk> sums, Chunk chunk) {
  using V = Vec<compute_t<T>>;
  const V scale(p.scale(row));
  T* y = p.y + row * p.y_stride;
  if (p.beta != 0)
    sums.each(y,
              [&](T* to, V sum) { chunk.write(to, fma(chunk.read(to), V(p.beta), sum * scale)); });
  else if (p.past_caches)
    sums.each(y, [&](T* to, V sum) { chunk.write_past_caches(to, sum * scale); });
  else
    sums.each(y, [&](T* to, V sum) { chunk.write(to, sum * scale); });
}

/// The rows that are to be cut into segments, in any order.
struct LongRows {
  int32_t* rows;
  std::atomic<int64_t> count{0};
};

/// The rows of [first, last) for one chunk of columns, without the long ones, which go to `list`
/// where there is one. p is a copy, which no write through y can change; not inline, since GCC then
/// keeps what the loops need in registers.
template <Entry kind, bool far, class T, class Chunk>
[[gnu::noinline]] void sum_rows(const Product<T> p, int64_t first, int64_t last, Chunk chunk,
                                LongRows* list) {
  using V = Vec<compute_t<T>>;
  const bool plain = p.plain();
  const V alpha(p.alpha);
  T* y = p.y + first * p.y_stride;
  int64_t begin, end = p.row_ptr[first];
  for (int64_t row = first; row < last; ++row, y += p.y_stride) {
    begin = std::exchange(end, p.row_ptr[row + 1]);
    if (end - begin > segment_entries) [[unlikely]] {
      if (list) list->rows[list->count++] = static_cast<int32_t>(row);
      continue;
    }
    auto sums = sum_entries<kind, far>(p, begin, end, chunk);
    if (plain) [[likely]]
      sums.each(y, [&](T* to, V sum) { chunk.write(to, sum * alpha); });
    else
      write_row(p, row, sums, chunk);
  }
  if (p.past_caches) stream_fence();
}

/// The entries [begin, end) of a row, whose sums [width] go to `partial`.
template <Entry kind, bool far, class T>
void sum_segment(const Product<T>& p, int64_t begin, int64_t end, compute_t<T>* partial) {
  using C = compute_t<T>;
  for_chunks<C>(p.width, [&](int64_t column, auto chunk) {
    auto sums = sum_entries<kind, far>(p.from_column(column), begin, end, chunk);
    sums.each(partial + column, [&](C* to, Vec<C> sum) { chunk.write(to, sum); });
  });
}

/// The long rows: their segments are handed out like rows, then joined.
template <Entry kind, bool far, class T>
void sum_long_rows(Stream& stream, const Product<T>& p, const int32_t* rows, int64_t count) {
  using C = compute_t<T>;
  const Scratch starts = stream.scratch(static_cast<size_t>(count + 1) * sizeof(int64_t));
  int64_t* start = starts.as<int64_t>();  // of a row's segments among all
  start[0] = 0;
  for (int64_t k = 0; k < count; ++k) {
    const int64_t degree = p.row_ptr[rows[k] + 1] - p.row_ptr[rows[k]];
    start[k + 1] = start[k] + (degree + segment_entries - 1) / segment_entries;
  }
  const Scratch sums = stream.scratch(static_cast<size_t>(start[count] * p.width) * sizeof(C));
  parallel_blocks(start[count], [&](int64_t segment) {
    const int64_t k = std::upper_bound(start, start + count, segment) - start - 1;
    const int64_t begin = p.row_ptr[rows[k]] + (segment - start[k]) * segment_entries;
    const int64_t end = std::min<int64_t>(begin + segment_entries, p.row_ptr[rows[k] + 1]);
    sum_segment<kind, far>(p, begin, end, sums.as<C>() + segment * p.width);
  });
  parallel_blocks(count, [&](int64_t k) {
    for_chunks<C>(p.width, [&](int64_t column, auto chunk) {
      Sums<C, decltype(chunk)> total;
      total.each(p.y, [](T*, Vec<C>& sum) { sum = C{0}; });
      for (int64_t segment = start[k]; segment < start[k + 1]; ++segment)
        total.each(sums.as<C>() + segment * p.width + column,
                   [&](const C* from, Vec<C>& sum) { sum += chunk.read(from); });
      write_row(p.from_column(column), rows[k], total, chunk);
    });
    if (p.past_caches) stream_fence();
  });
}

template <Entry kind, bool far, class T>
void run(Stream& stream, const Product<T>& p) {
  if (p.rows == 0) return;
  const bool small = (p.rows + p.nnz) * p.width < (int64_t{1} << 16);
  const int64_t pieces = small ? 1 : std::min<int64_t>(p.rows, int64_t{16} * max_threads());
  const Scratch list =
      stream.scratch(static_cast<size_t>(p.nnz / segment_entries) * sizeof(int32_t));
  LongRows long_rows{list.as<int32_t>()};
  parallel_blocks(pieces, [&](int64_t piece) {
    const int64_t first = balanced_cut(p.row_ptr, p.rows, piece, pieces),
                  last = balanced_cut(p.row_ptr, p.rows, piece + 1, pieces);
    for_chunks<compute_t<T>>(p.width, [&](int64_t column, auto chunk) {
      sum_rows<kind, far>(p.from_column(column), first, last, chunk,
                          column == 0 ? &long_rows : nullptr);
    });
  });
  if (long_rows.count > 0) sum_long_rows<kind, far>(stream, p, long_rows.rows, long_rows.count);
}

template <class T>
bool writes_past_caches(const Product<T>& p) {
  const auto misaligned =
      static_cast<uintptr_t>(p.y_stride) * sizeof(T) | reinterpret_cast<uintptr_t>(p.y);
  return p.beta == 0 && misaligned % vector_bytes == 0 &&
         p.rows * p.width * static_cast<int64_t>(sizeof(T)) > max_threads() * second_level_bytes;
}

template <Entry kind, class T>
void run(Stream& stream, const Product<T>& p) {
  if (p.x_rows * p.x_stride * static_cast<int64_t>(sizeof(T)) > second_level_bytes)
    run<kind, true>(stream, p);
  else
    run<kind, false>(stream, p);
}

template <class T>
void run(Stream& stream, Product<T> p) {
  p.past_caches = writes_past_caches(p);
  if (p.head_width == Vec<compute_t<T>>::width)
    run<Entry::heads_of_a_vector>(stream, p);
  else if (p.head_width > 0)
    run<Entry::heads_of_two_vectors>(stream, p);
  else if (p.col_scale)
    run<Entry::weighted_and_scaled_row>(stream, p);
  else if (p.values)
    run<Entry::weighted_row>(stream, p);
  else if (p.col)
    run<Entry::row>(stream, p);
  else
    run<Entry::next_row, false>(stream, p);
}

template <class C>
const C* scale_vector(std::string_view name, const View& v, int64_t n) {
  if (!v) return nullptr;
  TS_CHECK(v.rank == 1 && v.shape[0] == n && v.contiguous(), "spmm: ", name,
           " must be contiguous [", n, "], got ", v.dims());
  check_dtype("spmm", name, v, dtype_of<C>);
  return v.as<C>();
}

void spmm(Stream& stream, const CsrView& a, View x, View y, const SpmmParams& params) {
  if (params.variant == SpmmVariant::vendor)
    throw Error(ErrorKind::unsupported, "spmm: there is no vendor variant on the CPU");
  const DenseRows from = dense_rows("spmm", "x", x), to = dense_rows("spmm", "y", y);
  TS_CHECK(from.n == a.cols && to.n == a.rows && from.heads == to.heads && from.width == to.width,
           "spmm: a [", a.rows, ", ", a.cols, "] times x ", x.dims(), " does not give y ",
           y.dims());
  check_dtype("spmm", "y", y, x.dtype);
  int64_t value_heads = 1;
  if (a.values) {
    value_heads = entry_heads("spmm", "values", a.values, a.nnz);
    check_dtype("spmm", "values", a.values, x.dtype);
    TS_CHECK(value_heads == 1 || value_heads == from.heads, "spmm: values ", a.values.dims(),
             " have other heads than x ", x.dims());
  }
  for_float(x.dtype, "spmm", [&]<class T>() {
    using C = compute_t<T>;
    Product<T> p{a.rows,
                 a.nnz,
                 a.row_ptr,
                 a.col,
                 a.values.as<T>(),
                 value_heads,
                 scale_vector<C>("row_scale", params.row_scale, a.rows),
                 scale_vector<C>("col_scale", params.col_scale, a.cols),
                 x.as<T>(),
                 from.n,
                 from.stride,
                 y.as<T>(),
                 to.stride,
                 from.heads * from.width,
                 static_cast<C>(params.alpha),
                 static_cast<C>(params.beta),
                 params.mean};
    if (value_heads == 1) return run(stream, p);
    // Narrow heads side by side: what an entry costs beside its products is shared by all.
    const bool narrow = from.width == Vec<C>::width || from.width == 2 * Vec<C>::width;
    if (narrow && !params.col_scale) {
      p.head_width = from.width;
      return run(stream, p);
    }
    p.width = from.width;
    for (int64_t head = 0; head < from.heads; ++head) {
      run(stream, p);
      p.x += p.width;
      p.y += p.width;
      ++p.values;
    }
  });
}

/// Segments as the rows of a pattern without values: offsets checked and narrowed to i32.
class Segments {
 public:
  Segments(Stream& stream, std::string_view operation, const View& offsets, const View& permutation,
           int64_t n)
      : narrowed_(stream.scratch(offsets.numel() * sizeof(int32_t))) {
    TS_CHECK(offsets.rank == 1 && offsets.shape[0] >= 1 && offsets.contiguous(), operation,
             ": offsets must be contiguous [segments + 1], got ", offsets.dims());
    TS_CHECK(n <= std::numeric_limits<int32_t>::max(), operation, ": ", n,
             " rows are more than 32-bit indices can address");
    view_ = {offsets.shape[0] - 1, n, n, narrowed_.as<int32_t>(), nullptr};
    for_index(offsets.dtype, operation, [&]<class I>() {
      const I* from = offsets.as<I>();
      for (int64_t s = 0; s <= view_.rows; ++s) {
        TS_CHECK(from[s] >= (s == 0 ? I{0} : from[s - 1]) && from[s] <= n, operation, ": offset ",
                 s, " is ", from[s], "; offsets must rise within [0, ", n, "]");
        narrowed_.as<int32_t>()[s] = static_cast<int32_t>(from[s]);
      }
    });
    if (!permutation) return;
    TS_CHECK(permutation.dtype == DType::i32 && permutation.rank == 1 &&
                 permutation.shape[0] == n && permutation.contiguous(),
             operation, ": permutation must be contiguous i32 [", n, "], got ", permutation.dtype,
             " ", permutation.dims());
    view_.col = permutation.as<int32_t>();
    for (int64_t k = 0; k < n; ++k)
      TS_CHECK(view_.col[k] >= 0 && view_.col[k] < n, operation, ": permutation ", k, " is ",
               view_.col[k], ", outside [0, ", n, ")");
  }
  const CsrView& view() const { return view_; }

 private:
  Scratch narrowed_;
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
    return segment_extreme(op, a, x, y, index);
  for_float(x.dtype, "segment_reduce", [&]<class T>() {
    run(stream,
        Product<T>{a.rows, a.nnz, a.row_ptr, a.col, nullptr, 1, nullptr, nullptr, x.as<T>(), from.n,
                   from.stride, y.as<T>(), to.stride, from.width, 1, 0, op == SegmentOp::mean});
  });
}

void segment_expand(Stream& stream, View y, View offsets, View permutation, View x) {
  const DenseRows from = dense_rows("segment_expand", "y", y),
                  to = dense_rows("segment_expand", "x", x);
  const Segments segments(stream, "segment_expand", offsets, permutation, to.n);
  const CsrView& a = segments.view();
  TS_CHECK(x.rank == 2 && y.rank == 2 && from.n == a.rows && to.width == from.width,
           "segment_expand: y ", y.dims(), " in ", a.rows, " segments does not give x ", x.dims());
  check_dtype("segment_expand", "x", x, y.dtype);
  for_float(y.dtype, "segment_expand", [&]<class T>() {
    for_balanced_rows(a, from.width, [&](int64_t first, int64_t last) {
      for (int64_t row = first; row < last; ++row)
        for (int64_t e = a.row_ptr[row]; e < a.row_ptr[row + 1]; ++e)
          std::copy_n(y.as<T>() + row * from.stride, from.width,
                      x.as<T>() + (a.col ? a.col[e] : e) * to.stride);
    });
  });
}

void csr_transpose(Stream& stream, const CsrView& a, View row_ptr, View col, View permutation) {
  const auto check = [](std::string_view name, const View& v, int64_t n) {
    TS_CHECK(v.dtype == DType::i32 && v.rank == 1 && v.shape[0] == n && v.contiguous(),
             "csr_transpose: ", name, " must be contiguous i32 [", n, "], got ", v.dtype, " ",
             v.dims());
  };
  check("row_ptr", row_ptr, a.cols + 1);
  check("col", col, a.nnz);
  check("permutation", permutation, a.nnz);
  group_positions(stream, a.col, a.nnz, a.cols, row_ptr.as<int32_t>(), permutation.as<int32_t>());

  const Scratch scratch = stream.scratch(static_cast<size_t>(a.nnz) * sizeof(int32_t));
  auto* row_of = scratch.as<int32_t>();
  for_balanced_rows(a, 1, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
      std::fill(row_of + a.row_ptr[row], row_of + a.row_ptr[row + 1], static_cast<int32_t>(row));
  });
  parallel_for(a.nnz, 1 << 15, [&](int64_t first, int64_t last) {
    for (int64_t t = first; t < last; ++t)
      col.as<int32_t>()[t] = row_of[permutation.as<int32_t>()[t]];
  });
}

}  // namespace

const SpmmKernels spmm_kernels{
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

}  // namespace tessera::kernels::cpu
