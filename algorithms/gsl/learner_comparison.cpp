#include "tessera/algorithms/gsl/learner_comparison.hpp"

#include <limits>

#include "tessera/algorithms/gsl/bases.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/runtime/interrupt.hpp"

namespace tessera::algorithms::gsl {
namespace {

constexpr std::string_view names[] = {"grcn", "idgl", "slaps", "gen", "gaug", "nodeformer"};

/// Of the learner's GCN.
LearningOptions task_of(Learner learner, const LearnerOptions& o) {
  const TaskOptions* tasks[] = {&o.grcn.task, &o.idgl.task, &o.slaps.task,
                                &o.gen.task,  &o.gaug.task, &o.nodeformer.task};
  return two_layers(*tasks[static_cast<int>(learner)]);
}

template <class Train>
void measure(const Problem& problem, LearnerSide& side, const Train& train) {
  double test = 0;
  const Cost cost = measured(problem.device(), [&] { test = train(); });
  side.test.push_back(test);
  side.seconds.push_back(cost.seconds);
  side.peak_bytes.push_back(cost.peak_bytes);
}

}  // namespace

std::string_view to_string(Learner learner) { return names[static_cast<int>(learner)]; }
void parse(std::string_view text, Learner& learner) { parse_enum(text, names, learner); }

Learned learn(Learner learner, const Problem& problem, const models::Split& split,
              const LearnerOptions& o, const Rng& rng) {
  switch (learner) {
    case Learner::grcn:
      return grcn(problem, split, o.grcn, rng);
    case Learner::idgl:
      return idgl(problem, split, o.idgl, rng);
    case Learner::slaps:
      return slaps(problem, split, o.slaps, rng);
    case Learner::gen:
      return gen(problem, split, o.gen, rng);
    case Learner::gaug:
      return gaug(problem, split, o.gaug, rng);
    case Learner::nodeformer:
      break;
  }
  return nodeformer(problem, split, o.nodeformer, rng);
}

std::vector<LearnerResult> compare_learners(
    const Problem& problem, std::span<const models::Split> splits, const LearnerOptions& o,
    const Rng& rng, const std::function<void(int64_t, int64_t, const std::string&)>& on_step) {
  std::vector<LearnerResult> results;
  const Views views = views_of(problem);
  const auto total = static_cast<int64_t>(3 * o.methods.size() * splits.size());
  int64_t done = 0;
  for (const Learner learner : o.methods) {
    LearnerResult& result = results.emplace_back();
    result.learner = learner;
    const LearningOptions task = task_of(learner, o);
    for (size_t r = 0; r < splits.size() && !stop_requested(); ++r) {
      const Rng own = rng.split(r);
      measure(problem, result.with, [&] {
        const Learned learned = learn(learner, problem, splits[r], o, own);
        result.homophily.push_back(learned.homophily);
        return learned.scores.test;
      });
      on_step(++done, total, concat(to_string(learner)));
      const auto plain = [&](LearnerSide& side, Fusion fusion) {
        measure(problem, side, [&] {
          return train_network(problem, problem.features, views, Backbone::gcn, fusion, 0,
                               splits.subspan(r, 1), task, std::span(&own, 1))
              .scores.front()
              .test;
        });
        on_step(++done, total, concat(to_string(learner), " without"));
      };
      plain(result.on_graph, Fusion::original);
      plain(result.without_edges, Fusion::none);
    }
  }
  return results;
}

Table learner_table(const std::string& name, std::span<const LearnerResult> results) {
  Table table{
      .name = name + ".learners", .corner = "learner", .rows = {}, .columns = {}, .values = {}};
  for (const char* side : {"", " A", " MLP"})
    for (const char* what : {"accuracy", "std", "seconds", "MiB"})
      table.columns.push_back(concat(what, side));
  table.columns.emplace_back("homophily");
  for (const LearnerResult& result : results) {
    std::vector<double> row;
    const auto mean = [](const std::vector<double>& values) {
      return values.empty() ? std::numeric_limits<double>::quiet_NaN()
                            : models::mean_std(values).mean;
    };
    for (const LearnerSide* side : {&result.with, &result.on_graph, &result.without_edges}) {
      row.push_back(100 * mean(side->test));
      row.push_back(side->test.empty() ? std::numeric_limits<double>::quiet_NaN()
                                       : 100 * models::mean_std(side->test).std);
      row.push_back(mean(side->seconds));
      row.push_back(mean(side->peak_bytes) / (1024 * 1024));
    }
    row.push_back(mean(result.homophily));
    table.add(std::string(to_string(result.learner)), std::move(row));
  }
  return table;
}

}  // namespace tessera::algorithms::gsl
