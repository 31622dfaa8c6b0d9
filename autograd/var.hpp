#pragma once

#include <memory>
#include <span>
#include <vector>

#include "tessera/runtime/tensor.hpp"

namespace tessera::autograd {

struct Box;

/// A maybe-traced tensor: a constant, or a value that one of the running transforms follows. Vars
/// are immutable values; copying one copies handles. An empty Var stands for a zero in
/// differentiation rules.
class Var {
 public:
  Var() = default;
  Var(Tensor value) : value_(std::move(value)) {}  // NOLINT: a tensor is a constant Var
  Var(Tensor value, std::shared_ptr<const Box> box)
      : value_(std::move(value)), box_(std::move(box)) {}

  bool defined() const { return value_.defined(); }
  bool traced() const { return box_ != nullptr; }
  /// The numbers, whoever traces them. Reading them drops what is traced: use `stop_gradient` to
  /// mean it.
  const Tensor& value() const { return value_; }
  const Shape& shape() const { return value_.shape(); }
  int64_t size(int axis) const { return value_.size(axis); }
  int rank() const { return value_.rank(); }
  int64_t numel() const { return value_.numel(); }
  DType dtype() const { return value_.dtype(); }
  Device device() const { return value_.device(); }
  double item() const { return value_.item(); }
  const Box* box() const { return box_.get(); }

 private:
  Tensor value_;
  std::shared_ptr<const Box> box_;
};

using Vars = std::vector<Var>;
using Inputs = std::span<const Var>;
using Outputs = std::span<Var>;

/// What a transform wraps around a Var: which trace, the Var one level down, and the trace's own
/// mark.
struct Box {
  int level;
  uint64_t trace_id;
  Var inner;
  Var tangent;    // forward mode
  int slot = -1;  // tape: index of this value's cotangent
};

/// "traced f32 [2, 3] on cpu"
std::string to_string(const Var& var);

}  // namespace tessera::autograd
