#pragma once

#include "tessera/kernels/sort.hpp"
#include "tessera/runtime/tensor.hpp"

/// Search for near points: numbers in, numbers out, nothing to differentiate.
namespace tessera::autograd {

using kernels::Metric;
using kernels::NeighborParams;

struct Neighbors {
  Tensor distance;  // [m, k], nearest first
  Tensor index;     // i64 [m, k]
};

/// The k rows of points [n, d] nearest to each row of queries [m, d], equal distances by the lower
/// index; f32 or f64. Compares all pairs tile by tile and never holds all m n distances.
Neighbors nearest_neighbors(const Tensor& queries, const Tensor& points, int64_t k,
                            const NeighborParams& params = {});

}  // namespace tessera::autograd
