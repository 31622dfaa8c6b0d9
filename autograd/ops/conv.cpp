#include "tessera/autograd/ops/conv.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

// The kernels read NCHW and channels-last; anything else is copied.
Tensor as_image(const Tensor& x) {
  return x.contiguous() || x.permute({0, 2, 3, 1}).contiguous() ? x : contiguous(x);
}

void check_operands(std::string_view name, const Tensor& image, const Tensor& other) {
  check_same(name, image, other);
  check_rank(name, "the image", image, 4);
  check_rank(name, "the other operand", other, 4);
}

Shape output_shape(const Shape& x, const Shape& w, const Conv2dParams& p) {
  Shape y{x[0], w[0], 0, 0};
  for (int i = 0; i < 2; ++i) {
    y[2 + i] = kernels::conv_extent(x[2 + i], w[2 + i], p.stride[i], p.padding[i], p.dilation[i]);
    TS_CHECK(y[2 + i] > 0, "conv2d: a filter ", w, " does not fit an image ", x);
  }
  return y;
}

// A value and its tangent as the kernels read them: in one layout.
Dual as_images(const Dual& x) {
  const Tensor value = as_image(x.value), tangent = as_image(x.tangent);
  if (value.strides() == tangent.strides()) return {value, tangent};
  return {contiguous(value), contiguous(tangent)};
}
Dual as_weights(const Dual& w) { return {contiguous(w.value), contiguous(w.tangent)}; }
Dual duals_of(const Tensor& result) { return {result, empty_like(result)}; }
kernels::Dual view(const Dual& d) { return {d.value.view(), d.tangent.view()}; }

Var data_gradient(const Var& gy, const Var& w, const Shape& x, const Conv2dParams& params);
Var weight_gradient(const Var& x, const Var& gy, const Shape& w, const Conv2dParams& params);

// (x, w) -> y
struct Conv2d final : BilinearOp {
  Conv2dParams params;
  explicit Conv2d(const Conv2dParams& p) : params(p) {}
  std::string_view name() const override { return "conv2d"; }
  // Memory for the result, after a look at the operands.
  Tensor result(const Tensor& x, const Tensor& w) const {
    check_operands(name(), x, w);
    const Shape &image = x.shape(), &filter = w.shape();
    TS_CHECK(image[1] == filter[1] * params.groups && filter[0] % params.groups == 0,
             "conv2d: image ", x, " with weight ", w, " in ", params.groups, " groups");
    return Tensor::empty(output_shape(image, filter, params), x.dtype(), x.device());
  }
  Tensor eval(const Tensor& x, const Tensor& w) const override { return eval(x, w, Tensor()); }
  Tensor eval(const Tensor& x, const Tensor& w, const Tensor& bias) const {
    const Tensor y = result(x, w);
    kernels::conv_forward(current_stream(y.device()), as_image(x).view(), contiguous(w).view(),
                          bias.defined() ? contiguous(bias).view() : View(), y.view(), params);
    return y;
  }
  Dual eval(const Dual& x, const Dual& w) const override {
    const Dual y = duals_of(result(x.value, w.value));
    kernels::conv_forward(current_stream(y.value.device()), view(as_images(x)), view(as_weights(w)),
                          view(y), params);
    return y;
  }
  Var transpose_left(const Var& gy, const Var& x, const Var& w) const override {
    return data_gradient(gy, w, x.shape(), params);
  }
  Var transpose_right(const Var& gy, const Var& x, const Var& w) const override {
    return weight_gradient(x, gy, w.shape(), params);
  }
};

// (x, w, bias) -> y
struct Conv2dWithBias final : Op {
  Conv2d conv;
  explicit Conv2dWithBias(const Conv2dParams& p) : conv(p) {}
  std::string_view name() const override { return "conv2d"; }
  void eval(Values x, Outputs y) const override {
    check_same(name(), x[0], x[2]);
    TS_CHECK(x[2].shape() == Shape{x[1].size(0)}, "conv2d: bias ", x[2], " with weight ", x[1]);
    y[0] = conv.eval(x[0], x[1], x[2]);
  }
  void jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const override {
    Var db = dx[2];
    const auto product = [&](const Var& image, const Var& w) {
      return conv2d(image, w, std::exchange(db, Var()), conv.params);
    };
    if (dx[0].defined()) dy[0] = product(dx[0], x[1]);
    if (dx[1].defined()) accumulate(dy[0], product(x[0], dx[1]));
    if (db.defined()) dy[0] = broadcast_to(reshape(db, {db.numel(), 1, 1}), y[0].shape());
  }
  void vjp(Inputs x, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    if (wanted[0]) gx[0] = conv.transpose_left(gy[0], x[0], x[1]);
    if (wanted[1]) gx[1] = conv.transpose_right(gy[0], x[0], x[1]);
    if (wanted[2]) gx[2] = sum(gy[0], {0, 2, 3});
  }
  Saved saves() const override { return {0b11, 0}; }
};

