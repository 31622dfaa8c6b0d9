#include "tessera/autograd/ops/edge_attention.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

/// A pattern and what is done on it.
struct Attending {
  SparseMatrix a;
  EdgeAttentionOptions options;

  kernels::EdgeAttentionParams params() const {
    return {options.slope, options.dropout, options.sequences, options.rng};
  }
  Var dropped(const Var& weights) const {
    if (options.dropout == 0) return weights;
    const int64_t sequences = options.sequences;
    const Var by_sequence = reshape(weights, {a.entries(), sequences, weights.size(1) / sequences});
    return reshape(dropout(by_sequence, options.dropout, options.rng, sequences), weights.shape());
  }
};

/// What the fused kernels do, step by step, in the compute dtype.
struct Unfused {
  Var x, scores, weights;  // scores before leaky_relu, weights before dropout

  Unfused(const Attending& by, Inputs in) {
    const DType compute = compute_dtype(in[2].dtype());
    x = cast(in[2], compute);
    scores = edge_add(by.a, cast(in[0], compute), cast(in[1], compute));
    weights = edge_softmax(by.a, leaky_relu(scores, by.options.slope));
  }
};

/// (target, source, x, gy; y, lse) -> gtarget, gsource, gx.
struct EdgeAttentionGradient final : Op {
  Attending by;
  explicit EdgeAttentionGradient(const Attending& attending) : by(attending) {}
  std::string_view name() const override { return "edge_attention_gradient"; }
  int outputs() const override { return 3; }
  void eval(Values in, Outputs g) const override {
    const Tensor target = contiguous(in[0]), source = contiguous(in[1]), x = contiguous(in[2]);
    const Tensor gtarget = empty_like(target), gsource = empty_like(source), gx = empty_like(x);
    const SparseMatrix transposed = by.a.transposed();
    kernels::edge_attention_gradient(
        current_stream(x.device()), view_of(by.a.matrix()), view_of(transposed.matrix()),
        by.a.permutation().view(), target.view(), source.view(), x.view(), contiguous(in[4]).view(),
        contiguous(in[5]).view(), contiguous(in[3]).view(), gtarget.view(), gsource.view(),
        gx.view(), by.params());
    g[0] = gtarget;
    g[1] = gsource;
    g[2] = gx;
  }
  void decompose(Inputs in, Outputs g) const override {
    const Unfused forward(by, in.first(3));
    const SparseMatrix transposed = by.a.transposed();
    const Var gy = cast(in[3], forward.x.dtype()), &w = forward.weights;
    const auto row_sums = [](const Var& entries, const SparseMatrix& of) {
      return segment_sum(entries, of.matrix().row_ptr);
    };
    const Var gw = by.dropped(sddmm(by.a, gy, forward.x));
    const Var mean = segment_expand(row_sums(w * gw, by.a), by.a.matrix().row_ptr, by.a.entries());
    const Var gscores = w * (gw - mean);
    const Var passed = where(greater(forward.scores, 0.0), gscores, by.options.slope * gscores);
    g[0] = cast(row_sums(passed, by.a), in[0].dtype());
    g[1] = cast(row_sums(gather_rows(passed, by.a.permutation()), transposed), in[1].dtype());
    g[2] =
        cast(spmm(transposed, gather_rows(by.dropped(w), by.a.permutation()), gy), in[2].dtype());
  }
};

/// (target, source, x) -> y and the log-sum-exp of every row and head.
struct EdgeAttention final : Op {
  Attending by;
  explicit EdgeAttention(const Attending& attending) : by(attending) {}
  std::string_view name() const override { return "edge_attention"; }
  int outputs() const override { return 2; }
  void eval(Values in, Outputs out) const override {
    const Tensor x = contiguous(in[2]);
    const int64_t rows = by.a.rows(), heads = x.shape()[1];
    const Tensor y = Tensor::empty({rows, heads, x.shape()[2]}, x.dtype(), x.device()),
                 lse = Tensor::empty({rows, heads}, compute_dtype(x.dtype()), x.device());
    kernels::edge_attention(current_stream(x.device()), view_of(by.a.matrix()),
                            contiguous(in[0]).view(), contiguous(in[1]).view(), x.view(), y.view(),
                            lse.view(), by.params());
    out[0] = y;
    out[1] = lse;
  }
  void vjp(Inputs in, Inputs y, Inputs gy, std::span<const bool> wanted,
           Outputs gx) const override {
    if (!gy[0].defined()) return;
    const Var from[] = {in[0], in[1], in[2], gy[0], y[0], y[1]};
    Var g[3];
    apply_op(std::make_shared<EdgeAttentionGradient>(by), from, g);
    for (size_t i = 0; i < 3; ++i)
      if (wanted[i]) gx[i] = std::move(g[i]);
  }
  void decompose(Inputs in, Outputs y) const override {
    const Unfused forward(by, in);
    y[0] = cast(spmm(by.a, by.dropped(forward.weights), forward.x), in[2].dtype());
  }
  Saved saves() const override { return {0b111, 0b11}; }
};

}  // namespace

Var edge_attention(const SparseMatrix& pattern, const Var& target, const Var& source, const Var& x,
                   const EdgeAttentionOptions& options) {
  constexpr std::string_view name = "edge_attention";
  check_same(name, x.value(), target.value());
  check_same(name, x.value(), source.value());
  TS_CHECK(x.rank() == 3 && x.size(0) == pattern.columns() && x.size(2) > 0 &&
               target.shape() == (Shape{pattern.rows(), x.size(1)}) &&
               source.shape() == (Shape{pattern.columns(), x.size(1)}),
           name, ": target ", target, ", source ", source, ", x ", x, " on a pattern of ",
           pattern.rows(), " x ", pattern.columns());
  const Var in[] = {target, source, x};
  Var y[2];
  apply_op(std::make_shared<EdgeAttention>(Attending{pattern, options}), in, y);
  return std::move(y[0]);
}

}  // namespace tessera::autograd
