#include "tessera/autograd/ops/normalization.hpp"

#include <array>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/runtime/stream.hpp"

// All of these normalise sets of elements of x, xhat = (x - mean) * rstd with rstd = 1 /
// sqrt(variance + epsilon), and then give y = xhat * gamma + beta. With the projection
//
//   P(u) = rstd * (u - mean(u) - xhat * mean(xhat * u))        over each set
//
// the derivative of xhat is P, which is symmetric; so dy = P(dx) * gamma + xhat * dgamma + dbeta,
// and gx = P(gy * gamma): one kernel serves both directions. rms_norm is the same without the
// means.
namespace tessera::autograd {
namespace {

Tensor contiguous_or_none(const Tensor& t) { return t.defined() ? contiguous(t) : t; }
// Which elements form a set, and the kernels that know it.
struct Sets {
  enum class Kind : uint8_t { layer, rms, group } kind;
  double epsilon;
  int64_t groups = 0;  // of a group norm

  std::string_view name() const {
    constexpr std::string_view names[] = {"layer_norm", "rms_norm", "group_norm"};
    return names[static_cast<int>(kind)];
  }
  bool per_channel() const { return kind == Kind::group; }
  int64_t channels(const Shape& x) const { return per_channel() ? x[1] : x.back(); }

  Shape statistics(const Shape& x) const {
    if (kind == Kind::group) return {x[0], groups};
    return Shape(std::span(x.begin(), static_cast<size_t>(x.rank() - 1)));
  }

  void check(std::string_view operation, const Tensor& x, const Var& gamma, const Var& beta) const {
    TS_CHECK(x.rank() >= (per_channel() ? 2 : 1), operation, ": no channels in ", x);
    for (const Var* parameter : {&gamma, &beta}) {
      if (!parameter->defined()) continue;
      check_same_device(operation, x, parameter->value());
      const bool fits =
          parameter->shape() == Shape{channels(x.shape())} &&
          (parameter->dtype() == x.dtype() || parameter->dtype() == compute_dtype(x.dtype()));
      TS_CHECK(fits, operation, ": gamma or beta ", *parameter, " for ", x);
    }
  }

  // x with the elements of a set along `axes`.
  Var arranged(const Var& x) const {
    if (kind != Kind::group) return x;
    int64_t elements = x.size(1) / groups;
    for (int i = 2; i < x.rank(); ++i) elements *= x.shape()[i];
    return reshape(x, {x.size(0), groups, elements});
  }
  Axes axes(int rank) const { return {kind == Kind::group ? 2 : rank - 1}; }
  // gamma or beta as a factor of x, and what reduces x's shape to theirs.
  Var aligned(const Var& parameter, int rank) const {
    if (!per_channel()) return parameter;
    Shape shape = Shape::filled(rank - 1, 1);
    shape[0] = parameter.numel();
    return reshape(parameter, shape);
  }
  Var to_channels(const Var& x) const {
    Axes others;
    for (int i = 0; i < x.rank(); ++i)
      if (i != (per_channel() ? 1 : x.rank() - 1)) others.push_back(i);
    return sum(x, others);
  }
};

// The derivatives' one kernel: (gy, x, gamma; mean, rstd) -> those of gx, ggamma, gbeta that are
// wanted. The statistics are what the forward pass found in x; derivatives treat them as the
// functions of x they are.
struct NormalizeGradient final : Op {
  Sets sets;
  bool wants_x, wants_gamma, wants_beta;
  DType beta_dtype;
  NormalizeGradient(const Sets& s, bool x, bool gamma, bool beta, DType dtype)
      : sets(s), wants_x(x), wants_gamma(gamma), wants_beta(beta), beta_dtype(dtype) {}
  std::string_view name() const override { return sets.name(); }
  int outputs() const override { return wants_x + wants_gamma + wants_beta; }
  uint32_t optional() const override { return 0b1100; }

