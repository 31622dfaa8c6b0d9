// Matrix products: own and vendor variants, and the floor of calling the BLAS directly.
#include "tessera/kernels/gemm.hpp"

#include <memory>
#include <string>

#include "tessera/bench/support/bench.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/tensor.hpp"

#if defined(TESSERA_HAVE_BLAS)
extern "C" void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*,
                       const float*, const int*, const float*, const int*, const float*, float*,
                       const int*);
#endif

namespace tessera {
namespace {

struct Extents {
  int64_t m, n, k, batch = 1;
};

const Extents squares[] = {{8, 8, 8},       {16, 16, 16},       {32, 32, 32},
                           {64, 64, 64},    {128, 128, 128},    {256, 256, 256},
                           {512, 512, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}};
const Extents skinny[] = {{20000, 64, 64},   {64, 20000, 64},  {64, 64, 20000},   {197, 768, 768},
                          {2708, 16, 1433},  {1433, 16, 2708}, {2048, 2048, 512}, {4096, 256, 256},
                          {128, 10, 64},     {1, 1024, 1024},  {1024, 1, 1024},   {4, 768, 3072},
                          {197, 197, 64, 96}};

Tensor filled(const Shape& shape, DType dtype) {
  Tensor t = Tensor::empty(shape, dtype, Device::cpu());
  for_float(dtype, "filled", [&]<class T>() {
    uint32_t state = 1;
    for (T& v : t.host_mutable<T>())
      v = T(static_cast<float>(static_cast<int>((state = state * 1664525 + 1013904223) >> 29) - 4));
  });
  return t;
}

struct Data {
  Tensor a, b, c;
};

// One element per matrix against the definition.
void check(const Extents& e, const Data& d, bool transposed_a, bool transposed_b) {
  const std::vector<float> a = d.a.values<float>(), b = d.b.values<float>(),
                           c = d.c.values<float>();
  for (int64_t q = 0; q < e.batch; ++q) {
    const int64_t i = e.m / 2, j = e.n - 1;
    double sum = 0;
    for (int64_t l = 0; l < e.k; ++l)
      sum +=
          double(
              a[static_cast<size_t>(q * e.m * e.k + (transposed_a ? l * e.m + i : i * e.k + l))]) *
          b[static_cast<size_t>(q * e.k * e.n + (transposed_b ? j * e.k + l : l * e.n + j))];
    const double got = c[static_cast<size_t>((q * e.m + i) * e.n + j)];
    if (got != sum)
      throw Error(ErrorKind::invalid_argument, concat("gemm: ", got, " instead of ", sum));
  }
}

void add(const Extents& e, const char* layout, DType dtype, const std::string& variant) {
  const bool ta = layout[0] == 't', tb = layout[1] == 't';
  const std::string batch = e.batch > 1 ? concat(e.batch, "x") : "";
  bench::add({.name = concat("gemm/", layout),
              .size = concat(batch, e.m, "x", e.n, "x", e.k),
              .dtype = std::string(to_string(dtype)),
              .variant = variant,
              .prepare = [=] {
                auto d = std::make_shared<Data>(
                    Data{filled(ta ? Shape{e.batch, e.k, e.m} : Shape{e.batch, e.m, e.k}, dtype),
                         filled(tb ? Shape{e.batch, e.n, e.k} : Shape{e.batch, e.k, e.n}, dtype),
                         filled({e.batch, e.m, e.n}, dtype)});
                const View a = (ta ? d->a.transpose(1, 2) : d->a).view(),
                           b = (tb ? d->b.transpose(1, 2) : d->b).view();
                bench::Work work;
                work.flops = 2.0 * e.batch * e.m * e.n * e.k;
                if (dtype == DType::f32) work.check = [=] { check(e, *d, ta, tb); };
#if defined(TESSERA_HAVE_BLAS)
                if (variant == bench::floor) {
                  work.run = [=] {
                    const int m = static_cast<int>(e.m), n = static_cast<int>(e.n),
                              k = static_cast<int>(e.k);
                    const int lda = ta ? m : k, ldb = tb ? k : n;
                    const float one = 1, zero = 0;
                    const char ops[] = {'N', 'T'};
                    for (int64_t i = 0; i < e.batch; ++i)
                      sgemm_(&ops[tb], &ops[ta], &n, &m, &k, &one,
                             d->b.host<float>().data() + i * e.k * e.n, &ldb,
                             d->a.host<float>().data() + i * e.m * e.k, &lda, &zero,
                             d->c.host_mutable<float>().data() + i * e.m * e.n, &n);
                  };
                  return work;
                }
#endif
                const kernels::GemmParams p{.variant = variant == "vendor"
                                                           ? kernels::GemmVariant::vendor
                                                           : kernels::GemmVariant::automatic};
                const View c = d->c.view();
                work.run = [=, keep = d] {
                  kernels::gemm(current_stream(Device::cpu()), a, b, c, p);
                };
                return work;
              }});
}

void add_all(const Extents& e, const char* layout) {
  add(e, layout, DType::f32, "");
#if defined(TESSERA_HAVE_BLAS)
  add(e, layout, DType::f32, "vendor");
  add(e, layout, DType::f32, bench::floor);
#endif
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  for (const Extents& e : squares) add_all(e, "nn");
  for (const Extents& e : skinny) add_all(e, "nn");
  for (const char* layout : {"nt", "tn"})
    for (const Extents& e : {Extents{64, 64, 64}, Extents{512, 512, 512}, Extents{197, 768, 768},
                             Extents{20000, 64, 64}})
      add_all(e, layout);
  for (const DType dtype : {DType::f64, DType::f16, DType::bf16})
    add({512, 512, 512}, "nn", dtype, "");
  return bench::main(argc, argv);
}
