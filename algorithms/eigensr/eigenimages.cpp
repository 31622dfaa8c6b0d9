#include "tessera/algorithms/eigensr/eigenimages.hpp"

#include <vector>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/pixels.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::eigensr {

Tensor from_eigenimages(const Tensor& planes, const models::SpectralBasis& basis) {
  TS_CHECK(planes.rank() == 3 && planes.size(0) <= basis.v.size(1), "from_eigenimages: ", planes,
           " in a basis ", basis.v);
  const Tensor leading = basis.v.narrow(1, 0, planes.size(0));
  Tensor cube =
      Tensor::empty({planes.size(1), planes.size(2), basis.v.size(0)}, DType::f32, planes.device());
  autograd::project(planes.permute({1, 2, 0}), autograd::contiguous(leading.transpose(0, 1)), cube);
  return cube;
}

Spectra spectra_of(const models::Cube& cube) {
  Spectra spectra{autograd::convert(cube.values, DType::f32).clone()};
  const auto values = spectra.values.host_mutable<float>();
  const auto bands = static_cast<size_t>(cube.bands());
  std::vector<double> mean(bands);
  int64_t valid = 0;
  for (int64_t p = 0; p < cube.pixels(); ++p) {
    if (!cube.is_valid(p)) continue;
    ++valid;
    for (size_t b = 0; b < bands; ++b) mean[b] += values[static_cast<size_t>(p) * bands + b];
  }
  for (int64_t p = 0; p < cube.pixels(); ++p) {
    if (cube.is_valid(p)) continue;
    ++spectra.filled;
    for (size_t b = 0; b < bands; ++b)
      values[static_cast<size_t>(p) * bands + b] =
          static_cast<float>(mean[b] / static_cast<double>(valid));
  }
  return spectra;
}

}  // namespace tessera::algorithms::eigensr