  void eval(Values in, Outputs out) const override {
    const Tensor gy = contiguous(in[0]), x = contiguous(in[1]);
    const Tensor gamma = contiguous_or_none(in[2]);
    const Shape channels{sets.channels(x.shape())};
    const Tensor gx = wants_x ? empty_like(x) : Tensor();
    const Tensor ggamma =
        wants_gamma ? Tensor::empty(channels, gamma.dtype(), x.device()) : Tensor();
    const Tensor gbeta = wants_beta ? Tensor::empty(channels, beta_dtype, x.device()) : Tensor();
    Stream& s = current_stream(x.device());
    const View gx_view = view_or_none(gx), ggamma_view = view_or_none(ggamma),
               gbeta_view = view_or_none(gbeta), gamma_view = view_or_none(gamma);
    const View mean = view_or_none(in[3]), rstd = in[4].view();
    switch (sets.kind) {
      case Sets::Kind::layer:
        kernels::layer_norm_gradient(s, x.view(), gamma_view, mean, rstd, gy.view(), gx_view,
                                     ggamma_view, gbeta_view);
        break;
      case Sets::Kind::rms:
        kernels::rms_norm_gradient(s, x.view(), gamma_view, rstd, gy.view(), gx_view, ggamma_view);
        break;
      case Sets::Kind::group:
        kernels::group_norm_gradient(s, x.view(), sets.groups, gamma_view, mean, rstd, gy.view(),
                                     gx_view, ggamma_view, gbeta_view);
        break;
    }
    size_t k = 0;
    for (const Tensor* t : {&gx, &ggamma, &gbeta})
      if (t->defined()) out[k++] = *t;
  }

  void decompose(Inputs in, Outputs out) const override {
    const DType compute = compute_dtype(in[1].dtype());
    const Var gy = cast(in[0], compute), x = cast(in[1], compute);
    const Axes axes = sets.axes(x.rank());
    const bool centred = sets.kind != Sets::Kind::rms;
    Var xhat = sets.arranged(x);
    if (centred) xhat = xhat - mean(xhat, axes, true);
    const Var scale = rsqrt(mean(square(xhat), axes, true) + sets.epsilon);
    xhat = xhat * scale;
    size_t k = 0;
    if (wants_x) {
      const Var scaled = in[2].defined() ? gy * sets.aligned(cast(in[2], compute), x.rank()) : gy;
      const Var u = sets.arranged(scaled);
      Var rest = u - xhat * mean(xhat * u, axes, true);
      if (centred) rest = rest - mean(u, axes, true);
      out[k++] = cast(reshape(rest * scale, x.shape()), in[1].dtype());
    }
    if (wants_gamma)
      out[k++] = cast(sets.to_channels(gy * reshape(xhat, x.shape())), in[2].dtype());
    if (wants_beta) out[k++] = cast(sets.to_channels(gy), beta_dtype);
  }
};

// (x, gamma, beta) -> y and the statistics, which only the rules read.
struct Normalize final : Op {
  Sets sets;
  explicit Normalize(const Sets& s) : sets(s) {}
  std::string_view name() const override { return sets.name(); }
  int outputs() const override { return 3; }
  uint32_t optional() const override { return 0b110; }
  Saved saves() const override { return {0b011, 0b110}; }

  void eval(Values in, Outputs out) const override {
    const Tensor x = contiguous(in[0]);
    const Tensor gamma = contiguous_or_none(in[1]), beta = contiguous_or_none(in[2]);
    const DType compute = compute_dtype(x.dtype());
    const Tensor y = empty_like(x);
    const Tensor rstd = Tensor::empty(sets.statistics(x.shape()), compute, x.device());
    const Tensor mean = sets.kind == Sets::Kind::rms ? Tensor() : empty_like(rstd);
    Stream& s = current_stream(x.device());
    const View gamma_view = view_or_none(gamma), beta_view = view_or_none(beta);
    switch (sets.kind) {
      case Sets::Kind::layer:
        kernels::layer_norm(s, x.view(), gamma_view, beta_view, sets.epsilon, y.view(), mean.view(),
                            rstd.view());
        break;
      case Sets::Kind::rms:
        kernels::rms_norm(s, x.view(), gamma_view, sets.epsilon, y.view(), rstd.view());
        break;
      case Sets::Kind::group:
        kernels::group_norm(s, x.view(), sets.groups, gamma_view, beta_view, sets.epsilon, y.view(),
                            mean.view(), rstd.view());
        break;
    }
    out[0] = y;
    out[1] = mean;
    out[2] = rstd;
  }

