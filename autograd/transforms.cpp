#include "tessera/autograd/transforms.hpp"

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/kernels/copy.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

MultiFn as_multi(const Fn& fn) {
  return [&fn](Inputs x) { return Vars{fn(x)}; };
}

void check_inputs(std::string_view transform, Inputs x) {
  for (size_t i = 0; i < x.size(); ++i)
    TS_CHECK(x[i].defined() && is_float(x[i].dtype()), transform, ": input ", i,
             " must be a floating tensor, is ", x[i]);
}

void check_tangents(std::string_view transform, Inputs x, Inputs dx) {
  TS_CHECK(x.size() == dx.size(), transform, ": ", x.size(), " inputs but ", dx.size(),
           " tangents");
  for (size_t i = 0; i < x.size(); ++i)
    TS_CHECK(!dx[i].defined() || (dx[i].shape() == x[i].shape() && dx[i].dtype() == x[i].dtype()),
             transform, ": tangent ", i, " is ", dx[i], " for an input ", x[i]);
}

void check_scalar(std::string_view transform, const Var& loss) {
  TS_CHECK(loss.defined() && loss.numel() == 1 && is_float(loss.dtype()), transform,
           ": the loss must have one floating element, is ", loss);
}

Var ones_like(const Var& x, double value = 1.0) {
  Tensor t = Tensor::empty(x.shape(), x.dtype(), x.device());
  kernels::fill(current_stream(t.device()), value, t.view());
  return t;
}

struct Recording {
  std::shared_ptr<Tape> tape;
  Vars outputs;  // unboxed
  std::vector<int> output_slots;
};

Recording record(const MultiFn& fn, Inputs x, Tape::Keep keep = Tape::Keep::least) {
  Recording r{std::make_shared<Tape>(keep), {}, {}};
  TapeTrace trace(*r.tape);
  Vars boxed;
  boxed.reserve(x.size());
  for (const Var& v : x) boxed.push_back(trace.push(v));
  for (Var& y : fn(boxed)) {
    r.output_slots.push_back(trace.slot(y));
    r.outputs.push_back(trace.inner(y));
  }
  return r;
}

// Inputs took slots 0 .. n-1.
Vars pull(Tape& tape, size_t inputs, Inputs x, std::span<const int> output_slots, Inputs gy,
          bool keep) {
  Vars cotangents(static_cast<size_t>(tape.slots()));
  for (size_t k = 0; k < gy.size(); ++k) {
    if (output_slots[k] < 0 || !gy[k].defined()) continue;
    Var& slot = cotangents[static_cast<size_t>(output_slots[k])];
    slot = add_or_empty(slot, gy[k]);
  }
  tape.reverse(cotangents, keep);
  cotangents.resize(inputs);
  for (size_t i = 0; i < inputs; ++i)
    if (!cotangents[i].defined()) cotangents[i] = zeros_like(x[i]);
  return cotangents;
}

}  // namespace

Var zeros_like(const Var& x) { return ones_like(x, 0.0); }

Var stop_gradient(const Var& x) { return Var(x.value()); }

ValueAndGrad value_and_grad(const Fn& loss, Inputs x, double seed) {
  check_inputs("value_and_grad", x);
  Recording r = record(as_multi(loss), x);
  check_scalar("value_and_grad", r.outputs[0]);
  const Var gy = ones_like(r.outputs[0], seed);
  Vars gradients = pull(*r.tape, x.size(), x, r.output_slots, Inputs(&gy, 1), false);
  return {std::move(r.outputs[0]), std::move(gradients)};
}

ValueAndGrad value_and_grad(const Fn& loss, Inputs x) { return value_and_grad(loss, x, 1.0); }

std::pair<Vars, Vars> jvp(const MultiFn& fn, Inputs x, Inputs dx) {
  check_inputs("jvp", x);
  check_tangents("jvp", x, dx);
  JvpTrace trace;
  Vars boxed;
  boxed.reserve(x.size());
  for (size_t i = 0; i < x.size(); ++i)
    boxed.push_back(dx[i].defined() ? trace.push(x[i], dx[i]) : x[i]);
  Vars primals, tangents;
  for (const Var& y : fn(boxed)) {
    primals.push_back(trace.primal(y));
    tangents.push_back(trace.tangent(y));
    if (!tangents.back().defined() && y.defined()) tangents.back() = zeros_like(primals.back());
  }
  return {std::move(primals), std::move(tangents)};
}

std::pair<Var, Var> jvp(const Fn& fn, Inputs x, Inputs dx) {
  auto [y, dy] = jvp(as_multi(fn), x, dx);
  return {std::move(y[0]), std::move(dy[0])};
}

