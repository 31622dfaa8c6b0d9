#include "tessera/kernels/gemm.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/blas.hpp"
#include "tessera/kernels/cpu/epilogue.hpp"
#include "tessera/kernels/cpu/gemm_tile.hpp"
#include "tessera/kernels/cpu/parallel.hpp"

namespace tessera::kernels::cpu {
namespace {

// One matrix product, turned so that the rows of C are contiguous. E: element of A and B, C: of C.
template <class E, class C>
struct Product {
  int64_t m, n, k;
  const E* a;
  int64_t a_row, a_column;  // strides
  const E* b;
  int64_t b_row, b_column;
  C* c;
  int64_t c_row;
  compute_t<C> alpha, beta;
  const C* bias;
  BiasAxis bias_axis;
  Activation activation;
};

// A block of B of this many rows and columns is packed at a time and shared by all threads; every
// thread has some 14 x 24 rows of A of the same depth beside it in its second-level cache.
constexpr int64_t block_depth = 384;
constexpr int64_t block_columns = 2048;
constexpr int64_t block_row_tiles = 24;
// Multiply-adds that pay for waking a thread.
constexpr int64_t thread_work = 200'000;

// How one product is cut. Only the cut of k bears on the result, and it depends on k alone.
template <class E, class C>
struct Plan {
  using T = compute_t<C>;
  Split depth;  // of k
  bool pack_a, pack_b;
  int threads;
  int64_t row_tiles, columns;  // per block
  int64_t a_size, b_size, sums_size;

  Plan(const Product<E, C>& p, int max_threads) : depth(p.k, block_depth) {
    constexpr bool converts = !std::is_same_v<E, T>;
    const int64_t work = p.m * p.n * std::max<int64_t>(p.k, 1);
    threads = static_cast<int>(std::clamp<int64_t>(work / thread_work, 1, max_threads));
    pack_a = converts || p.n > 4 * tile_columns<T>;
    pack_b = converts || p.b_column != 1 || p.m > 2 * tile_rows;
    row_tiles = pack_a ? block_row_tiles * threads : Split(p.m, tile_rows).parts;
    columns = std::min(p.n, block_columns);
    const int64_t kc = depth.largest();
    a_size = pack_a ? std::min(p.m, row_tiles * tile_rows) * kc : 0;
    const int64_t padded = Split(pack_b ? columns : 1, tile_columns<T>).parts * tile_columns<T>;
    b_size = pack_b || p.n % Vec<T>::width != 0 ? padded * kc : 0;
    sums_size = !std::is_same_v<C, T> && depth.parts > 1 ? p.m * columns : 0;
  }
  int64_t scratch_elements() const { return a_size + b_size + sums_size; }
};

template <class E, class C>
class BlockedProduct {
  using T = compute_t<C>;
  static constexpr bool direct_store = std::is_same_v<C, T>;

 public:
  BlockedProduct(const Product<E, C>& product, const Plan<E, C>& plan, T* scratch)
      : p_(product),
        plan_(plan),
        rows_(p_.m, tile_rows),
        packed_a_(scratch),
        packed_b_(scratch + plan.a_size),
        sums_(packed_b_ + plan.b_size) {}

  void run() {
    for (column_ = 0; column_ < p_.n; column_ += plan_.columns) {
      columns_ = std::min(plan_.columns, p_.n - column_);
      for (int64_t d = 0; d < std::max<int64_t>(plan_.depth.parts, 1); ++d) {
        first_ = d == 0;
        last_ = d + 1 >= plan_.depth.parts;
        k0_ = plan_.depth.parts ? plan_.depth.begin(d) : 0;
        k_ = plan_.depth.parts ? plan_.depth.size(d) : 0;
        for (row_tile_ = 0; row_tile_ < rows_.parts; row_tile_ += plan_.row_tiles) run_block();
      }
    }
  }

