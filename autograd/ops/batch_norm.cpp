#include <array>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/normalization.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/runtime/stream.hpp"

// With z = (x - mean) * rstd * gamma + beta, the result is y = z + residual or relu of that. Two
// ops compute it: Apply from given statistics, and BatchNorm, which finds them in x. BatchNorm
// saves x and computes y again with Apply, so that of a layer conv - batch norm - relu one
// activation is kept: what the convolution gave.
//
// The statistics are outputs of BatchNorm with tangents and cotangents of their own. Only
// BatchNorm's gradient, which one kernel computes together with theirs, takes them as the functions
// of x that they are.
namespace tessera::autograd {
namespace {

using kernels::BatchNormMap;

Tensor contiguous_or_none(const Tensor& t) { return t.defined() ? contiguous(t) : t; }
// The operands of a map, which inputs number `first` and following of an op are: mean, rstd, gamma,
// beta.
struct MapOperands {
  Tensor mean, rstd, gamma, beta;
  MapOperands(const Values& in, size_t first)
      : mean(contiguous_or_none(in[first])),
        rstd(contiguous_or_none(in[first + 1])),
        gamma(contiguous_or_none(in[first + 2])),
        beta(contiguous_or_none(in[first + 3])) {}
  BatchNormMap map(bool relu) const {
    return {view_or_none(mean), view_or_none(rstd), view_or_none(gamma), view_or_none(beta), relu};
  }
};

// What is per channel as a factor of x.
Var aligned(const Var& parameter, int rank) {
  Shape shape = Shape::filled(rank - 1, 1);
  shape[0] = parameter.numel();
  return reshape(parameter, shape);
}
Axes others(int rank) {
  Axes axes{0};
  for (int i = 2; i < rank; ++i) axes.push_back(i);
  return axes;
}
Var scale_of(const Var& rstd, const Var& gamma) {
  return gamma.defined() ? rstd * cast(gamma, rstd.dtype()) : rstd;
}
double per_channel(const Shape& x) {
  return static_cast<double>(Shape(x).numel()) / static_cast<double>(std::max<int64_t>(1, x[1]));
}

Var apply(const Var& x, const Var& mean, const Var& rstd, const Var& gamma, const Var& beta,
          const Var& residual, bool relu);

// What passes relu(z), as the numbers are.
Var passed(const Var& g, const Var& x, const Var& mean, const Var& rstd, const Var& gamma,
           const Var& beta) {
  const auto number = [](const Var& v) { return v.defined() ? stop_gradient(v) : v; };
  const Var y =
      apply(number(x), number(mean), number(rstd), number(gamma), number(beta), Var(), true);
  return relu_gradient(g, y.value());
}

// ---- gradient of z or relu(z)
// --------------------------------------------------------------------

struct Wanted {
  bool x, gamma, beta;
  DType gamma_dtype, beta_dtype;
  int count() const { return x + gamma + beta; }

  // Outputs in order, of those that are wanted; the kernel's arguments by name.
  struct Results {
    Tensor x, gamma, beta;
    void give(Outputs out) const {
      size_t k = 0;
      for (const Tensor* t : {&x, &gamma, &beta})
        if (t->defined()) out[k++] = *t;
    }
  };
  Results allocate(const Tensor& like) const {
    const Shape channels{like.size(1)};
    return {x ? empty_like(like) : Tensor(),
            gamma ? Tensor::empty(channels, gamma_dtype, like.device()) : Tensor(),
            beta ? Tensor::empty(channels, beta_dtype, like.device()) : Tensor()};
  }
};

// (gy, x, mean, rstd, gamma, beta) -> those of gx, ggamma, gbeta that are wanted. `batch`: mean and
// rstd are functions of x.
struct Gradient final : Op {
  Wanted wanted_outputs;
  bool relu, batch;
  double epsilon;  // of the batch's rstd
  Gradient(const Wanted& wanted, bool with_relu, bool of_batch, double e)
      : wanted_outputs(wanted), relu(with_relu), batch(of_batch), epsilon(e) {}
  std::string_view name() const override { return "batch_norm"; }
  int outputs() const override { return wanted_outputs.count(); }
  uint32_t optional() const override { return 0b110000; }

  void eval(Values in, Outputs out) const override {
    const Tensor gy = contiguous(in[0]), x = contiguous(in[1]);
    const MapOperands operands(in, 2);
    const Wanted::Results g = wanted_outputs.allocate(x);
    kernels::batch_norm_gradient(current_stream(x.device()), x.view(), operands.map(relu),
                                 gy.view(), batch, view_or_none(g.x), view_or_none(g.gamma),
                                 view_or_none(g.beta));
    g.give(out);
  }

