// Kernels with one mistake each, next to the same kernel without it. The tracer must find the first
// and be silent about the second.
#include <gtest/gtest.h>

#include "tessera/kernels/cuda/ptx_tensor.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/tests/simt/array.hpp"

namespace tessera::kernels::cuda {
namespace {

__global__ void square(const float* x, float* y, int64_t n) {
  for (int64_t i = first_element(); i < n; i += element_step()) y[i] = x[i] * x[i];
}

TEST(PlantedBugs, AccessOutsideOfABlockOfMemory) {
  const Array<float> x(100), y(100);
  EXPECT_EQ(failure({"square", {2}, {32}}, square, x.data(), y.data(), 100), "");
  expect_contains(failure({"square", {2}, {32}}, square, x.data(), y.data(), 101),
                  {"load of 4 bytes", "kernel square", "planted_bugs_test.cpp:"});
  float host[100] = {};
  expect_contains(failure({"square", {2}, {32}}, square, x.data(), host + 0, 100),
                  {"outside of device memory: store"});
}

struct Tile {
  float value[64];
};
template <int extent>
__global__ void fill_tile(float* out) {
  Tile& tile = dynamic_shared<Tile>();
  for (uint32_t i = thread_index().x; i < extent; i += block_size().x)
    tile.value[i] = static_cast<float>(i);
  sync_block();
  out[thread_index().x] = tile.value[63 - thread_index().x];
}

TEST(PlantedBugs, AccessOutsideOfSharedMemory) {
  const Array<float> out(64);
  EXPECT_EQ(failure({"fill_tile", {1}, {64}, sizeof(Tile)}, fill_tile<64>, out.data()), "");
  expect_contains(failure({"fill_tile", {1}, {64}, sizeof(Tile)}, fill_tile<65>, out.data()),
                  {"outside of shared memory", "offset 256 of 256"});
}

__global__ void copy_packs(const float* x, float* y, int64_t offset) {
  const auto* from = reinterpret_cast<const Pack<float, 4>*>(x + offset) + thread_index().x;
  reinterpret_cast<Pack<float, 4>*>(y)[thread_index().x] = *from;
}

TEST(PlantedBugs, MisalignedVector) {
  const Array<Pack<float, 4>> memory(40), out(40);
  const float* x = memory.data()->lane;
  float* y = out.data()->lane;
  EXPECT_EQ(failure({"copy_packs", {1}, {32}}, copy_packs, x, y, int64_t{4}), "");
  expect_contains(failure({"copy_packs", {1}, {32}}, copy_packs, x, y, int64_t{1}),
                  {"misaligned load of 16 bytes", "kernel copy_packs, block (0, 0, 0), thread (",
                   "planted_bugs_test.cpp:"});
}

template <int offset>
__global__ void store_packs(float* out) {
  auto& values = dynamic_shared<float[132]>();
  reinterpret_cast<Pack<float, 4>*>(values + offset)[lane_index()] = {};
  sync_warp();
  out[lane_index()] = values[lane_index() + offset];
}

TEST(PlantedBugs, MisalignedVectorInSharedMemory) {
  const Array<float> out(32);
  EXPECT_EQ(failure({"store_packs", {1}, {32}, 528}, store_packs<4>, out.data()), "");
  expect_contains(failure({"store_packs", {1}, {32}, 528}, store_packs<1>, out.data()),
                  {"misaligned store of 16 bytes", "kernel store_packs, block (0, 0, 0), thread (",
                   "planted_bugs_test.cpp:"});
}

template <bool barrier>
__global__ void reverse_block(int* out) {
  int* values = dynamic_shared<int[128]>();
  values[thread_index().x] = static_cast<int>(thread_index().x);
  if (barrier) sync_block();
  out[thread_index().x] = values[127 - thread_index().x];
}
template <bool barrier>
__global__ void two_rounds(int* out) {
  int* values = dynamic_shared<int[64]>();
  for (int round = 0; round < 3; ++round) {
    values[thread_index().x] = round;
    sync_block();
    out[thread_index().x] += values[63 - thread_index().x];
    if (barrier) sync_block();  // without it the next round overwrites what others still read
  }
}

TEST(PlantedBugs, RaceWithinABlock) {
  const Array<int> out(128);
  EXPECT_EQ(failure({"reverse_block", {1}, {128}, 512}, reverse_block<true>, out.data()), "");
  expect_contains(failure({"reverse_block", {1}, {128}, 512}, reverse_block<false>, out.data()),
                  {"race", "are not ordered", "planted_bugs_test.cpp:"});
  EXPECT_EQ(failure({"two_rounds", {1}, {64}, 256}, two_rounds<true>, out.data()), "");
  expect_contains(failure({"two_rounds", {1}, {64}, 256}, two_rounds<false>, out.data()), {"race"});
}

/// Threads of a block exchange values through global memory.
template <bool barrier>
__global__ void exchange(int* values, int* out) {
  values[thread_index().x] = static_cast<int>(thread_index().x);
  if (barrier) sync_block();
  out[thread_index().x] = values[63 - thread_index().x];
}

TEST(PlantedBugs, RaceOnGlobalMemory) {
  const Array<int> values(64), out(64);
  EXPECT_EQ(failure({"exchange", {1}, {64}}, exchange<true>, values.data(), out.data()), "");
  expect_contains(failure({"exchange", {1}, {64}}, exchange<false>, values.data(), out.data()),
                  {"race", "are not ordered", "kernel exchange, block (0, 0, 0), thread (",
                   "planted_bugs_test.cpp:"});
}

/// The order in which threads and blocks come is free: what depends on it differs by schedule.
template <bool ordered>
__global__ void number_threads(int* counter, int* out) {
  const auto me = static_cast<int>(first_element());
  const int number = atomic_add(counter, 1);
  out[me] = ordered ? me : number;
}

TEST(PlantedBugs, ResultsThatDependOnTheOrder) {
  const auto results = [](auto kernel) {
    std::vector<std::vector<int>> all;
    for (const uint64_t seed : {0, 1, 2}) {
      const Array<int> counter(1), out(256);
      simt::set_schedule({.seed = seed});
      launch(current_stream(Device::cpu()), {"number_threads", {4}, {64}}, kernel, counter.data(),
             out.data());
      all.emplace_back(out.data(), out.data() + 256);
    }
    simt::set_schedule({});
    return all;
  };
  const auto same = results(number_threads<true>), other = results(number_threads<false>);
  EXPECT_EQ(same[0], same[1]);
  EXPECT_EQ(same[0], same[2]);
  EXPECT_NE(other[0], other[1]);
  EXPECT_NE(other[0], other[2]);
  EXPECT_NE(other[1], other[2]);
}

template <bool synchronised>
__global__ void pass_on(int* out) {
  int* values = dynamic_shared<int[32]>();
  values[lane_index()] = static_cast<int>(lane_index());
  if (synchronised)
    sync_warp();
  else
    shuffle(0, 0u);  // meets, but orders no memory
  out[lane_index()] = values[(lane_index() + 1) % 32];
}

TEST(PlantedBugs, WarpsNeedASynchronisationToo) {
  const Array<int> out(32);
  EXPECT_EQ(failure({"pass_on", {1}, {32}, 128}, pass_on<true>, out.data()), "");
  expect_contains(failure({"pass_on", {1}, {32}, 128}, pass_on<false>, out.data()), {"race"});
}

template <bool atomic>
__global__ void count_threads(int* counter) {
  if (atomic)
    atomic_add(counter, 1);
  else
    *counter += 1;
}
/// The last block to arrive adds up what all have written.
template <bool counted>
__global__ void sum_partials(int* partial, int* counter, int* total) {
  if (thread_index().x != 0) return;
  partial[block_index().x] = static_cast<int>(block_index().x);
  fence_device();
  const int before = counted ? atomic_add(counter, 1) : static_cast<int>(block_index().x);
  if (before != static_cast<int>(grid_size().x) - 1) return;
  int sum = 0;
  for (uint32_t b = 0; b < grid_size().x; ++b) sum += partial[b];
  *total = sum;
}

// The second of two warps reads as matrices what the first has written.
template <bool barrier, bool aligned_rows>
__global__ void hand_over_matrices(uint32_t* out) {
  auto& rows = dynamic_shared<uint32_t[8][4]>();
  if (warp_index() == 0) rows[lane_index() / 4][lane_index() % 4] = lane_index();
  if (barrier) sync_block();
  if (warp_index() == 0) return;
  uint32_t word[1];
  load_matrices(word, &rows[lane_index() % 8][aligned_rows ? 0 : 1]);
  out[lane_index()] = word[0];
}

TEST(PlantedBugs, MatricesWithoutABarrier) {
  const Array<uint32_t> out(32);
  EXPECT_EQ(failure({"matrices", {1}, {64}, 128}, hand_over_matrices<true, true>, out.data()), "");
  for (int i = 0; i < 32; ++i) EXPECT_EQ(out[i], static_cast<uint32_t>(i));
  expect_contains(
      failure({"matrices", {1}, {64}, 128}, hand_over_matrices<false, true>, out.data()),
      {"race", "planted_bugs_test.cpp:"});
  expect_contains(
      failure({"matrices", {1}, {64}, 128}, hand_over_matrices<true, false>, out.data()),
      {"multiple of 16"});
}

TEST(PlantedBugs, RaceBetweenBlocks) {
  const Array<int> counter(1);
  EXPECT_EQ(failure({"count_threads", {4}, {32}}, count_threads<true>, counter.data()), "");
  EXPECT_EQ(counter[0], 3 * 128);
  expect_contains(failure({"count_threads", {4}, {1}}, count_threads<false>, counter.data()),
                  {"race", "another block"});
  const Array<int> partial(8), arrived(1), total(1);
  for (int i = 0; i < 3; ++i) {
    *arrived.data() = 0;
    launch(current_stream(Device::cpu()), {"sum_partials", {8}, {32}}, sum_partials<true>,
           partial.data(), arrived.data(), total.data());
    EXPECT_EQ(total[0], 28);
  }
  expect_contains(failure({"sum_partials", {8}, {32}}, sum_partials<false>, partial.data(),
                          arrived.data(), total.data()),
                  {"race", "another block"});
}

__global__ void strided(const float* x, float* y, int64_t stride) {
  y[first_element()] = x[first_element() * stride];
}
template <int pitch>
__global__ void read_columns(float* out) {
  float* tile = dynamic_shared<float[32 * 33]>();
  for (uint32_t r = 0; r < 32; ++r) tile[r * pitch + lane_index()] = 1;
  sync_warp();
  for (uint32_t c = 0; c < 32; ++c) out[lane_index()] = tile[lane_index() * pitch + c];
}

TEST(Counters, SectorsAndWavefronts) {
  const auto counters = [](const char* name) {
    for (const KernelCounters& c : simt::take_counters())
      if (c.kernel == name) return c;
    return KernelCounters{};
  };
  const Array<Pack<float, 8>> x(32 * 16), y(32 * 16);  // whole sectors
  simt::take_counters();
  const float* from = x.data()->lane;
  float* to = y.data()->lane;
  launch(current_stream(Device::cpu()), {"strided", {2}, {64}}, strided, from, to, int64_t{1});
  KernelCounters c = counters("strided");
  EXPECT_EQ(c.launches, 1u);
  EXPECT_EQ(c.global_requests, 2u * 4);  // a load and a store for each of four warps
  EXPECT_EQ(c.ideal_sectors, 8u * 4);
  EXPECT_LE(c.global_sectors, 8u * 5);  // the arrays may begin within a sector
  EXPECT_EQ(c.global_bytes, 2u * 128 * 4);
  launch(current_stream(Device::cpu()), {"strided", {1}, {32}}, strided, from, to, int64_t{8});
  c = counters("strided");
  EXPECT_GE(c.global_sectors, 32u + 4);

  launch(current_stream(Device::cpu()), {"padded", {1}, {32}, 32 * 33 * 4}, read_columns<33>, to);
  c = counters("padded");
  EXPECT_EQ(c.shared_wavefronts, c.ideal_wavefronts);
  EXPECT_EQ(c.shared_wavefronts, 64u);
  launch(current_stream(Device::cpu()), {"conflicts", {1}, {32}, 32 * 33 * 4}, read_columns<32>,
         to);
  c = counters("conflicts");
  EXPECT_EQ(c.ideal_wavefronts, 64u);
  EXPECT_EQ(c.shared_wavefronts, 32u + 32 * 32);
}

}  // namespace
}  // namespace tessera::kernels::cuda
