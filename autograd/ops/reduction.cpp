#include "tessera/autograd/ops/reduction.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/shape.hpp"

namespace tessera::autograd {
namespace {

using kernels::ReduceOp;

Axes all_axes(int rank) {
  Axes axes;
  for (int i = 0; i < rank; ++i) axes.push_back(i);
  return axes;
}

struct SumTo final : LinearOp {
  Shape target;
  explicit SumTo(const Shape& shape) : target(shape) {}
  std::string_view name() const override { return "sum"; }
  Tensor eval(const Tensor& x) const override {
    const int lead = x.rank() - target.rank();
    Axes axes;
    for (int i = 0; i < x.rank(); ++i)
      if (i < lead || (target[i - lead] == 1 && x.shape()[i] != 1)) axes.push_back(i);
    return reduce(ReduceOp::sum, x, axes, true).reshape(target);
  }
  Var transpose(const Var& gy, const Var& x) const override { return broadcast_to(gy, x.shape()); }
};

struct BroadcastTo final : LinearOp {
  Shape target;
  explicit BroadcastTo(const Shape& shape) : target(shape) {}
  std::string_view name() const override { return "broadcast_to"; }
  Tensor eval(const Tensor& x) const override { return x.broadcast_to(target); }
  Var transpose(const Var& gy, const Var& x) const override { return sum_to(gy, x.shape()); }
};

}  // namespace

Var broadcast_to(const Var& x, const Shape& shape) {
  return x.shape() == shape ? x : apply_op(std::make_shared<BroadcastTo>(shape), x);
}

Var sum_to(const Var& x, const Shape& shape) {
  return x.shape() == shape ? x : apply_op(std::make_shared<SumTo>(shape), x);
}

Var sum(const Var& x, const Axes& axes, bool keep_axes) {
  bool reduced[max_rank] = {};
  Shape kept = x.shape();
  for (int64_t a : axes) {
    const int axis = normalize_axis("sum", a, x.rank());
    reduced[axis] = true;
    kept[axis] = 1;
  }
  const Var y = sum_to(x, kept);
  if (keep_axes) return y;
  Shape shape;
  for (int i = 0; i < x.rank(); ++i)
    if (!reduced[i]) shape.push_back(x.shape()[i]);
  return reshape(y, shape);
}

Var sum(const Var& x) { return sum(x, all_axes(x.rank())); }

Var mean(const Var& x, const Axes& axes, bool keep_axes) {
  double count = 1;
  for (int64_t a : axes) count *= static_cast<double>(x.size(static_cast<int>(a)));
  return affine(sum(x, axes, keep_axes), 1.0 / count, 0.0);
}

Var mean(const Var& x) { return mean(x, all_axes(x.rank())); }

}  // namespace tessera::autograd