  void jvp(Inputs in, Inputs y, Inputs din, Outputs dy) const override;

  void decompose(Inputs in, Outputs out) const override {
    const DType compute = compute_dtype(in[1].dtype());
    const Var x = cast(in[1], compute);
    const int rank = x.rank();
    const Axes axes = others(rank);
    Var gy = cast(in[0], compute);
    if (relu) gy = passed(gy, x, in[2], in[3], in[4], in[5]);
    Var xhat, rstd;
    if (batch) {
      const Var deviation = x - mean(x, axes, true);
      rstd = rsqrt(mean(square(deviation), axes, true) + epsilon);
      xhat = deviation * rstd;
    } else {
      rstd = aligned(in[3], rank);
      xhat = (x - aligned(in[2], rank)) * rstd;
    }
    size_t k = 0;
    if (wanted_outputs.x) {
      Var u = in[4].defined() ? gy * aligned(cast(in[4], compute), rank) : gy;
      if (batch) u = u - xhat * mean(xhat * u, axes, true) - mean(u, axes, true);
      out[k++] = cast(u * rstd, in[1].dtype());
    }
    if (wanted_outputs.gamma) out[k++] = cast(sum(gy * xhat, axes), wanted_outputs.gamma_dtype);
    if (wanted_outputs.beta) out[k++] = cast(sum(gy, axes), wanted_outputs.beta_dtype);
  }
};

// The tangent of the batch's gradient in one kernel, for Hessian products of residual networks:
// (gy, x, mean, rstd, gamma, beta) and the tangents of gy, x, gamma.
struct GradientTangent final : Op {
  std::shared_ptr<const Gradient> gradient;
  explicit GradientTangent(std::shared_ptr<const Gradient> g) : gradient(std::move(g)) {}
  std::string_view name() const override { return "batch_norm"; }
  int outputs() const override { return gradient->outputs(); }
  uint32_t optional() const override { return 0b111110000; }

  void eval(Values in, Outputs out) const override {
    const Tensor gy = contiguous(in[0]), x = contiguous(in[1]);
    const MapOperands operands(in, 2);
    const Tensor dgy = contiguous_or_none(in[6]), dx = contiguous_or_none(in[7]),
                 dgamma = contiguous_or_none(in[8]);
    const Wanted::Results d = gradient->wanted_outputs.allocate(x);
    kernels::batch_norm_gradient_tangent(current_stream(x.device()), x.view(),
                                         operands.map(gradient->relu), gy.view(), view_or_none(dx),
                                         view_or_none(dgamma), view_or_none(dgy), view_or_none(d.x),
                                         view_or_none(d.gamma), view_or_none(d.beta));
    d.give(out);
  }

  void decompose(Inputs in, Outputs out) const override {
    constexpr std::array<size_t, 3> moving{0, 1, 4};  // gy, x, gamma
    const size_t given = in[4].defined() ? 3 : 2;
    Vars at, moves;
    for (size_t i = 0; i < given; ++i) at.push_back(in[moving[i]]), moves.push_back(in[6 + i]);
    const MultiFn of_inputs = [&](Inputs x) {
      Vars all(in.begin(), in.begin() + 6), y(static_cast<size_t>(outputs()));
      for (size_t i = 0; i < given; ++i) all[moving[i]] = x[i];
      gradient->decompose(all, y);
      return y;
    };
    Vars tangents = autograd::jvp(of_inputs, at, moves).second;
    std::move(tangents.begin(), tangents.end(), out.begin());
  }
};

void Gradient::jvp(Inputs in, Inputs y, Inputs din, Outputs dy) const {
  if (!batch) return Op::jvp(in, y, din, dy);
  const auto self = std::static_pointer_cast<const Gradient>(shared_from_this());
  const Var from[] = {in[0], in[1], in[2], in[3], in[4], in[5], din[0], din[1], din[4]};
  apply_op(std::make_shared<GradientTangent>(self), from, dy);
}

// ---- given statistics
// ----------------------------------------------------------------------------

// The tangent of y: (x, mean, rstd, gamma, beta; y where relu was taken of a sum with a residual;
// the tangents of x, mean, rstd, gamma, beta, residual).
struct ApplyTangent final : Op {
  bool relu;
  explicit ApplyTangent(bool with_relu) : relu(with_relu) {}
  std::string_view name() const override { return "batch_norm"; }
  uint32_t optional() const override { return 0b111111111000; }

