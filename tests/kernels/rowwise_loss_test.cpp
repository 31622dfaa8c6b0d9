#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <optional>

#include "tessera/kernels/rowwise.hpp"
#include "tessera/runtime/io/safetensors.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::compute_dtype;
using test::expect_close;
using test::from_doubles;
using test::infinity;
using test::numeric_gradient;
using test::Threads;
using test::to_doubles;
using test::tolerance;
using test::Values;
using test::view_or_none;

// One call: everything but logits and dtype, as plain numbers. An empty vector leaves an operand
// out.
struct LossCase {
  int64_t rows, classes;
  std::vector<int64_t> labels;  // or
  Values probabilities;         // [rows, classes]
  Values class_weights;
  std::vector<int64_t> list;  // rows by number
  std::vector<int64_t> mask;  // rows by bool
  CrossEntropyParams params;

  int64_t entries() const { return list.empty() ? rows : static_cast<int64_t>(list.size()); }
  double weight(int64_t c) const {
    return class_weights.empty() ? 1 : class_weights[static_cast<size_t>(c)];
  }
  // The rows that count, in the order of an unreduced loss; -1 for one that costs nothing.
  std::vector<int64_t> counted() const {
    std::vector<int64_t> r;
    for (int64_t i = 0; i < entries(); ++i) {
      const int64_t row = list.empty() ? i : list[static_cast<size_t>(i)];
      const bool masked = !mask.empty() && !mask[static_cast<size_t>(row)];
      const bool ignored =
          !labels.empty() && labels[static_cast<size_t>(row)] == params.ignore_index;
      r.push_back(masked || ignored ? -1 : row);
    }
    return r;
  }
};

// The definition: smoothed target times weight times -log p.
Values reference(const LossCase& c, const Values& logits) {
  Values costs;
  double divisor = 0, sum = 0;
  const double smoothing = c.params.label_smoothing;
  for (const int64_t row : c.counted()) {
    costs.push_back(0);
    if (row < 0) continue;
    const double* x = logits.data() + row * c.classes;
    double total = 0;
    for (int64_t k = 0; k < c.classes; ++k) total += std::exp(x[k]);
    for (int64_t k = 0; k < c.classes; ++k) {
      const double t = c.labels.empty() ? c.probabilities[static_cast<size_t>(row * c.classes + k)]
                                        : c.labels[static_cast<size_t>(row)] == k;
      const double smooth = (1 - smoothing) * t + smoothing / static_cast<double>(c.classes);
      costs.back() -= c.weight(k) * smooth * (x[k] - std::log(total));
    }
    sum += costs.back();
    divisor += c.labels.empty() ? 1 : c.weight(c.labels[static_cast<size_t>(row)]);
  }
  switch (c.params.reduction) {
    case LossReduction::none:
      return costs;
    case LossReduction::sum:
      return {sum};
    case LossReduction::mean:
      return {sum / divisor};
  }
  return {};
}

class CrossEntropy : public test::TargetTest {
 protected:
  struct Result {
    Tensor loss, lse, gx;
  };
  static Result run(const LossCase& c, const Tensor& logits, const Tensor& gloss,
                    DType index = DType::i64) {
    const auto ints = [&](const std::vector<int64_t>& v, DType d) {
      return v.empty() ? Tensor()
                       : on_device(from_doubles(Values(v.begin(), v.end()),
                                                {static_cast<int64_t>(v.size())}, d));
    };
    const Tensor x = on_device(logits), g = on_device(gloss);
    const Tensor target =
        c.labels.empty()
            ? on_device(from_doubles(c.probabilities, {c.rows, c.classes}, logits.dtype()))
            : ints(c.labels, index);
    const Tensor weights =
        c.class_weights.empty()
            ? Tensor()
            : on_device(from_doubles(c.class_weights, {c.classes}, logits.dtype()));
    const Tensor rows = c.mask.empty() ? ints(c.list, index) : ints(c.mask, DType::bool_);
    const LossSelection selection{view_or_none(weights), view_or_none(rows)};
    const DType wide = compute_dtype(logits.dtype());
    Result r{empty(gloss.shape(), wide), empty({c.rows}, wide),
             empty(logits.shape(), logits.dtype())};
    cross_entropy(stream(), x.view(), target.view(), selection, c.params, r.loss.view(),
                  r.lse.view());
    cross_entropy_gradient(stream(), x.view(), target.view(), selection, c.params, r.lse.view(),
                           g.view(), r.gx.view());
    return r;
  }
  static Shape loss_shape(const LossCase& c) {
    return c.params.reduction == LossReduction::none ? Shape{c.entries()} : Shape{};
  }
};

