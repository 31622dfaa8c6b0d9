#pragma once

#include <cmath>

#include "tessera/kernels/attention_operands.hpp"
#include "tessera/kernels/cuda/faults.cuh"
#include "tessera/kernels/cuda/gemm_tile.cuh"
#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/functors.hpp"

/// What the kernels of the attention family share (attention.cu holds the forward kernel and the
/// table, attention_gradient.cu the others): tiles of scores in registers, and how they are made
/// and multiplied.
///
/// A block of four warps owns 64 rows (queries, or keys), a warp 16 of them. It walks along the
/// columns (keys, or queries) in steps of `side`, by squares of operands that asynchronous copies
/// bring to shared memory while the warps work on the square before. A lane holds its scores as
/// multiply_add leaves sums (gemm_tile.cuh); the columns of a tile are so ordered that scores are,
/// without a move, the left factor of the next product.
namespace tessera::kernels::cuda {

template <class E>
struct ScoreShape {
  static constexpr int warps = 4, rows = 16 * warps, threads = warps * 32;
  static constexpr int side = sizeof(E) == 8 ? 32 : 64;  // doubles fill registers
  static constexpr int pieces = side / tile_depth<E>;    // tiles of a square
  static constexpr int resident = 4;                     // squares of rows kept in shared memory
  using Sums = compute_t<E>[side / 8][4];
};

// ---------------------------------------------------------------- operands

/// An operand in memory: of leading index l, row i begins at offset(stride, l) + i * token.
template <class E>
struct Tokens {
  E* data;
  int64_t stride[max_rank];
  int64_t token;
  int32_t count, width;
  bool whole_chunks;  // rows begin where chunks may be copied whole

  explicit Tokens(const View& v)
      : data(v.as<E>()),
        token(v.stride[v.rank - 2]),
        count(static_cast<int32_t>(v.shape[v.rank - 2])),
        width(static_cast<int32_t>(v.shape[v.rank - 1])),
        whole_chunks(aligned(v.data, chunk_bytes)) {
    for (int i = 0; i < v.rank; ++i) stride[i] = v.stride[i];
    for (int i = 0; i + 1 < v.rank; ++i)
      whole_chunks =
          whole_chunks && (v.shape[i] == 1 || v.stride[i] * sizeof(E) % chunk_bytes == 0);
  }
};

/// Of one leading index.
template <class E>
struct Matrix {
  E* data;
  int64_t stride;
  int32_t count, width;
  bool whole_chunks;

  TS_DEVICE Matrix(const Tokens<E>& t, const LeadingAxes& leading, int64_t index)
      : data(t.data + leading.offset(t.stride, index)),
        stride(t.token),
        count(t.count),
        width(t.width),
        whole_chunks(t.whole_chunks) {}
};

/// What is added to scores, and what hides them; which probabilities are dropped.
struct ScoreRules {
  /// An operand [..., queries, keys].
  struct Addend {
    const void* data;
    int64_t stride[max_rank];
    int64_t query, key;  // strides

    explicit Addend(const View& v) : data(v.data), query(0), key(0) {
      for (int i = 0; i < v.rank; ++i) stride[i] = v.stride[i];
      if (v) query = v.stride[v.rank - 2], key = v.stride[v.rank - 1];
    }
  };

  LeadingAxes leading;
  Addend bias, mask;
  View key_lengths;
  int32_t queries, keys;
  bool causal, wide_bias;
  double scale, keep_scale;  // of scores, and of probabilities that are not dropped
  uint64_t drop_below;       // words of Philox; 0 without dropout
  RngState rng;

  ScoreRules(const View& q, const View& k, const AttentionMask& m, const AttentionParams& p)
      : leading(q),
        bias(m.bias),
        mask(m.mask),
        key_lengths(m.key_lengths),
        queries(static_cast<int32_t>(q.shape[q.rank - 2])),
        keys(static_cast<int32_t>(k.shape[k.rank - 2])),
        causal(p.causal),
        wide_bias(m.bias.dtype != q.dtype),
        scale(p.scale),
        keep_scale(1 / (1 - p.dropout)),
        drop_below(static_cast<uint64_t>(std::ceil(p.dropout * 0x1p32))),
        rng(p.rng) {}
};

/// The rules for one leading index.
template <class E>
struct Scores {
  using C = compute_t<E>;
  const ScoreRules& rules;
  int64_t index, bias, mask;  // where the operands begin
  int32_t length;             // keys from there on are hidden