 private:
  int64_t column_tiles() const { return Split(columns_, tile_columns<T>).parts; }
  int64_t tile_width(int64_t j) const {
    return std::min<int64_t>(tile_columns<T>, columns_ - j * tile_columns<T>);
  }
  bool packed(int64_t j) const { return plan_.pack_b || tile_width(j) % Vec<T>::width != 0; }
  T* panel_b(int64_t j) const { return packed_b_ + (plan_.pack_b ? j * tile_columns<T> * k_ : 0); }

  void pack_b(int64_t j) {
    const int64_t width = tile_width(j);
    const int64_t padded = width > Vec<T>::width ? tile_columns<T> : Vec<T>::width;
    pack_panel(p_.b + k0_ * p_.b_row + (column_ + j * tile_columns<T>)*p_.b_column, p_.b_column,
               p_.b_row, width, padded, k_, panel_b(j));
  }
  void pack_a(int64_t i) {
    const int64_t row = rows_.begin(row_tile_ + i), count = rows_.size(row_tile_ + i);
    pack_panel(p_.a + row * p_.a_row + k0_ * p_.a_column, p_.a_row, p_.a_column, count, count, k_,
               packed_a_ + (row - rows_.begin(row_tile_)) * k_);
  }

  void run_block() {
    const int64_t row_tiles = std::min(plan_.row_tiles, rows_.parts - row_tile_);
    const int64_t tiles = column_tiles();
    const int64_t a_panels = plan_.pack_a ? row_tiles : 0;
    // Of an unpacked B, only a last tile that is no whole number of vectors needs a padded copy.
    const int64_t b_begin = row_tile_ > 0 ? tiles : plan_.pack_b ? 0 : tiles - packed(tiles - 1);
    const int64_t panels = a_panels + tiles - b_begin;
    parallel_for(panels, Split(panels, std::max<int64_t>(1, panels / plan_.threads)).largest(),
                 [&](int64_t begin, int64_t end) {
                   for (int64_t i = begin; i < end; ++i)
                     i < a_panels ? pack_a(i) : pack_b(b_begin + i - a_panels);
                 });

    if (plan_.threads == 1) {
      multiply(0, row_tiles, 0, tiles);
      return;
    }
    const int64_t wanted = int64_t{4} * plan_.threads;
    const Split by_row(row_tiles, (row_tiles + wanted - 1) / wanted);
    const int64_t by_column_parts = std::min(tiles, (wanted + by_row.parts - 1) / by_row.parts);
    const Split by_column(tiles, (tiles + by_column_parts - 1) / by_column_parts);
    parallel_blocks(by_row.parts * by_column.parts, [&](int64_t block) {
      const int64_t i = block / by_column.parts, j = block % by_column.parts;
      multiply(by_row.begin(i), by_row.size(i), by_column.begin(j), by_column.size(j));
    });
  }

  void multiply(int64_t row_begin, int64_t row_count, int64_t column_begin, int64_t column_count) {
    for (int64_t j = column_begin; j < column_begin + column_count; ++j)
      for (int64_t i = row_begin; i < row_begin + row_count; ++i) multiply_tile(i, j);
  }

  void multiply_tile(int64_t i, int64_t j) {
    const int64_t row = rows_.begin(row_tile_ + i), rows = rows_.size(row_tile_ + i);
    const int64_t column = column_ + j * tile_columns<T>;
    TileProduct<T> t;
    t.k = k_;
    t.columns = tile_width(j);
    TileA layout = TileA::columns;
    if constexpr (std::is_same_v<E, T>) {
      t.a = p_.a + row * p_.a_row + k0_ * p_.a_column;
      layout = p_.a_row == 1 ? TileA::columns : TileA::rows;
      t.a_stride = p_.a_row == 1 ? p_.a_column : p_.a_row;
      t.b = p_.b + k0_ * p_.b_row + column;
      t.b_stride = p_.b_row;
    }
    if (plan_.pack_a) {
      t.a = packed_a_ + (row - rows_.begin(row_tile_)) * k_;
      layout = TileA::columns;
      t.a_stride = rows;
    }
    if (packed(j)) {
      t.b = panel_b(j);
      t.b_stride = t.columns > Vec<T>::width ? tile_columns<T> : Vec<T>::width;
    }
    t.alpha = p_.alpha;
    t.beta = first_ ? (direct_store ? p_.beta : T(0)) : T(1);

    C* c = p_.c + row * p_.c_row + column;
    alignas(vector_bytes) T sums[direct_store ? 1 : tile_rows * tile_columns<T>];
    if constexpr (direct_store) {
      t.c = c;
      t.c_stride = p_.c_row;
    } else if (plan_.sums_size) {
      t.c = sums_ + row * plan_.columns + (column - column_);
      t.c_stride = plan_.columns;
    } else {
      t.c = sums;
      t.c_stride = tile_columns<T>;
    }
    tile_kernel<T>(layout, rows, t.columns)(t);
    if (last_ && (!direct_store || p_.bias || p_.activation != Activation::none))
      finish(t.c, t.c_stride, c, row, rows, column, t.columns);
  }

