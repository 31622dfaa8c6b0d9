#include "tessera/autograd/ops/loss.hpp"

#include <limits>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/ops/softmax.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

using kernels::BinaryOp;
using kernels::ReduceOp;

// ---- plain arithmetic on constants
// ---------------------------------------------------------------

Tensor times(const Tensor& a, const Tensor& b) { return binary("loss", BinaryOp::multiply, a, b); }
Tensor scaled(const Tensor& x, double a, double b = 0) {
  return unary(kernels::UnaryOp::affine, x, {a, b});
}
Tensor scalar(const Tensor& like, double value) {
  return full({}, value, like.dtype(), like.device());
}
Tensor column(const Tensor& x) { return x.unsqueeze(x.rank()); }

// How often each of `count` rows counts: 0 or 1 for a bool selection, else occurrences in the list.
Tensor row_counts(const Tensor& rows, int64_t count, DType dtype) {
  if (rows.dtype() == DType::bool_) return convert(rows, dtype);
  return scatter_add_rows(full(rows.shape(), 1.0, dtype, rows.device()), rows, count).value();
}

// ---- fused losses of logits
// ----------------------------------------------------------------------

// What both fused losses share: logits [n] or [n, classes], a constant target, a selection of rows
// and a reduction; and the loss as sum(weights * f(logits)) / total, by which it decomposes.
struct LogitLoss {
  Tensor target, weights, rows;
  LossReduction reduction;

  kernels::LossSelection selection() const { return {view_or_none(weights), view_or_none(rows)}; }
  bool lists_rows() const { return rows.defined() && rows.dtype() != DType::bool_; }

  Tensor empty_loss(const Tensor& logits, bool per_row) const {
    Shape shape;
    if (reduction == LossReduction::none) {
      shape = logits.shape();
      if (per_row) shape = {logits.size(0)};
      if (lists_rows()) shape[0] = rows.numel();
    }
    return Tensor::empty(shape, logits.dtype(), logits.device());
  }

  // Sums up element or row losses from which rows that do not count are not yet removed. `total` is
  // what the mean divides by.
  Var reduced(const Var& losses, const Tensor& total) const {
    if (reduction == LossReduction::none && lists_rows()) return gather_rows(losses, rows);
    Var counted = losses;
    if (rows.defined()) {
      Tensor counts = row_counts(rows, losses.size(0), losses.dtype());
      while (counts.rank() < losses.rank()) counts = column(counts);
      counted = counted * Var(counts);
    }
    if (reduction == LossReduction::none) return counted;
    return reduction == LossReduction::sum ? sum(counted) : sum(counted) / Var(total);
  }

  void check(std::string_view name, const Tensor& logits) const {
    TS_CHECK(logits.rank() == 1 || logits.rank() == 2, name, ": logits must be [n, classes], are ",
             logits);
    check_same_device(name, logits, target);
    if (weights.defined()) {
      check_same_device(name, logits, weights);
      TS_CHECK(logits.rank() == 2 && weights.shape() == Shape{logits.size(1)}, name, ": weights ",
               weights, " for logits ", logits);
    }
    if (!rows.defined()) return;
    check_same_device(name, logits, rows);
    const bool mask = rows.dtype() == DType::bool_;
    TS_CHECK(rows.rank() == 1 && (mask || rows.dtype() == DType::i32 || rows.dtype() == DType::i64),
             name, ": rows must be a mask or a list of numbers, are ", rows);
    TS_CHECK(!mask || rows.size(0) == logits.size(0), name, ": rows ", rows, " for logits ",
             logits);
  }
};

// The gradient of a loss's decomposition, in ops.
Var decomposed_gradient(const Op& loss, const Var& logits, const Var& gloss) {
  const Fn fn = [&](Inputs x) {
    Vars y(static_cast<size_t>(loss.outputs()));
    loss.decompose(x, y);
    return y[0];
  };
  return vjp(fn, Inputs(&logits, 1)).second(gloss)[0];
}

