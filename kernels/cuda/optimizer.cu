// Optimizer steps, norms and scaling over all tensors of a model: a block per chunk of a tensor, so
// that many small tensors and few large ones fill the GPU alike; the list of tensors travels in the
// kernel's parameters. Floor: gradient, parameter and state once, and those that change once more.
// Sums of chunks are put together by one block in an order that the sizes alone decide.
#include "tessera/kernels/optimizer.hpp"

#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/functors.hpp"
#include "tessera/kernels/optimizer_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t threads = 256;
constexpr int64_t chunk_elements = 16384;

/// The tensors of one launch, each cut into chunks, which are numbered through.
struct Tensors {
  static constexpr int capacity = 48, operands = 5;
  struct Tensor {
    void* data[operands];
    int64_t size;
    bool packed;    // every operand aligned to packs
    int32_t width;  // the last extent
  };
  int count = 0;
  int64_t chunks = 0;
  Tensor tensor[capacity];
  int64_t past[capacity];  // the chunk behind the tensor's last one

  void add(std::initializer_list<View> views, size_t pack) {
    Tensor& t = tensor[count];
    t = {.data = {}, .size = views.begin()->numel(), .packed = true, .width = 1};
    if (const View& v = *views.begin(); v.rank > 0)
      t.width = static_cast<int32_t>(v.shape[v.rank - 1]);
    int k = 0;
    for (const View& v : views) {
      t.data[k++] = v.data;
      t.packed = t.packed && aligned(v.data, pack * size_of(v.dtype));
    }
    past[count++] = chunks += ceil_divide(t.size, chunk_elements);
  }
};
static_assert(sizeof(Tensors) < 3800, "kernels have 4096 bytes of parameters");

struct Chunk {
  const Tensors::Tensor& tensor;
  int64_t begin, end;
};
TS_DEVICE Chunk chunk_of(const Tensors& list, int64_t number) {
  int low = 0, high = list.count - 1;  // the first tensor with past > number
  while (low < high) {
    const int middle = (low + high) / 2;
    if (list.past[middle] > number)
      high = middle;
    else
      low = middle + 1;
  }
  const int64_t first = low > 0 ? list.past[low - 1] : 0;
  const int64_t begin = (number - first) * chunk_elements;
  const int64_t size = list.tensor[low].size;
  return {list.tensor[low], begin, size - begin < chunk_elements ? size : begin + chunk_elements};
}

/// Packs are of the compute type's size: 128 bits of state.
template <class C>
constexpr int lanes_of = vector_length<C>;

template <class T, int n>
TS_DEVICE Pack<T, n> load(const void* data, int64_t at, bool whole, int64_t count) {
  const T* from = static_cast<const T*>(data) + at;
  if (whole) return load_vector(reinterpret_cast<const Pack<T, n>*>(from));
  Pack<T, n> pack{};
#pragma unroll
  for (int i = 0; i < n; ++i)
    if (i < count) pack.lane[i] = from[i];
  return pack;
}
template <class T, int n>
TS_DEVICE void store(const Pack<T, n>& pack, void* data, int64_t at, bool whole, int64_t count) {
  T* to = static_cast<T*>(data) + at;
  if (whole) {
    store_vector(reinterpret_cast<Pack<T, n>*>(to), pack);
    return;
  }
#pragma unroll
  for (int i = 0; i < n; ++i)
    if (i < count) to[i] = pack.lane[i];
}

/// Calls body(at, whole, count) for the packs of a chunk that this thread has.
template <int n, class Body>
TS_DEVICE void for_packs(const Chunk& chunk, Body body) {
  for (int64_t i = chunk.begin + thread_index().x * n; i < chunk.end; i += threads * n) {
    const int64_t count = chunk.end - i;
    body(i, chunk.tensor.packed && count >= n, count);
  }
}

// ---------------------------------------------------------------- steps

/// What the device alone knows: all optional.
struct OnDevice {
  const double* factor;
  const bool* enabled;
  const double* varying;
  int32_t runs, numbers;  // rows of `varying` and what each holds
};

