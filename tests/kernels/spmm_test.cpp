#include "tessera/kernels/spmm.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

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
using test::integers;
using test::random_pattern;
using test::to_doubles;
using test::uniform;

using Doubles = std::vector<double>;

constexpr int64_t widths[] = {1, 3, 7, 16, 33, 64, 100, 300};

size_t at(int64_t i) { return static_cast<size_t>(i); }

class SpmmTest : public test::TargetTest {
 protected:
  void SetUp() override {
    TargetTest::SetUp();
    if (!IsSkipped() && !backend(device()).spmm)
      GTEST_SKIP() << "no spmm kernels on " << to_string(device());
  }
  // A pattern on the device; with values in [-1, 1] where heads > 0.
  CsrMatrix matrix(const CsrMatrix& pattern, int64_t heads, uint64_t seed) {
    CsrMatrix m = pattern;
    if (heads > 0)
      m = m.with_values(
          integers(heads == 1 ? Shape{m.nnz()} : Shape{m.nnz(), heads}, dtype(), seed, 1));
    return m.to(device());
  }
  DType scale_dtype() const { return dtype() == DType::f64 ? DType::f64 : DType::f32; }

  // The same rows at a distance of `gap` more elements.
  Tensor spread(const Tensor& x, int64_t gap) {
    Shape wide{x.size(0), x.numel() / std::max<int64_t>(x.size(0), 1) + gap};
    if (x.size(0) == 0) return x;
    const auto rows_of = [&](const Tensor& memory) {
      Shape strides = x.strides();
      strides[0] = wide[1];
      return Tensor::over(memory.storage(), 0, x.shape(), strides, x.dtype());
    };
    const Tensor host = Tensor::empty(wide, x.dtype(), Device::cpu());
    Tensor(rows_of(host)).copy_from(x);
    return rows_of(on_device(host));
  }
};

struct Product {
  Doubles x = {}, y = {}, values = {}, row_scale = {}, col_scale = {};
  int64_t heads = 1, width = 1;
  double alpha = 1, beta = 0;
  bool mean = false;
};

Doubles reference(const CsrMatrix& pattern, const Product& p) {
  const auto row_ptr = pattern.row_ptr.host<int32_t>(), col = pattern.col.host<int32_t>();
  const int64_t row_size = p.heads * p.width;
  const auto value_heads =
      p.values.empty() ? 1 : static_cast<int64_t>(p.values.size()) / pattern.nnz();
  Doubles y(at(pattern.rows * row_size));
  for (int64_t i = 0; i < pattern.rows; ++i)
    for (int64_t j = 0; j < row_size; ++j) {
      double sum = 0;
      for (int64_t e = row_ptr[at(i)]; e < row_ptr[at(i + 1)]; ++e) {
        const int64_t c = col[at(e)];
        const double value =
            p.values.empty() ? 1
                             : p.values[at(e * value_heads + (value_heads > 1 ? j / p.width : 0))];
        sum += value * (p.col_scale.empty() ? 1 : p.col_scale[at(c)]) * p.x[at(c * row_size + j)];
      }
      const int64_t degree = row_ptr[at(i + 1)] - row_ptr[at(i)];
      if (p.mean && degree > 0) sum /= static_cast<double>(degree);
      sum *= p.alpha * (p.row_scale.empty() ? 1 : p.row_scale[at(i)]);
      y[at(i * row_size + j)] = sum + (p.beta != 0 ? p.beta * p.y[at(i * row_size + j)] : 0);
    }
  return y;
}

// Sums of up to 5000 small integers are exact in f32; halves round once, at the end.
TEST_P(SpmmTest, ProductsOfHardGraphs) {
  for (const Graph& g : hard_graphs())
    for (const int64_t width : widths)
      for (const bool weighted : {false, true}) {
        const CsrMatrix a = matrix(g.matrix, weighted, 5);
        const Tensor x = integers({a.cols, width}, dtype(), 6),
                     y = integers({a.rows, width}, dtype(), 7);
        const Product p{.x = to_doubles(x),
                        .y = to_doubles(y),
                        .values = weighted ? to_doubles(a.values) : Doubles{},
                        .width = width,
                        .alpha = 2,
                        .beta = weighted ? -1.0 : 0.0};
        const Tensor x_rows = spread(x, weighted ? 5 : 0), y_rows = spread(y, weighted ? 3 : 0);
        spmm(stream(), test::view(a), x_rows.view(), y_rows.view(),
             {.alpha = p.alpha, .beta = p.beta});
        expect_close(y_rows, reference(g.matrix, p), {test::roundoff(dtype()), 0},
                     concat(g.name, ", width ", width, weighted ? ", weighted" : ""));
      }
}

