// Gradients of attention. The probabilities are computed again from the log-sum-exp of each query,
// twice: by blocks that own queries, for gq, and by blocks that own keys, for gk and gv, so that no
// two blocks add to one result. gbias has blocks of its own, which own queries and keys and go
// through the leading indices that share a slice of it. Halves round probabilities and gradients of
// scores to halves before they multiply them, as y was on its way here.
//
// Floor: queries keys (8 dim + 6 value_dim) operations of which q k' and gy v' are done twice (half
// of that where causal), or all operands once; with gbias the two products once more. Where causal,
// 1.02 to 1.03 of the ideal sectors are counted: hidden scores read no log-sum-exp, and the
// counters mix those of the rest.
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/cuda/attention.cuh"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/reduce.hpp"

namespace tessera::kernels::cuda {
namespace {

template <class E>
struct GradientJob {
  using C = compute_t<E>;
  Tokens<const E> q, k, v, gy;
  Tokens<E> gq, gk, gv;
  const C *lse, *delta;  // [leading, queries]
  ScoreRules rules;
  int32_t slices;  // of the results' columns
  Finding* finding;
  int32_t call;
};

constexpr uint32_t delta_threads = 256;

/// delta = the sum of gy * y over the columns of a query; a warp each.
template <class E>
__global__ void __launch_bounds__(delta_threads)
    sum_deltas(const __grid_constant__ LeadingAxes leading,
               const __grid_constant__ Tokens<const E> y,
               const __grid_constant__ Tokens<const E> gy, compute_t<E>* delta) {
  const int64_t rows = leading.count * y.count;
  for (int64_t row = first_element() / warp_size; row < rows; row += element_step() / warp_size) {
    const int64_t l = row / y.count, i = row % y.count;
    const E* const a = y.data + leading.offset(y.stride, l) + i * y.token;
    const E* const b = gy.data + leading.offset(gy.stride, l) + i * gy.token;
    compute_t<E> sum = 0;
    for (int32_t c = static_cast<int32_t>(lane_index()); c < y.width; c += warp_size)
      sum = functors::fma(widen(a[c]), widen(b[c]), sum);
    sum = warp_reduce(sum, Sum{});
    if (lane_index() == 0) delta[row] = sum;
  }
}

/// q k' and gy v', or with keys as rows k q' and v gy', square by square.
template <class E>
struct ScoreProducts {
  using Shape = ScoreShape<E>;
  using Sums = typename Shape::Sums;
  Matrix<const E> row_a, row_b, column_a, column_b;
  int32_t first_row;
  int a_phases, phases;
  bool resident;

  TS_DEVICE ScoreProducts(const Matrix<const E>& ra, const Matrix<const E>& rb,
                          const Matrix<const E>& ca, const Matrix<const E>& cb, int32_t first)
      : row_a(ra),
        row_b(rb),
        column_a(ca),
        column_b(cb),
        first_row(first),
        a_phases(squares_of<E>(ra.width)),
        phases(a_phases + squares_of<E>(rb.width)),
        resident(phases <= Shape::resident) {}

  TS_DEVICE bool has_rows() const {
    return first_row + static_cast<int>(warp_index()) * 16 < row_a.count;
  }
  TS_DEVICE void load_resident(ScoreMemory<E>& shared) const {
    for (int p = 0; resident && p < phases; ++p) load_rows(shared.rows(p), p);
  }
  TS_DEVICE void load(ScoreMemory<E>& shared, int slot, int phase, int32_t column) const {
    const int32_t a = phase * Shape::side, b = (phase - a_phases) * Shape::side;
    if (phase < a_phases)
      load_along<E>(shared.columns[slot].along, column_a, column, a);
    else
      load_along<E>(shared.columns[slot].along, column_b, column, b);
    if (!resident) load_rows(shared.rows(slot), phase);
  }
  /// Adds to `a` or `b` what the square that was loaded for this phase gives.
  TS_DEVICE void multiply(ScoreMemory<E>& shared, int slot, int phase, Sums& a, Sums& b) const {
    if (phase == 0) {
      clear<E>(a);
      clear<E>(b);
    }
    const RowSquare<E>& rows = shared.rows(resident ? phase : slot);
    if (phase < a_phases)
      multiply_rows<E>(a, rows, shared.columns[slot], row_a.width - phase * Shape::side);
    else
      multiply_rows<E>(b, rows, shared.columns[slot],
                       row_b.width - (phase - a_phases) * Shape::side);
  }

