#include <gtest/gtest.h>

#include <set>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/runtime/io/safetensors.hpp"
#include "tessera/tests/support/gradcheck.hpp"

// Values and gradients of single operations against PyTorch: tests/golden/ops.safetensors, whose
// README says what each case is.

namespace tessera::test {
namespace {

using namespace autograd;

const std::map<std::string, Tensor>& golden() {
  static const auto tensors =
      load_safetensors(std::string(TESSERA_GOLDEN_DIR) + "/ops.safetensors");
  return tensors;
}

struct GoldenCase {
  std::string name;
  std::vector<std::string> inputs;
  std::function<Var(Inputs)> fn;
};

Tensor stored(const std::string& name, const std::string& key) {
  return golden().at(name + "." + key);
}

std::vector<GoldenCase> golden_cases() {
  std::vector<GoldenCase> list;
  const auto on_x = [&](const std::string& name, const std::function<Var(const Var&)>& fn) {
    list.push_back({name, {"x"}, [fn](Inputs in) { return fn(in[0]); }});
  };
  const std::vector<std::string> xwb{"x", "w", "b"};

  on_x("gelu_erf", gelu);
  on_x("gelu_tanh", gelu_tanh);
  on_x("silu", silu);
  on_x("softmax", [](const Var& x) { return softmax(x); });
  on_x("log_softmax", [](const Var& x) { return log_softmax(x); });
  on_x("softmax_axis1", [](const Var& x) { return softmax(x, 1); });
  on_x("log_softmax_axis1", [](const Var& x) { return log_softmax(x, 1); });

  list.push_back({"layer_norm", xwb, [](Inputs in) { return layer_norm(in[0], in[1], in[2]); }});
  list.push_back(
      {"instance_norm", xwb, [](Inputs in) { return instance_norm(in[0], in[1], in[2]); }});
  list.push_back({"group_norm", xwb, [](Inputs in) { return group_norm(in[0], 3, in[1], in[2]); }});
  for (std::string name : {"batch_norm_train", "batch_norm_train_2d"})
    list.push_back({name, xwb, [](Inputs in) { return batch_norm(in[0], in[1], in[2]); }});
  list.push_back({"batch_norm_eval", xwb, [](Inputs in) {
                    return batch_norm_inference(in[0], in[1], in[2],
                                                stored("batch_norm_eval", "running_mean"),
                                                stored("batch_norm_eval", "running_var"));
                  }});

  const auto entropy = [&](const std::string& name, const CrossEntropyOptions& options) {
    on_x(name, [=](const Var& x) { return cross_entropy(x, stored(name, "labels"), options); });
  };
  entropy("cross_entropy", {});
  entropy("cross_entropy_sum", {.reduction = LossReduction::sum});
  entropy("cross_entropy_none", {.label_smoothing = 0.1, .reduction = LossReduction::none});
  entropy("cross_entropy_smooth", {.label_smoothing = 0.1});
  entropy("cross_entropy_ignore", {});
  entropy("cross_entropy_smooth_ignore", {.label_smoothing = 0.1});

  const auto conv = [&](const std::string& name, const Conv2dParams& p) {
    list.push_back(
        {"conv2d_" + name, xwb, [p](Inputs in) { return conv2d(in[0], in[1], in[2], p); }});
  };
  conv("3x3", {.padding = {1, 1}});
  conv("3x3_valid", {});
  conv("3x3_stride2", {.stride = {2, 2}, .padding = {1, 1}});
  conv("3x3_dilated", {.padding = {2, 2}, .dilation = {2, 2}});
  conv("1x1", {});
  conv("1x1_stride2", {.stride = {2, 2}});
  conv("5x3", {.stride = {1, 2}, .padding = {2, 1}});
  conv("depthwise", {.padding = {1, 1}, .groups = 5});
  conv("depthwise_stride2", {.stride = {2, 2}, .padding = {1, 1}, .groups = 5});
  conv("grouped", {.padding = {1, 1}, .groups = 2});
  conv("patch", {.stride = {4, 4}});
  list.push_back({"conv2d_transposed", xwb, [](Inputs in) {
                    return conv2d_transposed(in[0], in[1], in[2], {.padding = {1, 1}});
                  }});
  list.push_back({"conv2d_transposed_stride2", xwb, [](Inputs in) {
                    return conv2d_transposed(in[0], in[1], in[2],
                                             {.stride = {2, 2}, .padding = {1, 1}}, {1, 1});
                  }});

  const Pool2dParams two{}, three{.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}};
  Pool2dParams inside = three;
  inside.count_padding = false;
  on_x("max_pool_2x2", [=](const Var& x) { return max_pool2d(x, two); });
  on_x("max_pool_3x3_stride2", [=](const Var& x) { return max_pool2d(x, three); });
  on_x("avg_pool_2x2", [=](const Var& x) { return average_pool2d(x, two); });
  on_x("avg_pool_3x3_stride2", [=](const Var& x) { return average_pool2d(x, three); });
  on_x("avg_pool_3x3_stride2_exclude_pad", [=](const Var& x) { return average_pool2d(x, inside); });
  on_x("global_avg_pool", global_average_pool);