  // P(dx) * gamma + (xhat * dgamma + dbeta), where the bracket is a normalisation again.
  void jvp(Inputs in, Inputs y, Inputs dx, Outputs dy) const override {
    if (dx[0].defined()) {
      const Var from[] = {dx[0], in[0], Var(), y[1], y[2]};
      apply_op(std::make_shared<NormalizeGradient>(sets, true, false, false, DType::f32), from,
               dy.first(1));
      if (in[1].defined()) dy[0] = dy[0] * sets.aligned(cast(in[1], in[0].dtype()), in[0].rank());
    }
    Var affine_part;
    if (dx[1].defined()) {
      const Var from[] = {in[0], dx[1], dx[2]};
      Var outputs[3];
      apply_op(std::make_shared<Normalize>(sets), from, outputs);
      affine_part = outputs[0];
    } else if (dx[2].defined()) {
      const Var beta = cast(dx[2], in[0].dtype());
      affine_part = broadcast_to(sets.aligned(beta, in[0].rank()), in[0].shape());
    }
    dy[0] = add_or_empty(dy[0], affine_part);
  }

  void vjp(Inputs in, Inputs y, Inputs gy, std::span<const bool> wanted,
           Outputs gx) const override {
    if (!gy[0].defined()) return;
    const DType beta_dtype = in[2].defined() ? in[2].dtype() : DType::f32;
    const auto op =
        std::make_shared<NormalizeGradient>(sets, wanted[0], wanted[1], wanted[2], beta_dtype);
    const Var from[] = {gy[0], in[0], in[1], y[1], y[2]};
    Var outputs[3];
    apply_op(op, from, Outputs(outputs, static_cast<size_t>(op->outputs())));
    for (size_t i = 0, k = 0; i < 3; ++i)
      if (wanted[i]) gx[i] = std::move(outputs[k++]);
  }
};

Var normalize(const std::shared_ptr<Normalize>& op, const Var& x, const Var& gamma,
              const Var& beta) {
  op->sets.check(op->name(), x.value(), gamma, beta);
  const Var in[] = {x, gamma, beta};
  Var out[3];
  apply_op(op, in, out);
  return std::move(out[0]);
}

}  // namespace

Var layer_norm(const Var& x, const Var& gamma, const Var& beta, double epsilon) {
  return normalize(std::make_shared<Normalize>(Sets{Sets::Kind::layer, epsilon}), x, gamma, beta);
}

Var rms_norm(const Var& x, const Var& gamma, double epsilon) {
  return normalize(std::make_shared<Normalize>(Sets{Sets::Kind::rms, epsilon}), x, gamma, Var());
}

Var group_norm(const Var& x, int64_t groups, const Var& gamma, const Var& beta, double epsilon) {
  TS_CHECK(x.rank() >= 2 && groups >= 1 && x.size(1) % groups == 0, "group_norm: ", groups,
           " groups of the channels of ", x);
  return normalize(std::make_shared<Normalize>(Sets{Sets::Kind::group, epsilon, groups}), x, gamma,
                   beta);
}

Var instance_norm(const Var& x, const Var& gamma, const Var& beta, double epsilon) {
  TS_CHECK(x.rank() >= 2, "instance_norm: no channels in ", x);
  return group_norm(x, x.size(1), gamma, beta, epsilon);
}

}  // namespace tessera::autograd
