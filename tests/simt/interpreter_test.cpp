// Kernels whose results are known in closed form, and kernels that are wrong in a known way.
#include <cmath>
#include <numeric>

#include "tessera/kernels/cuda/ptx_async.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/tests/simt/failure.hpp"

namespace tessera::kernels::cuda {
namespace {

__global__ void write_position(int64_t* out, int64_t n) {
  for (int64_t i = first_element(); i < n; i += element_step()) out[i] = i * i;
}

TEST(Interpreter, RunsEveryThreadOfAGrid) {
  std::vector<int64_t> out(10007, -1);
  launch(stream(), {"write_position", {37}, {96}}, write_position, out.data(), 10007);
  for (int64_t i = 0; i < 10007; ++i) ASSERT_EQ(out[static_cast<size_t>(i)], i * i);
}

__global__ void three_dimensions(int* out) {
  const Index3 t = thread_index(), b = block_index(), n = block_size(), g = grid_size();
  const uint32_t block = (b.z * g.y + b.y) * g.x + b.x, thread = (t.z * n.y + t.y) * n.x + t.x;
  out[block * n.x * n.y * n.z + thread] += static_cast<int>(block * 1000 + thread);
}

TEST(Interpreter, NumbersThreadsAndBlocksWithXFastest) {
  std::vector<int> out(2 * 3 * 4 * 40, 0);
  launch(stream(), {"three_dimensions", {2, 3, 4}, {5, 4, 2}}, three_dimensions, out.data());
  for (int b = 0; b < 24; ++b)
    for (int t = 0; t < 40; ++t) ASSERT_EQ(out[static_cast<size_t>(b * 40 + t)], b * 1000 + t);
}

struct ReduceShared {
  double scratch[32];
};
__global__ void sum_blocks(const double* x, double* out, int64_t n) {
  double sum = 0;
  for (int64_t i = first_element(); i < n; i += element_step()) sum += x[i];
  sum = block_reduce(sum, Sum{}, static_shared<ReduceShared>().scratch);
  if (thread_index().x == 0) out[block_index().x] = sum;
}

TEST(Interpreter, BlockReductionsAreTheSameForEverySchedule) {
  std::vector<double> x(5000);
  for (size_t i = 0; i < x.size(); ++i) x[i] = std::sin(static_cast<double>(i));
  const double wanted = std::accumulate(x.begin(), x.end(), 0.0);
  std::vector<double> first;
  for (uint64_t seed = 0; seed < 5; ++seed) {
    simt::set_schedule({.seed = seed});
    std::vector<double> out(7, NAN);
    launch(stream(), {"sum_blocks", {7}, {256}}, sum_blocks, x.data(), out.data(), 5000);
    EXPECT_NEAR(std::accumulate(out.begin(), out.end(), 0.0), wanted, 1e-9);
    if (seed == 0) first = out;
    EXPECT_EQ(out, first) << "seed " << seed;
  }
  simt::set_schedule({});
}

__global__ void shuffles(int* out) {
  const int lane = static_cast<int>(lane_index());
  out[lane] = shuffle(lane, 5u);
  out[32 + lane] = shuffle_xor(lane, 3u);
  out[64 + lane] = shuffle_up(lane, 2u, 8u);
  out[96 + lane] = shuffle_down(lane, 2u, 8u);
  out[128 + lane] = shuffle(lane, 9u, 4u);
  out[160 + lane] = static_cast<int>(ballot(lane % 3 == 0));
  out[192 + lane] = static_cast<int>(match_any(lane / 8));
  const uint32_t odd = 0xaaaaaaaau;
  out[224 + lane] = lane % 2 ? shuffle(lane, 31u, 32u, odd) : -1;
}

TEST(Interpreter, CollectivesFollowTheirDefinitions) {
  std::vector<int> out(256);
  launch(stream(), {"shuffles", {1}, {32}}, shuffles, out.data());
  for (int lane = 0; lane < 32; ++lane) {
    const auto at = [&](int k) {
      return out[static_cast<size_t>(k) * 32 + static_cast<size_t>(lane)];
    };
    EXPECT_EQ(at(0), 5);
    EXPECT_EQ(at(1), lane ^ 3);
    EXPECT_EQ(at(2), lane % 8 >= 2 ? lane - 2 : lane);
    EXPECT_EQ(at(3), lane % 8 < 6 ? lane + 2 : lane);
    EXPECT_EQ(at(4), lane / 4 * 4 + 1);
    EXPECT_EQ(static_cast<uint32_t>(at(5)), 0x49249249u);
    EXPECT_EQ(static_cast<uint32_t>(at(6)), 0xffu << lane / 8 * 8);
    EXPECT_EQ(at(7), lane % 2 ? 31 : -1);
  }
}

__global__ void divergent_barrier(int* out) {
  if (thread_index().x < 16) sync_block();
  out[thread_index().x] = shuffle_xor(1, 1u, 32u, thread_index().x < 16 ? 0xffffu : full_warp);
}

TEST(Interpreter, ReportsThreadsThatWaitForEachOtherInDifferentPlaces) {
  std::vector<int> out(32);
  expect_contains(failure({"divergent_barrier", {1}, {32}}, divergent_barrier, out.data()),
                  {"no thread of kernel divergent_barrier can go on", "16 wait at a block barrier",
                   "16 wait in a warp collective", "interpreter_test.cpp:"});
}

__global__ void exits_early(int* out) {
  if (thread_index().x == 40) return;
  sync_block();
  out[thread_index().x] = 1;
}
__global__ void exited_lane_in_mask(int* out) {
  if (lane_index() == 7) return;
  out[lane_index()] = shuffle_xor(1, 1u);
}
__global__ void mask_without_caller(int* out) {
  out[lane_index()] = shuffle_xor(1, 1u, 32u, 0xffu);
}
__global__ void too_many_at_a_barrier(int* out) {
  sync_barrier(1, 40);
  out[thread_index().x] = 1;
}
__global__ void two_collectives(int* out) {
  if (lane_index() < 16)
    out[lane_index()] = static_cast<int>(ballot(true));
  else
    out[lane_index()] = shuffle(1, 0u);
}
__global__ void two_barriers(int* out) {
  if (thread_index().x < 32) {
    out[thread_index().x] = 1;
    sync_block();
    out[thread_index().x] += 1;
  } else {
    sync_block();
    out[thread_index().x] = 3;
  }
}

__global__ void waits_after_exit(int* out) {
  if (thread_index().x == 3) {
    for (int i = 0; i < 100; ++i) relax();  // till the others wait
    return;
  }
  sync_block();
  out[thread_index().x] = 1;
}
__global__ void exits_while_lanes_wait(int* out) {
  if (lane_index() == 3) {
    for (int i = 0; i < 100; ++i) relax();
    return;
  }
  out[lane_index()] = shuffle(1, 0u);
}
__global__ void lanes_that_are_not(int* out) { out[lane_index()] = shuffle_xor(1, 1u); }
__global__ void two_masks(int* out) {
  const uint32_t mask = lane_index() < 15 ? 0xffffu : full_warp;  // the first one names lane 15
  out[lane_index()] = static_cast<int>(ballot(true, mask));
}
__global__ void two_counts(int* out) {
  sync_barrier(1, thread_index().x < 32 ? 64 : 32);
  out[thread_index().x] = 1;
}
__global__ void barrier_seventeen(int* out) {
  sync_barrier(16, 64);
  out[thread_index().x] = 1;
}
__global__ void odd_width(int* out) { out[lane_index()] = shuffle(1, 0u, 12); }
__global__ void alone_on_the_grid(int* out) {
  simt::sync_grid();
  out[0] = 1;
}
struct Much {
  int values[16 * 1024];
};
__global__ void much_static_memory(int* out) { out[0] = static_shared<Much>().values[0]; }
__global__ void no_such_neighbour(int* out) {
  out[0] = *static_cast<int*>(simt::map_shared(&dynamic_shared<int>(), 2));
}
__global__ void memory_of_nobody(int* out) {
  out[0] = *static_cast<int*>(simt::map_shared(out, 0));
}

TEST(Interpreter, ReportsWhatMayNotMeet) {
  std::vector<int> out(64);
  int* data = out.data();
  expect_contains(failure({"waits_after_exit", {1}, {64}}, waits_after_exit, data),
                  {"a thread exits while threads of its block wait", "interpreter_test.cpp:"});
  expect_contains(failure({"exits_while_lanes_wait", {1}, {32}}, exits_while_lanes_wait, data),
                  {"a thread exits while lanes of its warp wait for it in shuffle"});
  expect_contains(failure({"lanes_that_are_not", {1}, {20}}, lanes_that_are_not, data),
                  {"the mask names lanes that the block lacks"});
  expect_contains(failure({"two_masks", {1}, {32}}, two_masks, data),
                  {"ballot: lanes of its mask wait in ballot with another mask"});
  expect_contains(failure({"two_counts", {1}, {64}}, two_counts, data),
                  {"barrier 1 expects 64 threads, not 32"});
  expect_contains(failure({"barrier_seventeen", {1}, {64}}, barrier_seventeen, data),
                  {"barrier 16 of 16"});
  expect_contains(failure({"odd_width", {1}, {32}}, odd_width, data), {"width 12"});
  expect_contains(failure({"alone_on_the_grid", {1}, {32}}, alone_on_the_grid, data),
                  {"grid_barrier in a launch that is not cooperative"});
  expect_contains(failure({"much_static_memory", {1}, {32}}, much_static_memory, data),
                  {"static shared memory of more than 49152 bytes"});
  expect_contains(failure({"no_such_neighbour", {1}, {32}, sizeof(int)}, no_such_neighbour, data),
                  {"map_shared: block 2 of a cluster of 1"});
  expect_contains(failure({"memory_of_nobody", {1}, {32}}, memory_of_nobody, data),
                  {"map_shared: an address that is not in the block's shared memory"});
}

TEST(Interpreter, ReportsMisuseOfBarriersAndCollectives) {
  std::vector<int> out(64);
  int* data = out.data();
  expect_contains(failure({"exits_early", {1}, {64}}, exits_early, data), {"exit", "exits_early"});
  expect_contains(failure({"exited_lane_in_mask", {1}, {32}}, exited_lane_in_mask, data),
                  {"exit", "shuffle", "exited_lane_in_mask"});
  expect_contains(failure({"mask_without_caller", {1}, {32}}, mask_without_caller, data),
                  {"does not name the calling lane", "thread (8, 0, 0)"});
  expect_contains(failure({"too_many_at_a_barrier", {1}, {64}}, too_many_at_a_barrier, data),
                  {"40 threads", "multiple of 32"});
  expect_contains(failure({"two_collectives", {1}, {32}}, two_collectives, data),
                  {"shuffle", "ballot"});
  expect_contains(failure({"two_barriers", {1}, {64}}, two_barriers, data),
                  {"different barriers", "interpreter_test.cpp:"});
  expect_contains(failure({"empty", {0}, {32}}, two_barriers, data), {"cannot launch empty"});
  expect_contains(failure({"wide", {1}, {2048}}, two_barriers, data),
                  {"cannot launch wide", "1024"});
  expect_contains(failure({"fat", {1}, {32}, 300000}, two_barriers, data), {"fat", "300000"});
  // The interpreter goes on after a failure.
  std::vector<int64_t> squares(100);
  launch(stream(), {"write_position", {2}, {32}}, write_position, squares.data(), 100);
  EXPECT_EQ(squares[99], 99 * 99);
}

struct Ring {
  int values[64];
};
__global__ void named_barriers(int* out) {
  Ring& ring = dynamic_shared<Ring>();
  const auto t = static_cast<int>(thread_index().x);
  if (t < 32) {
    ring.values[t] = t * t;
    arrive_barrier(1, 64);
  } else {
    sync_barrier(1, 64);
    out[t - 32] = ring.values[t - 32];
  }
}

TEST(Interpreter, NamedBarriersHandOver) {
  for (uint64_t seed = 0; seed < 4; ++seed) {
    simt::set_schedule({.seed = seed});
    std::vector<int> out(32);
    launch(stream(), {"named_barriers", {1}, {64}, sizeof(Ring)}, named_barriers, out.data());
    for (int i = 0; i < 32; ++i) EXPECT_EQ(out[static_cast<size_t>(i)], i * i);
  }
  simt::set_schedule({});
}

__global__ void read_before_write(float* out) {
  out[thread_index().x] = dynamic_shared<float[32]>()[thread_index().x];
}

TEST(Interpreter, SharedMemoryBeginsAsNaN) {
  std::vector<float> out(32, 0.0f);
  launch(stream(), {"read_before_write", {1}, {32}, 128}, read_before_write, out.data());
  for (const float x : out) EXPECT_TRUE(std::isnan(x));
}

template <bool waits>
__global__ void copy_words(const uint32_t* in, uint32_t* out) {
  auto& words = dynamic_shared<uint32_t[32]>();
  copy_async<4>(&words[lane_index()], in + lane_index());
  commit_copies();
  if (waits) wait_copies<0>();
  sync_warp();
  out[lane_index()] = words[lane_index()];
}

// Until somebody waits, where the schedule is lazy.
TEST(Interpreter, DestinationsOfCopiesHoldNaN) {
  const std::vector<uint32_t> in(32, 3);
  const auto result = [&](bool lazy, auto kernel) {
    std::vector<uint32_t> out(32);
    simt::set_schedule({.lazy = lazy});
    launch(stream(), {"copy_words", {1}, {32}, 128}, kernel, in.data(), out.data());
    simt::set_schedule({});
    return out[7];
  };
  for (const bool lazy : {false, true}) EXPECT_EQ(result(lazy, copy_words<true>), 3u);
  EXPECT_EQ(result(false, copy_words<false>), 3u);
  EXPECT_EQ(result(true, copy_words<false>), 0xffffffffu);
}

__global__ void count(int* counter, int* last) {
  if (atomic_add(counter, 1) == static_cast<int>(grid_size().x * block_size().x) - 1) *last = 1;
}

TEST(Interpreter, AtomicsCountAcrossBlocks) {
  int counter = 0, last = 0;
  launch(stream(), {"count", {100}, {64}}, count, &counter, &last);
  EXPECT_EQ(counter, 6400);
  EXPECT_EQ(last, 1);
}

}  // namespace
}  // namespace tessera::kernels::cuda
