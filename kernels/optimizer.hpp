#pragma once

#include <array>
#include <cmath>
#include <span>

#include "tessera/kernels/backend.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Optimizer steps over all parameters of a model in one call, and what training does with all
/// gradients at once. Formulas are PyTorch's. Results do not depend on the thread count.
namespace tessera::kernels {

/// One parameter with its state. All views are contiguous with equal numbers of elements; none
/// overlap. Arithmetic is in f64 for f64 parameters and in f32 otherwise, and so is the state.
struct OptimizerTensor {
  View parameter;  // floating; updated
  View gradient;   // the parameter's dtype, or f32 for a half parameter; only read
  View first;      // sgd: the momentum buffer, absent without momentum; adam: the mean of gradients
  View second;     // adam: the mean of squared gradients
  View master;     // optional for a half parameter: its f32 value, of which the parameter is the
                   // rounding
};

/// What is done to every gradient before a step; the views, one element each, stay on the device.
struct GradientScaling {
  double factor = 1;        // g * factor * device_factor enters the step
  View device_factor = {};  // optional, f64: the clip coefficient of `global_norm`
  View enabled =
      {};  // optional, bool: false leaves everything as it is; the result of `all_finite`
};

/// g = scaled gradient + weight_decay p
/// buffer = momentum buffer + (1 - dampening) g; direction = nesterov ? g + momentum buffer :
/// buffer p -= learning_rate direction (g itself without momentum) The buffer starts at zero;
/// PyTorch's first step, buffer = g, is a step with dampening 0.
struct SgdParams {
  double learning_rate = 0;
  double momentum = 0;
  double dampening = 0;
  double weight_decay = 0;
  bool nesterov = false;
  GradientScaling scaling = {};
  View varying = {};  // optional, f64 [2] or [runs, 2] on the device: see `sgd_varying`
};

/// decoupled (AdamW): p *= 1 - learning_rate weight_decay; otherwise g += weight_decay p
/// m += (1 - beta1) (g - m); v = beta2 v + (1 - beta2) g^2
/// p -= learning_rate / (1 - beta1^step) * m / (sqrt(v) / sqrt(1 - beta2^step) + epsilon)
struct AdamParams {
  double learning_rate = 1e-3;
  double beta1 = 0.9, beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0;
  bool decoupled = false;
  int64_t step = 1;  // counts from 1
  GradientScaling scaling = {};
  View varying = {};  // optional, f64 [3] or [runs, 3] on the device: see `adam_varying`
};

/// What of the parameters changes from step to step, as the formulas use it. Where it is in the
/// device's memory, a recorded step (runtime/recording.hpp) has it anew at each replay. Several
/// runs side by side have one row each: parameters are then [.., runs, width], and [.., r, ..] is
/// stepped by row r, which takes the place of learning rate, decoupled weight decay and step (of
/// sgd: learning rate and dampening).
inline std::array<double, 2> sgd_varying(const SgdParams& s) {
  return {s.learning_rate, 1 - s.dampening};
}
inline std::array<double, 3> adam_varying(const AdamParams& a) {
  const auto step = static_cast<double>(a.step);
  return {a.learning_rate / (1 - std::pow(a.beta1, step)),
          1 / std::sqrt(1 - std::pow(a.beta2, step)),
          a.decoupled ? 1 - a.learning_rate * a.weight_decay : 1};
}

struct OptimizerKernels {
  void (*sgd)(Stream&, std::span<const OptimizerTensor>, const SgdParams&);
  void (*adam)(Stream&, std::span<const OptimizerTensor>, const AdamParams&);

  /// norm (f64, one element) = the square root of the sum of squares of all elements of all
  /// tensors; coefficient (optional, likewise) = min(1, limit / (norm + 1e-6)), by which gradients
  /// are multiplied so that their norm stays below `limit`. Tensors: floating, contiguous, dtypes
  /// may differ.
  void (*global_norm)(Stream&, std::span<const View> tensors, View norm, double limit,
                      View coefficient);
  /// x *= factor * device_factor for every tensor, in place; device_factor: optional, f64, one
  /// element.
  void (*scale)(Stream&, std::span<const View> tensors, double factor, View device_factor);
  /// y (bool, one element) = no element of any tensor is infinite or NaN. Tensors as for
  /// global_norm.
  void (*all_finite)(Stream&, std::span<const View> tensors, View y);
};

inline void sgd(Stream& s, std::span<const OptimizerTensor> tensors, const SgdParams& p) {
  call("sgd", s.device(), &Backend::optimizer, &OptimizerKernels::sgd, s, tensors, p);
}
inline void adam(Stream& s, std::span<const OptimizerTensor> tensors, const AdamParams& p) {
  call("adam", s.device(), &Backend::optimizer, &OptimizerKernels::adam, s, tensors, p);
}
inline void global_norm(Stream& s, std::span<const View> tensors, View norm, double limit = 0,
                        View coefficient = {}) {
  call("global_norm", s.device(), &Backend::optimizer, &OptimizerKernels::global_norm, s, tensors,
       norm, limit, coefficient);
}
inline void scale(Stream& s, std::span<const View> tensors, double factor,
                  View device_factor = {}) {
  call("scale", s.device(), &Backend::optimizer, &OptimizerKernels::scale, s, tensors, factor,
       device_factor);
}
inline void all_finite(Stream& s, std::span<const View> tensors, View y) {
  call("all_finite", s.device(), &Backend::optimizer, &OptimizerKernels::all_finite, s, tensors, y);
}

/// The same, brought to the host: waits for the stream.
inline bool all_finite(Stream& s, std::span<const View> tensors) {
  const Scratch flag = s.scratch(1);
  all_finite(s, tensors, View{.data = flag.as<void>(), .dtype = DType::bool_});
  bool finite = false;
  s.copy_to_host(&finite, flag.as<void>(), 1);
  s.synchronize();
  return finite;
}

}  // namespace tessera::kernels
