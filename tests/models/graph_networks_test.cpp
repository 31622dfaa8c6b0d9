// Every graph network against PyTorch's values of the dense formulas, and against itself side by
// side with others.
#include <gtest/gtest.h>

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/loss.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/nets/gnn/acm.hpp"
#include "tessera/models/nets/gnn/appnp.hpp"
#include "tessera/models/nets/gnn/fagcn.hpp"
#include "tessera/models/nets/gnn/gat.hpp"
#include "tessera/models/nets/gnn/gcnii.hpp"
#include "tessera/models/nets/gnn/glognn.hpp"
#include "tessera/models/nets/gnn/h2gcn.hpp"
#include "tessera/models/nets/gnn/hoggcn.hpp"
#include "tessera/models/nets/gnn/linkx.hpp"
#include "tessera/models/nets/gnn/mixhop.hpp"
#include "tessera/models/nets/gnn/sage.hpp"
#include "tessera/models/nets/gnn/sgc.hpp"
#include "tessera/models/nets/gnn/trunk.hpp"
#include "tessera/models/nets/gnn/wrgat.hpp"
#include "tessera/models/runs.hpp"
#include "tessera/models/train.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/golden.hpp"

namespace tessera::models {
namespace {

constexpr int64_t nodes = 17, width = 6, hidden = 8, classes = 3, heads = 2;

CsrMatrix golden_adjacency() {
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

/// Calls body(name, make), make(rng) giving a network without dropout or, where asked, with it.
template <class Body>
void for_networks(double dropout, Body&& body) {
  for (const char* module : {"resnet", "gcn", "sage", "gat", "gat_sep", "gt", "gt_sep"}) {
    TrunkOptions options{.hidden = hidden, .heads = heads, .dropout = dropout};
    parse(module, options.module);
    body(concat("trunk_", module),
         [=](Rng& rng) { return ResidualTrunk::make(width, classes, options, rng); });
  }
  body("sgc", [=](Rng& rng) { return Sgc::make(width, classes, 2, dropout, rng); });
  body("gat", [=](Rng& rng) { return Gat::make(width, hidden, classes, 2, heads, dropout, rng); });
  body("sage", [=](Rng& rng) { return Sage::make({width, hidden, classes}, dropout, rng); });
  body("mixhop", [=](Rng& rng) { return MixHop::make(width, hidden, classes, 2, dropout, rng); });
  body("appnp", [=](Rng& rng) {
    return Appnp::make(width, classes,
                       {.hidden = hidden, .steps = 4, .teleport = 0.2, .dropout = dropout}, rng);
  });
  body("gprgnn", [=](Rng& rng) {
    return GprGnn::make(
        width, classes,
        {.hidden = hidden, .steps = 4, .dropout = dropout, .propagation_dropout = dropout}, rng);
  });
  body("gcnii", [=](Rng& rng) {
    return Gcnii::make(width, classes, {.layers = 3, .hidden = hidden, .dropout = dropout}, rng);
  });
  body("h2gcn", [=](Rng& rng) { return H2Gcn::make(width, hidden, classes, 2, dropout, rng); });
  body("fagcn", [=](Rng& rng) {
    return FaGcn::make(width, classes, {.hidden = hidden, .dropout = dropout}, rng);
  });
  const auto acm = [&](const std::string& name, AcmGcn::Options options) {
    options.hidden = hidden;
    options.dropout = dropout;
    body(name, [=](Rng& rng) { return AcmGcn::make(width, classes, options, rng); });
  };
  acm("acm", {});
  acm("acmii", {.relu_first = true});
  acm("acm_plus", {.plus = true, .structure_nodes = nodes});
  acm("acm_plus_plus", {.plus = true, .structure_nodes = nodes, .residual = true});
  body("linkx", [=](Rng& rng) {
    return Linkx::make(nodes, width, classes, {.hidden = hidden, .dropout = dropout}, rng);
  });
  body("wrgat", [=](Rng& rng) {
    return Wrgat::make(width, classes, {.hidden = hidden, .heads = heads, .dropout = dropout}, rng);
  });
  body("glognn", [=](Rng& rng) {
    return GloGnn::make(
        nodes, width, classes,
        {.hidden = hidden, .alpha = 3, .beta = 0.5, .gamma = 0.3, .delta = 0.6, .dropout = dropout},
        rng);
  });
  body("hoggcn", [=](Rng& rng) {
    return HogGcn::make(GraphOperators(golden_adjacency(), Device::cpu()), width, classes,
                        {.hidden = hidden, .neighbours = 0.7, .dropout = dropout}, rng);
  });
}

TEST(GraphNetworks, AgreeWithDenseFormulas) {
  const test::Golden data("graph_networks");
  const GraphOperators graph(golden_adjacency(), Device::cpu());
  const NodeFeatures x(data.tensor("x", DType::f64));
  for_networks(0, [&](const std::string& name, auto&& make) {
    SCOPED_TRACE(name);
    const test::Golden golden("graph_networks", name + ".");
    Rng rng(0);
    auto model = make(rng);
    golden.initialize(model);
    const auto logits = [&](const auto& m) {
      ForwardContext context{true, Rng(0)};
      return m(graph, x, context);
    };
    test::expect_golden(logits(model).value().template values<double>(), golden.values("logits"),
                        1e-12, "logits");
    const auto [loss, gradients] = value_and_grad(model, [&](const auto& m) {
      return autograd::cross_entropy(logits(m), data.tensor("labels"),
                                     {.rows = data.tensor("mask")});
    });
    EXPECT_NEAR(loss.item(), golden.values("loss")[0], 1e-12);
    test::expect_family(golden, "grad", model, gradients, 1e-10);
  });
}

TEST(GraphOperators, WhatFailedFailsAgain) {
  const GraphOperators graph(CsrMatrix::from_edges(3, 3, {}, {}), Device::cpu());
  for (int time = 0; time < 2; ++time) EXPECT_THROW(graph.structural(-1), Error);
  EXPECT_EQ(graph.structural(2).size(), 2u);
}

// Soft labels that are sure have a class of probability 0 in f32.
TEST(GraphNetworks, SureSoftLabelsOfHogGcnHaveFiniteLogarithmsAndGradients) {
  const GraphOperators graph(golden_adjacency(), Device::cpu());
  Rng numbers(5);
  const NodeFeatures x(normal({nodes, width}, 1e4, numbers));
  const HogGcn model = HogGcn::make(graph, width, classes, {.hidden = 6, .dropout = 0}, numbers);
  double least = 0;
  const Vars gradients = value_and_grad(model, [&](const HogGcn& m) {
                           ForwardContext context;
                           Vars auxiliary;
                           m(graph, x, context, &auxiliary);
                           for (const double v : test::to_doubles(auxiliary.at(1).value()))
                             least = std::min(least, v);
                           return autograd::sum(auxiliary.at(1));
                         }).gradients;
  EXPECT_LT(least, -60);  // the case occurs
  EXPECT_TRUE(std::isfinite(least));
  for (const Var& gradient : gradients)
    for (const double v : test::to_doubles(gradient.value())) ASSERT_TRUE(std::isfinite(v));
}

TEST(GraphNetworks, SparseFeaturesAreTheSameFeatures) {
  std::vector<int64_t> row, col;
  std::vector<float> dense(nodes * width);
  Rng numbers(3);
  for (int64_t i = 0; i < nodes * width; ++i)
    if (numbers.uniform() < 0.4) {
      row.push_back(i / width), col.push_back(i % width);
      dense[static_cast<size_t>(i)] = 1;
    }
  const GraphOperators graph(golden_adjacency(), Device::cpu());
  const NodeFeatures sparse(CsrMatrix::from_edges(nodes, width, row, col)),
      full(Tensor::from(dense, {nodes, width}, Device::cpu()));
  for_networks(0, [&](const std::string& name, auto&& make) {
    Rng rng(1);
    const auto model = make(rng);
    ForwardContext context;
    test::expect_close(model(graph, sparse, context).value(),
                       test::to_doubles(model(graph, full, context).value()),
                       {.rtol = 1e-5, .atol = 1e-5}, name);
  });
}

template <class M>
struct Outcome {
  Tensor logits;
  M gradients;
};

/// Logits, and the gradient of their sum with given weights, of models side by side.
template <class M>
Outcome<M> outcome(const std::vector<M>& models, const std::vector<Rng>& rngs,
                   const GraphOperators& graph, const NodeFeatures& x) {
  const M stacked = stack_runs(models);
  const auto runs = static_cast<int64_t>(models.size());
  StepRng numbers(Device::cpu(), runs);
  numbers.begin(rngs);
  const Var weights =
      autograd::unsqueeze(test::formula_tensor("weights", {nodes, classes}, 0.0, 1.0), 1);
  Outcome<M> result;
  const Vars gradients = value_and_grad(stacked, [&](const M& m) {
                           ForwardContext context{true, numbers.rng(), runs};
                           const Var y = m(graph, x, context);
                           result.logits = y.value();
                           return autograd::sum(y * autograd::cast(weights, y.dtype()));
                         }).gradients;
  result.gradients = with_parameters(stacked, gradients);
  return result;
}

// With dropout: values and gradients of a run are the same bits whatever stands beside it.
TEST(GraphNetworks, RunsSideBySideAreWhatTheyAreAlone) {
  const GraphOperators graph(golden_adjacency(), Device::cpu());
  Rng numbers(5);
  const NodeFeatures dense(normal({nodes, width}, 1.0, numbers));
  const NodeFeatures sparse(CsrMatrix::from_edges(nodes, width,
                                                  std::vector<int64_t>{0, 0, 3, 5, 8, 16},
                                                  std::vector<int64_t>{1, 2, 0, 5, 3, 3}));
  for (const NodeFeatures& x : {dense, sparse})
    for_networks(0.4, [&](const std::string& name, auto&& make) {
      SCOPED_TRACE(concat(name, x.sparse() ? ", sparse features" : ""));
      using M = decltype(make(numbers));
      std::vector<M> models;
      std::vector<Rng> rngs;
      for (uint64_t r = 0; r < 3; ++r) {
        Rng rng(r);
        models.push_back(make(rng));
        rngs.emplace_back(100 + r);
      }
      const Outcome<M> together = outcome(models, rngs, graph, x);
      ASSERT_EQ(together.logits.shape(), (Shape{nodes, 3, classes}));
      for (size_t r = 0; r < 3; ++r) {
        const Outcome<M> alone = outcome<M>({models[r]}, {rngs[r]}, graph, x);
        const auto run = static_cast<int64_t>(r);
        EXPECT_EQ(test::to_doubles(together.logits.select(1, run)),
                  test::to_doubles(alone.logits.select(1, 0)))
            << "run " << r;
        const auto mine = parameters(select_run(together.gradients, run)),
                   its = parameters(select_run(alone.gradients, 0));
        const auto names = parameter_names(models[r]);
        ASSERT_EQ(mine.size(), names.size());
        for (size_t i = 0; i < names.size(); ++i) {
          const std::string what = concat("run ", r, ", ", names[i]);
          const auto got = test::to_doubles(mine[i].value()),
                     want = test::to_doubles(its[i].value());
          // a sum in an order that the layout decides
          const bool ordered = mine[i].numel() == 1 || names[i] == "gamma" ||
                               names[i] == "order_weights" || names[i] == "mask";
          if (ordered)
            test::expect_close(mine[i].value(), want, {.rtol = 1e-5, .atol = 1e-6}, what);
          else
            EXPECT_EQ(got, want) << what;
        }
      }
    });
}

}  // namespace
}  // namespace tessera::models
