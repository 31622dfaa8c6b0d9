// Sums over the nodes that are linked by similar features: attention without softmax, no link of
// which is stored. A block owns 64 rows and a slice of the columns of x and walks over all nodes in
// squares (attention.cuh). Products of features are sums of exact f32 terms in the order of the
// features, made by the lanes that need them; as 0 or 1 they are, without a move, the left factor
// of a product on tensor cores. 0 and 1 are exact in every type: halves take one product, floats,
// split in two of tf32, two, with an error of some 2^-21 of a term.
//
// Floor: n^2 (2 features + 2 width) operations, the first part on the f32 units, the second on
// tensor cores; or features, x and y once. Blocks read features and x from the second-level cache;
// a wider x than a square costs the links again for each slice. Shared memory gives 18 vectors of
// four features for 128 multiplications, which meet in no bank. A block's own rows of x, for the
// diagonal, come an element at a time at the end: 9 % more sectors for 256 nodes (17 % of halves).
#include "tessera/kernels/cuda/attention.cuh"
#include "tessera/kernels/cuda/spmm.cuh"

namespace tessera::kernels::cuda {
namespace {

constexpr int depth = 16, pitch = depth + 4;  // features in shared memory at a time, and their rows

template <class E>
struct SimilarityJob {
  Tokens<const E> x;
  Tokens<E> y;
  LeadingAxes leading;
  const float *features, *norms;
  int32_t nodes, feature_count, slices;
  float least, below;
  compute_t<E> diagonal;
  RngState rng;
  uint64_t keep_below;
};

template <int count>
using FeatureRows = float[count][pitch];

template <class E>
struct SimilarityMemory {
  Square<E> x[2];
  FeatureRows<ScoreShape<E>::rows> rows[2];
  FeatureRows<ScoreShape<E>::side> columns[2];
};

/// Starts to copy features [at, at + depth) of `count` nodes from `first` on; zeros behind them.
template <int threads, int count, class Job>
TS_DEVICE void load_features(FeatureRows<count>& rows, const Job& job, int32_t first, int32_t at) {
  for (int index = static_cast<int>(thread_index().x); index < count * depth; index += threads) {
    const int32_t node = first + index / depth, feature = at + index % depth;
    const bool valid = node < job.nodes && feature < job.feature_count;
    const float* from =
        valid ? job.features + int64_t{node} * job.feature_count + feature : job.norms;
    copy_async<4>(&rows[index / depth][index % depth], from, valid ? 4 : 0);
  }
}

/// A lane's products of features: rows as score_row counts them, columns as score_column.
template <class E>
using Dots = float[ScoreShape<E>::side / 8][4];

/// dots += the products of `count` features.
template <class E>
TS_DEVICE void multiply_features(Dots<E>& dots, const FeatureRows<ScoreShape<E>::rows>& rows,
                                 const FeatureRows<ScoreShape<E>::side>& columns, int count) {
#pragma unroll 1
  for (int at = 0; at < count; at += 4) {
    using Four = Pack<float, 4>;
    const auto four = [at](const float* row) {
      return load_vector(reinterpret_cast<const Four*>(row + at));
    };
    const Four own[2] = {four(rows[score_row(0)]), four(rows[score_row(2)])};
#pragma unroll
    for (int j = 0; j < ScoreShape<E>::side / 8; ++j)
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const Four other = four(columns[score_column<E>(j, i)]);
#pragma unroll
        for (int h = 0; h < 2; ++h)
#pragma unroll
          for (int k = 0; k < 4; ++k)
            dots[j][2 * h + i] = fma(own[h].lane[k], other.lane[k], dots[j][2 * h + i]);
      }
  }
}

/// The links of a square as bits 4 j + i: rows from `first_row` on, columns from `first_column` on.
/// Words of Philox are drawn in a loop that stays one: 32 of them would fill the registers.
template <class E>
TS_DEVICE uint32_t links(const SimilarityJob<E>& job, const Dots<E>& dots, int32_t first_row,
                         int32_t first_column) {
  uint32_t bits = 0;
  each_score<E>([&](int j, int i) {
    const int32_t row = first_row + score_row(i), column = first_column + score_column<E>(j, i);
    if (row >= job.nodes || column >= job.nodes || row == column) return;
    const float product = job.norms[row] * job.norms[column];
    const bool linked = dots[j][i] >= product * job.least && dots[j][i] < product * job.below;
    bits |= static_cast<uint32_t>(linked) << (4 * j + i);
  });
  if (job.keep_below >> 32) return bits;
  const RngState rng = job.rng.resolved();
#pragma unroll 1
  for (uint32_t left = bits; left; left &= left - 1) {
    const int e = lowest_bit(left);
    if (!keeps_link(rng, job.keep_below, first_row + score_row(e % 4),
                    first_column + score_column<E>(e / 4, e % 4)))
      bits &= ~(1u << e);
  }
  return bits;
}

/// out += links x over `nodes` rows of x, into `columns` columns.
template <class E>
TS_DEVICE void multiply_links(typename ScoreShape<E>::Sums& out, uint32_t links, const Square<E>& x,
                              int32_t nodes, int32_t columns) {
  using C = compute_t<E>;
  typename ScoreShape<E>::Sums m;
  each_score<E>([&](int j, int i) { m[j][i] = links >> (4 * j + i) & 1 ? C{1} : C{0}; });
  if constexpr (sizeof(E) != 4) {
    multiply_scores<false, E>(out, m, x, nodes, columns);
  } else {
#pragma unroll
    for (int step = 0; step < ScoreShape<E>::pieces * 2; ++step) {
      if (step * step_depth<E> >= nodes) break;
      uint32_t a[4];
#pragma unroll
      for (int i = 0; i < 4; ++i) a[i] = bit_cast<uint32_t>(m[step][i % 2 * 2 + i / 2]);
#pragma unroll
      for (int j = 0; j < ScoreShape<E>::side / 16; ++j) {
        if (16 * j >= columns) break;
        const FragmentB<E> b = fragment_b(x.across[step / 2], 16 * j, step % 2);
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          const uint32_t low[2] = {b.low[2 * half], b.low[2 * half + 1]};
          const uint32_t high[2] = {b.high[2 * half], b.high[2 * half + 1]};
          mma_m16n8k8_tf32(out[2 * j + half], a, low);
          mma_m16n8k8_tf32(out[2 * j + half], a, high);
        }
      }
    }
  }
}

