// Our own factorisations next to LAPACK's. Tensors are made before the timing.
#include "tessera/kernels/linalg.hpp"

#include <cmath>
#include <string>

#include "tessera/bench/support/bench.hpp"
#include "tessera/bench/support/graphs.hpp"

namespace tessera {
namespace {

using bench::Work;
using kernels::LinalgParams;
using kernels::LinalgVariant;

Stream& stream() { return current_stream(Device::cpu()); }
Tensor empty(const Shape& shape, DType dtype) { return Tensor::empty(shape, dtype, Device::cpu()); }

Tensor random(const Shape& shape, DType dtype) {
  Tensor x = bench::values(1, shape);
  if (dtype == DType::f32) return x;
  Tensor wide = empty(shape, dtype);
  std::copy_n(static_cast<const float*>(x.data()), x.numel(), static_cast<double*>(wide.data()));
  return wide;
}
/// Symmetric with eigenvalues well above 0: random in [-1, 1), and n on the diagonal.
Tensor positive(int64_t batch, int64_t n, DType dtype) {
  const Tensor a = random({batch, n, n}, dtype);
  for_float(dtype, "positive", [&]<class T>() {
    for (int64_t b = 0; b < batch; ++b) {
      T* m = static_cast<T*>(a.data()) + b * n * n;
      for (int64_t i = 0; i < n; ++i) {
        m[i * n + i] = static_cast<T>(static_cast<float>(n));
        for (int64_t j = 0; j < i; ++j) m[j * n + i] = m[i * n + j];
      }
    }
  });
  return a;
}

struct Problem {
  const char* name;
  int64_t batch, m, n;
  DType dtype;
  Work (*make)(const Problem&, const LinalgParams&);
};

Work cholesky(const Problem& p, const LinalgParams& params) {
  const Tensor a = positive(p.batch, p.n, p.dtype), l = empty(a.shape(), p.dtype);
  return {.run = [=] { kernels::cholesky(stream(), a.view(), l.view(), params); },
          .flops = static_cast<double>(p.batch * p.n * p.n * p.n) / 3};
}
Work solve(const Problem& p, const LinalgParams& params) {
  const Tensor a = positive(p.batch, p.n, p.dtype), b = random(a.shape(), p.dtype);
  const Tensor x = empty(a.shape(), p.dtype);
  return {.run = [=] { kernels::solve(stream(), a.view(), b.view(), x.view(), params); },
          .flops = static_cast<double>(p.batch * p.n * p.n * p.n) * 8 / 3};
}
Work qr(const Problem& p, const LinalgParams& params) {
  const Tensor a = random({p.batch, p.m, p.n}, p.dtype), q = empty(a.shape(), p.dtype);
  const Tensor r = empty({p.batch, p.n, p.n}, p.dtype);
  return {.run = [=] { kernels::qr(stream(), a.view(), q.view(), r.view(), params); }};
}
Work eigh(const Problem& p, const LinalgParams& params) {
  const Tensor a = positive(p.batch, p.n, p.dtype), v = empty(a.shape(), p.dtype);
  const Tensor w = empty({p.batch, p.n}, p.dtype);
  return {.run = [=] { kernels::eigh(stream(), a.view(), w.view(), v.view(), params); }};
}
Work svd(const Problem& p, const LinalgParams& params) {
  const Tensor a = random({p.batch, p.m, p.n}, p.dtype), u = empty(a.shape(), p.dtype);
  const Tensor s = empty({p.batch, p.n}, p.dtype), vt = empty({p.batch, p.n, p.n}, p.dtype);
  return {.run = [=] { kernels::svd(stream(), a.view(), u.view(), s.view(), vt.view(), params); }};
}
Work gram_of(const Tensor& x) {
  const int64_t n = x.size(1);
  const Tensor g = empty({n, n}, DType::f64);
  return {.run = [=] { kernels::gram(stream(), x.view(), g.view()); },
          .flops = static_cast<double>(x.numel() * n)};
}
Work gram(const Problem& p, const LinalgParams&) { return gram_of(random({p.m, p.n}, p.dtype)); }
/// Of a cube stored band after band.
Work gram_by_band(const Problem& p, const LinalgParams&) {
  return gram_of(random({p.n, p.m}, p.dtype).transpose(0, 1));
}
Work project(const Problem& p, const LinalgParams&) {
  const Tensor x = random({p.m, p.n}, p.dtype), basis = random({p.n, p.n}, DType::f64);
  const Tensor y = empty({p.m, p.n}, p.dtype);
  return {.run = [=] { kernels::project(stream(), x.view(), basis.view(), y.view()); },
          .flops = 2 * static_cast<double>(p.m * p.n * p.n)};
}

constexpr Problem problems[] = {
    {"cholesky", 1, 200, 200, DType::f64, cholesky},
    {"cholesky", 1, 1000, 1000, DType::f64, cholesky},
    {"solve", 1, 200, 200, DType::f64, solve},
    {"solve", 1, 1000, 1000, DType::f64, solve},
    {"qr", 1, 200, 200, DType::f64, qr},
    {"qr", 1, 2000, 200, DType::f32, qr},
    {"eigh", 1, 200, 200, DType::f64, eigh},
    {"eigh", 1, 100, 100, DType::f64, eigh},
    {"eigh", 1, 400, 400, DType::f64, eigh},
    {"eigh", 1, 512, 512, DType::f64, eigh},
    {"eigh", 256, 32, 32, DType::f32, eigh},
    {"svd", 1, 200, 200, DType::f64, svd},
    {"svd", 1, 10000, 200, DType::f32, svd},
    {"svd", 256, 32, 32, DType::f32, svd},
    {"gram", 1, 10000, 200, DType::f32, gram},
    {"gram_by_band", 1, 10000, 200, DType::f32, gram_by_band},
    {"project", 1, 10000, 200, DType::f32, project},
};

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  for (const Problem& p : problems) {
    const std::string size = (p.batch > 1 ? std::to_string(p.batch) + "x" : "") +
                             std::to_string(p.m) + "x" + std::to_string(p.n);
    for (const LinalgVariant variant : {LinalgVariant::own, LinalgVariant::vendor}) {
      const bool own = variant == LinalgVariant::own;
      if (!own && (p.make == gram || p.make == gram_by_band || p.make == project)) continue;
      bench::add({.name = std::string("linalg/") + p.name,
                  .size = size,
                  .dtype = std::string(to_string(p.dtype)),
                  .variant = own ? "" : "vendor",
                  .prepare = [&p, variant] { return p.make(p, {.variant = variant}); }});
    }
  }
  return bench::main(argc, argv);
}
