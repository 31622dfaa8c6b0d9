// Attention by tiles of up to 64 queries x 128 keys. Scores are held transposed, [key][query]: the
// queries lie in the lanes of a vector, so that maxima, sums and exponentials over the keys need no
// work across lanes, and only a tile of q (and of gy in the gradient) has to be transposed, never k
// or v.
#include <atomic>
#include <cmath>
#include <limits>

#include "tessera/kernels/attention_operands.hpp"
#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/gemm_tile.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/transpose.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t query_tile = 64;
constexpr int64_t key_tile = 128;

template <class C>
int64_t padded(int64_t n) {
  return (n + Vec<C>::width - 1) / Vec<C>::width * Vec<C>::width;
}

/// c = a b + beta * c over register tiles; n is a multiple of the vector width.
template <class C>
void multiply(TileA layout, const C* a, int64_t a_stride, const C* b, int64_t b_stride, C* c,
              int64_t c_stride, int64_t m, int64_t n, int64_t k, C beta) {
  const Split rows(m, tile_rows);
  for (int64_t j = 0; j < n; j += tile_columns<C>) {
    const int64_t columns = std::min<int64_t>(tile_columns<C>, n - j);
    for (int64_t part = 0; part < rows.parts; ++part) {
      const int64_t i = rows.begin(part);
      tile_kernel<C>(layout, rows.size(part),
                     columns)({k, a + (layout == TileA::rows ? i * a_stride : i), a_stride, b + j,
                               b_stride, c + i * c_stride + j, c_stride, columns, C{1}, beta});
    }
  }
}

/// out[i, :] = factor * x[i, :] in the compute type, rows padded with zeros to `width`.
template <class T, class C = compute_t<T>>
void gather_rows(const T* x, int64_t stride, int64_t rows, int64_t n, C factor, C* out,
                 int64_t width) {
  for (int64_t i = 0; i < rows; ++i) {
    const T* from = x + i * stride;
    C* to = out + i * width;
    row_each<C>(n, [&](auto at) { store(to + at.i, read(from, at) * Vec<C>(factor)); });
  }
}

/// out[c, r] = factor * x[r, c], query_tile columns apart, zeros behind the last row.
template <class T, class C = compute_t<T>>
void gather_columns(const T* x, int64_t stride, int64_t rows, int64_t n, C factor, C* out) {
  transpose(x, stride, rows, n, [=](int64_t c, int64_t r, Vec<C> v) {
    store(out + c * query_tile + r, v * Vec<C>(factor));
  });
}

struct Block {
  int64_t begin, size;
};

template <class T>
struct Attention {
  using C = compute_t<T>;
  static constexpr int64_t w = Vec<C>::width;
  static constexpr C infinity = std::numeric_limits<C>::infinity();

  LeadingAxes leading;
  View q, k, v;
  AttentionMask mask;
  AttentionParams params;
  int64_t queries, keys, dim, value_dim, dim_width, value_width;
  Split query_vectors;  // blocks of queries, cut at whole vectors

  Attention(const View& q_, const View& k_, const View& v_, const AttentionMask& m,
            const AttentionParams& p)
      : leading(q_),
        q(q_),
        k(k_),
        v(v_),
        mask(m),
        params(p),
        queries(q_.shape[q_.rank - 2]),
        keys(k_.shape[k_.rank - 2]),
        dim(q_.shape[q_.rank - 1]),
        value_dim(v_.shape[v_.rank - 1]),
        dim_width(padded<C>(dim)),
        value_width(padded<C>(value_dim)),
        query_vectors((queries + w - 1) / w, query_tile / w) {}

  template <class E>
  static int64_t token_stride(const E& view) {
    return view.stride[view.rank - 2];
  }
  const T* rows_of(const View& x, int64_t l, int64_t row) const {
    return x.as<const T>() + leading.offset(x.stride, l) + row * token_stride(x);
  }
  T* rows_of(const View& x, int64_t l, int64_t row, int) const {
    return x.as<T>() + leading.offset(x.stride, l) + row * token_stride(x);
  }

