// The residual trunk's modules of GFS against PyTorch's values of the dense formulas, and against
// themselves side by side.
#include <gtest/gtest.h>

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/loss.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/nets/gnn/trunk.hpp"
#include "tessera/models/runs.hpp"
#include "tessera/models/train.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/golden.hpp"

namespace tessera::models {
namespace {

constexpr int64_t nodes = 17, width = 6, hidden = 8, classes = 3;
constexpr const char* modules[] = {"gt", "sgc", "appnp", "acm_gcn", "fagcn", "sage"};

TrunkOptions options_of(const char* module, double dropout) {
  TrunkOptions options{.hidden = hidden,
                       .heads = 2,
                       .dropout = dropout,
                       .edge_dropout = dropout,
                       .self_loops_everywhere = true,
                       .feed_forward_after_dot = false};
  parse(module, options.module);
  return options;
}

CsrMatrix adjacency() {
  const auto edges = test::Golden("graph_networks").tensor("edges").values<int32_t>();
  const size_t count = edges.size() / 2;
  std::vector<int64_t> row, col;
  for (size_t e = 0; e < count; ++e) {
    row.push_back(edges[e]), col.push_back(edges[count + e]);
    row.push_back(edges[count + e]), col.push_back(edges[e]);
  }
  CsrMatrix a = CsrMatrix::from_edges(nodes, nodes, row, col);
  a.symmetric = true;
  return a;
}

TEST(TrunkModules, AgreeWithDenseFormulas) {
  const test::Golden data("graph_networks");
  const GraphOperators graph(adjacency(), Device::cpu());
  const NodeFeatures x(data.tensor("x", DType::f64));
  for (const char* module : modules) {
    SCOPED_TRACE(module);
    const test::Golden golden("trunk_modules", concat("trunk_", module, "."));
    Rng rng(0);
    auto model = ResidualTrunk::make(width, classes, options_of(module, 0), rng);
    golden.initialize(model);
    const auto logits = [&](const ResidualTrunk& m) {
      ForwardContext context{true, Rng(0)};
      return m(graph, x, context);
    };
    test::expect_golden(logits(model).value().values<double>(), golden.values("logits"), 1e-12,
                        "logits");
    const auto [loss, gradients] = value_and_grad(model, [&](const ResidualTrunk& m) {
      return autograd::cross_entropy(logits(m), data.tensor("labels"),
                                     {.rows = data.tensor("mask")});
    });
    EXPECT_NEAR(loss.item(), golden.values("loss")[0], 1e-12);
    test::expect_family(golden, "grad", model, gradients, 1e-10);
  }
}

/// Gradients of the sum of weighted logits of models side by side, and the logits.
Vars gradients_of(const ResidualTrunk& stacked, const std::vector<Rng>& rngs,
                  const GraphOperators& graph, const NodeFeatures& x, Tensor& logits) {
  const auto runs = static_cast<int64_t>(rngs.size());
  StepRng numbers(Device::cpu(), runs);
  numbers.begin(rngs);
  const Var weights = autograd::cast(
      Var(test::formula_tensor("weights", {nodes, 1, classes}, 0.0, 1.0)), DType::f32);
  return value_and_grad(stacked,
                        [&](const ResidualTrunk& m) {
                          ForwardContext context{true, numbers.rng(), runs};
                          const Var y = m(graph, x, context);
                          logits = y.value();
                          return autograd::sum(y * weights);
                        })
      .gradients;
}

// With dropout of activations, attention coefficients and edges.
TEST(TrunkModules, RunsSideBySideAreWhatTheyAreAlone) {
  const GraphOperators graph(adjacency(), Device::cpu());
  Rng numbers(5);
  const NodeFeatures x(normal({nodes, width}, 1.0, numbers));
  for (const char* module : modules) {
    std::vector<ResidualTrunk> models;
    std::vector<Rng> rngs;
    for (uint64_t r = 0; r < 3; ++r) {
      Rng rng(r);
      models.push_back(ResidualTrunk::make(width, classes, options_of(module, 0.4), rng));
      rngs.emplace_back(100 + r);
    }
    const ResidualTrunk stacked = stack_runs(models);
    Tensor together;
    const ResidualTrunk joint =
        with_parameters(stacked, gradients_of(stacked, rngs, graph, x, together));
    for (size_t r = 0; r < models.size(); ++r) {
      SCOPED_TRACE(concat(module, ", run ", r));
      const auto run = static_cast<int64_t>(r);
      const ResidualTrunk one = stack_runs(std::vector{models[r]});
      Tensor alone;
      const ResidualTrunk own = with_parameters(one, gradients_of(one, {rngs[r]}, graph, x, alone));
      test::expect_close(together.select(1, run), test::to_doubles(alone.select(1, 0)),
                         {.rtol = 1e-5, .atol = 1e-5}, "logits");
      const Vars mine = parameters(select_run(joint, run)), its = parameters(select_run(own, 0));
      for (size_t i = 0; i < mine.size(); ++i)
        test::expect_close(mine[i].value(), test::to_doubles(its[i].value()),
                           {.rtol = 1e-4, .atol = 1e-4}, parameter_names(models[r])[i]);
    }
  }
}

// Dropping edges keeps the expectation: the mean over many draws is what no dropping gives.
TEST(TrunkModules, EdgeDropoutKeepsTheMean) {
  const GraphOperators graph(adjacency(), Device::cpu());
  Rng rng(3);
  const NodeFeatures x(normal({nodes, width}, 1.0, rng));
  TrunkOptions options = options_of("appnp", 0);
  options.layers = 1;
  options.edge_dropout = 0.5;
  const ResidualTrunk model = ResidualTrunk::make(width, classes, options, rng);
  const auto block = [&](ForwardContext context) {
    return model.blocks[0](graph, model.input(x, 0.0, context), context).value();
  };
  const auto plain = test::to_doubles(block({}));
  std::vector<double> mean(plain.size());
  constexpr int draws = 2000;
  bool differs = false;
  for (uint64_t d = 0; d < draws; ++d) {
    const auto one = test::to_doubles(block({true, Rng(d)}));
    differs = differs || one != plain;
    for (size_t i = 0; i < mean.size(); ++i) mean[i] += one[i] / draws;
  }
  EXPECT_TRUE(differs);
  for (size_t i = 0; i < mean.size(); ++i) EXPECT_NEAR(mean[i], plain[i], 0.1) << i;
}

}  // namespace
}  // namespace tessera::models
