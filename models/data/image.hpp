#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tessera/models/data/dataset.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera::models {

/// Labelled images as they are stored, on the host.
struct ImageData {
  Tensor images;  // u8 [n, channels, height, width]
  Tensor labels;  // i32 [n], in [0, classes)
  int64_t classes = 0;

  int64_t size() const { return images.size(0); }
};

/// MNIST and its kin: an IDX file of images [n, height, width] and one of labels [n], gzip
/// accepted. Throws an `io` Error naming the file when shapes or dtypes are others, the counts
/// differ, or a label is outside [0, classes).
ImageData load_idx_images(const std::string& images_path, const std::string& labels_path,
                          int64_t classes = 10);
/// CIFAR binary files, read one after another; CIFAR-100's fine labels.
ImageData load_cifar10(const std::vector<std::string>& paths);
ImageData load_cifar100(const std::vector<std::string>& paths);

/// The first `count` images, or all when there are fewer.
ImageData take_images(const ImageData& data, int64_t count);

/// Mean and standard deviation of each channel, of pixels in [0, 1].
struct ChannelStatistics {
  std::vector<float> mean, std;
};
ChannelStatistics channel_statistics(const ImageData& data);

struct Augmentation {
  int64_t crop_padding =
      0;              // zero-pad by this much on each side, then cut the old size out at random
  bool flip = false;  // mirror left and right with probability 1/2
  static void visit(auto& self, auto&& f) {
    f("crop_padding", self.crop_padding, "pixels of zero padding before a random crop",
      Bounds::at_least(0));
    f("flip", self.flip, "mirror left and right at random");
  }
};

/// Samples {image f32 [channels, height, width], label i32 []}: pixels in [0, 1] minus mean over
/// standard deviation, after augmentation; padding is 0 before normalisation, i.e. black.
class ImageDataset final : public Dataset {
 public:
  ImageDataset(ImageData data, ChannelStatistics statistics, Augmentation augmentation = {});
  int64_t size() const override { return data_.size(); }
  Sample get(int64_t index, Rng rng) const override;

 private:
  ImageData data_;
  std::vector<float> scale_, shift_;  // per channel: value = scale * byte + shift
  Augmentation augmentation_;
};

}  // namespace tessera::models
