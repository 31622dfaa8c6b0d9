#include "tessera/algorithms/gfs/training.hpp"

#include <numeric>

#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/models/node_loss.hpp"
#include "tessera/models/node_metric.hpp"
#include "tessera/models/optim/adam.hpp"
#include "tessera/models/runs.hpp"
#include "tessera/models/train.hpp"

namespace tessera::algorithms::gfs {

Problem prepare(const models::GraphData& graph, const StandardFeatures& features, Device device) {
  return {models::GraphOperators(graph.adjacency, device), features.input(device), graph.labels,
          graph.classes};
}

std::vector<Outcome> train_runs(const Problem& problem, std::span<const models::Split> splits,
                                std::span<const Selection> selections, models::TrunkModule module,
                                const TrainingOptions& o, std::span<const Rng> rngs,
                                const OnEpoch& on_epoch) {
  TS_CHECK(!splits.empty() && selections.size() == splits.size() && rngs.size() == splits.size(),
           "GFS: ", splits.size(), " splits, ", selections.size(), " selections, ", rngs.size(),
           " generators; expected one of each for a run");
  const NetworkOptions network{.module = module,
                               .layers = o.layers,
                               .mlp_layers = o.mlp_layers,
                               .hidden = o.hidden,
                               .heads = o.heads,
                               .dropout = o.dropout};
  const auto metric = models::metric_for(models::NodeMetric::automatic, problem.classes);
  std::vector<Network> networks;
  std::vector<Rng> per_epoch;
  for (size_t r = 0; r < rngs.size(); ++r) {
    TS_CHECK(selections[r].with_graph.size() == selections[0].with_graph.size(),
             "GFS: runs side by side with ", selections[0].with_graph.size(), " and ",
             selections[r].with_graph.size(), " features for the trunk with edges");
    models::check_split(metric, problem.labels, splits[r], r);
    Rng initial = rngs[r].split(0);
    networks.push_back(Network::make(selections[r], problem.outputs(), network, initial));
    per_epoch.push_back(rngs[r].split(1));
  }
  Network model = models::to(models::stack_runs(networks), problem.device());
  networks.clear();
  models::Adam optimizer{.learning_rate = o.learning_rate,
                         .weight_decay = o.weight_decay,
                         .decoupled = true,
                         .decays = models::decays_weights_only};
  const auto runs = static_cast<int64_t>(splits.size());
  const models::NodeLoss losses(problem.labels.to(problem.device()), splits);
  models::StepRng numbers(problem.device(), runs);
  std::vector<Outcome> best(splits.size(), {.validation = -1});

  models::TrainHooks hooks;
  hooks.prepare = [&](int64_t epoch) {
    std::vector<Rng> now;
    now.reserve(per_epoch.size());
    for (const Rng& rng : per_epoch) now.push_back(rng.split(static_cast<uint64_t>(epoch)));
    numbers.begin(now);
  };
  hooks.on_loss = [&](int64_t epoch, std::span<const double> of_runs) {
    if (on_epoch)
      on_epoch(epoch + 1, std::accumulate(of_runs.begin(), of_runs.end(), 0.0) /
                              static_cast<double>(of_runs.size()));
  };
  hooks.evaluate_every = o.evaluate_every;
  hooks.evaluate = [&](int64_t epoch) {
    ForwardContext inference{.runs = runs};
    const Tensor logits =
        model(problem.graph, problem.features, inference).value().to(Device::cpu());
    for (size_t r = 0; r < best.size(); ++r) {
      const Tensor of_run = logits.select(1, static_cast<int64_t>(r)).clone();
      const auto score = [&](std::span<const int64_t> nodes) {
        return models::node_score(metric, of_run, problem.labels, nodes);
      };
      const double validation = score(splits[r].validation);
      if (validation > best[r].validation) best[r] = {validation, score(splits[r].test), epoch + 1};
    }
  };
  const models::TrainResult result = models::train(
      0, o.epochs,
      [&](int64_t) {
        ForwardContext context{true, numbers.rng(), runs};
        Tensor of_runs;
        const auto [total, gradients] = models::value_and_grad(model, [&](const Network& m) {
          const Var loss = losses(m(problem.graph, problem.features, context));
          of_runs = loss.value();
          return autograd::sum(loss);
        });
        optimizer.step(model, gradients);
        return of_runs;
      },
      hooks);
  if (result.interrupted) return {};
  return best;
}

}  // namespace tessera::algorithms::gfs
