#pragma once

#include <initializer_list>

#include "tessera/kernels/conv.hpp"
#include "tessera/runtime/error.hpp"

/// Operands of the conv family, checked against the contract of the family's header.
namespace tessera::kernels {

/// NCHW, or the same elements channels last.
inline bool is_image(const View& x) {
  if (x.contiguous()) return true;
  View last = x;
  for (int i = 1; i < 4; ++i) {
    last.shape[i] = x.shape[i < 3 ? i + 1 : 1];
    last.stride[i] = x.stride[i < 3 ? i + 1 : 1];
  }
  return last.contiguous();
}

inline void check_conv(const char* name, const View& x, const View& weight, const View& y,
                       const ConvParams& p) {
  TS_CHECK(x.rank == 4 && weight.rank == 4 && y.rank == 4, name, ": rank 4 expected, got ",
           x.dims(), ", weight ", weight.dims(), ", ", y.dims());
  TS_CHECK(is_float(x.dtype) && x.dtype == weight.dtype && x.dtype == y.dtype, name,
           ": one floating dtype expected, got ", x.dtype, ", weight ", weight.dtype, ", ",
           y.dtype);
  for (int i = 0; i < 2; ++i)
    TS_CHECK(p.stride[i] > 0 && p.dilation[i] > 0 && p.padding[i] >= 0, name, ": stride ",
             p.stride[i], ", dilation ", p.dilation[i], ", padding ", p.padding[i], " along axis ",
             i + 2);
  TS_CHECK(p.groups > 0 && x.shape[1] == weight.shape[1] * p.groups &&
               weight.shape[0] % p.groups == 0 && y.shape[1] == weight.shape[0] &&
               x.shape[0] == y.shape[0],
           name, ": x ", x.dims(), ", weight ", weight.dims(), ", y ", y.dims(),
           " do not fit with ", p.groups, " groups");
  for (int i = 0; i < 2; ++i) {
    const int64_t extent =
        conv_extent(x.shape[i + 2], weight.shape[i + 2], p.stride[i], p.padding[i], p.dilation[i]);
    TS_CHECK(weight.shape[i + 2] > 0 && y.shape[i + 2] == extent, name, ": x ", x.dims(),
             " and weight ", weight.dims(), " give extent ", extent, " of y along axis ", i + 2,
             ", got y ", y.dims());
  }
  TS_CHECK(weight.contiguous(), name, ": the weight must be contiguous");
  TS_CHECK(is_image(x) && is_image(y), name, ": images must be contiguous or channels-last, x ",
           x.dims(), ", y ", y.dims());
}

inline void check_conv_bias(const char* name, const View& bias, const View& weight) {
  TS_CHECK(
      !bias || (bias.dtype == weight.dtype && bias.numel() == weight.shape[0] && bias.contiguous()),
      name, ": bias must be ", weight.shape[0], " contiguous values of ", weight.dtype, ", got ",
      bias.dtype, " ", bias.dims());
}

/// Tangents are there for all operands, and lie as the values do.
inline void check_conv_tangents(const char* name, std::initializer_list<Dual> operands,
                                const ConvParams& p) {
  for (const Dual& d : operands) {
    bool alike = d.value.rank == d.tangent.rank && d.value.dtype == d.tangent.dtype;
    for (int i = 0; alike && i < d.value.rank; ++i)
      alike = d.value.shape[i] == d.tangent.shape[i] &&
              (d.value.stride[i] == d.tangent.stride[i] || d.value.shape[i] == 1);
    TS_CHECK(alike, name, ": a tangent must lie as its value, ", d.value.dtype, " ", d.value.dims(),
             ", is ", d.tangent.dtype, " ", d.tangent.dims());
  }
  TS_CHECK(p.activation == Activation::none, name, ": no activation with tangents");
}

/// Whether the winograd variant is asked for, or chosen; refused where it does not apply.
inline bool computes_winograd(const char* name, const View& weight, const View& y,
                              const ConvParams& p) {
  ConvVariant variant = p.variant;
  if (variant == ConvVariant::automatic) variant = choose_conv(p, weight.dims(), y.dims(), y.dtype);
  if (variant == ConvVariant::direct) return false;
  if (!winograd_applies(p, weight.shape[2], weight.shape[3], y.dtype))
    throw Error(ErrorKind::unsupported, concat(name,
                                               ": the winograd variant needs 3 x 3 filters, stride "
                                               "and dilation 1, padding up to 2 and no "
                                               "f64; got weight ",
                                               weight.dims(), " of ", weight.dtype));
  return true;
}

}  // namespace tessera::kernels