  Block query_block(int64_t block) const {
    const int64_t begin = query_vectors.begin(block) * w;
    return {begin, std::min(queries, begin + query_vectors.size(block) * w) - begin};
  }
  int64_t visible_length(int64_t l) const {
    if (!mask.key_lengths) return keys;
    const int64_t at = leading.offset(mask.key_lengths.stride, l);
    return mask.key_lengths.dtype == DType::i32 ? mask.key_lengths.as<const int32_t>()[at]
                                                : mask.key_lengths.as<const int64_t>()[at];
  }
  // Calls body(keys of a tile) for those that some query of the block may see.
  template <class Body>
  void each_key_block(int64_t l, Block query, Body&& body) const {
    const int64_t length = visible_length(l);
    const int64_t parts = (length + key_tile - 1) / key_tile;
    const int64_t step = parts == 0 ? 1 : ((length + parts - 1) / parts + 3) / 4 * 4;
    int64_t end = length;
    if (params.causal) end = std::min(end, query.begin + query.size + keys - queries);
    for (int64_t j = 0; j < end; j += step) body(Block{j, std::min(step, end - j)});
  }

  // scores[key][query] += bias, and -inf where the query may not see the key.
  void restrict(int64_t l, Block query, Block key, C* scores, C* addend) const {
    if (mask.bias || mask.mask) {
      fill_addend(l, query, key, addend);
      transpose(static_cast<const C*>(addend), key_tile, query.size, key.size,
                [=](int64_t j, int64_t i, Vec<C> a) {
                  C* s = scores + j * query_tile + i;
                  store(s, load(static_cast<const C*>(s)) + a);
                });
    }
    const int64_t diagonal =
        query.begin + keys - queries;  // the last key that the first query sees
    if (!params.causal || key.begin + key.size - 1 <= diagonal) return;
    for (int64_t j = std::max<int64_t>(0, diagonal + 1 - key.begin); j < key.size; ++j) {
      const int64_t blind = std::min(query.size, key.begin + j - diagonal);
      std::fill_n(scores + j * query_tile, blind, -infinity);
    }
  }
  // addend[query][key]
  void fill_addend(int64_t l, Block query, Block key, C* addend) const {
    const auto stride = [](const View& m, int behind) { return m.stride[m.rank - behind]; };
    for (int64_t i = 0; i < query.size; ++i) {
      C* row = addend + i * key_tile;
      if (mask.bias) {
        const View& b = mask.bias;
        const int64_t at = leading.offset(b.stride, l) + (query.begin + i) * stride(b, 2) +
                           key.begin * stride(b, 1);
        for_float(b.dtype, "attention", [&]<class B>() {
          const B* from = b.as<const B>() + at;
          for (int64_t j = 0; j < key.size; ++j) row[j] = static_cast<C>(from[j * stride(b, 1)]);
        });
      } else {
        std::fill_n(row, key.size, C{0});
      }
      if (!mask.mask) continue;
      const View& m = mask.mask;
      const bool* sees = m.as<const bool>() + leading.offset(m.stride, l) +
                         (query.begin + i) * stride(m, 2) + key.begin * stride(m, 1);
      for (int64_t j = 0; j < key.size; ++j) row[j] = sees[j * stride(m, 1)] ? row[j] : -infinity;
    }
  }

  // kept[key][query] = 0 for a dropped probability, else 1 / (1 - dropout).
  void fill_kept(int64_t l, Block query, Block key, C* kept) const {
    const auto limit = static_cast<uint64_t>(std::ceil(params.dropout * 0x1p32));
    const C scale = static_cast<C>(1 / (1 - params.dropout));
    const int64_t blocks = (keys + 3) / 4;
    const RngState rng = params.rng.resolved();
    for (int64_t j = 0; j < key.size; j += 4)
      for (int64_t i = 0; i < query.size; ++i) {
        const int64_t row = l * queries + query.begin + i;
        const Philox::Block block = Philox::generate(
            rng.seed, rng.offset + static_cast<uint64_t>(row * blocks + (key.begin + j) / 4));
        for (int64_t n = 0; n < std::min<int64_t>(4, key.size - j); ++n)
          kept[(j + n) * query_tile + i] = block.word[n] < limit ? C{0} : scale;
      }
  }

  int64_t forward_scratch() const {
    return dim * query_tile + key_tile * (dim_width + value_width + 2 * query_tile) +
           query_tile * value_width + 2 * query_tile;
  }

