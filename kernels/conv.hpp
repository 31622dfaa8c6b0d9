#pragma once

#include "tessera/kernels/backend.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/view.hpp"

/// Two-dimensional convolution (cross-correlation, as networks mean it). Convolution is linear in x
/// and in w; its gradients are the two transposes below, and a transposed convolution is
/// `data_gradient`, so the three functions are closed under differentiation.
namespace tessera::kernels {

enum class ConvVariant : uint8_t {
  automatic,  // what choose_conv says
  direct,     // sums of products as written, in the order of channels and taps
  winograd,   // F(4x4, 3x3): a quarter of the products, errors two to four times those of direct
              // sums
};

struct ConvParams {
  int64_t stride[2] = {1, 1};   // rows, columns
  int64_t padding[2] = {0, 0};  // zeros on both sides
  int64_t dilation[2] = {1, 1};
  int64_t groups = 1;  // channels and filters in as many independent groups; depthwise: groups = c
  Activation activation = Activation::none;  // of `forward`
  ConvVariant variant = ConvVariant::automatic;
};

/// Extent of the output along one axis; negative or 0 when the filter does not fit.
constexpr int64_t conv_extent(int64_t input, int64_t filter, int64_t stride, int64_t padding,
                              int64_t dilation) {
  const int64_t room = input + 2 * padding - dilation * (filter - 1) - 1;
  return room < 0 ? 0 : room / stride + 1;
}

/// Whether the winograd variant can compute a convolution with filters of r x s.
constexpr bool winograd_applies(const ConvParams& p, int64_t r, int64_t s, DType dtype) {
  return r == 3 && s == 3 && p.stride[0] == 1 && p.stride[1] == 1 && p.dilation[0] == 1 &&
         p.dilation[1] == 1 && p.padding[0] <= 2 && p.padding[1] <= 2 && dtype != DType::f64;
}

/// The variant that `automatic` means, for all three functions alike: winograd where channels and
/// filters per group are many enough to pay for transforming images, and tiles of 4 x 4 outputs for
/// transforming the weight.
constexpr ConvVariant choose_conv(const ConvParams& p, const Shape& weight, const Shape& y,
                                  DType dtype) {
  if (!winograd_applies(p, weight[2], weight[3], dtype)) return ConvVariant::direct;
  const int64_t channels = weight[1], filters = weight[0] / p.groups;
  const int64_t tiles = y[0] * ((y[2] + 3) / 4) * ((y[3] + 3) / 4);
  const bool pays = channels >= 16 && filters >= 16 && y[2] >= 3 && y[3] >= 3 && tiles >= 64 &&
                    tiles >= channels * filters / 1024;
  return pays ? ConvVariant::winograd : ConvVariant::direct;
}

/// A value and a tangent of it, of one shape, dtype and layout.
struct Dual {
  View value, tangent = {};
};

/// Shapes: x [n, c, h, w], weight [o, c / groups, r, s], y [n, o, p, q] with p, q = conv_extent;
/// one floating dtype. Layouts: weight contiguous; the others contiguous (NCHW) or channels-last
/// (the strides of a contiguous [n, h, w, c]), which `forward` and `data_gradient` convert in
/// passing. Sums run in f32 (f64 for f64). Outputs overlap no input. The bits do not depend on the
/// thread count.
struct ConvKernels {
  /// y[n, o, p, q] = activation(bias[o] + sum over c, r, s of
  ///                 x[n, c, p * stride - padding + r * dilation, ..] weight[o, c, r, s]);  bias
  ///                 optional.
  void (*forward)(Stream&, View x, View weight, View bias, View y, const ConvParams&);
  /// dx = the transpose of `forward` in x, applied to dy. The extents of dx say how far to go:
  /// every h with conv_extent(h, ..) = p is right, and input rows that no output touches get 0.
  void (*data_gradient)(Stream&, View dy, View weight, View dx, const ConvParams&);
  /// dweight = the transpose of `forward` in weight, applied to dy; dbias[o] (optional) = sum of
  /// dy[:, o].
  void (*weight_gradient)(Stream&, View x, View dy, View dweight, View dbias, const ConvParams&);

  /// The three with tangents: of the product p of a and b,
  ///   p.value = a.value b.value,   p.tangent = a.tangent b.value + a.value b.tangent,
  /// which share what is done to each operand before it is multiplied. No activation.
  void (*forward_dual)(Stream&, Dual x, Dual weight, Dual y, const ConvParams&);
  void (*data_gradient_dual)(Stream&, Dual dy, Dual weight, Dual dx, const ConvParams&);
  void (*weight_gradient_dual)(Stream&, Dual x, Dual dy, Dual dweight, const ConvParams&);
};

inline void conv_forward(Stream& s, View x, View weight, View bias, View y,
                         const ConvParams& p = {}) {
  call("conv_forward", s.device(), &Backend::conv, &ConvKernels::forward, s, x, weight, bias, y, p);
}
inline void conv_data_gradient(Stream& s, View dy, View weight, View dx, const ConvParams& p = {}) {
  call("conv_data_gradient", s.device(), &Backend::conv, &ConvKernels::data_gradient, s, dy, weight,
       dx, p);
}
inline void conv_weight_gradient(Stream& s, View x, View dy, View dweight, View dbias,
                                 const ConvParams& p = {}) {
  call("conv_weight_gradient", s.device(), &Backend::conv, &ConvKernels::weight_gradient, s, x, dy,
       dweight, dbias, p);
}
inline void conv_forward(Stream& s, const Dual& x, const Dual& weight, const Dual& y,
                         const ConvParams& p = {}) {
  call("conv_forward", s.device(), &Backend::conv, &ConvKernels::forward_dual, s, x, weight, y, p);
}
inline void conv_data_gradient(Stream& s, const Dual& dy, const Dual& weight, const Dual& dx,
                               const ConvParams& p = {}) {
  call("conv_data_gradient", s.device(), &Backend::conv, &ConvKernels::data_gradient_dual, s, dy,
       weight, dx, p);
}
inline void conv_weight_gradient(Stream& s, const Dual& x, const Dual& dy, const Dual& dweight,
                                 const ConvParams& p = {}) {
  call("conv_weight_gradient", s.device(), &Backend::conv, &ConvKernels::weight_gradient_dual, s, x,
       dy, dweight, p);
}

}  // namespace tessera::kernels
