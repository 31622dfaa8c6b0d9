// How factorisations fall on memory.
#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/linalg.hpp"
#include "tessera/tests/simt/traffic.hpp"

namespace tessera::kernels {
namespace {

using test::Pinned;
using test::Traffic;

const Pinned pinned{
    // jacobi.cu, qr.cu, linalg.cu: rows of teams, columns of matrices, and triangles
    {"f32, eigh, eigh scale_matrix", {2.326}}, {"f32, eigh, eigh write_eigenvectors", {1.982}},
    {"f32, eigh, jacobi", {1, 1.214}},         {"f32, qr", {1.009}},
    {"f32, svd, jacobi", {1, 1.210}},          {"f32, svd, svd write_singular_vectors", {1.720}},
    {"f32[1024, 64], gram join", {2.333}},     {"f32[1024, 64], gram slabs", {1.011}},
    {"f32[256, 128], gram join", {2.000}},     {"f32[256, 128], gram slabs", {1.006}},
    {"f64, eigh, eigh scale_matrix", {1.596}}, {"f64, eigh, eigh write_eigenvectors", {1.494}},
    {"f64, eigh, jacobi", {1, 1.058}},         {"f64, qr", {1.005}},
    {"f64, svd, jacobi", {1, 1.058}},          {"f64, svd, svd write_singular_vectors", {1.337}},
    {"f64[1024, 64], gram join", {2.200}},     {"f64[1024, 64], gram slabs", {1.006}},
    {"f64[256, 128], gram join", {1.750}},     {"f64[256, 128], gram slabs", {1.003}},
};

class LinalgTraffic : public Traffic {
 protected:
  static constexpr int64_t n = 96;  // more than one panel
  /// x x' / n + 1.
  static Tensor positive_definite(DType dtype) {
    const Tensor x = numbers({n, n}, DType::f64);
    const test::Values values = test::to_doubles(x);
    test::Values a(values.size());
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        double sum = i == j;
        for (int64_t k = 0; k < n; ++k)
          sum += values[test::at(i * n + k)] * values[test::at(j * n + k)] / n;
        a[test::at(i * n + j)] = sum;
      }
    return test::from_doubles(a, {n, n}, dtype).to(Device::simt());
  }
};

TEST_F(LinalgTraffic, CholeskyAndSolves) {
  for (DType dtype : {DType::f32, DType::f64}) {
    const Tensor a = positive_definite(dtype), l = empty({n, n}, dtype),
                 b = numbers({n, 32}, dtype), x = empty({n, 32}, dtype);
    expect_ideal(
        concat(dtype, ", cholesky"), [&](Stream& s) { cholesky(s, a.view(), l.view()); }, pinned);
    expect_ideal(
        concat(dtype, ", triangular_solve"),
        [&](Stream& s) { triangular_solve(s, l.view(), b.view(), x.view()); }, pinned);
    expect_ideal(
        concat(dtype, ", solve"), [&](Stream& s) { solve(s, a.view(), b.view(), x.view()); },
        pinned);
  }
}

TEST_F(LinalgTraffic, Qr) {
  for (DType dtype : {DType::f32, DType::f64}) {
    const Tensor a = numbers({96, 32}, dtype), q = empty({96, 32}, dtype),
                 r = empty({32, 32}, dtype);
    expect_ideal(
        concat(dtype), [&](Stream& s) { qr(s, a.view(), q.view(), r.view()); }, pinned);
  }
}

TEST_F(LinalgTraffic, Jacobi) {
  for (DType dtype : {DType::f32, DType::f64}) {
    const Tensor a = positive_definite(dtype).narrow(0, 0, 32).narrow(1, 0, 32).clone(),
                 w = empty({32}, dtype), v = empty({32, 32}, dtype), u = empty({32, 32}, dtype);
    expect_ideal(
        concat(dtype, ", eigh"), [&](Stream& s) { eigh(s, a.view(), w.view(), v.view()); }, pinned);
    expect_ideal(
        concat(dtype, ", svd"), [&](Stream& s) { svd(s, a.view(), u.view(), w.view(), v.view()); },
        pinned);
  }
}

TEST_F(LinalgTraffic, Gram) {
  for (DType dtype : {DType::f32, DType::f64})
    for (const Shape& shape : {Shape{1024, 64}, Shape{256, 128}}) {
      const Tensor x = numbers(shape, dtype), g = empty({shape[1], shape[1]}, dtype);
      expect_ideal(
          concat(dtype, shape), [&](Stream& s) { gram(s, x.view(), g.view()); }, pinned);
    }
}

}  // namespace
}  // namespace tessera::kernels