  void eval(Values in, Outputs out) const override {
    const Tensor x = contiguous(in[0]), dy = empty_like(x);
    const MapOperands operands(in, 1), moves(in, 7);
    const Tensor y = contiguous_or_none(in[5]), dx = contiguous_or_none(in[6]),
                 dresidual = contiguous_or_none(in[11]);
    kernels::batch_norm_tangent(current_stream(x.device()), x.view(), operands.map(relu),
                                view_or_none(y), view_or_none(dx), moves.map(false),
                                view_or_none(dresidual), dy.view());
    out[0] = dy;
  }

  void decompose(Inputs in, Outputs out) const override {
    const DType compute = compute_dtype(in[0].dtype());
    const Var x = cast(in[0], compute);
    const int rank = x.rank();
    const auto wide = [&](size_t i) { return in[i].defined() ? cast(in[i], compute) : Var(); };
    const Var scale = scale_of(in[2], in[3]), dmean = wide(7), drstd = wide(8), dgamma = wide(9);
    Var slope = drstd.defined() ? scale_of(drstd, in[3]) : Var(), shift = wide(10), dy;
    if (dgamma.defined()) slope = add_or_empty(slope, in[2] * dgamma);
    if (dmean.defined()) shift = add_or_empty(shift, -(scale * dmean));
    if (in[6].defined()) dy = cast(in[6], compute) * aligned(scale, rank);
    if (slope.defined()) dy = add_or_empty(dy, (x - aligned(in[1], rank)) * aligned(slope, rank));
    dy = add_or_empty(dy, wide(11));
    if (shift.defined()) dy = add_or_empty(dy, broadcast_to(aligned(shift, rank), x.shape()));
    if (in[5].defined())
      dy = relu_gradient(dy, in[5].value());
    else if (relu)
      dy = passed(dy, x, in[1], in[2], in[3], in[4]);
    out[0] = cast(dy, in[0].dtype());
  }
};

Var tangent(bool relu, Inputs x_and_map, const Var& y, Inputs moves) {
  Vars in(x_and_map.begin(), x_and_map.begin() + 5);
  in.push_back(y.defined() ? stop_gradient(y) : y);
  in.insert(in.end(), moves.begin(), moves.end());
  Var dy;
  apply_op(std::make_shared<ApplyTangent>(relu), in, Outputs(&dy, 1));
  return dy;
}

// gx, ggamma and gbeta where wanted, by the kernel.
std::array<Var, 3> gradient(const Wanted& wanted, bool relu, bool batch, double epsilon,
                            const Var& gy, Inputs x_and_map) {
  if (wanted.count() == 0) return {};
  const auto op = std::make_shared<Gradient>(wanted, relu, batch, epsilon);
  const Var in[] = {gy, x_and_map[0], x_and_map[1], x_and_map[2], x_and_map[3], x_and_map[4]};
  Var out[3];
  apply_op(op, in, Outputs(out, static_cast<size_t>(wanted.count())));
  std::array<Var, 3> named;
  size_t k = 0;
  if (wanted.x) named[0] = std::move(out[k++]);
  if (wanted.gamma) named[1] = std::move(out[k++]);
  if (wanted.beta) named[2] = std::move(out[k++]);
  return named;
}

// (x, mean, rstd, gamma, beta, residual) -> y
struct Apply final : Op {
  bool relu, adds;  // adds: there is a residual
  Apply(bool with_relu, bool with_residual) : relu(with_relu), adds(with_residual) {}
  std::string_view name() const override { return "batch_norm"; }
  uint32_t optional() const override { return 0b111000; }
  Saved saves() const override {
    return {.inputs = 0b011111, .outputs = relu && adds, .again = 1, .again_reads = 0b100000};
  }
  Var again(Inputs in, Inputs, size_t) const override {
    return apply(in[0], in[1], in[2], in[3], in[4], in[5], relu);
  }

  void eval(Values in, Outputs out) const override {
    const Tensor x = contiguous(in[0]), residual = contiguous_or_none(in[5]), y = empty_like(x);
    kernels::batch_norm(current_stream(x.device()), x.view(), MapOperands(in, 1).map(relu),
                        view_or_none(residual), y.view());
    out[0] = y;
  }