/// `Step` updates p, first and second from the gradient. Operands: parameter, gradient, first,
/// second, master.
template <int states, class S, class G, class Step>
__global__ void __launch_bounds__(threads, 2)
    update(Tensors list, Step step, double factor, OnDevice on_device) {
  using C = compute_t<S>;
  constexpr int n = lanes_of<C>;
  if (on_device.enabled && !*on_device.enabled) return;
  if (on_device.factor) step.rule.gradient_factor = static_cast<C>(factor * *on_device.factor);
  if (on_device.varying) step.rule.vary(on_device.varying);
  const int32_t runs = on_device.runs;
  for (int64_t number = block_index().x; number < list.chunks; number += grid_size().x) {
    const Chunk chunk = chunk_of(list, number);
    void* const* data = chunk.tensor.data;
    for_packs<n>(chunk, [&](int64_t at, bool whole, int64_t count) {
      Pack<C, n> p, first{}, second{};
      const Pack<G, n> g = load<G, n>(data[1], at, whole, count);
      if (data[4]) {
        p = load<C, n>(data[4], at, whole, count);
      } else {
        const Pack<S, n> stored = load<S, n>(data[0], at, whole, count);
#pragma unroll
        for (int i = 0; i < n; ++i) p.lane[i] = widen(stored.lane[i]);
      }
      if (states > 0) first = load<C, n>(data[2], at, whole, count);
      if (states > 1) second = load<C, n>(data[3], at, whole, count);
      Pack<S, n> rounded;
#pragma unroll
      for (int i = 0; i < n; ++i) {
        if (runs > 1) {
          const int64_t run = (at + i) / chunk.tensor.width % runs;
          step.rule.vary(on_device.varying + run * on_device.numbers);
        }
        step(p.lane[i], first.lane[i], second.lane[i], static_cast<C>(widen(g.lane[i])));
        rounded.lane[i] = narrow<S>(p.lane[i]);
      }
      store(rounded, data[0], at, whole, count);
      if (data[4]) store(p, data[4], at, whole, count);
      if (states > 0) store(first, data[2], at, whole, count);
      if (states > 1) store(second, data[3], at, whole, count);
    });
  }
}

template <class C>
struct Adam {
  functors::AdamStep<C> rule;
  TS_DEVICE void operator()(C& p, C& m, C& v, C g) const { rule(p, m, v, g); }
};
template <class C>
struct Sgd {
  functors::SgdStep<C> rule;
  TS_DEVICE void operator()(C& p, C&, C&, C g) const { rule.plain(p, g); }
};
template <class C, bool nesterov>
struct Momentum {
  functors::SgdStep<C> rule;
  TS_DEVICE void operator()(C& p, C& buffer, C&, C g) const {
    rule.template with_momentum<nesterov>(p, buffer, g);
  }
};

/// Calls launch_list(list) with the tensors of `all` that `wanted` takes, as many at a time as fit.
template <class Tensor, class Wanted, class Add, class Launch>
void for_lists(std::span<const Tensor> all, Wanted&& wanted, Add&& add, Launch&& launch_list) {
  Tensors list;
  for (const Tensor& t : all) {
    if (!wanted(t)) continue;
    add(list, t);
    if (list.count < Tensors::capacity) continue;
    launch_list(list);
    list.count = 0, list.chunks = 0;
  }
  if (list.chunks > 0) launch_list(list);
}

LaunchShape shape_for(const char* name, const Tensors& list) {
  return {name, {blocks_for(list.chunks, 1)}, {threads}};
}

