#include "tessera/autograd/ops/shape.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/kernels/copy.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/strides.hpp"

namespace tessera::autograd {
namespace {

struct Reshape final : LinearOp {
  Shape target;
  explicit Reshape(const Shape& shape) : target(shape) {}
  std::string_view name() const override { return "reshape"; }
  // A view, or one copy by the device's kernel.
  Tensor eval(const Tensor& x) const override {
    const Shape shape = Tensor::meta(x.shape(), x.dtype(), x.device()).reshape(target).shape();
    const bool viewable = reshaped_strides(x.shape(), x.strides(), shape).has_value();
    return (viewable ? x : contiguous(x)).reshape(shape);
  }
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

// A box of a larger tensor: along axis i the elements start[i], start[i] + step[i], ...
struct Region {
  Shape start, step, extent;
  Tensor of(Tensor x) const {
    for (int i = 0; i < x.rank(); ++i) x = x.narrow(i, start[i], extent[i], step[i]);
    return x;
  }
};

// The view of a box, and its transpose, which puts x into that box of zeros of shape `target`.
struct Slice final : LinearOp {
  Region box;
  explicit Slice(const Region& b) : box(b) {}
  std::string_view name() const override { return "slice"; }
  Tensor eval(const Tensor& x) const override { return box.of(x); }
  Var transpose(const Var& gy, const Var& x) const override;
};

struct Embed final : LinearOp {
  Region box;
  Shape target;
  Embed(const Region& b, const Shape& shape) : box(b), target(shape) {}
  std::string_view name() const override { return "pad"; }
  Tensor eval(const Tensor& x) const override {
    Tensor y = full(target, 0.0, x.dtype(), x.device());
    kernels::copy(current_stream(x.device()), x.view(), box.of(y).view());
    return y;
  }
  Var transpose(const Var& gy, const Var&) const override {
    return apply_op(std::make_shared<Slice>(box), gy);
  }
};

Var Slice::transpose(const Var& gy, const Var& x) const {
  return apply_op(std::make_shared<Embed>(box, x.shape()), gy);
}

// Linear in all inputs together.
struct Concat final : Op {
  int axis;
  explicit Concat(int a) : axis(a) {}
  std::string_view name() const override { return "concat"; }
  void eval(Values x, Outputs y) const override {
    Shape shape = x[0].shape();
    for (size_t i = 1; i < x.size(); ++i) {
      check_same(name(), x[0], x[i]);
      Shape other = x[i].shape();
      TS_CHECK(other.rank() == shape.rank(), "concat: ", x[i], " beside ", x[0]);
      other[axis] = x[0].shape()[axis];
      TS_CHECK(other == x[0].shape(), "concat: ", x[i], " beside ", x[0], " along axis ", axis);
      shape[axis] += x[i].shape()[axis];
    }
    const Tensor joined = Tensor::empty(shape, x[0].dtype(), x[0].device());
    Stream& stream = current_stream(joined.device());
    for (int64_t i = 0, at = 0; i < static_cast<int64_t>(x.size()); ++i) {
      const Tensor& part = x[static_cast<size_t>(i)];
      const int64_t length = part.shape()[axis];
      kernels::copy(stream, part.view(), joined.narrow(axis, at, length).view());
      at += length;
    }
    y[0] = joined;
  }
  void jvp(Inputs x, Inputs, Inputs dx, Outputs dy) const override {
    Vars parts(dx.begin(), dx.end());
    for (size_t i = 0; i < parts.size(); ++i)
      if (!parts[i].defined()) parts[i] = full(x[i].shape(), 0.0, x[i].dtype(), x[i].device());
    dy[0] = concat(parts, axis);
  }
  void vjp(Inputs x, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    int64_t at = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const int64_t length = x[i].shape()[axis];
      if (wanted[i]) gx[i] = narrow(gy[0], axis, at, length);
      at += length;
    }
  }
  Saved saves() const override { return Saved::nothing(); }
};

struct Flip final : LinearOp {
  int axis;
  explicit Flip(int a) : axis(a) {}
  std::string_view name() const override { return "flip"; }
  Tensor eval(const Tensor& x) const override {
    Tensor y = empty_like(x);
    // Backwards through y: Tensors have no negative strides, Views may.
    View reversed = y.view();
    const int64_t bytes = static_cast<int64_t>(size_of(y.dtype()));
    if (y.numel() > 0)
      reversed.data =
          reversed.as<char>() + (reversed.shape[axis] - 1) * reversed.stride[axis] * bytes;
    reversed.stride[axis] = -reversed.stride[axis];
    kernels::copy(current_stream(x.device()), x.view(), reversed);
    return y;
  }
  Var transpose(const Var& gy, const Var&) const override { return flip(gy, axis); }
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

Var squeeze(const Var& x, int axis) {
  axis = normalize_axis("squeeze", axis, x.rank());
  TS_CHECK(x.shape()[axis] == 1, "squeeze: dimension ", axis, " of ", x, " is not 1");
  Shape shape;
  for (int i = 0; i < x.rank(); ++i)
    if (i != axis) shape.push_back(x.shape()[i]);
  return reshape(x, shape);
}

Var unsqueeze(const Var& x, int axis) {
  TS_CHECK(x.rank() < max_rank, "unsqueeze: ", x, " has as many dimensions as there may be");
  axis = normalize_axis("unsqueeze", axis, x.rank() + 1);
  Shape shape;
  for (int i = 0; i <= x.rank(); ++i) {
    if (i == axis) shape.push_back(1);
    if (i < x.rank()) shape.push_back(x.shape()[i]);
  }
  return reshape(x, shape);
}

Var flatten(const Var& x, int first) {
  if (x.rank() == 0) return reshape(x, {1});
  first = normalize_axis("flatten", first, x.rank());
  Shape shape = Shape::filled(first + 1, 1);
  for (int i = 0; i < x.rank(); ++i) shape[std::min(i, first)] *= x.shape()[i];
  return reshape(x, shape);
}

Var slice(const Var& x, int axis, int64_t start, int64_t stop, int64_t step) {
  axis = normalize_axis("slice", axis, x.rank());
  TS_CHECK(0 <= start && start <= stop && stop <= x.shape()[axis] && step >= 1, "slice: [", start,
           ", ", stop, ") by ", step, " of dimension ", axis, " of ", x);
  if (start == 0 && stop == x.shape()[axis] && step == 1) return x;
  Region box{Shape::filled(x.rank(), 0), Shape::filled(x.rank(), 1), x.shape()};
  box.start[axis] = start;
  box.step[axis] = step;
  box.extent[axis] = (stop - start + step - 1) / step;
  return apply_op(std::make_shared<Slice>(box), x);
}

Var narrow(const Var& x, int axis, int64_t start, int64_t length) {
  return slice(x, axis, start, start + length);
}

Var select(const Var& x, int axis, int64_t index) {
  return squeeze(slice(x, axis, index, index + 1), axis);
}

Vars split(const Var& x, int axis, std::span<const int64_t> sizes) {
  axis = normalize_axis("split", axis, x.rank());
  Vars parts;
  int64_t at = 0;
  for (int64_t size : sizes) {
    parts.push_back(narrow(x, axis, at, size));
    at += size;
  }
  TS_CHECK(at == x.size(axis), "split: the parts have ", at, " elements, dimension ", axis, " of ",
           x, " has ", x.size(axis));
  return parts;
}

Vars split(const Var& x, int axis, int64_t parts) {
  axis = normalize_axis("split", axis, x.rank());
  TS_CHECK(parts > 0 && x.size(axis) % parts == 0, "split: dimension ", axis, " of ", x, " in ",
           parts, " equal parts");
  const std::vector<int64_t> sizes(static_cast<size_t>(parts), x.size(axis) / parts);
  return split(x, axis, sizes);
}

Var concat(Inputs x, int axis) {
  TS_CHECK(!x.empty(), "concat: no tensors");
  axis = normalize_axis("concat", axis, x[0].rank());
  if (x.size() == 1) return x[0];
  Var y;
  apply_op(std::make_shared<Concat>(axis), x, Outputs(&y, 1));
  return y;
}

Var stack(Inputs x, int axis) {
  Vars parts;
  for (const Var& v : x) {
    check_floating("stack", v.value());
    TS_CHECK(v.rank() < max_rank, "stack: ", v, " has as many dimensions as there may be");
    parts.push_back(unsqueeze(v, normalize_axis("stack", axis, v.rank() + 1)));
  }
  return concat(parts, axis);
}

Var pad(const Var& x, const Shape& before, const Shape& after) {
  TS_CHECK(before.rank() == x.rank() && after.rank() == x.rank(), "pad: ", before, " before and ",
           after, " after for ", x);
  Shape target = x.shape();
  for (int i = 0; i < x.rank(); ++i) {
    TS_CHECK(before[i] >= 0 && after[i] >= 0, "pad: negative extent in ", before, " or ", after);
    target[i] += before[i] + after[i];
  }
  if (target == x.shape()) return x;
  return apply_op(
      std::make_shared<Embed>(Region{before, Shape::filled(x.rank(), 1), x.shape()}, target), x);
}

Var flip(const Var& x, int axis) {
  return apply_op(std::make_shared<Flip>(normalize_axis("flip", axis, x.rank())), x);
}

}  // namespace tessera::autograd
