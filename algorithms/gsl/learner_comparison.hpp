#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tessera/algorithms/gsl/learners.hpp"
#include "tessera/algorithms/table.hpp"

/// Networks that learn a structure against what they are without it: their GCN on A, and an MLP,
/// with the same settings.
namespace tessera::algorithms::gsl {

struct LearnerOptions {
  std::vector<Learner> methods;
  GrcnOptions grcn;
  IdglOptions idgl;
  SlapsOptions slaps;
  GenOptions gen;
  GaugOptions gaug;
  NodeformerOptions nodeformer;

  static void visit(auto& self, auto&& f) {
    f("methods", self.methods, "of grcn, idgl, slaps, gen, gaug and nodeformer");
    f("grcn", self.grcn);
    f("idgl", self.idgl);
    f("slaps", self.slaps);
    f("gen", self.gen);
    f("gaug", self.gaug);
    f("nodeformer", self.nodeformer);
  }
};

Learned learn(Learner learner, const Problem& problem, const models::Split& split,
              const LearnerOptions& options, const Rng& rng);

/// One number for each split.
struct LearnerSide {
  std::vector<double> test, seconds, peak_bytes;
};
struct LearnerResult {
  Learner learner;
  LearnerSide with, on_graph, without_edges;
  std::vector<double> homophily;  // of the structure learned
};
/// `on_step(done, total, what)` after every training. Stops early when a stop was requested.
std::vector<LearnerResult> compare_learners(
    const Problem& problem, std::span<const models::Split> splits, const LearnerOptions& options,
    const Rng& rng,
    const std::function<void(int64_t done, int64_t total, const std::string& what)>& on_step);

/// A row for each learner: test accuracy in percent with deviation, seconds and MiB of tensors at
/// most for a training, of the learner, of its GCN on A and of an MLP; homophily of the structure.
Table learner_table(const std::string& name, std::span<const LearnerResult> results);

}  // namespace tessera::algorithms::gsl