  TS_DEVICE Scores(const ScoreRules& r, int64_t l, Finding* finding, int32_t call)
      : rules(r),
        index(l),
        bias(r.leading.offset(r.bias.stride, l)),
        mask(r.leading.offset(r.mask.stride, l)),
        length(r.keys) {
    if (!r.key_lengths) return;
    const int64_t at = r.leading.offset(r.key_lengths.stride, l);
    const int64_t n = r.key_lengths.dtype == DType::i32 ? r.key_lengths.as<const int32_t>()[at]
                                                        : r.key_lengths.as<const int64_t>()[at];
    const bool fits = n >= 0 && n <= r.keys;
    if (!fits && thread_index().x == 0) report(finding, call, l, n, 0, int64_t{r.keys} + 1);
    length = fits ? static_cast<int32_t>(n) : 0;
  }

  /// Queries [first, first + count) see no key from here on.
  TS_DEVICE int32_t keys_end(int32_t first, int32_t count) const {
    const int32_t end = rules.causal ? first + count + rules.keys - rules.queries : length;
    return end < 0 ? 0 : end < length ? end : length;
  }
  /// No query before this one sees keys from `first` on.
  TS_DEVICE int32_t queries_begin(int32_t first) const {
    if (first >= length) return rules.queries;
    const int32_t begin = rules.causal ? first + rules.queries - rules.keys : 0;
    return begin > 0 ? begin : 0;
  }
  /// The score of a product of q and k; -inf where the query may not see the key.
  TS_DEVICE C operator()(C product, int32_t query, int32_t key) const {
    bool seen = query < rules.queries && key < length &&
                (!rules.causal || key - rules.keys <= query - rules.queries);
    if (seen && rules.mask.data)
      seen = static_cast<const bool*>(
          rules.mask.data)[mask + query * rules.mask.query + key * rules.mask.key];
    if (!seen) return -INFINITY;
    C score = product * static_cast<C>(rules.scale);
    if (rules.bias.data) {
      const int64_t at = bias + query * rules.bias.query + key * rules.bias.key;
      score += rules.wide_bias ? static_cast<const C*>(rules.bias.data)[at]
                               : widen(static_cast<const E*>(rules.bias.data)[at]);
    }
    return score;
  }
  TS_DEVICE bool drops() const { return rules.drop_below > 0; }
  TS_DEVICE bool keeps(int32_t query, int32_t key) const {
    const int64_t row = index * rules.queries + query, blocks = (int64_t{rules.keys} + 3) / 4;
    const RngState rng = rules.rng.resolved();
    const Philox::Block b =
        Philox::generate(rng.seed, rng.offset + static_cast<uint64_t>(row * blocks + key / 4));
    const uint32_t low = key & 1 ? b.word[1] : b.word[0], high = key & 1 ? b.word[3] : b.word[2];
    return (key & 2 ? high : low) >= rules.drop_below;
  }
};

// ---------------------------------------------------------------- squares in shared memory

/// side x side elements of an operand's rows: columns of the scores along the depth of their
/// product, or the depth of the next product along its columns.
template <class E>
union Square {
  Tile<E, true, ScoreShape<E>::side> along[ScoreShape<E>::pieces];
  Tile<E, false, ScoreShape<E>::side> across[ScoreShape<E>::pieces];
};
/// The block's rows along the depth.
template <class E>
struct RowSquare {
  Tile<E, true, ScoreShape<E>::rows> along[ScoreShape<E>::pieces];
};
/// Two squares of columns, and behind them those of rows.
template <class E>
struct ScoreMemory {
  Square<E> columns[2];

