// Whole trainings, 200 epochs from fresh weights; one evaluation, at the end, is inside the timing.
// On Cora the GCN as bench/peers/gcn_task.py trains it: `gcn_cora` is one run, 100 runs side by
// side, ten at a time, and one after another are `gcn_cora_together` and `gcn_cora_in_turn`. GCN,
// GAT and ACM-GCN as bench/peers/pyg_networks.py trains them on both graphs. TESSERA_CORA and
// TESSERA_SQUIRREL name the graph files; without one its cases are left out.
#include <cstdlib>
#include <memory>

#include "tessera/algorithms/node_classification/node_classification.hpp"
#include "tessera/bench/support/bench.hpp"

using namespace tessera;
using namespace tessera::algorithms::node_classification;

namespace {

/// Trains `runs` networks, `together` at a time; test accuracies must lie in [least, most].
bench::Work work(const char* file, const Options& options, int64_t runs, int64_t together,
                 double least, double most) {
  struct State {
    models::GraphData graph;
    Problem problem;
    std::vector<models::Split> splits;
    Training training;
  };
  models::GraphData graph = models::load_graph(file);
  Problem problem = prepare(graph, models::FeatureScaling::row, Device::cpu());
  const models::Split split =
      graph.public_splits.empty() ? graph.fixed_splits.at(0) : graph.public_splits[0];
  const auto state = std::make_shared<State>(
      State{std::move(graph),
            std::move(problem),
            std::vector<models::Split>(static_cast<size_t>(together), split),
            {}});
  return {.run =
              [=] {
                for (int64_t first = 0; first < runs; first += together) {
                  std::vector<Rng> rngs;
                  for (int64_t r = first; r < first + together; ++r)
                    rngs.emplace_back(static_cast<uint64_t>(r + 1));
                  state->training = start(state->problem, options, rngs);
                  resume(state->training, state->problem, state->splits, options, rngs);
                }
              },
          .check =
              [=] {
                for (const History& history : state->training.histories)
                  TS_CHECK(history.test.back() > least && history.test.back() < most,
                           "test accuracy ", history.test.back());
              }};
}

Options options_of(models::GraphNetworkKind model, int64_t hidden) {
  Options options;
  options.model = model;
  options.hidden = hidden;
  options.evaluate_every = 0;  // once, after the last epoch
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  using Kind = models::GraphNetworkKind;
  const auto add = [](const std::string& name, const std::string& size, auto... arguments) {
    bench::add(
        {.name = "train/" + name, .size = size, .prepare = [=] { return work(arguments...); }});
  };
  if (const char* const cora = std::getenv("TESSERA_CORA")) {
    const Options gcn = options_of(Kind::gcn, 16);
    add("gcn_cora", "200", cora, gcn, 1, 1, 0.77, 0.85);
    add("gcn_cora_together", "100x200", cora, gcn, 100, 10, 0.77, 0.85);
    add("gcn_cora_in_turn", "100x200", cora, gcn, 100, 1, 0.77, 0.85);
    add("gat_cora", "200", cora, options_of(Kind::gat, 8), 1, 1, 0.76, 0.86);
    add("acm_gcn_cora", "200", cora, options_of(Kind::acm_gcn, 64), 1, 1, 0.7, 0.86);
  }
  if (const char* const squirrel = std::getenv("TESSERA_SQUIRREL")) {
    add("gcn_squirrel", "200", squirrel, options_of(Kind::gcn, 16), 1, 1, 0.2, 0.7);
    add("gat_squirrel", "200", squirrel, options_of(Kind::gat, 8), 1, 1, 0.2, 0.7);
    add("acm_gcn_squirrel", "200", squirrel, options_of(Kind::acm_gcn, 64), 1, 1, 0.2, 0.7);
  }
  return bench::main(argc, argv);
}