TEST_P(SpmmTest, ScalesAndMeans) {
  for (const Graph& g : hard_graphs())
    for (int mode = 0; mode < 8; ++mode) {
      const CsrMatrix a = matrix(g.matrix, 0, 5);
      const int64_t width = 20;
      const Tensor x = uniform({a.cols, width}, dtype(), 6);
      const Tensor y =
          from_doubles(Doubles(at(a.rows * width), NAN), {a.rows, width}, dtype()).to(device());
      const Tensor row_scale = uniform({a.rows}, scale_dtype(), 8),
                   col_scale = uniform({a.cols}, scale_dtype(), 9);
      const bool rows = mode & 1, columns = mode & 2, mean = mode & 4;
      const Product p{.x = to_doubles(x),
                      .row_scale = rows ? to_doubles(row_scale) : Doubles{},
                      .col_scale = columns ? to_doubles(col_scale) : Doubles{},
                      .width = width,
                      .mean = mean};
      const Tensor row_there = on_device(row_scale), col_there = on_device(col_scale);
      spmm(stream(), test::view(a), on_device(x).view(), y.view(),
           {.mean = mean,
            .row_scale = rows ? row_there.view() : View{},
            .col_scale = columns ? col_there.view() : View{}});
      // 5000 terms of order 1 that recur every 61: their roundings add up instead of averaging out
      expect_close(y, reference(g.matrix, p),
                   {test::tolerance(dtype()).rtol, test::tolerance(dtype()).atol * 5000},
                   concat(g.name, ", mode ", mode));
    }
}

TEST_P(SpmmTest, ValuesPerHead) {
  struct Heads {
    int64_t heads, width;
  };
  // widths around one and two vectors of every instruction set and dtype
  for (const Graph& g : hard_graphs())
    for (const auto [heads, width] :
         {Heads{2, 9}, Heads{5, 9}, Heads{2, 4}, Heads{3, 8}, Heads{19, 16}, Heads{5, 32}}) {
      const CsrMatrix a = matrix(g.matrix, heads, 5);
      const Tensor x = integers({a.cols, heads, width}, dtype(), 6, 1);
      const Tensor y = empty({a.rows, heads, width});
      spmm(stream(), test::view(a), spread(x, 4).view(), y.view());
      const Product p{
          .x = to_doubles(x), .values = to_doubles(a.values), .heads = heads, .width = width};
      expect_close(y, reference(g.matrix, p), {test::roundoff(dtype()), 0}, g.name);

      // one value for all heads
      const CsrMatrix shared = matrix(g.matrix, 1, 8);
      spmm(stream(), test::view(shared), on_device(x).view(), y.view());
      const Product q{
          .x = to_doubles(x), .values = to_doubles(shared.values), .heads = heads, .width = width};
      expect_close(y, reference(g.matrix, q), {test::roundoff(dtype()), 0}, g.name);
    }
}

// Operands larger than a core's second-level cache, and rows long enough for segments.
TEST_P(SpmmTest, OperandsBeyondTheCaches) {
  const test::Threads scope(1);
  const CsrMatrix pattern = random_pattern(large(24000), large(24000), large(60000), 6, 1);
  for (const int64_t width : {48, 272})
    for (const bool weighted : {false, true}) {
      const CsrMatrix a = matrix(pattern, weighted, 5);
      const Tensor x = integers({a.cols, width}, dtype(), 6), y = empty({a.rows, width});
      spmm(stream(), test::view(a), on_device(x).view(), y.view());
      const Product p{.x = to_doubles(x),
                      .values = weighted ? to_doubles(a.values) : Doubles{},
                      .width = width};
      expect_close(y, reference(pattern, p), {test::roundoff(dtype()), 0},
                   concat("width ", width, weighted ? ", weighted" : ""));
    }
}

