#include "tessera/kernels/optimizer.hpp"

#include <atomic>
#include <cmath>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/simd_math.hpp"
#include "tessera/kernels/elementwise.hpp"
#include "tessera/kernels/functors.hpp"
#include "tessera/kernels/optimizer_operands.hpp"
#include "tessera/kernels/reduce.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t chunk_elements = 16384;

/// Calls body(tensor, start, count) for pieces that cover `size(tensor)` elements of every tensor,
/// on all threads: many small tensors and few large ones alike.
template <class Tensor, class Size, class Body>
void for_chunks(std::span<const Tensor> tensors, Size&& size, Body&& body) {
  const auto chunks_of = [&](const Tensor& t) {
    return (size(t) + chunk_elements - 1) / chunk_elements;
  };
  int64_t chunks = 0, elements = 0;
  for (const Tensor& t : tensors) chunks += chunks_of(t), elements += size(t);
  const int64_t grain = elements <= 2 * chunk_elements ? chunks : 1;
  parallel_for(chunks, grain, [&](int64_t begin, int64_t end) {
    int64_t first = 0;  // number of this tensor's first chunk
    for (const Tensor& t : tensors) {
      const int64_t past = first + chunks_of(t);
      for (int64_t c = std::max(begin, first); c < std::min(end, past); ++c) {
        const int64_t start = (c - first) * chunk_elements;
        body(t, start, std::min(chunk_elements, size(t) - start));
      }
      first = past;
    }
  });
}

// --- steps ---

/// The factor of all gradients, or nothing to do.
struct Factor {
  double value;
  bool enabled;
};
Factor read(const char* operation, const GradientScaling& s) {
  check_scaling(operation, s);
  return {s.factor * (s.device_factor ? *s.device_factor.as<double>() : 1),
          !s.enabled || *s.enabled.as<bool>()};
}

/// The steps of `runs` runs side by side.
template <class Step, class Params>
struct Steps {
  Step step;
  const double* varying;  // of each run, or null
  int64_t count;

  Steps(const Params& params, const Factor& factor, int64_t numbers)
      : step(params, factor.value),
        varying(params.varying.template as<const double>()),
        count(numbers) {}
  Step of(int64_t run) const {
    Step own = step;
    if (varying) own.vary(varying + run * count);
    return own;
  }
};

/// Calls update(p, first, second, g) on vectors of one piece and stores what it changed. Absent
/// state is neither read nor written.
template <int states, class S, class G, class Update>
void update_chunk(const OptimizerTensor& t, int64_t start, int64_t count, const Update& update) {
  using T = compute_t<S>;
  using V = Vec<T>;
  S* parameter = t.parameter.as<S>() + start;
  const G* gradient = t.gradient.as<const G>() + start;
  T* first = states > 0 ? t.first.as<T>() + start : nullptr;
  T* second = states > 1 ? t.second.as<T>() + start : nullptr;
  T* master = t.master ? t.master.as<T>() + start : nullptr;
  const auto step = [&](int64_t i, auto... n) {  // n: how many lanes, where not all
    V p = master ? load(master + i, n...) : load(parameter + i, n...), m{}, v{};
    if constexpr (states > 0) m = load(first + i, n...);
    if constexpr (states > 1) v = load(second + i, n...);
    update(p, m, v, load(gradient + i, n...));
    store(parameter + i, p, n...);
    if (master) store(master + i, p, n...);
    if constexpr (states > 0) store(first + i, m, n...);
    if constexpr (states > 1) store(second + i, v, n...);
  };
  int64_t i = 0;
  for (; i + V::width <= count; i += V::width) step(i);
  if (i < count) step(i, count - i);
}

/// Calls make_steps<T>() for the compute type, and apply(step, p, first, second, g) with the step
/// of the run that elements belong to.
template <int states, class MakeSteps, class Apply>
void update_all(const char* operation, std::span<const OptimizerTensor> tensors, int64_t runs,
                MakeSteps&& make_steps, Apply&& apply) {
  const auto size = [](const OptimizerTensor& t) { return t.parameter.numel(); };
  for_chunks(tensors, size, [&](const OptimizerTensor& t, int64_t start, int64_t count) {
    for_float(t.parameter.dtype, operation, [&]<class S>() {
      const auto steps = make_steps.template operator()<compute_t<S>>();
      const int64_t width = runs > 1 ? t.parameter.shape[t.parameter.rank - 1] : start + count;
      for (const int64_t end = start + count; start < end;) {
        const int64_t piece = std::min(end - start, width - start % width);
        const auto update = [&, step = steps.of(start / width % runs)](auto& p, auto& first,
                                                                       auto& second, auto g) {
          apply(step, p, first, second, g);
        };
        if (t.gradient.dtype == t.parameter.dtype)
          update_chunk<states, S, S>(t, start, piece, update);
        else
          update_chunk<states, S, compute_t<S>>(t, start, piece, update);
        start += piece;
      }
    });
  });
}

