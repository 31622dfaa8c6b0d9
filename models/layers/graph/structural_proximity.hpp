#pragma once

#include <vector>

#include "tessera/runtime/csr.hpp"

namespace tessera::models {

/// How alike two nodes' surroundings are, whether or not they are near each other (Ribeiro et al.
/// 2017, struc2vec). With R_k(u) the nodes at distance k from u and s(.) the sorted sequence of
/// their degrees,
///   f_k(u, v) = f_{k-1}(u, v) + DTW(s(R_k(u)), s(R_k(v))),  f_{-1} = 0,
///   weight_k(u, v) = exp(-f_k(u, v)),
/// where dynamic time warping matches runs of c nodes of equal degree d at the cost
/// ((max d + 1/2) / (min d + 1/2) - 1) max c. Compared are the pairs in which one node is among the
/// 2 ceil(log2 n) nearest of the other in the order of degrees (lower node first among equals); a
/// pair has no entry from the first radius at which one of the rings is empty.
///
/// adjacency: square, on the host, symmetric; values and self-loops are ignored. Result: for each
/// radius 0 .. radii - 1 a symmetric matrix [n, n] with f64 values, zero diagonal.
std::vector<CsrMatrix> structural_proximity(const CsrMatrix& adjacency, int64_t radii);

}  // namespace tessera::models