  TS_DEVICE RowSquare<E>& rows(int number) {
    return reinterpret_cast<RowSquare<E>*>(this + 1)[number];
  }
  static size_t bytes(int64_t squares) {
    const int64_t kept = squares <= ScoreShape<E>::resident ? squares : 2;
    return sizeof(ScoreMemory) + static_cast<size_t>(kept) * sizeof(RowSquare<E>);
  }
};

template <class E>
TS_HD constexpr int squares_of(int32_t width) {
  return (width + ScoreShape<E>::side - 1) / ScoreShape<E>::side;
}

/// Starts to copy elements [depth, depth + side) of rows from `first` on, as `tiles` lie.
template <class E, int extent>
TS_DEVICE void load_along(Tile<E, true, extent> (&tiles)[ScoreShape<E>::pieces],
                          const Matrix<const E>& m, int32_t first, int32_t depth) {
  for (int p = 0; p < ScoreShape<E>::pieces; ++p) {
    const int32_t at = depth + p * tile_depth<E>;
    if (at >= m.width) break;
    tiles[p].template load<ScoreShape<E>::threads>(m.data, m.stride, first, m.count, at, m.width,
                                                   m.whole_chunks);
  }
}
/// Starts to copy elements [column, column + side) of rows [first, end), zeros behind them.
template <class E>
TS_DEVICE void load_across(Square<E>& square, const Matrix<const E>& m, int32_t first, int32_t end,
                           int32_t column) {
  for (int p = 0; p < ScoreShape<E>::pieces; ++p)
    square.across[p].template load<ScoreShape<E>::threads>(
        m.data, m.stride, column, m.width, first + p * tile_depth<E>, end, m.whole_chunks);
}

// ---------------------------------------------------------------- products

TS_DEVICE int score_row(int i) {
  return static_cast<int>(warp_index()) * 16 + static_cast<int>(lane_index()) / 4 + i / 2 * 8;
}
/// The column of sums[j][i], as chained fragments order them.
template <class E>
TS_DEVICE int score_column(int j, int i) {
  return 8 * j + chained_column<E>(static_cast<int>(lane_index()) % 4 * 2 + i % 2);
}

template <class E, class Body>
TS_DEVICE void each_score(Body&& body) {
#pragma unroll
  for (int j = 0; j < ScoreShape<E>::side / 8; ++j)
#pragma unroll
    for (int i = 0; i < 4; ++i) body(j, i);
}

/// What the probabilities of a lane's tile of scores are multiplied with: 0 where they are dropped.
/// The words are drawn in a loop that stays one: 32 of them at a time would fill the registers.
template <bool keys_are_rows, class E>
class Kept {
 public:
  using C = compute_t<E>;
  TS_DEVICE Kept(const Scores<E>& scores, int32_t first_row, int32_t first_column)
      : scale_(static_cast<C>(scores.rules.keep_scale)), bits_(~uint32_t{0}) {
    if (!scores.drops()) return;
    bits_ = 0;
#pragma unroll 1
    for (int e = 0; e < ScoreShape<E>::side / 2; ++e) {
      const int32_t row = first_row + score_row(e % 4),
                    column = first_column + score_column<E>(e / 4, e % 4);
      const bool keeps = scores.keeps(keys_are_rows ? column : row, keys_are_rows ? row : column);
      bits_ |= static_cast<uint32_t>(keeps) << e;
    }
  }
  TS_DEVICE C operator()(int j, int i) const { return bits_ >> (4 * j + i) & 1 ? scale_ : C{0}; }

