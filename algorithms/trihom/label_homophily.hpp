#pragma once

#include <vector>

#include "tessera/algorithms/trihom/labelled_graph.hpp"
#include "tessera/runtime/rng.hpp"

/// Homophily of labels and of structure. A number that is not defined is NaN: means over no edges
/// or over no node with edges, metrics of two classes in a graph of one.
namespace tessera::algorithms::trihom {

/// Notation: h_i the class counts of node i's neighbours, d_i their sum, n_c the size of class c,
/// E_ck the ends of edges between classes c and k (an edge inside a class has two), p_c = sum_k
/// E_ck / sum E. Every node and class counts alike in the means unless said.
struct LabelHomophily {
  double edge = 0;          // sum_c E_cc / sum E (Zhu et al. 2020)
  double node = 0;          // mean of h_i,y_i / d_i over d_i > 0 (Pei et al. 2020)
  double class_ = 0;        // 1/(C-1) sum_c max(0, E_cc / sum_k E_ck - n_c / N) (Lim et al. 2021)
  double adjusted = 0;      // (edge - sum p_c^2) / (1 - sum p_c^2) (Platonov et al. 2023)
  double density = 0;       // min_c (D_cc - max_k D_ck) / 2 + 1/2, D_ck = E_ck / (n_c n_k)
  double two_hop = 0;       // node homophily of A^2 > 0 without its diagonal
  double neighborhood = 0;  // mean largest class share in A^2 > 0 with its diagonal, 0 if empty
  double informativeness = 0;  // 2 - sum p_ck ln p_ck / sum p_c ln p_c (Platonov et al. 2023)
  double similarity = 0;       // intra- over inter-class similarity of h_i / d_i (Ma et al. 2022)
  double aggregation = 0;  // 2 share(own class aggregates at least as alike) - 1 (Luan et al. 2022)
  double structural = 0;   // h_S: 1 - deviation of h_i / d_i within classes over its maximum

  static void visit(auto& self, auto&& f) {
    f("h_edge", self.edge);
    f("h_node", self.node);
    f("h_class", self.class_);
    f("h_adj", self.adjusted);
    f("h_den", self.density);
    f("h_2hop", self.two_hop);
    f("h_nei", self.neighborhood);
    f("LI", self.informativeness);
    f("h_NS", self.similarity);
    f("h_agg", self.aggregation);
    f("h_S", self.structural);
  }
};

/// The parts that each class has in them: E_cc / sum_k E_ck, the excess over n_c / N, the minimum's
/// candidate, and means over the nodes of the class.
struct ClassHomophily {
  std::vector<double> edge, node, class_, density, two_hop, neighborhood, aggregation, structural;

  static void visit(auto& self, auto&& f) {
    f("h_edge", self.edge);
    f("h_node", self.node);
    f("h_class", self.class_);
    f("h_den", self.density);
    f("h_2hop", self.two_hop);
    f("h_nei", self.neighborhood);
    f("h_agg", self.aggregation);
    f("h_S", self.structural);
  }
};

struct LabelMetrics {
  LabelHomophily graph;
  double edge_without_loops = 0;  // in either mode
  ClassHomophily classes;
};

/// `compat` differs as follows. Self-loops count, once each, but in h_node, h_class and h_S. h_adj
/// and LI take d_i - 1 for the degrees, and LI has 1e-8 for ln 0. h_agg aggregates sums where
/// `correct` has means, and from 10,000 nodes on it is the mean over 10 draws, from `rng`, of
/// round(10000 / C) nodes of every class (of all where there are fewer).
LabelMetrics label_homophily(const LabelledGraph& graph, Mode mode, const Rng& rng);

/// counts[i * classes + c]: nodes of class c that two steps from i lead to, i itself among them
/// when it has a neighbour. Needs 8 bytes per edge end beside the result.
std::vector<int32_t> two_step_class_counts(const Neighbours& neighbours,
                                           const LabelledGraph& graph);

}  // namespace tessera::algorithms::trihom