  const auto attention = [&](const std::string& name, const AttentionOptions& options) {
    list.push_back({name, {"q", "k", "v"}, [=](Inputs in) {
                      return scaled_dot_product_attention(in[0], in[1], in[2], Var(), options);
                    }});
  };
  attention("attention", {});
  attention("attention_scale", {.scale = 0.25});
  attention("attention_causal", {.causal = true});
  attention("attention_mask", {.mask = stored("attention_mask", "mask")});
  list.push_back({"attention_bias", {"q", "k", "v", "bias"}, [](Inputs in) {
                    return scaled_dot_product_attention(in[0], in[1], in[2], in[3]);
                  }});

  list.push_back({"embedding", {"w"}, [](Inputs in) {
                    return gather_rows(in[0], stored("embedding", "ids"));
                  }});
  return list;
}

void PrintTo(const GoldenCase& c, std::ostream* out) { *out << c.name; }

class Golden : public testing::TestWithParam<GoldenCase> {};

TEST_P(Golden, ValuesAndGradients) {
  const GoldenCase& c = GetParam();
  Vars stored_inputs;
  for (const std::string& key : c.inputs) stored_inputs.emplace_back(stored(c.name, key));
  const std::string missing = missing_kernel([&] { c.fn(stored_inputs); });
  if (!missing.empty()) GTEST_SKIP() << missing;
  for (DType dtype : {DType::f64, DType::f32}) {
    // The references were rounded nowhere; the sums behind them are a few dozen terms long.
    const double error = 256 * roundoff(dtype);
    Vars x;
    for (const std::string& key : c.inputs) x.emplace_back(convert(stored(c.name, key), dtype));
    auto [y, pullback] = vjp(Fn(c.fn), x);
    expect_close(to_doubles(y.value()), to_doubles(stored(c.name, "y")), error, "y");
    const Vars g = pullback(convert(stored(c.name, "gy"), dtype));
    for (size_t i = 0; i < x.size(); ++i)
      expect_close(to_doubles(g[i].value()), to_doubles(stored(c.name, "g" + c.inputs[i])), error,
                   "gradient of " + c.inputs[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Ops, Golden, testing::ValuesIn(golden_cases()),
                         [](const auto& test) { return test.param.name; });

TEST(GoldenBatchNorm, RunningStatistics) {
  for (std::string name : {"batch_norm_train", "batch_norm_train_2d"}) {
    const auto f64 = [&](const char* key) {
      return convert(stored(name, key), DType::f64).clone();
    };
    const Tensor mean = f64("running_mean"), variance = f64("running_var");
    const Vars x{f64("x")};
    // Once, although the function is differentiated twice.
    const Fn loss = [&](Inputs in) {
      return sum(square(batch_norm(in[0], f64("w"), f64("b"), mean, variance)));
    };
    hvp(loss, x, x);
    expect_close(to_doubles(mean), to_doubles(stored(name, "running_mean_out")), 1e-14,
                 name + " mean");
    expect_close(to_doubles(variance), to_doubles(stored(name, "running_var_out")), 1e-14,
                 name + " variance");
  }
}

// Every tensor of the file belongs to a case above.
TEST(GoldenFile, IsTestedWhole) {
  std::set<std::string> tested;
  for (const GoldenCase& c : golden_cases()) tested.insert(c.name);
  for (const auto& [key, tensor] : golden())
    EXPECT_TRUE(tested.contains(key.substr(0, key.find('.')))) << key;
}

}  // namespace
}  // namespace tessera::test
