#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "tessera/kernels/random.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/graphs.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::entry_rows;
using test::expect_close;
using test::from_doubles;
using test::Graph;
using test::hard_graphs;
using test::random_pattern;
using test::to_doubles;
using test::uniform;

using Doubles = std::vector<double>;

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// The entries of the longest row or column.
int64_t longest_sum(const CsrMatrix& pattern) {
  std::vector<int64_t> rows(at(pattern.rows)), columns(at(pattern.cols));
  int64_t longest = 1;
  const auto col = pattern.col.host<int32_t>();
  const std::vector<int64_t> row = entry_rows(pattern);
  for (size_t e = 0; e < row.size(); ++e)
    longest = std::max({longest, ++rows[at(row[e])], ++columns[at(col[e])]});
  return longest;
}

struct Results {
  Doubles y, lse, gtarget, gsource, gx;
};

class EdgeAttentionTest : public test::TargetTest {
 protected:
  void SetUp() override {
    TargetTest::SetUp();
    if (!IsSkipped() && !backend(device()).spmm)
      GTEST_SKIP() << "no spmm kernels on " << to_string(device());
  }
  DType wide() const { return dtype() == DType::f64 ? DType::f64 : DType::f32; }

  Results compute(const CsrMatrix& pattern, const Tensor& target, const Tensor& source,
                  const Tensor& x, const Tensor& gy, const EdgeAttentionParams& params) {
    const CsrMatrix a = pattern.to(device());
    const CsrTranspose t = pattern.transpose();
    const CsrMatrix transposed = t.matrix.to(device());
    const Tensor permutation = t.permutation.to(device());
    const Tensor there[] = {on_device(target), on_device(source), on_device(x), on_device(gy)};
    const Tensor y = empty(gy.shape()), lse = empty(target.shape(), wide()),
                 gtarget = empty(target.shape()), gsource = empty(source.shape()),
                 gx = empty(x.shape());
    edge_attention(stream(), test::view(a), there[0].view(), there[1].view(), there[2].view(),
                   y.view(), lse.view(), params);
    edge_attention_gradient(stream(), test::view(a), test::view(transposed), permutation.view(),
                            there[0].view(), there[1].view(), there[2].view(), y.view(), lse.view(),
                            there[3].view(), gtarget.view(), gsource.view(), gx.view(), params);
    return {to_doubles(y), to_doubles(lse), to_doubles(gtarget), to_doubles(gsource),
            to_doubles(gx)};
  }
  // Roundings of a sum may add up instead of averaging out, where its terms recur; halves round y,
  // on which the gradient rests.
  void expect_results(const CsrMatrix& pattern, const Results& got, const Results& wanted,
                      const std::string& what) {
    const test::Tolerance allowed =
        is_half(dtype())
            ? test::Tolerance{4 * test::roundoff(dtype()), 16 * test::roundoff(dtype())}
            : test::tolerance(dtype()).times(static_cast<double>(longest_sum(pattern)));
    expect_close(got.y, wanted.y, allowed, what + ", y");
    expect_close(got.lse, wanted.lse, test::tolerance(wide()).times(8), what + ", lse");
    expect_close(got.gtarget, wanted.gtarget, allowed, what + ", gtarget");
    expect_close(got.gsource, wanted.gsource, allowed, what + ", gsource");
    expect_close(got.gx, wanted.gx, allowed, what + ", gx");
  }
};

/// The factor that `dropout` gives every weight: [entries, heads].
Doubles dropout_factors(int64_t entries, int64_t heads, const EdgeAttentionParams& p,
                        const std::vector<RngState>& origins) {
  Doubles factors(at(entries * heads), 1.0);
  if (p.dropout == 0) return factors;
  const int64_t of_one = heads / p.sequences;
  for (int64_t s = 0; s < p.sequences; ++s) {
    RngState state = p.rng;
    state.origin = origins.empty() ? nullptr : &origins[at(s)];
    const Tensor ones =
        from_doubles(Doubles(at(entries * of_one), 1.0), {entries, of_one}, DType::f64);
    dropout(current_stream(Device::cpu()), state, p.dropout, ones.view(), ones.view());
    const Doubles mine = to_doubles(ones);
    for (int64_t e = 0; e < entries; ++e)
      for (int64_t h = 0; h < of_one; ++h)
        factors[at(e * heads + s * of_one + h)] = mine[at(e * of_one + h)];
  }
  return factors;
}

