#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <vector>

/// How the warps of a Gram kernel share the upper triangle of g.
namespace tessera::kernels::cuda {

/// Rows [16 strip, + 16) and columns [8 first, + 8 count) of a slab's bands: what one warp has in
/// registers. `lead`: the strip begins here, so its column sums come from here too.
struct GramRun {
  uint8_t strip, first, count, lead;
};

/// Runs of the warps of `blocks` blocks; count = 0 for a warp without one.
struct GramRuns {
  static constexpr uint32_t most = 128;
  GramRun of[most];
};

/// A function of its arguments alone, and so are the bits of the results.
///
/// Where the registers of up to eight blocks hold the triangle, these form a cluster and each pixel
/// is read once. Larger triangles, and all of them that one block does not hold where there are no
/// clusters, are cut into pairs of panels, and a pixel is read once for each panel.
struct GramCut {
  uint32_t blocks = 1;                    // of a cluster
  uint32_t warps = 0;                     // of a block
  uint32_t panel = 0;                     // bands; 0: no panels
  uint32_t slab_bands = 0;                // the most that a block has in shared memory
  uint32_t stages = 0;                    // of raw slabs
  GramRuns runs = {}, off_diagonal = {};  // the second for pairs of different panels

  /// What the kernel can do: columns of a run / 8, warps of a block (a multiple of 4), and the
  /// shared memory of a block that has (bands, blocks of the cluster, stages).
  struct Kernel {
    uint32_t longest_run, most_warps;
    std::function<size_t(uint32_t, uint32_t, uint32_t)> shared_bytes;
  };
  GramCut(int64_t bands, bool clusters, const Kernel& kernel);

  uint32_t panels(int64_t bands) const {
    return static_cast<uint32_t>((bands + panel - 1) / panel);
  }
};

/// The runs of the triangle of `tiles` tiles of 8 columns, none longer than `longest`.
std::vector<GramRun> triangle_runs(uint32_t tiles, uint32_t longest);

}  // namespace tessera::kernels::cuda