template <int states, class MakeStep>
void update_all(Stream& stream, const char* name, std::span<const OptimizerTensor> tensors,
                const GradientScaling& scaling, const View& varying, MakeStep&& make_step) {
  const bool runs = varying && varying.rank == 2;
  const OnDevice on_device{.factor = scaling.device_factor.as<const double>(),
                           .enabled = scaling.enabled.as<const bool>(),
                           .varying = varying.as<const double>(),
                           .runs = runs ? static_cast<int32_t>(varying.shape[0]) : 1,
                           .numbers = runs ? static_cast<int32_t>(varying.shape[1]) : 0};
  const auto update_dtypes = [&]<class S, class G>() {
    const auto wanted = [](const OptimizerTensor& t) {
      return t.parameter.dtype == dtype_of<S> && t.gradient.dtype == dtype_of<G> &&
             t.parameter.numel() > 0;
    };
    const auto add = [](Tensors& list, const OptimizerTensor& t) {
      list.add({t.parameter, t.gradient, states > 0 ? t.first : View{},
                states > 1 ? t.second : View{}, t.master},
               lanes_of<compute_t<S>>);
    };
    for_lists(tensors, wanted, add, [&](const Tensors& list) {
      const auto step = make_step.template operator()<compute_t<S>>();
      launch(stream, shape_for(name, list), update<states, S, G, std::decay_t<decltype(step)>>,
             list, step, scaling.factor, on_device);
    });
  };
  for (DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    for_float(dtype, name, [&]<class S>() {
      update_dtypes.template operator()<S, S>();
      if constexpr (!std::is_same_v<S, compute_t<S>>)
        update_dtypes.template operator()<S, compute_t<S>>();
    });
}

void adam(Stream& stream, std::span<const OptimizerTensor> tensors, const AdamParams& params) {
  TS_CHECK(params.step >= 1, "adam: steps count from 1, got ", params.step);
  for (const OptimizerTensor& t : tensors) check_step("adam", t, 2);
  check_scaling("adam", params.scaling);
  check_varying("adam", params.varying, 3, tensors);
  update_all<2>(stream, "adam", tensors, params.scaling, params.varying, [&]<class C>() {
    return Adam<C>{functors::AdamStep<C>(params, params.scaling.factor)};
  });
}

void sgd(Stream& stream, std::span<const OptimizerTensor> tensors, const SgdParams& params) {
  const bool momentum = params.momentum != 0;
  for (const OptimizerTensor& t : tensors) check_step("sgd", t, momentum ? 1 : 0);
  check_scaling("sgd", params.scaling);
  check_varying("sgd", params.varying, 2, tensors);
  const double factor = params.scaling.factor;
  if (!momentum)
    update_all<0>(stream, "sgd", tensors, params.scaling, params.varying,
                  [&]<class C>() { return Sgd<C>{functors::SgdStep<C>(params, factor)}; });
  else if (params.nesterov)
    update_all<1>(stream, "sgd", tensors, params.scaling, params.varying, [&]<class C>() {
      return Momentum<C, true>{functors::SgdStep<C>(params, factor)};
    });
  else
    update_all<1>(stream, "sgd", tensors, params.scaling, params.varying, [&]<class C>() {
      return Momentum<C, false>{functors::SgdStep<C>(params, factor)};
    });
}

// ---------------------------------------------------------------- all gradients at once

template <class S>
__global__ void __launch_bounds__(threads, 2)
    scale_all(Tensors list, double factor, const double* device_factor) {
  using C = compute_t<S>;
  constexpr int n = vector_length<S>;
  const C by = static_cast<C>(device_factor ? factor * *device_factor : factor);
  for (int64_t number = block_index().x; number < list.chunks; number += grid_size().x) {
    const Chunk chunk = chunk_of(list, number);
    for_packs<n>(chunk, [&](int64_t at, bool whole, int64_t count) {
      Pack<S, n> x = load<S, n>(chunk.tensor.data[0], at, whole, count);
#pragma unroll
      for (int i = 0; i < n; ++i) x.lane[i] = narrow<S>(widen(x.lane[i]) * by);
      store(x, chunk.tensor.data[0], at, whole, count);
    });
  }
}

struct Square {
  template <class C>
  TS_DEVICE C operator()(C x) const {
    return x * x;
  }
};
/// 0, or NaN for what is not finite.
struct Finite {
  template <class C>
  TS_DEVICE C operator()(C x) const {
    return x * C{0};
  }
};

/// partial[chunk] = the sum of Term over the chunk.
template <class S, class Term>
__global__ void __launch_bounds__(threads, 2) sum_chunks(Tensors list, double* partial) {
  using C = compute_t<S>;
  constexpr int n = vector_length<S>;
  struct Shared {
    double warps[threads / warp_size];
  };
  for (int64_t number = block_index().x; number < list.chunks; number += grid_size().x) {
    const Chunk chunk = chunk_of(list, number);
    C sums[n] = {};
    for_packs<n>(chunk, [&](int64_t at, bool whole, int64_t count) {
      const Pack<S, n> x = load<S, n>(chunk.tensor.data[0], at, whole, count);
#pragma unroll
      for (int i = 0; i < n; ++i) sums[i] += Term{}(widen(x.lane[i]));
    });
    double sum = 0;
#pragma unroll
    for (int i = 0; i < n; ++i) sum += sums[i];
    sum = block_reduce(sum, Sum{}, static_shared<Shared>().warps);
    if (thread_index().x == 0) partial[number] = sum;
  }
}

TS_DEVICE double sum_partials(const double* partial, int64_t chunks) {
  struct Shared {
    double warps[threads / warp_size];
  };
  double sum = 0;
  for (int64_t c = thread_index().x; c < chunks; c += threads) sum += partial[c];
  return block_reduce(sum, Sum{}, static_shared<Shared>().warps);
}

__global__ void __launch_bounds__(threads)
    finish_norm(const double* partial, int64_t chunks, double limit, double* norm,
                double* coefficient) {
  const double result = functors::sqrt(sum_partials(partial, chunks));
  if (thread_index().x > 0) return;
  *norm = result;
  const double shrink = limit / (result + 1e-6);
  if (coefficient) *coefficient = shrink >= 1 ? 1 : shrink;  // NaN stays
}

__global__ void __launch_bounds__(threads)
    finish_finite(const double* partial, int64_t chunks, bool* y) {
  const double sum = sum_partials(partial, chunks);
  if (thread_index().x == 0) *y = sum == 0;
}

template <class S>
void for_tensors(std::span<const View> tensors, auto&& launch_list) {
  for_lists(
      tensors, [](const View& x) { return x.dtype == dtype_of<S> && x.numel() > 0; },
      [](Tensors& list, const View& x) { list.add({x}, vector_length<S>); }, launch_list);
}

/// The sums of Term over the chunks of all tensors, on the device.
template <class Term>
struct ChunkSums {
  int64_t chunks;
  Scratch partial;

  ChunkSums(Stream& stream, const char* name, std::span<const View> tensors)
      : chunks([&] {
          int64_t n = 0;
          for (const View& x : tensors) n += ceil_divide(x.numel(), chunk_elements);
          return n;
        }()),
        partial(stream.scratch(static_cast<size_t>(chunks) * sizeof(double))) {
    double* next = partial.as<double>();
    for (DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
      for_float(dtype, name, [&]<class S>() {
        for_tensors<S>(tensors, [&](const Tensors& list) {
          launch(stream, shape_for(name, list), sum_chunks<S, Term>, list, next);
          next += list.chunks;
        });
      });
  }
};

void global_norm(Stream& stream, std::span<const View> tensors, View norm, double limit,
                 View coefficient) {
  check_tensors("global_norm", tensors);
  check_scalar("global_norm", norm, DType::f64);
  if (coefficient) check_scalar("global_norm", coefficient, DType::f64);
  const ChunkSums<Square> sums(stream, "global_norm", tensors);
  launch(stream, {"global_norm finish", {1}, {threads}}, finish_norm, sums.partial.as<double>(),
         sums.chunks, limit, norm.as<double>(), coefficient.as<double>());
}

void all_finite(Stream& stream, std::span<const View> tensors, View y) {
  check_tensors("all_finite", tensors);
  check_scalar("all_finite", y, DType::bool_);
  const ChunkSums<Finite> sums(stream, "all_finite", tensors);
  launch(stream, {"all_finite finish", {1}, {threads}}, finish_finite, sums.partial.as<double>(),
         sums.chunks, y.as<bool>());
}

void scale(Stream& stream, std::span<const View> tensors, double factor, View device_factor) {
  check_tensors("scale", tensors);
  if (device_factor) check_scalar("scale", device_factor, DType::f64);
  for (DType dtype : {DType::f32, DType::f64, DType::f16, DType::bf16})
    for_float(dtype, "scale", [&]<class S>() {
      for_tensors<S>(tensors, [&](const Tensors& list) {
        launch(stream, shape_for("scale", list), scale_all<S>, list, factor,
               device_factor.as<const double>());
      });
    });
}

}  // namespace

extern const OptimizerKernels optimizer_kernels{
    .sgd = sgd,
    .adam = adam,
    .global_norm = global_norm,
    .scale = scale,
    .all_finite = all_finite,
};

}  // namespace tessera::kernels::cuda
