#include "tessera/autograd/ops/neighbors.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {

Neighbors nearest_neighbors(const Tensor& queries, const Tensor& points, int64_t k,
                            const NeighborParams& params) {
  check_same("nearest_neighbors", queries, points);
  check_floating("nearest_neighbors", queries);
  check_rank("nearest_neighbors", "queries", queries, 2);
  TS_CHECK(k >= 0, "nearest_neighbors: ", k, " neighbours");
  const Neighbors found{Tensor::empty({queries.size(0), k}, queries.dtype(), queries.device()),
                        Tensor::empty({queries.size(0), k}, DType::i64, queries.device())};
  kernels::nearest_neighbors(current_stream(queries.device()), contiguous(queries).view(),
                             contiguous(points).view(), found.distance.view(), found.index.view(),
                             params);
  return found;
}

}  // namespace tessera::autograd
