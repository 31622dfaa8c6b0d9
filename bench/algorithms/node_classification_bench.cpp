// Whole trainings of the GCN on Cora, as bench/peers/gcn_task.py trains it: 200 epochs from fresh
// weights; one evaluation, at the end, is inside the timing. TESSERA_CORA names the graph file;
// without it there is nothing to measure.
#include <cstdlib>
#include <memory>

#include "tessera/algorithms/node_classification/node_classification.hpp"
#include "tessera/bench/support/bench.hpp"

using namespace tessera;
using namespace tessera::algorithms::node_classification;

int main(int argc, char** argv) {
  const char* const file = std::getenv("TESSERA_CORA");
  if (!file) return 0;
  const auto prepare_training = [file] {
    struct State {
      models::GraphData graph;
      Problem problem;
      Training training;
    };
    models::GraphData graph = models::load_graph(file);
    Problem problem = prepare(graph, Network::gcn, true, Device::cpu());
    const auto state = std::make_shared<State>(State{std::move(graph), std::move(problem), {}});
    return bench::Work{.run =
                           [state] {
                             Options options;
                             options.evaluate_every = 0;  // once, after the last epoch
                             state->training = start(state->problem, options, Rng(1));
                             resume(state->training, state->problem,
                                    state->graph.public_splits.at(0), options, Rng(1));
                           },
                       .check =
                           [state] {
                             const double test =
                                 selected(state->training.history, Selection::last).test;
                             TS_CHECK(test > 0.79 && test < 0.84, "test accuracy ", test);
                           }};
  };
  bench::add({.name = "train/gcn_cora", .size = "200", .prepare = prepare_training});
  return bench::main(argc, argv);
}
