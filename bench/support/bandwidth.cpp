#include "tessera/bench/support/bandwidth.hpp"

#include <omp.h>

#include <cstring>

#include "tessera/kernels/copy.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera::bench {
namespace {

Tensor filled(int64_t n, double value) {
  const Tensor t = Tensor::empty({n}, DType::f32, Device::cpu());
  kernels::fill(current_stream(Device::cpu()), value, t.view());
  return t;
}

/// Calls body(begin, end) with each thread's piece of [0, n); short loops stay on one thread.
template <class Body>
void on_all_threads(int64_t n, Body&& body) {
#pragma omp parallel if (n >= 65536)
  {
    const int64_t t = omp_get_thread_num(), count = omp_get_num_threads();
    body(n * t / count, n * (t + 1) / count);
  }
}

#if defined(__x86_64__)
[[gnu::target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")]]
#endif
void triad(float* a, const float* b, const float* c, int64_t n) {
  for (int64_t i = 0; i < n; ++i) a[i] = b[i] + 3 * c[i];
}

}  // namespace

Work copy_floor(double bytes) {
  const auto n = static_cast<int64_t>(bytes / 8);
  const Tensor x = filled(n, 1), y = filled(n, 0);
  return {.run =
              [=] {
                const float* from = x.view().as<const float>();
                float* to = y.view().as<float>();
                on_all_threads(n, [=](int64_t begin, int64_t end) {
                  std::memcpy(to + begin, from + begin,
                              static_cast<size_t>(end - begin) * sizeof(float));
                });
              },
          .bytes = bytes};
}

Work triad_floor(double bytes) {
  const auto n = static_cast<int64_t>(bytes / 12);
  const Tensor a = filled(n, 0), b = filled(n, 1), c = filled(n, 2);
  return {.run =
              [=] {
                float* to = a.view().as<float>();
                const float *x = b.view().as<const float>(), *y = c.view().as<const float>();
                on_all_threads(n, [=](int64_t begin, int64_t end) {
                  triad(to + begin, x + begin, y + begin, end - begin);
                });
              },
          .bytes = bytes};
}

}  // namespace tessera::bench