struct CrossEntropy final : Op, LogitLoss {
  double smoothing;
  int64_t ignore_index;
  std::string_view name() const override { return "cross_entropy"; }
  int outputs() const override { return 2; }
  Saved saves() const override { return {0b1, 0b10}; }
  kernels::CrossEntropyParams params() const { return {smoothing, ignore_index, reduction}; }

  // Beside the loss, the log-sum-exp of every row, which the gradient reads.
  void eval(Values x, Outputs y) const override {
    const Tensor logits = contiguous(x[0]);
    const Tensor loss = empty_loss(logits, true);
    const Tensor lse =
        Tensor::empty({logits.size(0)}, compute_dtype(logits.dtype()), logits.device());
    kernels::cross_entropy(current_stream(logits.device()), logits.view(), target.view(),
                           selection(), params(), loss.view(), lse.view());
    y[0] = loss;
    y[1] = lse;
  }
  void jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const override;
  void vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool>, Outputs gx) const override;
  Var gradient(const Var& logits, const Var& gloss, const Var& lse) const;

  // A row costs -sum(t * log_softmax(logits)) with the constant t that labels, smoothing and class
  // weights make; a mean divides by the weight of what counts.
  void decompose(Inputs x, Outputs y) const override {
    const DType compute = compute_dtype(x[0].dtype());
    const Var logits = cast(x[0], compute);
    const int64_t n = logits.size(0), classes = logits.size(1);
    const bool labelled = !is_float(target.dtype());
    Tensor t, weight;  // weight: [n], what each row adds to the denominator of the mean
    if (labelled) {
      const Tensor counts =
          binary(name(), BinaryOp::not_equal, target,
                 full({}, static_cast<double>(ignore_index), target.dtype(), target.device()));
      const Tensor safe = select(name(), counts, target, scalar(target, 0));
      const Tensor valid = convert(counts, compute);
      t = one_hot(safe, classes, compute);
      weight = valid;
      if (weights.defined()) {
        const Tensor of_label =
            reduce(ReduceOp::sum, times(t, convert(weights, compute)), {1}, false);
        weight = times(valid, of_label);
      }
      t = times(scaled(t, 1 - smoothing, smoothing / static_cast<double>(classes)), column(valid));
    } else {
      t = scaled(convert(target, compute), 1 - smoothing, smoothing / static_cast<double>(classes));
      weight = full({n}, 1.0, compute, t.device());
    }
    if (weights.defined()) t = times(t, convert(weights, compute));
    if (rows.defined()) weight = times(weight, row_counts(rows, n, compute));
    const Var costs = -sum(Var(t) * log_softmax(logits), {1});
    y[0] = cast(reduced(costs, reduce(ReduceOp::sum, weight, {0}, false)), x[0].dtype());
  }
};

