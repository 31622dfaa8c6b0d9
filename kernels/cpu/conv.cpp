#include <algorithm>
#include <type_traits>

#include "tessera/kernels/conv_operands.hpp"
#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/conv_weight.hpp"
#include "tessera/kernels/cpu/correlation.hpp"
#include "tessera/kernels/cpu/winograd.hpp"

namespace tessera::kernels::cpu {
namespace {

ImageLayout strides_of(const View& x) {
  return {x.stride[0], x.stride[1], x.stride[2], x.stride[3]};
}

template <class E>
Orders<E> orders_of(const Dual& d) {
  return {{d.value.as<E>(), d.tangent.as<E>()}};
}

template <class E>
void correlate_by(bool winograd, Stream& s, const Correlation<E>& problem) {
  if constexpr (!std::is_same_v<E, double>)
    if (winograd) return correlate_winograd(s, problem);
  correlate(s, problem);
}

void forward_orders(Stream& s, const Dual& xs, const Dual& weights, View bias, const Dual& ys,
                    const ConvParams& params) {
  const View &x = xs.value, &weight = weights.value, &y = ys.value;
  check_conv("conv_forward", x, weight, y, params);
  check_conv_bias("conv_forward", bias, weight);
  const bool winograd = computes_winograd("conv_forward", weight, y, params);
  for_float(x.dtype, "conv_forward", [&]<class E>() {
    const int64_t taps = weight.shape[2] * weight.shape[3];
    const auto axis = [&](int i) {
      return forward_axis(y.shape[i + 2], weight.shape[i + 2], params.stride[i], params.padding[i],
                          params.dilation[i]);
    };
    correlate_by(winograd, s,
                 Correlation<E>{
                     .images = x.shape[0],
                     .groups = params.groups,
                     .channels = weight.shape[1],
                     .filters = weight.shape[0] / params.groups,
                     .source = orders_of<const E>(xs),
                     .source_stride = strides_of(x),
                     .source_height = x.shape[2],
                     .source_width = x.shape[3],
                     .output = orders_of<E>(ys),
                     .output_stride = strides_of(y),
                     .weight = orders_of<const E>(weights),
                     .weight_group = weight.shape[0] / params.groups * weight.shape[1] * taps,
                     .weight_filter = weight.shape[1] * taps,
                     .weight_channel = taps,
                     .weight_row = weight.shape[3],
                     .bias = bias.as<const E>(),
                     .activation = params.activation,
                     .rows = axis(0),
                     .columns = axis(1),
                 });
  });
}

void data_gradient_orders(Stream& s, const Dual& dys, const Dual& weights, const Dual& dxs,
                          const ConvParams& params) {
  const View &dy = dys.value, &weight = weights.value, &dx = dxs.value;
  check_conv("conv_data_gradient", dx, weight, dy, params);
  const bool winograd = computes_winograd("conv_data_gradient", weight, dy, params);
  for_float(dx.dtype, "conv_data_gradient", [&]<class E>() {
    const int64_t taps = weight.shape[2] * weight.shape[3];
    const auto axis = [&](int i) {
      return transposed_axis(dx.shape[i + 2], weight.shape[i + 2], params.stride[i],
                             params.padding[i], params.dilation[i]);
    };
    correlate_by(winograd, s,
                 Correlation<E>{
                     .images = dx.shape[0],
                     .groups = params.groups,
                     .channels = weight.shape[0] / params.groups,
                     .filters = weight.shape[1],
                     .source = orders_of<const E>(dys),
                     .source_stride = strides_of(dy),
                     .source_height = dy.shape[2],
                     .source_width = dy.shape[3],
                     .output = orders_of<E>(dxs),
                     .output_stride = strides_of(dx),
                     .weight = orders_of<const E>(weights),
                     .weight_group = weight.shape[0] / params.groups * weight.shape[1] * taps,
                     .weight_filter = taps,
                     .weight_channel = weight.shape[1] * taps,
                     .weight_row = weight.shape[3],
                     .bias = nullptr,
                     .activation = Activation::none,
                     .rows = axis(0),
                     .columns = axis(1),
                 });
  });
}

void weight_gradient_orders(Stream& s, const Dual& xs, const Dual& dys, const Dual& dweights,
                            View dbias, const ConvParams& params) {
  const View &x = xs.value, &dy = dys.value, &dweight = dweights.value;
  check_conv("conv_weight_gradient", x, dweight, dy, params);
  check_conv_bias("conv_weight_gradient", dbias, dweight);
  const bool winograd = computes_winograd("conv_weight_gradient", dweight, dy, params);
  for_float(x.dtype, "conv_weight_gradient", [&]<class E>() {
    const Orders<E> dw = orders_of<E>(dweights);
    if (x.numel() == 0 || dy.numel() == 0) {
      for (int i = 0; i < dw.count(); ++i) std::fill_n(dw[i], dweight.numel(), E(0.0f));
      if (dbias) std::fill_n(dbias.as<E>(), dbias.numel(), E(0.0f));
      return;
    }
    const WeightGradient<E> problem{
        .images = x.shape[0],
        .groups = params.groups,
        .channels = dweight.shape[1],
        .filters = dweight.shape[0] / params.groups,
        .filter_height = dweight.shape[2],
        .filter_width = dweight.shape[3],
        .stride = {params.stride[0], params.stride[1]},
        .padding = {params.padding[0], params.padding[1]},
        .dilation = {params.dilation[0], params.dilation[1]},
        .x = orders_of<const E>(xs),
        .x_stride = strides_of(x),
        .height = x.shape[2],
        .width = x.shape[3],
        .dy = orders_of<const E>(dys),
        .dy_stride = strides_of(dy),
        .out_height = dy.shape[2],
        .out_width = dy.shape[3],
        .dweight = dw,
        .dbias = dbias.as<E>(),
    };
    if constexpr (!std::is_same_v<E, double>)
      if (winograd) return accumulate_weight_gradient_winograd(s, problem);
    accumulate_weight_gradient(s, problem);
  });
}

void forward(Stream& s, View x, View weight, View bias, View y, const ConvParams& params) {
  forward_orders(s, {x}, {weight}, bias, {y}, params);
}

void data_gradient(Stream& s, View dy, View weight, View dx, const ConvParams& params) {
  data_gradient_orders(s, {dy}, {weight}, {dx}, params);
}

void weight_gradient(Stream& s, View x, View dy, View dweight, View dbias,
                     const ConvParams& params) {
  weight_gradient_orders(s, {x}, {dy}, {dweight}, dbias, params);
}

void forward_dual(Stream& s, Dual x, Dual weight, Dual y, const ConvParams& params) {
  check_conv_tangents("conv_forward", {x, weight, y}, params);
  forward_orders(s, x, weight, View(), y, params);
}

void data_gradient_dual(Stream& s, Dual dy, Dual weight, Dual dx, const ConvParams& params) {
  check_conv_tangents("conv_data_gradient", {dy, weight, dx}, params);
  data_gradient_orders(s, dy, weight, dx, params);
}

void weight_gradient_dual(Stream& s, Dual x, Dual dy, Dual dweight, const ConvParams& params) {
  check_conv_tangents("conv_weight_gradient", {x, dy, dweight}, params);
  weight_gradient_orders(s, x, dy, dweight, View(), params);
}

}  // namespace

const ConvKernels conv_kernels{
    .forward = forward,
    .data_gradient = data_gradient,
    .weight_gradient = weight_gradient,
    .forward_dual = forward_dual,
    .data_gradient_dual = data_gradient_dual,
    .weight_gradient_dual = weight_gradient_dual,
};

}  // namespace tessera::kernels::cpu
