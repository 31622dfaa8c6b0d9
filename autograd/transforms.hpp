#pragma once

#include <functional>
#include <utility>

#include "tessera/autograd/trace.hpp"

/// Differentiation of programs. Every transform takes a function of Vars, runs it on traced copies
/// of the inputs, and returns plain values; nothing is stored in variables. Because the results are
/// themselves computed with ops, transforms nest to any depth.
namespace tessera::autograd {

/// A scalar- or tensor-valued function of several Vars.
using Fn = std::function<Var(Inputs)>;
using MultiFn = std::function<Vars(Inputs)>;

struct ValueAndGrad {
  Var value;
  Vars gradients;  // one per input, of its shape and dtype
};

/// Value and gradient of a loss with one element. Inputs must be floating.
ValueAndGrad value_and_grad(const Fn& loss, Inputs x);
/// The same with the loss multiplied by `seed` before differentiation (loss scaling of half
/// precision): the value is unscaled, the gradients are not.
ValueAndGrad value_and_grad(const Fn& loss, Inputs x, double seed);

/// f(x) and J dx in one forward run; no tape. An empty dx[i] is zero.
std::pair<Var, Var> jvp(const Fn& fn, Inputs x, Inputs dx);
std::pair<Vars, Vars> jvp(const MultiFn& fn, Inputs x, Inputs dx);

/// J' gy for any gy, after one forward run.
class Pullback {
 public:
  /// Cotangents of the inputs, zeros where the outputs do not depend on one. An empty gy[k] is
  /// zero. The recording is freed on the way unless `keep`; a freed pullback throws.
  Vars operator()(Inputs gy, bool keep = false);
  Vars operator()(const Var& gy, bool keep = false) { return (*this)(Inputs(&gy, 1), keep); }

 private:
  friend std::pair<Vars, Pullback> vjp(const MultiFn& fn, Inputs x);
  std::shared_ptr<Tape> tape_;
  Vars inputs_;  // shapes only
  Vars outputs_;
  std::vector<int> output_slots_;
};
std::pair<Vars, Pullback> vjp(const MultiFn& fn, Inputs x);
std::pair<Var, Pullback> vjp(const Fn& fn, Inputs x);

/// Hessian-vector product of a scalar loss, forward over reverse: two activations of memory per
/// layer, no graph of the backward pass.
Vars hvp(const Fn& loss, Inputs x, Inputs v);
/// The same by reverse over reverse: four activations per layer; an independent check.
Vars hvp_reverse(const Fn& loss, Inputs x, Inputs v);
/// v' H v, forward over forward: no tape at all, memory independent of depth.
Var vhv(const Fn& loss, Inputs x, Inputs v);
/// Gauss-Newton product J' M J v: J of `model` (inputs to one output), M the Hessian of `head`
/// (output to loss) at that output.
Vars ggnvp(const Fn& model, const std::function<Var(const Var&)>& head, Inputs x, Inputs v);

/// fn at x, recorded once, to be applied to many tangents: `operator()` gives J dx without running
/// the primal again.
class Linearized {
 public:
  const Vars& value() const { return value_; }
  Vars operator()(Inputs dx) const;

 private:
  friend Linearized linearize(const MultiFn& fn, Inputs x);
  std::shared_ptr<Tape> tape_;
  Vars value_;
  Vars inputs_;
  std::vector<int> output_slots_;
};
Linearized linearize(const MultiFn& fn, Inputs x);

/// Runs fn and keeps only its inputs; the reverse pass runs it again. Everything that should be
/// differentiated must come through the inputs: a captured traced Var is an error.
Var checkpoint(const Fn& fn, Inputs x);

/// The same numbers, constant for every running transform.
Var stop_gradient(const Var& x);

/// A zero of x's shape, dtype and device.
Var zeros_like(const Var& x);

}  // namespace tessera::autograd
