#pragma once

#include <vector>

#include "tessera/models/data/dataset.hpp"

/// What networks of one channel train on: planes of pictures, as pairs of a patch and its
/// bicubically smaller twin.
namespace tessera::algorithms::eigensr {

/// The eigenimages of a cube f32 [rows, columns, bands] that hold `share` of the sum of singular
/// values, at least one: f32 [n, rows, columns].
Tensor training_planes(const Tensor& cube, double share);
/// The channels of a picture u8 [rows, columns] or [rows, columns, channels], in [0, 1]: f32
/// [channels, rows, columns].
Tensor channel_planes(const Tensor& picture);

/// Samples {small f32 [1, patch, patch], large f32 [1, scale patch, scale patch]}. Example i is of
/// scene i mod scenes: of a random plane of it a random crop, in one of eight orientations, and
/// what bicubic shrinking makes of it. Both are less the small one's mean, over its deviation (n -
/// 1). Scenes smaller than a crop are mirrored.
class PatchDataset final : public models::Dataset {
 public:
  /// `scenes`: f32 [planes, rows, columns] each, at least one. There are as many examples as the
  /// least multiple of scenes that fills a batch.
  PatchDataset(std::vector<Tensor> scenes, int64_t scale, int64_t patch, int64_t batch);

  int64_t size() const override { return size_; }
  models::Sample get(int64_t index, Rng rng) const override;

 private:
  std::vector<Tensor> scenes_;
  int64_t scale_, patch_, size_;
};

}  // namespace tessera::algorithms::eigensr
