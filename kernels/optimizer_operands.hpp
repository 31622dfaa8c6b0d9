#pragma once

#include <span>

#include "tessera/kernels/optimizer.hpp"

/// The operands of the optimizer kernels, as every device sees them.
namespace tessera::kernels {

/// `states`: how many of first and second the step uses.
inline void check_step(const char* operation, const OptimizerTensor& t, int states) {
  const View& p = t.parameter;
  if (!is_float(p.dtype)) unsupported_dtype(operation, p.dtype);
  const DType state = p.dtype == DType::f64 ? DType::f64 : DType::f32;
  const auto require = [&](const View& v, DType dtype, const char* what) {
    TS_CHECK(v.data || p.numel() == 0, operation, ": no ", what, " for a parameter of shape ",
             p.dims());
    TS_CHECK(v.dtype == dtype && v.numel() == p.numel() && v.contiguous(), operation, ": ", what,
             " is ", v.dtype, " ", v.dims(), " for a parameter ", p.dtype, " ", p.dims(),
             ", expected contiguous ", dtype);
  };
  require(p, p.dtype, "parameter");
  require(t.gradient, is_half(p.dtype) && t.gradient.dtype == DType::f32 ? DType::f32 : p.dtype,
          "gradient");
  if (states > 0) require(t.first, state, states > 1 ? "mean of gradients" : "momentum buffer");
  if (states > 1) require(t.second, state, "mean of squared gradients");
  if (t.master) {
    TS_CHECK(is_half(p.dtype), operation, ": a master copy of a parameter ", p.dtype);
    require(t.master, DType::f32, "master copy");
  }
}

/// How many runs `varying` has rows for, `count` numbers each; the parameters fit them.
inline int64_t check_varying(const char* operation, const View& v, int64_t count,
                             std::span<const OptimizerTensor> tensors) {
  if (!v) return 1;
  const bool fits = v.rank >= 1 && v.rank <= 2 && v.shape[v.rank - 1] == count;
  TS_CHECK(v.dtype == DType::f64 && fits && v.contiguous(), operation,
           ": what changes from step to step must be f64 [", count, "] or [runs, ", count, "], is ",
           v.dtype, " ", v.dims());
  const int64_t runs = v.rank == 2 ? v.shape[0] : 1;
  for (const OptimizerTensor& t : tensors)
    TS_CHECK(
        runs == 1 || (t.parameter.rank >= 2 && t.parameter.shape[t.parameter.rank - 2] == runs),
        operation, ": a parameter ", t.parameter.dims(), " of ", runs, " runs, expected [.., ",
        runs, ", width]");
  return runs;
}

inline void check_scaling(const char* operation, const GradientScaling& s) {
  if (s.device_factor)
    TS_CHECK(s.device_factor.dtype == DType::f64 && s.device_factor.numel() == 1, operation,
             ": the factor on the device must be one f64");
  if (s.enabled)
    TS_CHECK(s.enabled.dtype == DType::bool_ && s.enabled.numel() == 1, operation,
             ": `enabled` must be one bool");
}

inline void check_tensors(const char* operation, std::span<const View> tensors) {
  for (const View& x : tensors) {
    if (!is_float(x.dtype)) unsupported_dtype(operation, x.dtype);
    TS_CHECK(x.contiguous(), operation, ": a tensor of shape ", x.dims(), " is not contiguous");
  }
}
inline void check_scalar(const char* operation, const View& y, DType dtype) {
  TS_CHECK(y.dtype == dtype && y.numel() == 1, operation, ": the result must be one ", dtype,
           ", is ", y.dtype, " ", y.dims());
}

}  // namespace tessera::kernels
