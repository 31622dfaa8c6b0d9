// Whole trainings of the GCN on Cora, as bench/peers/gcn_task.py trains it: 200 epochs from fresh
// weights; one evaluation, at the end, is inside the timing. `gcn_cora` is one run; 100 runs side
// by side, ten at a time, and one after another are `gcn_cora_together` and `gcn_cora_in_turn`.
// TESSERA_CORA names the graph file; without it there is nothing to measure.
#include <cstdlib>
#include <memory>

#include "tessera/algorithms/node_classification/node_classification.hpp"
#include "tessera/bench/support/bench.hpp"

using namespace tessera;
using namespace tessera::algorithms::node_classification;

int main(int argc, char** argv) {
  const char* const file = std::getenv("TESSERA_CORA");
  if (!file) return 0;
  const auto prepare_runs = [file](int64_t runs, int64_t together) {
    return [=] {
      struct State {
        models::GraphData graph;
        Problem problem;
        Training training;
      };
      models::GraphData graph = models::load_graph(file);
      Problem problem = prepare(graph, true, Device::cpu());
      const auto state = std::make_shared<State>(State{std::move(graph), std::move(problem), {}});
      return bench::Work{.run =
                             [=] {
                               Options options;
                               options.evaluate_every = 0;  // once, after the last epoch
                               for (int64_t first = 0; first < runs; first += together) {
                                 std::vector<Rng> rngs;
                                 for (int64_t r = first; r < first + together; ++r)
                                   rngs.emplace_back(static_cast<uint64_t>(r + 1));
                                 const std::vector<models::Split> splits(
                                     static_cast<size_t>(together),
                                     state->graph.public_splits.at(0));
                                 state->training = start(state->problem, options, rngs);
                                 resume(state->training, state->problem, splits, options, rngs);
                               }
                             },
                         .check =
                             [state] {
                               for (const History& history : state->training.histories) {
                                 const double test = selected(history, Selection::last).test;
                                 TS_CHECK(test > 0.77 && test < 0.85, "test accuracy ", test);
                               }
                             }};
    };
  };
  bench::add({.name = "train/gcn_cora", .size = "200", .prepare = prepare_runs(1, 1)});
  bench::add(
      {.name = "train/gcn_cora_together", .size = "100x200", .prepare = prepare_runs(100, 10)});
  bench::add(
      {.name = "train/gcn_cora_in_turn", .size = "100x200", .prepare = prepare_runs(100, 1)});
  return bench::main(argc, argv);
}
