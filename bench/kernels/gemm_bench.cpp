// Matrix products: own and vendor variants, and the floor of calling the BLAS directly. For figures
// per core set OMP_NUM_THREADS=1.
#include "tessera/kernels/gemm.hpp"

#include <functional>
#include <memory>
#include <string>

#include "tessera/bench/support/bench.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/tensor.hpp"

#if defined(TESSERA_HAVE_BLAS)
extern "C" {
void sgemm_(const char*, const char*, const int*, const int*, const int*, const float*,
            const float*, const int*, const float*, const int*, const float*, float*, const int*);
void dgemm_(const char*, const char*, const int*, const int*, const int*, const double*,
            const double*, const int*, const double*, const int*, const double*, double*,
            const int*);
void sgemv_(const char*, const int*, const int*, const float*, const float*, const int*,
            const float*, const int*, const float*, float*, const int*);
}
#endif

namespace tessera {
namespace {

struct Extents {
  int64_t m, n, k, batch = 1;
};

const Extents squares[] = {{64, 64, 64},    {128, 128, 128},    {256, 256, 256},
                           {512, 512, 512}, {1024, 1024, 1024}, {2048, 2048, 2048}};
const Extents vectors[] = {{1, 256, 256},   {256, 1, 256},   {1, 1024, 1024},
                           {1024, 1, 1024}, {1, 4096, 4096}, {4096, 1, 4096}};
const Extents oblongs[] = {{20000, 64, 64}, {64, 20000, 64},  {64, 64, 20000},   {64, 1024, 576},
                           {197, 768, 768}, {4096, 256, 256}, {2048, 2048, 512}, {4, 768, 3072}};
const Extents batches[] = {{32, 32, 32, 1000}, {64, 64, 64, 200}, {197, 197, 64, 96}};

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

#if defined(TESSERA_HAVE_BLAS)
void blas_gemm(const char* a_op, const char* b_op, int m, int n, int k, const float* a, int lda,
               const float* b, int ldb, float* c) {
  const float one = 1, zero = 0;
  sgemm_(b_op, a_op, &n, &m, &k, &one, b, &ldb, a, &lda, &zero, c, &n);
}
void blas_gemm(const char* a_op, const char* b_op, int m, int n, int k, const double* a, int lda,
               const double* b, int ldb, double* c) {
  const double one = 1, zero = 0;
  dgemm_(b_op, a_op, &n, &m, &k, &one, b, &ldb, a, &lda, &zero, c, &n);
}

// OpenBLAS called directly on the operands as they lie.
template <class T>
std::function<void()> direct_gemm(const Extents& e, const std::shared_ptr<Data>& d, bool ta,
                                  bool tb) {
  return [=] {
    const int m = static_cast<int>(e.m), n = static_cast<int>(e.n), k = static_cast<int>(e.k);
    const T *a = d->a.view().as<const T>(), *b = d->b.view().as<const T>();
    T* c = d->c.view().as<T>();
    for (int64_t i = 0; i < e.batch; ++i, a += e.m * e.k, b += e.k * e.n, c += e.m * e.n)
      blas_gemm(ta ? "T" : "N", tb ? "T" : "N", m, n, k, a, ta ? m : k, b, tb ? k : n, c);
  };
}

// The product with one row or column as matrix times vector.
std::function<void()> direct_gemv(const Extents& e, const std::shared_ptr<Data>& d, bool ta,
                                  bool tb) {
  const bool row = e.m == 1;
  const Tensor matrix = row ? d->b : d->a, vector = row ? d->a : d->b, out = d->c;
  const bool across = row ? tb : !ta;  // the stored rows meet the vector
  return [=] {
    const int one = 1, rows = static_cast<int>(matrix.size(2)),
              columns = static_cast<int>(matrix.size(1));
    const float alpha = 1, beta = 0;
    sgemv_(across ? "T" : "N", &rows, &columns, &alpha, matrix.view().as<const float>(), &rows,
           vector.view().as<const float>(), &one, &beta, out.view().as<float>(), &one);
  };
}
#endif

// variant: "", "vendor", floor: OpenBLAS called directly, or "gemv": its product of matrix and
// vector.
void add(const Extents& e, const char* layout, DType dtype, const std::string& variant) {
  const bool ta = layout[0] == 't', tb = layout[1] == 't';
  const std::string batch = e.batch > 1 ? concat(e.batch, "x") : "";
  const auto prepare = [=] {
    auto d = std::make_shared<Data>(
        Data{filled(ta ? Shape{e.batch, e.k, e.m} : Shape{e.batch, e.m, e.k}, dtype),
             filled(tb ? Shape{e.batch, e.n, e.k} : Shape{e.batch, e.k, e.n}, dtype),
             filled({e.batch, e.m, e.n}, dtype)});
    bench::Work work;
    const auto size = static_cast<double>(size_of(dtype));
    work.flops = 2.0 * static_cast<double>(e.batch * e.m * e.n * e.k);
    work.bytes = size * static_cast<double>(e.batch * (e.m * e.k + e.k * e.n + e.m * e.n));
    if (dtype == DType::f32) work.check = [=] { check(e, *d, ta, tb); };
#if defined(TESSERA_HAVE_BLAS)
    if (variant == bench::floor || variant == "gemv") {
      work.run = variant == "gemv"     ? direct_gemv(e, d, ta, tb)
                 : dtype == DType::f64 ? direct_gemm<double>(e, d, ta, tb)
                                       : direct_gemm<float>(e, d, ta, tb);
      return work;
    }
#endif
    const View a = (ta ? d->a.transpose(1, 2) : d->a).view(),
               b = (tb ? d->b.transpose(1, 2) : d->b).view(), c = d->c.view();
    const kernels::GemmParams p{.variant = variant == "vendor" ? kernels::GemmVariant::vendor
                                                               : kernels::GemmVariant::own};
    work.run = [=, keep = d] { kernels::gemm(current_stream(Device::cpu()), a, b, c, p); };
    return work;
  };
  bench::add({.name = concat("gemm/", layout),
              .size = concat(batch, e.m, "x", e.n, "x", e.k),
              .dtype = std::string(to_string(dtype)),
              .variant = variant,
              .prepare = prepare});
}

void add_all(const Extents& e, const char* layout, DType dtype = DType::f32) {
  add(e, layout, dtype, "");
#if defined(TESSERA_HAVE_BLAS)
  if (is_half(dtype)) return;
  add(e, layout, dtype, "vendor");
  add(e, layout, dtype, bench::floor);
  if (dtype == DType::f32 && (e.m == 1 || e.n == 1)) add(e, layout, dtype, "gemv");
#endif
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  for (const char* layout : {"nn", "nt", "tn", "tt"}) {
    for (const Extents& e : squares) add_all(e, layout);
    for (const Extents& e : vectors) add_all(e, layout);
    for (const Extents& e : oblongs) add_all(e, layout);
    for (const Extents& e : batches) add_all(e, layout);
  }
  for (const Extents& e : squares) add_all(e, "nn", DType::f64);
  for (const DType dtype : {DType::f16, DType::bf16})
    for (const Extents& e : {Extents{64, 64, 64}, Extents{256, 256, 256}, Extents{512, 512, 512},
                             Extents{1, 1024, 1024}, Extents{4096, 256, 256}})
      add_all(e, "nn", dtype);
  return bench::main(argc, argv);
}
