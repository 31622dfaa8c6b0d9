#pragma once

#include <initializer_list>
#include <string_view>

#include "tessera/kernels/attention.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/host_device.hpp"

/// Operands of the attention family, checked against the contract of the family's header, and how
/// their leading axes are counted. The values of key_lengths are for each device to check.
namespace tessera::kernels {

/// The axes in front of tokens and dim, as one running index.
struct LeadingAxes {
  int axes;
  int64_t shape[max_rank];
  int64_t count = 1;

  explicit LeadingAxes(const View& q) : axes(q.rank - 2) {
    for (int i = 0; i < axes; ++i) count *= shape[i] = q.shape[i];
  }
  /// Where the operand with these strides has that index.
  TS_HD int64_t offset(const int64_t* stride, int64_t index) const {
    int64_t at = 0;
    for (int i = axes - 1; i >= 0; --i) {
      at += index % shape[i] * stride[i];
      index /= shape[i];
    }
    return at;
  }
  Shape dims(std::initializer_list<int64_t> behind) const {
    Shape s;
    for (int i = 0; i < axes; ++i) s.push_back(shape[i]);
    for (const int64_t n : behind) s.push_back(n);
    return s;
  }
};

/// Leading indices by the slice of gbias that their gradients are summed in: each of `slices` has
/// `members`, along the axes that gbias has stride 0 in. Without gbias each index is a slice.
struct BiasSlices {
  LeadingAxes leading;
  bool shared[max_rank] = {};
  int64_t slices = 1, members = 1;

  BiasSlices(const LeadingAxes& axes, const View& gbias) : leading(axes) {
    for (int i = 0; i < leading.axes; ++i) {
      shared[i] = gbias && gbias.stride[i] == 0;
      (shared[i] ? members : slices) *= leading.shape[i];
    }
  }
  TS_HD int64_t leading_index(int64_t slice, int64_t member) const {
    int64_t index = 0, step = 1;
    for (int i = leading.axes - 1; i >= 0; --i) {
      int64_t& from = shared[i] ? member : slice;
      index += from % leading.shape[i] * step;
      from /= leading.shape[i];
      step *= leading.shape[i];
    }
    return index;
  }
};

inline void check_attention_operand(std::string_view operation, const char* name, const View& x,
                                    const Shape& wanted, DType dtype, DType other,
                                    bool dense_rows) {
  TS_CHECK((x.dtype == dtype || x.dtype == other) && x.dims() == wanted, operation, ": ", name,
           " is ", x.dtype, " ", x.dims(), ", expected ", dtype, " ", wanted);
  TS_CHECK(!dense_rows || x.shape[x.rank - 1] <= 1 || x.stride[x.rank - 1] == 1, operation,
           ": the last dimension of ", name, " ", x.dims(), " must be contiguous");
}

inline void check_attention(std::string_view operation, const View& q, const View& k, const View& v,
                            const AttentionMask& mask, const AttentionParams& p, const View& y,
                            const View& lse) {
  if (!is_float(q.dtype)) unsupported_dtype(operation, q.dtype);
  TS_CHECK(q.rank >= 2 && k.rank == q.rank && v.rank == q.rank, operation, ": q ", q.dims(), ", k ",
           k.dims(), " and v ", v.dims(), " must have one rank of at least 2");
  const LeadingAxes leading(q);
  const int r = q.rank;
  const int64_t queries = q.shape[r - 2], keys = k.shape[r - 2];
  const DType wide = is_half(q.dtype) ? DType::f32 : q.dtype;
  const auto check = [&](const char* name, const View& x, const Shape& wanted, DType dtype,
                         DType other, bool dense_rows) {
    check_attention_operand(operation, name, x, wanted, dtype, other, dense_rows);
  };
  check("q", q, q.dims(), q.dtype, q.dtype, true);
  check("k", k, leading.dims({keys, q.shape[r - 1]}), q.dtype, q.dtype, true);
  check("v", v, leading.dims({keys, v.shape[r - 1]}), q.dtype, q.dtype, true);
  check("y", y, leading.dims({queries, v.shape[r - 1]}), q.dtype, q.dtype, true);
  if (lse) {
    check("lse", lse, leading.dims({queries}), wide, wide, false);
    TS_CHECK(lse.contiguous(), operation, ": lse ", lse.dims(), " must be contiguous");
  }
  const Shape scores = leading.dims({queries, keys});
  if (mask.bias) check("bias", mask.bias, scores, q.dtype, wide, false);
  if (mask.mask) check("mask", mask.mask, scores, DType::bool_, DType::bool_, false);
  if (mask.key_lengths)
    check("key_lengths", mask.key_lengths, leading.dims({}), DType::i64, DType::i32, false);
  TS_CHECK(p.dropout >= 0 && p.dropout < 1, operation, ": dropout ", p.dropout,
           " is outside [0, 1)");
}

inline void check_attention_gradient(const View& q, const View& k, const View& v,
                                     const AttentionMask& mask, const AttentionParams& p,
                                     const View& y, const View& lse, const View& gy, const View& gq,
                                     const View& gk, const View& gv, const View& gbias) {
  constexpr const char* operation = "attention_gradient";
  check_attention(operation, q, k, v, mask, p, y, lse);
  TS_CHECK(lse.rank == q.rank - 1, operation, ": lse is missing");
  const auto check = [&](const char* name, const View& x, const View& like) {
    check_attention_operand(operation, name, x, like.dims(), q.dtype, q.dtype, true);
  };
  check("gy", gy, y), check("gq", gq, q), check("gk", gk, k), check("gv", gv, v);
  const DType wide = is_half(q.dtype) ? DType::f32 : q.dtype;
  if (gbias)
    check_attention_operand(operation, "gbias", gbias, mask.bias.dims(), wide, wide, false);
}

}  // namespace tessera::kernels