/// By the formulas, entry by entry.
Results reference(const CsrMatrix& pattern, const Tensor& target, const Tensor& source,
                  const Tensor& x, const Tensor& gy, const EdgeAttentionParams& p,
                  const std::vector<RngState>& origins = {}) {
  const int64_t heads = x.size(1), width = x.size(2), n = pattern.nnz();
  const std::vector<int64_t> rows = entry_rows(pattern);
  const auto col = pattern.col.host<int32_t>();
  const Doubles t = to_doubles(target), s = to_doubles(source), xs = to_doubles(x),
                gs = to_doubles(gy), factor = dropout_factors(n, heads, p, origins);
  Results r{Doubles(gs.size()), Doubles(t.size(), -std::numeric_limits<double>::infinity()),
            Doubles(t.size()), Doubles(s.size()), Doubles(xs.size())};
  Doubles score(at(n * heads)), weight(at(n * heads)), product(at(n * heads));
  Doubles top(t.size(), -std::numeric_limits<double>::infinity()), sum(t.size()), mean(t.size());
  const auto each = [&](auto&& body) {
    for (int64_t e = 0; e < n; ++e)
      for (int64_t h = 0; h < heads; ++h)
        body(at(e * heads + h), at(rows[at(e)] * heads + h), at(col[at(e)] * heads + h));
  };
  each([&](size_t e, size_t i, size_t j) {
    score[e] = t[i] + s[j];
    weight[e] = score[e] > 0 ? score[e] : p.slope * score[e];
    top[i] = std::max(top[i], weight[e]);
  });
  each([&](size_t e, size_t i, size_t) { sum[i] += std::exp(weight[e] - top[i]); });
  each([&](size_t e, size_t i, size_t j) {
    r.lse[i] = top[i] + std::log(sum[i]);
    weight[e] = std::exp(weight[e] - r.lse[i]);
    for (int64_t k = 0; k < width; ++k) {
      const double value = xs[j * at(width) + at(k)], g = gs[i * at(width) + at(k)];
      r.y[i * at(width) + at(k)] += weight[e] * factor[e] * value;
      r.gx[j * at(width) + at(k)] += weight[e] * factor[e] * g;
      product[e] += g * value * factor[e];
    }
    mean[i] += weight[e] * product[e];
  });
  each([&](size_t e, size_t i, size_t j) {
    const double g = weight[e] * (product[e] - mean[i]) * (score[e] > 0 ? 1 : p.slope);
    r.gtarget[i] += g;
    r.gsource[j] += g;
  });
  return r;
}

TEST_P(EdgeAttentionTest, AgreesWithTheFormulas) {
  struct Sizes {
    int64_t heads, width;
  };
  for (const Graph& g : hard_graphs())
    for (const auto& [heads, width] : {Sizes{1, 1}, {3, 5}, {8, 16}}) {
      const Tensor target = uniform({g.matrix.rows, heads}, dtype(), 1),
                   source = uniform({g.matrix.cols, heads}, dtype(), 2),
                   x = uniform({g.matrix.cols, heads, width}, dtype(), 3),
                   gy = uniform({g.matrix.rows, heads, width}, dtype(), 4);
      expect_results(g.matrix, compute(g.matrix, target, source, x, gy, {}),
                     reference(g.matrix, target, source, x, gy, {}),
                     concat(g.name, ", ", heads, " heads of ", width));
    }
}

