#pragma once

#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "tessera/algorithms/hignn/new_graph.hpp"
#include "tessera/models/layers/graph/conv.hpp"
#include "tessera/models/nets/gnn/gat.hpp"

/// Networks that convolve on two graphs in every layer: Z = conv(X; A) + lambda conv'(X; A').
namespace tessera::algorithms::hignn {

enum class Backbone : uint8_t { acm_gcn, gcn, gat, sage, sgc, mixhop };
std::string_view to_string(Backbone backbone);
void parse(std::string_view text, Backbone& backbone);

/// Which graphs take part.
enum class Graphs : uint8_t { both, old_graph, new_graph };
std::string_view to_string(Graphs graphs);  // "both", "old", "new"
void parse(std::string_view text, Graphs& graphs);

/// The weight that A' has on its diagonal in products: ACM-GCN adds I to it, others do not.
double diagonal_weight(Backbone backbone);

/// The products with one graph that layers make; x [nodes, runs, width].
struct Filters {
  using Filter = std::function<models::Var(const models::Var&)>;
  Filter random_walk;  // acm_gcn: D^-1 A with the node itself
  Filter symmetric;    // gcn, sgc, mixhop: D^-1/2 A D^-1/2 with the node itself
  Filter mean;         // sage: D^-1 A, of A without the node itself, of A' with
  std::function<const autograd::SparseMatrix&()> pattern;  // gat: with the node itself
};
Filters filters_of(const models::GraphOperators& graph);
/// `graphs`: one for all runs, or one for each. `pattern` is there for a single one.
Filters filters_of(std::span<const NewGraph> graphs, Device device);

struct NetworkOptions {
  Backbone backbone = Backbone::acm_gcn;
  int64_t layers = 2;
  int64_t hidden = 64;
  int64_t heads = 8;
  int64_t steps = 2;
  double dropout = 0.5;
  double lambda = 1;  // weight of the convolutions on the new graph; `lambdas` of the experiment

  static void visit(auto& self, auto&& f) {
    f("backbone", self.backbone, "acm_gcn, gcn, gat, sage, sgc or mixhop");
    f("layers", self.layers, "of convolutions; sgc has one", Bounds::at_least(1));
    f("hidden", self.hidden,
      "width of the hidden layers; of gat: of one head; of mixhop: of one power",
      Bounds::at_least(1));
    f("heads", self.heads, "of gat", Bounds::at_least(1));
    f("steps", self.steps, "of propagation in sgc", Bounds::at_least(1));
    f("dropout", self.dropout, "on the input of every layer", Bounds::up_to_below(0, 1));
  }
};

/// A backbone with separate weights for each graph. Between the layers: batch normalisation (gcn,
/// gat, mixhop), relu (gat: elu) and dropout; a linear layer behind those of sgc and mixhop.
struct HiNetwork {
  /// The weights of one layer on one graph; a backbone has some of them.
  struct Conv {
    models::AcmConv acm;
    std::vector<models::GraphLinear> linear;  // gcn, sgc; of itself and neighbours; of each power
    models::Gat::Layer attention;

    static void visit(auto& self, auto&& f) {
      f("acm", self.acm);
      f("linear", self.linear);
      f("attention", self.attention);
    }
  };
  struct Layer {
    std::vector<Conv> graphs;  // of A, of A', or of both in this order
    models::BatchNorm norm;

    static void visit(auto& self, auto&& f) {
      f("graphs", self.graphs);
      f("norm", self.norm);
    }
  };
  std::vector<Layer> layers;
  models::GraphLinear output;
  NetworkOptions options;
  Graphs graphs = Graphs::both;

  static HiNetwork make(int64_t features, int64_t classes, const NetworkOptions& options,
                        Graphs graphs, Rng& rng);
  /// Logits [nodes, runs, classes] of runs side by side (models/runs.hpp). A graph that takes no
  /// part is not looked at.
  models::Var operator()(const Filters& old_graph, const Filters& new_graph,
                         const models::NodeFeatures& x, models::ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("layers", self.layers);
    f("output", self.output);
  }
};

}  // namespace tessera::algorithms::hignn
