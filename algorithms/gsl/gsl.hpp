#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tessera/algorithms/gsl/bases.hpp"
#include "tessera/algorithms/table.hpp"
#include "tessera/models/similarity_graph.hpp"

/// GNNs against GNNs with graph structure learning (Zheng, Luan, Chen 2024, "Rethinking Structure
/// Learning For GNNs"): a base B, a new structure A' of B, and a fusion of A and A'.
namespace tessera::algorithms::gsl {

struct ComparisonOptions {
  std::vector<Base> bases{Base::x, Base::ax, Base::mlp, Base::gcn, Base::gcl};
  std::vector<models::GraphConstruction> constructions{models::GraphConstruction::knn,
                                                       models::GraphConstruction::cos_node,
                                                       models::GraphConstruction::cos_graph};
  std::vector<Backbone> backbones{Backbone::gcn, Backbone::sage, Backbone::gat, Backbone::sgc};
  std::vector<Fusion> fusions{Fusion::none,    Fusion::original,      Fusion::structure,
                              Fusion::merged,  Fusion::layers,        Fusion::layers_shared,
                              Fusion::outputs, Fusion::outputs_shared};
  int64_t k = 5;
  double threshold = 0;
  double weight = 1;  // of A'

  static void visit(auto& self, auto&& f) {
    f("bases", self.bases, "of x, ax, mlp, gcn and gcl");
    f("constructions", self.constructions, "of knn, cos_node and cos_graph");
    f("backbones", self.backbones, "of gcn, sage, gat and sgc");
    f("fusions", self.fusions,
      "of none, original, structure, merged, layers, layers_shared, outputs, outputs_shared");
    f("k", self.k, "neighbours of knn, and of a node on average in cos_graph's budget",
      Bounds::at_least(1));
    f("threshold", self.threshold, "of cos_node and cos_graph; 0: a budget, of cos_node the degree",
      Bounds::between(0, 1));
    f("weight", self.weight, "of A' where two views are added", Bounds::at_least(0));
  }
};

/// Accuracies of a base, structure, backbone and fusion, one for each split.
struct ComparisonCell {
  Base base;
  models::GraphConstruction construction;  // means nothing where the fusion has no A'
  Backbone backbone;                       // means nothing in `none`
  Fusion fusion;
  std::vector<double> validation, test;
};
/// What a structure came out as, for each split (for one where the base has no labels in it).
struct StructureCell {
  Base base;
  models::GraphConstruction construction;
  std::vector<double> homophily, degree;  // share of edges within a class; mean number of edges
  CsrMatrix graph;                        // of the first split
};
struct Comparison {
  std::string name;
  double homophily = 0;  // of A
  std::vector<StructureCell> structures;
  std::vector<ComparisonCell> cells;
};

/// `on_step(done, total, what)` is told of every training. Stops early when a stop was requested.
/// Runs of a base that all splits share train side by side, `together` at a time; those of trained
/// bases one after another, since each has a graph of its own.
using OnStep = std::function<void(int64_t done, int64_t total, const std::string& what)>;
Comparison compare(const Problem& problem, std::span<const models::Split> splits,
                   const ComparisonOptions& options, const LearningOptions& learning,
                   const ContrastiveOptions& contrastive, int64_t together, const Rng& rng,
                   const OnStep& on_step);

/// NAME.homophily: of A' by base (rows) and construction (columns), means over the splits.
Table homophily_table(const Comparison& comparison);
/// NAME.BACKBONE: test accuracies in percent, rows "base construction", columns fusions; the mean
/// over the splits, and the deviation in "NAME.BACKBONE.std".
std::vector<Table> accuracy_tables(const Comparison& comparison, const ComparisonOptions& options);
/// What stands for each kind of network: of those there are the first that is best by mean
/// validation accuracy; null where there is none.
struct BestCells {
  const ComparisonCell *mlp_x = nullptr, *gnn_x = nullptr;        // on X; on X and A
  const ComparisonCell *mlp_base = nullptr, *gnn_base = nullptr;  // on any base; and A
  const ComparisonCell* structure_learning = nullptr;             // any base, structure and fusion

  static void visit(const BestCells& self, auto&& f) {
    f("MLP(X)", self.mlp_x);
    f("GNN(X A)", self.gnn_x);
    f("MLP(B)", self.mlp_base);
    f("GNN(B A)", self.gnn_base);
    f("GNN+GSL", self.structure_learning);
  }
};
BestCells best_cells(const Comparison& comparison, Backbone backbone);

/// A row for each graph and backbone: homophily of A, then the best cells' test accuracies in
/// percent and deviations.
Table summary_table(std::span<const Comparison> comparisons, const ComparisonOptions& options);

/// The union of cliques of the nodes for which an MLP trained on X predicts the same class: what a
/// structure would be if its base were the predictions. Empty when a stop was requested before the
/// first validation.
CsrMatrix predicted_graph(const Problem& problem, const models::Split& split,
                          const LearningOptions& learning, const Rng& rng);

/// Nodes sorted by class, entries as dots, as SVG; at most 160 cells to a side, shaded by the share
/// of pairs that are edges. Lines part the classes.
std::string adjacency_picture(const CsrMatrix& graph, const Tensor& labels,
                              const std::string& title);

}  // namespace tessera::algorithms::gsl
