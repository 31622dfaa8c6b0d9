#include "tessera/algorithms/eigensr/samples.hpp"

#include <algorithm>

#include "tessera/algorithms/eigensr/super_resolution.hpp"
#include "tessera/algorithms/eigensr/tiling.hpp"
#include "tessera/models/spectral_basis.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::eigensr {
namespace {

/// Where a crop begins: at random, or so that what is missing is shared out.
int64_t crop_start(int64_t extent, int64_t crop, Rng& rng) {
  return extent > crop ? static_cast<int64_t>(rng.below(static_cast<uint64_t>(extent - crop + 1)))
                       : -((crop - extent) / 2);
}

Tensor normalised(const Tensor& patch, const PatchScale& by) {
  Tensor result = patch.clone();
  for (float& v : result.host_mutable<float>())
    v = static_cast<float>((v - by.mean) / by.deviation);
  return result;
}

}  // namespace

Tensor training_planes(const Tensor& cube, double share) {
  const models::SpectralBasis basis = models::spectral_basis(cube);
  return models::eigenimages(cube, basis, models::components_within(basis.sigma, share));
}

Tensor channel_planes(const Tensor& picture) {
  TS_CHECK(picture.dtype() == DType::u8 && (picture.rank() == 2 || picture.rank() == 3),
           "channel_planes: expected u8 [rows, columns] or [rows, columns, channels], found ",
           picture);
  const Tensor channels =
      (picture.rank() == 2 ? picture.unsqueeze(2) : picture).permute({2, 0, 1}).clone();
  Tensor planes = Tensor::empty(channels.shape(), DType::f32, Device::cpu());
  std::transform(channels.host<uint8_t>().begin(), channels.host<uint8_t>().end(),
                 planes.host_mutable<float>().begin(),
                 [](uint8_t v) { return static_cast<float>(v) / 255; });
  return planes;
}

PatchDataset::PatchDataset(std::vector<Tensor> scenes, int64_t scale, int64_t patch, int64_t batch)
    : scenes_(std::move(scenes)), scale_(scale), patch_(patch) {
  TS_CHECK(!scenes_.empty() && scale >= 1 && patch >= 2 && batch >= 1,
           "PatchDataset: ", scenes_.size(), " scenes, scale ", scale, ", patches of ", patch,
           ", batches of ", batch);
  const auto count = std::ssize(scenes_);
  size_ = (batch + count - 1) / count * count;
}

models::Sample PatchDataset::get(int64_t index, Rng rng) const {
  const Tensor& scene = scenes_[static_cast<size_t>(index % std::ssize(scenes_))];
  const int64_t rows = scene.size(1), columns = scene.size(2), crop = scale_ * patch_;
  const int64_t plane = static_cast<int64_t>(rng.below(static_cast<uint64_t>(scene.size(0)))),
                top = crop_start(rows, crop, rng), left = crop_start(columns, crop, rng);
  Tensor large = Tensor::empty({1, crop, crop}, DType::f32, Device::cpu());
  float* to = large.host_mutable<float>().data();
  const float* const from = scene.host<float>().data() + plane * rows * columns;
  for (int64_t r = 0; r < crop; ++r) {
    const int64_t row = mirrored(top + r, rows);
    for (int64_t c = 0; c < crop; ++c) *to++ = from[row * columns + mirrored(left + c, columns)];
  }
  large = turned(large, dihedral_group[rng.below(dihedral_group.size())]);
  const Tensor small = resized_planes(large, patch_, patch_);
  const PatchScale by = scale_of(small.host<float>());
  return {normalised(small, by), normalised(large, by)};
}

}  // namespace tessera::algorithms::eigensr
