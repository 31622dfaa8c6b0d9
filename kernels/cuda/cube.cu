// How a cube lies in memory.
#include "tessera/kernels/cuda/spectral.cuh"

namespace tessera::kernels::cuda {

Cube::Cube(const View& x, const SpectralParams& params, const View& y)
    : data(x.as<char>()),
      dtype(x.dtype),
      size(static_cast<uint32_t>(size_of(x.dtype))),
      shift(params.shift.as<double>()),
      valid(params.valid.as<bool>()) {
  struct Axis {
    int64_t extent = 1, x = 0, valid = 0, y = 0;
    /// Whether this and an inner axis are one.
    bool joins(const Axis& in) const {
      return extent == 1 ||
             (x == in.x * in.extent && valid == in.valid * in.extent && y == in.y * in.extent);
    }
  };
  const int bands_axis = x.rank - 1;
  bands = x.shape[bands_axis];
  const auto axis = [&](int d) {
    Axis a{x.shape[d], x.stride[d], 1, y ? y.stride[d] : 0};
    for (int i = d + 1; i < bands_axis; ++i) a.valid *= x.shape[i];
    return a;
  };
  Axis in = axis(bands_axis - 1), out;
  if (bands_axis == 2) out = axis(0);
  if (in.extent == 1) std::swap(in, out);
  if (out.joins(in)) {
    in.extent *= out.extent;
    out = {};
  }
  const int64_t band_stride = x.stride[bands_axis];
  along_bands = band_stride == 1 && bands > 1;
  if (!along_bands && in.x != 1 && out.x == 1) std::swap(in, out);
  outer = out.extent;
  inner = in.extent;
  valid_outer = out.valid;
  valid_inner = in.valid;
  y_outer = out.y;
  y_inner = in.y;
  outer_step = out.x * size;
  inner_step = in.x * size;
  band_step = band_stride * size;
  const auto in_chunks = [&](int64_t extent, int64_t step) {
    return extent == 1 || step % 16 == 0;
  };
  const bool whole =
      aligned(data, 16) && in_chunks(outer, outer_step) &&
      (along_bands ? in_chunks(inner, inner_step) : in.x == 1 && in_chunks(bands, band_step));
  copy_bytes = whole ? 16 : size;
}

}  // namespace tessera::kernels::cuda
