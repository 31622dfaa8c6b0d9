#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "tessera/runtime/config.hpp"
#include "tessera/runtime/tensor.hpp"

/// Pictures of one channel: turned, mirrored, cut into tiles. Planes are f32 [n, rows, columns] on
/// the host.
namespace tessera::algorithms::eigensr {

/// A symmetry of the square: first rows and columns change places, then each may be reversed.
struct Dihedral {
  bool transpose = false, reverse_rows = false, reverse_columns = false;
};
/// Identity, quarter turn against the clock, rows reversed, half turn, columns reversed, quarter
/// turn with the clock, transpose: the order of EigenSR's passes. The eighth is the other
/// transpose.
inline constexpr std::array<Dihedral, 8> dihedral_group{{{false, false, false},
                                                         {true, true, false},
                                                         {false, true, false},
                                                         {false, true, true},
                                                         {false, false, true},
                                                         {true, false, true},
                                                         {true, false, false},
                                                         {true, true, true}}};
/// The last two axes permuted, and back: exact.
Tensor turned(const Tensor& planes, const Dihedral& by);
Tensor turned_back(const Tensor& planes, const Dihedral& by);

/// Where index i lies in an extent of n that is mirrored at its ends as often as needed, the ends
/// not repeated: -1 is 1, n is n - 2. Of an extent of 1, always 0.
int64_t mirrored(int64_t i, int64_t n);

/// What enlarges planes: [n, rows, columns] -> [n, scale rows, scale columns].
using Upscaler = std::function<Tensor(const Tensor& planes)>;
/// A network as inference sees it: [n, 1, rows, columns] -> [n, 1, scale rows, scale columns], f32
/// on the host.
using PatchNetwork = std::function<Tensor(const Tensor& patches)>;

struct Tiling {
  int64_t tile = 48;   // side of what the network sees; 0: whole planes
  int64_t step = 32;   // from one tile to the next
  int64_t batch = 64;  // tiles at a time

  static void visit(auto& self, auto&& f) {
    f("tile", self.tile, "side of the patches a network sees; 0: whole images",
      Bounds::between(0, 4096));
    f("step", self.step, "from one patch to the next", Bounds::between(1, 4096));
    f("patches", self.batch, "at a time", Bounds::between(1, 1 << 16));
  }
};

/// Tiles of one axis: `extent` is mirrored to `before + extent + after` pixels, of which every tile
/// lies inside and every pixel in a tile. What is missing to a tile, or to the last step, is
/// shared out evenly, the odd pixel behind.
struct AxisTiles {
  int64_t before = 0, after = 0;
  std::vector<int64_t> starts;  // in the padded extent
};
AxisTiles tiles_of(int64_t extent, int64_t tile, int64_t step);

/// Mean and deviation (n - 1) of a patch, the deviation 1 where it is 0 but for rounding.
struct PatchScale {
  double mean = 0, deviation = 1;
};
PatchScale scale_of(std::span<const float> patch);

/// Every tile of every plane less its mean, over its deviation, through the network and back; where
/// tiles overlap their mean counts. Throws where step > tile > 0.
Upscaler tiled(PatchNetwork network, int64_t scale, const Tiling& tiling);

}  // namespace tessera::algorithms::eigensr
