#include "tessera/algorithms/gsl/bases.hpp"

#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::algorithms::gsl {
namespace {

constexpr std::string_view names[] = {"x", "ax", "mlp", "gcn", "gcl"};

/// The graph that a network without a second view sees.
const models::GraphOperators& seen(const Views& views, Fusion fusion) {
  if (fusion == Fusion::structure) return views.structure.value();
  return fusion == Fusion::merged ? views.merged.value() : views.original;
}

}  // namespace

std::string_view to_string(Base base) { return names[static_cast<int>(base)]; }
void parse(std::string_view text, Base& base) { parse_enum(text, names, base); }

Trained train_network(const Problem& problem, const models::NodeFeatures& x, const Views& views,
                      Backbone backbone, Fusion fusion, double weight,
                      std::span<const models::Split> splits, const LearningOptions& learning,
                      std::span<const Rng> rngs, bool with_representations) {
  TS_CHECK(!with_representations || fusion <= Fusion::merged, "gsl: fusion ", to_string(fusion),
           " has no single representation");
  const NodeTask task(problem, splits);
  std::vector<FusedNetwork> networks;
  for (const Rng& rng : rngs) {
    Rng initial = rng.split(0);
    networks.push_back(FusedNetwork::make(backbone, fusion, weight, problem.nodes(), x.width(),
                                          problem.classes, learning, initial));
  }
  TS_CHECK(!networks.empty(), "gsl: no random sequence to train with");
  FusedNetwork model = models::to(
      networks.size() > 1 ? models::stack_runs(networks) : networks.front(), problem.device());
  models::Adam adam{.learning_rate = learning.learning_rate, .weight_decay = learning.weight_decay};
  Trained trained;
  trained.representations.resize(with_representations ? rngs.size() : 0);
  trained.logits.resize(trained.representations.size());
  Tensor latest;
  const auto logits = [&](const FusedNetwork& m, ForwardContext& context) {
    const Var result = m(views, x, context);
    if (!context.training) latest = result.value();
    return result;
  };
  trained.scores = fit(
      model, adam, task, learning.epochs, learning.evaluate_every, rngs,
      [&](const FusedNetwork& m, ForwardContext& context) { return task.loss(logits(m, context)); },
      logits,
      [&](int64_t run) {
        if (!with_representations) return;
        ForwardContext inference{.runs = task.side_by_side()};
        const auto own = [&](const Tensor& all) {
          return all.rank() == 3 ? all.select(1, run).clone() : all;
        };
        const auto r = static_cast<size_t>(run);
        trained.representations[r] =
            own(representation(model.first, seen(views, fusion), x, inference).value());
        trained.logits[r] = own(latest);
      });
  return trained;
}

std::vector<Tensor> make_bases(Base base, const Problem& problem,
                               std::span<const models::Split> splits,
                               const LearningOptions& learning,
                               const ContrastiveOptions& contrastive, std::span<const Rng> rngs) {
  switch (base) {
    case Base::x:
      return {problem.x};
    case Base::ax:
      return {autograd::spmm(problem.graph.symmetric(true), problem.x).value()};
    case Base::gcl:
      TS_CHECK(!rngs.empty(), "gsl: no random sequence to train with");
      return {contrastive_embedding(problem, contrastive, rngs.front())};
    case Base::mlp:
    case Base::gcn:
      break;
  }
  return train_network(problem, problem.features, views_of(problem), Backbone::gcn,
                       base == Base::mlp ? Fusion::none : Fusion::original, 0, splits,
                       two_layers(learning), rngs, true)
      .representations;
}

}  // namespace tessera::algorithms::gsl
