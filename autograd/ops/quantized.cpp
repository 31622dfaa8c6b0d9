#include "tessera/autograd/ops/quantized.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/qgemm.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

using kernels::UnaryOp;

Var zero_like(const Var& x) { return full({}, 0.0, x.dtype(), x.device()); }

// The second output, where gradients pass, is there if there is a mask.
struct StraightThrough final : Op {
  std::string_view label;
  TensorFunction forward, mask;
  StraightThrough(std::string_view l, TensorFunction f, TensorFunction m)
      : label(l), forward(std::move(f)), mask(std::move(m)) {}
  std::string_view name() const override { return label; }
  int outputs() const override { return mask ? 2 : 1; }
  void eval(Values x, Outputs y) const override {
    y[0] = forward(x[0]);
    TS_CHECK(y[0].shape() == x[0].shape() && y[0].dtype() == x[0].dtype(), label, ": gives ", y[0],
             " for ", x[0]);
    if (!mask) return;
    y[1] = mask(x[0]);
    TS_CHECK(y[1].shape() == x[0].shape() && y[1].dtype() == DType::bool_, label, ": the mask of ",
             x[0], " is ", y[1]);
  }
  Var passed(const Var& g, Inputs y) const {
    return mask ? where(y[1].value(), g, zero_like(g)) : g;
  }
  void jvp(Inputs, Inputs y, Inputs dx, Outputs dy) const override { dy[0] = passed(dx[0], y); }
  void vjp(Inputs, Inputs y, Inputs gy, std::span<const bool>, Outputs gx) const override {
    gx[0] = passed(gy[0], y);
  }
  Saved saves() const override { return {0, 0b10}; }
};

// ---- fake quantisation
// ---------------------------------------------------------------------------

// x with every dimension that `blocks` divides into more than one part split in two: (part,
// within).
Shape split_shape(const Shape& x, const Shape& blocks, bool within) {
  Shape shape;
  for (int i = 0; i < x.rank(); ++i) {
    const bool split = blocks[i] != 1 && blocks[i] != x[i];
    shape.push_back(split ? blocks[i] : (within || blocks[i] != 1) ? x[i] : 1);
    if (split) shape.push_back(within ? x[i] / blocks[i] : 1);
  }
  return shape;
}

Var expand_blocks(const Var& per_block, const Shape& x) {
  const Shape &blocks = per_block.shape(), whole = split_shape(x, blocks, true);
  return reshape(broadcast_to(reshape(per_block, split_shape(x, blocks, false)), whole), x);
}

Var sum_blocks(const Var& x, const Shape& blocks) {
  const Var parts = reshape(x, split_shape(x.shape(), blocks, true));
  return reshape(sum_to(parts, split_shape(x.shape(), blocks, false)), blocks);
}

// Beside y, where the code was not clamped, and dy / dscale: constants for every further
// derivative.
struct FakeQuantize final : Op {
  CodeRange range;
  Tensor zero;
  double scale_gradient;
  FakeQuantize(CodeRange r, Tensor z, double g) : range(r), zero(std::move(z)), scale_gradient(g) {}
  std::string_view name() const override { return "fake_quantize"; }
  int outputs() const override { return 3; }
  void eval(Values in, Outputs out) const override {
    const Tensor x = contiguous(in[0]), scale = contiguous(convert(in[1], DType::f32));
    const Tensor y = empty_like(x), slope = empty_like(x);
    const Tensor inside = Tensor::empty(x.shape(), DType::bool_, x.device());
    kernels::fake_quantize(current_stream(x.device()), x.view(), scale.view(),
                           zero.defined() ? zero.view() : View(), y.view(), inside.view(),
                           slope.view(), range);
    out[0] = y;
    out[1] = inside;
    out[2] = slope;
  }
  void jvp(Inputs in, Inputs y, Inputs dx, Outputs dy) const override {
    if (dx[0].defined()) dy[0] = where(y[1].value(), dx[0], zero_like(dx[0]));
    if (dx[1].defined()) {
      const Var change = expand_blocks(cast(dx[1], in[0].dtype()), in[0].shape());
      dy[0] = add_or_empty(dy[0], affine(change * Var(y[2].value()), scale_gradient, 0.0));
    }
  }
  void vjp(Inputs in, Inputs y, Inputs gy, std::span<const bool> wanted,
           Outputs gx) const override {
    if (!gy[0].defined()) return;
    if (wanted[0]) gx[0] = where(y[1].value(), gy[0], zero_like(gy[0]));
    if (wanted[1]) {
      const Var total = sum_blocks(gy[0] * Var(y[2].value()), in[1].shape());
      gx[1] = cast(affine(total, scale_gradient, 0.0), in[1].dtype());
    }
  }
  Saved saves() const override { return {0, 0b110}; }
};

// ---- products with a quantised weight
// ------------------------------------------------------------

