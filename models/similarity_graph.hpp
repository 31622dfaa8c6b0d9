#pragma once

#include <span>
#include <string_view>

#include "tessera/runtime/config.hpp"
#include "tessera/runtime/csr.hpp"
#include "tessera/runtime/tensor.hpp"

/// Graphs that join the rows of a matrix that point in like directions. Likeness is the cosine s_ij
/// = b_i . b_j / (|b_i| |b_j|). A row of zeros has no direction: its node stays isolated.
namespace tessera::models {

/// Which j row i chooses among the others. Equal cosines go by the lower number.
enum class GraphConstruction : uint8_t {
  knn,        // the k most alike
  cos_node,   // a threshold for each node: s_ij >= threshold * max_j s_ij; or a budget
  cos_graph,  // one threshold for the graph: s_ij >= threshold; or a budget
};
std::string_view to_string(GraphConstruction construction);  // "knn", "cos_node", "cos_graph"
void parse(std::string_view text, GraphConstruction& construction);

/// How choices W_ij = s_ij, 0 where i did not choose j, become an undirected graph.
enum class Symmetrization : uint8_t {
  either,   // an edge without value where either chose the other
  maximum,  // max(W, W')
  sum,      // W + W'
};
std::string_view to_string(Symmetrization symmetrization);
void parse(std::string_view text, Symmetrization& symmetrization);

struct SimilarityGraphOptions {
  GraphConstruction construction = GraphConstruction::knn;
  int64_t k = 5;
  double threshold = 0;
  Symmetrization symmetrization = Symmetrization::either;

  static void visit(auto& self, auto&& f) {
    f("construction", self.construction, "knn, cos_node or cos_graph");
    f("k", self.k, "neighbours that a node chooses; of cos_graph's budget: of a node on average",
      Bounds::at_least(1));
    f("threshold", self.threshold, "of cosines in cos_node and cos_graph; 0: a budget instead",
      Bounds::between(0, 1));
    f("symmetrization", self.symmetrization, "either, maximum or sum");
  }
};

/// The graph of the rows of base [n, width] (floating, any device, finite), on the host: symmetric,
/// without self-loops, columns ascending; values f32 unless `either`.
///
/// k is cut to the number of others that have a direction. With threshold 0, cos_node takes the
/// budget[i] rows most alike (k where no budget is given), cos_graph the floor(n k / 2) pairs most
/// alike. A threshold takes positive cosines only, and those that miss it by 1e-6 or less, so that
/// rounding decides nothing; one that leaves more than 2^26 pairs throws. Products are made tile by
/// tile: memory is that of the result, of base, and of 128 rows of cosines.
CsrMatrix similarity_graph(const Tensor& base, const SimilarityGraphOptions& options,
                           std::span<const int64_t> budget = {});

/// The edges of either, on the host: entries of both patterns, without values.
CsrMatrix merged_graph(const CsrMatrix& a, const CsrMatrix& b);

/// Share of the entries (i, j) with labels[i] = labels[j]; labels i32 [n]. NaN without entries.
double edge_homophily(const CsrMatrix& graph, const Tensor& labels);

/// Entries in each row.
std::vector<int64_t> degrees(const CsrMatrix& graph);

}  // namespace tessera::models