  void forward(int64_t l, int64_t block, const View& y, const View& lse, C* scratch) const {
    C* const q_columns = scratch;
    C* const k_rows = q_columns + dim * query_tile;
    C* const v_rows = k_rows + key_tile * dim_width;
    C* const scores = v_rows + key_tile * value_width;
    C* const other = scores + key_tile * query_tile;  // addend, then kept
    C* const sums_of_v = other + key_tile * query_tile;
    C* const top = sums_of_v + query_tile * value_width;
    C* const sum = top + query_tile;

    const Block query = query_block(block);
    const int64_t lanes = padded<C>(query.size);
    gather_columns(rows_of(q, l, query.begin), token_stride(q), query.size, dim,
                   static_cast<C>(params.scale), q_columns);
    std::fill_n(top, lanes, -infinity);
    std::fill_n(sum, lanes, C{0});
    std::fill_n(sums_of_v, query.size * value_width, C{0});
    each_key_block(l, query, [&](Block key) {
      gather_rows(rows_of(k, l, key.begin), token_stride(k), key.size, dim, C{1}, k_rows,
                  dim_width);
      gather_rows(rows_of(v, l, key.begin), token_stride(v), key.size, value_dim, C{1}, v_rows,
                  value_width);
      multiply(TileA::rows, k_rows, dim_width, q_columns, query_tile, scores, query_tile, key.size,
               lanes, dim, C{0});
      restrict(l, query, key, scores, other);
      C rescale[query_tile];
      bool moved = false;
      for (int64_t i = 0; i < lanes; i += w)
        moved |= exponentials(scores + i, key.size, top + i, sum + i, rescale + i);
      if (moved && key.begin > 0)
        for (int64_t i = 0; i < query.size; ++i)
          row_each<C>(value_width, [&, row = sums_of_v + i * value_width](auto at) {
            write(row, at, read(static_cast<const C*>(row), at) * Vec<C>(rescale[i]));
          });
      if (params.dropout > 0) {
        fill_kept(l, query, key, other);
        for (int64_t j = 0; j < key.size; ++j)
          for (int64_t i = 0; i < query.size; ++i)
            scores[j * query_tile + i] *= other[j * query_tile + i];
      }
      multiply(TileA::columns, scores, query_tile, v_rows, value_width, sums_of_v, value_width,
               query.size, value_width, key.size, C{1});
    });
    for (int64_t i = 0; i < query.size; ++i) {
      const Vec<C> scale = sum[i] == 0 ? C{0} : C{1} / sum[i];  // 0: no key was seen
      T* to = rows_of(y, l, query.begin + i, 0);
      const C* from = sums_of_v + i * value_width;
      row_each<C>(value_dim, [=](auto at) { write(to, at, read(from, at) * scale); });
      if (lse) lse.as<C>()[l * queries + query.begin + i] = top[i] + std::log(sum[i]);
    }
  }

  // For one vector of queries: scores become exp(score - top), with top and sum carried on. True
  // when an earlier top has grown; `rescale` is what earlier sums were multiplied with.
  static bool exponentials(C* scores, int64_t count, C* top, C* sum, C* rescale) {
    const Vec<C> before = load(static_cast<const C*>(top));
    Vec<C> a = before, b = before;
    int64_t j = 0;
    for (; j + 2 <= count; j += 2) {
      a = max(load(static_cast<const C*>(scores + j * query_tile)), a);
      b = max(load(static_cast<const C*>(scores + (j + 1) * query_tile)), b);
    }
    if (j < count) a = max(load(static_cast<const C*>(scores + j * query_tile)), a);
    const Vec<C> now = max(a, b);
    const Vec<C> origin = where(now == Vec<C>(-infinity), Vec<C>(C{0}), now);
    const Vec<C> factor = exp(before - origin);
    Vec<C> s(C{0}), t(C{0});
    for (j = 0; j + 2 <= count; j += 2) {
      C *p0 = scores + j * query_tile, *p1 = p0 + query_tile;
      const Vec<C> e0 = exp(load(static_cast<const C*>(p0)) - origin),
                   e1 = exp(load(static_cast<const C*>(p1)) - origin);
      store(p0, e0), store(p1, e1);
      s += e0, t += e1;
    }
    if (j < count) {
      C* p = scores + j * query_tile;
      const Vec<C> e = exp(load(static_cast<const C*>(p)) - origin);
      store(p, e);
      s += e;
    }
    store(sum, fma(load(static_cast<const C*>(sum)), factor, s + t));
    store(top, now);
    store(rescale, factor);
    return any(now != before);
  }

  // --- gradient ---

  int64_t gradient_scratch() const {
    return (dim + value_dim) * query_tile + query_tile * (2 * dim_width + value_width + 2) +
           key_tile * (dim_width + value_width + 3 * query_tile);
  }

