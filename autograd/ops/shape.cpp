#include "tessera/autograd/ops/shape.hpp"

#include "tessera/autograd/launch.hpp"

namespace tessera::autograd {
namespace {

struct Reshape final : LinearOp {
  Shape target;
  explicit Reshape(const Shape& shape) : target(shape) {}
  std::string_view name() const override { return "reshape"; }
  Tensor eval(const Tensor& x) const override { return x.reshape(target); }
  Var transpose(const Var& gy, const Var& x) const override { return reshape(gy, x.shape()); }
};

struct Permute final : LinearOp {
  Axes axes;
  explicit Permute(const Axes& order) : axes(order) {}
  std::string_view name() const override { return "permute"; }
  Tensor eval(const Tensor& x) const override { return x.permute(axes); }
  Var transpose(const Var& gy, const Var&) const override {
    Axes inverse = axes;
    for (int i = 0; i < axes.rank(); ++i)
      inverse[normalize_axis("permute", axes[i], axes.rank())] = i;
    return permute(gy, inverse);
  }
};

}  // namespace

Var reshape(const Var& x, const Shape& shape) {
  return x.shape() == shape ? x : apply_op(std::make_shared<Reshape>(shape), x);
}

Var permute(const Var& x, const Axes& axes) { return apply_op(std::make_shared<Permute>(axes), x); }

Var transpose(const Var& x, int axis_a, int axis_b) {
  Axes axes;
  for (int i = 0; i < x.rank(); ++i) axes.push_back(i);
  std::swap(axes[normalize_axis("transpose", axis_a, x.rank())],
            axes[normalize_axis("transpose", axis_b, x.rank())]);
  return permute(x, axes);
}

}  // namespace tessera::autograd