 private:
  C scale_;
  uint32_t bits_;
};

template <class E>
TS_DEVICE void clear(typename ScoreShape<E>::Sums& sums) {
  each_score<E>([&](int j, int i) { sums[j][i] = 0; });
}

/// sums += rows columns' over `depth` elements of the squares.
template <class E>
TS_DEVICE void multiply_rows(typename ScoreShape<E>::Sums& sums, const RowSquare<E>& rows,
                             const Square<E>& columns, int32_t depth) {
  const int first = static_cast<int>(warp_index()) * 16;
#pragma unroll 1
  for (int step = 0; step * step_depth<E> < depth && step < ScoreShape<E>::pieces * 2; ++step) {
    const FragmentA<E> a = fragment_a(rows.along[step / 2], first, step % 2);
#pragma unroll
    for (int j = 0; j < ScoreShape<E>::side / 16; ++j) {
      const FragmentB<E> b = fragment_b<true>(columns.along[step / 2], 16 * j, step % 2);
      multiply_add(sums[2 * j], a, b, 0);
      multiply_add(sums[2 * j + 1], a, b, 1);
    }
  }
}

/// out += m x over `depth` columns of m, of which x has as many rows, into `columns` columns.
/// Halves: m is rounded, or with `exactly` the sum of two halves.
template <bool exactly, class E>
TS_DEVICE void multiply_scores(typename ScoreShape<E>::Sums& out,
                               const typename ScoreShape<E>::Sums& m, const Square<E>& x,
                               int32_t depth, int32_t columns) {
#pragma unroll
  for (int step = 0; step < ScoreShape<E>::pieces * 2; ++step) {
    if (step * step_depth<E> >= depth) break;
    FragmentA<E> parts[exactly && sizeof(E) == 2 ? 2 : 1];
    chain_fragments(parts, m, step);
#pragma unroll
    for (int j = 0; j < ScoreShape<E>::side / 16; ++j) {
      if (16 * j >= columns) break;
      const FragmentB<E> b = fragment_b(x.across[step / 2], 16 * j, step % 2);
#pragma unroll
      for (const FragmentA<E>& a : parts) {
        multiply_add(out[2 * j], a, b, 0);
        multiply_add(out[2 * j + 1], a, b, 1);
      }
    }
  }
}

/// Runs load(slot, i) and use(slot, i) for i in [0, count), the loads one step ahead; copies that
/// were started before are there for the first use.
template <class Load, class Use>
TS_DEVICE void in_turns(int64_t count, Load&& load, Use&& use) {
  if (count > 0) load(0, 0);
  commit_copies();
  for (int64_t i = 0; i < count; ++i) {
    wait_copies<0>();
    sync_block();  // step i is there for all, and none uses step i - 1 any more
    if (i + 1 < count) load(static_cast<int>((i + 1) % 2), i + 1);
    commit_copies();
    use(static_cast<int>(i % 2), i);
  }
  wait_copies<0>();
}

/// Writes factor(i / 2) * sums to columns from `first` on of the warp's rows; row 0 of the block is
/// number `row` of m. Four lanes hold 8 neighbours of a row, 16 bytes of halves: they exchange
/// pairs of two such runs, and store whole sectors.
template <class E, class Factor>
TS_DEVICE void store_rows(const Matrix<E>& m, int32_t row, int32_t first,
                          const typename ScoreShape<E>::Sums& sums, Factor factor) {
  const int lane = static_cast<int>(lane_index());
  const auto pair_of = [&](int j, int half) {
    return Pack<E, 2>{narrow<E>(factor(half) * sums[j][2 * half]),
                      narrow<E>(factor(half) * sums[j][2 * half + 1])};
  };
  const auto store = [&](int j, int half) {
    const int32_t at = row + score_row(2 * half), column = first + 8 * j + lane % 4 * 2;
    if (at >= m.count || column >= m.width) return;
    E* const to = m.data + at * m.stride + column;
    const Pack<E, 2> pair = pair_of(j, half);
    if (m.whole_chunks && column + 1 < m.width) {
      store_vector(reinterpret_cast<Pack<E, 2>*>(to), pair);
    } else {
      to[0] = pair.lane[0];
      if (column + 1 < m.width) to[1] = pair.lane[1];
    }
  };
#pragma unroll
  for (int j = 0; j < ScoreShape<E>::side / 8; j += 2)
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if constexpr (sizeof(E) == 2) {
        if (m.whole_chunks && first + 8 * (j + 2) <= m.width) {
          const bool odd = lane % 2;  // keeps the second run, gives of the first
          const Pack<E, 2> x = pair_of(j, half), y = pair_of(j + 1, half),
                           other = shuffle_xor(odd ? x : y, 1), low = odd ? other : x,
                           high = odd ? y : other;
          const int32_t at = row + score_row(2 * half),
                        column = first + 8 * (j + odd) + lane % 4 / 2 * 4;
          if (at < m.count)
            store_vector(reinterpret_cast<Pack<E, 4>*>(m.data + at * m.stride + column),
                         Pack<E, 4>{low.lane[0], low.lane[1], high.lane[0], high.lane[1]});
          continue;
        }
      }
      store(j, half);
      store(j + 1, half);
    }
}

/// Kernels count tokens and columns in 32 bits.
inline void check_counts(const char* operation, const View& q, const View& k, const View& v) {
  constexpr int64_t most = INT32_MAX / 2;
  for (const View* x : {&q, &k, &v})
    TS_CHECK(x->shape[x->rank - 2] <= most && x->shape[x->rank - 1] <= most, operation, ": ",
             x->dims(), " has more tokens or columns than 32-bit numbers count");
}

/// kernel(arguments...) in so many blocks, with shared memory for the squares of rows.
template <class E, class... Parameters, class... Arguments>
void launch_scores(Stream& stream, const char* name, int64_t blocks, int row_squares,
                   void (*kernel)(Parameters...), const Arguments&... arguments) {
  TS_CHECK(blocks <= INT32_MAX, name, ": ", blocks, " blocks are more than a grid holds");
  if (blocks == 0) return;
  launch(stream,
         {.name = name,
          .grid = {static_cast<uint32_t>(blocks)},
          .block = {ScoreShape<E>::threads},
          .shared_bytes = ScoreMemory<E>::bytes(row_squares)},
         kernel, arguments...);
}

void attention_gradient(Stream&, View q, View k, View v, const AttentionMask&,
                        const AttentionParams&, View y, View lse, View gy, View gq, View gk,
                        View gv, View gbias);

}  // namespace tessera::kernels::cuda
