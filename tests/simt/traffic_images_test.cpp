// How convolutions, pooling and attention fall on memory.
#include "tessera/kernels/attention.hpp"
#include "tessera/kernels/conv.hpp"
#include "tessera/kernels/pool.hpp"
#include "tessera/tests/simt/traffic.hpp"

namespace tessera::kernels {
namespace {

using test::Pinned;
using test::Traffic;

const Pinned pinned{
    // conv_product.cu: weights change places with their channels; parts join into their order
    {"32 to 64 channels, f16, channels last, data gradient, conv pack", {2.092}},
    {"32 to 64 channels, f16, channels last, forward, conv pack", {1.929}},
    {"32 to 64 channels, f16, channels last, weight gradient, conv parts", {2.600}},
    {"32 to 64 channels, f16, data gradient, conv pack", {1.422}},
    {"32 to 64 channels, f16, forward, conv pack", {1.527}},
    {"32 to 64 channels, f16, weight gradient, conv parts", {2.600}},
    {"32 to 64 channels, f32, channels last, data gradient, conv pack", {1.583}},
    {"32 to 64 channels, f32, channels last, forward, conv pack", {1.583}},
    {"32 to 64 channels, f32, channels last, weight gradient, conv parts", {2.400}},
    {"32 to 64 channels, f32, data gradient, conv pack", {1.210}},
    {"32 to 64 channels, f32, forward, conv pack", {1.309}},
    {"32 to 64 channels, f32, weight gradient, conv parts", {2.400}},
    {"32 to 64 channels, f64, channels last, data gradient, conv pack", {1.250}},
    {"32 to 64 channels, f64, channels last, forward, conv pack", {1.250}},
    {"32 to 64 channels, f64, channels last, weight gradient, conv parts", {1.333}},
    {"32 to 64 channels, f64, data gradient, conv pack", {1.090}},
    {"32 to 64 channels, f64, forward, conv pack", {1.132}},
    {"32 to 64 channels, f64, weight gradient, conv parts", {1.333}},
    // conv_direct.cu: pixels at the rim leave taps out; channels last, the weight is put in order
    {"depthwise, f16, channels last, data gradient, copy", {5.000}},
    {"depthwise, f16, channels last, forward, copy", {5.000}},
    {"depthwise, f16, channels last, weight gradient, conv parts", {1.889}},
    {"depthwise, f32, channels last, data gradient, copy", {4.500}},
    {"depthwise, f32, channels last, forward, copy", {4.500}},
    {"depthwise, f32, channels last, weight gradient, conv parts", {2.400}},
    {"depthwise, f16, data gradient, conv_data_gradient", {1.131}},
    {"depthwise, f16, forward, conv_forward", {1.131}},
    {"depthwise, f32, data gradient, conv_data_gradient", {1.156}},
    {"depthwise, f32, forward, conv_forward", {1.156}},
    // pool.cu: windows step over pixels
    {"adaptive, adaptive_average_pool", {1.800}},
    {"average pool, average_pool", {1.800}},
    {"max pool, max_pool", {1.571}},
    {"resample, resample", {1.800}},
    {"gather, pool_gather", {1.693}},
    {"scatter, find_starts", {1.256}},
    {"scatter, sort count_digits", {1, 1.400}},
    {"scatter, sort move_items", {1, 1.325}},
    {"scatter, spmm sum_rows", {1.107}},
    // attention_gradient.cu: hidden scores read nothing
    {"f16, causal, gradient, attention_gradient of keys", {1.032}},
    {"f32, causal, gradient, attention_gradient of keys", {1.017}},
};

class ConvTraffic : public Traffic {
 protected:
  static Tensor image(const Shape& shape, DType dtype, bool channels_last) {
    if (!channels_last) return numbers(shape, dtype);
    return numbers({shape[0], shape[2], shape[3], shape[1]}, dtype).permute({0, 3, 1, 2});
  }
  /// All three directions on images of 16 x 16.
  static void expect_ideal_convolution(const std::string& what, DType dtype, int64_t channels,
                                       int64_t filters, const ConvParams& p, bool channels_last) {
    const Shape in{2, channels, 16, 16}, out{2, filters, 16, 16};
    const Tensor x = image(in, dtype, channels_last), y = image(out, dtype, channels_last),
                 w = numbers({filters, channels / p.groups, 3, 3}, dtype);
    const std::string here = concat(what, ", ", dtype, channels_last ? ", channels last" : "");
    expect_ideal(
        here + ", forward",
        [&](Stream& s) { conv_forward(s, x.view(), w.view(), {}, y.view(), p); }, pinned);
    expect_ideal(
        here + ", data gradient",
        [&](Stream& s) { conv_data_gradient(s, y.view(), w.view(), x.view(), p); }, pinned);
    expect_ideal(
        here + ", weight gradient",
        [&](Stream& s) { conv_weight_gradient(s, x.view(), y.view(), w.view(), {}, p); }, pinned);
  }
};

TEST_F(ConvTraffic, Products) {
  for (DType dtype : {DType::f16, DType::f32, DType::f64})
    for (bool channels_last : {false, true})
      expect_ideal_convolution("32 to 64 channels", dtype, 32, 64, {.padding = {1, 1}},
                               channels_last);
}

TEST_F(ConvTraffic, Depthwise) {
  for (DType dtype : {DType::f16, DType::f32})
    for (bool channels_last : {false, true})
      expect_ideal_convolution("depthwise", dtype, 32, 32, {.padding = {1, 1}, .groups = 32},
                               channels_last);
}

class PoolTraffic : public Traffic {
 protected:
  const Tensor x = numbers({2, 4, 32, 32}, DType::f32), y = empty({2, 4, 16, 16}, DType::f32),
               index = empty({2, 4, 16, 16}, DType::i64);
};

TEST_F(PoolTraffic, Maxima) {
  expect_ideal(
      "max pool", [&](Stream& s) { max_pool(s, x.view(), y.view(), index.view()); }, pinned);
  expect_ideal(
      "gather", [&](Stream& s) { pool_gather(s, x.view(), index.view(), y.view()); }, pinned);
  expect_ideal(
      "scatter", [&](Stream& s) { pool_scatter(s, y.view(), index.view(), x.view()); }, pinned);
}

TEST_F(PoolTraffic, Averages) {
  expect_ideal(
      "average pool", [&](Stream& s) { average_pool(s, x.view(), y.view()); }, pinned);
  expect_ideal(
      "transpose", [&](Stream& s) { average_pool_transpose(s, y.view(), x.view()); }, pinned);
  expect_ideal(
      "adaptive", [&](Stream& s) { adaptive_average_pool(s, x.view(), y.view()); }, pinned);
  expect_ideal(
      "adaptive transpose",
      [&](Stream& s) { adaptive_average_pool_transpose(s, y.view(), x.view()); }, pinned);
}

TEST_F(PoolTraffic, Resampling) {
  expect_ideal(
      "resample", [&](Stream& s) { resample(s, x.view(), y.view()); }, pinned);
  expect_ideal(
      "transpose", [&](Stream& s) { resample_transpose(s, y.view(), x.view()); }, pinned);
}

class AttentionTraffic : public Traffic {};

TEST_F(AttentionTraffic, ForwardAndGradient) {
  for (DType dtype : {DType::f16, DType::f32, DType::f64}) {
    const Shape shape{2, 128, 64};
    const Tensor q = numbers(shape, dtype, 1), k = numbers(shape, dtype, 2),
                 v = numbers(shape, dtype, 3), y = empty(shape, dtype),
                 lse = empty({2, 128}, test::compute_dtype(dtype)), gq = empty(shape, dtype),
                 gk = empty(shape, dtype), gv = empty(shape, dtype);
    for (bool causal : {false, true}) {
      const AttentionParams p{.scale = 0.125, .causal = causal};
      const std::string what = concat(dtype, causal ? ", causal" : "");
      expect_ideal(
          what,
          [&](Stream& s) {
            attention(s, q.view(), k.view(), v.view(), {}, p, y.view(), lse.view());
          },
          pinned);
      expect_ideal(
          what + ", gradient",
          [&](Stream& s) {
            attention_gradient(s, q.view(), k.view(), v.view(), {}, p, y.view(), lse.view(),
                               y.view(), gq.view(), gk.view(), gv.view());
          },
          pinned);
    }
  }
}

}  // namespace
}  // namespace tessera::kernels