std::pair<Vars, Pullback> vjp(const MultiFn& fn, Inputs x) {
  check_inputs("vjp", x);
  Recording r = record(fn, x);
  Pullback pullback;
  pullback.tape_ = std::move(r.tape);
  for (const Var& v : x) pullback.inputs_.push_back(Tensor::meta(v.shape(), v.dtype(), v.device()));
  for (const Var& v : r.outputs)
    pullback.outputs_.push_back(Tensor::meta(v.shape(), v.dtype(), v.device()));
  pullback.output_slots_ = std::move(r.output_slots);
  return {std::move(r.outputs), std::move(pullback)};
}

std::pair<Var, Pullback> vjp(const Fn& fn, Inputs x) {
  auto [y, pullback] = vjp(as_multi(fn), x);
  return {std::move(y[0]), std::move(pullback)};
}

Vars Pullback::operator()(Inputs gy, bool keep) {
  TS_CHECK(tape_,
           "vjp: this pullback was already used and freed; pass keep = true to use it again");
  check_tangents("vjp", outputs_, gy);
  Vars gradients = pull(*tape_, inputs_.size(), inputs_, output_slots_, gy, keep);
  if (!keep) tape_.reset();
  return gradients;
}

Vars hvp(const Fn& loss, Inputs x, Inputs v) {
  return jvp([&](Inputs at) { return value_and_grad(loss, at).gradients; }, x, v).second;
}

Vars hvp_reverse(const Fn& loss, Inputs x, Inputs v) {
  check_tangents("hvp_reverse", x, v);
  auto [gradients, pullback] =
      vjp(MultiFn([&](Inputs at) { return value_and_grad(loss, at).gradients; }), x);
  return pullback(v);
}

Var vhv(const Fn& loss, Inputs x, Inputs v) {
  const Fn slope = [&](Inputs at) { return jvp(loss, at, v).second; };
  Var y = jvp(slope, x, v).second;
  check_scalar("vhv", y);
  return y;
}

Vars ggnvp(const Fn& model, const std::function<Var(const Var&)>& head, Inputs x, Inputs v) {
  auto [output, pullback] = vjp(model, x);
  const Var jv = jvp(model, x, v).second;
  const Fn head_of = [&](Inputs at) { return head(at[0]); };
  const Vars mjv = hvp(head_of, Inputs(&output, 1), Inputs(&jv, 1));
  return pullback(mjv[0]);
}

Linearized linearize(const MultiFn& fn, Inputs x) {
  check_inputs("linearize", x);
  Recording r = record(fn, x, Tape::Keep::all);
  Linearized linear;
  linear.tape_ = std::move(r.tape);
  for (const Var& v : x) linear.inputs_.push_back(Tensor::meta(v.shape(), v.dtype(), v.device()));
  linear.value_ = std::move(r.outputs);
  linear.output_slots_ = std::move(r.output_slots);
  return linear;
}

Vars Linearized::operator()(Inputs dx) const {
  check_tangents("linearize", inputs_, dx);
  Vars tangents(static_cast<size_t>(tape_->slots()));
  std::copy(dx.begin(), dx.end(), tangents.begin());
  tape_->forward(tangents);
  Vars dy;
  for (size_t k = 0; k < value_.size(); ++k) {
    const int slot = output_slots_[k];
    const bool reached = slot >= 0 && tangents[static_cast<size_t>(slot)].defined();
    dy.push_back(reached ? tangents[static_cast<size_t>(slot)] : zeros_like(value_[k]));
  }
  return dy;
}

namespace {

struct Checkpoint final : Op {
  Fn fn;
  explicit Checkpoint(Fn function) : fn(std::move(function)) {}
  std::string_view name() const override { return "checkpoint"; }
  void eval(Values x, Outputs y) const override {
    Vars constants;
    for (size_t i = 0; i < x.size(); ++i) constants.emplace_back(x[i]);
    const Var result = fn(constants);
    TS_CHECK(!result.traced(),
             "checkpoint: the function captures a traced Var; pass it as an input");
    y[0] = result;
  }
  void decompose(Inputs x, Outputs y) const override { y[0] = fn(x); }
  Saved saves() const override { return Saved::only_inputs(); }
};

}  // namespace

Var checkpoint(const Fn& fn, Inputs x) {
  Var y;
  apply_op(std::make_shared<Checkpoint>(fn), x, Outputs(&y, 1));
  return y;
}

}  // namespace tessera::autograd
