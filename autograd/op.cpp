#include "tessera/autograd/op.hpp"

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/kernels/elementwise.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {

Op::~Op() = default;

void Op::decompose(Inputs, Outputs) const {
  throw Error(ErrorKind::unsupported, concat(name(), " has no derivative of this kind"));
}

Var Op::again(Inputs, Inputs, size_t) const {
  throw Error(ErrorKind::unsupported, concat(name(), " cannot compute an output again"));
}

namespace {

// The decomposition of an op as a function of some of its inputs.
struct Decomposition {
  const Op& op;
  Inputs x;
  std::vector<size_t> active = {};
  Vars at = {};  // the active inputs

  void follow(size_t i) {
    active.push_back(i);
    at.push_back(x[i]);
  }
  MultiFn function() const {
    return [this](Inputs inputs) {
      Vars all(x.begin(), x.end()), y(static_cast<size_t>(op.outputs()));
      for (size_t k = 0; k < active.size(); ++k) all[active[k]] = inputs[k];
      op.decompose(all, y);
      return y;
    };
  }
};

}  // namespace

void Op::jvp(Inputs x, Inputs, Inputs dx, Outputs dy) const {
  Decomposition f{*this, x};
  Vars tangents;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!dx[i].defined()) continue;
    f.follow(i);
    tangents.push_back(dx[i]);
  }
  Vars results = autograd::jvp(f.function(), f.at, tangents).second;
  std::move(results.begin(), results.end(), dy.begin());
}

void Op::vjp(Inputs x, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const {
  Decomposition f{*this, x};
  for (size_t i = 0; i < x.size(); ++i)
    if (wanted[i]) f.follow(i);
  Vars gradients = autograd::vjp(f.function(), f.at).second(gy);
  for (size_t k = 0; k < f.active.size(); ++k) gx[f.active[k]] = std::move(gradients[k]);
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
  if (dx[1].defined()) accumulate(dy[0], apply_op(self, x[0], dx[1]));
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

void accumulate(Var& sum, Var term) {
  if (!sum.defined()) {
    sum = std::move(term);
    return;
  }
  const bool in_place = !sum.traced() && !term.traced() && sum.value().unique() &&
                        sum.value().contiguous() && sum.shape() == term.shape() &&
                        sum.dtype() == term.dtype();
  if (in_place)
    kernels::axpby(current_stream(sum.device()), 1.0, term.value().view(), 1.0, sum.value().view());
  else
    sum = add(sum, term);
}

}  // namespace tessera::autograd