  // Everything that happens to a sum after the last term, while its tile is in the first-level
  // cache.
  void finish(const T* sums, int64_t stride, C* c, int64_t row, int64_t rows, int64_t column,
              int64_t columns) {
    const bool by_row = p_.bias && p_.bias_axis == BiasAxis::row;
    const C* of_columns = p_.bias && !by_row ? p_.bias + column : nullptr;
    for (int64_t i = 0; i < rows; ++i, sums += stride, c += p_.c_row)
      finish_row(sums, columns, by_row ? T(p_.bias[row + i]) : T(0), of_columns,
                 direct_store ? T(0) : p_.beta, p_.activation, c);
  }

  const Product<E, C>& p_;
  const Plan<E, C>& plan_;
  const Split rows_;
  T *packed_a_, *packed_b_, *sums_;
  // the block at hand
  int64_t column_ = 0, columns_ = 0, k0_ = 0, k_ = 0, row_tile_ = 0;
  bool first_ = true, last_ = true;
};

// The batch dimensions: extents and the strides of a, b, c.
struct Batch {
  int rank = 0;
  int64_t extent[max_rank], a[max_rank], b[max_rank], c[max_rank];

  int64_t size() const {
    int64_t n = 1;
    for (int i = 0; i < rank; ++i) n *= extent[i];
    return n;
  }
  template <class E, class C>
  Product<E, C> at(Product<E, C> p, int64_t index) const {
    for (int i = rank - 1; i >= 0; --i) {
      const int64_t x = index % extent[i];
      index /= extent[i];
      p.a += x * a[i];
      p.b += x * b[i];
      p.c += x * c[i];
    }
    return p;
  }
};

template <class E, class C>
void own_gemm(Stream& s, const Product<E, C>& p, const Batch& batch) {
  using T = compute_t<C>;
  const int64_t count = batch.size();
  const Plan<E, C> shared(p, max_threads());
  const int64_t pieces =
      count == 1 || shared.threads == max_threads()
          ? 1
          : std::min<int64_t>({count, max_threads(),
                               count * p.m * p.n * std::max<int64_t>(p.k, 1) / thread_work});
  if (pieces <= 1) {  // each product on all threads that it can feed
    const Scratch scratch = s.scratch(static_cast<size_t>(shared.scratch_elements()) * sizeof(T));
    for (int64_t i = 0; i < count; ++i) {
      const Product<E, C> one = batch.at(p, i);
      BlockedProduct<E, C>(one, shared, scratch.as<T>()).run();
    }
    return;
  }
  const Plan<E, C> single(p, 1);
  const int64_t elements = single.scratch_elements();
  const Scratch scratch = s.scratch(static_cast<size_t>(elements * pieces) * sizeof(T));
  parallel_blocks(pieces, [&](int64_t piece) {
    for (int64_t i = count * piece / pieces; i < count * (piece + 1) / pieces; ++i) {
      const Product<E, C> one = batch.at(p, i);
      BlockedProduct<E, C>(one, single, scratch.as<T>() + piece * elements).run();
    }
  });
}

#if defined(TESSERA_HAVE_BLAS)
constexpr bool have_blas = true;
#else
constexpr bool have_blas = false;
#endif

template <class E>
constexpr bool vendor_knows = have_blas && (std::is_same_v<E, float> || std::is_same_v<E, double>);

template <class T>
void vendor_gemm([[maybe_unused]] const Product<T, T>& p, [[maybe_unused]] const Batch& batch) {
#if defined(TESSERA_HAVE_BLAS)
  constexpr int64_t limit = std::numeric_limits<int>::max();
  const auto leading = [](int64_t row, int64_t column) {
    return std::max<int64_t>({row, column, 1});
  };
  const int64_t lda = leading(p.a_row, p.a_column), ldb = leading(p.b_row, p.b_column);
  TS_CHECK(std::max({p.m, p.n, p.k, lda, ldb, p.c_row}) <= limit,
           "gemm: extents of the vendor variant are 32-bit");
  const int m = static_cast<int>(p.m), n = static_cast<int>(p.n), k = static_cast<int>(p.k);
  // Row-major C = A B is column-major C' = B' A'.
  const int64_t count = batch.size();
  const auto one = [&](int64_t i) {
    const Product<T, T> q = batch.at(p, i);
    blas_gemm(q.b_column == 1 ? 'N' : 'T', q.a_column == 1 ? 'N' : 'T', n, m, k, q.alpha, q.b,
              static_cast<int>(ldb), q.a, static_cast<int>(lda), q.beta, q.c,
              static_cast<int>(q.c_row));
    if (!q.bias && q.activation == Activation::none) return;
    const bool by_row = q.bias && q.bias_axis == BiasAxis::row;
    for (int64_t r = 0; r < q.m; ++r) {
      T* c = q.c + r * q.c_row;
      finish_row(c, q.n, by_row ? q.bias[r] : T(0), by_row ? nullptr : q.bias, T(0), q.activation,
                 c);
    }
  };
  // Inside a parallel region the library stays on one thread.
  if (count >= max_threads() && p.m * p.n * p.k < 8 * thread_work) {
    parallel_for(count, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) one(i);
    });
  } else {
    for (int64_t i = 0; i < count; ++i) one(i);
  }
#endif
}