// The transpose of conv2d in x: (gy, w) -> x of shape `image`.
struct DataGradient final : BilinearOp {
  Shape image;
  Conv2dParams params;
  DataGradient(const Shape& x, const Conv2dParams& p) : image(x), params(p) {}
  std::string_view name() const override { return "conv2d_data_gradient"; }
  Tensor result(const Tensor& gy, const Tensor& w) const {
    check_operands(name(), gy, w);
    TS_CHECK(gy.shape() == output_shape(image, w.shape(), params), "conv2d_data_gradient: ", gy,
             " is no result of weight ", w, " on an image ", image);
    return Tensor::empty(image, gy.dtype(), gy.device());
  }
  Tensor eval(const Tensor& gy, const Tensor& w) const override {
    const Tensor x = result(gy, w);
    kernels::conv_data_gradient(current_stream(x.device()), as_image(gy).view(),
                                contiguous(w).view(), x.view(), params);
    return x;
  }
  Dual eval(const Dual& gy, const Dual& w) const override {
    const Dual x = duals_of(result(gy.value, w.value));
    kernels::conv_data_gradient(current_stream(x.value.device()), view(as_images(gy)),
                                view(as_weights(w)), view(x), params);
    return x;
  }
  Var transpose_left(const Var& gx, const Var&, const Var& w) const override {
    return conv2d(gx, w, Var(), params);
  }
  Var transpose_right(const Var& gx, const Var& gy, const Var& w) const override {
    return weight_gradient(gx, gy, w.shape(), params);
  }
};

// The transpose of conv2d in w: (x, gy) -> w of shape `filter`.
struct WeightGradient final : BilinearOp {
  Shape filter;
  Conv2dParams params;
  WeightGradient(const Shape& w, const Conv2dParams& p) : filter(w), params(p) {}
  std::string_view name() const override { return "conv2d_weight_gradient"; }
  Tensor result(const Tensor& x, const Tensor& gy) const {
    check_operands(name(), x, gy);
    TS_CHECK(gy.shape() == output_shape(x.shape(), filter, params), "conv2d_weight_gradient: ", gy,
             " is no result of a filter ", filter, " on ", x);
    return Tensor::empty(filter, x.dtype(), x.device());
  }
  Tensor eval(const Tensor& x, const Tensor& gy) const override {
    const Tensor w = result(x, gy);
    kernels::conv_weight_gradient(current_stream(w.device()), as_image(x).view(),
                                  as_image(gy).view(), w.view(), View(), params);
    return w;
  }
  Dual eval(const Dual& x, const Dual& gy) const override {
    const Dual w = duals_of(result(x.value, gy.value));
    kernels::conv_weight_gradient(current_stream(w.value.device()), view(as_images(x)),
                                  view(as_images(gy)), view(w), params);
    return w;
  }
  Var transpose_left(const Var& gw, const Var& x, const Var& gy) const override {
    return data_gradient(gy, gw, x.shape(), params);
  }
  Var transpose_right(const Var& gw, const Var& x, const Var&) const override {
    return conv2d(x, gw, Var(), params);
  }
};

Var data_gradient(const Var& gy, const Var& w, const Shape& x, const Conv2dParams& params) {
  return apply_op(std::make_shared<DataGradient>(x, params), gy, w);
}

Var weight_gradient(const Var& x, const Var& gy, const Shape& w, const Conv2dParams& params) {
  return apply_op(std::make_shared<WeightGradient>(w, params), x, gy);
}

void check_params(const Conv2dParams& p) {
  TS_CHECK(p.activation == kernels::Activation::none, "conv2d: the activation is an op of its own");
  TS_CHECK(p.groups >= 1, "conv2d: ", p.groups, " groups");
  for (int i = 0; i < 2; ++i)
    TS_CHECK(p.stride[i] >= 1 && p.padding[i] >= 0 && p.dilation[i] >= 1, "conv2d: stride ",
             p.stride[i], ", padding ", p.padding[i], ", dilation ", p.dilation[i]);
}

}  // namespace

Var conv2d(const Var& x, const Var& weight, const Var& bias, const Conv2dParams& params) {
  check_params(params);
  if (!bias.defined()) return apply_op(std::make_shared<Conv2d>(params), x, weight);
  return apply_op(std::make_shared<Conv2dWithBias>(params), x, weight, bias);
}

Var conv2d_transposed(const Var& x, const Var& weight, const Var& bias, const Conv2dParams& params,
                      const Shape& output_padding) {
  check_params(params);
  TS_CHECK(x.rank() == 4 && weight.rank() == 4 && x.size(1) == weight.size(0),
           "conv2d_transposed: ", x, " with weight ", weight);
  TS_CHECK(output_padding.rank() == 2, "conv2d_transposed: output padding ", output_padding);
  Shape image{x.size(0), weight.size(1) * params.groups, 0, 0};
  for (int i = 0; i < 2; ++i) {
    TS_CHECK(output_padding[i] >= 0 && output_padding[i] < params.stride[i],
             "conv2d_transposed: output padding ", output_padding, " must be below the stride");
    image[2 + i] = (x.shape()[2 + i] - 1) * params.stride[i] - 2 * params.padding[i] +
                   params.dilation[i] * (weight.shape()[2 + i] - 1) + 1 + output_padding[i];
  }
  if (bias.defined()) {
    check_same("conv2d_transposed", x.value(), bias.value());
    TS_CHECK(bias.shape() == Shape{image[1]}, "conv2d_transposed: bias ", bias, " with weight ",
             weight, " in ", params.groups, " groups");
  }
  const Var y = data_gradient(x, weight, image, params);
  return bias.defined() ? y + reshape(bias, {bias.numel(), 1, 1}) : y;
}

Var patch_embed(const Var& x, const Var& weight, const Var& bias) {
  const auto tiles = [&](int axis) {
    return weight.size(axis) > 0 && x.size(axis) % weight.size(axis) == 0;
  };
  TS_CHECK(x.rank() == 4 && weight.rank() == 4 && tiles(2) && tiles(3),
           "patch_embed: patches of weight ", weight, " do not tile ", x);
  const Var patches = conv2d(x, weight, bias, {.stride = {weight.size(2), weight.size(3)}});
  return transpose(flatten(patches, 2), 1, 2);
}

}  // namespace tessera::autograd
