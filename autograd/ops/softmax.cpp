#include "tessera/autograd/ops/softmax.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/kernels/rowwise.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

Var row_sum(const Var& x) { return sum(x, {-1}, true); }

// (y, g) -> y * (g - sum(g * y)) over the last axis: the Jacobian diag(y) - y y' of softmax, which
// is symmetric, times g.
struct SoftmaxGradient final : Op {
  std::string_view name() const override { return "softmax_gradient"; }
  void eval(Values x, Outputs result) const override {
    const Tensor y = contiguous(x[0]), gx = empty_like(y);
    kernels::softmax_gradient(current_stream(y.device()), y.view(), contiguous(x[1]).view(),
                              gx.view());
    result[0] = gx;
  }
  void jvp(Inputs x, Inputs, Inputs dx, Outputs result) const override {
    const Var &y = x[0], &g = x[1];
    if (dx[1].defined()) result[0] = apply_op<SoftmaxGradient>(y, dx[1]);
    if (dx[0].defined())
      result[0] = add_or_empty(result[0], dx[0] * (g - row_sum(g * y)) - y * row_sum(g * dx[0]));
  }
  void vjp(Inputs x, Inputs, Inputs seed, std::span<const bool> wanted, Outputs gx) const override {
    const Var &y = x[0], &g = x[1], &s = seed[0];
    if (wanted[0]) gx[0] = s * (g - row_sum(g * y)) - g * row_sum(s * y);
    if (wanted[1]) gx[1] = apply_op<SoftmaxGradient>(y, s);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct Softmax final : Op {
  std::string_view name() const override { return "softmax"; }
  void eval(Values x, Outputs y) const override {
    const Tensor result = empty_like(x[0]);
    kernels::softmax(current_stream(result.device()), contiguous(x[0]).view(), result.view());
    y[0] = result;
  }
  void jvp(Inputs, Inputs y, Inputs dx, Outputs dy) const override {
    dy[0] = apply_op<SoftmaxGradient>(y[0], dx[0]);
  }
  void vjp(Inputs, Inputs y, Inputs gy, std::span<const bool>, Outputs gx) const override {
    gx[0] = apply_op<SoftmaxGradient>(y[0], gy[0]);
  }
  Saved saves() const override { return Saved::only_outputs(); }
};

// (y, g) -> g - exp(y) * sum(g): the transposed Jacobian of log-softmax times g.
struct LogSoftmaxGradient final : Op {
  std::string_view name() const override { return "log_softmax_gradient"; }
  void eval(Values x, Outputs result) const override {
    const Tensor y = contiguous(x[0]), gx = empty_like(y);
    kernels::log_softmax_gradient(current_stream(y.device()), y.view(), contiguous(x[1]).view(),
                                  gx.view());
    result[0] = gx;
  }
  void decompose(Inputs x, Outputs result) const override {
    result[0] = x[1] - exp(x[0]) * row_sum(x[1]);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct LogSoftmax final : Op {
  std::string_view name() const override { return "log_softmax"; }
  void eval(Values x, Outputs y) const override {
    const Tensor result = empty_like(x[0]);
    kernels::log_softmax(current_stream(result.device()), contiguous(x[0]).view(), result.view());
    y[0] = result;
  }
  void jvp(Inputs, Inputs y, Inputs dx, Outputs dy) const override {
    dy[0] = dx[0] - row_sum(exp(y[0]) * dx[0]);
  }
  void vjp(Inputs, Inputs y, Inputs gy, std::span<const bool>, Outputs gx) const override {
    gx[0] = apply_op<LogSoftmaxGradient>(y[0], gy[0]);
  }
  Saved saves() const override { return Saved::only_outputs(); }
};

template <class Last>
Var along(std::string_view name, const Var& x, int axis) {
  TS_CHECK(x.rank() >= 1, name, ": a scalar has no axis");
  axis = normalize_axis(name, axis, x.rank());
  if (axis == x.rank() - 1) return apply_op<Last>(x);
  return transpose(apply_op<Last>(transpose(x, axis, -1)), axis, -1);
}

}  // namespace

Var softmax(const Var& x, int axis) { return along<Softmax>("softmax", x, axis); }
Var log_softmax(const Var& x, int axis) { return along<LogSoftmax>("log_softmax", x, axis); }

}  // namespace tessera::autograd
