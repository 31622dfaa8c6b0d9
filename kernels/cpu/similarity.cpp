// Sums over the nodes that are linked by similar features, no link of which is stored.
//
// A block of rows walks over all nodes in pieces. In a piece, products of features fill vectors of
// nodes, from features that lie along the nodes; the links of each row become a short list, by
// which rows of x are summed in registers as in a sparse product. So n^2 (features + 2) operations
// find the links, links * width adds use them, and the lists stay in the first-level cache. A row
// adds up its pieces in order, whatever the number of threads.
#include <array>
#include <utility>

#include "tessera/kernels/cpu/column_chunks.hpp"
#include "tessera/kernels/cpu/spmm.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t rows_at_once = 16, piece_nodes = 256;
constexpr int64_t nodes_at_once = Vec<float>::width;

/// What links nodes. Features of all nodes lie one feature after another, each `padded` long; the
/// norms behind the last node are NaN.
struct Similarity {
  const float* by_node;
  const float* by_feature;
  const float* norms;
  int64_t nodes, padded, features;
  float least, below;
  RngState rng;
  uint64_t keep_below;

  bool keeps(int64_t i, int64_t j) const {
    return keep_below >> 32 || keeps_link(rng, keep_below, i, j);
  }
};

/// The links of `rows_at_once` rows within one piece.
struct Links {
  std::array<int32_t, rows_at_once * piece_nodes> linked;  // -1 or 0
  std::array<std::array<int32_t, piece_nodes>, rows_at_once> node;
  std::array<int32_t, rows_at_once> count;
};

/// Marks the links of `rows` rows from `row` on with the nodes [first, last).
template <int rows>
[[gnu::always_inline]] inline void mark(const Similarity& s, int64_t row, int64_t first,
                                        int64_t last, int32_t* linked) {
  const float* own = s.by_node + row * s.features;
  for (int64_t j = first; j < last; j += nodes_at_once) {
    Vec<float> dot[rows];
    unrolled<rows>([&](auto r) __attribute__((always_inline)) { dot[r] = 0.0f; });
    for (int64_t c = 0; c < s.features; ++c) {
      const Vec<float> other = load(s.by_feature + c * s.padded + j);
      unrolled<rows>([&](auto r) __attribute__((always_inline)) {
        dot[r] = fma(Vec<float>(own[r * s.features + c]), other, dot[r]);
      });
    }
    const Vec<float> norms = load(s.norms + j);
    unrolled<rows>([&](auto r) __attribute__((always_inline)) {
      const Vec<float> product = norms * Vec<float>(s.norms[row + r]);
      const Mask<float> hit =
          (dot[r] >= product * Vec<float>(s.least)) & (dot[r] < product * Vec<float>(s.below));
      store(linked + r * piece_nodes + (j - first), Vec<int32_t>(hit.native));
    });
  }
}

/// The links of rows [row, row_end) with the nodes [first, last), but for a node's own.
void find_links(const Similarity& s, int64_t row, int64_t row_end, int64_t first, int64_t last,
                Links& links) {
  int64_t r = row;
  for (; r + 4 <= row_end; r += 4)
    mark<4>(s, r, first, last, links.linked.data() + (r - row) * piece_nodes);
  for (; r < row_end; ++r)
    mark<1>(s, r, first, last, links.linked.data() + (r - row) * piece_nodes);
  for (r = row; r < row_end; ++r) {
    int32_t* const linked = links.linked.data() + (r - row) * piece_nodes;
    int32_t* const node = links.node[static_cast<size_t>(r - row)].data();
    if (r >= first && r < last) linked[r - first] = 0;
    int32_t count = 0;
    for (int64_t j = 0; j < last - first; ++j) {
      node[count] = static_cast<int32_t>(first + j);
      count -= linked[j];
    }
    if (!(s.keep_below >> 32)) {
      int32_t kept = 0;
      for (int32_t k = 0; k < count; ++k) {
        node[kept] = node[k];
        kept += s.keeps(r, node[k]);
      }
      count = kept;
    }
    links.count[static_cast<size_t>(r - row)] = count;
  }
}

template <class T>
struct Sum {
  using C = compute_t<T>;
  const T* x;
  int64_t x_stride;
  T* y;
  int64_t y_stride, width;
  C diagonal;
};