  void jvp(Inputs in, Inputs y, Inputs din, Outputs dy) const override {
    dy[0] = tangent(relu, in.first(5), relu && adds ? y[0] : Var(), din);
  }

  // With S = sum(g) and D = sum(g * (x - mean)): gmean = -scale S, grstd = gamma D.
  void vjp(Inputs in, Inputs y, Inputs gy, std::span<const bool> wanted,
           Outputs gx) const override {
    const bool of_sum = relu && adds;
    const Var g = of_sum ? relu_gradient(gy[0], y[0].value()) : gy[0];
    if (wanted[5]) gx[5] = g;
    const DType compute = compute_dtype(in[0].dtype());
    const bool needs_gamma = wanted[2] || wanted[3], needs_beta = wanted[1] || wanted[4];
    const auto [of_x, of_gamma, of_beta] =
        gradient({wanted[0], needs_gamma, needs_beta, compute, compute}, relu && !of_sum, false, 0,
                 g, in.first(5));
    gx[0] = of_x;
    if (wanted[1]) gx[1] = -(scale_of(in[2], in[3]) * of_beta);
    if (wanted[2]) gx[2] = scale_of(of_gamma / in[2], in[3]);
    if (wanted[3]) gx[3] = cast(of_gamma, in[3].dtype());
    if (wanted[4]) gx[4] = cast(of_beta, in[4].dtype());
  }
};

Var apply(const Var& x, const Var& mean, const Var& rstd, const Var& gamma, const Var& beta,
          const Var& residual, bool relu) {
  const Var in[] = {x, mean, rstd, gamma, beta, residual};
  Var y;
  apply_op(std::make_shared<Apply>(relu, residual.defined()), in, Outputs(&y, 1));
  return y;
}

// ---- the batch's statistics
// ----------------------------------------------------------------------

// (x, mean, rstd, dx) -> the tangents of mean and rstd.
struct StatisticsTangent final : Op {
  std::string_view name() const override { return "batch_norm"; }
  int outputs() const override { return 2; }
  void eval(Values in, Outputs out) const override {
    const Tensor x = contiguous(in[0]), dx = contiguous(in[3]);
    const Tensor dmean = empty_like(in[1]), drstd = empty_like(in[2]);
    kernels::batch_statistics_tangent(current_stream(x.device()), x.view(), in[1].view(),
                                      in[2].view(), dx.view(), dmean.view(), drstd.view());
    out[0] = dmean;
    out[1] = drstd;
  }
  void decompose(Inputs in, Outputs out) const override {
    const DType compute = in[1].dtype();
    const Var x = cast(in[0], compute), dx = cast(in[3], compute);
    const Axes axes = others(x.rank());
    out[0] = mean(dx, axes);
    out[1] = -(power(in[2], 3.0) * mean((x - aligned(in[1], x.rank())) * dx, axes));
  }
};

// (x, gamma, beta, residual) -> y, mean, rstd
struct BatchNorm final : Op {
  BatchNormParams params;
  bool relu, adds;
  Tensor running_mean, running_variance;
  std::string_view name() const override { return "batch_norm"; }
  int outputs() const override { return 3; }
  uint32_t optional() const override { return 0b1110; }
  Saved saves() const override {
    return {.inputs = 0b0111,
            .outputs = 0b110u | (relu && adds),
            .again = 0b001,
            .again_reads = 0b1000};
  }
  Var again(Inputs in, Inputs y, size_t) const override {
    return apply(in[0], y[1], y[2], in[1], in[2], in[3], relu);
  }

  void eval(Values in, Outputs out) const override {
    const Tensor x = contiguous(in[0]), gamma = contiguous_or_none(in[1]),
                 beta = contiguous_or_none(in[2]), residual = contiguous_or_none(in[3]);
    const Tensor y = empty_like(x),
                 mean = Tensor::empty({x.size(1)}, compute_dtype(x.dtype()), x.device()),
                 rstd = empty_like(mean);
    Stream& s = current_stream(x.device());
    kernels::batch_statistics(s, x.view(), params, mean.view(), rstd.view(),
                              view_or_none(running_mean), view_or_none(running_variance));
    const BatchNormMap map{mean.view(), rstd.view(), view_or_none(gamma), view_or_none(beta), relu};
    kernels::batch_norm(s, x.view(), map, view_or_none(residual), y.view());
    out[0] = y;
    out[1] = mean;
    out[2] = rstd;
  }

