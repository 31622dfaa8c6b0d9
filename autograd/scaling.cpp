#include "tessera/autograd/scaling.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/kernels/optimizer.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

// One answer for all tensors, fetched once.
bool all_finite(Inputs tensors) {
  if (tensors.empty()) return true;
  std::vector<Tensor> dense;
  std::vector<View> views;
  for (const Var& t : tensors) views.push_back(dense.emplace_back(contiguous(t.value())).view());
  const Device device = tensors[0].device();
  const Tensor answer = Tensor::empty({}, DType::bool_, device);
  kernels::all_finite(current_stream(device), views, answer.view());
  return answer.item() != 0;
}

// Calls attempt(report) at falling scales until what it returns is finite; unscales in the compute
// dtype. `order` is the power of the tangent scale in the results.
template <class Attempt>
Vars search(const HvpOptions& options, int order, ScalingReport& report, Attempt&& attempt) {
  TS_CHECK(options.seed_scale > 0 && options.tangent_scale > 0, "scaling: scales ",
           options.seed_scale, " and ", options.tangent_scale, " must be positive");
  TS_CHECK(options.backoff > 0 && options.backoff < 1, "scaling: back-off ", options.backoff,
           " is not in (0, 1)");
  TS_CHECK(options.attempts >= 1, "scaling: ", options.attempts, " attempts");
  report = {options.seed_scale, options.tangent_scale, 0, false};
  Vars results;
  for (;;) {
    results = attempt();
    ++report.attempts;
    report.finite = all_finite(results);
    if (report.finite || report.attempts == options.attempts) break;
    report.seed_scale *= options.backoff;
    if (order > 0) report.tangent_scale *= options.backoff;
  }
  double scale = report.seed_scale;
  for (int i = 0; i < order; ++i) scale *= report.tangent_scale;
  for (Var& r : results) r = affine(cast(r, compute_dtype(r.dtype())), 1.0 / scale, 0.0);
  return results;
}

Vars scaled_tangents(Inputs x, Inputs v, double scale) {
  TS_CHECK(x.size() == v.size(), "scaling: ", x.size(), " inputs but ", v.size(), " tangents");
  Vars tangents;
  for (size_t i = 0; i < x.size(); ++i)
    tangents.push_back(v[i].defined() ? cast(affine(v[i], scale, 0.0), x[i].dtype()) : Var());
  return tangents;
}

}  // namespace

ScaledGradient scaled_value_and_grad(const Fn& loss, Inputs x, const HvpOptions& options) {
  ScaledGradient result;
  result.gradients = search(options, 0, result.report, [&] {
    ValueAndGrad r = value_and_grad(loss, x, result.report.seed_scale);
    result.value = std::move(r.value);
    return std::move(r.gradients);
  });
  return result;
}

ScaledHvp scaled_hvp(const Fn& loss, Inputs x, Inputs v, const HvpOptions& options) {
  ScaledHvp result;
  result.products = search(options, 1, result.report, [&] {
    const MultiFn gradient = [&](Inputs at) {
      return value_and_grad(loss, at, result.report.seed_scale).gradients;
    };
    return jvp(gradient, x, scaled_tangents(x, v, result.report.tangent_scale)).second;
  });
  return result;
}

ScaledVhv scaled_vhv(const Fn& loss, Inputs x, Inputs v, const HvpOptions& options) {
  ScaledVhv result;
  Vars value = search(options, 2, result.report, [&] {
    const Fn scaled = [&](Inputs at) { return affine(loss(at), result.report.seed_scale, 0.0); };
    return Vars{vhv(scaled, x, scaled_tangents(x, v, result.report.tangent_scale))};
  });
  result.value = std::move(value[0]);
  return result;
}

}  // namespace tessera::autograd
