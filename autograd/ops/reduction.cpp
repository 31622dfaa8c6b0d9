#include "tessera/autograd/ops/reduction.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

using kernels::ReduceOp;
using kernels::UnaryOp;

Axes all_axes(int rank) {
  Axes axes;
  for (int i = 0; i < rank; ++i) axes.push_back(i);
  return axes;
}

// x's shape with extent 1 along `axes`, and without them.
struct Reduced {
  Shape kept, dropped;
  int64_t count = 1;  // elements per result
  Reduced(std::string_view name, const Shape& shape, const Axes& axes) : kept(shape) {
    bool gone[max_rank] = {};
    for (int64_t a : axes) {
      const int axis = normalize_axis(name, a, shape.rank());
      TS_CHECK(!gone[axis], name, ": axes ", axes, " repeat an axis");
      gone[axis] = true;
      kept[axis] = 1;
      count *= shape[axis];
    }
    for (int i = 0; i < shape.rank(); ++i)
      if (!gone[i]) dropped.push_back(shape[i]);
  }
};

// Sum over the axes along which `target` broadcasts to x's shape, or the mean.
struct SumTo final : LinearOp {
  Shape target;
  bool averages;
  SumTo(const Shape& shape, bool a) : target(shape), averages(a) {}
  std::string_view name() const override { return averages ? "mean" : "sum"; }
  Tensor eval(const Tensor& x) const override {
    const int lead = x.rank() - target.rank();
    Axes axes;
    for (int i = 0; i < x.rank(); ++i)
      if (i < lead || (target[i - lead] == 1 && x.shape()[i] != 1)) axes.push_back(i);
    return reduce(averages ? ReduceOp::mean : ReduceOp::sum, x, axes, true).reshape(target);
  }
  Var transpose(const Var& gy, const Var& x) const override {
    if (!averages) return broadcast_to(gy, x.shape());
    const double share = static_cast<double>(gy.numel()) / static_cast<double>(x.numel());
    return broadcast_to(affine(gy, share, 0.0), x.shape());
  }
};

struct BroadcastTo final : LinearOp {
  Shape target;
  explicit BroadcastTo(const Shape& shape) : target(shape) {}
  std::string_view name() const override { return "broadcast_to"; }
  Tensor eval(const Tensor& x) const override { return x.broadcast_to(target); }
  Var transpose(const Var& gy, const Var& x) const override { return sum_to(gy, x.shape()); }
};

struct CumulativeSum final : LinearOp {
  int axis;
  explicit CumulativeSum(int a) : axis(a) {}
  std::string_view name() const override { return "cumulative_sum"; }
  Tensor eval(const Tensor& x) const override {
    Tensor y = empty_like(x);
    kernels::cumulative_sum(current_stream(x.device()), x.view(), axis, y.view());
    return y;
  }
  Var transpose(const Var& gy, const Var&) const override {
    return flip(cumulative_sum(flip(gy, axis), axis), axis);
  }
};

struct InnerProduct final : BilinearOp {
  std::string_view name() const override { return "inner_product"; }
  Tensor eval(const Tensor& a, const Tensor& b) const override {
    check_same(name(), a, b);
    TS_CHECK(a.shape() == b.shape(), "inner_product: ", a, " and ", b, " differ in shape");
    const Tensor total = Tensor::empty({}, DType::f64, a.device());
    kernels::dot(current_stream(a.device()), contiguous(a).view(), contiguous(b).view(),
                 total.view());
    return convert(total, a.dtype());
  }
  Var transpose_left(const Var& gy, const Var&, const Var& b) const override {
    return multiply(gy, b);
  }
  Var transpose_right(const Var& gy, const Var& a, const Var&) const override {
    return multiply(gy, a);
  }
};

Tensor arg_extreme(std::string_view name, const Tensor& x, int axis, bool keep_axis, bool largest) {
  axis = normalize_axis(name, axis, x.rank());
  TS_CHECK(x.shape()[axis] > 0, name, ": nothing along axis ", axis, " of ", x);
  Shape kept = x.shape();
  kept[axis] = 1;
  Tensor index = Tensor::empty(kept, DType::i64, x.device());
  const auto kernel = largest ? kernels::argmax : kernels::argmin;
  kernel(current_stream(x.device()), x.view(), axis, index.view());
  return keep_axis ? index : index.squeeze(axis);
}

