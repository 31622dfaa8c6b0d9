// Sums of dense rows that the entries of a sparse matrix select.
//
// A row of the result is summed in registers, a chunk of columns at a time, while the rows that
// come a few entries later are prefetched: the gather is all there is to this kernel. A row longer
// than `segment_entries` is the sum of its segments' sums, in order, whoever computes them; so
// neither the variant nor the thread count changes a bit.
#include "tessera/kernels/cpu/spmm.hpp"

#include <limits>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/grouping.hpp"
#include "tessera/kernels/cpu/simd.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t segment_entries = 1024;
constexpr int64_t lines_ahead = 64;  // prefetched, so that narrow rows hide latency as well

/// What an entry is multiplied with.
enum class Weight : uint8_t { one, value, value_and_col_scale };

/// One product with one head: everything a chunk of columns needs.
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
  int64_t x_stride;
  T* y;
  int64_t y_stride, width;
  C alpha, beta;
  bool mean;
  C* partial = nullptr;  // where set, receives plain sums [rows, width] in place of y

  int64_t degree(int64_t row) const { return row_ptr[row + 1] - row_ptr[row]; }
  C scale(int64_t row) const {
    C s = alpha;
    if (row_scale) s *= row_scale[row];
    if (mean && degree(row) > 0) s /= static_cast<C>(degree(row));
    return s;
  }
};

/// Accumulators with names of their own, so that they stay in registers.
template <class C, int n>
struct Sums {
  Vec<C> head{C{0}};
  Sums<C, n - 1> tail;
};
template <class C>
struct Sums<C, 0> {};

template <class C, int n>
inline void add(Sums<C, n>& sums, const Sums<C, n>& other) {
  if constexpr (n > 0) {
    sums.head += other.head;
    add(sums.tail, other.tail);
  }
}

/// How many columns a chunk has: `n` whole vectors, or the first `lanes` of one.
template <int n>
struct Whole {
  static constexpr int vectors = n;
  template <class S>
  auto read(const S* p) const {
    return load(p);
  }
  template <class S, class V>
  void write(S* p, V v) const {
    store(p, v);
  }
};
struct Part {
  static constexpr int vectors = 1;
  int64_t lanes;
  template <class S>
  auto read(const S* p) const {
    return load(p, lanes);
  }
  template <class S, class V>
  void write(S* p, V v) const {
    store(p, v, lanes);
  }
};

template <Weight kind, class T, class Chunk, class C, int n>
inline void accumulate(Sums<C, n>& sums, const T* x, Vec<C> weight, Chunk chunk) {
  if constexpr (n > 0) {
    if constexpr (kind != Weight::one)
      sums.head = fma(chunk.read(x), weight, sums.head);
    else
      sums.head += chunk.read(x);
    accumulate<kind>(sums.tail, x + Vec<C>::width, weight, chunk);
  }
}

template <Weight kind, class T, class Chunk>
auto sum_segment(const Product<T>& p, int64_t begin, int64_t end, int64_t column, Chunk chunk) {
  using C = compute_t<T>;
  constexpr int64_t chunk_bytes = Chunk::vectors * Vec<C>::width * static_cast<int64_t>(sizeof(T));
  constexpr int64_t lines = (chunk_bytes + 63) / 64, distance = lines_ahead / lines;
  Sums<C, Chunk::vectors> sums;
  const T* x = p.x + column;
  const int64_t last = p.nnz - 1;
  for (int64_t e = begin; e < end; ++e) {
    const int64_t ahead = std::min(e + distance, last);
    const int64_t c = p.col ? p.col[e] : e;
    const auto* next =
        reinterpret_cast<const char*>(x + (p.col ? p.col[ahead] : ahead) * p.x_stride);
    for (int64_t line = 0; line < chunk_bytes; line += 64) __builtin_prefetch(next + line);
    Vec<C> weight{C{1}};
    if constexpr (kind == Weight::value) weight = static_cast<C>(p.values[e * p.value_stride]);
    if constexpr (kind == Weight::value_and_col_scale)
      weight = p.col_scale[c] * (p.values ? static_cast<C>(p.values[e * p.value_stride]) : C{1});
    accumulate<kind>(sums, x + c * p.x_stride, weight, chunk);
  }
  return sums;
}

template <class T, class Chunk, class C, int n>
inline void write_row(const Product<T>& p, T* y, Vec<C> scale, const Sums<C, n>& sums,
                      Chunk chunk) {
  if constexpr (n > 0) {
    Vec<C> v = sums.head * scale;
    if (p.beta != 0) v = fma(chunk.read(y), Vec<C>(p.beta), v);
    chunk.write(y, v);
    write_row(p, y + Vec<C>::width, scale, sums.tail, chunk);
  }
}

template <class C, class Chunk, int n>
inline void write_partial(C* to, const Sums<C, n>& sums, Chunk chunk) {
  if constexpr (n > 0) {
    chunk.write(to, sums.head);
    write_partial(to + Vec<C>::width, sums.tail, chunk);
  }
}

/// Rows [first, last), for one chunk of columns; those with more than `longest` entries are left
/// out.
template <Weight kind, class T, class Chunk>
void sum_rows(const Product<T>& p, int64_t first, int64_t last, int64_t longest, int64_t column,
              Chunk chunk) {
  using C = compute_t<T>;
  for (int64_t row = first; row < last; ++row) {
    const int64_t begin = p.row_ptr[row], end = p.row_ptr[row + 1];
    if (end - begin > longest || (begin == end && p.beta == 1)) continue;
    Sums<C, Chunk::vectors> sums;
    for (int64_t at = begin; at < end; at += segment_entries)
      add(sums, sum_segment<kind>(p, at, std::min(at + segment_entries, end), column, chunk));
    if (p.partial)
      write_partial(p.partial + row * p.width + column, sums, chunk);
    else
      write_row(p, p.y + row * p.y_stride + column, Vec<C>(p.scale(row)), sums, chunk);
  }
}