std::vector<LossCase> loss_cases() {
  const Values probabilities = [] {
    Values p;
    for (int r = 0; r < 5; ++r)
      for (int k = 0; k < 4; ++k)
        p.push_back(k == r % 4 ? 0.5 : k == (r + 1) % 4 ? 0.375 : k == 0 ? 0.125 : 0);
    return p;
  }();
  const std::vector<int64_t> many_labels{0, 33, 29};
  std::vector<LossCase> cases;
  for (const LossReduction reduction :
       {LossReduction::none, LossReduction::sum, LossReduction::mean})
    for (const double smoothing : {0.0, 0.25}) {
      const CrossEntropyParams p{smoothing, -100, reduction};
      const CrossEntropyParams ignoring{smoothing, 2, reduction};
      const Values weights{0.5, 2, 1, 0.25};
      cases.push_back({5, 4, {0, 3, 2, 1, 3}, {}, {}, {}, {}, p});
      cases.push_back({5, 4, {0, 3, 2, 1, 3}, {}, weights, {}, {}, p});
      cases.push_back({5, 4, {0, -100, 2, 1, -100}, {}, weights, {}, {}, p});
      cases.push_back({5, 4, {0, 3, 2, 1, 3}, {}, {}, {}, {}, ignoring});
      cases.push_back({5, 4, {0, 3, 2, 1, 3}, {}, weights, {4, 0, 4, 2}, {}, p});
      cases.push_back({5, 4, {0, 3, -100, 1, 3}, {}, {}, {2, 1}, {}, p});
      cases.push_back({5, 4, {0, 3, 2, 1, 3}, {}, {}, {}, {1, 0, 1, 1, 0}, p});
      cases.push_back({5, 4, {}, probabilities, {}, {}, {}, p});
      cases.push_back({5, 4, {}, probabilities, weights, {3, 3, 1}, {}, p});
      cases.push_back({5, 4, {}, probabilities, weights, {}, {0, 1, 1, 0, 1}, p});
      cases.push_back({3, 37, many_labels, {}, {}, {}, {}, p});
      cases.push_back({2, 1, {0, 0}, {}, {}, {}, {}, p});
    }
  return cases;
}

TEST_P(CrossEntropy, LossAndGradientMatchTheDefinition) {
  uint64_t seed = 0;
  for (const LossCase& c : loss_cases()) {
    const Tensor x = test::uniform({c.rows, c.classes}, dtype(), ++seed);
    const Tensor gloss = test::uniform(loss_shape(c), dtype(), ++seed);
    for (const DType index : {DType::i64, DType::i32}) {
      const Result r = run(c, x, gloss, index);
      const std::string what = concat("case ", seed / 2, " with ", index, " indices");
      expect_close(r.loss, reference(c, to_doubles(x)), tolerance(compute_dtype(dtype())).times(4),
                   what);
      expect_close(
          r.gx,
          numeric_gradient([&](const Values& v) { return reference(c, v); }, to_doubles(x),
                           to_doubles(gloss)),
          dtype() == DType::f64 ? test::Tolerance{1e-8, 1e-8} : tolerance(dtype()).times(2), what);
    }
  }
}

