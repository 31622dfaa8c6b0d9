#include "tessera/autograd/op.hpp"

#include <tuple>

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
  std::pair<Vars, Vars> jvp(Inputs dx) {
    Vars tangents;
    for (size_t i = 0; i < x.size(); ++i) {
      if (!dx[i].defined()) continue;
      follow(i);
      tangents.push_back(dx[i]);
    }
    return autograd::jvp(function(), at, tangents);
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
  Vars results = Decomposition{*this, x}.jvp(dx).second;
  std::move(results.begin(), results.end(), dy.begin());
}

void Op::value_and_jvp(Inputs x, Inputs dx, Outputs y, Outputs dy) const {
  apply_op(shared_from_this(), x, y);
  if (any_differentiable(y)) jvp(x, y, dx, dy);
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

namespace {

// (a, b, da, db) -> a b, da b + a db: a bilinear op over dual numbers.
struct DualProduct final : Op {
  std::shared_ptr<const BilinearOp> product;
  explicit DualProduct(std::shared_ptr<const BilinearOp> op) : product(std::move(op)) {}
  std::string_view name() const override { return product->name(); }
  int outputs() const override { return 2; }
  Saved saves() const override { return Saved::only_inputs(); }

  void eval(Values x, Outputs y) const override {
    Dual result = product->eval(Dual{x[0], x[2]}, Dual{x[1], x[3]});
    y[0] = std::move(result.value);
    y[1] = std::move(result.tangent);
  }
  void decompose(Inputs x, Outputs y) const override {
    y[0] = apply_op(product, x[0], x[1]);
    y[1] = add(apply_op(product, x[2], x[1]), apply_op(product, x[0], x[3]));
  }
  void value_and_jvp(Inputs x, Inputs dx, Outputs y, Outputs dy) const override {
    auto [values, tangents] = Decomposition{*this, x}.jvp(dx);
    std::move(values.begin(), values.end(), y.begin());
    std::move(tangents.begin(), tangents.end(), dy.begin());
  }
  void vjp(Inputs x, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    const auto [a, b, da, db] = std::tie(x[0], x[1], x[2], x[3]);
    if (wanted[0] && gy[0].defined()) gx[0] = product->transpose_left(gy[0], a, b);
    if (wanted[1] && gy[0].defined()) gx[1] = product->transpose_right(gy[0], a, b);
    if (!gy[1].defined()) return;
    if (wanted[0]) accumulate(gx[0], product->transpose_left(gy[1], a, db));
    if (wanted[1]) accumulate(gx[1], product->transpose_right(gy[1], da, b));
    if (wanted[2]) gx[2] = product->transpose_left(gy[1], da, b);
    if (wanted[3]) gx[3] = product->transpose_right(gy[1], a, db);
  }
};

}  // namespace

Dual BilinearOp::eval(const Dual& a, const Dual& b) const {
  const Tensor dy = eval(a.tangent, b.value), other = eval(a.value, b.tangent);
  kernels::axpby(current_stream(dy.device()), 1.0, other.view(), 1.0, dy.view());
  return {eval(a.value, b.value), dy};
}

void BilinearOp::value_and_jvp(Inputs x, Inputs dx, Outputs y, Outputs dy) const {
  if (!dx[0].defined() || !dx[1].defined()) return Op::value_and_jvp(x, dx, y, dy);
  const Var duals[] = {x[0], x[1], dx[0], dx[1]};
  Var results[2];
  apply_op(
      std::make_shared<DualProduct>(std::static_pointer_cast<const BilinearOp>(shared_from_this())),
      duals, results);
  y[0] = std::move(results[0]);
  dy[0] = std::move(results[1]);
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