void adam(Stream&, std::span<const OptimizerTensor> tensors, const AdamParams& params) {
  TS_CHECK(params.step >= 1, "adam: steps count from 1, got ", params.step);
  for (const OptimizerTensor& t : tensors) check_step("adam", t, 2);
  const int64_t runs = check_varying("adam", params.varying, 3, tensors);
  const Factor factor = read("adam", params.scaling);
  if (!factor.enabled) return;
  update_all<2>(
      "adam", tensors, runs,
      [&]<class T>() { return Steps<functors::AdamStep<T>, AdamParams>(params, factor, 3); },
      [](const auto& step, auto& p, auto& m, auto& v, auto g) { step(p, m, v, g); });
}

void sgd(Stream&, std::span<const OptimizerTensor> tensors, const SgdParams& params) {
  const bool momentum = params.momentum != 0;
  for (const OptimizerTensor& t : tensors) check_step("sgd", t, momentum ? 1 : 0);
  const int64_t runs = check_varying("sgd", params.varying, 2, tensors);
  const Factor factor = read("sgd", params.scaling);
  if (!factor.enabled) return;
  const auto steps = [&]<class T>() {
    return Steps<functors::SgdStep<T>, SgdParams>(params, factor, 2);
  };
  if (!momentum)
    update_all<0>("sgd", tensors, runs, steps,
                  [](const auto& step, auto& p, auto&, auto&, auto g) { step.plain(p, g); });
  else if (params.nesterov)
    update_all<1>("sgd", tensors, runs, steps,
                  [](const auto& step, auto& p, auto& buffer, auto&, auto g) {
                    step.template with_momentum<true>(p, buffer, g);
                  });
  else
    update_all<1>("sgd", tensors, runs, steps,
                  [](const auto& step, auto& p, auto& buffer, auto&, auto g) {
                    step.template with_momentum<false>(p, buffer, g);
                  });
}

// --- all gradients at once ---

void global_norm(Stream& stream, std::span<const View> tensors, View norm, double limit,
                 View coefficient) {
  check_tensors("global_norm", tensors);
  check_scalar("global_norm", norm, DType::f64);
  double squares = 0;
  for (const View& x : tensors) {
    double of_tensor = 0;
    reduce_kernels.dot(stream, x, x, View{.data = &of_tensor, .dtype = DType::f64});
    squares += of_tensor;
  }
  const double result = std::sqrt(squares);
  *norm.as<double>() = result;
  if (!coefficient) return;
  check_scalar("global_norm", coefficient, DType::f64);
  const double shrink = limit / (result + 1e-6);
  *coefficient.as<double>() = shrink >= 1 ? 1 : shrink;  // NaN stays
}

void scale(Stream& stream, std::span<const View> tensors, double factor, View device_factor) {
  check_tensors("scale", tensors);
  if (device_factor) {
    check_scalar("scale", device_factor, DType::f64);
    factor *= *device_factor.as<double>();
  }
  for (const View& x : tensors)
    elementwise_kernels.unary(stream, UnaryOp::affine, x, x, {.a = factor});
}

/// x * 0 is 0 for finite x and NaN otherwise.
template <class S>
bool finite(const S* x, int64_t n) {
  using V = Vec<compute_t<S>>;
  V a = 0, b = 0, c = 0, d = 0;
  const V zero = 0;
  int64_t i = 0;
  for (; i + 4 * V::width <= n; i += 4 * V::width) {
    a = fma(load(x + i), zero, a);
    b = fma(load(x + i + V::width), zero, b);
    c = fma(load(x + i + 2 * V::width), zero, c);
    d = fma(load(x + i + 3 * V::width), zero, d);
  }
  for (; i + V::width <= n; i += V::width) a = fma(load(x + i), zero, a);
  if (i < n) b = fma(load(x + i, n - i), zero, b);
  return horizontal_sum((a + b) + (c + d)) == 0;
}

void all_finite(Stream&, std::span<const View> tensors, View y) {
  check_tensors("all_finite", tensors);
  check_scalar("all_finite", y, DType::bool_);
  std::atomic<bool> result = true;
  for_chunks(
      tensors, [](const View& x) { return x.numel(); },
      [&](const View& x, int64_t start, int64_t count) {
        for_float(x.dtype, "all_finite", [&]<class S>() {
          if (!finite(x.as<const S>() + start, count))
            result.store(false, std::memory_order_relaxed);
        });
      });
  *y.as<bool>() = result;
}

}  // namespace

const OptimizerKernels optimizer_kernels{
    .sgd = sgd,
    .adam = adam,
    .global_norm = global_norm,
    .scale = scale,
    .all_finite = all_finite,
};

}  // namespace tessera::kernels::cpu
