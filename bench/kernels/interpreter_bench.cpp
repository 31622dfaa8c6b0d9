// How fast the interpreter runs a kernel: a product of halves on tensor cores, no checks. It is to
// take at most 15 ms on two cores, so that the kernel suites stay a matter of minutes.
#include <memory>

#include "tessera/bench/support/bench.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/tensor.hpp"

using namespace tessera;

namespace {

constexpr int64_t n = 256;

/// Small whole numbers: every sum is one that a half holds.
Tensor filled(uint32_t state) {
  Tensor t = Tensor::empty({n, n}, DType::f16, Device::cpu());
  for (f16& v : t.host_mutable<f16>())
    v = f16(static_cast<float>(static_cast<int>((state = state * 1664525 + 1013904223) >> 30) - 2));
  return t;
}

bench::Work product() {
  struct Data {
    Tensor a = filled(1), b = filled(2), c;
  };
  const auto data = std::make_shared<Data>();
  const Tensor a = data->a.to(Device::simt()), b = data->b.to(Device::simt());
  data->c = Tensor::empty({n, n}, DType::f16, Device::simt());
  const auto run = [=] {
    Stream& stream = current_stream(Device::simt());
    kernels::gemm(stream, a.view(), b.view(), data->c.view());
    stream.synchronize();
  };
  const auto check = [=] {
    const auto x = data->a.host<f16>(), y = data->b.host<f16>();
    const Tensor result = data->c.to(Device::cpu());
    const auto z = result.host<f16>();
    for (size_t i = 0; i < n; ++i) {
      const size_t j = (7 * i + 3) % n;
      float sum = 0;
      for (size_t k = 0; k < n; ++k)
        sum += static_cast<float>(x[i * n + k]) * static_cast<float>(y[k * n + j]);
      TS_CHECK(static_cast<float>(z[i * n + j]) == sum, "c(", i, ", ", j, ") is ",
               static_cast<float>(z[i * n + j]), ", not ", sum);
    }
  };
  return {.run = run, .check = check, .flops = 2.0 * n * n * n};
}

}  // namespace

int main(int argc, char** argv) {
  bench::add({.name = "interpreter/gemm",
              .size = "256x256x256",
              .dtype = "f16",
              .device = Device::simt(),
              .prepare = product});
  return bench::main(argc, argv);
}
