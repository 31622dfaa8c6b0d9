#include "tessera/autograd/ops/attention.hpp"

#include <cmath>
#include <limits>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/ops/softmax.hpp"
#include "tessera/kernels/attention.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

using kernels::BinaryOp;

// The kernel reads any strides whose last dimension is contiguous.
Tensor rows_contiguous(const Tensor& x) {
  return x.strides().back() == 1 || x.shape().back() <= 1 ? x : contiguous(x);
}

Shape leading(const Shape& x, int dropped) {
  return Shape(std::span(x.begin(), static_cast<size_t>(x.rank() - dropped)));
}

// 0, 1, 2, ... n - 1 in f32, made on the device.
Tensor count_up(int64_t n, Device device) {
  const Tensor ones = full({n}, 1.0, DType::f32, device), sums = empty_like(ones);
  kernels::cumulative_sum(current_stream(device), ones.view(), 0, sums.view());
  return unary(kernels::UnaryOp::affine, sums, {1.0, -1.0});
}

struct Masking {
  AttentionOptions options;
  double scale;

  Shape scores(const Tensor& q, const Tensor& k) const {
    Shape shape = leading(q.shape(), 1);
    shape.push_back(k.size(-2));
    return shape;
  }
  kernels::AttentionMask views(const Shape& shape, const Tensor& bias) const {
    kernels::AttentionMask mask;
    if (bias.defined()) mask.bias = bias.broadcast_to(shape).view();
    if (options.mask.defined()) mask.mask = options.mask.broadcast_to(shape).view();
    if (options.key_lengths.defined())
      mask.key_lengths = options.key_lengths.broadcast_to(leading(shape, 2)).view();
    return mask;
  }
  kernels::AttentionParams params() const {
    return {scale, options.causal, options.dropout, options.rng};
  }

  // True where the query must not see the key; undefined when every key is seen.
  Tensor hidden(const Shape& scores, const Var& bias, Device device) const {
    Tensor result;
    const auto hide = [&](const Tensor& more) {
      result = result.defined() ? binary("attention", BinaryOp::logical_or, result, more) : more;
    };
    const int64_t queries = scores[scores.rank() - 2], keys = scores.back();
    if (options.mask.defined()) hide(unary(kernels::UnaryOp::logical_not, options.mask));
    if (bias.defined()) hide(equal(bias, -std::numeric_limits<double>::infinity()));
    if (options.causal) {
      const Tensor last = unary(kernels::UnaryOp::affine, count_up(queries, device).unsqueeze(1),
                                {1.0, static_cast<double>(keys - queries)});
      hide(binary("attention", BinaryOp::greater, count_up(keys, device), last));
    }
    if (options.key_lengths.defined()) {
      const Tensor lengths = convert(options.key_lengths, DType::f32);
      hide(binary("attention", BinaryOp::greater_equal, count_up(keys, device),
                  lengths.unsqueeze(lengths.rank()).unsqueeze(lengths.rank() + 1)));
    }
    return result;
  }
};

// What the fused kernels do, step by step, in the compute dtype.
struct Unfused {
  const Masking& masking;
  Var q, k, v, bias;
  Var probabilities;  // after softmax
  Var dropped;        // after dropout
  Tensor hidden;

  Unfused(const Masking& m, Inputs x) : masking(m) {
    const DType compute = compute_dtype(x[0].dtype());
    q = cast(x[0], compute);
    k = cast(x[1], compute);
    v = cast(x[2], compute);
    if (x[3].defined()) bias = cast(x[3], compute);
    Var scores = m.scale * matmul(q, transpose(k, -1, -2));
    hidden = m.hidden(scores.shape(), bias, q.device());
    if (bias.defined()) scores = scores + bias;
    // A finite lowest score: rows that see nothing must not become NaN before they are zeroed.
    if (hidden.defined()) scores = masked_fill(scores, hidden, -1e30);
    probabilities = softmax(scores);
    if (hidden.defined()) probabilities = masked_fill(probabilities, hidden, 0.0);
    dropped = with_dropout(probabilities);
  }

  // Row by row over keys rounded up to 4, as the kernel numbers them.
  Var with_dropout(const Var& x) const {
    if (masking.options.dropout == 0) return x;
    const int64_t keys = x.size(-1);
    Shape none = Shape::filled(x.rank(), 0), after = none;
    after[x.rank() - 1] = (keys + 3) / 4 * 4 - keys;
    return narrow(dropout(pad(x, none, after), masking.options.dropout, masking.options.rng), -1, 0,
                  keys);
  }
};

