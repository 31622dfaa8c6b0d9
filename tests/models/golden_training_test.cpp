// Small networks against reference values of a named PyTorch version (tests/golden/README.md):
// logits, loss, gradients, Hessian products, and ten optimizer steps, in f64; the losses also in
// f32.
#include <gtest/gtest.h>

#include <cmath>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/models/nets/gnn/gcn.hpp"
#include "tessera/models/nets/mlp.hpp"
#include "tessera/models/nets/resnet.hpp"
#include "tessera/models/nets/vit.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/optim/sgd.hpp"
#include "tessera/tests/support/golden.hpp"

namespace tessera::models {
namespace {

using autograd::cross_entropy;
using test::expect_family;
using test::expect_golden;
using test::Golden;

// Losses in f32 against those in f64. What the reference's own f32 run is off by, times four; and
// where the network has a relu, twice what rounding may do to each step by its choice of units
// (README.md of the files).
void expect_single_precision(const Golden& golden, const std::vector<double>& got) {
  const auto want = golden.values("losses"), single = golden.values("losses_f32");
  const auto spread = golden.has("losses_spread") ? golden.values("losses_spread")
                                                  : std::vector<double>(want.size());
  double rounding = 0;
  for (size_t i = 0; i < want.size(); ++i)
    rounding = std::max(rounding, std::abs(single[i] - want[i]));
  ASSERT_EQ(got.size(), want.size());
  for (size_t i = 0; i < want.size(); ++i)
    EXPECT_NEAR(got[i], want[i], 4 * rounding + 2 * spread[i]) << "loss in f32 at step " << i;
}

template <class M, class Loss, class Optimizer>
void expect_training(const Golden& golden, const M& start, Loss&& loss, const Optimizer& settings) {
  for (const DType dtype : {DType::f64, DType::f32}) {
    SCOPED_TRACE(std::string(to_string(dtype)));
    M model = cast(clone(start), dtype);
    Optimizer optimizer = settings;
    std::vector<double> losses;
    for (int step = 0; step < 10; ++step) {
      auto [value, gradients] = value_and_grad(model, loss);
      losses.push_back(value.item());
      optimizer.step(model, gradients);
    }
    if (dtype == DType::f32) {
      expect_single_precision(golden, losses);
      continue;
    }
    expect_golden(losses, golden.values("losses"), 1e-9, "losses");
    expect_family(golden, "final", model, parameters(model), 1e-8);
    for_each_buffer(model, [&](const std::string& path, const Tensor& buffer) {
      if (golden.has("buffer_final." + path))
        expect_golden(buffer.values<double>(), golden.values("buffer_final." + path), 1e-8, path);
    });
  }
}

template <class M, class Loss>
void expect_derivatives(const Golden& golden, const M& model, Loss&& loss) {
  // Running statistics move with every forward pass; these runs are not training steps.
  const M at = clone(model);
  auto [value, gradients] = value_and_grad(at, loss);
  EXPECT_NEAR(value.item(), golden.values("loss")[0], 1e-11);
  expect_family(golden, "grad", at, gradients, 1e-9);
  const Vars v = golden.probe(at);
  expect_family(golden, "hvp", at, hvp(at, loss, v), 1e-8);
  expect_family(golden, "hvp", at,
                autograd::hvp_reverse(loss_of_parameters(at, loss), parameters(at), v), 1e-8);
  if (golden.has("vhv"))
    expect_golden({vhv(at, loss, v).item()}, golden.values("vhv"), 1e-8, "vhv");
}

TEST(GoldenTraining, Mlp) {
  const Golden golden("mlp");
  Rng rng(0);
  Mlp model = Mlp::make({5, 7, 6, 3}, rng);
  golden.initialize(model);
  const Tensor labels = golden.tensor("labels");
  const auto logits = [&](const Mlp& m) {
    return m(golden.tensor("x", m.layers[0].weight.dtype()));
  };
  const auto loss = [&](const Mlp& m) { return cross_entropy(logits(m), labels); };
  expect_golden(logits(model).value().values<double>(), golden.values("logits"), 1e-12, "logits");
  expect_derivatives(golden, model, loss);
  const Vars ggn =
      autograd::ggnvp([&](Inputs values) { return logits(with_parameters(model, values)); },
                      [&](const Var& y) { return cross_entropy(y, labels); }, parameters(model),
                      golden.probe(model));
  expect_family(golden, "ggnvp", model, ggn, 1e-8);
  expect_training(golden, model, loss, Adam{.learning_rate = 1e-2});
}

TEST(GoldenTraining, Gcn) {
  const Golden golden("gcn");
  Rng rng(0);
  Gcn model = Gcn::make({6, 8, 3}, 0.0, rng);
  golden.initialize(model);
  CsrMatrix pattern = CsrMatrix::from_parts(17, 17, golden.tensor("row_ptr"), golden.tensor("col"));
  pattern.symmetric = true;
  const GraphOperators graph(pattern, Device::cpu());
  const auto logits = [&](const Gcn& m) {
    ForwardContext context{true, Rng(0)};
    return m(graph, NodeFeatures(golden.tensor("x", m.layers[0].weight.dtype())), context);
  };
  const auto loss = [&](const Gcn& m) {
    return cross_entropy(logits(m), golden.tensor("labels"), {.rows = golden.tensor("mask")});
  };
  expect_golden(logits(model).value().values<double>(), golden.values("logits"), 1e-12, "logits");
  expect_derivatives(golden, model, loss);
  expect_training(golden, model, loss, Adam{.learning_rate = 1e-2, .weight_decay = 5e-4});
}

void expect_resnet(const std::string& file, ResNet model) {
  const Golden golden(file);
  golden.initialize(model);
  const ForwardContext training{true, Rng(0)};
  const auto logits = [&](const ResNet& m) {
    return m(golden.tensor("x", m.conv1.weight.dtype()), training);
  };
  const auto loss = [&](const ResNet& m) {
    return cross_entropy(logits(m), golden.tensor("labels"));
  };
  expect_golden(logits(clone(model)).value().values<double>(), golden.values("logits"), 1e-10,
                "logits");
  expect_derivatives(golden, model, loss);
  expect_training(
      golden, model, loss,
      Sgd{.learning_rate = 0.02, .momentum = 0.9, .weight_decay = 1e-4, .nesterov = true});
}

TEST(GoldenTraining, TinyResNet) {
  Rng rng(0);
  expect_resnet("tiny_resnet",
                ResNet::make(1, {4, 8, 16}, Golden("tiny_resnet").tensor("logits").size(1), rng));
}

TEST(GoldenTraining, ResNet20) {
  Rng rng(0);
  expect_resnet("resnet20", ResNet::make(20, Golden("resnet20").tensor("logits").size(1), rng));
}

TEST(GoldenTraining, Vit) {
  const Golden golden("vit");
  Rng rng(0);
  Vit model = Vit::make({.image_size = 16,
                         .patch_size = 4,
                         .channels = 3,
                         .width = 32,
                         .depth = 2,
                         .heads = 4,
                         .mlp_ratio = 4,
                         .classes = 5},
                        rng);
  golden.initialize(model);
  const auto logits = [&](const Vit& m) { return m(golden.tensor("x", m.cls_token.dtype())); };
  const auto loss = [&](const Vit& m) {
    return cross_entropy(logits(m), golden.tensor("labels"), {.label_smoothing = 0.1});
  };
  expect_golden(logits(model).value().values<double>(), golden.values("logits"), 1e-11, "logits");
  expect_derivatives(golden, model, loss);
  expect_training(golden, model, loss,
                  Adam{.learning_rate = 1e-3, .weight_decay = 0.05, .decoupled = true});
}

}  // namespace
}  // namespace tessera::models