// (logits, gloss; lse) -> glogits, linear in gloss.
struct CrossEntropyGradient final : Op {
  std::shared_ptr<const CrossEntropy> loss;
  explicit CrossEntropyGradient(std::shared_ptr<const CrossEntropy> l) : loss(std::move(l)) {}
  std::string_view name() const override { return "cross_entropy_gradient"; }
  void eval(Values x, Outputs y) const override {
    const Tensor logits = contiguous(x[0]), g = empty_like(logits);
    kernels::cross_entropy_gradient(current_stream(g.device()), logits.view(), loss->target.view(),
                                    loss->selection(), loss->params(), x[2].view(),
                                    contiguous(x[1]).view(), g.view());
    y[0] = g;
  }
  void decompose(Inputs x, Outputs y) const override {
    y[0] = decomposed_gradient(*loss, x[0], x[1]);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

void CrossEntropy::jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const {
  if (reduction == LossReduction::none) return Op::jvp(x, y, dx, dy);
  const Var one = full({}, 1.0, x[0].dtype(), x[0].device());
  dy[0] = inner_product(gradient(x[0], one, y[1]), dx[0]);
}

void CrossEntropy::vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool>, Outputs gx) const {
  if (gy[0].defined()) gx[0] = gradient(x[0], gy[0], y[1]);
}

Var CrossEntropy::gradient(const Var& logits, const Var& gloss, const Var& lse) const {
  const auto self = std::static_pointer_cast<const CrossEntropy>(shared_from_this());
  return apply_op(std::make_shared<CrossEntropyGradient>(self), logits, gloss, lse);
}

// -(w t log(sigmoid(x)) + (1 - t) log(1 - sigmoid(x))) = w t softplus(-x) + (1 - t) softplus(x)
struct BinaryCrossEntropy final : Op, LogitLoss {
  std::string_view name() const override { return "binary_cross_entropy"; }
  Saved saves() const override { return Saved::only_inputs(); }
  void eval(Values x, Outputs y) const override {
    const Tensor logits = contiguous(x[0]), loss = empty_loss(logits, false);
    kernels::binary_cross_entropy(current_stream(logits.device()), logits.view(), target.view(),
                                  selection(), reduction, loss.view());
    y[0] = loss;
  }
  void vjp(Inputs x, Inputs, Inputs gy, std::span<const bool>, Outputs gx) const override;

