#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/models/data/graph.hpp"

/// A graph as the homophily metrics take it.
namespace tessera::algorithms::trihom {

/// Which of two readings of every metric is computed.
enum class Mode : uint8_t {
  correct,  // as the papers define it
  compat,   // as the authors' published table was made, its slips included
};
std::string_view to_string(Mode mode);
void parse(std::string_view text, Mode& mode);

/// Neighbours of every node: those of node i are node[first[i]] .. node[first[i + 1]), ascending.
struct Neighbours {
  std::vector<int32_t> first{0}, node;

  int64_t nodes() const { return static_cast<int64_t>(first.size()) - 1; }
  int64_t ends() const { return static_cast<int64_t>(node.size()); }  // of edges: both directions
  int32_t degree(size_t i) const { return first[i + 1] - first[i]; }
};

/// Classes that no node has take no part: the others are numbered anew, in order.
struct LabelledGraph {
  std::string name;
  Neighbours neighbours;            // without self-loops
  Neighbours with_loops;            // the same in `correct`, which has no self-loops
  std::vector<int32_t> label;       // of each node, below classes()
  std::vector<int64_t> class_size;  // at least 1
  std::vector<int64_t> class_id;    // the number it has in the file
  std::vector<int64_t> node_id;     // the number that node i has in the file

  int64_t nodes() const { return static_cast<int64_t>(label.size()); }
  int64_t classes() const { return static_cast<int64_t>(class_size.size()); }
};

/// `correct` leaves out nodes without a label and all self-loops; `compat` takes nodes as they are
/// and keeps self-loops, once each, for the metrics whose published values had them. Throws naming
/// the graph when no node is left, or when nodes times classes is more than 2^28.
LabelledGraph labelled_graph(const models::GraphData& graph, Mode mode);

/// counts[i * classes + c]: neighbours of node i in class c.
std::vector<int32_t> class_counts(const Neighbours& neighbours, const LabelledGraph& graph);

/// Node features as rows of entries that are not 0, columns ascending and different.
struct FeatureRows {
  int64_t features = 0;
  std::vector<int64_t> first{0};
  std::vector<int32_t> column;
  std::vector<double> value;

  int64_t rows() const { return static_cast<int64_t>(first.size()) - 1; }
};
/// Of the nodes `graph` has kept. Throws naming the graph, node and feature where one is not
/// finite.
FeatureRows feature_rows(const models::GraphData& data, const LabelledGraph& graph);
/// Every row divided by the sum of its absolute values; rows of zeros stay.
FeatureRows l1_normalized(FeatureRows rows);

}  // namespace tessera::algorithms::trihom
