#include "tessera/algorithms/eigensr/tiling.hpp"

#include <algorithm>
#include <cmath>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::eigensr {
namespace {

using autograd::Var;

Var reversed(Var x, const Dihedral& by) {
  if (by.reverse_rows) x = autograd::flip(x, -2);
  if (by.reverse_columns) x = autograd::flip(x, -1);
  return x;
}

/// One tile of one plane; row and column in the padded plane.
struct Place {
  int64_t plane, row, column;
};

/// The tiles of some planes: cut out, and put together again enlarged.
class Mosaic {
 public:
  Mosaic(const Tensor& planes, int64_t scale, const Tiling& tiling)
      : planes_(planes),
        scale_(scale),
        count_(planes.size(0)),
        rows_(planes.size(1)),
        columns_(planes.size(2)),
        height_(tiling.tile > 0 ? tiling.tile : rows_),
        width_(tiling.tile > 0 ? tiling.tile : columns_),
        down_(tiles_of(rows_, height_, std::min(tiling.step, height_))),
        across_(tiles_of(columns_, width_, std::min(tiling.step, width_))),
        high_(scale * (down_.before + rows_ + down_.after)),
        wide_(scale * (across_.before + columns_ + across_.after)),
        sums_(static_cast<size_t>(count_ * high_ * wide_)),
        hits_(static_cast<size_t>(high_ * wide_)) {
    for (int64_t n = 0; n < count_; ++n)
      for (const int64_t row : down_.starts)
        for (const int64_t column : across_.starts) places_.push_back({n, row, column});
  }

  int64_t tiles() const { return std::ssize(places_); }

  /// f32 [batch, 1, height, width], normalised.
  Tensor patches(int64_t first, int64_t batch) {
    Tensor patches = Tensor::empty({batch, 1, height_, width_}, DType::f32, Device::cpu());
    const auto to = patches.host_mutable<float>();
    const auto size = static_cast<size_t>(height_ * width_);
    scales_.clear();
    for (int64_t k = 0; k < batch; ++k) {
      const auto patch = to.subspan(static_cast<size_t>(k) * size, size);
      copy(places_[static_cast<size_t>(first + k)], patch);
      const PatchScale by = scale_of(patch);
      for (float& v : patch) v = static_cast<float>((v - by.mean) / by.deviation);
      scales_.push_back(by);
    }
    return patches;
  }

  /// What became of the patches that were last given.
  void add(int64_t first, const Tensor& enlarged) {
    const auto batch = std::ssize(scales_);
    const int64_t height = scale_ * height_, width = scale_ * width_;
    TS_CHECK(enlarged.shape() == (Shape{batch, 1, height, width}), "tiled: a network for scale ",
             scale_, " made ", enlarged, " of ", batch, " patches of ", height_, " x ", width_);
    const Tensor dense = autograd::contiguous(enlarged);
    const float* value = dense.host<float>().data();
    for (int64_t k = 0; k < batch; ++k) {
      const Place& at = places_[static_cast<size_t>(first + k)];
      const PatchScale& by = scales_[static_cast<size_t>(k)];
      for (int64_t r = 0; r < height; ++r) {
        const auto spot = static_cast<size_t>((scale_ * at.row + r) * wide_ + scale_ * at.column);
        double* const sum = sums_.data() + at.plane * high_ * wide_ + spot;
        for (int64_t c = 0; c < width; ++c) sum[c] += by.mean + by.deviation * *value++;
        if (at.plane == 0)
          for (int64_t c = 0; c < width; ++c) ++hits_[spot + static_cast<size_t>(c)];
      }
    }
  }

  /// f32 [count, scale rows, scale columns]
  Tensor result() const {
    Tensor result =
        Tensor::empty({count_, scale_ * rows_, scale_ * columns_}, DType::f32, Device::cpu());
    float* to = result.host_mutable<float>().data();
    for (int64_t n = 0; n < count_; ++n)
      for (int64_t r = 0; r < scale_ * rows_; ++r)
        for (int64_t c = 0; c < scale_ * columns_; ++c) {
          const auto spot = static_cast<size_t>((scale_ * down_.before + r) * wide_ +
                                                scale_ * across_.before + c);
          *to++ = static_cast<float>(sums_[static_cast<size_t>(n * high_ * wide_) + spot] /
                                     static_cast<double>(hits_[spot]));
        }
    return result;
  }