// Rows longer than any block, and outputs large enough to bypass the caches.
TEST_P(CrossEntropy, LongRows) {
  const bool huge = dtype() == DType::f32;
  const int64_t rows = huge ? 1056 : 9, classes = 8000 + (huge ? 0 : 3);
  LossCase c{rows, classes, {}, {}, {}, {}, {}, {.label_smoothing = 0.1}};
  for (int64_t r = 0; r < rows; ++r) c.labels.push_back(r * 977 % classes);
  const Tensor x = test::uniform({rows, classes}, dtype(), 1),
               gloss = from_doubles({2}, {1}, dtype());
  const Result r = run(c, x, gloss);
  const Values v = to_doubles(x), got = to_doubles(r.gx);
  expect_close(r.loss, reference(c, v), tolerance(compute_dtype(dtype())).times(8));
  const int64_t row = rows - 2;
  double total = 0;
  for (int64_t k = 0; k < classes; ++k)
    total += std::exp(v[static_cast<size_t>(row * classes + k)]);
  Values wanted, part;
  for (int64_t k = 0; k < classes; ++k) {
    const auto at = static_cast<size_t>(row * classes + k);
    const double t =
        0.1 / static_cast<double>(classes) + (k == c.labels[static_cast<size_t>(row)] ? 0.9 : 0);
    wanted.push_back(2 * (std::exp(v[at]) / total - t) / static_cast<double>(rows));
    part.push_back(got[at]);
  }
  const double unit = 1 / static_cast<double>(rows * classes);
  expect_close(part, wanted,
               {tolerance(dtype()).rtol * 4, is_half(dtype()) ? 0x1p-24 : unit * 1e-5});
}

TEST_P(CrossEntropy, InfiniteLogits) {
  // a class that cannot be: no cost unless the target asks for it
  const Tensor x = from_doubles({1, -infinity, 1, -infinity, 0, -infinity}, {2, 3}, dtype());
  LossCase c{2, 3, {0, 1}, {}, {}, {}, {}, {.reduction = LossReduction::none}};
  Result r = run(c, x, test::uniform({2}, dtype(), 1));
  expect_close(r.loss, {std::log(2.0), 0});
  c.labels = {1, 0};
  r = run(c, x, from_doubles({1, 1}, {2}, dtype()));
  EXPECT_EQ(to_doubles(r.loss), (Values{infinity, infinity}));
  expect_close(r.gx, {0.5, -1, 0.5, -1, 1, 0}, tolerance(dtype()));
  LossCase soft{2, 3, {}, {0.5, 0, 0.5, 0, 1, 0}, {}, {}, {}, {.reduction = LossReduction::none}};
  expect_close(run(soft, x, test::uniform({2}, dtype(), 1)).loss, {std::log(2.0), 0});
}

TEST_P(CrossEntropy, RowsThatDoNotCountAreNotRead) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor x = from_doubles({nan, nan, 0, 0, nan, 1}, {3, 2}, dtype());
  for (const LossCase& c : {LossCase{3, 2, {7, 1, -3}, {}, {}, {1}, {}, {}},
                            LossCase{3, 2, {7, 1, 9}, {}, {}, {}, {0, 1, 0}, {}},
                            LossCase{3, 2, {-100, 1, -100}, {}, {}, {}, {}, {}}}) {
    const Result r = run(c, x, from_doubles({1}, {}, dtype()));
    expect_close(r.loss, {std::log(2.0)});
    expect_close(r.lse, {0, std::log(2.0), 0});
    expect_close(r.gx, {0, 0, 0.5, -0.5, 0, 0});
  }
}

TEST_P(CrossEntropy, NothingCounts) {
  const Tensor x = test::uniform({2, 3}, dtype(), 1), gloss = from_doubles({1}, {}, dtype());
  LossCase c{2, 3, {-100, -100}, {}, {}, {}, {}, {}};
  Result r = run(c, x, gloss);
  EXPECT_TRUE(std::isnan(to_doubles(r.loss)[0]));
  expect_close(r.gx, Values(6, 0));
  c.params.reduction = LossReduction::sum;
  r = run(c, x, gloss);
  expect_close(r.loss, {0});

  const Tensor none = empty({0, 3}), labels = empty({0}, DType::i64), loss = empty({}),
               lse = empty({0}, compute_dtype(dtype()));
  cross_entropy(stream(), none.view(), labels.view(), {}, {}, loss.view(), lse.view());
  EXPECT_TRUE(std::isnan(to_doubles(loss)[0]));
  cross_entropy_gradient(stream(), none.view(), labels.view(), {}, {}, lse.view(), loss.view(),
                         none.view());

  // an empty list of rows is a selection, not an absent one
  const Tensor in = on_device(x), some = on_device(from_doubles({0, 1}, {2}, DType::i64)),
               rows = empty({0}, DType::i32);
  cross_entropy(stream(), in.view(), some.view(), {.rows = rows.view()},
                {.reduction = LossReduction::sum}, loss.view());
  expect_close(loss, {0});
}

