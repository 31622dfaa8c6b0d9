#include "tessera/autograd/ops/matmul.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

// gemm reads a matrix whose rows or whose columns are contiguous; anything else is copied.
Tensor as_operand(const Tensor& x) {
  const int rows = x.rank() - 2, columns = x.rank() - 1;
  const auto contiguous_along = [&](int fast, int slow) {
    const bool unit = x.strides()[fast] == 1 || x.shape()[fast] <= 1;
    return unit && (x.strides()[slow] >= x.shape()[fast] || x.shape()[slow] <= 1);
  };
  return contiguous_along(columns, rows) || contiguous_along(rows, columns) ? x : contiguous(x);
}

struct Matmul final : BilinearOp {
  std::string_view name() const override { return "matmul"; }
  Tensor eval(const Tensor& a, const Tensor& b) const override { return eval(a, b, Tensor()); }
  // a b, or sum + a b in the memory of `sum`.
  Tensor eval(const Tensor& a, const Tensor& b, const Tensor& sum) const {
    check_same(name(), a, b);
    TS_CHECK(a.rank() >= 2 && b.rank() >= 2 && a.size(-1) == b.size(-2), "matmul: ", a, " times ",
             b);
    Shape lead;
    const auto leading = [](const Tensor& x) {
      return Shape(std::span(x.shape().begin(), static_cast<size_t>(x.rank() - 2)));
    };
    lead = broadcast_shapes(name(), leading(a), leading(b));
    const auto with_matrix = [&](int64_t rows, int64_t columns) {
      Shape shape = lead;
      shape.push_back(rows);
      shape.push_back(columns);
      return shape;
    };
    const int64_t m = a.size(-2), k = a.size(-1), n = b.size(-1);
    const Tensor y = sum.defined() ? sum : Tensor::empty(with_matrix(m, n), a.dtype(), a.device());
    kernels::gemm(current_stream(a.device()), as_operand(a).broadcast_to(with_matrix(m, k)).view(),
                  as_operand(b).broadcast_to(with_matrix(k, n)).view(), y.view(),
                  {.beta = sum.defined() ? 1.0 : 0.0});
    return y;
  }
  Dual eval(const Dual& a, const Dual& b) const override {
    return {eval(a.value, b.value), eval(a.value, b.tangent, eval(a.tangent, b.value))};
  }
  Var transpose_left(const Var& gy, const Var& a, const Var& b) const override {
    return sum_to(matmul(gy, transpose(b, -1, -2)), a.shape());
  }
  Var transpose_right(const Var& gy, const Var& a, const Var& b) const override {
    return sum_to(matmul(transpose(a, -1, -2), gy), b.shape());
  }
};

// The batch is the axis in the middle of each operand; transposes exchange the outer two.
struct MatmulInterleaved final : BilinearOp {
  std::string_view name() const override { return "matmul_interleaved"; }
  Tensor eval(const Tensor& a, const Tensor& b) const override {
    check_same(name(), a, b);
    TS_CHECK(a.rank() == 3 && b.rank() == 3 && a.size(1) == b.size(1) && a.size(2) == b.size(0),
             "matmul_interleaved: ", a, " times ", b);
    const Tensor y = Tensor::empty({a.size(0), a.size(1), b.size(2)}, a.dtype(), a.device());
    const auto batch_first = [](const Tensor& x) { return x.permute({1, 0, 2}); };
    kernels::gemm(current_stream(a.device()), as_operand(batch_first(a)).view(),
                  as_operand(batch_first(b)).view(), batch_first(y).view(), {});
    return y;
  }
  Var transpose_left(const Var& gy, const Var&, const Var& b) const override {
    return matmul_interleaved(gy, transpose(b, 0, 2));
  }
  Var transpose_right(const Var& gy, const Var& a, const Var&) const override {
    return matmul_interleaved(transpose(a, 0, 2), gy);
  }
};

// x [rows, in], weight [out, in], bias [out] or empty.
struct Linear final : Op {
  std::string_view name() const override { return "linear"; }
  uint32_t optional() const override { return 0b100; }
  void eval(Values x, Outputs y) const override {
    check_same(name(), x[0], x[1]);
    check_rank(name(), "weight", x[1], 2);
    TS_CHECK(x[0].rank() == 2 && x[0].size(1) == x[1].size(1), "linear: ", x[0], " with weight ",
             x[1]);
    kernels::GemmParams params;
    Tensor bias;
    if (x[2].defined()) {
      check_same(name(), x[0], x[2]);
      TS_CHECK(x[2].shape() == Shape{x[1].size(0)}, "linear: bias ", x[2], " with weight ", x[1]);
      bias = contiguous(x[2]);
      params.bias = bias.view();
    }
    const Tensor result = Tensor::empty({x[0].size(0), x[1].size(0)}, x[0].dtype(), x[0].device());
    kernels::gemm(current_stream(result.device()), as_operand(x[0]).view(),
                  as_operand(x[1]).transpose(0, 1).view(), result.view(), params);
    y[0] = result;
  }
  void jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const override {
    Var db = dx[2];
    if (dx[0].defined()) dy[0] = linear(dx[0], x[1], std::exchange(db, Var()));
    if (dx[1].defined()) accumulate(dy[0], linear(x[0], dx[1], std::exchange(db, Var())));
    if (db.defined()) dy[0] = broadcast_to(db, y[0].shape());
  }
  void vjp(Inputs x, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    if (wanted[0]) gx[0] = matmul(gy[0], x[1]);
    if (wanted[1]) gx[1] = matmul(transpose(gy[0], 0, 1), x[0]);
    if (wanted[2]) gx[2] = sum(gy[0], {0});
  }
  Saved saves() const override { return {0b11, 0}; }
};

// Every axis but the last joined into rows.
Var as_matrix(const Var& x) {
  int64_t rows = 1;
  for (int i = 0; i + 1 < x.rank(); ++i) rows *= x.shape()[i];
  return reshape(x, {rows, x.size(-1)});
}

}  // namespace

Var matmul(const Var& a, const Var& b) {
  check_floating("matmul", a.value());
  // One large product instead of a batch of small ones with a shared right side.
  if (a.rank() > 2 && b.rank() == 2) {
    Shape shape = a.shape();
    shape[a.rank() - 1] = b.size(1);
    return reshape(matmul(as_matrix(a), b), shape);
  }
  return apply_op<Matmul>(a, b);
}

Var matmul_interleaved(const Var& a, const Var& b) {
  check_floating("matmul_interleaved", a.value());
  return apply_op<MatmulInterleaved>(a, b);
}

Var linear(const Var& x, const Var& weight, const Var& bias) {
  check_floating("linear", x.value());
  TS_CHECK(x.rank() >= 1 && weight.rank() == 2, "linear: ", x, " with weight ", weight);
  if (x.rank() == 2) return apply_op<Linear>(x, weight, bias);
  Shape shape = x.shape();
  shape[x.rank() - 1] = weight.size(0);
  return reshape(apply_op<Linear>(as_matrix(x), weight, bias), shape);
}

}  // namespace tessera::autograd