/// total += the rows of x that are linked to one row.
template <class T, class Chunk>
[[gnu::noinline]] void add_links(const T* x, int64_t stride, const int32_t* node, int32_t count,
                                 compute_t<T>* total, Chunk chunk) {
  using C = compute_t<T>;
  Sums<C, Chunk> sums;
  sums.each(x, [](const T*, Vec<C>& sum) { sum = C{0}; });
  for (int32_t k = 0; k < count; ++k)
    sums.each(
        x + node[k] * stride, [&](const T* from, Vec<C>& sum)
                                  __attribute__((always_inline)) { sum += chunk.read(from); });
  sums.each(total, [&](C* to, Vec<C> sum) { chunk.write(to, chunk.read(to) + sum); });
}

template <class T>
void sum_rows(const Similarity& s, const Sum<T>& sum, int64_t row, int64_t row_end, Links& links,
              compute_t<T>* totals) {
  using C = compute_t<T>;
  std::fill_n(totals, (row_end - row) * sum.width, C{0});
  for (int64_t first = 0; first < s.nodes; first += piece_nodes) {
    find_links(s, row, row_end, first, std::min(first + piece_nodes, s.nodes), links);
    for_chunks<C>(sum.width, [&](int64_t column, auto chunk) {
      for (int64_t r = 0; r < row_end - row; ++r)
        if (const int32_t count = links.count[static_cast<size_t>(r)]; count > 0)
          add_links(sum.x + column, sum.x_stride, links.node[static_cast<size_t>(r)].data(), count,
                    totals + r * sum.width + column, chunk);
    });
  }
  for_chunks<C>(sum.width, [&](int64_t column, auto chunk) {
    for (int64_t r = row; r < row_end; ++r) {
      Sums<C, decltype(chunk)> own;
      own.each(sum.x + r * sum.x_stride + column,
               [&](const T* from, Vec<C>& x) { x = chunk.read(from) * Vec<C>(sum.diagonal); });
      own.each(totals + (r - row) * sum.width + column,
               [&](const C* from, Vec<C>& x) { x += chunk.read(from); });
      own.each(sum.y + r * sum.y_stride + column, [&](T* to, Vec<C> x) { chunk.write(to, x); });
    }
  });
}

}  // namespace

void similarity_spmm(Stream& stream, View features, View norms, View x, View y,
                     const SimilarityParams& params) {
  const SimilarityOperands o = check_similarity(features, norms, x, y, params);
  const int64_t n = o.x.n, width = o.x.heads * o.x.width,
                padded = (n + nodes_at_once - 1) / nodes_at_once * nodes_at_once;
  if (n == 0 || width == 0) return;
  const Scratch memory =
      stream.scratch(static_cast<size_t>((o.features + 1) * padded) * sizeof(float));
  float* const by_feature = memory.as<float>();
  const float* const by_node = features.as<const float>();
  for (int64_t c = 0; c < o.features; ++c)
    for (int64_t j = 0; j < padded; ++j)
      by_feature[c * padded + j] = j < n ? by_node[j * o.features + c] : 0.0f;
  float* const padded_norms = by_feature + o.features * padded;
  std::copy_n(norms.as<const float>(), n, padded_norms);
  std::fill(padded_norms + n, padded_norms + padded, std::numeric_limits<float>::quiet_NaN());
  const Similarity similarity{by_node,
                              by_feature,
                              padded_norms,
                              n,
                              padded,
                              o.features,
                              static_cast<float>(params.least),
                              static_cast<float>(params.below),
                              params.rng.resolved(),
                              o.keep_below};

  const int64_t blocks = (n + rows_at_once - 1) / rows_at_once;
  const bool small = n * n * (o.features + width) < (int64_t{1} << 18);
  const int64_t pieces = small ? 1 : blocks, workers = small ? 1 : max_threads();
  const Scratch lists = stream.scratch(static_cast<size_t>(workers) * sizeof(Links));
  for_float(x.dtype, "similarity_spmm", [&]<class T>() {
    using C = compute_t<T>;
    const Sum<T> sum{x.as<const T>(), o.x.stride, y.as<T>(),
                     o.y.stride,      width,      static_cast<C>(params.diagonal)};
    const Scratch totals =
        stream.scratch(static_cast<size_t>(workers * rows_at_once * width) * sizeof(C));
    parallel_blocks(pieces, [&](int64_t piece, int thread) {
      for (int64_t block = piece; block < blocks; block += pieces)
        sum_rows(similarity, sum, block * rows_at_once, std::min((block + 1) * rows_at_once, n),
                 lists.as<Links>()[thread], totals.as<C>() + thread * rows_at_once * width);
    });
  });
}

}  // namespace tessera::kernels::cpu
