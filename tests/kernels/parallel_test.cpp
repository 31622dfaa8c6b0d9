#include "tessera/kernels/cpu/parallel.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <thread>
#include <vector>

#include "tessera/tests/support/values.hpp"

namespace tessera::kernels::cpu {
namespace {

using test::Threads;

const std::vector<int> thread_counts{1, 2, 3, 8};
const std::vector<int64_t> sizes{0, 1, 2, 7, 64, 1000};

TEST(Parallel, PiecesCoverEveryIndexOnce) {
  for (const int count : thread_counts)
    for (const int64_t n : sizes)
      for (const int64_t grain : {0, 1, 3, 5000}) {
        const Threads threads(count);
        std::vector<int> visits(static_cast<size_t>(n));
        std::atomic<int> pieces = 0;
        parallel_for(n, grain, [&](int64_t begin, int64_t end) {
          ++pieces;
          for (int64_t i = begin; i < end; ++i) ++visits[static_cast<size_t>(i)];
        });
        EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
        EXPECT_LE(pieces, count);
        EXPECT_TRUE(pieces <= 1 || n >= 2 * grain);
      }
}

TEST(Parallel, BlocksComeOnceAndWithTheirThread) {
  for (const int count : thread_counts)
    for (const int64_t n : sizes) {
      const Threads threads(count);
      std::vector<int> visits(static_cast<size_t>(n));
      std::vector<int64_t> per_thread(static_cast<size_t>(max_threads()));  // own slot, no lock
      parallel_blocks(n, [&](int64_t block, int thread) {
        ++visits[static_cast<size_t>(block)];
        ++per_thread.at(static_cast<size_t>(thread));
      });
      EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
      int64_t sum = 0;
      for (const int64_t blocks : per_thread) sum += blocks;
      EXPECT_EQ(sum, n);
    }
}

TEST(Parallel, NestedRegionsStayOnTheirThread) {
  const Threads threads(4);
  std::vector<int> visits(40 * 25);
  parallel_blocks(40, [&](int64_t outer) {
    EXPECT_EQ(max_threads(), 1);
    const auto self = std::this_thread::get_id();
    parallel_blocks(25, [&](int64_t inner, int thread) {
      EXPECT_EQ(thread, 0);
      EXPECT_EQ(std::this_thread::get_id(), self);
      ++visits[static_cast<size_t>(outer * 25 + inner)];
    });
  });
  EXPECT_EQ(visits, std::vector<int>(visits.size(), 1));
}

TEST(Parallel, AnExceptionReachesTheCallerAndTheNextRegionWorks) {
  for (const int count : thread_counts) {
    const Threads threads(count);
    const auto bad = [](auto...) { throw std::runtime_error("in the body"); };
    for (int round = 0; round < 20; ++round) {
      EXPECT_THROW(parallel_for(100, 1, bad), std::runtime_error);
      EXPECT_THROW(parallel_blocks(100,
                                   [](int64_t block) {
                                     if (block == 57) throw std::runtime_error("in one block");
                                   }),
                   std::runtime_error);
      std::atomic<int> blocks = 0;
      parallel_blocks(10, [&](int64_t) { ++blocks; });
      EXPECT_EQ(blocks, 10);
    }
  }
}

TEST(Parallel, CallersOnSeveralThreadsDoNotMeet) {
  std::vector<std::thread> callers;
  std::vector<int64_t> sums(3);
  for (size_t caller = 0; caller < sums.size(); ++caller)
    callers.emplace_back([&, caller] {
      const Threads threads(2);
      for (int round = 0; round < 50; ++round) {
        std::vector<int64_t> squares(300);
        parallel_blocks(300, [&](int64_t b) { squares[static_cast<size_t>(b)] = b * b; });
        for (const int64_t square : squares) sums[caller] += square;
      }
    });
  for (std::thread& caller : callers) caller.join();
  // 0 + 1 + 4 + ... + 299^2 by the closed form, fifty times.
  EXPECT_EQ(sums, std::vector<int64_t>(3, 50 * (299 * 300 * 599 / 6)));
}

}  // namespace
}  // namespace tessera::kernels::cpu