TEST_P(SpmmTest, SameBitsForEveryVariantAndThreadCount) {
  const CsrMatrix patterns[] = {random_pattern(3000, 900, 60000, 5, 1),
                                random_pattern(3000, 900, 20000, 1, 2)};
  for (const CsrMatrix& pattern : patterns)
    for (const int64_t width : {5, 96}) {
      const CsrMatrix a = pattern.with_values(uniform({pattern.nnz()}, dtype(), 3)).to(device());
      const Tensor x = on_device(uniform({a.cols, width}, dtype(), 4));
      Doubles first;
      for (const int threads : {1, 2, 3})
        for (const SpmmVariant variant :
             {SpmmVariant::automatic, SpmmVariant::row_split, SpmmVariant::merge_path}) {
          test::Threads scope(threads);
          const Tensor y = on_device(uniform({a.rows, width}, dtype(), 5));
          spmm(stream(), test::view(a), x.view(), y.view(),
               {.alpha = 0.7, .beta = 0.3, .variant = variant});
          if (first.empty()) first = to_doubles(y);
          EXPECT_EQ(first, to_doubles(y))
              << threads << " threads, variant " << static_cast<int>(variant);
        }
    }
}

TEST_P(SpmmTest, SddmmIsTheTransposeInTheValues) {
  for (const Graph& g : hard_graphs())
    for (const int64_t heads : {1, 3})
      for (const int64_t width : {1, 17, 64, 200}) {
        const CsrMatrix a = matrix(g.matrix, 0, 0);
        const Shape one{}, dense_rows{a.rows, heads, width}, dense_cols{a.cols, heads, width};
        const Tensor x = integers(dense_rows, dtype(), 1, 1),
                     z = integers(dense_cols, dtype(), 2, 1);
        const Tensor scores = empty(heads == 1 ? Shape{a.nnz()} : Shape{a.nnz(), heads});
        sddmm(stream(), test::view(a), spread(x, 2).view(), on_device(z).view(), scores.view(), -3);
        const Doubles xs = to_doubles(x), zs = to_doubles(z);
        const auto col = g.matrix.col.host<int32_t>();
        Doubles wanted;
        const std::vector<int64_t> rows = entry_rows(g.matrix);
        for (size_t e = 0; e < rows.size(); ++e)
          for (int64_t h = 0; h < heads; ++h) {
            double sum = 0;
            for (int64_t j = 0; j < width; ++j)
              sum += xs[at((rows[e] * heads + h) * width + j)] *
                     zs[at((col[e] * heads + h) * width + j)];
            wanted.push_back(-3 * sum);
          }
        expect_close(scores, wanted, {test::roundoff(dtype()), 0},
                     concat(g.name, ", width ", width));
      }
}

TEST_P(SpmmTest, EdgeAdd) {
  for (const Graph& g : hard_graphs())
    for (const int64_t heads : {1, 4}) {
      const CsrMatrix a = matrix(g.matrix, 0, 0);
      const auto shape = [&](int64_t n) { return heads == 1 ? Shape{n} : Shape{n, heads}; };
      const Tensor x = integers(shape(a.rows), dtype(), 1), z = integers(shape(a.cols), dtype(), 2);
      const Tensor scores = empty(shape(a.nnz()));
      edge_add(stream(), test::view(a), on_device(x).view(), on_device(z).view(), scores.view());
      const Doubles xs = to_doubles(x), zs = to_doubles(z);
      const auto col = g.matrix.col.host<int32_t>();
      const std::vector<int64_t> rows = entry_rows(g.matrix);
      Doubles wanted;
      for (size_t e = 0; e < rows.size(); ++e)
        for (int64_t h = 0; h < heads; ++h)
          wanted.push_back(xs[at(rows[e] * heads + h)] + zs[at(col[e] * heads + h)]);
      EXPECT_EQ(to_doubles(scores), wanted) << g.name;
    }
}

struct Extreme {
  Doubles y;
  std::vector<int64_t> from;
};
Extreme extreme_reference(const std::vector<std::vector<int64_t>>& members, const Doubles& x,
                          int64_t width, bool maximum,
                          const std::vector<std::vector<int64_t>>& names) {
  Extreme r;
  for (size_t i = 0; i < members.size(); ++i)
    for (int64_t j = 0; j < width; ++j) {
      double best = 0;
      int64_t from = -1;
      for (size_t k = 0; k < members[i].size() && !std::isnan(best); ++k) {
        const double v = x[at(members[i][k] * width + j)];
        if (from < 0 || std::isnan(v) || (maximum ? v > best : v < best))
          best = v, from = names[i][k];
      }
      r.y.push_back(best);
      r.from.push_back(from);
    }
  return r;
}

