#pragma once

#include "tessera/models/data/graph.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"

/// A generated graph with features of two kinds: some gain from aggregation, some are spoilt by it.
namespace tessera::algorithms::gfs {

struct MixedGraphOptions {
  int64_t nodes = 600;
  int64_t classes = 3;
  int64_t friendly = 10;  // features that the graph has spread
  int64_t apart = 10;     // features of each node alone
  int64_t degree = 6;
  double label_homophily = 0.7;
  double structural_homophily = 0.8;
  double feature_homophily = 0.9;  // of the friendly features
  double signal = 0.6;             // of the others: deviation of class directions, over the noise
  int64_t splits = 10;

  static void visit(auto& self, auto&& f) {
    f("nodes", self.nodes, "", Bounds::between(4, 30000));
    f("classes", self.classes, "", Bounds::between(2, 1000));
    f("friendly", self.friendly, "features that the graph has spread", Bounds::at_least(1));
    f("apart", self.apart, "features of each node alone", Bounds::at_least(0));
    f("degree", self.degree, "expected", Bounds::at_least(0));
    f("label_homophily", self.label_homophily, "h_L", Bounds::between(0, 1));
    f("structural_homophily", self.structural_homophily, "h_S", Bounds::between(0, 1));
    f("feature_homophily", self.feature_homophily, "h_F of the friendly features",
      Bounds::up_to_below(-1, 1));
    f("signal", self.signal, "of the others, over their noise", Bounds::at_least(0));
    f("splits", self.splits, "fixed ones, 50/25/25", Bounds::at_least(1));
  }
};

/// CSBM-3H (models/data/csbm.hpp) with `friendly` features near h_F = 1, and behind them `apart`
/// features
///
///   x_i = s_i signal u_(class of i) + e_i,  s_i = +-1,  u and e standard normal
///
/// moved and stretched to the mean and deviation that the friendly ones have together. A node's own
/// x_i tells its class up to the sign; those of neighbours cancel, whatever their classes.
models::GraphData mixed_graph(const MixedGraphOptions& options, const Rng& rng);

}  // namespace tessera::algorithms::gfs
