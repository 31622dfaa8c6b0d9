// Blocks that use each other's shared memory with one mistake each, next to the same kernel without
// it.
#include <gtest/gtest.h>

#include "tessera/kernels/cuda/ptx_async.cuh"
#include "tessera/runtime/simt/device.hpp"
#include "tessera/tests/simt/array.hpp"

namespace tessera::kernels::cuda {
namespace {

enum class Bug {
  none,
  no_barrier,     // the neighbour's words may not be there yet
  no_start,       // the neighbour itself may not be there yet
  no_end,         // ... or no longer
  gone,           // it certainly is no longer
  beyond,         // behind what the neighbour has
  no_such_block,  // a cluster of two has no third

  sent_too_late,  // a copy into a neighbour that does not wait for it
};

struct alignas(16) Words {
  uint32_t word[32];
  Mbarrier full;
};

template <Bug bug>
__global__ void read_neighbour(uint32_t* out) {
  Words& s = dynamic_shared<Words>();
  const uint32_t me = lane_index(), other = 1 - cluster_rank();
  s.word[me] = me;
  if (bug == Bug::no_barrier) {
    sync_block();
  } else {
    sync_cluster();
  }
  if (bug == Bug::gone && cluster_rank() == 1) return;
  if (bug == Bug::gone)
    for (int i = 0; i < 200; ++i) relax();  // till the neighbour has exited
  const uint32_t from = bug == Bug::no_such_block ? 2 : other;
  const uint32_t* there = map_shared(s.word, from);
  out[block_index().x * 32 + me] = there[bug == Bug::beyond ? me + 1024 : 31 - me];
  if (bug != Bug::no_end && bug != Bug::gone) sync_cluster();
}

template <Bug bug>
std::string read_neighbour_failure() {
  const Array<uint32_t> out(64);
  return failure({.name = "read_neighbour",
                  .grid = {2},
                  .block = {32},
                  .shared_bytes = sizeof(Words),
                  .cluster = {2}},
                 read_neighbour<bug>, out.data());
}

TEST(ClusterBugs, ReadsOfANeighbour) {
  EXPECT_EQ(read_neighbour_failure<Bug::none>(), "");
  const auto expect = [](const std::string& message, const char* what) {
    expect_contains(message,
                    {what, "kernel read_neighbour, block (", "thread (", "cluster_bugs_test.cpp:"});
  };
  expect(read_neighbour_failure<Bug::no_barrier>(), "which may not have started");
  expect(read_neighbour_failure<Bug::no_end>(), "this block may exit before thread");
  expect(read_neighbour_failure<Bug::gone>(), "block 1 of the cluster, which has exited");
  expect(read_neighbour_failure<Bug::beyond>(), "outside of shared memory");
  expect(read_neighbour_failure<Bug::no_such_block>(), "block 2 of a cluster of 2");
}

// Both blocks are there, but what one writes is not ordered with what the other reads.
template <bool ordered>
__global__ void write_then_read(uint32_t* out) {
  Words& s = dynamic_shared<Words>();
  const uint32_t me = lane_index();
  sync_cluster();
  s.word[me] = me;
  if (ordered) sync_cluster();
  out[block_index().x * 32 + me] = map_shared(s.word, 1 - cluster_rank())[31 - me];
  sync_cluster();
}

TEST(ClusterBugs, RaceWithANeighbour) {
  const Array<uint32_t> out(64);
  const LaunchShape shape{.name = "write_then_read",
                          .grid = {2},
                          .block = {32},
                          .shared_bytes = sizeof(Words),
                          .cluster = {2}};
  EXPECT_EQ(failure(shape, write_then_read<true>, out.data()), "");
  expect_contains(failure(shape, write_then_read<false>, out.data()),
                  {"race", "write_then_read", "cluster_bugs_test.cpp:"});
}

// A copy into a neighbour, which waits for its bytes or not.
template <Bug bug>
__global__ void send(uint32_t* out) {
  Words& s = dynamic_shared<Words>();
  const uint32_t me = lane_index(), rank = cluster_rank();
  if (me == 0) {
    init_mbarrier(s.full, 1);
    if (rank == 1) arrive_and_expect(s.full, 128);
    fence_mbarrier_init();
  }
  s.word[me] = me + rank;
  fence_async_proxy();
  if (bug == Bug::no_start)
    sync_block();
  else
    sync_cluster();
  if (rank == 0 && me == 0) bulk_send(s.word, s.word, 128, s.full, 1);
  if (rank == 1 && bug != Bug::sent_too_late) wait_mbarrier(s.full, 0);
  if (rank == 1) out[me] = bug == Bug::sent_too_late ? 0 : s.word[me];
  if (bug != Bug::sent_too_late) sync_cluster();
}

template <Bug bug>
std::string send_failure() {
  const Array<uint32_t> out(32);
  return failure(
      {.name = "send", .grid = {2}, .block = {32}, .shared_bytes = sizeof(Words), .cluster = {2}},
      send<bug>, out.data());
}

TEST(ClusterBugs, CopiesToANeighbour) {
  EXPECT_EQ(send_failure<Bug::none>(), "");
  const auto expect = [](const std::string& message, const char* what) {
    expect_contains(message, {what, "kernel send, block (", "cluster_bugs_test.cpp:"});
  };
  expect(send_failure<Bug::no_start>(), "which may not have started");
  expect(send_failure<Bug::sent_too_late>(), "this block may exit before thread");
}

/// Block 0 tells block 1 an address of its shared memory, of which that makes nothing unless both
/// are of one cluster.
__global__ void pass_address(uint64_t* address, uint32_t* out) {
  Words& s = dynamic_shared<Words>();
  if (lane_index() == 0) {
    s.word[0] = 5;
    if (block_index().x == 0) *address = reinterpret_cast<uint64_t>(s.word);
  }
  simt::sync_grid();
  if (block_index().x == 1 && lane_index() == 0)
    out[0] = *reinterpret_cast<const uint32_t*>(*address);
}

TEST(ClusterBugs, SharedMemoryOfAnotherCluster) {
  const Array<uint64_t> address(1);
  const Array<uint32_t> out(1);
  expect_contains(failure({.name = "pass_address",
                           .grid = {2},
                           .block = {32},
                           .shared_bytes = sizeof(Words),
                           .cooperative = true},
                          pass_address, address.data(), out.data()),
                  {"the shared memory of a block of another cluster",
                   "kernel pass_address, block (1", "cluster_bugs_test.cpp:"});
}

}  // namespace
}  // namespace tessera::kernels::cuda