TEST_P(SpmmTest, ExtremesWithTheirChoiceAndItsTwoMaps) {
  for (const Graph& g : hard_graphs())
    for (const int64_t width : {1, 5, 70})
      for (const ExtremeOp op : {ExtremeOp::maximum, ExtremeOp::minimum}) {
        const CsrMatrix a = matrix(g.matrix, 0, 0);
        Tensor x = integers({a.cols, width}, dtype(), 1, 40);
        if (a.cols == 61) {
          Doubles with_nan = to_doubles(x);
          with_nan[30] = NAN;
          x = from_doubles(with_nan, x.shape(), dtype());
        }
        const Tensor y = empty({a.rows, width}), index = empty({a.rows, width}, DType::i32);
        aggregate_extreme(stream(), op, test::view(a), spread(x, 1).view(), y.view(), index.view());

        const auto col = g.matrix.col.host<int32_t>();
        const std::vector<int64_t> rows = entry_rows(g.matrix);
        std::vector<std::vector<int64_t>> members(at(a.rows)), entries(at(a.rows));
        for (size_t e = 0; e < rows.size(); ++e) {
          members[at(rows[e])].push_back(col[e]);
          entries[at(rows[e])].push_back(static_cast<int64_t>(e));
        }
        const Extreme wanted =
            extreme_reference(members, to_doubles(x), width, op == ExtremeOp::maximum, entries);
        expect_close(y, wanted.y, {0, 0}, g.name);
        const std::vector<int32_t> chosen = index.values<int32_t>();
        ASSERT_EQ(std::vector<int64_t>(chosen.begin(), chosen.end()), wanted.from) << g.name;

        // gather of u by the choice, and <gather(u), v> = <u, scatter(v)> exactly
        const Tensor u = integers({a.cols, width}, dtype(), 2, 2),
                     v = integers({a.rows, width}, dtype(), 3, 2);
        const Tensor gathered = empty({a.rows, width}), scattered = empty({a.cols, width});
        aggregate_gather(stream(), test::view(a), on_device(u).view(), index.view(),
                         gathered.view());
        const CsrTranspose t = a.transpose();
        aggregate_scatter(stream(), test::view(t.matrix), t.permutation.view(), on_device(v).view(),
                          index.view(), scattered.view());
        const Doubles us = to_doubles(u), vs = to_doubles(v);
        Doubles by_hand(at(a.rows * width)), back(at(a.cols * width));
        for (size_t k = 0; k < chosen.size(); ++k) {
          if (chosen[k] < 0) continue;
          const size_t source = at(col[at(chosen[k])] * width) + k % at(width);
          by_hand[k] = us[source];
          back[source] += vs[k];
        }
        EXPECT_EQ(to_doubles(gathered), by_hand) << g.name;
        expect_close(scattered, back, {test::roundoff(dtype()), 0}, g.name);
      }
}