  // Adds what one block of queries contributes to gk and gv (rows of dim_width and value_width in
  // the compute type), writes its gq and adds to gbias.
  void gradient(int64_t l, int64_t block, const View& y, const View& lse, const View& gy,
                const View& gq, C* gk, C* gv, const View& gbias, C* scratch) const {
    C* const q_columns = scratch;
    C* const gy_columns = q_columns + dim * query_tile;
    C* const q_rows = gy_columns + value_dim * query_tile;
    C* const gq_rows = q_rows + query_tile * dim_width;
    C* const gy_rows = gq_rows + query_tile * dim_width;
    C* const reference = gy_rows + query_tile * value_width;
    C* const delta = reference + query_tile;
    C* const k_rows = delta + query_tile;
    C* const v_rows = k_rows + key_tile * dim_width;
    C* const p = v_rows + key_tile * value_width;
    C* const dp = p + key_tile * query_tile;
    C* const other = dp + key_tile * query_tile;  // addend, then kept, then the kept probabilities

    const Block query = query_block(block);
    const int64_t lanes = padded<C>(query.size);
    const C scale = static_cast<C>(params.scale);
    const T *q_from = rows_of(q, l, query.begin), *gy_from = rows_of(gy, l, query.begin);
    gather_columns(q_from, token_stride(q), query.size, dim, scale, q_columns);
    gather_columns(gy_from, token_stride(gy), query.size, value_dim, C{1}, gy_columns);
    gather_rows(q_from, token_stride(q), query.size, dim, scale, q_rows, dim_width);
    gather_rows(gy_from, token_stride(gy), query.size, value_dim, C{1}, gy_rows, value_width);
    std::fill_n(gq_rows, query.size * dim_width, C{0});
    std::fill_n(reference, lanes, infinity);  // exp(score - inf) = 0 for lanes without a query
    std::fill_n(delta, lanes, C{0});
    for (int64_t i = 0; i < query.size; ++i) {
      const C value = lse.as<const C>()[l * queries + query.begin + i];
      if (value != -infinity) reference[i] = value;
      const T* row = rows_of(y, l, query.begin + i);
      delta[i] = row_sum<C>(value_dim, [&, g = gy_rows + i * value_width](auto at) {
        return read(static_cast<const C*>(g), at) * read(row, at);
      });
    }
    each_key_block(l, query, [&](Block key) {
      gather_rows(rows_of(k, l, key.begin), token_stride(k), key.size, dim, C{1}, k_rows,
                  dim_width);
      gather_rows(rows_of(v, l, key.begin), token_stride(v), key.size, value_dim, C{1}, v_rows,
                  value_width);
      multiply(TileA::rows, k_rows, dim_width, q_columns, query_tile, p, query_tile, key.size,
               lanes, dim, C{0});
      restrict(l, query, key, p, other);
      multiply(TileA::rows, v_rows, value_width, gy_columns, query_tile, dp, query_tile, key.size,
               lanes, value_dim, C{0});
      const bool drops = params.dropout > 0;
      if (drops) fill_kept(l, query, key, other);
      for (int64_t i = 0; i < lanes; i += w) {
        const Vec<C> top = load(static_cast<const C*>(reference + i)),
                     d = load(static_cast<const C*>(delta + i));
        for (int64_t j = 0; j < key.size; ++j) {
          const int64_t at = j * query_tile + i;
          const Vec<C> e = exp(load(static_cast<const C*>(p + at)) - top);
          Vec<C> g = load(static_cast<const C*>(dp + at));
          if (drops) {
            const Vec<C> r = load(static_cast<const C*>(other + at));
            g *= r;
            store(other + at, e * r);
          }
          store(p + at, e);
          store(dp + at, e * (g - d));
        }
      }
      multiply(TileA::rows, drops ? other : p, query_tile, gy_rows, value_width,
               gv + key.begin * value_width, value_width, key.size, value_width, query.size, C{1});
      multiply(TileA::rows, dp, query_tile, q_rows, dim_width, gk + key.begin * dim_width,
               dim_width, key.size, dim_width, query.size, C{1});
      multiply(TileA::columns, dp, query_tile, k_rows, dim_width, gq_rows, dim_width, query.size,
               dim_width, key.size, C{1});
      if (gbias) {
        const int64_t across = gbias.stride[gbias.rank - 2], along = gbias.stride[gbias.rank - 1];
        C* to = gbias.as<C>() + leading.offset(gbias.stride, l) + query.begin * across +
                key.begin * along;
        for (int64_t i = 0; i < query.size; ++i)
          for (int64_t j = 0; j < key.size; ++j)
            to[i * across + j * along] += dp[j * query_tile + i];
      }
    });
    put_rows(gq_rows, dim_width, query.size, dim, scale, gq, l, query.begin);
  }