// The last two dimensions with the strides of single rows and columns made regular.
struct Layout {
  int64_t rows, columns, row, column;
};

Layout layout_of(const View& x, const char* name) {
  const int r = x.rank - 2;
  Layout l{x.shape[r], x.shape[r + 1], x.stride[r], x.stride[r + 1]};
  const auto fits = [](int64_t outer, int64_t outer_extent, int64_t inner_extent) {
    return outer_extent <= 1 || outer >= inner_extent;
  };
  if ((l.column == 1 || l.columns <= 1) && fits(l.row, l.rows, l.columns)) {
    l.column = 1;
    if (l.rows <= 1) l.row = std::max<int64_t>(l.columns, 1);
  } else {
    TS_CHECK((l.row == 1 || l.rows <= 1) && fits(l.column, l.columns, l.rows), "gemm: ", name, " ",
             x.dims(), " must be contiguous along rows or columns, its last strides are ", l.row,
             " and ", l.column);
    l.row = 1;
    if (l.columns <= 1) l.column = std::max<int64_t>(l.rows, 1);
  }
  return l;
}

void check_arguments(const View& a, const View& b, const View& c, const GemmParams& p) {
  TS_CHECK(
      a.dtype == b.dtype && (c.dtype == a.dtype || (is_half(a.dtype) && c.dtype == DType::f32)),
      "gemm: a and b of one floating dtype and c of the same, or f32 for halves; got ", a.dtype,
      ", ", b.dtype, " and ", c.dtype);
  TS_CHECK(c.rank >= 2 && a.rank == c.rank && b.rank == c.rank,
           "gemm: equal ranks of at least 2 expected, got ", a.dims(), " x ", b.dims(), " -> ",
           c.dims());
  const int r = c.rank - 2;
  bool fits =
      a.shape[r] == c.shape[r] && b.shape[r + 1] == c.shape[r + 1] && a.shape[r + 1] == b.shape[r];
  for (int i = 0; i < r; ++i) fits = fits && a.shape[i] == c.shape[i] && b.shape[i] == c.shape[i];
  TS_CHECK(fits, "gemm: shapes do not fit: ", a.dims(), " x ", b.dims(), " -> ", c.dims());
  if (p.bias) {
    const int64_t extent = p.bias_axis == BiasAxis::row ? c.shape[r] : c.shape[r + 1];
    TS_CHECK(p.bias.dtype == c.dtype && p.bias.numel() == extent && p.bias.contiguous(),
             "gemm: bias must be ", extent, " contiguous values of ", c.dtype, ", got ",
             p.bias.dtype, " ", p.bias.dims());
  }
}