TEST_P(SpmmTest, SegmentsWithAndWithoutPermutation) {
  const int64_t n = 3000, width = 11;
  const Tensor x = integers({n, width}, dtype(), 1, 3);
  const Doubles xs = to_doubles(x);
  std::vector<int32_t> order(at(n));
  for (int64_t k = 0; k < n; ++k) order[at(k)] = static_cast<int32_t>((k * 1237 + 11) % n);
  const Tensor permutation = on_device(Tensor::from(order, {n}, Device::cpu()));
  const std::vector<int64_t> cuts{3,    3,    10,  11,
                                  2950, 2950, 2999};  // empty, long and single segments
  for (const DType offset_dtype : {DType::i32, DType::i64})
    for (const bool permuted : {false, true})
      for (const SegmentOp op :
           {SegmentOp::sum, SegmentOp::mean, SegmentOp::maximum, SegmentOp::minimum}) {
        const auto segments = static_cast<int64_t>(cuts.size()) - 1;
        const Tensor offsets = on_device(
            from_doubles(Doubles(cuts.begin(), cuts.end()), {segments + 1}, offset_dtype));
        const Tensor y = empty({segments, width}), index = empty({segments, width}, DType::i64);
        const View order_view = permuted ? permutation.view() : View{};
        const bool choice = op == SegmentOp::maximum || op == SegmentOp::minimum;
        segment_reduce(stream(), op, on_device(x).view(), offsets.view(), order_view, y.view(),
                       choice ? index.view() : View{});
        std::vector<std::vector<int64_t>> members(at(segments));
        Doubles sums(at(segments * width));
        for (int64_t s = 0; s < segments; ++s)
          for (int64_t k = cuts[at(s)]; k < cuts[at(s + 1)]; ++k) {
            members[at(s)].push_back(permuted ? order[at(k)] : k);
            for (int64_t j = 0; j < width; ++j)
              sums[at(s * width + j)] += xs[at(members[at(s)].back() * width + j)];
          }
        if (choice) {
          const Extreme wanted =
              extreme_reference(members, xs, width, op == SegmentOp::maximum, members);
          EXPECT_EQ(to_doubles(y), wanted.y);
          EXPECT_EQ(index.values<int64_t>(), wanted.from);
          segment_reduce(stream(), op, on_device(x).view(), offsets.view(), order_view, y.view());
          EXPECT_EQ(to_doubles(y), wanted.y);
          continue;
        }
        for (int64_t k = 0; k < segments * width; ++k)
          if (op == SegmentOp::mean && !members[at(k / width)].empty())
            sums[at(k)] /= static_cast<double>(members[at(k / width)].size());
        expect_close(y, sums, test::tolerance(dtype()));

        const Tensor expanded = on_device(x).clone();
        segment_expand(stream(), y.view(), offsets.view(), order_view, expanded.view());
        Doubles wanted = xs;
        const Doubles ys = to_doubles(y);
        for (int64_t s = 0; s < segments; ++s)
          for (const int64_t k : members[at(s)])
            std::copy_n(ys.begin() + s * width, width, wanted.begin() + k * width);
        EXPECT_EQ(to_doubles(expanded), wanted);
      }
}

TEST_P(SpmmTest, TransposeAgreesWithTheHost) {
  std::vector<Graph> graphs = hard_graphs();
  graphs.push_back({"many blocks", random_pattern(9000, 700, 150000, 2, 9)});
  for (const Graph& g : graphs)
    for (const int threads : {1, 2, 5}) {
      test::Threads scope(threads);
      const CsrTranspose wanted = g.matrix.transpose();
      const Tensor row_ptr = empty({g.matrix.cols + 1}, DType::i32),
                   col = empty({g.matrix.nnz()}, DType::i32);
      const Tensor permutation = empty({g.matrix.nnz()}, DType::i32);
      const CsrMatrix a = g.matrix.to(device());
      csr_transpose(stream(), test::view(a), row_ptr.view(), col.view(), permutation.view());
      EXPECT_EQ(row_ptr.values<int32_t>(), wanted.matrix.row_ptr.values<int32_t>()) << g.name;
      EXPECT_EQ(col.values<int32_t>(), wanted.matrix.col.values<int32_t>()) << g.name;
      EXPECT_EQ(permutation.values<int32_t>(), wanted.permutation.values<int32_t>()) << g.name;
    }
}

