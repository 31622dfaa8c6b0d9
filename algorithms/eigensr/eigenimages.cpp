#include "tessera/algorithms/eigensr/eigenimages.hpp"

#include <algorithm>
#include <cmath>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/linalg.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::eigensr {
namespace {

using autograd::Var;

void check_cube(const char* operation, const Tensor& cube) {
  TS_CHECK(cube.rank() == 3 && cube.dtype() == DType::f32 && cube.numel() > 0, operation,
           ": expected f32 [rows, columns, bands], found ", cube);
}

/// [pixels, bands] in f64.
Var table_of(const Tensor& cube) {
  return autograd::convert(cube, DType::f64).reshape({cube.size(0) * cube.size(1), cube.size(2)});
}

}  // namespace

SpectralBasis spectral_basis(const Tensor& cube) {
  check_cube("spectral_basis", cube);
  const autograd::EighResult eigen = autograd::eigh(autograd::gram(table_of(cube)));
  SpectralBasis basis;
  basis.vectors = autograd::contiguous(autograd::flip(eigen.vectors, 1).value());
  for (const double value : autograd::flip(eigen.values, 0).value().values<double>())
    basis.singular_values.push_back(std::sqrt(std::max(0.0, value)));
  return basis;
}

int64_t rank_of(double rank, int64_t bands) {
  if (rank == 0) return bands;
  if (rank < 1) return static_cast<int64_t>(std::ceil(rank * static_cast<double>(bands)));
  TS_CHECK(rank == std::floor(rank), "rank ", rank,
           " is neither a share below 1 nor a whole number of eigenimages");
  return std::min(static_cast<int64_t>(rank), bands);
}

int64_t components_within(const std::vector<double>& singular_values, double share) {
  double total = 0, sum = 0;
  for (const double s : singular_values) total += s;
  int64_t count = 0;
  for (const double s : singular_values) {
    sum += s;
    if (sum > share * total) break;
    ++count;
  }
  return std::max<int64_t>(1, count);
}

Tensor eigenimages(const Tensor& cube, const SpectralBasis& basis, int64_t count) {
  check_cube("eigenimages", cube);
  TS_CHECK(cube.size(2) == basis.vectors.size(0) && count >= 1 && count <= basis.vectors.size(1),
           "eigenimages: ", count, " of ", cube, " in a basis ", basis.vectors);
  const Var leading = autograd::narrow(basis.vectors, 1, 0, count);
  const Var planes = autograd::matmul(autograd::transpose(leading, 0, 1),
                                      autograd::transpose(table_of(cube), 0, 1));
  return autograd::convert(planes.value(), DType::f32).reshape({count, cube.size(0), cube.size(1)});
}

Tensor from_eigenimages(const Tensor& planes, const SpectralBasis& basis) {
  const int64_t count = planes.size(0);
  TS_CHECK(planes.rank() == 3 && count <= basis.vectors.size(1), "from_eigenimages: ", planes,
           " in a basis ", basis.vectors);
  const Var leading = autograd::narrow(basis.vectors, 1, 0, count);
  const Var table =
      autograd::convert(planes, DType::f64).reshape({count, planes.size(1) * planes.size(2)});
  const Var cube =
      autograd::matmul(autograd::transpose(table, 0, 1), autograd::transpose(leading, 0, 1));
  return autograd::convert(cube.value(), DType::f32)
      .reshape({planes.size(1), planes.size(2), basis.vectors.size(0)});
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