template <class E, class C>
void typed_gemm(Stream& s, const View& a, const View& b, const View& c, const GemmParams& params) {
  const Layout la = layout_of(a, "a"), lb = layout_of(b, "b"), lc = layout_of(c, "c");
  using T = compute_t<C>;
  Product<E, C> p{.m = la.rows,
                  .n = lb.columns,
                  .k = la.columns,
                  .a = a.as<const E>(),
                  .a_row = la.row,
                  .a_column = la.column,
                  .b = b.as<const E>(),
                  .b_row = lb.row,
                  .b_column = lb.column,
                  .c = c.as<C>(),
                  .c_row = lc.row,
                  .alpha = static_cast<T>(params.alpha),
                  .beta = static_cast<T>(params.beta),
                  .bias = params.bias.as<const C>(),
                  .bias_axis = params.bias_axis,
                  .activation = params.activation};
  Batch batch;
  for (int i = 0; i < c.rank - 2; ++i) {
    if (c.shape[i] == 1) continue;
    batch.extent[batch.rank] = c.shape[i];
    batch.a[batch.rank] = a.stride[i];
    batch.b[batch.rank] = b.stride[i];
    batch.c[batch.rank++] = c.stride[i];
  }
  if (batch.size() == 0 || p.m == 0 || p.n == 0) return;
  if (lc.column != 1) {  // C' = B' A'
    std::swap(p.m, p.n);
    std::swap(p.a, p.b);
    std::swap(p.a_row, p.b_column);
    std::swap(p.a_column, p.b_row);
    std::swap_ranges(batch.a, batch.a + batch.rank, batch.b);
    p.c_row = lc.column;
    p.bias_axis = p.bias_axis == BiasAxis::row ? BiasAxis::column : BiasAxis::row;
  }
  // A batch over one and the same B is a taller A.
  while (batch.rank > 0) {
    const int i = batch.rank - 1;
    const bool rows_go_on =
        batch.b[i] == 0 && batch.a[i] == p.m * p.a_row && batch.c[i] == p.m * p.c_row;
    if (!rows_go_on || p.a_column != 1 || (p.bias && p.bias_axis == BiasAxis::row)) break;
    p.m *= batch.extent[i];
    --batch.rank;
  }

  GemmVariant variant = params.variant;
  if (variant == GemmVariant::automatic)
    variant = choose_gemm(p.m, p.n, p.k, a.dtype, params.deterministic, vendor_knows<E>);
  if (variant == GemmVariant::own) return own_gemm(s, p, batch);
  if constexpr (vendor_knows<E>) {
    vendor_gemm(p, batch);
  } else {
    throw Error(ErrorKind::unsupported, concat("gemm: no vendor variant for ", a.dtype,
                                               have_blas ? "" : " in this build (TESSERA_BLAS)"));
  }
}

void gemm(Stream& s, View a, View b, View c, const GemmParams& params) {
  check_arguments(a, b, c, params);
  for_float(a.dtype, "gemm", [&]<class E>() {
    if (c.dtype == a.dtype)
      typed_gemm<E, E>(s, a, b, c, params);
    else if constexpr (!std::is_same_v<E, compute_t<E>>)
      typed_gemm<E, float>(s, a, b, c, params);
  });
}

}  // namespace

const GemmKernels gemm_kernels{.gemm = gemm};

}  // namespace tessera::kernels::cpu
