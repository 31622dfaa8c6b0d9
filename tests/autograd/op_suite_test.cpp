#include <gtest/gtest.h>

#include "tessera/tests/autograd/op_cases.hpp"
#include "tessera/tests/support/gradcheck.hpp"

// Every check on every record of op_cases.hpp.

namespace tessera::test {
namespace {

using namespace autograd;

class OpSuite : public testing::TestWithParam<OpCase> {
 protected:
  void SetUp() override {
    const std::string missing = missing_kernel([&] { op().fn(inputs()); });
    if (!missing.empty()) GTEST_SKIP() << missing;
  }
  const OpCase& op() const { return GetParam(); }
  Vars inputs(uint64_t seed = 1, DType dtype = DType::f64) const {
    return make_inputs(op(), seed, dtype);
  }
  Fn loss() const { return scalar_of(op().fn); }
};

std::string case_name(const testing::TestParamInfo<OpCase>& info) { return test_name(info.param); }

// ---- first derivatives
// ---------------------------------------------------------------------------

TEST_P(OpSuite, ForwardModeIsTheSlope) {
  if (op().surrogate) GTEST_SKIP() << "its derivative is a surrogate";
  const Vars x = inputs(), v = random_like(x, 5);
  expect_difference(op().fn, x, v, jvp(op().fn, x, v).second, 1e-8, "jvp");
}

TEST_P(OpSuite, ReverseModeIsTheTranspose) {
  const Vars x = inputs(), v = random_like(x, 5);
  const auto [y, jv] = jvp(op().fn, x, v);
  const Vars u = random_like(y, 9);
  auto [again, pullback] = vjp(op().fn, x);
  expect_all_close(again, y, 0, "value in forward and reverse mode");
  const Vars g = pullback(u);
  for (size_t i = 0; i < g.size(); ++i) EXPECT_EQ(g[i].shape(), x[i].shape());
  const double forward = dot(u, jv), reverse = dot(g, v);
  EXPECT_NEAR(forward, reverse, 1e-11 * (1 + std::abs(forward)));
}

// Each input alone: the rules leave out what nobody asked for.
TEST_P(OpSuite, InputsOneByOne) {
  const Vars x = inputs(), v = random_like(x, 5);
  const Vars gradients = value_and_grad(loss(), x).gradients;
  for (size_t i = 0; i < x.size(); ++i) {
    const Fn of_one = [&](Inputs at) {
      Vars all = x;
      all[i] = at[0];
      return loss()(all);
    };
    const Vars alone{x[i]}, direction{v[i]};
    const Vars g = value_and_grad(of_one, alone).gradients;
    expect_all_close(g, Inputs(gradients).subspan(i, 1), 1e-13,
                     "gradient of input " + std::to_string(i));
    const double slope = jvp(of_one, alone, direction).second.item();
    EXPECT_NEAR(slope, dot(g, direction), 1e-11 * (1 + std::abs(slope))) << "input " << i;
    const Vars hv = hvp(of_one, alone, direction);
    const Vars again = hvp_reverse(of_one, alone, direction);
    expect_all_close(hv, again, 1e-10, "Hessian of input " + std::to_string(i));
  }
}

// ---- second and third derivatives
// ----------------------------------------------------------------

TEST_P(OpSuite, HessianProductsAgree) {
  const Vars x = inputs(), v = random_like(x, 5), u = random_like(x, 6);
  const Vars hv = hvp(loss(), x, v), hu = hvp(loss(), x, u);
  expect_all_close(hv, hvp_reverse(loss(), x, v), 1e-10,
                   "forward over reverse, reverse over reverse");
  const double uhv = dot(u, hv), vhu = dot(v, hu);
  EXPECT_NEAR(uhv, vhu, 1e-10 * (1 + std::abs(uhv))) << "symmetry";
  const double vhv_forward = vhv(loss(), x, v).item(), vhv_reverse = dot(v, hv);
  EXPECT_NEAR(vhv_forward, vhv_reverse, 1e-10 * (1 + std::abs(vhv_reverse)))
      << "forward over forward";
  if (op().surrogate) return;
  const MultiFn gradient = [&](Inputs at) { return value_and_grad(loss(), at).gradients; };
  expect_difference(gradient, x, v, hv, 1e-7, "hvp");
}

TEST_P(OpSuite, ThirdDerivativesAgree) {
  const Vars x = inputs(), v = random_like(x, 5), u = random_like(x, 6);
  const MultiFn product = [&](Inputs at) { return hvp(loss(), at, v); };
  const Vars forward = jvp(product, x, u).second;
  if (!op().surrogate) expect_difference(product, x, u, forward, 1e-6, "third derivative");
  // The same by reverse mode: d/dx of u' H(x) v, whose inner product with any w is that of
  // `forward` in turn.
  auto [hv, pullback] = vjp(product, x);
  const Vars w = random_like(x, 7);
  const double one = dot(w, forward), two = dot(pullback(w), u);
  EXPECT_NEAR(one, two, 1e-9 * (1 + std::abs(one)));
}

// ---- other ways to the same numbers
// --------------------------------------------------------------

TEST_P(OpSuite, LinearizedReplaysTangents) {
  const Vars x = inputs();
  const Linearized linear = linearize(op().fn, x);
  for (uint64_t seed : {5u, 6u}) {
    const Vars v = random_like(x, seed);
    const auto [y, jv] = jvp(op().fn, x, v);
    expect_all_close(linear.value(), y, 0, "linearize value");
    expect_all_close(linear(v), jv, 1e-13, "linearize replay");
  }
}

TEST_P(OpSuite, CheckpointChangesNothing) {
  const Vars x = inputs(), v = random_like(x, 5);
  const Fn direct = loss();
  const Fn recomputed = [&](Inputs at) { return checkpoint(direct, at); };
  const auto a = value_and_grad(direct, x), b = value_and_grad(recomputed, x);
  EXPECT_EQ(a.value.item(), b.value.item());
  expect_all_close(b.gradients, a.gradients, 1e-13, "gradient through a checkpoint");
  expect_all_close(hvp(recomputed, x, v), hvp(direct, x, v), 1e-12, "hvp through a checkpoint");
  EXPECT_NEAR(vhv(recomputed, x, v).item(), vhv(direct, x, v).item(), 1e-11);
}

// ---- layouts and dtypes
// --------------------------------------------------------------------------

TEST_P(OpSuite, StridedInputs) {
  const Vars x = inputs(), v = random_like(x, 5);
  Vars strided, strided_v;
  for (const Var& t : x) strided.push_back(scattered(t));
  for (const Var& t : v) strided_v.push_back(scattered(t));
  expect_all_close(op().fn(strided), op().fn(x), 1e-13, "value");
  expect_all_close(jvp(op().fn, strided, strided_v).second, jvp(op().fn, x, v).second, 1e-12,
                   "jvp");
  auto [y, pullback] = vjp(op().fn, strided);
  Vars u = random_like(y, 9), strided_u;
  for (const Var& t : u) strided_u.push_back(scattered(t));
  auto [plain_y, plain_pullback] = vjp(op().fn, x);
  expect_all_close(pullback(strided_u), plain_pullback(u), 1e-12, "gradient");
}

TEST_P(OpSuite, RepeatedInputs) {
  if (!op().halves) GTEST_SKIP() << "equal rows are singular";
  const auto dense = [](const Var& x) { return Var(x.value().clone()); };
  Vars x, plain_x, v, plain_v, u, plain_u;
  for (const Var& t : inputs()) plain_x.push_back(dense(x.emplace_back(repeated(t))));
  for (const Var& t : random_like(x, 5)) plain_v.push_back(dense(v.emplace_back(repeated(t))));
  expect_all_close(jvp(op().fn, x, v).second, jvp(op().fn, plain_x, plain_v).second, 1e-12, "jvp");
  auto [y, pullback] = vjp(op().fn, x);
  auto [plain_y, plain_pullback] = vjp(op().fn, plain_x);
  expect_all_close(y, plain_y, 1e-13, "value");
  for (const Var& t : random_like(y, 9)) plain_u.push_back(dense(u.emplace_back(repeated(t))));
  expect_all_close(pullback(u), plain_pullback(plain_u), 1e-12, "gradient");
}

TEST_P(OpSuite, EmptyInputs) {
  if (op().empty.empty()) GTEST_SKIP() << "no empty inputs in its record";
  Vars x;
  for (const Shape& shape : op().empty)
    x.emplace_back(Tensor::zeros(shape, DType::f64, Device::cpu()));
  const Vars v = random_like(x, 5);
  const auto [y, jv] = jvp(op().fn, x, v);
  for (size_t k = 0; k < y.size(); ++k) EXPECT_EQ(jv[k].shape(), y[k].shape());
  const Vars g = value_and_grad(loss(), x).gradients;
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(g[i].shape(), x[i].shape());
  const Vars hv = hvp(loss(), x, v);
  for (size_t i = 0; i < x.size(); ++i) EXPECT_EQ(hv[i].shape(), x[i].shape());
}

TEST_P(OpSuite, SinglePrecisionFollowsDouble) {
  const Vars x = inputs(1, DType::f32);
  Vars wide;
  for (const Var& t : x) wide.push_back(cast(t, DType::f64));
  const double tolerance = 64 * op().half_error * roundoff(DType::f32);
  expect_all_close(op().fn(x), op().fn(wide), tolerance, "value");
  const Vars g = value_and_grad(loss(), x).gradients;
  for (const Var& t : g) EXPECT_EQ(t.dtype(), DType::f32);
  expect_all_close(g, value_and_grad(loss(), wide).gradients, 4 * tolerance, "gradient");
}

TEST_P(OpSuite, HalvesFollowSinglePrecision) {
  for (DType dtype : {DType::f16, DType::bf16}) {
    const Vars x = inputs(1, dtype);
    if (!op().halves) {
      EXPECT_THROW(op().fn(x), Error);
      continue;
    }
    Vars wide;
    for (const Var& t : x) wide.push_back(cast(t, DType::f32));
    const Vars v = random_like(x, 5);
    Vars wide_v;
    for (const Var& t : v) wide_v.push_back(cast(t, DType::f32));
    const double tolerance = 2 * op().half_error * roundoff(dtype);
    const auto [y, jv] = jvp(op().fn, x, v);
    const auto [wide_y, wide_jv] = jvp(op().fn, wide, wide_v);
    for (const Var& t : y) EXPECT_EQ(t.dtype(), dtype);
    expect_all_close(y, wide_y, tolerance, "value");
    expect_all_close(jv, wide_jv, 2 * tolerance, "jvp");
    auto [again, pullback] = vjp(op().fn, x);
    const Vars u = random_like(y, 9);
    Vars wide_u;
    for (const Var& t : u) wide_u.push_back(cast(t, DType::f32));
    const Vars g = pullback(u);
    for (const Var& t : g) EXPECT_EQ(t.dtype(), dtype);
    expect_all_close(g, vjp(op().fn, wide).second(wide_u), 2 * tolerance, "gradient");
  }
}

// ---- errors
// --------------------------------------------------------------------------------------

void expect_named(const OpCase& op, const std::string& text, const std::string& what) {
  EXPECT_TRUE(names(text, op)) << what << ": the error does not name the op: " << text;
}

void expect_error(const OpCase& op, const Vars& x, const std::string& what) {
  try {
    op.fn(x);
    ADD_FAILURE() << what << " is accepted";
  } catch (const Error& error) {
    expect_named(op, error.what(), what);
  }
}

TEST_P(OpSuite, ErrorsNameTheOp) {
  Vars x = inputs();
  for (Var& t : x) t = convert(t.value(), DType::i64);
  expect_error(op(), x, "integer inputs");
  if (op().inputs.size() < 2 || !op().shares_dtype) return;
  for (size_t i = 0; i < op().inputs.size(); ++i) {
    x = inputs();
    x[i] = convert(x[i].value(), DType::f32);
    expect_error(op(), x, "f32 as input " + std::to_string(i));
  }
}

TEST_P(OpSuite, WrongShapesNameTheOp) {
  if (op().inputs.size() < 2) GTEST_SKIP() << "one input: its own tests say which shapes are wrong";
  Vars x = inputs();
  Shape longer = x[1].shape();
  if (longer.rank() == 0 || x[0].rank() == 0) GTEST_SKIP() << "a scalar fits everything";
  for (int64_t& extent : longer) extent += 2;
  x[1] = Tensor::zeros(longer, DType::f64, Device::cpu());
  expect_error(op(), x, "a second input of shape " + to_string(longer));
}

// Shapes near the right one: scalar, one element, none, other ranks, each extent one more, 1 and 0.
std::vector<Shape> near(const Shape& shape) {
  std::vector<Shape> list{{}, {1}, {0}, {3}, {2, 1}, {1, 1, 1, 1, 1, 1}};
  Shape longer{2}, shorter;
  for (int d = 0; d < shape.rank(); ++d) {
    if (shape.rank() < max_rank) longer.push_back(shape[d]);
    if (d > 0) shorter.push_back(shape[d]);
    for (const int64_t extent : {shape[d] + 1, int64_t{1}, int64_t{0}}) {
      list.push_back(shape);
      list.back()[d] = extent;
    }
  }
  list.push_back(longer);
  list.push_back(shorter);
  return list;
}

// Each input in turn: the op either takes it, with its gradient, or says no by name.
TEST_P(OpSuite, OtherShapesWorkOrNameTheOp) {
  for (size_t i = 0; i < op().inputs.size(); ++i)
    for (const Shape& shape : near(op().inputs[i].shape)) {
      Vars x = inputs();
      x[i] = full(shape, 0.75, DType::f64, Device::cpu());
      const std::string what = concat("input ", i, " of shape ", shape);
      try {
        const Vars y = op().fn(x);
        for (const Var& t : y) to_doubles(t.value());
        const Vars g = value_and_grad(loss(), x).gradients;
        for (size_t k = 0; k < x.size(); ++k) EXPECT_EQ(g[k].shape(), x[k].shape()) << what;
        hvp(loss(), x, random_like(x, 5));
      } catch (const Error& error) {
        expect_named(op(), error.what(), what);
      }
    }
}

TEST_P(OpSuite, OtherDtypesWorkOrNameTheOp) {
  for (size_t i = 0; i < op().inputs.size(); ++i)
    for (int d = 0; d < dtype_count; ++d) {
      Vars x = inputs();
      x[i] = convert(x[i].value(), static_cast<DType>(d));
      try {
        for (const Var& t : op().fn(x)) to_doubles(t.value());
      } catch (const Error& error) {
        expect_named(op(), error.what(), concat("input ", i, " in ", static_cast<DType>(d)));
      }
    }
}

TEST_P(OpSuite, MissingInputsNameTheOp) {
  for (size_t i = 0; i < op().inputs.size(); ++i) {
    Vars x = inputs();
    x[i] = Var();
    try {
      op().fn(x);  // parameters that may be left out
    } catch (const Error& error) {
      EXPECT_EQ(error.kind(), ErrorKind::invalid_argument) << error.what();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, OpSuite, testing::ValuesIn(op_cases()), case_name);

}  // namespace
}  // namespace tessera::test