  void decompose(Inputs x, Outputs y) const override {
    const DType compute = compute_dtype(x[0].dtype());
    const Var logits = cast(x[0], compute);
    const Tensor t = convert(target, compute);
    const Tensor positive = weights.defined() ? times(t, convert(weights, compute)) : t;
    const Var costs = Var(positive) * softplus(-logits) + Var(scaled(t, -1, 1)) * softplus(logits);
    Tensor total = full({}, static_cast<double>(logits.numel()), compute, t.device());
    if (rows.defined()) {
      const int64_t n = logits.size(0);
      const auto columns = n > 0 ? static_cast<double>(logits.numel() / n) : 0.0;
      total = scaled(reduce(ReduceOp::sum, row_counts(rows, n, compute), {0}, false), columns);
    }
    y[0] = cast(reduced(costs, total), x[0].dtype());
  }
};

// (logits, gloss) -> glogits
struct BinaryCrossEntropyGradient final : Op {
  std::shared_ptr<const BinaryCrossEntropy> loss;
  explicit BinaryCrossEntropyGradient(std::shared_ptr<const BinaryCrossEntropy> l)
      : loss(std::move(l)) {}
  std::string_view name() const override { return "binary_cross_entropy_gradient"; }
  void eval(Values x, Outputs y) const override {
    const Tensor logits = contiguous(x[0]), g = empty_like(logits);
    kernels::binary_cross_entropy_gradient(current_stream(g.device()), logits.view(),
                                           loss->target.view(), loss->selection(), loss->reduction,
                                           contiguous(x[1]).view(), g.view());
    y[0] = g;
  }
  void decompose(Inputs x, Outputs y) const override {
    y[0] = decomposed_gradient(*loss, x[0], x[1]);
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

void BinaryCrossEntropy::vjp(Inputs x, Inputs, Inputs gy, std::span<const bool>, Outputs gx) const {
  const auto self = std::static_pointer_cast<const BinaryCrossEntropy>(shared_from_this());
  gx[0] = apply_op(std::make_shared<BinaryCrossEntropyGradient>(self), x[0], gy[0]);
}

Var reduce_losses(const Var& losses, LossReduction reduction) {
  switch (reduction) {
    case LossReduction::none:
      return losses;
    case LossReduction::sum:
      return sum(losses);
    case LossReduction::mean:
      return mean(losses);
  }
  return losses;
}

Var difference(std::string_view name, const Var& x, const Var& target) {
  TS_CHECK(x.shape() == target.shape(), name, ": ", x, " against a target ", target);
  check_floating(name, x.value());
  check_same(name, x.value(), target.value());
  return x - target;
}

}  // namespace

Var cross_entropy(const Var& logits, const Tensor& target, const CrossEntropyOptions& options) {
  const auto op = std::make_shared<CrossEntropy>();
  op->target = contiguous(target);
  op->weights = options.class_weights.defined() ? contiguous(options.class_weights) : Tensor();
  op->rows = options.rows.defined() ? contiguous(options.rows) : Tensor();
  op->reduction = options.reduction;
  op->smoothing = options.label_smoothing;
  op->ignore_index = options.ignore_index;
  check_rank("cross_entropy", "logits", logits.value(), 2);
  op->check("cross_entropy", logits.value());
  const bool labels = (target.dtype() == DType::i32 || target.dtype() == DType::i64) &&
                      target.shape() == Shape{logits.size(0)};
  TS_CHECK(labels || (target.dtype() == logits.dtype() && target.shape() == logits.shape()),
           "cross_entropy: target ", target, " for logits ", logits,
           "; expected labels [n] or probabilities of the logits' shape and dtype");
  TS_CHECK(op->smoothing >= 0 && op->smoothing <= 1, "cross_entropy: label smoothing ",
           op->smoothing);
  Var out[2];
  apply_op(op, Inputs(&logits, 1), out);
  return std::move(out[0]);
}

Var binary_cross_entropy_with_logits(const Var& logits, const Tensor& target,
                                     const BinaryCrossEntropyOptions& options) {
  const auto op = std::make_shared<BinaryCrossEntropy>();
  op->target = contiguous(target);
  op->weights =
      options.positive_weights.defined() ? contiguous(options.positive_weights) : Tensor();
  op->rows = options.rows.defined() ? contiguous(options.rows) : Tensor();
  op->reduction = options.reduction;
  op->check("binary_cross_entropy", logits.value());
  TS_CHECK(target.shape() == logits.shape() && target.dtype() == logits.dtype(),
           "binary_cross_entropy: target ", target, " for logits ", logits);
  return apply_op(op, logits);
}

Var nll_loss(const Var& log_probabilities, const Tensor& target, LossReduction reduction) {
  check_rank("nll_loss", "log probabilities", log_probabilities.value(), 2);
  TS_CHECK(target.shape() == Shape{log_probabilities.size(0)}, "nll_loss: target ", target, " for ",
           log_probabilities);
  return reduce_losses(-squeeze(take_along(log_probabilities, column(target), 1), 1), reduction);
}

Var mse_loss(const Var& x, const Var& target, LossReduction reduction) {
  return reduce_losses(square(difference("mse_loss", x, target)), reduction);
}

Var l1_loss(const Var& x, const Var& target, LossReduction reduction) {
  return reduce_losses(abs(difference("l1_loss", x, target)), reduction);
}

Var huber_loss(const Var& x, const Var& target, double delta, LossReduction reduction) {
  TS_CHECK(delta > 0, "huber_loss: delta ", delta, " must be positive");
  const Var d = difference("huber_loss", x, target);
  const Var bounded = clamp(d, -delta, delta);
  return reduce_losses(bounded * (d - 0.5 * bounded), reduction);
}

Var kl_divergence(const Var& log_p, const Var& log_q, LossReduction reduction) {
  check_floating("kl_divergence", log_p.value());
  TS_CHECK(log_p.rank() >= 1, "kl_divergence: scalars");
  // Where p = 0 the term is 0, whatever its logarithm.
  const Tensor nothing = equal(log_p, -std::numeric_limits<double>::infinity());
  const Var safe = masked_fill(log_p, nothing, 0.0);
  const Var terms = exp(safe) * difference("kl_divergence", safe, log_q);
  return reduce_losses(sum(masked_fill(terms, nothing, 0.0), {-1}), reduction);
}

}  // namespace tessera::autograd
