#pragma once

#include "tessera/models/data/graph.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"

/// Contextual stochastic block models whose kinds of homophily are dials.
namespace tessera::models {

/// CSBM-3H (Zheng, Luan, Chen 2024).
struct Csbm3hOptions {
  int64_t nodes = 1000;
  int64_t classes = 3;
  int64_t features = 10;
  int64_t degree_low = 5, degree_high = 5;  // expected degrees are uniform integers between
  double label_homophily = 0.5;             // h_L
  double structural_homophily = 0.8;        // h_S
  double feature_homophily = 0;             // h_F
  int64_t splits = 1;
  static void visit(auto& self, auto&& f) {
    f("nodes", self.nodes, "", Bounds::between(4, 30000));
    f("classes", self.classes, "", Bounds::between(2, 1000));
    f("features", self.features, "of a node", Bounds::at_least(1));
    f("degree_low", self.degree_low, "least expected degree", Bounds::at_least(0));
    f("degree_high", self.degree_high, "greatest expected degree", Bounds::at_least(0));
    f("label_homophily", self.label_homophily, "h_L", Bounds::between(0, 1));
    f("structural_homophily", self.structural_homophily, "h_S", Bounds::between(0, 1));
    f("feature_homophily", self.feature_homophily, "h_F, above -1", Bounds::up_to_below(-1, 1));
    f("splits", self.splits, "fixed ones, 50/25/25", Bounds::at_least(0));
  }
};

/// Labels y_i are uniform, and so are expected degrees D_i. With S = h_L on the diagonal and
/// (1 - h_L) / (C - 1) beside it, Z the one-hot labels and noise of deviation
/// (1 - h_S) / sqrt(C - 1) per node and class,
///
///   P = (C / N) D^1/2 (Z S + noise) Z' D^1/2, cut to [0, 1];  A_ij = A_ji ~ Bernoulli(P_ij), i <=
///   j X = (I - (h_F / rho) A)^-1 X0,  X0_if ~ Normal(m_fc, v_fc),  c = y_i
///
/// m and v, a variance, are uniform in [0, 1) per feature and class; rho is A's spectral radius.
/// Cutting moves the homophily that comes out away from h_L where h_S is small. A node drawn as its
/// own neighbour counts in A here and is a self-loop of the graph. Splits are 50 % training, 25 %
/// validation, 25 % test of all nodes. Memory and time grow with N^2 draws.
GraphData csbm_3h(const Csbm3hOptions& options, const Rng& rng);

/// CSBM-H (Luan et al. 2023): two classes of normal features.
struct CsbmHOptions {
  int64_t nodes0 = 500, nodes1 = 500;
  std::vector<double> mean0{-1, 0}, mean1{0, 1};
  double variance0 = 1, variance1 = 2;  // of each feature
  double degree0 = 5, degree1 = 5;
  double homophily = 0.5;
  int64_t splits = 1;
  static void visit(auto& self, auto&& f) {
    f("nodes0", self.nodes0, "of class 0", Bounds::at_least(1));
    f("nodes1", self.nodes1, "of class 1", Bounds::at_least(1));
    f("mean0", self.mean0, "of class 0's features", Bounds::finite());
    f("mean1", self.mean1, "of class 1's, as many", Bounds::finite());
    f("variance0", self.variance0, "of a feature of class 0", Bounds::at_least(0));
    f("variance1", self.variance1, "of a feature of class 1", Bounds::at_least(0));
    f("degree0", self.degree0, "ends per node of class 0", Bounds::between(0, 1e6));
    f("degree1", self.degree1, "ends per node of class 1", Bounds::between(0, 1e6));
    f("homophily", self.homophily, "chance that an edge stays in its class", Bounds::between(0, 1));
    f("splits", self.splits, "fixed ones, 50/25/25", Bounds::at_least(0));
  }
};

/// Features of class c are Normal(mean_c, variance_c I). Each node of class c draws degree_c / 2
/// neighbours (a fraction by chance), each within its class with probability `homophily` and
/// uniform there. The paper's model gives a node of class c degree_c neighbours of its own, which
/// are directed edges; here edges have no direction, so degrees come out as degree_c where both
/// classes and degrees are equal. Neighbours drawn twice count once, a node does not draw itself.
GraphData csbm_h(const CsbmHOptions& options, const Rng& rng);

/// All nodes in random order: the first half trains, the next quarter validates, the rest tests.
Split split_by_half(int64_t nodes, Rng rng);

}  // namespace tessera::models
