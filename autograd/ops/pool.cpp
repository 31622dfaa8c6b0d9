#include "tessera/autograd/ops/pool.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/kernels/conv.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

// y[n, c, i] = x[n, c, index[n, c, i]] of the h * w plane, and its transpose.
struct PoolGather final : LinearOp {
  Tensor index;
  explicit PoolGather(Tensor i) : index(std::move(i)) {}
  std::string_view name() const override { return "pool_gather"; }
  Tensor eval(const Tensor& x) const override {
    const Tensor y = Tensor::empty(index.shape(), x.dtype(), x.device());
    kernels::pool_gather(current_stream(x.device()), contiguous(x).view(), index.view(), y.view());
    return y;
  }
  Var transpose(const Var& gy, const Var& x) const override;
};

struct PoolScatter final : LinearOp {
  Tensor index;
  Shape image;
  PoolScatter(Tensor i, const Shape& shape) : index(std::move(i)), image(shape) {}
  std::string_view name() const override { return "pool_scatter"; }
  Tensor eval(const Tensor& y) const override {
    const Tensor x = Tensor::empty(image, y.dtype(), y.device());
    kernels::pool_scatter(current_stream(y.device()), contiguous(y).view(), index.view(), x.view());
    return x;
  }
  Var transpose(const Var& gx, const Var&) const override {
    return apply_op(std::make_shared<PoolGather>(index), gx);
  }
};

Var PoolGather::transpose(const Var& gy, const Var& x) const {
  return apply_op(std::make_shared<PoolScatter>(index, x.shape()), gy);
}

// The second output, the positions of the maxima, is all that derivatives need.
struct MaxPool final : Op {
  Pool2dParams params;
  Shape pooled;
  MaxPool(const Pool2dParams& p, const Shape& shape) : params(p), pooled(shape) {}
  std::string_view name() const override { return "max_pool2d"; }
  int outputs() const override { return 2; }
  void eval(Values x, Outputs y) const override {
    const Tensor values = Tensor::empty(pooled, x[0].dtype(), x[0].device());
    const Tensor index = Tensor::empty(pooled, DType::i64, x[0].device());
    kernels::max_pool(current_stream(values.device()), contiguous(x[0]).view(), values.view(),
                      index.view(), params);
    y[0] = values;
    y[1] = index;
  }
  void jvp(Inputs, Inputs y, Inputs dx, Outputs dy) const override {
    dy[0] = apply_op(std::make_shared<PoolGather>(y[1].value()), dx[0]);
  }
  void vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool>, Outputs gx) const override {
    gx[0] = apply_op(std::make_shared<PoolScatter>(y[1].value(), x[0].shape()), gy[0]);
  }
  Saved saves() const override { return {0, 0b10}; }
};

// A linear map between images that has a kernel for each direction.
template <class Params>
struct ImageMap final : LinearOp {
  using Kernel = void (*)(Stream&, View from, View to, const Params&);
  std::string_view label;
  Kernel forward, backward;
  Params params;
  Shape target;
  ImageMap(std::string_view l, Kernel f, Kernel b, const Params& p, const Shape& shape)
      : label(l), forward(f), backward(b), params(p), target(shape) {}
  std::string_view name() const override { return label; }
  Tensor eval(const Tensor& x) const override {
    const Tensor y = Tensor::empty(target, x.dtype(), x.device());
    forward(current_stream(x.device()), contiguous(x).view(), y.view(), params);
    return y;
  }
  Var transpose(const Var& gy, const Var& x) const override {
    return apply_op(std::make_shared<ImageMap>(label, backward, forward, params, x.shape()), gy);
  }
};

struct NoParams {};
void adaptive(Stream& s, View x, View y, const NoParams&) {
  kernels::adaptive_average_pool(s, x, y);
}
void adaptive_transpose(Stream& s, View y, View x, const NoParams&) {
  kernels::adaptive_average_pool_transpose(s, y, x);
}

void check_image(std::string_view name, const Var& x) {
  check_rank(name, "the image", x.value(), 4);
}

