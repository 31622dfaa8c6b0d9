#pragma once

#include <memory>
#include <vector>

#include "tessera/autograd/op.hpp"

namespace tessera::autograd {

/// One running transform. Traces of a thread form a stack; an op is handled by the highest trace
/// that one of its inputs belongs to, which calls `apply_op` on the inner values, one level down,
/// and then adds its own bookkeeping. Levels keep nested derivatives apart (no perturbation
/// confusion).
class Trace {
 public:
  Trace();           // pushes
  virtual ~Trace();  // pops; must be the top
  Trace(const Trace&) = delete;
  Trace& operator=(const Trace&) = delete;

  virtual void process(const OpRef& op, Inputs x, Outputs y) = 0;

  /// True for a Var that this trace boxed.
  bool owns(const Var& var) const { return var.box() && var.box()->trace_id == id_; }

 protected:
  Var box(Var inner, Var tangent, int slot) const;

 private:
  int level_;
  uint64_t id_;
};

/// Forward mode: a box carries the tangent.
class JvpTrace final : public Trace {
 public:
  Var push(const Var& primal, const Var& tangent) const { return box(primal, tangent, -1); }
  void process(const OpRef& op, Inputs x, Outputs y) override;
  Var primal(const Var& var) const { return owns(var) ? var.box()->inner : var; }
  Var tangent(const Var& var) const { return owns(var) ? var.box()->tangent : Var(); }
};

/// What was recorded: ops in execution order with what their rules read. Walked backwards it gives
/// cotangents, forwards it gives tangents.
///
/// An output that its op can compute again from what the tape holds anyway is not kept. The reverse
/// pass computes it where a rule first reads it, and holds it until its op is passed. Such an
/// output is never needed to compute another, so each is computed once.
class Tape {
 public:
  enum class Keep : uint8_t { least, all };  // all: nothing is computed again
  explicit Tape(Keep keep = Keep::least) : keep_(keep) {}

  /// A slot for a value that is in memory as long as the tape.
  int add_slot();
  int slots() const { return static_cast<int>(slots_.size()); }
  /// Gives the differentiable outputs their slots; the others get -1.
  void record(const OpRef& op, Inputs x, std::span<const int> x_slots, Inputs y,
              std::span<int> y_slots);

  /// Cotangents by slot in, cotangents of the inputs' slots out. Frees each node as it is passed,
  /// unless `keep`.
  void reverse(Vars& cotangents, bool keep);
  /// Tangents by slot, filled in execution order. Of a tape that keeps all.
  void forward(Vars& tangents) const;
  size_t size() const { return nodes_.size(); }

 private:
  struct Node {
    OpRef op;
    Vars values;             // inputs, then outputs; shape only where the op does not save them
    std::vector<int> slots;  // of the same, -1 for constants
    int inputs;
    std::vector<int> absent;  // places of values that are saved by being computed again
  };
  struct Slot {
    bool held = false;   // on the tape, or in memory as long as it
    bool again = false;  // not held: computed again
    size_t node = 0, output = 0;
  };
  bool computes_again(const Saved& saved, Inputs x, std::span<const int> x_slots) const;
  const Var& computed_again(const Slot& slot);

  Keep keep_;
  std::vector<Node> nodes_;
  std::vector<Slot> slots_;
};

class TapeTrace final : public Trace {
 public:
  explicit TapeTrace(Tape& tape) : tape_(tape) {}
  Var push(const Var& value) const { return box(value, Var(), tape_.add_slot()); }
  void process(const OpRef& op, Inputs x, Outputs y) override;
  Var inner(const Var& var) const { return owns(var) ? var.box()->inner : var; }
  int slot(const Var& var) const { return owns(var) ? var.box()->slot : -1; }

 private:
  Tape& tape_;
};

}  // namespace tessera::autograd