Var extreme(std::string_view name, const Var& x, int axis, bool keep_axis, bool largest) {
  const Var y = take_along(x, arg_extreme(name, x.value(), axis, true, largest), axis);
  return keep_axis ? y : squeeze(y, axis);
}

}  // namespace

Var broadcast_to(const Var& x, const Shape& shape) {
  return x.shape() == shape ? x : apply_op(std::make_shared<BroadcastTo>(shape), x);
}

Var sum_to(const Var& x, const Shape& shape) {
  return x.shape() == shape ? x : apply_op(std::make_shared<SumTo>(shape, false), x);
}

Var sum(const Var& x, const Axes& axes, bool keep_axes) {
  const Reduced to("sum", x.shape(), axes);
  const Var y = sum_to(x, to.kept);
  return keep_axes ? y : reshape(y, to.dropped);
}

Var sum(const Var& x) { return sum_to(x, {}); }

Var mean(const Var& x, const Axes& axes, bool keep_axes) {
  const Reduced to("mean", x.shape(), axes);
  const Var y = to.kept == x.shape() ? x : apply_op(std::make_shared<SumTo>(to.kept, true), x);
  return keep_axes ? y : reshape(y, to.dropped);
}

Var mean(const Var& x) { return mean(x, all_axes(x.rank())); }

Var variance(const Var& x, const Axes& axes, bool keep_axes, double correction) {
  const auto count = static_cast<double>(Reduced("variance", x.shape(), axes).count);
  const Var biased = mean(square(x - mean(x, axes, true)), axes, keep_axes);
  return affine(biased, count / (count - correction), 0.0);
}

Var variance(const Var& x) { return variance(x, all_axes(x.rank())); }

Var max(const Var& x, int axis, bool keep_axis) { return extreme("max", x, axis, keep_axis, true); }
Var min(const Var& x, int axis, bool keep_axis) {
  return extreme("min", x, axis, keep_axis, false);
}
Var max(const Var& x) { return max(flatten(x), 0); }
Var min(const Var& x) { return min(flatten(x), 0); }

Tensor argmax(const Var& x, int axis, bool keep_axis) {
  return arg_extreme("argmax", x.value(), axis, keep_axis, true);
}

Tensor argmin(const Var& x, int axis, bool keep_axis) {
  return arg_extreme("argmin", x.value(), axis, keep_axis, false);
}

Var norm(const Var& x, const Axes& axes, bool keep_axes) {
  const Reduced to("norm", x.shape(), axes);
  const Var squares = reshape(sum_to(square(x), to.kept), keep_axes ? to.kept : to.dropped);
  const Tensor zero = equal(squares, 0.0);
  const Var one = full({}, 1.0, x.dtype(), x.device());
  return masked_fill(sqrt(where(zero, one, squares)), zero, 0.0);
}

Var norm(const Var& x) { return norm(x, all_axes(x.rank())); }

Var logsumexp(const Var& x, int axis, bool keep_axis) {
  check_floating("logsumexp", x.value());
  axis = normalize_axis("logsumexp", axis, x.rank());
  TS_CHECK(x.shape()[axis] > 0, "logsumexp: nothing along axis ", axis, " of ", x);
  Tensor shift = reduce(ReduceOp::maximum, x.value(), {axis}, true);
  shift = select("logsumexp", unary(UnaryOp::is_finite, shift), shift,
                 full({}, 0.0, x.dtype(), x.device()));
  const Var y = log(sum(exp(x - shift), {axis}, true)) + Var(shift);
  return keep_axis ? y : squeeze(y, axis);
}

Var cumulative_sum(const Var& x, int axis) {
  return apply_op(std::make_shared<CumulativeSum>(normalize_axis("cumulative_sum", axis, x.rank())),
                  x);
}

Var inner_product(const Var& a, const Var& b) { return apply_op<InnerProduct>(a, b); }

}  // namespace tessera::autograd
