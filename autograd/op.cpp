#include "tessera/autograd/op.hpp"

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/transforms.hpp"

namespace tessera::autograd {

Op::~Op() = default;

namespace {

MultiFn decomposition(const Op& op) {
  if (!op.decomposes())
    throw Error(ErrorKind::unsupported, concat(op.name(), " has no derivative of this kind"));
  return [&op](Inputs x) {
    Vars y(static_cast<size_t>(op.outputs()));
    op.decompose(x, y);
    return y;
  };
}

}  // namespace

void Op::decompose(Inputs, Outputs) const {
  throw Error(ErrorKind::unsupported, concat(name(), " has no decomposition"));
}

void Op::jvp(Inputs x, Inputs, Inputs dx, Outputs dy) const {
  Vars tangents = autograd::jvp(decomposition(*this), x, dx).second;
  std::move(tangents.begin(), tangents.end(), dy.begin());
}

void Op::vjp(Inputs x, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const {
  Pullback pullback = autograd::vjp(decomposition(*this), x).second;
  Vars gradients = pullback(gy);
  for (size_t i = 0; i < gx.size(); ++i)
    if (wanted[i]) gx[i] = std::move(gradients[i]);
}

Var ElementwiseUnary::scaled_derivative(const Var& x, const Var& y, const Var& g) const {
  return multiply(derivative(x, y), g);
}

void ElementwiseUnary::jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const {
  dy[0] = scaled_derivative(x[0], y[0], dx[0]);
}

void ElementwiseUnary::vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool>, Outputs gx) const {
  gx[0] = scaled_derivative(x[0], y[0], gy[0]);
}

void LinearOp::jvp(Inputs, Inputs, Inputs dx, Outputs dy) const {
  dy[0] = apply_op(shared_from_this(), dx[0]);
}

void LinearOp::vjp(Inputs x, Inputs, Inputs gy, std::span<const bool>, Outputs gx) const {
  gx[0] = transpose(gy[0], x[0]);
}

void BilinearOp::jvp(Inputs x, Inputs, Inputs dx, Outputs dy) const {
  const OpRef self = shared_from_this();
  if (dx[0].defined()) dy[0] = apply_op(self, dx[0], x[1]);
  if (dx[1].defined()) dy[0] = add_or_empty(dy[0], apply_op(self, x[0], dx[1]));
}

void BilinearOp::vjp(Inputs x, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const {
  if (wanted[0]) gx[0] = transpose_left(gy[0], x[0], x[1]);
  if (wanted[1]) gx[1] = transpose_right(gy[0], x[0], x[1]);
}

Var add_or_empty(const Var& a, const Var& b) {
  if (!a.defined()) return b;
  if (!b.defined()) return a;
  return add(a, b);
}

}  // namespace tessera::autograd
