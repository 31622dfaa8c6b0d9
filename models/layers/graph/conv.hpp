#pragma once

#include "tessera/models/layers/graph/features.hpp"
#include "tessera/models/layers/graph/operators.hpp"
#include "tessera/models/layers/norm.hpp"

/// Layers of graph networks that multiply with fixed matrices. Shapes are those of one run; of
/// several, see models/runs.hpp.
namespace tessera::models {

/// x W + b for every node. weight [in, out], bias [out] or undefined.
struct GraphLinear {
  Var weight, bias;

  /// Uniform in +-1/sqrt(in) for both, as PyTorch's linear layers start.
  static GraphLinear make(int64_t in, int64_t out, Rng& rng, bool with_bias = true);
  /// Glorot uniform weight, zero bias.
  static GraphLinear glorot(int64_t in, int64_t out, Rng& rng, bool with_bias = true);

  Var operator()(const Var& x) const;
  /// The first layer of a network: with dropout of the features.
  Var operator()(const NodeFeatures& x, double dropout, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("weight", self.weight);
    f("bias", self.bias);
  }
};

/// Linear(H m_in -> H) -> dropout -> gelu -> Linear(H -> H) -> dropout: what every residual block
/// ends with (Platonov et al. 2023).
struct FeedForward {
  GraphLinear first, second;
  double dropout = 0;

  static FeedForward make(int64_t in, int64_t hidden, double dropout, Rng& rng);
  Var operator()(const Var& x, ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("first", self.first);
    f("second", self.second);
  }
};

/// Three channels, mixed for each node (Luan et al. 2022, ACM-GCN):
///   low = relu(A_r x W_L), high = relu((I - A_r) x W_H), full = relu(x W_I)
///   [a_L, a_H, a_I] = softmax(sigmoid([low w_L, high w_H, full w_I]) W_mix / channels)
///   y = channels * (a_L low + a_H high + a_I full)
/// `relu_first` (ACMII) takes relu before the filters: low = A_r relu(x W_L). `plus` (ACM-GCN+)
/// normalises each channel before its attention vector and, with structure, adds relu(A W_S) as a
/// fourth channel, whose mix is then not multiplied by the number of channels. `symmetric` filters
/// with D^-1/2 A D^-1/2 in place of A_r = D^-1 A, both with self-loops.
struct AcmConv {
  Var low, high, full, structure;                              // [in, out]; structure [nodes, out]
  Var low_vector, high_vector, full_vector, structure_vector;  // [out, 1]
  Var mix;                                                     // [channels, channels]
  LayerNorm low_norm, high_norm, full_norm, structure_norm;    // of ACM-GCN+
  bool relu_first = false, plus = false, symmetric = false;

  struct Options {
    bool relu_first = false;
    bool plus = false;
    bool symmetric = false;
    int64_t structure_nodes = 0;  // 0: no structure channel
  };
  /// Weights uniform in +-1/sqrt(out), vectors in +-1, mix in +-1/sqrt(channels).
  static AcmConv make(int64_t in, int64_t out, const Options& options, Rng& rng);
  Var operator()(const GraphOperators& graph, const Var& x) const;
  Var operator()(const GraphOperators& graph, const NodeFeatures& x, double dropout,
                 ForwardContext& context) const;

  static void visit(auto& self, auto&& f) {
    f("low", self.low);
    f("high", self.high);
    f("full", self.full);
    f("structure", self.structure);
    f("low_vector", self.low_vector);
    f("high_vector", self.high_vector);
    f("full_vector", self.full_vector);
    f("structure_vector", self.structure_vector);
    f("mix", self.mix);
    f("low_norm", self.low_norm);
    f("high_norm", self.high_norm);
    f("full_norm", self.full_norm);
    f("structure_norm", self.structure_norm);
  }

 private:
  Var mixed(const GraphOperators& graph, const Var& to_low, const Var& to_high,
            const Var& to_full) const;
};

}  // namespace tessera::models