  void jvp(Inputs in, Inputs y, Inputs din, Outputs dy) const override {
    if (din[0].defined()) {
      const Var from[] = {in[0], y[1], y[2], din[0]};
      apply_op(std::make_shared<StatisticsTangent>(), from, dy.subspan(1));
    }
    const Var at[] = {in[0], y[1], y[2], in[1], in[2]};
    const Var moves[] = {din[0], dy[1], dy[2], din[1], din[2], din[3]};
    dy[0] = tangent(relu, at, relu && adds ? y[0] : Var(), moves);
  }

  void vjp(Inputs in, Inputs y, Inputs gy, std::span<const bool> wanted,
           Outputs gx) const override {
    if (gy[0].defined()) {
      const bool of_sum = relu && adds;
      const Var g = of_sum ? relu_gradient(gy[0], y[0].value()) : gy[0];
      if (wanted[3]) gx[3] = g;
      const auto dtype_of = [](const Var& v) { return v.defined() ? v.dtype() : DType::f32; };
      const Var at[] = {in[0], stop_gradient(y[1]), stop_gradient(y[2]), in[1], in[2]};
      auto [of_x, of_gamma, of_beta] =
          gradient({wanted[0], wanted[1], wanted[2], dtype_of(in[1]), dtype_of(in[2])},
                   relu && !of_sum, true, params.epsilon, g, at);
      gx[0] = std::move(of_x);
      gx[1] = std::move(of_gamma);
      gx[2] = std::move(of_beta);
    }
    if (!wanted[0] || !(gy[1].defined() || gy[2].defined())) return;
    // gmean / n - grstd rstd^3 (x - mean) / n, which is a map of the channels again
    const double share = 1 / per_channel(in[0].shape());
    const Var slope =
        gy[2].defined() ? affine(gy[2] * power(y[2], 3.0), -share, 0.0) : zeros_like(y[2]);
    const Var shift = gy[1].defined() ? affine(gy[1], share, 0.0) : Var();
    accumulate(gx[0], apply(in[0], y[1], slope, Var(), shift, Var(), false));
  }
};

void check_operands(std::string_view operation, const Tensor& x, const Var& gamma, const Var& beta,
                    const Var& residual) {
  TS_CHECK(x.rank() >= 2, operation, ": no channels in ", x);
  for (const Var* parameter : {&gamma, &beta}) {
    if (!parameter->defined()) continue;
    check_same_device(operation, x, parameter->value());
    const DType dtype = parameter->dtype();
    TS_CHECK(parameter->shape() == Shape{x.size(1)} &&
                 (dtype == x.dtype() || dtype == compute_dtype(x.dtype())),
             operation, ": gamma or beta ", *parameter, " for ", x);
  }
  if (!residual.defined()) return;
  check_same(operation, x, residual.value());
  TS_CHECK(residual.shape() == x.shape(), operation, ": residual ", residual, " for ", x);
}

}  // namespace

Var batch_norm(const Var& x, const Var& gamma, const Var& beta, Tensor running_mean,
               Tensor running_variance, const BatchNormParams& params, const BatchNormTail& tail) {
  TS_CHECK(running_mean.defined() == running_variance.defined(),
           "batch_norm: running mean and variance come together");
  check_operands("batch_norm", x.value(), gamma, beta, tail.residual);
  const auto op = std::make_shared<BatchNorm>();
  op->params = params;
  op->relu = tail.relu;
  op->adds = tail.residual.defined();
  op->running_mean = std::move(running_mean);
  op->running_variance = std::move(running_variance);
  const Var in[] = {x, gamma, beta, tail.residual};
  Var out[3];
  apply_op(op, in, out);
  return std::move(out[0]);
}

Var batch_norm_inference(const Var& x, const Var& gamma, const Var& beta, const Tensor& mean,
                         const Tensor& variance, double epsilon, const BatchNormTail& tail) {
  check_operands("batch_norm_inference", x.value(), gamma, beta, tail.residual);
  check_floating("batch_norm_inference", x.value());
  for (const Tensor* statistic : {&mean, &variance}) {
    check_same_device("batch_norm_inference", x.value(), *statistic);
    TS_CHECK(statistic->shape() == Shape{x.size(1)}, "batch_norm_inference: statistics ",
             *statistic, " for ", x);
  }
  const DType compute = compute_dtype(x.dtype());
  const Var rstd = rsqrt(Var(convert(variance, compute)) + epsilon);
  return apply(x, convert(mean, compute), rstd, gamma, beta, tail.residual, tail.relu);
}

}  // namespace tessera::autograd
