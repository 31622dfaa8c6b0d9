#include "tessera/kernels/cuda/gram_cut.cuh"

#include <algorithm>

#include "tessera/kernels/cuda/spectral.cuh"
#include "tessera/runtime/error.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t strip_tiles = 2;  // of 8 rows
constexpr uint32_t schedulers = 4;   // of a multiprocessor; warp w is the business of w % 4
constexpr uint32_t most_blocks = 8;  // of a cluster on every GPU that has them
constexpr uint32_t widest_panel = 128;

/// A strip's columns [first, first + width) in equal runs.
void add_strip(std::vector<GramRun>& runs, uint32_t strip, uint32_t first, uint32_t width,
               uint32_t longest, bool lead) {
  const uint32_t pieces = (width + longest - 1) / longest;
  for (uint32_t i = 0; i < pieces; ++i) {
    const uint32_t begin = width * i / pieces, end = width * (i + 1) / pieces;
    runs.push_back({static_cast<uint8_t>(strip), static_cast<uint8_t>(first + begin),
                    static_cast<uint8_t>(end - begin), lead && i == 0});
  }
}

/// Gives runs to warps, the longest first, each to the scheduler that has the least to do.
GramRuns deal(std::vector<GramRun> runs, uint32_t blocks, uint32_t warps) {
  std::stable_sort(runs.begin(), runs.end(),
                   [](const GramRun& a, const GramRun& b) { return a.count > b.count; });
  const uint32_t bins = blocks * schedulers, room = warps / schedulers;
  std::vector<uint32_t> load(bins), held(bins);
  GramRuns dealt{};
  for (const GramRun& run : runs) {
    uint32_t best = bins;
    for (uint32_t b = 0; b < bins; ++b)
      if (held[b] < room && (best == bins || load[b] < load[best])) best = b;
    dealt.of[best / schedulers * warps + best % schedulers + schedulers * held[best]] = run;
    load[best] += run.count;
    ++held[best];
  }
  return dealt;
}

uint32_t warps_for(size_t runs, uint32_t blocks) {
  const auto each = static_cast<uint32_t>((runs + blocks - 1) / blocks);
  return (each + schedulers - 1) / schedulers * schedulers;
}

}  // namespace

std::vector<GramRun> triangle_runs(uint32_t tiles, uint32_t longest) {
  std::vector<GramRun> runs;
  for (uint32_t s = 0; s * strip_tiles < tiles; ++s)
    add_strip(runs, s, s * strip_tiles, tiles - s * strip_tiles, longest, true);
  return runs;
}

GramCut::GramCut(int64_t bands, bool clusters, const Kernel& kernel) {
  const uint32_t longest = kernel.longest_run;
  const auto fits = [&](uint32_t of_bands, uint32_t of_blocks) {
    for (stages = 3; stages >= 2; --stages)
      if (kernel.shared_bytes(of_bands, of_blocks, stages) <= spectral_shared_bytes(of_blocks > 1))
        return true;
    return false;
  };
  if (bands <= 8 * GramRuns::most) {
    const auto runs_of_all = triangle_runs(static_cast<uint32_t>((bands + 7) / 8), longest);
    slab_bands = static_cast<uint32_t>(bands);
    for (blocks = 1; blocks <= (clusters ? most_blocks : 1); blocks *= 2)
      if (runs_of_all.size() <= size_t{blocks} * kernel.most_warps && fits(slab_bands, blocks)) {
        warps = warps_for(runs_of_all.size(), blocks);
        runs = deal(runs_of_all, blocks, warps);
        return;
      }
  }
  blocks = 1;
  std::vector<GramRun> diagonal, between;
  for (panel = widest_panel; panel > 0; panel -= 16) {
    const uint32_t tiles = panel / 8;
    diagonal = triangle_runs(tiles, longest);
    between.clear();
    for (uint32_t s = 0; s * strip_tiles < tiles; ++s)
      add_strip(between, s, tiles, tiles, longest, false);
    if (std::max(diagonal.size(), between.size()) <= kernel.most_warps && fits(2 * panel, 1)) break;
  }
  slab_bands = 2 * panel;
  warps = warps_for(std::max(diagonal.size(), between.size()), 1);
  runs = deal(diagonal, 1, warps);
  off_diagonal = deal(between, 1, warps);
}

}  // namespace tessera::kernels::cuda
