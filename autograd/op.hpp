#pragma once

#include <algorithm>
#include <memory>
#include <string_view>

#include "tessera/autograd/var.hpp"

namespace tessera::autograd {

/// Which of an op's inputs and outputs its rules read: bit i for number i. What is not named is
/// kept on tapes as shape and dtype only.
struct Saved {
  uint32_t inputs = ~0u;
  uint32_t outputs = ~0u;
  /// Outputs that `Op::again` computes at little cost from the above and from these further inputs.
  /// A tape that holds all of them anyway does not keep such an output, whoever reads it.
  uint32_t again = 0;
  uint32_t again_reads = 0;
  static constexpr Saved nothing() { return {0, 0}; }
  static constexpr Saved only_inputs() { return {~0u, 0}; }
  static constexpr Saved only_outputs() { return {0, ~0u}; }
};

/// The numbers of an op's inputs, which no running transform follows any more.
class Values {
 public:
  explicit Values(Inputs inputs) : inputs_(inputs) {}
  const Tensor& operator[](size_t i) const { return inputs_[i].value(); }
  size_t size() const { return inputs_.size(); }

 private:
  Inputs inputs_;
};

/// A differentiable operation: how to compute it, and its two rules written in other ops, so that
/// the rules can be differentiated again. Ops are immutable. Their inputs are floating; parameters,
/// and operands with nothing to differentiate (indices, labels, masks, graphs), are members.
class Op : public std::enable_shared_from_this<Op> {
 public:
  virtual ~Op();
  virtual std::string_view name() const = 0;
  virtual int outputs() const { return 1; }

  /// Which inputs may be empty Vars, meaning absent: bit i for number i.
  virtual uint32_t optional() const { return 0; }

  /// Computes the outputs from plain tensors by calling kernels.
  virtual void eval(Values x, Outputs y) const = 0;

  /// Forward rule: dy = J dx. An empty dx[i] is a zero; an output left empty is one too. At least
  /// one dx is not empty. The default differentiates `decompose`.
  virtual void jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const;

  /// The outputs and their tangents at once: forward mode calls this. By default it applies the op
  /// and then its `jvp`; an op overrides it whose value and tangent share work.
  virtual void value_and_jvp(Inputs x, Inputs dx, Outputs y, Outputs dy) const;

  /// Reverse rule: gx[i] = J_i' gy for every i with wanted[i]; others may be left empty. An empty
  /// gy[k] is a zero; at least one is not empty. The default differentiates `decompose`.
  virtual void vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool> wanted, Outputs gx) const;

  virtual Saved saves() const { return {}; }

  /// Output k once more, to the same bits; for the k that `saves` names.
  virtual Var again(Inputs x, Inputs y, size_t k) const;

  /// The same function written in other ops; what fused ops give instead of rules of every order.
  /// Outputs that no gradient comes for may be left empty.
  virtual void decompose(Inputs x, Outputs y) const;
};

using OpRef = std::shared_ptr<const Op>;

/// One input, one output, y_i = f(x_i). Needs only the derivative.
class ElementwiseUnary : public Op {
 public:
  virtual Tensor eval(const Tensor& x) const = 0;
  /// f'(x) elementwise, from x or y or both, as `saves` says.
  virtual Var derivative(const Var& x, const Var& y) const = 0;
  /// f'(x) * g; override where one kernel does it.
  virtual Var scaled_derivative(const Var& x, const Var& y, const Var& g) const;

  void eval(Values x, Outputs y) const final { y[0] = eval(x[0]); }
  void jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const final;
  void vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool> wanted, Outputs gx) const final;
};

/// One input, one output, linear in its input: the forward rule is the op itself.
class LinearOp : public Op {
 public:
  virtual Tensor eval(const Tensor& x) const = 0;
  /// J' gy. `x` has shape, dtype and device of the input but no memory.
  virtual Var transpose(const Var& gy, const Var& x) const = 0;

  void eval(Values x, Outputs y) const final { y[0] = eval(x[0]); }
  void jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const final;
  void vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool> wanted, Outputs gx) const final;
  Saved saves() const final { return Saved::nothing(); }
};

/// A plain tensor and a tangent of it.
struct Dual {
  Tensor value, tangent;
};

/// Two inputs, one output, linear in each.
class BilinearOp : public Op {
 public:
  virtual Tensor eval(const Tensor& a, const Tensor& b) const = 0;
  /// a b and da b + a db. Override where a kernel computes both in fewer passes than three products
  /// and a sum, which is the default.
  virtual Dual eval(const Dual& a, const Dual& b) const;
  /// Gradient with respect to a, given b; and with respect to b, given a. The other argument has
  /// shape, dtype and device only.
  virtual Var transpose_left(const Var& gy, const Var& a, const Var& b) const = 0;
  virtual Var transpose_right(const Var& gy, const Var& a, const Var& b) const = 0;

  void eval(Values x, Outputs y) const final { y[0] = eval(x[0], x[1]); }
  void jvp(Inputs x, Inputs y, Inputs dx, Outputs dy) const final;
  void value_and_jvp(Inputs x, Inputs dx, Outputs y, Outputs dy) const final;
  void vjp(Inputs x, Inputs y, Inputs gy, std::span<const bool> wanted, Outputs gx) const final;
  Saved saves() const final { return Saved::only_inputs(); }
};

/// Ops may give integers beside what is differentiable, and leave an output empty.
inline bool differentiable(const Var& y) { return y.defined() && is_float(y.dtype()); }
inline bool any_differentiable(Inputs y) { return std::any_of(y.begin(), y.end(), differentiable); }

/// Runs `op` on maybe-traced inputs: the innermost transform that follows one of them handles it;
/// when none does, the kernels run.
void apply_op(const OpRef& op, Inputs x, Outputs y);

inline Var apply_op(const OpRef& op, const Var& x) {
  Var y;
  apply_op(op, Inputs(&x, 1), Outputs(&y, 1));
  return y;
}
template <class... More>
Var apply_op(const OpRef& op, const Var& first, const Var& second, const More&... more) {
  const Var x[] = {first, second, more...};
  Var y;
  apply_op(op, x, Outputs(&y, 1));
  return y;
}
/// An op without parameters: one shared instance.
template <class O, class... X>
requires(!std::is_convertible_v<O, OpRef>) Var apply_op(const X&... x) {
  static const OpRef op = std::make_shared<O>();
  return apply_op(op, x...);
}

/// a + b where either may be empty (zero).
Var add_or_empty(const Var& a, const Var& b);

/// sum = add_or_empty(sum, term), in place where `sum` is a plain tensor that nobody else holds.
void accumulate(Var& sum, Var term);

}  // namespace tessera::autograd