TEST_P(CrossEntropy, GradientInPlaceOfTheLogits) {
  const Tensor x = test::uniform({4, 21}, dtype(), 1),
               gloss = on_device(from_doubles({1}, {}, dtype()));
  const LossCase c{4, 21, {20, 0, 3, 9}, {}, {}, {}, {}, {.label_smoothing = 0.1}};
  const Result r = run(c, x, gloss);
  const Tensor in = on_device(x).clone(),
               labels = on_device(from_doubles({20, 0, 3, 9}, {4}, DType::i64));
  cross_entropy_gradient(stream(), in.view(), labels.view(), {}, c.params, r.lse.view(),
                         gloss.view(), in.view());
  EXPECT_EQ(to_doubles(in), to_doubles(r.gx));
}

TEST_P(CrossEntropy, SameBitsForAnyThreadCount) {
  LossCase c{300, 200, {}, {}, {}, {}, {}, {.label_smoothing = 0.1}};
  for (int64_t r = 0; r < 300; ++r) c.labels.push_back(r * 7 % 200);
  const Tensor x = test::uniform({300, 200}, dtype(), 1), gloss = from_doubles({1}, {}, dtype());
  const auto bits = [&](int threads) {
    const Threads scope(threads);
    const Result r = run(c, x, gloss);
    Values all = to_doubles(r.gx);
    all.push_back(to_doubles(r.loss)[0]);
    return all;
  };
  const Values one = bits(1);
  EXPECT_EQ(bits(2), one);
  EXPECT_EQ(bits(3), one);
}

TEST_P(CrossEntropy, BadInput) {
  Stream& s = stream();
  const Tensor x = on_device(test::uniform({2, 3}, dtype(), 1)), loss = empty({});
  const auto labels = [](const Values& v, DType d = DType::i64) {
    return on_device(from_doubles(v, {static_cast<int64_t>(v.size())}, d));
  };
  const auto run_with = [&](const Tensor& target, const LossSelection& selection = {},
                            const CrossEntropyParams& p = {}, const Tensor& into = {}) {
    cross_entropy(s, x.view(), target.view(), selection, p, (into.defined() ? into : loss).view());
  };
  EXPECT_THROW(run_with(labels({0, 3})), Error);
  EXPECT_THROW(run_with(labels({-1, 0}, DType::i32)), Error);
  EXPECT_THROW(run_with(labels({0, 1, 2})), Error);
  EXPECT_THROW(run_with(labels({0, 1}, DType::u8)), Error);
  EXPECT_THROW(run_with(empty({2, 4})), Error);
  EXPECT_THROW(run_with(labels({0, 1}), {.class_weights = empty({2}).view()}), Error);
  EXPECT_THROW(run_with(labels({0, 1}), {.rows = labels({0, 2}).view()}), Error);
  EXPECT_THROW(run_with(labels({0, 1}), {.rows = labels({-1}, DType::i32).view()}), Error);
  EXPECT_THROW(run_with(labels({0, 1}), {.rows = labels({1, 1, 1}, DType::bool_).view()}), Error);
  EXPECT_THROW(run_with(labels({0, 1}), {}, {.label_smoothing = 1.5}), Error);
  EXPECT_THROW(run_with(labels({0, 1}), {}, {}, empty({2})), Error);
  EXPECT_THROW(run_with(labels({0, 1}), {}, {.reduction = LossReduction::none}, empty({3})), Error);
  try {
    run_with(labels({0, 3}));
  } catch (const Error& e) {
    const std::string message = e.what();
    EXPECT_NE(message.find("label of row 1 is 3"), std::string::npos) << message;
  }
}

INSTANTIATE_TEST_SUITE_P(Targets, CrossEntropy,
                         test::targets(test::float_dtypes, &Backend::rowwise), test::target_name);

