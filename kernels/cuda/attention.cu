// Attention with a running maximum and sum (Dao, "FlashAttention-2", 2023): a block owns 64 queries
// and one slice of the columns of v, and walks over the keys in squares; scores and probabilities
// stay in registers. Halves multiply q k' in one product, and probabilities as the sum of two
// halves in two, which leaves what float probabilities would give; floats are three products of
// tf32 each.
//
// Floor: 2 queries keys (dim + value_dim) operations, half of that where causal; or q, k, v and y
// once. Blocks of one head read k and v from the second-level cache. A wider v than a square costs
// the scores again for each slice; q stays in shared memory up to four squares.
#include "tessera/kernels/cuda/attention.cuh"

#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/launch.cuh"

namespace tessera::kernels::cuda {
namespace {

template <class E>
struct AttentionJob {
  Tokens<const E> q, k, v;
  Tokens<E> y;
  compute_t<E>* lse;  // may be null
  ScoreRules rules;
  int32_t query_blocks, slices;
  Finding* finding;
  int32_t call;
};

/// The scores of one step become exp(score - top), and `total`, a lane's share of their sums, and
/// `out` what they are for the new top.
template <class E, class C = compute_t<E>>
TS_DEVICE void exponentials(const Scores<E>& scores, typename ScoreShape<E>::Sums& s,
                            int32_t first_query, int32_t first_key, C (&top)[2], C (&total)[2],
                            typename ScoreShape<E>::Sums& out) {
  C most[2] = {top[0], top[1]}, origin[2], factor[2];
  each_score<E>([&](int j, int i) {
    s[j][i] = scores(s[j][i], first_query + score_row(i), first_key + score_column<E>(j, i));
    most[i / 2] = Maximum{}(most[i / 2], s[j][i]);
  });
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    most[h] = warp_reduce(most[h], Maximum{}, 4);
    origin[h] = most[h] == -INFINITY ? C{0} : most[h];
    factor[h] = functors::exp(top[h] - origin[h]);
    top[h] = most[h];
    total[h] *= factor[h];
  }
  each_score<E>([&](int j, int i) {
    out[j][i] *= factor[i / 2];
    s[j][i] = functors::exp(s[j][i] - origin[i / 2]);
    total[i / 2] += s[j][i];
  });
  if (!scores.drops()) return;
  const Kept<false, E> kept(scores, first_query, first_key);
  each_score<E>([&](int j, int i) { s[j][i] *= kept(j, i); });
}

template <class E>
__global__ void __launch_bounds__(ScoreShape<E>::threads, 2)
    attend(const __grid_constant__ AttentionJob<E> job) {
  using C = compute_t<E>;
  using Shape = ScoreShape<E>;
  auto& shared = dynamic_shared<ScoreMemory<E>>();
  const int64_t block = block_index().x, l = block / job.slices / job.query_blocks;
  const auto first_query =
      static_cast<int32_t>(block / job.slices % job.query_blocks) * Shape::rows;
  const auto slice = static_cast<int32_t>(block % job.slices) * Shape::side;
  const Scores<E> scores(job.rules, l, job.finding, job.call);
  const LeadingAxes& leading = job.rules.leading;
  const Matrix<const E> q(job.q, leading, l), k(job.k, leading, l), v(job.v, leading, l);
  const int depth_squares = squares_of<E>(q.width), phases = depth_squares + 1;
  const bool resident = depth_squares <= Shape::resident;
  const int32_t keys = scores.keys_end(first_query, Shape::rows);
  const bool works = first_query + static_cast<int>(warp_index()) * 16 < q.count;

  if (resident)
    for (int d = 0; d < depth_squares; ++d)
      load_along<E>(shared.rows(d).along, q, first_query, d * Shape::side);
  typename Shape::Sums s, out;
  clear<E>(out);
  C top[2] = {-INFINITY, -INFINITY}, total[2] = {0, 0};
  in_turns(
      int64_t{phases} * ceil_divide(keys, Shape::side),
      [&](int slot, int64_t i) {
        const auto phase = static_cast<int>(i % phases);
        const int32_t key = static_cast<int32_t>(i / phases) * Shape::side;
        if (phase == depth_squares) return load_across(shared.columns[slot], v, key, keys, slice);
        load_along<E>(shared.columns[slot].along, k, key, phase * Shape::side);
        if (!resident) load_along<E>(shared.rows(slot).along, q, first_query, phase * Shape::side);
      },
      [&](int slot, int64_t i) {
        if (!works) return;
        const auto phase = static_cast<int>(i % phases);
        const int32_t key = static_cast<int32_t>(i / phases) * Shape::side;
        if (phase == 0) clear<E>(s);
        if (phase < depth_squares)
          return multiply_rows<E>(s, shared.rows(resident ? phase : slot), shared.columns[slot],
                                  q.width - phase * Shape::side);
        exponentials<E>(scores, s, first_query, key, top, total, out);
        multiply_scores<true, E>(out, s, shared.columns[slot], keys - key, v.width - slice);
      });
  if (!works) return;
  C scale[2];
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    total[h] = warp_reduce(total[h], Sum{}, 4);
    scale[h] = total[h] == 0 ? C{0} : C{1} / total[h];  // 0: no key was seen
    const int32_t query = first_query + score_row(2 * h);
    if (job.lse && slice == 0 && lane_index() % 4 == 0 && query < q.count)
      job.lse[l * q.count + query] = top[h] + functors::log(total[h]);
  }
  store_rows<E>(Matrix<E>(job.y, leading, l), first_query, slice, out,
                [&](int h) { return scale[h]; });
}

void attention(Stream& stream, View q, View k, View v, const AttentionMask& mask,
               const AttentionParams& p, View y, View lse) {
  check_attention("attention", q, k, v, mask, p, y, lse);
  check_counts("attention", q, k, v);
  Faults& faults = stream.resource<Faults>();
  for_float(q.dtype, "attention", [&]<class E>() {
    using Shape = ScoreShape<E>;
    AttentionJob<E> job{.q = Tokens<const E>(q),
                        .k = Tokens<const E>(k),
                        .v = Tokens<const E>(v),
                        .y = Tokens<E>(y),
                        .lse = lse.as<compute_t<E>>(),
                        .rules = {q, k, mask, p},
                        .query_blocks = 0,
                        .slices = 0,
                        .finding = faults.finding(),
                        .call = faults.expect("attention: key length")};
    job.query_blocks = static_cast<int32_t>(ceil_divide(job.q.count, Shape::rows));
    job.slices = std::max(squares_of<E>(job.v.width), 1);
    const int64_t blocks = job.rules.leading.count * job.query_blocks * job.slices;
    launch_scores<E>(stream, "attention", blocks, squares_of<E>(job.q.width), attend<E>, job);
  });
  faults.launched();
}

}  // namespace

extern const AttentionKernels attention_kernels{
    .attention = attention,
    .attention_gradient = attention_gradient,
};

}  // namespace tessera::kernels::cuda
