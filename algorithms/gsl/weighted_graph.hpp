#pragma once

#include <span>
#include <vector>

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/models/nets/gnn/gcn.hpp"
#include "tessera/models/runs.hpp"

/// Graphs whose edges have weights that are learned, and GCNs on them. Nothing here is dense in
/// pairs of nodes.
namespace tessera::algorithms::gsl {

using models::ForwardContext;
using models::Var;

/// x / |x| for every row; rows of zeros stay.
Var unit_rows(const Var& x);

struct WeightedGraph {
  autograd::SparseMatrix pattern;  // symmetric
  Var weights;                     // [entries], at least 0
};
/// D^-1/2 W D^-1/2 x with the row sums D of the weights; rows without weight give 0.
Var propagate(const WeightedGraph& graph, const Var& x);

/// Several matrices of one size as one pattern, which has the entries of all, and the values of
/// each there: f32 [entries], 0 where it has none, 1 where it has an entry without value.
struct JoinedPattern {
  autograd::SparseMatrix pattern;
  std::vector<Tensor> values;
};
JoinedPattern joined(std::span<const CsrMatrix> matrices, Device device);

/// The n x n identity without values.
CsrMatrix identity_matrix(int64_t n);

/// W + W' for the 0/1 matrix W whose row i has the k rows of x [n, width] most alike to row i by
/// cosine, itself not among them (k cut to n - 1): entries 1 and 2, on the host.
CsrMatrix neighbour_choices(const Tensor& x, int64_t k);

/// Share of the weight f32 [entries] that lies between nodes of one class, the diagonal aside;
/// labels i32. NaN without weight.
double weighted_homophily(const CsrMatrix& pattern, const Tensor& weights, const Tensor& labels);

/// The GCN with propagate(x) in place of A_hat x. `hidden` gets the activations before the last
/// layer, without dropout.
template <class Propagate>
Var gcn_on(const models::Gcn& net, const models::NodeFeatures& x, ForwardContext& context,
           Propagate&& propagate, Var* hidden = nullptr) {
  Var h;
  for (size_t i = 0; i < net.layers.size(); ++i) {
    const models::GraphLinear& layer = net.layers[i];
    if (i == 0) {
      h = x.times(layer.weight, net.dropout, context);
    } else {
      h = autograd::relu(h);
      if (hidden && i + 1 == net.layers.size()) *hidden = h;
      h = models::times(models::drop(h, net.dropout, context), layer.weight);
    }
    h = propagate(h) + layer.bias;
  }
  return h;
}

}  // namespace tessera::algorithms::gsl