TEST_P(SpmmTest, RejectsWhatDoesNotFit) {
  const CsrMatrix pattern = random_pattern(4, 3, 6, 1, 1).to(device());
  const CsrView a = test::view(pattern);
  const Tensor x = empty({3, 8}), y = empty({4, 8});
  const DType other = dtype() == DType::f32 ? DType::f64 : DType::f32;
  EXPECT_NO_THROW(spmm(stream(), a, x.view(), y.view()));
  EXPECT_THROW(spmm(stream(), a, y.view(), x.view()), Error);
  EXPECT_THROW(spmm(stream(), a, x.view(), empty({4, 7}).view()), Error);
  EXPECT_THROW(spmm(stream(), a, x.view(), empty({4, 8}, other).view()), Error);
  EXPECT_THROW(spmm(stream(), a, empty({8, 3}).transpose(0, 1).view(), y.view()), Error);
  EXPECT_THROW(spmm(stream(), a, empty({3}).view(), empty({4}).view()), Error);
  EXPECT_THROW(
      spmm(stream(), a, x.view(), y.view(), {.row_scale = empty({3}, scale_dtype()).view()}),
      Error);
  EXPECT_THROW(spmm(stream(), a, x.view(), y.view(), {.col_scale = empty({3}, DType::i32).view()}),
               Error);
  EXPECT_THROW(
      spmm(stream(), a, empty({3, 8}, DType::i32).view(), empty({4, 8}, DType::i32).view()), Error);
  CsrView two_heads = a;
  const Tensor values = empty({6, 2});
  two_heads.values = values.view();
  EXPECT_THROW(spmm(stream(), two_heads, x.view(), y.view()), Error);
  EXPECT_THROW(sddmm(stream(), a, y.view(), x.view(), empty({5}).view()), Error);
  EXPECT_THROW(edge_softmax(stream(), a, empty({6}).view(), empty({6, 2}).view()), Error);
  EXPECT_THROW(edge_add(stream(), a, empty({3}).view(), empty({3}).view(), empty({6}).view()),
               Error);
  EXPECT_THROW(aggregate_extreme(stream(), ExtremeOp::maximum, a, x.view(), y.view(),
                                 empty({4, 8}, DType::i64).view()),
               Error);
  const Tensor falling = on_device(Tensor::from({0, 3, 2}, {3}, Device::cpu()));
  EXPECT_THROW(
      segment_reduce(stream(), SegmentOp::sum, x.view(), falling.view(), {}, empty({2, 8}).view()),
      Error);
  const Tensor beyond = on_device(Tensor::from({0, 3, 4}, {3}, Device::cpu()));
  EXPECT_THROW(
      segment_reduce(stream(), SegmentOp::sum, x.view(), beyond.view(), {}, empty({2, 8}).view()),
      Error);
  const Tensor negative = on_device(Tensor::from({-1, 0, 1}, {3}, Device::cpu()));
  EXPECT_THROW(
      segment_reduce(stream(), SegmentOp::sum, x.view(), negative.view(), {}, empty({2, 8}).view()),
      Error);
  const Tensor fine = on_device(Tensor::from({0, 1, 3}, {3}, Device::cpu()));
  EXPECT_THROW(segment_reduce(stream(), SegmentOp::sum, x.view(), fine.view(), beyond.view(),
                              empty({2, 8}).view()),
               Error);
}

INSTANTIATE_TEST_SUITE_P(Targets, SpmmTest, test::targets(test::float_dtypes, &Backend::spmm),
                         test::target_name);

TEST(ChooseSpmm, CutsRowsOnlyWhereOneWouldKeepAWorkerBusy) {
  EXPECT_EQ(choose_spmm(20'000, 200'000, 30, 2), SpmmVariant::row_split);
  EXPECT_EQ(choose_spmm(200'000, 1'100'000, 5'000, 2), SpmmVariant::row_split);
  EXPECT_EQ(choose_spmm(200'000, 1'100'000, 5'000, 132 * 8), SpmmVariant::merge_path);
  EXPECT_EQ(choose_spmm(2, 1'000'000, 600'000, 2), SpmmVariant::merge_path);
  EXPECT_EQ(choose_spmm(0, 0, 0, 0), SpmmVariant::row_split);
}

TEST(Spmm, EveryInstructionSetLevelAgrees) {
  const CsrMatrix pattern = random_pattern(200, 150, 4000, 3, 1);
  for (const DType dtype : test::float_dtypes)
    for (const int64_t width : {3, 40, 129}) {
      const CsrMatrix a = pattern.with_values(integers({pattern.nnz()}, dtype, 2, 1));
      const Tensor x = integers({150, width}, dtype, 3, 2);
      const Product p{.x = to_doubles(x), .values = to_doubles(a.values), .width = width};
      for (const Backend* level : test::cpu_backends()) {
        const Tensor y = Tensor::empty({200, width}, dtype, Device::cpu());
        level->spmm->spmm(current_stream(Device::cpu()), test::view(a), x.view(), y.view(), {});
        expect_close(y, reference(pattern, p), {test::roundoff(dtype), 0},
                     std::string(level->name));
        const Tensor scores = Tensor::empty({pattern.nnz()}, dtype, Device::cpu());
        level->spmm->sddmm(current_stream(Device::cpu()), test::view(a), y.view(), x.view(),
                           scores.view(), -3);
        const Doubles ys = to_doubles(y), xs = to_doubles(x);
        const auto col = pattern.col.host<int32_t>();
        const std::vector<int64_t> rows = entry_rows(pattern);
        Doubles wanted(rows.size());
        for (size_t e = 0; e < rows.size(); ++e)
          for (int64_t j = 0; j < width; ++j)
            wanted[e] -= 3 * ys[at(rows[e] * width + j)] * xs[at(col[e] * width + j)];
        expect_close(scores, wanted, {test::roundoff(dtype), 0}, std::string(level->name));
      }
    }
}

}  // namespace
}  // namespace tessera::kernels