Tensor dequantized(const QuantizedTensor& w, DType dtype) {
  Stream& stream = current_stream(w.codes.device());
  Tensor codes = w.codes;
  if (w.scheme.packed) {
    const DType code = w.scheme.is_signed ? DType::i8 : DType::u8;
    codes = Tensor::empty(w.shape, code, w.codes.device());
    kernels::unpack_int4(stream, w.codes.view(), codes.view());
  }
  const Tensor values = Tensor::empty(w.shape, dtype, codes.device());
  kernels::dequantize(stream, codes.view(), w.scales.view(),
                      w.zeros.defined() ? w.zeros.view() : View(), values.view());
  return values;
}

kernels::QuantizedView view_of(const QuantizedTensor& w) {
  return {w.codes.view(), w.scales.view(), w.zeros.defined() ? w.zeros.view() : View(),
          w.scheme.packed, w.scheme.is_signed};
}

// x w' for rows x, or x w.
struct QuantizedProduct final : LinearOp {
  QuantizedTensor weight;
  bool transposed;  // x w
  QuantizedProduct(QuantizedTensor w, bool t) : weight(std::move(w)), transposed(t) {}
  std::string_view name() const override { return "quantized_linear"; }
  Tensor eval(const Tensor& x) const override {
    check_same_device(name(), x, weight.codes);
    const int64_t out = weight.shape[0], in = weight.shape[1];
    TS_CHECK(x.rank() == 2 && x.size(1) == (transposed ? out : in), "quantized_linear: ", x,
             " with ", weight);
    const Tensor y = Tensor::empty({x.size(0), transposed ? in : out}, x.dtype(), x.device());
    Stream& stream = current_stream(x.device());
    if (transposed || x.dtype() == DType::f64) {
      const Tensor w = dequantized(weight, x.dtype());
      kernels::gemm(stream, contiguous(x).view(), (transposed ? w : w.transpose(0, 1)).view(),
                    y.view());
    } else {
      kernels::weight_only_gemm(stream, contiguous(x).view(), view_of(weight), y.view());
    }
    return y;
  }
  Var transpose(const Var& gy, const Var&) const override {
    return apply_op(std::make_shared<QuantizedProduct>(weight, !transposed), gy);
  }
};

}  // namespace

Var straight_through(std::string_view name, const Var& x, TensorFunction forward,
                     TensorFunction mask) {
  const auto op = std::make_shared<StraightThrough>(name, std::move(forward), std::move(mask));
  Var y[2];
  apply_op(op, Inputs(&x, 1), Outputs(y, static_cast<size_t>(op->outputs())));
  return std::move(y[0]);
}

Var round_straight_through(const Var& x) {
  return straight_through("round_straight_through", x,
                          [](const Tensor& t) { return unary(UnaryOp::round, t); });
}

Var sign_straight_through(const Var& x, double clip) {
  const auto sign = [](const Tensor& t) {
    const Tensor positive = binary("sign_straight_through", kernels::BinaryOp::greater_equal, t,
                                   full({}, 0.0, t.dtype(), t.device()));
    return unary(UnaryOp::affine, convert(positive, t.dtype()), {2.0, -1.0});
  };
  const auto near = [clip](const Tensor& t) { return less_equal(abs(t), clip); };
  return straight_through("sign_straight_through", x, sign, near);
}

Var fake_quantize(const Var& x, const Var& scale, CodeRange range, const Tensor& zero,
                  double scale_gradient) {
  check_same_device("fake_quantize", x.value(), scale.value());
  bool fits =
      scale.rank() == x.rank() && (scale.dtype() == x.dtype() || scale.dtype() == DType::f32);
  for (int i = 0; fits && i < x.rank(); ++i)
    fits = scale.shape()[i] >= 1 && x.shape()[i] % scale.shape()[i] == 0;
  TS_CHECK(fits, "fake_quantize: scale ", scale, " for ", x);
  TS_CHECK(!zero.defined() || (zero.shape() == scale.shape() && zero.dtype() == DType::f32),
           "fake_quantize: zero ", zero, " beside scale ", scale);
  const Var in[] = {x, scale};
  Var out[3];
  apply_op(std::make_shared<FakeQuantize>(range, zero.defined() ? contiguous(zero) : zero,
                                          scale_gradient),
           in, out);
  return std::move(out[0]);
}

Var quantized_linear(const Var& x, const QuantizedTensor& weight, const Var& bias) {
  weight.validate();
  check_floating("quantized_linear", x.value());
  if (bias.defined()) check_same("quantized_linear", x.value(), bias.value());
  TS_CHECK(weight.shape.rank() == 2 && x.rank() >= 1 && x.size(-1) == weight.shape[1],
           "quantized_linear: ", x, " with ", weight);
  Shape shape = x.shape();
  shape[x.rank() - 1] = weight.shape[0];
  int64_t rows = 1;
  for (int i = 0; i + 1 < x.rank(); ++i) rows *= x.shape()[i];
  const Var product =
      apply_op(std::make_shared<QuantizedProduct>(weight, false), reshape(x, {rows, x.size(-1)}));
  const Var y = reshape(product, shape);
  return bias.defined() ? y + bias : y;
}

}  // namespace tessera::autograd
