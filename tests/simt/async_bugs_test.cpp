// Kernels with copies and mbarriers that have one mistake each, next to the same kernel without it.
#include <gtest/gtest.h>

#include "tessera/kernels/cuda/ptx_async.cuh"
#include "tessera/tests/simt/array.hpp"

namespace tessera::kernels::cuda {
namespace {

enum class Bug {
  none,
  no_wait,         // the data is read before the copy has ended
  no_initialiser,  // nobody calls init_mbarrier
  no_init_fence,   // the copy does not know of the barrier
  overwritten,     // a thread writes over the barrier, the destination or the source
  missing_bytes,   // the phase expects more than is copied
  extra_bytes,     // ... less than is copied
  missing_arrival,
  extra_arrival,
  no_barrier,         // others do not wait for the initialisation
  no_proxy_fence,     // the bulk store may not see what threads wrote
  fence_too_late,     // the fence comes after the barrier, in threads that do not store
  no_store_wait,      // the thread exits while its store reads
  misaligned,         // the copy's address
  elsewhere,          // the destination is not shared memory
  no_empty_wait,      // the producer overwrites what consumers read
  no_cluster_sync,    // a block ends while its neighbour reads its shared memory
  other_block_early,  // arrival at a barrier that its block has not announced
  left_over_bytes,    // the kernel ends while a phase still expects some
  initialised_twice,  // ... while a thread waits
  huge_phase,         // expects more than hardware counts
  absent_block,       // a copy to a block that the cluster lacks
  third_parity,
  read_too_early,      // by the thread that copies
  source_overwritten,  // ... before the copy has ended
};

constexpr uint32_t words = 64;
struct alignas(128) Stage {
  uint32_t words[64];
  Mbarrier full, empty;
};

template <Bug bug>
__global__ void load_block(const uint32_t* in, uint32_t* out) {
  Stage& s = dynamic_shared<Stage>();
  const uint32_t me = thread_index().x;
  if (me == 0 && bug != Bug::no_initialiser)
    init_mbarrier(s.full, bug == Bug::missing_arrival ? 2 : 1);
  if (me == 0 && bug != Bug::no_init_fence && bug != Bug::no_initialiser) fence_mbarrier_init();
  if (bug != Bug::no_barrier) sync_block();
  if (bug == Bug::overwritten) {
    if (me == 0) s.full.word = 7;
    sync_block();
  }
  if (me == 0) {
    const uint32_t expected = bug == Bug::missing_bytes ? 272 : bug == Bug::extra_bytes ? 240 : 256;
    arrive_and_expect(s.full, expected);
    if (bug == Bug::extra_arrival) arrive_mbarrier(s.full);
    void* const to = bug == Bug::elsewhere ? static_cast<void*>(out) : s.words;
    bulk_load(to, in + (bug == Bug::misaligned ? 1 : 0), 256, s.full);
  }
  if (bug != Bug::no_wait) wait_mbarrier(s.full, 0);
  out[me] = s.words[(me + 5) % words];
}

template <Bug bug>
std::string load_block_failure() {
  const Array<uint32_t> in(words + 4), out(words);
  return failure({"load_block", {1}, {words}, sizeof(Stage)}, load_block<bug>, in.data(),
                 out.data());
}

TEST(AsyncBugs, Barriers) {
  EXPECT_EQ(load_block_failure<Bug::none>(), "");
  expect_contains(load_block_failure<Bug::no_initialiser>(),
                  {"mbarrier is not initialised", "load_block"});
  expect_contains(load_block_failure<Bug::no_init_fence>(), {"fence_mbarrier_init"});
  expect_contains(load_block_failure<Bug::overwritten>(), {"written over", "async_bugs_test.cpp:"});
  expect_contains(load_block_failure<Bug::missing_arrival>(),
                  {"no thread of kernel load_block can go on", "misses 1 of 2 arrivals"});
  expect_contains(load_block_failure<Bug::missing_bytes>(), {"and 16 bytes of phase 0"});
  expect_contains(load_block_failure<Bug::extra_arrival>(),
                  {"arrivals where the phase misses 0 of 1"});
  EXPECT_NE(load_block_failure<Bug::extra_bytes>(), "");
  EXPECT_NE(load_block_failure<Bug::no_barrier>(), "");
}

TEST(AsyncBugs, Copies) {
  expect_contains(load_block_failure<Bug::no_wait>(), {"race"});
  expect_contains(load_block_failure<Bug::misaligned>(), {"not a multiple of 16", "bulk_load"});
  expect_contains(load_block_failure<Bug::elsewhere>(), {"not in the shared memory"});
}

template <Bug bug>
__global__ void copy_words(uint32_t* in, uint32_t* out) {
  auto& words_of_block = dynamic_shared<uint32_t[words]>();
  const uint32_t me = thread_index().x;
  copy_async<4>(&words_of_block[me], in + me);
  commit_copies();
  if (bug == Bug::read_too_early) out[me] = words_of_block[me];
  if (bug == Bug::overwritten) words_of_block[me] = 7;
  if (bug == Bug::source_overwritten) in[me] = 7;
  if (bug != Bug::no_wait) wait_copies<0>();
  sync_block();
  out[me] = words_of_block[63 - me];
}
template <Bug bug>
std::string copy_words_failure(uint32_t* first = nullptr) {
  const Array<uint32_t> in(words, 3), out(words);
  const std::string message =
      failure({"copy_words", {1}, {words}, 256}, copy_words<bug>, in.data(), out.data());
  if (first) *first = out[0];
  return message;
}

TEST(AsyncBugs, CopiesThatNobodyWaitedFor) {
  uint32_t first = 0;
  EXPECT_EQ(copy_words_failure<Bug::none>(&first), "");
  EXPECT_EQ(first, 3u);
  const auto expect = [](const std::string& message, std::initializer_list<const char*> parts) {
    expect_contains(message, parts);
    expect_contains(
        message, {"race", "kernel copy_words, block (0, 0, 0), thread (", "async_bugs_test.cpp:"});
  };
  expect(copy_words_failure<Bug::no_wait>(), {"are not ordered"});
  expect(copy_words_failure<Bug::read_too_early>(),
         {"this load comes before the end of what the same thread has started"});
  expect(copy_words_failure<Bug::overwritten>(),
         {"this store comes before the end of what the same thread has started"});
}

// Nobody reports that the source changes meanwhile: but a copy that is done at once gives another
// result than one that is done at the last moment.
TEST(AsyncBugs, EarlyAndLateCopies) {
  const auto result = [](bool lazy, auto kernel) {
    const Array<uint32_t> in(words, 3), out(words);
    simt::set_schedule({.lazy = lazy});
    launch(current_stream(Device::cpu()), {"copy_words", {1}, {words}, 256}, kernel, in.data(),
           out.data());
    simt::set_schedule({});
    return out[0];
  };
  for (const bool lazy : {false, true}) EXPECT_EQ(result(lazy, copy_words<Bug::none>), 3u);
  EXPECT_EQ(result(false, copy_words<Bug::source_overwritten>), 3u);
  EXPECT_EQ(result(true, copy_words<Bug::source_overwritten>), 7u);
}

template <Bug bug>
__global__ void store_block(uint32_t* out) {
  Stage& s = dynamic_shared<Stage>();
  const uint32_t me = thread_index().x;
  s.words[me] = me;
  if (bug != Bug::no_proxy_fence && bug != Bug::fence_too_late) fence_async_proxy();
  sync_block();
  if (bug == Bug::fence_too_late && me != 0) fence_async_proxy();
  if (me == 0) {
    bulk_store(out, s.words, 256);
    commit_bulk();
    if (bug == Bug::overwritten) s.words[5] = 7;
    if (bug != Bug::no_store_wait) wait_bulk<0>();
  }
}
template <Bug bug>
std::string store_block_failure() {
  const Array<Pack<uint32_t, 4>> out(words / 4);
  return failure({"store_block", {1}, {words}, sizeof(Stage)}, store_block<bug>, out.data()->lane);
}

TEST(AsyncBugs, Stores) {
  EXPECT_EQ(store_block_failure<Bug::none>(), "");
  expect_contains(store_block_failure<Bug::no_proxy_fence>(),
                  {"missing fence_async_proxy", "has written at async_bugs_test.cpp:"});
  expect_contains(store_block_failure<Bug::fence_too_late>(), {"missing fence_async_proxy"});
  expect_contains(store_block_failure<Bug::no_store_wait>(), {"exits while its bulk stores"});
  expect_contains(store_block_failure<Bug::overwritten>(),
                  {"race: this store comes before the end", "async_bugs_test.cpp:"});
}

// One warp fills a stage again and again, another reads it.
template <Bug bug>
__global__ void fill_and_read(const uint32_t* in, uint32_t* out, int rounds) {
  Stage& s = dynamic_shared<Stage>();
  if (thread_index().x == 0) {
    init_mbarrier(s.full, 1);
    init_mbarrier(s.empty, 32);
    fence_mbarrier_init();
  }
  sync_block();
  if (warp_index() == 0) {
    if (lane_index() != 0) return;
    for (int i = 0; i < rounds; ++i) {
      if (bug != Bug::no_empty_wait) wait_mbarrier(s.empty, (i + 1) % 2);
      arrive_and_expect(s.full, 256);
      bulk_load(s.words, in, 256, s.full);
    }
  } else {
    uint32_t sum = 0;
    for (int i = 0; i < rounds; ++i) {
      wait_mbarrier(s.full, i % 2);
      sum += s.words[lane_index()];
      arrive_mbarrier(s.empty);
    }
    out[lane_index()] = sum;
  }
}

TEST(AsyncBugs, ProducerThatDoesNotWait) {
  const Array<Pack<uint32_t, 4>> in(words / 4);
  const Array<uint32_t> out(32);
  const LaunchShape shape{"fill_and_read", {1}, {64}, sizeof(Stage)};
  const uint32_t* const from = in.data()->lane;
  EXPECT_EQ(failure(shape, fill_and_read<Bug::none>, from, out.data(), 4), "");
  EXPECT_NE(failure(shape, fill_and_read<Bug::no_empty_wait>, from, out.data(), 4), "");
}

template <Bug bug>
__global__ void read_neighbour(uint32_t* out) {
  Stage& s = dynamic_shared<Stage>();
  const uint32_t me = thread_index().x;
  if (me == 0) {
    init_mbarrier(s.full, words);
    if (bug != Bug::other_block_early) fence_mbarrier_init();
  }
  s.words[me] = me;
  if (bug == Bug::no_cluster_sync)
    sync_block();
  else
    sync_cluster();
  const uint32_t other = 1 - cluster_rank();
  out[block_index().x * words + me] = map_shared(s.words, other)[63 - me];
  arrive_mbarrier(s.full, other);
  wait_mbarrier(s.full, 0);
}

template <Bug bug>
__global__ void misuse_barrier(const uint32_t* in) {
  Stage& s = dynamic_shared<Stage>();
  const uint32_t me = thread_index().x;
  if (me == 0) {
    init_mbarrier(s.full, bug == Bug::left_over_bytes ? 2 : 1);
    fence_mbarrier_init();
  }
  sync_block();
  if (me == 1 && bug == Bug::initialised_twice) {
    for (int i = 0; i < 100; ++i) relax();  // till the others wait
    init_mbarrier(s.full, 1);
  }
  if (me != 0 && bug != Bug::initialised_twice) return;
  if (bug == Bug::initialised_twice) wait_mbarrier(s.full, 0);
  if (bug == Bug::left_over_bytes) arrive_and_expect(s.full, 16);
  if (bug == Bug::huge_phase) arrive_and_expect(s.full, 1 << 20);
  if (bug == Bug::third_parity) wait_mbarrier(s.full, 2);
  if (bug == Bug::absent_block) bulk_load(s.words, in, 16, s.full, uint16_t{2});
}
template <Bug bug>
std::string misuse_failure() {
  const Array<Pack<uint32_t, 4>> in(words / 4);
  return failure({"misuse_barrier", {1}, {32}, sizeof(Stage)}, misuse_barrier<bug>,
                 static_cast<const uint32_t*>(in.data()->lane));
}

TEST(AsyncBugs, MisusedBarriers) {
  EXPECT_EQ(misuse_failure<Bug::none>(), "");
  expect_contains(misuse_failure<Bug::left_over_bytes>(),
                  {"misuse_barrier ends while an mbarrier still expects 16 bytes"});
  // a race with those who wait, or threads that wait at it: as the schedule has it
  expect_contains(misuse_failure<Bug::initialised_twice>(), {"async_bugs_test.cpp:"});
  expect_contains(misuse_failure<Bug::huge_phase>(), {"a phase expects at most 1048575 bytes"});
  expect_contains(misuse_failure<Bug::third_parity>(), {"parity 2"});
  expect_contains(misuse_failure<Bug::absent_block>(),
                  {"bulk_load: mask 2 names blocks that the cluster lacks"});
}

TEST(AsyncBugs, Clusters) {
  const Array<uint32_t> out(2 * words);
  const LaunchShape shape{.name = "read_neighbour",
                          .grid = {2},
                          .block = {words},
                          .shared_bytes = sizeof(Stage),
                          .cluster = {2}};
  EXPECT_EQ(failure(shape, read_neighbour<Bug::none>, out.data()), "");
  EXPECT_NE(failure(shape, read_neighbour<Bug::no_cluster_sync>, out.data()), "");
  expect_contains(failure(shape, read_neighbour<Bug::other_block_early>, out.data()),
                  {"another block's mbarrier without fence_mbarrier_init"});
}

}  // namespace
}  // namespace tessera::kernels::cuda
