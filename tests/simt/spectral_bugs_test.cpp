// The way of slabs through shared memory with one mistake each, next to the same kernel without it.
#include <gtest/gtest.h>

#include "tessera/kernels/cuda/spectral.cuh"
#include "tessera/tests/simt/array.hpp"

namespace tessera::kernels::cuda {
namespace {

enum class Bug {
  none,
  no_wait,      // raw slabs are used before they are there
  no_barrier,   // ... before what other threads copy is there
  one_slab,     // doubles are read while others write the next ones
  own_barrier,  // ... before those of the cluster's other block are there
  early_copy,   // a raw slab is overwritten while others read it
};

constexpr uint32_t depth = 16, stages = 3, pitch = depth + 4, sum_threads = 64;

/// out[blocks, bands]: sums over the pixels of each band; lines are bands.
template <Bug bug>
__global__ void sum_bands(const __grid_constant__ Cube cube, SlabShape shape, int64_t slabs,
                          uint32_t blocks, double* out) {
  const auto count = static_cast<uint32_t>(cube.bands);
  const uint32_t block = blocks > 1 ? cluster_rank() : 0, first_line = block * shape.own_lines;
  const SlabBands bands{0, 0, count, count};
  double* const shift = &dynamic_shared<double>();
  double* const doubles = shift + count;
  auto* const raw = reinterpret_cast<unsigned char*>(doubles + 2 * count * pitch);
  for (uint32_t b = thread_index().x; b < count; b += sum_threads) shift[b] = 0;
  const auto copy = [&](int64_t number) {
    if (number < slabs)
      copy_slab<false>(cube, shape, bands, PixelSlab(cube, number, depth), first_line,
                       raw + number % stages * shape.raw_bytes());
    commit_copies();
  };
  for (uint32_t s = 0; s + 1 < stages; ++s) copy(s);
  const auto widen = [&](int64_t number) {
    double* const slab = doubles + (bug == Bug::one_slab ? 0 : number % 2 * count * pitch);
    widen_slab<false>(cube, shape, PixelSlab(cube, number, depth), first_line,
                      raw + number % stages * shape.raw_bytes(), shift,
                      [&](uint32_t line, uint32_t at, const Pack<double, 2>& pair) {
                        auto* const to =
                            reinterpret_cast<Pack<double, 2>*>(slab + line * pitch + at);
                        for (uint32_t other = 0; other < blocks; ++other)
                          store_vector(blocks > 1 ? map_shared(to, other) : to, pair);
                      });
  };
  if (bug == Bug::own_barrier) sync_cluster();  // the other block is there
  double sum = 0;
  for (int64_t number = -1; number < slabs; ++number) {
    if (bug != Bug::no_wait) wait_slab(stages);
    if (bug != Bug::no_barrier) sync_blocks(bug == Bug::own_barrier ? 1 : blocks);
    copy(number + stages + (bug == Bug::early_copy ? 1 : 0));
    if (number + 1 < slabs) widen(number + 1);
    if (number < 0) continue;
    const double* const slab = doubles + (bug == Bug::one_slab ? 0 : number % 2 * count * pitch);
    for (uint32_t p = 0; p < depth && thread_index().x < count; ++p)
      sum += slab[thread_index().x * pitch + p];
  }
  wait_all_copies();
  if (thread_index().x < count) out[block * count + thread_index().x] = sum;
}

// rows of 97 floats: who makes doubles of one has not copied it
constexpr int64_t band_count = 24, pixel_count = 6 * depth + 1;

/// The Error's message, and the last block's sum of the last band.
template <Bug bug>
std::string sum_failure(uint32_t blocks, double* last = nullptr) {
  const Array<Pack<float, 4>> x(pixel_count * band_count / 4, {1, 1, 1, 1});
  const Array<double> out(band_count * blocks);
  const View view{x.data(), DType::f32, 2, {pixel_count, band_count}, {1, pixel_count}};
  const Cube cube(view, {});
  const SlabShape shape(cube, depth, band_count, blocks);
  const size_t bytes =
      band_count * (1 + 2 * pitch) * sizeof(double) + stages * size_t{shape.raw_bytes()};
  const std::string message =
      failure({.name = "sum_bands",
               .grid = {blocks},
               .block = {sum_threads},
               .shared_bytes = bytes,
               .cluster = {blocks}},
              sum_bands<bug>, cube, shape, cube.slabs(depth), blocks, out.data());
  if (last) *last = out[band_count * blocks - 1];
  return message;
}

TEST(SpectralBugs, SlabsOfABlock) {
  double sum = 0;
  EXPECT_EQ(sum_failure<Bug::none>(1, &sum), "");
  EXPECT_EQ(sum, pixel_count);
  sum_failure<Bug::no_wait>(1, &sum);
  EXPECT_NE(sum, pixel_count);
  expect_contains(sum_failure<Bug::no_barrier>(1), {"race", "sum_bands"});
  expect_contains(sum_failure<Bug::one_slab>(1), {"race", "spectral_bugs_test.cpp:"});
  expect_contains(sum_failure<Bug::early_copy>(1), {"race", "sum_bands"});
}

TEST(SpectralBugs, SlabsOfACluster) {
  double sum = 0;
  EXPECT_EQ(sum_failure<Bug::none>(2, &sum), "");
  EXPECT_EQ(sum, pixel_count);
  expect_contains(sum_failure<Bug::own_barrier>(2), {"race", "spectral_bugs_test.cpp:"});
}

}  // namespace
}  // namespace tessera::kernels::cuda
