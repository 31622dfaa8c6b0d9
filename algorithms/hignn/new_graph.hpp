#pragma once

#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "tessera/autograd/ops/similarity.hpp"
#include "tessera/models/data/graph.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"

/// The graph A' that HiGNN adds: nodes are linked that have like neighbours.
namespace tessera::algorithms::hignn {

/// What links nodes i and j of A'.
enum class NewGraphKind : uint8_t {
  histogram,       // cosine of the histograms of predicted classes around them: HiGNN
  histogram_rank,  // the same, among the ranks of one of the two (ablation by deciles)
  degree,          // equal degrees
  feature_cosine,  // cosine of their features
  k_means,         // one cluster of the features
  label,           // equal predicted classes
  soft_label,      // cosine of their predicted probabilities
};
std::string_view to_string(NewGraphKind kind);
void parse(std::string_view text, NewGraphKind& kind);

struct NewGraphOptions {
  NewGraphKind kind = NewGraphKind::histogram;
  double threshold = 0.9;  // delta, the least cosine of a link; `thresholds` of the experiment
  double below = 2;        // of cosines
  double rank_from = 0.9, rank_span = 0.1;  // shares of a node's cosines in rising order
  int64_t clusters = 0;
  double links_per_node = 0;

  static void visit(auto& self, auto&& f) {
    f("new_graph", self.kind,
      "histogram, histogram_rank, degree, feature_cosine, k_means, label or soft_label");
    f("below", self.below, "cosines of links are below, 2: no bound", Bounds::between(-1, 2));
    f("rank_from", self.rank_from, "histogram_rank: the lowest rank, as a share",
      Bounds::between(0, 1));
    f("rank_span", self.rank_span, "histogram_rank: how many ranks, as a share",
      Bounds::between(0, 1));
    f("clusters", self.clusters, "k_means, 0: as many as classes", Bounds::at_least(0));
    f("links_per_node", self.links_per_node,
      "links are dropped at random until so many are left, 0: none are", Bounds::at_least(0));
  }
};

/// counts [nodes, classes], f32: neighbours of node i in class c, and node i itself where `itself`.
/// `labels` [nodes] in [0, classes).
Tensor class_histograms(const CsrMatrix& adjacency, std::span<const int32_t> labels,
                        int64_t classes, bool itself);
/// The first largest of each row of [nodes, classes].
std::vector<int32_t> predicted_classes(const Tensor& probabilities);

/// Mean over classes, then over entries, of the deviation (n - 1) of histograms of length 1 within
/// a class: how far the neighbourhoods of a class differ. Nodes without neighbours and classes with
/// fewer than two others take no part.
double mean_class_deviation(const Tensor& histograms, std::span<const int32_t> labels,
                            int64_t classes);

/// The number of the cluster of each row of x [n, features]: Lloyd's algorithm from centres drawn
/// as k-means++ does (Arthur and Vassilvitskii 2007), until nothing changes or 100 times.
std::vector<int32_t> k_means(const Tensor& x, int64_t clusters, Rng rng);

/// A symmetric graph whose diagonal has one weight: found anew in every product, or stored.
struct NewGraph {
  std::optional<autograd::SimilarityGraph> similar;
  CsrMatrix stored;  // otherwise; on the host, has values where the diagonal is neither 0 nor 1

  int64_t nodes() const { return similar ? similar->nodes() : stored.rows; }
  /// As a matrix on the host.
  CsrMatrix matrix() const { return similar ? similar->matrix() : stored; }
};

/// A' of a graph. probabilities: f32 [nodes, classes] on the host, what a first model predicts;
/// `degree`, `feature_cosine` and `k_means` do not look at them. Products with the features of
/// feature_cosine would cost too much every time, and ranks are no bounds: those two are stored.
NewGraph make_new_graph(const models::GraphData& graph, const Tensor& probabilities,
                        const NewGraphOptions& options, double diagonal, Device device, Rng rng);

/// What the links of different nodes are.
struct LinkStatistics {
  double links = 0;                 // both directions
  double ratio = 0;                 // to those of the graph
  double homophily = 0;             // share within a class; NaN without links
  std::vector<double> block_share;  // [classes * classes]: linked among all pairs of nodes
};
LinkStatistics link_statistics(const NewGraph& links, std::span<const int32_t> labels,
                               int64_t classes, int64_t entries_of_graph);
/// The same of a graph's own adjacency.
LinkStatistics link_statistics(const CsrMatrix& adjacency, std::span<const int32_t> labels,
                               int64_t classes);

}  // namespace tessera::algorithms::hignn
