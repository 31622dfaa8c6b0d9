#pragma once

#include "tessera/algorithms/experiment.hpp"
#include "tessera/algorithms/gsl/gsl.hpp"
#include "tessera/algorithms/gsl/information_study.hpp"
#include "tessera/algorithms/gsl/learner_comparison.hpp"

namespace tessera::algorithms::gsl {

/// Settings of the experiment; config.json holds the same defaults.
struct Config {
  int64_t runs = 10;
  int64_t together = 10;
  double train_share = 0.5, validation_share = 0.25;
  bool normalize_features = true;
  LearningOptions learning;
  ContrastiveOptions contrastive;
  ComparisonOptions comparison;
  LearnerOptions learners;
  StudyOptions study;

  static void visit(auto& self, auto&& f) {
    f("runs", self.runs, "random splits of each graph", Bounds::at_least(1));
    f("train_share", self.train_share, "of every class", Bounds::between(0, 1));
    f("validation_share", self.validation_share, "of every class; the rest tests",
      Bounds::between(0, 1));
    f("together", self.together, "how many trainings go side by side where they can",
      Bounds::at_least(1));
    f("normalize_features", self.normalize_features, "divide the rows by their sums");
    f("learning", self.learning);
    f("contrastive", self.contrastive);
    f("comparison", self.comparison);
    f("learners", self.learners);
    f("study", self.study);
  }
};

/// Without `context.data`: the study of mutual information on CSBM-H graphs. With a graph file, or
/// a folder of them: GNNs against GNNs with structure learning; graphs without features are named
/// and passed over. The output folder also has pictures of the structures, nodes sorted by class.
Report run(const Config& config, Context& context);

}  // namespace tessera::algorithms::gsl