Shape pooled_shape(std::string_view name, const Var& x, const Pool2dParams& p) {
  check_image(name, x);
  Shape y = x.shape();
  for (int i = 0; i < 2; ++i) {
    TS_CHECK(p.window[i] >= 1 && p.stride[i] >= 1 && p.padding[i] >= 0 &&
                 2 * p.padding[i] <= p.window[i] && p.dilation[i] >= 1,
             name, ": window ", p.window[i], ", stride ", p.stride[i], ", padding ", p.padding[i],
             ", dilation ", p.dilation[i]);
    y[2 + i] = kernels::conv_extent(x.shape()[2 + i], p.window[i], p.stride[i], p.padding[i],
                                    p.dilation[i]);
    TS_CHECK(y[2 + i] > 0, name, ": a window of ", p.window[0], " x ", p.window[1],
             " does not fit ", x);
  }
  return y;
}

Shape resized(std::string_view name, const Var& x, int64_t height, int64_t width) {
  check_image(name, x);
  TS_CHECK(height >= 1 && width >= 1, name, ": to ", height, " x ", width);
  return {x.size(0), x.size(1), height, width};
}

}  // namespace

Var max_pool2d(const Var& x, const Pool2dParams& params) {
  const OpRef op = std::make_shared<MaxPool>(params, pooled_shape("max_pool2d", x, params));
  Var y[2];
  apply_op(op, Inputs(&x, 1), y);
  return std::move(y[0]);
}

Var average_pool2d(const Var& x, const Pool2dParams& params) {
  const Shape shape = pooled_shape("average_pool2d", x, params);
  TS_CHECK(params.dilation[0] == 1 && params.dilation[1] == 1, "average_pool2d: no dilation");
  return apply_op(
      std::make_shared<ImageMap<Pool2dParams>>("average_pool2d", kernels::average_pool,
                                               kernels::average_pool_transpose, params, shape),
      x);
}

Var adaptive_average_pool2d(const Var& x, int64_t height, int64_t width) {
  const Shape shape = resized("adaptive_average_pool2d", x, height, width);
  return apply_op(std::make_shared<ImageMap<NoParams>>("adaptive_average_pool2d", adaptive,
                                                       adaptive_transpose, NoParams(), shape),
                  x);
}

Var global_average_pool(const Var& x) { return flatten(adaptive_average_pool2d(x, 1, 1), 1); }

Var resample2d(const Var& x, int64_t height, int64_t width, const ResampleParams& params) {
  const Shape shape = resized("resample2d", x, height, width);
  return apply_op(std::make_shared<ImageMap<ResampleParams>>(
                      "resample2d", kernels::resample, kernels::resample_transpose, params, shape),
                  x);
}

Var pixel_shuffle(const Var& x, int64_t factor) {
  check_image("pixel_shuffle", x);
  const int64_t f = factor;
  TS_CHECK(f >= 1 && x.size(1) % (f * f) == 0, "pixel_shuffle: the channels of ", x,
           " do not make ", f, " x ", f, " pixels each");
  const int64_t n = x.size(0), c = x.size(1) / (f * f), h = x.size(2), w = x.size(3);
  return reshape(permute(reshape(x, {n, c, f, f, h, w}), {0, 1, 4, 2, 5, 3}), {n, c, h * f, w * f});
}

Var pixel_unshuffle(const Var& x, int64_t factor) {
  check_image("pixel_unshuffle", x);
  const int64_t f = factor;
  TS_CHECK(f >= 1 && x.size(2) % f == 0 && x.size(3) % f == 0, "pixel_unshuffle: patches of ", f,
           " x ", f, " do not tile ", x);
  const int64_t n = x.size(0), c = x.size(1), h = x.size(2) / f, w = x.size(3) / f;
  return reshape(permute(reshape(x, {n, c, h, f, w, f}), {0, 1, 3, 5, 2, 4}), {n, c * f * f, h, w});
}

}  // namespace tessera::autograd