/// Calls body(column, chunk) for chunks that cover [0, width).
template <class C, class Body>
inline void for_chunks(int64_t width, Body&& body) {
  constexpr int64_t lanes = Vec<C>::width;
  int64_t column = 0;
  if constexpr (vector_bytes == 64)  // 32 registers
    for (; column + 16 * lanes <= width; column += 16 * lanes) body(column, Whole<16>{});
  for (; column + 8 * lanes <= width; column += 8 * lanes) body(column, Whole<8>{});
  if (column + 4 * lanes <= width) body(column, Whole<4>{}), column += 4 * lanes;
  if (column + 2 * lanes <= width) body(column, Whole<2>{}), column += 2 * lanes;
  if (column + lanes <= width) body(column, Whole<1>{}), column += lanes;
  if (column < width) body(column, Part{width - column});
}

template <Weight kind, class T>
void sum_rows(const Product<T>& p, int64_t first, int64_t last, int64_t longest) {
  for_chunks<compute_t<T>>(p.width, [&](int64_t column, auto chunk) {
    sum_rows<kind>(p, first, last, longest, column, chunk);
  });
}

/// One long row: its segments are the rows of a product of their own, joined in order.
template <Weight kind, class T>
void sum_long_row(Stream& stream, const Product<T>& p, int64_t row) {
  using C = compute_t<T>;
  constexpr int64_t lanes = Vec<C>::width;
  const int64_t segments = (p.degree(row) + segment_entries - 1) / segment_entries;
  const Scratch cuts = stream.scratch(static_cast<size_t>(segments + 1) * sizeof(int32_t));
  const Scratch sums = stream.scratch(static_cast<size_t>(segments * p.width) * sizeof(C));
  for (int64_t s = 0; s <= segments; ++s)
    cuts.as<int32_t>()[s] = static_cast<int32_t>(
        std::min<int64_t>(p.row_ptr[row] + s * segment_entries, p.row_ptr[row + 1]));

  Product<T> part = p;
  part.row_ptr = cuts.as<int32_t>();
  part.partial = sums.as<C>();
  parallel_blocks(segments, [&](int64_t s) { sum_rows<kind>(part, s, s + 1, segment_entries); });

  const Vec<C> scale(p.scale(row));
  T* y = p.y + row * p.y_stride;
  const auto join = [&](int64_t column, auto chunk) {
    Sums<C, 1> total;
    for (int64_t s = 0; s < segments; ++s)
      total.head += chunk.read(part.partial + s * p.width + column);
    write_row(p, y + column, scale, total, chunk);
  };
  int64_t column = 0;
  for (; column + lanes <= p.width; column += lanes) join(column, Whole<1>{});
  if (column < p.width) join(column, Part{p.width - column});
}

template <Weight kind, class T>
void run(Stream& stream, const Product<T>& p, SpmmVariant variant, int64_t workers) {
  constexpr int64_t any_length = std::numeric_limits<int64_t>::max();
  if (workers == 1) return sum_rows<kind>(p, 0, p.rows, any_length);
  // With merge_path, rows longer than a piece come afterwards, since they would keep one worker
  // busy while the others are done.
  const int64_t pieces = std::min(p.rows, 16 * workers);
  const int64_t longest = variant == SpmmVariant::merge_path
                              ? std::max(segment_entries, (p.rows + p.nnz) / pieces)
                              : any_length;
  parallel_blocks(pieces, [&](int64_t piece) {
    sum_rows<kind>(p, balanced_cut(p.row_ptr, p.rows, piece, pieces),
                   balanced_cut(p.row_ptr, p.rows, piece + 1, pieces), longest);
  });
  if (variant == SpmmVariant::row_split) return;
  for (int64_t row = 0; row < p.rows; ++row)
    if (p.degree(row) > longest) sum_long_row<kind>(stream, p, row);
}

template <class T>
void run(Stream& stream, const Product<T>& p, SpmmVariant variant) {
  const int64_t workers = (p.rows + p.nnz) * p.width < (int64_t{1} << 16) ? 1 : max_threads();
  if (variant == SpmmVariant::automatic && workers > 1) {
    int64_t longest = 0;
    for (int64_t row = 0; row < p.rows; ++row) longest = std::max(longest, p.degree(row));
    variant = choose_spmm(p.rows, p.nnz, longest, workers);
  }
  if (p.col_scale)
    run<Weight::value_and_col_scale>(stream, p, variant, workers);
  else if (p.values)
    run<Weight::value>(stream, p, variant, workers);
  else
    run<Weight::one>(stream, p, variant, workers);
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
                 from.stride,
                 y.as<T>(),
                 to.stride,
                 from.heads * from.width,
                 static_cast<C>(params.alpha),
                 static_cast<C>(params.beta),
                 params.mean};
    if (value_heads == 1) return run(stream, p, params.variant);
    p.width = from.width;
    for (int64_t head = 0; head < from.heads; ++head) {
      run(stream, p, params.variant);
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
        Product<T>{a.rows, a.nnz, a.row_ptr, a.col, nullptr, 1, nullptr, nullptr, x.as<T>(),
                   from.stride, y.as<T>(), to.stride, from.width, 1, 0, op == SegmentOp::mean},
        SpmmVariant::automatic);
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
    .aggregate_extreme = aggregate_extreme,
    .aggregate_gather = aggregate_gather,
    .aggregate_scatter = aggregate_scatter,
    .segment_reduce = segment_reduce,
    .segment_expand = segment_expand,
    .csr_transpose = csr_transpose,
};

}  // namespace tessera::kernels::cpu