  void put_rows(const C* x, int64_t width, int64_t rows, int64_t n, C factor, const View& out,
                int64_t l, int64_t first) const {
    for (int64_t i = 0; i < rows; ++i) {
      T* to = rows_of(out, l, first + i, 0);
      row_each<C>(n, [&, from = x + i * width](auto at) {
        write(to, at, read(from, at) * Vec<C>(factor));
      });
    }
  }
};

/// Hands out tasks to threads that each have their own scratch. Which thread does a task leaves no
/// trace.
template <class C, class Body>
void run_tasks(Stream& s, int64_t tasks, int64_t scratch_elements, Body&& body) {
  const int64_t workers = std::min<int64_t>(tasks, max_threads());
  if (workers <= 0) return;
  const int64_t size = padded<C>(scratch_elements);
  const Scratch scratch = s.scratch(static_cast<size_t>(workers * size) * sizeof(C));
  std::atomic<int64_t> next{0};
  parallel_for(workers, 1, [&](int64_t begin, int64_t end) {
    for (int64_t worker = begin; worker < end; ++worker)
      for (int64_t t = next++; t < tasks; t = next++) body(t, scratch.as<C>() + worker * size);
  });
}

void check_lengths(std::string_view operation, const View& q, const View& k,
                   const AttentionMask& mask) {
  const View& lengths = mask.key_lengths;
  if (!lengths) return;
  const LeadingAxes leading(q);
  const int64_t keys = k.shape[k.rank - 2];
  for (int64_t l = 0; l < leading.count; ++l) {
    const int64_t at = leading.offset(lengths.stride, l);
    const int64_t n = lengths.dtype == DType::i32 ? lengths.as<const int32_t>()[at]
                                                  : lengths.as<const int64_t>()[at];
    TS_CHECK(n >= 0 && n <= keys, operation, ": key length ", n, " is outside 0 to ", keys);
  }
}

void attention(Stream& s, View q, View k, View v, const AttentionMask& mask,
               const AttentionParams& p, View y, View lse) {
  check_attention("attention", q, k, v, mask, p, y, lse);
  check_lengths("attention", q, k, mask);
  for_float(q.dtype, "attention", [&]<class T>() {
    const Attention<T> a(q, k, v, mask, p);
    const int64_t blocks = a.query_vectors.parts;
    run_tasks<compute_t<T>>(s, a.leading.count * blocks, a.forward_scratch(),
                            [&](int64_t t, compute_t<T>* scratch) {
                              a.forward(t / blocks, t % blocks, y, lse, scratch);
                            });
  });
}

// A task takes all leading indices that share a slice of gbias (one without gbias), in order.
void attention_gradient(Stream& s, View q, View k, View v, const AttentionMask& mask,
                        const AttentionParams& p, View y, View lse, View gy, View gq, View gk,
                        View gv, View gbias) {
  check_attention_gradient(q, k, v, mask, p, y, lse, gy, gq, gk, gv, gbias);
  check_lengths("attention_gradient", q, k, mask);
  for_float(q.dtype, "attention_gradient", [&]<class T>() {
    using C = compute_t<T>;
    const Attention<T> a(q, k, v, mask, p);
    const BiasSlices slices(a.leading, gbias);
    const int64_t sums = a.keys * (a.dim_width + a.value_width);
    if (a.leading.count == 0) return;
    run_tasks<C>(s, slices.slices, sums + a.gradient_scratch(), [&](int64_t t, C* scratch) {
      C *gk_sums = scratch, *gv_sums = scratch + a.keys * a.dim_width;
      if (gbias) {
        C* to = gbias.as<C>() + a.leading.offset(gbias.stride, slices.leading_index(t, 0));
        const int64_t across = gbias.stride[gbias.rank - 2], along = gbias.stride[gbias.rank - 1];
        for (int64_t i = 0; i < a.queries; ++i)
          for (int64_t j = 0; j < a.keys; ++j) to[i * across + j * along] = 0;
      }
      for (int64_t m = 0; m < slices.members; ++m) {
        const int64_t l = slices.leading_index(t, m);
        std::fill_n(gk_sums, sums, C{0});
        for (int64_t block = 0; block < a.query_vectors.parts; ++block)
          a.gradient(l, block, y, lse, gy, gq, gk_sums, gv_sums, gbias, scratch + sums);
        a.put_rows(gk_sums, a.dim_width, a.keys, a.dim, C{1}, gk, l, 0);
        a.put_rows(gv_sums, a.value_width, a.keys, a.value_dim, C{1}, gv, l, 0);
      }
    });
  });
}

}  // namespace

const AttentionKernels attention_kernels{
    .attention = attention,
    .attention_gradient = attention_gradient,
};

}  // namespace tessera::kernels::cpu