// Every case of the PyTorch reference file.
TEST(CrossEntropyGolden, MatchesPyTorch) {
  auto golden = load_safetensors(TESSERA_GOLDEN_DIR "/ops.safetensors");
  Stream& s = current_stream(Device::cpu());
  const std::pair<const char*, CrossEntropyParams> cases[] = {
      {"cross_entropy", {}},
      {"cross_entropy_sum", {.reduction = LossReduction::sum}},
      {"cross_entropy_none", {.label_smoothing = 0.1, .reduction = LossReduction::none}},
      {"cross_entropy_smooth", {.label_smoothing = 0.1}},
      {"cross_entropy_ignore", {}},
      {"cross_entropy_smooth_ignore", {.label_smoothing = 0.1}}};
  for (const auto& [name, params] : cases) {
    const auto get = [&, prefix = std::string(name)](const char* key) {
      return golden.at(prefix + "." + key);
    };
    const Tensor x = get("x"), labels = get("labels"), y = get("y"), gy = get("gy");
    const Tensor loss = Tensor::empty(y.shape(), DType::f32, x.device()),
                 gx = Tensor::empty(x.shape(), DType::f32, x.device());
    const Tensor lse = Tensor::empty({x.size(0)}, DType::f32, x.device());
    cross_entropy(s, x.view(), labels.view(), {}, params, loss.view(), lse.view());
    cross_entropy_gradient(s, x.view(), labels.view(), {}, params, lse.view(), gy.view(),
                           gx.view());
    expect_close(loss, to_doubles(y), name);
    expect_close(gx, to_doubles(get("gx")), name);
  }
}

// --- binary cross entropy ---

class BinaryCrossEntropy : public test::TargetTest {
 protected:
  struct Result {
    Tensor loss, gx;
  };
  static Result run(const Tensor& x_, const Tensor& t_, const Tensor& weights_, const Tensor& rows_,
                    LossReduction reduction, const Tensor& gloss_) {
    const auto moved = [](const Tensor& t) { return t.defined() ? on_device(t) : t; };
    const Tensor x = moved(x_), t = moved(t_), weights = moved(weights_), rows = moved(rows_),
                 g = moved(gloss_);
    Result r{empty(g.shape(), x.dtype()), empty(x.shape(), x.dtype())};
    const LossSelection selection{view_or_none(weights), view_or_none(rows)};
    binary_cross_entropy(stream(), x.view(), t.view(), selection, reduction, r.loss.view());
    binary_cross_entropy_gradient(stream(), x.view(), t.view(), selection, reduction, g.view(),
                                  r.gx.view());
    return r;
  }
};