 private:
  TS_DEVICE void load_rows(RowSquare<E>& square, int phase) const {
    if (phase < a_phases)
      load_along<E>(square.along, row_a, first_row, phase * Shape::side);
    else
      load_along<E>(square.along, row_b, first_row, (phase - a_phases) * Shape::side);
  }
};

/// The two products become the probabilities that v was multiplied with, and the gradients of the
/// scores.
template <bool keys_are_rows, class E>
TS_DEVICE void score_gradients(const GradientJob<E>& job, const Scores<E>& scores,
                               int32_t first_row, int32_t first_column,
                               typename ScoreShape<E>::Sums& s, typename ScoreShape<E>::Sums& g) {
  using C = compute_t<E>;
  const int64_t of_index = scores.index * job.rules.queries;
  const Kept<keys_are_rows, E> kept(scores, first_row, first_column);
  each_score<E>([&](int j, int i) {
    const int32_t row = first_row + score_row(i), column = first_column + score_column<E>(j, i);
    const int32_t query = keys_are_rows ? column : row, key = keys_are_rows ? row : column;
    const C score = scores(s[j][i], query, key);
    if (score == -INFINITY) {
      s[j][i] = g[j][i] = 0;
      return;
    }
    const C p = functors::exp(score - job.lse[of_index + query]);
    s[j][i] = p * kept(j, i);
    g[j][i] = p * (g[j][i] * kept(j, i) - job.delta[of_index + query]);
  });
}

/// A block owns queries, for gq, or keys, for gk and gv. What follows the products of a square of
/// scores: of keys, gv += p' gy; then the gradient of the first operand of the rows += g times that
/// of the columns.
template <bool of_keys, class E>
__global__ void __launch_bounds__(ScoreShape<E>::threads, 2)
    row_gradients(const __grid_constant__ GradientJob<E> job, int32_t blocks) {
  using Shape = ScoreShape<E>;
  auto& shared = dynamic_shared<ScoreMemory<E>>();
  const int64_t block = block_index().x, l = block / job.slices / blocks;
  const auto first_row = static_cast<int32_t>(block / job.slices % blocks) * Shape::rows;
  const auto slice = static_cast<int32_t>(block % job.slices) * Shape::side;
  const LeadingAxes& leading = job.rules.leading;
  const Scores<E> scores(job.rules, l, job.finding, job.call);
  const Matrix<const E> column_a(of_keys ? job.q : job.k, leading, l),
      column_b(of_keys ? job.gy : job.v, leading, l);
  const ScoreProducts<E> products({of_keys ? job.k : job.q, leading, l},
                                  {of_keys ? job.v : job.gy, leading, l}, column_a, column_b,
                                  first_row);
  const int phases = products.phases + (of_keys ? 2 : 1);
  const int32_t begin = of_keys ? scores.queries_begin(first_row) : 0,
                end = of_keys ? column_a.count : scores.keys_end(first_row, Shape::rows);

  products.load_resident(shared);
  typename Shape::Sums s, g, out_a, out_b;
  clear<E>(s), clear<E>(g), clear<E>(out_a), clear<E>(out_b);
  in_turns(
      begin < end ? phases * ceil_divide(end - begin, Shape::side) : 0,
      [&](int slot, int64_t i) {
        const auto phase = static_cast<int>(i % phases);
        const int32_t column = begin + static_cast<int32_t>(i / phases) * Shape::side;
        if (phase < products.phases)
          products.load(shared, slot, phase, column);
        else
          load_across(shared.columns[slot], phase + 1 < phases ? column_b : column_a, column, end,
                      slice);
      },
      [&](int slot, int64_t i) {
        if (!products.has_rows()) return;
        const auto phase = static_cast<int>(i % phases);
        const int32_t column = begin + static_cast<int32_t>(i / phases) * Shape::side;
        if (phase < products.phases) return products.multiply(shared, slot, phase, s, g);
        const Square<E>& across = shared.columns[slot];
        if (phase == products.phases)
          score_gradients<of_keys, E>(job, scores, first_row, column, s, g);
        if (of_keys && phase == products.phases)
          multiply_scores<false, E>(out_b, s, across, end - column, column_b.width - slice);
        else
          multiply_scores<false, E>(out_a, g, across, end - column, column_a.width - slice);
      });
  using C = compute_t<E>;
  const auto scale = static_cast<C>(job.rules.scale);
  store_rows<E>({of_keys ? job.gk : job.gq, leading, l}, first_row, slice, out_a,
                [=](int) { return scale; });
  if (of_keys)
    store_rows<E>({job.gv, leading, l}, first_row, slice, out_b, [](int) { return C{1}; });
}

/// Sums of gradients of scores over the members of each slice.
template <class C>
struct BiasGradient {
  C* data;
  int64_t stride[max_rank];
  int64_t query, key;  // strides
  BiasSlices slices;