// More columns than a group of lanes holds, and rows that are cut into segments.
TEST_P(EdgeAttentionTest, WideHeadsAndLongRows) {
  struct Case {
    CsrMatrix pattern;
    int64_t heads, width;
  };
  for (const auto& [pattern, heads, width] : {Case{random_pattern(30, 20, 90, 1, 1), 2, 300},
                                              {random_pattern(400, 90, 34000, 6, 4), 2, 4}}) {
    const Tensor target = uniform({pattern.rows, heads}, dtype(), 1),
                 source = uniform({pattern.cols, heads}, dtype(), 2),
                 x = uniform({pattern.cols, heads, width}, dtype(), 3),
                 gy = uniform({pattern.rows, heads, width}, dtype(), 4);
    expect_results(pattern, compute(pattern, target, source, x, gy, {.slope = 0.05}),
                   reference(pattern, target, source, x, gy, {.slope = 0.05}),
                   concat(width, " columns"));
  }
}

TEST_P(EdgeAttentionTest, DropsWhatDropoutDrops) {
  const CsrMatrix pattern = random_pattern(40, 30, 300, 2, 5);
  const Tensor target = uniform({40, 6}, dtype(), 1), source = uniform({30, 6}, dtype(), 2),
               x = uniform({30, 6, 8}, dtype(), 3), gy = uniform({40, 6, 8}, dtype(), 4);
  EdgeAttentionParams params{.dropout = 0.3, .rng = {11, 5}};
  expect_results(pattern, compute(pattern, target, source, x, gy, params),
                 reference(pattern, target, source, x, gy, params), "one sequence");
  const std::vector<RngState> origins{{3, 0}, {4, 100}, {5, 7}};
  const Tensor there = Tensor::empty({static_cast<int64_t>(origins.size() * sizeof(RngState))},
                                     DType::u8, Device::cpu());
  std::memcpy(there.data(), origins.data(), origins.size() * sizeof(RngState));
  const Tensor on = there.to(device());
  params.sequences = 3;
  params.rng.origin = static_cast<const RngState*>(on.data());
  expect_results(pattern, compute(pattern, target, source, x, gy, params),
                 reference(pattern, target, source, x, gy, params, origins), "three sequences");
}

TEST_P(EdgeAttentionTest, LargeScoresDoNotOverflow) {
  const CsrMatrix pattern = random_pattern(20, 20, 100, 1, 6);
  const auto large = [&](uint64_t seed) {
    Doubles values = to_doubles(uniform({20, 2}, DType::f64, seed));
    for (double& v : values) v *= 3e4;
    return from_doubles(values, {20, 2}, dtype());
  };
  const Tensor target = large(1), source = large(2), x = uniform({20, 2, 4}, dtype(), 3),
               gy = uniform({20, 2, 4}, dtype(), 4);
  const Results got = compute(pattern, target, source, x, gy, {}),
                wanted = reference(pattern, target, source, x, gy, {});
  expect_close(got.y, wanted.y, {0.02, 0.02}, "y");
}

