// Convolutions: operands checked, and the work given to tensor cores (conv_product.cu) or, for
// groups of few channels, to sums thread by thread (conv_direct.cu).
//
// There is no winograd form here: its transforms cost bandwidth and accuracy to save products,
// which tensor cores have in plenty. The variant is accepted where the CPU accepts it and computed
// directly, whose errors are smaller than the contract allows.
#include "tessera/kernels/cuda/conv.cuh"

#include "tessera/kernels/conv_operands.hpp"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/reduce.hpp"

namespace tessera::kernels::cuda {
namespace {

template <class E>
Orders<E> orders_of(const Dual& d) {
  return {d.value.as<E>(), d.tangent.as<E>()};
}

Images images_of(const View& x) {
  const int64_t channels = x.shape[1], plane = x.shape[2] * x.shape[3];
  const bool planes = x.contiguous() && plane > 1;
  return {.count = static_cast<int32_t>(x.shape[0]),
          .height = static_cast<int32_t>(x.shape[2]),
          .width = static_cast<int32_t>(x.shape[3]),
          .image = channels * plane,
          .pixel = planes ? 1 : channels,
          .channel = planes ? plane : 1};
}

/// Kernels count pixels, channels and positions along an axis in 32 bits.
void check_counts(const char* name, const View& x, const View& weight, const View& y,
                  const ConvParams& p) {
  constexpr int64_t most = INT32_MAX;
  bool fits = weight.numel() <= most;
  for (const View* v : {&x, &y})
    fits = fits && v->shape[0] * v->shape[2] * v->shape[3] <= most && v->shape[1] <= most;
  for (int i = 0; i < 2; ++i)
    fits = fits && p.stride[i] <= most / 4 && p.padding[i] <= most / 4 &&
           p.dilation[i] <= most / 4 / weight.shape[i + 2];
  TS_CHECK(fits, name, ": x ", x.dims(), ", weight ", weight.dims(), ", y ", y.dims(),
           " are more than 32-bit numbers count");
}

ConvAxis axis_of(const View& output, const View& source, const View& weight, const ConvParams& p,
                 int i, bool transposed) {
  const auto narrow = [](int64_t n) { return static_cast<int32_t>(n); };
  return {.outputs = narrow(output.shape[i + 2]),
          .source = narrow(source.shape[i + 2]),
          .filter = narrow(weight.shape[i + 2]),
          .stride = narrow(p.stride[i]),
          .padding = narrow(p.padding[i]),
          .dilation = narrow(p.dilation[i]),
          .transposed = transposed};
}

/// `forward`, or with `transposed` `data_gradient`: source and output are x and y, or dy and dx.
void correlate(const char* name, Stream& stream, const Dual& source, const Dual& weights, View bias,
               const Dual& output, const ConvParams& p, bool transposed, bool dual) {
  const View& weight = weights.value;
  const View &x = (transposed ? output : source).value, &y = (transposed ? source : output).value;
  check_conv(name, x, weight, y, p);
  check_conv_bias(name, bias, weight);
  computes_winograd(name, weight, y, p);
  check_counts(name, x, weight, y, p);
  if (output.value.numel() == 0) return;
  const auto channels = static_cast<int32_t>(weight.shape[1]),
             filters = static_cast<int32_t>(weight.shape[0] / p.groups);
  const int64_t taps = weight.shape[2] * weight.shape[3];
  for_float(x.dtype, name, [&]<class E>() {
    const Correlation<E> problem{
        .name = name,
        .groups = static_cast<int32_t>(p.groups),
        .channels = transposed ? filters : channels,
        .filters = transposed ? channels : filters,
        .source = orders_of<const E>(source),
        .weight = orders_of<const E>(weights),
        .output = orders_of<E>(output),
        .source_images = images_of(source.value),
        .output_images = images_of(output.value),
        .weight_group = filters * channels * taps,
        .weight_filter = transposed ? taps : channels * taps,
        .weight_channel = transposed ? channels * taps : taps,
        .rows = axis_of(output.value, source.value, weight, p, 0, transposed),
        .columns = axis_of(output.value, source.value, weight, p, 1, transposed),
        .bias = bias.as<const E>(),
        .activation = transposed ? Activation::none : p.activation,
        .dual = dual};
    if (int64_t{channels} * filters <= few_channels)
      correlate_direct(stream, problem);
    else
      correlate_product(stream, problem);
  });
}

void gradient_of_weight(Stream& stream, const Dual& xs, const Dual& dys, const Dual& dweights,
                        View dbias, const ConvParams& p, bool dual) {
  const char* name = "conv_weight_gradient";
  const View &x = xs.value, &dy = dys.value, &dweight = dweights.value;
  check_conv(name, x, dweight, dy, p);
  check_conv_bias(name, dbias, dweight);
  computes_winograd(name, dweight, dy, p);
  check_counts(name, x, dweight, dy, p);
  if (dbias) {
    View sums = dbias;
    sums.rank = 4;
    for (int i = 0; i < 4; ++i) sums.shape[i] = sums.stride[i] = 1;
    sums.shape[1] = dy.shape[1];
    reduce_kernels.reduce(stream, ReduceOp::sum, dy, sums);
  }
  if (dweight.numel() == 0) return;
  for_float(x.dtype, name, [&]<class E>() {
    const WeightGradient<E> problem{.name = name,
                                    .groups = static_cast<int32_t>(p.groups),
                                    .channels = static_cast<int32_t>(dweight.shape[1]),
                                    .filters = static_cast<int32_t>(dweight.shape[0] / p.groups),
                                    .x = orders_of<const E>(xs),
                                    .dy = orders_of<const E>(dys),
                                    .dweight = orders_of<E>(dweights),
                                    .x_images = images_of(x),
                                    .dy_images = images_of(dy),
                                    .rows = axis_of(dy, x, dweight, p, 0, false),
                                    .columns = axis_of(dy, x, dweight, p, 1, false),
                                    .dual = dual};
    if (int64_t{problem.channels} * problem.filters <= few_channels)
      weight_gradient_direct(stream, problem);
    else
      weight_gradient_product(stream, problem);
  });
}

void forward(Stream& s, View x, View weight, View bias, View y, const ConvParams& p) {
  correlate("conv_forward", s, {x}, {weight}, bias, {y}, p, false, false);
}
void data_gradient(Stream& s, View dy, View weight, View dx, const ConvParams& p) {
  correlate("conv_data_gradient", s, {dy}, {weight}, View(), {dx}, p, true, false);
}
void weight_gradient(Stream& s, View x, View dy, View dweight, View dbias, const ConvParams& p) {
  gradient_of_weight(s, {x}, {dy}, {dweight}, dbias, p, false);
}

void forward_dual(Stream& s, Dual x, Dual weight, Dual y, const ConvParams& p) {
  check_conv_tangents("conv_forward", {x, weight, y}, p);
  correlate("conv_forward", s, x, weight, View(), y, p, false, true);
}
void data_gradient_dual(Stream& s, Dual dy, Dual weight, Dual dx, const ConvParams& p) {
  check_conv_tangents("conv_data_gradient", {dy, weight, dx}, p);
  correlate("conv_data_gradient", s, dy, weight, View(), dx, p, true, true);
}
void weight_gradient_dual(Stream& s, Dual x, Dual dy, Dual dweight, const ConvParams& p) {
  check_conv_tangents("conv_weight_gradient", {x, dy, dweight}, p);
  gradient_of_weight(s, x, dy, dweight, View(), p, true);
}

}  // namespace

extern const ConvKernels conv_kernels{
    .forward = forward,
    .data_gradient = data_gradient,
    .weight_gradient = weight_gradient,
    .forward_dual = forward_dual,
    .data_gradient_dual = data_gradient_dual,
    .weight_gradient_dual = weight_gradient_dual,
};

}  // namespace tessera::kernels::cuda
