#pragma once

#include "tessera/autograd/transforms.hpp"

/// Derivatives in half precision. f16 has no range to spare: cotangents of a mean loss vanish below
/// 6e-8, and raw tangents of a wide network pass 65504. Gradients are linear in the seed of the
/// reverse pass, H v in seed and tangent, v'Hv in the seed and twice in the tangent; so each is
/// computed at a scale that keeps the numbers in range, and the scale is divided out of the result
/// in f32 (f64 for f64).
namespace tessera::autograd {

/// Powers of two keep the scaled arithmetic free of rounding.
struct HvpOptions {
  double seed_scale = 1;     // the loss is multiplied by this
  double tangent_scale = 1;  // and v by this
  double backoff = 0.5;      // both are, when a result is not finite, before the next attempt
  int attempts = 24;         // 1: no second one
};

/// What it took.
struct ScalingReport {
  double seed_scale = 1, tangent_scale = 1;  // of the last attempt
  int attempts = 0;
  bool finite = false;  // false: no attempt gave finite results, the last one's are returned
};

struct ScaledGradient {
  Var value;       // of the loss itself
  Vars gradients;  // unscaled, in the compute dtype
  ScalingReport report;
};
ScaledGradient scaled_value_and_grad(const Fn& loss, Inputs x, const HvpOptions& options = {});

struct ScaledHvp {
  Vars products;  // H v, unscaled, in the compute dtype
  ScalingReport report;
};
/// v: x's shapes; x's dtype or the compute dtype. An empty v[i] is zero.
ScaledHvp scaled_hvp(const Fn& loss, Inputs x, Inputs v, const HvpOptions& options = {});

struct ScaledVhv {
  Var value;  // v'Hv, unscaled, in the compute dtype
  ScalingReport report;
};
ScaledVhv scaled_vhv(const Fn& loss, Inputs x, Inputs v, const HvpOptions& options = {});

}  // namespace tessera::autograd
