// Attention of a graph network: x W for 8 heads of 64 channels and attention over the neighbours
// and the node itself, forward and the gradients of a given seed in all parameters, as
// bench/peers/pyg_gat.py computes them. TESSERA_TOLOKERS names the graph file; without it there is
// nothing to measure.
#include <cmath>
#include <cstdlib>
#include <memory>

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/bench/support/bench.hpp"
#include "tessera/models/data/graph.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/layers/graph/attention.hpp"
#include "tessera/models/nets/gnn/gat.hpp"

using namespace tessera;

namespace {

constexpr int64_t heads = 8, channels = 64;

bench::Work gat(const char* file) {
  struct State {
    models::GraphOperators graph;
    models::NodeFeatures x;
    models::Gat layer;  // one, whose heads are averaged
    Tensor seed;
    models::Gat gradients;
    double sum = 0;
  };
  const models::GraphData data = models::load_graph(file);
  Rng rng(1);
  const auto state = std::make_shared<State>(
      State{models::GraphOperators(data.adjacency, Device::cpu()),
            models::NodeFeatures(data.dense_features),
            models::Gat::make(data.features(), channels, channels, 1, heads, 0.0, rng),
            models::normal({data.nodes, channels}, 1.0, rng),
            {}});
  const auto entries = static_cast<double>(state->graph.pattern(true).entries());
  return {.run =
              [state] {
                const auto [loss, gradients] =
                    models::value_and_grad(state->layer, [&](const models::Gat& layer) {
                      models::ForwardContext context{true, Rng(0)};
                      return autograd::sum(layer(state->graph, state->x, context) *
                                           models::Var(state->seed));
                    });
                state->sum = loss.item();
                state->gradients = models::with_parameters(state->layer, gradients);
              },
          .check =
              [state] {
                TS_CHECK(std::isfinite(state->sum), "loss ", state->sum);
                models::for_each_parameter(
                    state->gradients, [](const std::string& name, const models::Var& g) {
                      TS_CHECK(std::isfinite(autograd::sum(g * g).item()), "gradient of ", name);
                    });
              },
          // x's rows twice and gy's once for every entry
          .bytes = 3 * entries * heads * channels * 4};
}

}  // namespace

int main(int argc, char** argv) {
  if (const char* const file = std::getenv("TESSERA_TOLOKERS"))
    bench::add({.name = "graph/gat_fwd_bwd", .size = "tolokers 8x64", .prepare = [=] {
                  return gat(file);
                }});
  return bench::main(argc, argv);
}
