#pragma once

#include "tessera/kernels/qgemm.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/host_device.hpp"

/// Operands of the qgemm family, checked against the contract of the family's header.
namespace tessera::kernels {

/// a [m, k] and b [n, k] -> c [m, n].
struct CodeProduct {
  int64_t m, n, k;
  View a, b;
};

inline CodeProduct check_qgemm(const View& a, const View& b, const View& c) {
  const auto codes = [](const View& v) { return v.dtype == DType::i8 || v.dtype == DType::u8; };
  TS_CHECK(a.rank == 2 && b.rank == 2 && c.rank == 2 && a.shape[1] == b.shape[1] &&
               c.shape[0] == a.shape[0] && c.shape[1] == b.shape[0],
           "qgemm: shapes ", a.dims(), " x ", b.dims(), "' -> ", c.dims());
  TS_CHECK(codes(a) && b.dtype == DType::i8, "qgemm: a must be i8 or u8 and b i8, are ", a.dtype,
           " and ", b.dtype);
  TS_CHECK((a.stride[1] == 1 || a.shape[1] <= 1) && (b.stride[1] == 1 || b.shape[1] <= 1) &&
               c.contiguous(),
           "qgemm: rows of a and b, and c, must be contiguous");
  TS_CHECK(a.shape[1] <= 65536, "qgemm: k is ", a.shape[1],
           ", more than 65536 products may not fit 32 bits");
  return {a.shape[0], b.shape[0], a.shape[1], a, b};
}

/// Calls f with the type of a scaled product's result.
template <class F>
void for_output(std::string_view operation, DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f16:
      return f.template operator()<f16>();
    case DType::bf16:
      return f.template operator()<bf16>();
    default:
      unsupported_dtype(operation, dtype);
  }
}

inline void check_bias(std::string_view operation, const View& bias, const View& y) {
  TS_CHECK(!bias || (bias.dtype == y.dtype && bias.rank == 1 && bias.shape[0] == y.shape[1] &&
                     bias.contiguous()),
           operation, ": bias must be contiguous ", y.dtype, " [", y.shape[1], "], is ", bias.dtype,
           " ", bias.dims());
}

/// One value per row of an operand, or one for all.
struct PerRow {
  const float* values = nullptr;
  int64_t stride = 0;
  float absent = 0;

  PerRow(const char* what, const View& v, int64_t rows, float otherwise) : absent(otherwise) {
    if (!v) return;
    TS_CHECK(v.dtype == DType::f32 && v.rank == 2 && v.contiguous() && v.shape[1] == 1 &&
                 (v.shape[0] == 1 || v.shape[0] == rows),
             "qgemm_scaled: ", what, " must be contiguous f32 [1 or ", rows, ", 1], is ", v.dtype,
             " ", v.dims());
    values = v.as<float>();
    stride = v.shape[0] == 1 ? 0 : 1;
  }
  TS_HD float operator[](int64_t i) const { return values ? values[i * stride] : absent; }
};

/// The extents of a quantised weight [n, k] and of the groups that its scales serve.
struct WeightExtents {
  int64_t n, k, group;
};

inline WeightExtents check_weight(const QuantizedView& w, int64_t k) {
  TS_CHECK(w.codes.rank == 2 && w.codes.contiguous(),
           "weight_only_gemm: codes must be contiguous [n, k], are ", w.codes.dims());
  const int64_t stored = w.packed ? (k + 1) / 2 : k, n = w.codes.shape[0];
  TS_CHECK(w.codes.shape[1] == stored &&
               (w.codes.dtype == DType::u8 || (w.codes.dtype == DType::i8 && !w.packed)),
           "weight_only_gemm: codes ", w.codes.dtype, " ", w.codes.dims(), " for k = ", k,
           w.packed ? ", packed" : "");
  for (const View* v : {&w.scale, &w.zero})
    TS_CHECK((v == &w.zero && !*v) || (v->dtype == DType::f32 && v->rank == 2 && v->contiguous() &&
                                       v->shape[1] > 0 && (v->shape[0] == 1 || v->shape[0] == n) &&
                                       k % v->shape[1] == 0 && v->dims() == w.scale.dims()),
             "weight_only_gemm: scales and zeros must be contiguous f32 [1 or ", n,
             ", groups] with groups dividing ", k, ", one is ", v->dtype, " ", v->dims());
  const int64_t group = k / w.scale.shape[1];
  TS_CHECK(!w.packed || w.scale.shape[1] == 1 || group % 8 == 0,
           "weight_only_gemm: packed groups of ", group, "; expected a multiple of 8");
  return {n, k, group};
}

inline WeightExtents check_weight_only(const View& x, const QuantizedView& w, const View& y,
                                       const QgemmParams& params) {
  TS_CHECK(x.rank == 2 && y.rank == 2 && x.contiguous() && y.contiguous() && x.dtype == y.dtype &&
               x.shape[0] == y.shape[0],
           "weight_only_gemm: x ", x.dtype, " ", x.dims(), " and y ", y.dtype, " ", y.dims());
  const WeightExtents extents = check_weight(w, x.shape[1]);
  TS_CHECK(extents.n == y.shape[1], "weight_only_gemm: ", extents.n, " rows of weight for y ",
           y.dims());
  check_bias("weight_only_gemm", params.bias, y);
  return extents;
}

}  // namespace tessera::kernels
