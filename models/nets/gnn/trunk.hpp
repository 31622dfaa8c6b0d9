#pragma once

#include <string_view>

#include "tessera/models/layers/graph/attention.hpp"
#include "tessera/models/nets/gnn/fagcn.hpp"

namespace tessera::models {

/// What a residual block of a trunk does with the normalised x; A with the degrees D of the graph
/// used, which has self-loops where it is said.
enum class TrunkModule : uint8_t {
  resnet,   // FFN(x)
  gcn,      // FFN(D^-1/2 A D^-1/2 x), self-loops
  sage,     // FFN([x, D^-1 A x])
  gat,      // FFN(attention(x W)), self-loops
  gat_sep,  // FFN([x, attention(x W)])
  gt,       // x' = Linear(dot attention), self-loops; a residual FFN block follows
  gt_sep,   // x' = Linear([x, dot attention]); the same
  sgc,      // D^-1/2 A D^-1/2 x, self-loops: no parameters
  appnp,    // h = x W, then twice h <- 0.9 D^-1/2 A D^-1/2 h + 0.1 x W, self-loops
  acm_gcn,  // AcmConv(x), symmetric
  fagcn,    // sum_j tanh(g . [x_i, x_j] + c) / sqrt(d_i d_j) x_j, self-loops
};
std::string_view to_string(TrunkModule module);
void parse(std::string_view text, TrunkModule& module);

struct TrunkOptions {
  TrunkModule module = TrunkModule::gcn;
  int64_t layers = 2;
  int64_t hidden = 128;
  int64_t heads = 8;
  double dropout = 0.2;
  double edge_dropout = 0.5;           // appnp: of the entries of A, anew in each step
  bool self_loops_everywhere = false;  // the modules that have none get them too (GFS)
  bool feed_forward_after_dot = true;  // gt: whether the block of its own follows (not in GFS)
};

/// One of a trunk's blocks; members that its module does not use are undefined.
struct TrunkBlock {
  LayerNorm norm;
  GraphLinear value;            // gat, appnp
  EdgeAttention attention;      // gat
  EdgeDotAttention dot;         // gt
  GraphLinear output;           // gt
  LayerNorm feed_forward_norm;  // gt
  FeedForward feed_forward;
  AcmConv acm;        // acm_gcn
  FaGcn::Layer gate;  // fagcn
  TrunkModule module = TrunkModule::resnet;
  bool self_loops = false;
  double dropout = 0, edge_dropout = 0;

  static TrunkBlock make(const TrunkOptions& options, Rng& rng);
  Var operator()(const GraphOperators& graph, const Var& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("norm", self.norm);
    f("value", self.value);
    f("attention", self.attention);
    f("dot", self.dot);
    f("output", self.output);
    f("feed_forward_norm", self.feed_forward_norm);
    f("feed_forward", self.feed_forward);
    f("acm", self.acm);
    f("gate", self.gate);
  }

 private:
  Var propagated(const GraphOperators& graph, const Var& x, ForwardContext& context) const;
  Var gated(const GraphOperators& graph, const Var& x, ForwardContext& context) const;
};

/// The residual network of Platonov et al. (2023), "A critical look at the evaluation of GNNs under
/// heterophily", with modules of choice:
///   x = gelu(dropout(X W + b)); x = x + module(norm(x)), `layers` times; logits = norm(x) W' + b'
struct ResidualTrunk {
  GraphLinear input;
  std::vector<TrunkBlock> blocks;
  LayerNorm norm;
  GraphLinear output;
  double dropout = 0;

  static ResidualTrunk make(int64_t features, int64_t classes, const TrunkOptions& options,
                            Rng& rng);
  /// Logits [nodes, classes].
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, ForwardContext& context) const;
  /// norm(x) before the last layer, [nodes, hidden].
  Var representation(const GraphOperators& graph, const NodeFeatures& x,
                     ForwardContext& context) const;
  /// The same from X W + b on.
  Var representation_of(const GraphOperators& graph, const Var& input,
                        ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("input", self.input);
    f("blocks", self.blocks);
    f("norm", self.norm);
    f("output", self.output);
  }
};

}  // namespace tessera::models
