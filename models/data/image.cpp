#include "tessera/models/data/image.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/io/cifar.hpp"
#include "tessera/runtime/io/idx.hpp"

namespace tessera::models {
namespace {

ImageData load_cifar_files(const std::vector<std::string>& paths, CifarKind kind) {
  std::vector<CifarImages> parts;
  int64_t n = 0;
  for (const std::string& path : paths) {
    parts.push_back(load_cifar(path, kind));
    n += parts.back().images.size(0);
  }
  ImageData data{Tensor::empty({n, 3, 32, 32}, DType::u8, Device::cpu()),
                 Tensor::empty({n}, DType::i32, Device::cpu()),
                 kind == CifarKind::cifar10 ? 10 : 100};
  n = 0;
  for (const CifarImages& part : parts) {
    const int64_t count = part.images.size(0);
    data.images.narrow(0, n, count).copy_from(part.images);
    data.labels.narrow(0, n, count).copy_from(part.labels);
    n += count;
  }
  return data;
}

}  // namespace

ImageData load_idx_images(const std::string& images_path, const std::string& labels_path,
                          int64_t classes) {
  const Tensor images = load_idx(images_path), labels = load_idx(labels_path);
  const auto fail = [](const std::string& path, const auto&... parts) {
    throw Error(ErrorKind::io, concat(path, ": ", parts...));
  };
  if (images.dtype() != DType::u8 || images.rank() != 3)
    fail(images_path, "expected images u8 [n, height, width], found ", images.dtype(), " ",
         images.shape());
  if (labels.dtype() != DType::u8 || labels.rank() != 1)
    fail(labels_path, "expected labels u8 [n], found ", labels.dtype(), " ", labels.shape());
  if (labels.size(0) != images.size(0))
    fail(labels_path, labels.size(0), " labels for the ", images.size(0), " images of ",
         images_path);
  ImageData data{images.unsqueeze(1), Tensor::empty(labels.shape(), DType::i32, Device::cpu()),
                 classes};
  const auto from = labels.host<uint8_t>();
  const auto to = data.labels.host_mutable<int32_t>();
  for (size_t i = 0; i < from.size(); ++i) {
    if (from[i] >= classes)
      fail(labels_path, "label ", int{from[i]}, " of image ", i, " is not in [0, ", classes, ")");
    to[i] = from[i];
  }
  return data;
}

ImageData load_cifar10(const std::vector<std::string>& paths) {
  return load_cifar_files(paths, CifarKind::cifar10);
}
ImageData load_cifar100(const std::vector<std::string>& paths) {
  return load_cifar_files(paths, CifarKind::cifar100);
}

ImageData take_images(const ImageData& data, int64_t count) {
  count = std::min(count, data.size());
  return {data.images.narrow(0, 0, count), data.labels.narrow(0, 0, count), data.classes};
}

ChannelStatistics channel_statistics(const ImageData& data) {
  TS_CHECK(data.images.numel() > 0, "channel_statistics: no pixels in images of shape ",
           data.images.shape());
  const int64_t channels = data.images.size(1), pixels = data.images.size(2) * data.images.size(3);
  std::vector<int64_t> sum(static_cast<size_t>(channels)), squares(sum);
  const uint8_t* at = data.images.host<uint8_t>().data();
  for (int64_t plane = 0; plane < data.size() * channels; ++plane)
    for (int64_t i = 0; i < pixels; ++i, ++at) {
      sum[static_cast<size_t>(plane % channels)] += *at;
      squares[static_cast<size_t>(plane % channels)] += int64_t{*at} * *at;
    }
  ChannelStatistics out;
  const auto n = static_cast<double>(data.size() * pixels);
  for (size_t c = 0; c < sum.size(); ++c) {
    const double mean = static_cast<double>(sum[c]) / n;
    const double variance = static_cast<double>(squares[c]) / n - mean * mean;
    out.mean.push_back(static_cast<float>(mean / 255));
    out.std.push_back(static_cast<float>(std::sqrt(std::max(variance, 0.0)) / 255));
  }
  return out;
}

ImageDataset::ImageDataset(ImageData data, ChannelStatistics statistics, Augmentation augmentation)
    : data_(std::move(data)), augmentation_(augmentation) {
  TS_CHECK(
      data_.images.dtype() == DType::u8 && data_.images.rank() == 4 &&
          data_.labels.dtype() == DType::i32 && data_.labels.shape() == Shape{data_.size()},
      "ImageDataset: expected images u8 [n, channels, height, width] and labels i32 [n], found ",
      data_.images, " and ", data_.labels);
  const auto channels = static_cast<size_t>(data_.images.size(1));
  TS_CHECK(statistics.mean.size() == channels && statistics.std.size() == channels,
           "ImageDataset: statistics of ", statistics.mean.size(), " channels for images ",
           data_.images.shape());
  TS_CHECK(augmentation.crop_padding >= 0, "ImageDataset: crop_padding ", augmentation.crop_padding,
           " is negative");
  for (size_t c = 0; c < channels; ++c) {
    TS_CHECK(statistics.std[c] >= 0, "ImageDataset: standard deviation ", statistics.std[c],
             " of channel ", c);
    const float std =
        statistics.std[c] > 0 ? statistics.std[c] : 1;  // a channel of one value becomes 0
    scale_.push_back(1 / (255 * std));
    shift_.push_back(-statistics.mean[c] / std);
  }
}

Sample ImageDataset::get(int64_t index, Rng rng) const {
  TS_CHECK(index >= 0 && index < size(), "ImageDataset: example ", index, " of ", size());
  const int64_t channels = data_.images.size(1), height = data_.images.size(2),
                width = data_.images.size(3);
  const int64_t padding = augmentation_.crop_padding;
  int64_t top = 0, left = 0;
  if (padding > 0) {
    top = static_cast<int64_t>(rng.below(static_cast<uint64_t>(2 * padding + 1))) - padding;
    left = static_cast<int64_t>(rng.below(static_cast<uint64_t>(2 * padding + 1))) - padding;
  }
  const bool flip = augmentation_.flip && rng.below(2) == 1;

  Tensor image = Tensor::empty({channels, height, width}, DType::f32, Device::cpu());
  float* to = image.host_mutable<float>().data();
  const uint8_t* from = data_.images.host<uint8_t>().data() + index * channels * height * width;
  for (int64_t c = 0; c < channels; ++c, from += height * width) {
    const float scale = scale_[static_cast<size_t>(c)], shift = shift_[static_cast<size_t>(c)];
    for (int64_t i = 0; i < height; ++i) {
      const int64_t row = i + top;
      for (int64_t j = 0; j < width; ++j) {
        const int64_t column = (flip ? width - 1 - j : j) + left;
        const bool inside = row >= 0 && row < height && column >= 0 && column < width;
        *to++ = inside ? scale * static_cast<float>(from[row * width + column]) + shift : shift;
      }
    }
  }
  return {image, data_.labels.select(0, index)};
}

}  // namespace tessera::models
