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
#include "tessera/runtime/io/safetensors.hpp"

namespace tessera::models {
namespace {

using autograd::cross_entropy;

uint64_t fnv1a64(std::string_view text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  return hash;
}

// The value formula of tests/golden/README.md.
double formula(std::string_view name, uint64_t i) {
  uint64_t z = fnv1a64(name) + (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
  z ^= z >> 31;
  return static_cast<double>(z >> 40) * 0x1p-23 - 1.0;
}

Tensor formula_tensor(const std::string& name, const Shape& shape, double offset, double scale) {
  Tensor t = Tensor::empty(shape, DType::f64, Device::cpu());
  const auto out = t.host_mutable<double>();
  for (size_t i = 0; i < out.size(); ++i) out[i] = offset + scale * formula(name, i);
  return t;
}

class Golden {
 public:
  explicit Golden(const std::string& name)
      : file_(read_safetensors(std::string(TESSERA_GOLDEN_DIR) + "/" + name + ".safetensors")) {}

  bool has(const std::string& key) const { return file_.tensors.contains(key); }
  Tensor tensor(const std::string& key) const { return file_.tensors.at(key); }
  Tensor tensor(const std::string& key, DType dtype) const {
    return autograd::convert(tensor(key), dtype);
  }
  std::vector<double> values(const std::string& key) const {
    return tensor(key, DType::f64).values<double>();
  }

  template <class M>
  void initialize(M& model) const {
    model = cast(model, DType::f64);
    for_each_parameter(model, [&](const std::string& path, Var& p) {
      const auto init = values("init." + path);
      p = formula_tensor(path, p.shape(), init[0], init[1]);
      if (!has("param." + path)) return;
      // stored rounded to f32
      ASSERT_EQ(tensor("param." + path).values<float>(),
                autograd::convert(p.value(), DType::f32).values<float>())
          << path;
    });
  }

  template <class M>
  Vars probe(const M& model) const {
    Vars v;
    for_each_parameter(model, [&](const std::string& path, const Var& p) {
      v.push_back(formula_tensor("v." + path, p.shape(), 0.0, 1.0));
    });
    return v;
  }

 private:
  Safetensors file_;
};

void expect_close(const std::vector<double>& got, const std::vector<double>& want, double tolerance,
                  const std::string& what) {
  ASSERT_EQ(got.size(), want.size()) << what;
  double scale = 1e-12;
  for (const double w : want) scale = std::max(scale, std::abs(w));
  for (size_t i = 0; i < got.size(); ++i)
    ASSERT_NEAR(got[i], want[i], tolerance * scale) << what << "[" << i << "]";
}

// Everything the file holds about one family of per-parameter values: whole, head, norm and sum.
template <class M>
void expect_family(const Golden& golden, const std::string& family, const M& model, const Vars& got,
                   double tolerance) {
  const auto names = parameter_names(model);
  ASSERT_EQ(names.size(), got.size());
  for (size_t k = 0; k < names.size(); ++k) {
    const auto values = got[k].value().values<double>();
    double norm = 0, sum = 0, magnitude = 0;
    for (const double v : values) {
      norm += v * v;
      sum += v;
      magnitude += std::abs(v);
    }
    const std::string& n = names[k];
    if (const auto key = family + "." + n; golden.has(key)) {
      const bool single = golden.tensor(key).dtype() == DType::f32;
      expect_close(values, golden.values(key), single ? 1e-6 : tolerance, key);
    }
    if (const auto key = family + "_head." + n; golden.has(key)) {
      const auto head = golden.values(key);
      for (size_t i = 0; i < head.size(); ++i)
        ASSERT_NEAR(values[i], head[i], tolerance * (std::sqrt(norm) + 1e-12))
            << key << "[" << i << "]";
    }
    if (const auto key = family + "_norm." + n; golden.has(key))
      expect_close({std::sqrt(norm)}, golden.values(key), tolerance, key);
    if (const auto key = family + "_sum." + n; golden.has(key)) {
      ASSERT_NEAR(sum, golden.values(key)[0], tolerance * (magnitude + 1e-12)) << key;
    }
  }
}

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
    expect_close(losses, golden.values("losses"), 1e-9, "losses");
    expect_family(golden, "final", model, parameters(model), 1e-8);
    for_each_buffer(model, [&](const std::string& path, const Tensor& buffer) {
      if (golden.has("buffer_final." + path))
        expect_close(buffer.values<double>(), golden.values("buffer_final." + path), 1e-8, path);
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
  if (golden.has("vhv")) expect_close({vhv(at, loss, v).item()}, golden.values("vhv"), 1e-8, "vhv");
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
  expect_close(logits(model).value().values<double>(), golden.values("logits"), 1e-12, "logits");
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
  const auto adjacency = [&](DType dtype) {
    CsrMatrix a = CsrMatrix::from_parts(17, 17, golden.tensor("row_ptr"), golden.tensor("col"),
                                        golden.tensor("values", dtype));
    a.symmetric = true;
    return autograd::SparseMatrix(a);
  };
  const autograd::SparseMatrix a64 = adjacency(DType::f64), a32 = adjacency(DType::f32);
  const auto logits = [&](const Gcn& m) {
    const DType dtype = m.layers[0].weight.dtype();
    ForwardContext context{true, Rng(0)};
    return m(dtype == DType::f64 ? a64 : a32, NodeFeatures(golden.tensor("x", dtype)), context);
  };
  const auto loss = [&](const Gcn& m) {
    return cross_entropy(logits(m), golden.tensor("labels"), {.rows = golden.tensor("mask")});
  };
  expect_close(logits(model).value().values<double>(), golden.values("logits"), 1e-12, "logits");
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
  expect_close(logits(clone(model)).value().values<double>(), golden.values("logits"), 1e-10,
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
  expect_close(logits(model).value().values<double>(), golden.values("logits"), 1e-11, "logits");
  expect_derivatives(golden, model, loss);
  expect_training(golden, model, loss,
                  Adam{.learning_rate = 1e-3, .weight_decay = 0.05, .decoupled = true});
}

}  // namespace
}  // namespace tessera::models