 private:
  void copy(const Place& at, std::span<float> patch) const {
    const float* const from = planes_.host<float>().data() + at.plane * rows_ * columns_;
    size_t i = 0;
    for (int64_t r = 0; r < height_; ++r) {
      const int64_t row = mirrored(at.row + r - down_.before, rows_);
      for (int64_t c = 0; c < width_; ++c)
        patch[i++] = from[row * columns_ + mirrored(at.column + c - across_.before, columns_)];
    }
  }

  Tensor planes_;
  int64_t scale_, count_, rows_, columns_, height_, width_;
  AxisTiles down_, across_;
  int64_t high_, wide_;  // extents of an enlarged plane with its padding
  std::vector<double> sums_;
  std::vector<int32_t> hits_;  // tiles over each pixel, the same in every plane
  std::vector<Place> places_;
  std::vector<PatchScale> scales_;
};

}  // namespace

Tensor turned(const Tensor& planes, const Dihedral& by) {
  const Var x = by.transpose ? autograd::transpose(planes, -2, -1) : Var(planes);
  return autograd::contiguous(reversed(x, by).value());
}

Tensor turned_back(const Tensor& planes, const Dihedral& by) {
  const Var x = reversed(planes, by);
  return autograd::contiguous((by.transpose ? autograd::transpose(x, -2, -1) : x).value());
}

int64_t mirrored(int64_t i, int64_t n) {
  if (n == 1) return 0;
  const int64_t period = 2 * (n - 1);
  i = ((i % period) + period) % period;
  return std::min(i, period - i);
}

AxisTiles tiles_of(int64_t extent, int64_t tile, int64_t step) {
  TS_CHECK(extent >= 1 && tile >= 1 && step >= 1 && step <= tile, "tiles_of: tiles of ", tile,
           " every ", step, " pixels do not cover ", extent);
  const int64_t missing = extent <= tile ? tile - extent : (step - (extent - tile) % step) % step;
  AxisTiles tiles{missing / 2, missing - missing / 2, {}};
  for (int64_t start = 0; start + tile <= extent + missing; start += step)
    tiles.starts.push_back(start);
  return tiles;
}

PatchScale scale_of(std::span<const float> patch) {
  double sum = 0, squares = 0;
  for (const float v : patch) sum += v;
  const auto n = static_cast<double>(patch.size());
  const double mean = sum / n;
  for (const float v : patch) squares += (v - mean) * (v - mean);
  const double deviation = n > 1 ? std::sqrt(squares / (n - 1)) : 0;
  return {mean, deviation > 1e-6 * std::abs(mean) ? deviation : 1};
}

Upscaler tiled(PatchNetwork network, int64_t scale, const Tiling& tiling) {
  return [network = std::move(network), scale, tiling](const Tensor& planes) {
    const int64_t count = planes.size(0), rows = planes.size(1), columns = planes.size(2);
    Tensor result =
        Tensor::empty({count, scale * rows, scale * columns}, DType::f32, Device::cpu());
    // as many planes at a time as fill a batch
    const int64_t tiles = Mosaic(planes.narrow(0, 0, 1), scale, tiling).tiles();
    const int64_t group = std::max<int64_t>(1, tiling.batch / tiles);
    for (int64_t plane = 0; plane < count; plane += group) {
      const int64_t together = std::min(group, count - plane);
      Mosaic mosaic(planes.narrow(0, plane, together), scale, tiling);
      for (int64_t first = 0; first < mosaic.tiles(); first += tiling.batch) {
        const int64_t batch = std::min(tiling.batch, mosaic.tiles() - first);
        mosaic.add(first, network(mosaic.patches(first, batch)));
      }
      result.narrow(0, plane, together).copy_from(mosaic.result());
    }
    return result;
  };
}

}  // namespace tessera::algorithms::eigensr
