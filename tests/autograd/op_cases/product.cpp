// Products, convolution, pooling, attention, quantised weights.
#include "tessera/tests/autograd/op_cases.hpp"

namespace tessera::test {

using namespace autograd;

void add_product_cases(OpCases& cases) {
  // ---- products

  const auto times = [](Inputs x) { return matmul(x[0], x[1]); };
  cases.product_case("matmul", {{{5, 7}}, {{7, 3}}}, times, {{0, 7}, {7, 3}});
  cases.product_case("matmul/inner", {{{5, 1}}, {{1, 3}}}, times, {{5, 0}, {0, 3}});
  cases.product_case("matmul/transposed", {{{7, 5}}, {{3, 7}}}, [](Inputs x) {
    return matmul(permute(x[0], {1, 0}), permute(x[1], {1, 0}));
  });
  cases.back().label = "permute";
  cases.product_case("matmul/batched", {{{2, 3, 4}}, {{2, 4, 5}}}, times);
  cases.product_case("matmul/shared_right", {{{2, 3, 4}}, {{4, 5}}}, times);
  cases.product_case("matmul/shared_left", {{{3, 4}}, {{2, 4, 5}}}, times);
  cases.product_case("matmul/broadcast", {{{2, 1, 3, 4}}, {{3, 4, 2}}}, times);
  const auto interleaved = [](Inputs x) { return matmul_interleaved(x[0], x[1]); };
  cases.product_case("matmul_interleaved", {{{5, 2, 4}}, {{4, 2, 3}}}, interleaved,
                     {{0, 2, 4}, {4, 2, 3}});
  cases.product_case("matmul_interleaved/single", {{{5, 1, 4}}, {{4, 1, 3}}}, interleaved);
  cases.product_case("linear", {{{5, 7}}, {{3, 7}}, {{3}}},
                     [](Inputs x) { return linear(x[0], x[1], x[2]); }, {{0, 7}, {3, 7}, {3}});
  cases.product_case("linear/tokens", {{{2, 3, 4}}, {{5, 4}}, {{5}}},
                     [](Inputs x) { return linear(x[0], x[1], x[2]); });
  cases.product_case("linear/no_bias", {{{5, 7}}, {{3, 7}}},
                     [](Inputs x) { return linear(x[0], x[1]); });

  // ---- convolution and pooling

  const auto conv_case = [&](std::string name, Shape x, Shape w, bool bias, Conv2dParams p) {
    std::vector<OpCase::Input> inputs{{x}, {w}};
    if (bias) inputs.push_back({{w[0]}});
    cases.product_case("conv2d/" + name, inputs, [p](Inputs in) {
      return conv2d(in[0], in[1], in.size() > 2 ? in[2] : Var(), p);
    });
  };
  conv_case("3x3", {2, 3, 5, 4}, {4, 3, 3, 3}, true, {.padding = {1, 1}});
  conv_case("stride", {1, 2, 6, 5}, {3, 2, 3, 3}, false, {.stride = {2, 2}, .padding = {1, 1}});
  conv_case("1x1", {2, 3, 3, 2}, {4, 3, 1, 1}, false, {});
  conv_case("oblong", {1, 2, 7, 6}, {2, 2, 5, 3}, true,
            {.stride = {1, 2}, .padding = {2, 1}, .dilation = {1, 2}});
  conv_case("depthwise", {2, 3, 5, 4}, {3, 1, 3, 3}, true, {.padding = {1, 1}, .groups = 3});
  conv_case("groups", {1, 4, 4, 5}, {6, 2, 3, 3}, false, {.groups = 2});
  cases.product_case("conv2d_transposed", {{{2, 3, 3, 4}}, {{3, 2, 3, 3}}, {{2}}}, [](Inputs x) {
    return conv2d_transposed(x[0], x[1], x[2], {.stride = {2, 2}, .padding = {1, 1}}, {1, 0});
  });
  cases.back().label = "conv2d_data_gradient";
  cases.product_case("patch_embed", {{{2, 3, 4, 6}}, {{5, 3, 2, 2}}, {{5}}},
                     [](Inputs x) { return patch_embed(x[0], x[1], x[2]); });
  cases.back().label = "conv2d";
  const auto image_case = [&](std::string name, std::function<Var(const Var&)> fn,
                              std::string label = {}) {
    cases.add_case({.name = name,
                    .inputs = {{{2, 3, 7, 6}}},
                    .fn = one([fn](Inputs x) { return fn(x[0]); }),
                    .half_error = 8,
                    .label = label});
  };
  image_case("max_pool2d", [](const Var& x) { return max_pool2d(x); });
  image_case("max_pool2d/padded", [](const Var& x) {
    return max_pool2d(x, {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
  });
  image_case("average_pool2d", [](const Var& x) {
    return average_pool2d(x, {.window = {3, 2}, .stride = {2, 2}, .padding = {1, 0}});
  });
  image_case("adaptive_average_pool2d",
             [](const Var& x) { return adaptive_average_pool2d(x, 3, 4); });
  image_case(
      "global_average_pool", [](const Var& x) { return global_average_pool(x); },
      "adaptive_average_pool2d");
  image_case("resample2d/bilinear", [](const Var& x) { return resample2d(x, 5, 9); });
  image_case("resample2d/nearest",
             [](const Var& x) { return resample2d(x, 14, 4, {.mode = ResampleMode::nearest}); });
  image_case("resample2d/bicubic",
             [](const Var& x) { return resample2d(x, 9, 8, {.mode = ResampleMode::bicubic}); });
  image_case("resample2d/imresize",
             [](const Var& x) { return resample2d(x, 3, 11, {.mode = ResampleMode::imresize}); });
  cases.add_case({.name = "pixel_shuffle",
                  .inputs = {{{2, 8, 3, 2}}},
                  .fn = one([](Inputs x) { return pixel_shuffle(x[0], 2); }),
                  .half_error = 1,
                  .label = "reshape"});
  cases.add_case({.name = "pixel_unshuffle",
                  .inputs = {{{2, 2, 6, 3}}},
                  .fn = one([](Inputs x) { return pixel_unshuffle(x[0], 3); }),
                  .half_error = 1,
                  .label = "reshape"});

  // ---- attention

  const auto attention_case = [&](std::string name, bool bias,
                                  std::function<AttentionOptions(const Var&)> options) {
    std::vector<OpCase::Input> inputs{{{2, 3, 5, 4}}, {{2, 3, 6, 4}}, {{2, 3, 6, 2}}};
    if (bias) inputs.push_back({{3, 1, 6}});
    cases.add_case({.name = "scaled_dot_product_attention" + name,
                    .inputs = inputs,
                    .fn = one([=](Inputs x) {
                      return scaled_dot_product_attention(
                          x[0], x[1], x[2], x.size() > 3 ? x[3] : Var(), options(x[0]));
                    }),
                    .half_error = 24,
                    .label = "attention"});
  };
  attention_case("", false, [](const Var&) { return AttentionOptions{}; });
  attention_case("/bias", true, [](const Var&) { return AttentionOptions{.scale = 0.7}; });
  attention_case("/causal", false, [](const Var&) { return AttentionOptions{.causal = true}; });
  attention_case("/mask", true, [](const Var& q) {
    Tensor hides_all_from_one = host_mask({2, 1, 5, 6}, 17);
    for (size_t j = 0; j < 6; ++j) hides_all_from_one.host_mutable<bool>()[12 + j] = false;
    return AttentionOptions{.mask = hides_all_from_one.to(q.device())};
  });
  attention_case("/lengths_dropout", false, [](const Var& q) {
    return AttentionOptions{
        .key_lengths = index(q, {6, 4, 1, 0, 5, 3}, {2, 3}), .dropout = 0.25, .rng = {9, 4}};
  });

  // ---- quantised

  const auto straight_through_case = [&](std::string name, std::function<Var(const Var&)> fn) {
    cases.unary_case(name, std::move(fn));
    cases.back().surrogate = true;
  };
  straight_through_case("straight_through", [](const Var& x) {
    return straight_through("straight_through", x,
                            [](const Tensor& t) { return unary(kernels::UnaryOp::floor, t); });
  });
  straight_through_case("round_straight_through", round_straight_through);
  straight_through_case("sign_straight_through",
                        [](const Var& x) { return sign_straight_through(x, 1.1); });
  cases.add_case(
      {.name = "fake_quantize",
       .inputs = {{{4, 6}, -2, 2}, {{4, 2}, 0.2, 0.4}},
       .fn = one([](Inputs x) { return fake_quantize(x[0], x[1], code_range(3, true), {}, 0.5); }),
       .surrogate = true,
       .half_error = 24,
       .shares_dtype = false});
  cases.product_case("quantized_linear", {{{2, 3, 8}}, {{5}}}, [](Inputs x) {
    Tensor codes = Tensor::empty({5, 8}, DType::i8, Device::cpu());
    int8_t next = -20;
    for (int8_t& c : codes.host_mutable<int8_t>())
      c = static_cast<int8_t>(next = static_cast<int8_t>(next + 1));
    const Device device = x[0].device();
    const QuantizedTensor w{
        codes.to(device), full({5, 1}, 0.03, DType::f32, device), {}, {}, {5, 8}};
    return quantized_linear(x[0], w, x[1]);
  });
  cases.back().half_error = 24;
  cases.back().label = "add";
}

}  // namespace tessera::test