TEST_P(BinaryCrossEntropy, MatchesTheDefinition) {
  uint64_t seed = 0;
  for (const Shape& shape : {Shape{7}, Shape{6, 1}, Shape{5, 3}, Shape{3, 40}, Shape{70}})
    for (const bool weighted : {false, true})
      for (const int choice : {0, 1, 2})  // all rows, mask, list
        for (const LossReduction reduction :
             {LossReduction::none, LossReduction::sum, LossReduction::mean}) {
          const int64_t n = shape[0], classes = shape.rank() == 2 ? shape[1] : 1;
          const Tensor x = test::uniform(shape, dtype(), ++seed);
          Values target;
          for (const double v : to_doubles(test::uniform(shape, dtype(), ++seed)))
            target.push_back(std::abs(v));
          const Tensor t = from_doubles(target, shape, dtype());
          const Tensor weights = weighted ? test::uniform({classes}, dtype(), ++seed) : Tensor();
          Values times(static_cast<size_t>(n), 1);
          std::vector<int64_t> entry_rows;
          Tensor rows;
          if (choice == 1) {
            for (int64_t r = 0; r < n; ++r) times[static_cast<size_t>(r)] = r % 3 != 1;
            rows = from_doubles(times, {n}, DType::bool_);
          } else if (choice == 2) {
            entry_rows = {n - 1, 0, n - 1};
            times.assign(static_cast<size_t>(n), 0);
            for (const int64_t r : entry_rows) ++times[static_cast<size_t>(r)];
            rows = from_doubles(Values(entry_rows.begin(), entry_rows.end()), {3}, DType::i32);
          }
          if (entry_rows.empty())
            for (int64_t r = 0; r < n; ++r) entry_rows.push_back(r);
          Shape entries = shape;
          entries[0] = static_cast<int64_t>(entry_rows.size());
          const Tensor gloss =
              test::uniform(reduction == LossReduction::none ? entries : Shape{}, dtype(), ++seed);

          const Values vx = to_doubles(x), vt = to_doubles(t), g = to_doubles(gloss),
                       vw =
                           weighted ? to_doubles(weights) : Values(static_cast<size_t>(classes), 1);
          double count = 0;
          for (const double k : times) count += k * static_cast<double>(classes);
          Values unreduced, gx(vx.size());
          double sum = 0;
          size_t e = 0;
          for (const int64_t r : entry_rows)
            for (int64_t c = 0; c < classes; ++c, ++e) {
              const auto i = static_cast<size_t>(r * classes + c);
              const double p = 1 / (1 + std::exp(-vx[i])), w = vw[static_cast<size_t>(c)];
              const bool counts = times[static_cast<size_t>(r)] > 0;
              unreduced.push_back(counts ? -w * vt[i] * std::log(p) - (1 - vt[i]) * std::log(1 - p)
                                         : 0);
              sum += unreduced.back();
              const double upstream = reduction == LossReduction::none  ? g[e]
                                      : reduction == LossReduction::sum ? g[0]
                                                                        : g[0] / count;
              if (counts) gx[i] += upstream * (-w * vt[i] * (1 - p) + (1 - vt[i]) * p);
            }
          const Result r = run(x, t, weights, rows, reduction, gloss);
          const std::string what = concat("binary cross entropy of ", shape, ", rows ", choice,
                                          ", reduction ", static_cast<int>(reduction));
          expect_close(r.loss,
                       reduction == LossReduction::none  ? unreduced
                       : reduction == LossReduction::sum ? Values{sum}
                                                         : Values{sum / count},
                       tolerance(dtype()).times(4), what);
          expect_close(r.gx, gx, tolerance(dtype()).times(4), what);
        }
}

TEST_P(BinaryCrossEntropy, LargeLogits) {
  const Tensor x = from_doubles({200, -200, 200, -200}, {4}, dtype()),
               t = from_doubles({1, 0, 0, 1}, {4}, dtype());
  const Result r = run(x, t, {}, {}, LossReduction::none, from_doubles({1, 1, 1, 1}, {4}, dtype()));
  expect_close(r.loss, {0, 0, 200, 200});
  expect_close(r.gx, {0, 0, 1, -1});
}

TEST_P(BinaryCrossEntropy, ManyElements) {  // several blocks, the last one partial
  const Tensor x = test::uniform({40000}, dtype(), 1);
  const Tensor zero = from_doubles(Values(40000, 0), {40000}, dtype());
  const Tensor gloss = from_doubles({1}, {}, dtype());
  double sum = 0;
  for (const double v : to_doubles(x)) sum += std::log1p(std::exp(v));
  const auto mean = [&](int threads) {
    const Threads scope(threads);
    return to_doubles(run(x, zero, {}, {}, LossReduction::mean, gloss).loss);
  };
  expect_close(mean(1), {sum / 40000}, tolerance(dtype()).times(2));
  EXPECT_EQ(mean(1), mean(2));
}

TEST_P(BinaryCrossEntropy, BadInput) {
  const Tensor x = empty({3, 2}), loss = empty({});
  const auto run_with = [&](const Tensor& t, const LossSelection& selection, const Tensor& into) {
    binary_cross_entropy(stream(), x.view(), t.view(), selection, LossReduction::mean, into.view());
  };
  EXPECT_THROW(run_with(empty({3}), {}, loss), Error);
  EXPECT_THROW(run_with(x, {.class_weights = empty({3}).view()}, loss), Error);
  EXPECT_THROW(run_with(x, {}, empty({3, 2})), Error);
  EXPECT_THROW(run_with(empty({3, 2}, DType::i64), {}, loss), Error);
}

INSTANTIATE_TEST_SUITE_P(Targets, BinaryCrossEntropy,
                         test::targets(test::float_dtypes, &Backend::rowwise), test::target_name);

}  // namespace
}  // namespace tessera::kernels