  BiasGradient(const View& sums, const BiasSlices& s)
      : data(sums.as<C>()),
        query(sums.stride[sums.rank - 2]),
        key(sums.stride[sums.rank - 1]),
        slices(s) {
    for (int i = 0; i < sums.rank; ++i) stride[i] = sums.stride[i];
  }
};

template <class E>
__global__ void __launch_bounds__(ScoreShape<E>::threads, 2)
    bias_gradient(const __grid_constant__ GradientJob<E> job,
                  const __grid_constant__ BiasGradient<compute_t<E>> bias, int32_t query_blocks,
                  int32_t key_blocks) {
  using Shape = ScoreShape<E>;
  auto& shared = dynamic_shared<ScoreMemory<E>>();
  const int64_t block = block_index().x, slice = block / key_blocks / query_blocks;
  const auto first_query = static_cast<int32_t>(block / key_blocks % query_blocks) * Shape::rows;
  const auto first_key = static_cast<int32_t>(block % key_blocks) * Shape::side;
  const LeadingAxes& leading = job.rules.leading;
  typename Shape::Sums s, g, out;
  clear<E>(out);
  for (int64_t member = 0; member < bias.slices.members; ++member) {
    const int64_t l = bias.slices.leading_index(slice, member);
    const Scores<E> scores(job.rules, l, job.finding, job.call);
    if (first_key >= scores.keys_end(first_query, Shape::rows)) continue;
    const ScoreProducts<E> products({job.q, leading, l}, {job.gy, leading, l}, {job.k, leading, l},
                                    {job.v, leading, l}, first_query);
    clear<E>(s), clear<E>(g);
    sync_block();  // none reads what the member before had in shared memory
    products.load_resident(shared);
    in_turns(
        products.phases,
        [&](int slot, int64_t i) { products.load(shared, slot, static_cast<int>(i), first_key); },
        [&](int slot, int64_t i) { products.multiply(shared, slot, static_cast<int>(i), s, g); });
    score_gradients<false, E>(job, scores, first_query, first_key, s, g);
    each_score<E>([&](int j, int i) { out[j][i] += g[j][i]; });
  }
  compute_t<E>* const to =
      bias.data + leading.offset(bias.stride, bias.slices.leading_index(slice, 0));
  each_score<E>([&](int j, int i) {
    const int32_t query = first_query + score_row(i), key = first_key + score_column<E>(j, i);
    if (query < job.rules.queries && key < job.rules.keys)
      to[query * bias.query + key * bias.key] = out[j][i];
  });
}

template <class E>
void gradient_of_bias(Stream& stream, const GradientJob<E>& job, const View& gbias) {
  using Shape = ScoreShape<E>;
  using C = compute_t<E>;
  const ScoreRules& rules = job.rules;
  const BiasSlices slices(rules.leading, gbias);
  const auto query_blocks = static_cast<int32_t>(ceil_divide(rules.queries, Shape::rows)),
             key_blocks = static_cast<int32_t>(ceil_divide(rules.keys, Shape::side));
  const int64_t blocks = slices.slices * query_blocks * key_blocks;
  const int squares = squares_of<E>(job.q.width) + squares_of<E>(job.gy.width);
  const auto run = [&](const View& sums) {
    launch_scores<E>(stream, "attention_gradient of bias", blocks, squares, bias_gradient<E>, job,
                     BiasGradient<C>(sums, slices), query_blocks, key_blocks);
  };
  // Queries or keys that share a bias are summed afterwards.
  View own = gbias;  // without repetition
  bool repeats = false;
  for (int i = 0; i < gbias.rank; ++i) {
    if (gbias.stride[i] == 0) own.shape[i] = 1;
    repeats = repeats || (i >= rules.leading.axes && own.shape[i] != gbias.shape[i]);
  }
  if (!repeats) return run(gbias);
  const auto dense = [](View v, C* data) {
    v.data = data;
    int64_t size = 1;
    for (int i = v.rank - 1; i >= 0; --i) {
      v.stride[i] = v.shape[i] == 1 ? 0 : size;
      size *= v.shape[i];
    }
    return v;
  };
  View whole = own;
  for (int i = rules.leading.axes; i < gbias.rank; ++i) whole.shape[i] = gbias.shape[i];
  const Scratch scratch =
      stream.scratch(static_cast<size_t>(whole.numel() + own.numel()) * sizeof(C));
  const View sums = dense(whole, scratch.as<C>()),
             reduced = dense(own, scratch.as<C>() + whole.numel());
  run(sums);
  reduce_kernels.reduce(stream, ReduceOp::sum, sums, reduced);
  copy_kernels.copy(stream, reduced, own);
}

}  // namespace

void attention_gradient(Stream& stream, View q, View k, View v, const AttentionMask& mask,
                        const AttentionParams& p, View y, View lse, View gy, View gq, View gk,
                        View gv, View gbias) {
  check_attention_gradient(q, k, v, mask, p, y, lse, gy, gq, gk, gv, gbias);
  check_counts("attention_gradient", q, k, v);
  Faults& faults = stream.resource<Faults>();
  for_float(q.dtype, "attention_gradient", [&]<class E>() {
    using C = compute_t<E>;
    using Shape = ScoreShape<E>;
    const LeadingAxes leading(q);
    const int64_t queries = q.shape[q.rank - 2], keys = k.shape[k.rank - 2],
                  rows = leading.count * queries;
    const Scratch deltas = stream.scratch(static_cast<size_t>(rows) * sizeof(C));
    if (rows > 0)
      launch(stream,
             {"attention_gradient deltas",
              {blocks_for(rows * warp_size, delta_threads)},
              {delta_threads}},
             sum_deltas<E>, leading, Tokens<const E>(y), Tokens<const E>(gy), deltas.as<C>());
    GradientJob<E> job{.q = Tokens<const E>(q),
                       .k = Tokens<const E>(k),
                       .v = Tokens<const E>(v),
                       .gy = Tokens<const E>(gy),
                       .gq = Tokens<E>(gq),
                       .gk = Tokens<E>(gk),
                       .gv = Tokens<E>(gv),
                       .lse = lse.as<const C>(),
                       .delta = deltas.as<C>(),
                       .rules = {q, k, mask, p},
                       .slices = squares_of<E>(Tokens<const E>(q).width),
                       .finding = faults.finding(),
                       .call = faults.expect("attention_gradient: key length")};
    const int squares = squares_of<E>(job.q.width) + squares_of<E>(job.v.width);
    const int64_t query_blocks = ceil_divide(queries, Shape::rows),
                  key_blocks = ceil_divide(keys, Shape::rows);
    launch_scores<E>(stream, "attention_gradient of queries",
                     leading.count * query_blocks * job.slices, squares, row_gradients<false, E>,
                     job, static_cast<int32_t>(query_blocks));
    job.slices = std::max(job.slices, squares_of<E>(job.v.width));
    launch_scores<E>(stream, "attention_gradient of keys", leading.count * key_blocks * job.slices,
                     squares, row_gradients<true, E>, job, static_cast<int32_t>(key_blocks));
    if (gbias) gradient_of_bias(stream, job, gbias);
  });
  faults.launched();
}

}  // namespace tessera::kernels::cuda
