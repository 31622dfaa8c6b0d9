#include "tessera/kernels/cpu/epilogue.hpp"
#include "tessera/kernels/cpu/gemm_product.hpp"
#include "tessera/kernels/cpu/gemm_tile.hpp"

namespace tessera::kernels::cpu {
namespace {

// A block of B of this depth and size stays in the second-level cache while the rows of A pass, a
// tile of them at a time staying in the first-level cache. Packed rows of A share the second-level
// cache with it, so many tiles at a time.
constexpr int64_t block_depth = 384;
constexpr int64_t block_bytes = 512 << 10;
constexpr int64_t block_row_tiles = 24;
// Sums of fewer terms are over before a line of C would come.
constexpr int64_t least_prefetch_depth = 48;
// Operands of few pages are read where they are.
constexpr int64_t small_bytes = 256 << 10;

template <class E, class C>
class BlockedProduct {
  using T = compute_t<C>;
  static constexpr bool converts = !std::is_same_v<E, T>;
  static constexpr bool direct_store = std::is_same_v<C, T>;
  static constexpr int64_t most_sums =
      std::max(tile_rows * tile_columns<T>, wide_tile_rows* wide_tile_columns<T>);

 public:
  // How one product is cut. Only the cut of k bears on the result, and it depends on k alone.
  struct Plan {
    Split depth;  // of k
    TileA layout;
    int64_t rows, width;  // of a tile
    bool pack_a, pack_b;
    int threads;
    int64_t row_tiles, columns;  // per block
    int64_t a_size, b_size, sums_size;

    Plan(const Product<E, C>& p, int on_threads)
        : depth(p.k, block_depth),
          layout(p.a_column == 1 ? TileA::rows : TileA::columns),
          rows(p.n > tile_columns<T> ? wide_tile_rows : tile_rows),
          width(p.n > tile_columns<T> ? wide_tile_columns<T> : tile_columns<T>),
          threads(on_threads) {
      const int64_t kc = depth.largest();
      const auto small = [kc](int64_t stride) {
        return kc * stride * static_cast<int64_t>(sizeof(E)) <= small_bytes;
      };
      pack_a = converts || (layout == TileA::columns && p.n > 2 * width && !small(p.a_column));
      pack_b = converts || p.b_column != 1 || (p.m > 4 * rows && !small(p.b_row));
      row_tiles = pack_a ? block_row_tiles * threads : Split(p.m, rows).parts;
      const int64_t most =
          block_bytes / (std::max<int64_t>(kc, 1) * static_cast<int64_t>(sizeof(T)));
      columns = std::min(p.n, pack_b ? std::max(most / width, int64_t{1}) * width : p.n);
      a_size = pack_a ? packed_stride(std::min(p.m, row_tiles * rows)) * packed_stride(kc) : 0;
      const bool pad_b = !masked_memory && p.n % Vec<T>::width != 0;
      b_size = pack_b || pad_b ? Split(pack_b ? columns : 1, width).parts * width * kc : 0;
      sums_size = !direct_store && depth.parts > 1 ? p.m * columns : 0;
    }
    int64_t scratch_elements() const { return a_size + b_size + sums_size; }
    // An odd number of lines, so that neighbours do not meet in one set of the cache.
    static int64_t packed_stride(int64_t n) {
      constexpr int64_t line = 64 / static_cast<int64_t>(sizeof(T));
      return ((n + line - 1) / line | 1) * line;
    }
  };

  BlockedProduct(const Product<E, C>& product, const Plan& plan, T* scratch)
      : p_(product),
        plan_(plan),
        rows_(p_.m, plan.rows),
        width_(plan.width),
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
  int64_t column_tiles() const { return Split(columns_, width_).parts; }
  int64_t tile_width(int64_t j) const { return std::min(width_, columns_ - j * width_); }
  int64_t padded_width(int64_t j) const {
    return Split(tile_width(j), Vec<T>::width).parts * Vec<T>::width;
  }
  bool packed(int64_t j) const {
    return plan_.pack_b || (!masked_memory && tile_width(j) % Vec<T>::width != 0);
  }
  T* panel_b(int64_t j) const { return packed_b_ + (plan_.pack_b ? j * width_ * k_ : 0); }
  // Between packed columns (TileA::columns) or rows of A.
  int64_t a_stride() const {
    return Plan::packed_stride(
        plan_.layout == TileA::columns ? std::min(plan_.row_tiles * plan_.rows, p_.m) : k_);
  }

  // Panels [begin, end), read in the order of memory.
  void pack_b(int64_t begin, int64_t end) {
    const E* from = p_.b + k0_ * p_.b_row + column_ * p_.b_column;
    if (p_.b_column == 1) {
      for (int64_t k = 0; k < k_; ++k, from += p_.b_row)
        for (int64_t j = begin; j < end; ++j)
          copy_padded(from + j * width_, tile_width(j), panel_b(j) + k * padded_width(j),
                      padded_width(j));
    } else {
      for (int64_t j = begin; j < end; ++j)
        pack_panel(from + j * width_ * p_.b_column, p_.b_column, p_.b_row, tile_width(j),
                   padded_width(j), k_, panel_b(j));
    }
  }
  void pack_a(int64_t begin, int64_t end) {
    const int64_t row = rows_.begin(row_tile_ + begin), count = rows_.begin(row_tile_ + end) - row;
    const int64_t stride = a_stride(), offset = row - rows_.begin(row_tile_);
    const E* from = p_.a + row * p_.a_row + k0_ * p_.a_column;
    if (plan_.layout == TileA::rows)
      for (int64_t i = 0; i < count; ++i)
        copy_padded(from + i * p_.a_row, k_, packed_a_ + (offset + i) * stride, k_);
    else
      for (int64_t k = 0; k < k_; ++k)
        copy_padded(from + k * p_.a_column, count, packed_a_ + offset + k * stride, count);
  }

