#pragma once

#include <span>
#include <vector>

#include "tessera/algorithms/gfs/features.hpp"
#include "tessera/models/data/graph.hpp"

/// Homophilies of single features, which the paper compares TFI with. x is standardised over the
/// whole matrix, N_i are the neighbours of node i without itself. Each takes a pass over the edges
/// per feature.
namespace tessera::algorithms::gfs {

struct FeatureHomophily {
  std::vector<double> edge;  // h_GE: mean over edges of the cosine of two numbers, their signs'
                             // product
  std::vector<double>
      attribute;               // h_attr: sum_i x_i mean_{j in N_i and i} x_j / sum_i x_i, 1 for 0
  std::vector<double> cosine;  // h_sim-cos: mean over all nodes of the mean over N_i of x_i x_j /
                               // (|row i| |row j|); 0 without neighbours or with a row of zeros
  std::vector<double> euclidean;  // h_sim-euc: the same of -|x_i - x_j|
};
/// Vectors have a number for each feature; those of `edge` are NaN in a graph without edges.
FeatureHomophily feature_homophily(const models::GraphData& graph,
                                   const StandardFeatures& features);

/// h_CTF of each feature: mean over the nodes `train` of sum_{j in N_i among them} (b_i - (x'_i -
/// x'_j)^2), x' = x - mean of the class, b_i = 2 (x'_i - mean x')^2. NaN without nodes.
std::vector<double> class_controlled_homophily(const models::GraphData& graph,
                                               const StandardFeatures& features,
                                               std::span<const int64_t> train);

}  // namespace tessera::algorithms::gfs
