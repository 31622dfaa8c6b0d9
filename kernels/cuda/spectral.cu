// The table's entries for cubes: Gram matrices and products with a basis.
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/gram.cuh"
#include "tessera/kernels/cuda/linalg.cuh"
#include "tessera/kernels/cuda/project.cuh"

namespace tessera::kernels::cuda {

void own_gram(Stream& stream, View x, View g, View sums, const SpectralParams& params) {
  check_gram(x, g, sums, params);
  if (g.numel() == 0) return;
  const Cube cube(x, params);
  const GramOut out{g, sums, params.accumulate};
  if (g.dtype == DType::i64)
    launch_exact_gram(stream, cube, out, has_warpgroups(stream));
  else
    launch_gram(stream, cube, out, has_warpgroups(stream));
}

void own_project(Stream& stream, View x, View basis, View y, const SpectralParams& params) {
  check_project(x, basis, y, params);
  if (y.numel() == 0) return;
  if (basis.numel() == 0) return copy_kernels.fill(stream, 0, y);
  if (y.rank < x.rank)
    return launch_squared_lengths(stream, x, basis, y, params, has_warpgroups(stream));
  launch_project(stream, Cube(x, params, y), basis, y, params.upper, has_warpgroups(stream));
}

}  // namespace tessera::kernels::cuda