// (q, k, v, bias, gy; y, lse) -> gq, gk, gv and, if wanted, gbias.
struct AttentionGradient final : Op {
  Masking masking;
  bool wants_bias;
  AttentionGradient(const Masking& m, bool bias) : masking(m), wants_bias(bias) {}
  std::string_view name() const override { return "attention_gradient"; }
  int outputs() const override { return 3 + wants_bias; }
  uint32_t optional() const override { return 0b1000; }
  void eval(Values x, Outputs g) const override {
    const Tensor q = rows_contiguous(x[0]), k = rows_contiguous(x[1]), v = rows_contiguous(x[2]);
    const Tensor gq = empty_like(q), gk = empty_like(k), gv = empty_like(v);
    const Shape scores = masking.scores(q, k);
    Tensor gbias;
    View gbias_view;
    if (wants_bias) {
      gbias = full(x[3].shape(), 0.0, compute_dtype(q.dtype()), q.device());
      gbias_view = gbias.broadcast_to(scores).view();
    }
    kernels::attention_gradient(current_stream(q.device()), q.view(), k.view(), v.view(),
                                masking.views(scores, x[3]), masking.params(), x[5].view(),
                                x[6].view(), rows_contiguous(x[4]).view(), gq.view(), gk.view(),
                                gv.view(), gbias_view);
    g[0] = gq;
    g[1] = gk;
    g[2] = gv;
    if (wants_bias) g[3] = convert(gbias, x[3].dtype());
  }
  void decompose(Inputs x, Outputs g) const override {
    const Unfused forward(masking, x.first(4));
    const Var &p = forward.probabilities, gy = cast(x[4], p.dtype());
    const Var gp = forward.with_dropout(matmul(gy, transpose(forward.v, -1, -2)));
    const Var gscores = p * (gp - sum(gp * p, {-1}, true));
    g[0] = cast(masking.scale * matmul(gscores, forward.k), x[0].dtype());
    g[1] = cast(masking.scale * matmul(transpose(gscores, -1, -2), forward.q), x[1].dtype());
    g[2] = cast(matmul(transpose(forward.dropped, -1, -2), gy), x[2].dtype());
    if (wants_bias) g[3] = cast(sum_to(gscores, x[3].shape()), x[3].dtype());
  }
};

// (q, k, v, bias) -> y and the log-sum-exp of every query.
struct Attention final : Op {
  Masking masking;
  explicit Attention(const Masking& m) : masking(m) {}
  std::string_view name() const override { return "attention"; }
  int outputs() const override { return 2; }
  uint32_t optional() const override { return 0b1000; }
  void eval(Values x, Outputs out) const override {
    const Tensor q = rows_contiguous(x[0]), k = rows_contiguous(x[1]), v = rows_contiguous(x[2]);
    Shape shape = leading(q.shape(), 1);
    const Tensor lse = Tensor::empty(shape, compute_dtype(q.dtype()), q.device());
    shape.push_back(v.size(-1));
    const Tensor y = Tensor::empty(shape, q.dtype(), q.device());
    kernels::attention(current_stream(q.device()), q.view(), k.view(), v.view(),
                       masking.views(masking.scores(q, k), x[3]), masking.params(), y.view(),
                       lse.view());
    out[0] = y;
    out[1] = lse;
  }
  void vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    if (!gy[0].defined()) return;
    const auto op = std::make_shared<AttentionGradient>(masking, wanted[3]);
    const Var from[] = {x[0], x[1], x[2], x[3], gy[0], y[0], y[1]};
    Var g[4];
    apply_op(op, from, Outputs(g, static_cast<size_t>(op->outputs())));
    for (size_t i = 0; i < 4; ++i)
      if (wanted[i]) gx[i] = std::move(g[i]);
  }
  void decompose(Inputs x, Outputs y) const override {
    const Unfused forward(masking, x);
    y[0] = cast(matmul(forward.dropped, forward.v), x[0].dtype());
  }
  Saved saves() const override { return {0b1111, 0b11}; }
};

}  // namespace

Var scaled_dot_product_attention(const Var& q, const Var& k, const Var& v, const Var& bias,
                                 const AttentionOptions& options) {
  constexpr std::string_view name = "attention";
  for (const Var* x : {&k, &v}) check_same(name, q.value(), x->value());
  const int rank = q.rank();
  TS_CHECK(rank >= 2 && k.rank() == rank && v.rank() == rank && k.size(-1) == q.size(-1) &&
               k.size(-2) == v.size(-2) && leading(q.shape(), 2) == leading(k.shape(), 2) &&
               leading(q.shape(), 2) == leading(v.shape(), 2),
           name, ": q ", q, ", k ", k, ", v ", v);
  TS_CHECK(options.dropout >= 0 && options.dropout < 1, name, ": dropout ", options.dropout,
           " is not in [0, 1)");
  if (bias.defined()) check_same(name, q.value(), bias.value());
  TS_CHECK(!options.mask.defined() || options.mask.dtype() == DType::bool_, name,
           ": the mask must be bool, is ", options.mask);
  const double scale = options.scale.value_or(1.0 / std::sqrt(static_cast<double>(q.size(-1))));
  const Var x[] = {q, k, v, bias};
  Var y[2];
  apply_op(std::make_shared<Attention>(Masking{options, scale}), x, y);
  return std::move(y[0]);
}

}  // namespace tessera::autograd
