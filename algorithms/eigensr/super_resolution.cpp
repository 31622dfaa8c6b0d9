#include "tessera/algorithms/eigensr/super_resolution.hpp"

#include "tessera/algorithms/eigensr/eigenimages.hpp"
#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/pool.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/interrupt.hpp"

namespace tessera::algorithms::eigensr {
namespace {

using autograd::Var;

constexpr int64_t orientations = 7;  // of the passes, before they repeat

}  // namespace

Tensor resized_planes(const Tensor& planes, int64_t rows, int64_t columns) {
  const Var resized = autograd::resample2d(planes.unsqueeze(0), rows, columns,
                                           {.mode = autograd::ResampleMode::imresize});
  return autograd::squeeze(resized, 0).value();
}

Tensor resized_cube(const Tensor& cube, int64_t rows, int64_t columns) {
  const Tensor planes = autograd::contiguous(cube.permute({2, 0, 1}));
  return autograd::contiguous(resized_planes(planes, rows, columns).permute({1, 2, 0}));
}

Upscaler bicubic(int64_t scale) {
  return [scale](const Tensor& planes) {
    return resized_planes(planes, scale * planes.size(1), scale * planes.size(2));
  };
}

Tensor super_resolve(const Tensor& cube, int64_t scale, const Regularisation& options,
                     const Upscaler& upscale, const std::function<void(int64_t)>& on_pass) {
  TS_CHECK(scale >= 1 && options.iterations >= 1, "super_resolve: scale ", scale, ", ",
           options.iterations, " iterations");
  const int64_t count = models::rank_of(options.rank, cube.size(2));
  Tensor average = cube, estimate;
  for (int64_t k = 0; k < options.iterations && !stop_requested(); ++k) {
    const models::SpectralBasis basis = models::spectral_basis(average);
    const Dihedral& turn = dihedral_group[static_cast<size_t>(k % orientations)];
    const Tensor enlarged = upscale(turned(models::eigenimages(cube, basis, count), turn));
    estimate = from_eigenimages(turned_back(enlarged, turn), basis);
    if (on_pass) on_pass(k + 1);
    if (options.iterations == 1) return estimate;
    if (k == 0) average = resized_cube(cube, scale * cube.size(0), scale * cube.size(1));
    average = (Var(estimate) * options.beta + Var(average) * (1 - options.beta)).value();
  }
  return average;
}

}  // namespace tessera::algorithms::eigensr