  void run_block() {
    const int64_t row_tiles = std::min(plan_.row_tiles, rows_.parts - row_tile_);
    const int64_t tiles = column_tiles();
    const int64_t a_panels = plan_.pack_a ? row_tiles : 0;
    // Of an unpacked B, only a last tile that is no whole number of vectors needs a padded copy.
    const int64_t b_begin = row_tile_ > 0 ? tiles : plan_.pack_b ? 0 : tiles - packed(tiles - 1);
    const int64_t panels = a_panels + tiles - b_begin;
    const auto pack = [&](int64_t begin, int64_t end) {
      if (begin < a_panels) pack_a(begin, std::min(end, a_panels));
      if (end > a_panels)
        pack_b(b_begin + std::max(begin, a_panels) - a_panels, b_begin + end - a_panels);
    };
    if (plan_.threads == 1) {
      pack(0, panels);
      multiply(0, row_tiles, 0, tiles);
      return;
    }
    parallel_for(panels, std::max<int64_t>(1, panels / plan_.threads), pack);
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
    const int64_t row_end = row_begin + row_count, column_end = column_begin + column_count;
    for (int64_t i = row_begin; i < row_end; ++i) {
      if (i + 1 < row_end) prefetch_a(i + 1);
      for (int64_t j = column_begin; j < column_end; ++j) multiply_tile(i, j);
    }
  }

  // The few lines of the next tile of unpacked rows, which no prefetcher foresees.
  void prefetch_a(int64_t i) {
    if (plan_.pack_a || plan_.layout != TileA::rows || k_ > 128) return;
    for (int64_t row = rows_.begin(row_tile_ + i); row < rows_.begin(row_tile_ + i + 1); ++row)
      for (int64_t k = 0; k < k_; k += 64 / static_cast<int64_t>(sizeof(E)))
        __builtin_prefetch(p_.a + row * p_.a_row + k0_ + k);
  }

  void multiply_tile(int64_t i, int64_t j) {
    const int64_t row = rows_.begin(row_tile_ + i), rows = rows_.size(row_tile_ + i);
    const int64_t column = column_ + j * width_;
    TileProduct<T> t;
    t.k = k_;
    t.columns = tile_width(j);
    if constexpr (!converts) {
      t.a = p_.a + row * p_.a_row + k0_ * p_.a_column;
      t.a_stride = plan_.layout == TileA::rows ? p_.a_row : p_.a_column;
      t.b = p_.b + k0_ * p_.b_row + column;
      t.b_stride = p_.b_row;
    }
    if (plan_.pack_a) {
      t.a_stride = a_stride();
      const int64_t offset = row - rows_.begin(row_tile_);
      t.a = packed_a_ + (plan_.layout == TileA::rows ? offset * t.a_stride : offset);
    }
    if (packed(j)) {
      t.b = panel_b(j);
      t.b_stride = padded_width(j);
    }
    t.prefetch = k_ >= least_prefetch_depth;
    t.alpha = p_.alpha;
    t.beta = first_ ? (direct_store ? p_.beta : T(0)) : T(1);

    C* c = p_.c + row * p_.c_row + column;
    alignas(vector_bytes) T sums[direct_store ? 1 : most_sums];
    if constexpr (direct_store) {
      t.c = c;
      t.c_stride = p_.c_row;
    } else if (plan_.sums_size) {
      t.c = sums_ + row * plan_.columns + (column - column_);
      t.c_stride = plan_.columns;
    } else {
      t.c = sums;
      t.c_stride = width_;
    }
    tile_kernel<T>(plan_.layout, rows, t.columns)(t);
    if (last_ && (!direct_store || p_.bias || p_.activation != Activation::none))
      finish(t.c, t.c_stride, c, row, rows, column, t.columns);
  }

  // Everything that happens to a sum after the last term, while its tile is in the first-level
  // cache.
  void finish(const T* sums, int64_t stride, C* c, int64_t row, int64_t rows, int64_t column,
              int64_t columns) {
    const bool by_row = p_.has_row_bias();
    const C* of_columns = p_.bias && !by_row ? p_.bias + column : nullptr;
    for (int64_t i = 0; i < rows; ++i, sums += stride, c += p_.c_row)
      finish_row(sums, columns, by_row ? T(p_.bias[row + i]) : T(0), of_columns,
                 direct_store ? T(0) : p_.beta, p_.activation, c);
  }

  const Product<E, C>& p_;
  const Plan& plan_;
  const Split rows_;
  const int64_t width_;
  T *packed_a_, *packed_b_, *sums_;
  // the block at hand
  int64_t column_ = 0, columns_ = 0, k0_ = 0, k_ = 0, row_tile_ = 0;
  bool first_ = true, last_ = true;
};

}  // namespace

template <class E, class C>
void blocked_gemm(Stream& s, const Product<E, C>& p, const Batch& batch) {
  run_batch<BlockedProduct<E, C>>(s, p, batch);
}
template void blocked_gemm(Stream&, const Product<float, float>&, const Batch&);
template void blocked_gemm(Stream&, const Product<double, double>&, const Batch&);
template void blocked_gemm(Stream&, const Product<f16, f16>&, const Batch&);
template void blocked_gemm(Stream&, const Product<bf16, bf16>&, const Batch&);
template void blocked_gemm(Stream&, const Product<f16, float>&, const Batch&);
template void blocked_gemm(Stream&, const Product<bf16, float>&, const Batch&);

}  // namespace tessera::kernels::cpu
