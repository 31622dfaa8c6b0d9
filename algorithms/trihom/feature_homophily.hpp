#pragma once

#include <limits>
#include <vector>

#include "tessera/algorithms/trihom/labelled_graph.hpp"

/// Homophily of features. Numbers that are not defined are NaN.
namespace tessera::algorithms::trihom {

/// x_i is a node's features divided by the sum of their absolute values, N_i its neighbours.
struct FeatureHomophily {
  static constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  double generalized_edge = nan;  // mean over edges of cos(x_i, x_j), 0 with a row of zeros
  double local_cosine = nan;      // mean over all nodes of the mean over N_i of cos; 0 if isolated
  double local_euclidean = nan;   // the same of -|x_i - x_j|
  double attribute = nan;         // mean over f of sum_i x_if mean_{j in N_i} x_jf / sum_i x_if
  double class_controlled = nan;  // mean_i sum_{j in N_i} (b_i - s_ij) over the larger mean, below

  static void visit(auto& self, auto&& f) {
    f("h_GE", self.generalized_edge);
    f("h_LS_cos", self.local_cosine);
    f("h_LS_euc", self.local_euclidean);
    f("h_attr", self.attribute);
    f("h_CF", self.class_controlled);
  }
};

struct FeatureMetrics {
  FeatureHomophily graph;
  std::vector<double> attribute;        // of each feature
  std::vector<double> local_cosine;     // means over the nodes of each class
  std::vector<double> local_euclidean;  // "
};

/// For class_controlled x' = x - mean of the class, s_ij = |x'_i - x'_j|^2, b_i = 2 |x'_i - mean
/// x'|^2; the divisor is max(mean_i b_i, mean_i sum_j s_ij). `compat` has in place of each s_ij of
/// the sum, but not of the divisor, that of the edge whose number is i when edge ends are counted
/// in the order of i, then j; NaN where there are fewer ends than nodes. Self-loops
/// are neighbours in `compat`, but for generalized_edge. `features` as they are in
/// the file.
FeatureMetrics feature_homophily(const LabelledGraph& graph, const FeatureRows& features,
                                 Mode mode);

/// h_F: the weight h of each feature at which X0 = X - (h / rho) A X, the feature before it was
/// spread over the graph, is found. With P = X - class means, Q = A X - class means, X centred, the
/// spread of X0 within classes is V(h) = <P, P> - 2 (h / rho) <P, Q> + (h / rho)^2 <Q, Q>.
///
/// `compat` takes the least V of h = -1, -0.99, ..., 1, as the authors do: rho <P, Q> / <Q, Q>.
/// That is biased away from 0, about twofold on generated graphs, for AX is not independent of X0.
/// `correct` takes the most likely h of normal X0, where ln V(h) - 2 / N ln det(I - h / rho A) is
/// least (Ord 1975). Features that do not vary, and those with Q = 0, are NaN; `mean` is over the
/// others.
struct GraphFilter {
  double mean = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> by_feature;
};
GraphFilter feature_filter_homophily(const LabelledGraph& graph, const FeatureRows& features,
                                     double spectral_radius, Mode mode);

}  // namespace tessera::algorithms::trihom