// Scores of -inf weigh nothing: all is as if their entries were not there, and a row that has no
// others is like one without entries.
TEST_P(EdgeAttentionTest, ScoresOfMinusInfinityAreNoEntries) {
  for (const CsrMatrix& pattern :
       {random_pattern(40, 30, 300, 1, 6), random_pattern(400, 90, 34000, 6, 4)}) {
    const auto hidden_row = [](int64_t i) { return i % 7 == 0; };
    const auto hidden_column = [](int64_t j) { return j % 3 == 1; };
    const auto scores = [&](int64_t n, auto&& hidden, uint64_t seed) {
      Doubles values = to_doubles(uniform({n, 2}, dtype(), seed));
      for (int64_t i = 0; i < 2 * n; ++i)
        if (hidden(i / 2)) values[at(i)] = -std::numeric_limits<double>::infinity();
      return from_doubles(values, {n, 2}, dtype());
    };
    std::vector<int64_t> row, col;
    const std::vector<int64_t> rows = entry_rows(pattern);
    const auto columns = pattern.col.host<int32_t>();
    for (size_t e = 0; e < rows.size(); ++e)
      if (!hidden_row(rows[e]) && !hidden_column(columns[e])) {
        row.push_back(rows[e]);
        col.push_back(columns[e]);
      }
    const CsrMatrix visible = CsrMatrix::from_edges(pattern.rows, pattern.cols, row, col,
                                                    {.duplicates = EdgeOptions::Duplicates::keep});
    const Tensor x = uniform({pattern.cols, 2, 4}, dtype(), 3),
                 gy = uniform({pattern.rows, 2, 4}, dtype(), 4);
    const Results got = compute(pattern, scores(pattern.rows, hidden_row, 1),
                                scores(pattern.cols, hidden_column, 2), x, gy, {}),
                  wanted = reference(visible, uniform({pattern.rows, 2}, dtype(), 1),
                                     uniform({pattern.cols, 2}, dtype(), 2), x, gy, {});
    expect_results(pattern, got, wanted, concat(pattern.nnz(), " entries"));
    for (int64_t k = 0; k < 8; ++k) EXPECT_EQ(got.y[at(k)], 0) << k;  // row 0
  }
}

TEST_P(EdgeAttentionTest, SameBitsForEveryThreadCount) {
  const CsrMatrix pattern = random_pattern(900, 700, 20000, 4, 1);
  const Tensor target = uniform({900, 3}, dtype(), 1), source = uniform({700, 3}, dtype(), 2),
               x = uniform({700, 3, 10}, dtype(), 3), gy = uniform({900, 3, 10}, dtype(), 4);
  const EdgeAttentionParams params{.dropout = 0.2, .rng = {1, 2}};
  test::Threads one(1);
  const Results first = compute(pattern, target, source, x, gy, params);
  test::Threads three(3);
  const Results again = compute(pattern, target, source, x, gy, params);
  EXPECT_EQ(first.y, again.y);
  EXPECT_EQ(first.gtarget, again.gtarget);
  EXPECT_EQ(first.gsource, again.gsource);
  EXPECT_EQ(first.gx, again.gx);
}

TEST_P(EdgeAttentionTest, RejectsWhatDoesNotFit) {
  const CsrMatrix pattern = random_pattern(4, 3, 6, 1, 1).to(device());
  const CsrView a = test::view(pattern);
  const auto call = [&](const Tensor& target, const Tensor& source, const Tensor& x,
                        const Tensor& y, const Tensor& lse, const EdgeAttentionParams& p = {}) {
    edge_attention(stream(), a, target.view(), source.view(), x.view(), y.view(), lse.view(), p);
  };
  const Tensor target = on_device(uniform({4, 2}, dtype(), 1)),
               source = on_device(uniform({3, 2}, dtype(), 1)),
               x = on_device(uniform({3, 2, 5}, dtype(), 1)), y = empty({4, 2, 5}),
               lse = empty({4, 2}, wide());
  EXPECT_NO_THROW(call(target, source, x, y, lse));
  EXPECT_THROW(call(source, source, x, y, lse), Error);
  EXPECT_THROW(call(target, target, x, y, lse), Error);
  EXPECT_THROW(call(target, source, x, empty({4, 2, 4}), lse), Error);
  EXPECT_THROW(call(target, source, empty({3, 2, 0}), empty({4, 2, 0}), lse), Error);
  EXPECT_THROW(call(target, source, x, y, empty({4, 2}, DType::i32)), Error);
  EXPECT_THROW(call(target, source, x, y, lse, {.dropout = 1}), Error);
  EXPECT_THROW(call(target, source, x, y, lse, {.dropout = 0.5, .sequences = 2}), Error);
  EXPECT_THROW(call(target, source, x, y, lse, {.sequences = 3}), Error);
}

INSTANTIATE_TEST_SUITE_P(Targets, EdgeAttentionTest,
                         test::targets(test::float_dtypes, &Backend::spmm), test::target_name);

}  // namespace
}  // namespace tessera::kernels