template <class E>
__global__ void __launch_bounds__(ScoreShape<E>::threads, 2)
    sum_similar(const __grid_constant__ SimilarityJob<E> job) {
  using Shape = ScoreShape<E>;
  auto& shared = dynamic_shared<SimilarityMemory<E>>();
  const int64_t block = block_index().x;
  const auto first_row = static_cast<int32_t>(block / job.slices) * Shape::rows,
             slice = static_cast<int32_t>(block % job.slices) * Shape::side;
  const Matrix<const E> x(job.x, job.leading, 0);
  const int chunks = (job.feature_count + depth - 1) / depth, phases = chunks + 1;
  const bool works = first_row + static_cast<int>(warp_index()) * 16 < job.nodes;

  if (chunks == 1) load_features<Shape::threads>(shared.rows[0], job, first_row, 0);
  typename Shape::Sums out;
  clear<E>(out);
  Dots<E> dots = {};
  in_turns(
      int64_t{phases} * ceil_divide(job.nodes, Shape::side),
      [&](int slot, int64_t i) {
        const auto phase = static_cast<int>(i % phases);
        const int32_t node = static_cast<int32_t>(i / phases) * Shape::side;
        if (phase == chunks) return load_across(shared.x[slot], x, node, job.nodes, slice);
        load_features<Shape::threads>(shared.columns[slot], job, node, phase * depth);
        if (chunks > 1)
          load_features<Shape::threads>(shared.rows[slot], job, first_row, phase * depth);
      },
      [&](int slot, int64_t i) {
        if (!works) return;
        const auto phase = static_cast<int>(i % phases);
        const int32_t node = static_cast<int32_t>(i / phases) * Shape::side;
        if (phase < chunks) {
          if (phase == 0) each_score<E>([&](int j, int k) { dots[j][k] = 0; });
          const int left = job.feature_count - phase * depth;
          return multiply_features<E>(dots, shared.rows[chunks > 1 ? slot : 0],
                                      shared.columns[slot], left < depth ? left : depth);
        }
        multiply_links<E>(out, links(job, dots, first_row, node), shared.x[slot], job.nodes - node,
                          job.x.width - slice);
      });
  if (!works) return;
  each_score<E>([&](int j, int i) {
    const int32_t row = first_row + score_row(i),
                  column = slice + 8 * j + static_cast<int>(lane_index()) % 4 * 2 + i % 2;
    if (row < job.nodes && column < x.width)
      out[j][i] = fma(job.diagonal, widen(x.data[row * x.stride + column]), out[j][i]);
  });
  store_rows<E>(Matrix<E>(job.y, job.leading, 0), first_row, slice, out,
                [](int) { return compute_t<E>{1}; });
}

/// All heads of an operand as columns.
View columns_of(const View& v, const DenseRows& rows) {
  View flat = v;
  flat.rank = 2;
  flat.shape[1] = rows.heads * rows.width;
  flat.stride[1] = 1;
  return flat;
}

}  // namespace

void similarity_spmm(Stream& stream, View features, View norms, View x, View y,
                     const SimilarityParams& params) {
  const SimilarityOperands o = check_similarity(features, norms, x, y, params);
  if (o.x.n == 0 || o.x.heads * o.x.width == 0) return;
  const View from = columns_of(x, o.x), to = columns_of(y, o.y);
  for_float(x.dtype, "similarity_spmm", [&]<class E>() {
    using Shape = ScoreShape<E>;
    const SimilarityJob<E> job{.x = Tokens<const E>(from),
                               .y = Tokens<E>(to),
                               .leading = LeadingAxes(from),
                               .features = features.as<const float>(),
                               .norms = norms.as<const float>(),
                               .nodes = static_cast<int32_t>(o.x.n),
                               .feature_count = static_cast<int32_t>(o.features),
                               .slices = squares_of<E>(static_cast<int32_t>(from.shape[1])),
                               .least = static_cast<float>(params.least),
                               .below = static_cast<float>(params.below),
                               .diagonal = static_cast<compute_t<E>>(params.diagonal),
                               .rng = params.rng,
                               .keep_below = o.keep_below};
    const int64_t blocks = ceil_divide(job.nodes, Shape::rows) * job.slices;
    launch(stream,
           {.name = "similarity_spmm",
            .grid = {static_cast<uint32_t>(blocks)},
            .block = {Shape::threads},
            .shared_bytes = sizeof(SimilarityMemory<E>)},
           sum_similar<E>, job);
  });
}

}  // namespace tessera::kernels::cuda
