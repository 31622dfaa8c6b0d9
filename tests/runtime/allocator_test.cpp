#include "tessera/runtime/allocator.hpp"

#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "tessera/runtime/stream.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
const Device cpu = Device::cpu();

std::shared_ptr<TrackingAllocator> tracking() {
  return std::make_shared<TrackingAllocator>(std::make_shared<DriverAllocator>());
}
// Held back from the next allocation of `bytes`, which then differs from it.
struct Block {
  Allocator& allocator;
  size_t bytes;
  void* data;
  Block(Allocator& from, size_t size)
      : allocator(from), bytes(size), data(from.allocate(size, current_stream(cpu))) {}
  ~Block() { allocator.deallocate(data, bytes, current_stream(cpu)); }
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
};

TEST(DriverAllocator, AlignsAndRefusesTheImpossible) {
  DriverAllocator driver;
  for (const size_t bytes : {size_t{1}, size_t{63}, size_t{4097}}) {
    const Block block(driver, bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(block.data) % 64, 0u);
    std::memset(block.data, 1, bytes);
  }
  EXPECT_EQ(Block(driver, 0).data, nullptr);
  expect_error([&] { Block(driver, SIZE_MAX); }, {"cpu", "18446744073709551615"},
               ErrorKind::out_of_memory);
}

TEST(TrackingAllocator, CountsLiveBytesAndTheirPeak) {
  const auto t = tracking();
  {
    const Block a(*t, 100);
    {
      const Block b(*t, 50), empty(*t, 0);
      EXPECT_EQ(t->live_bytes(), 150);
      EXPECT_EQ(t->live_blocks(), 2);
    }
    EXPECT_EQ(t->live_bytes(), 100);
    EXPECT_EQ(t->peak_bytes(), 150);
    t->reset_peak();
    EXPECT_EQ(t->peak_bytes(), 100);
    const Block c(*t, 10);
    EXPECT_EQ(t->peak_bytes(), 110);
    EXPECT_EQ(t->allocations(), 3);
  }
  EXPECT_EQ(t->live_bytes(), 0);
  EXPECT_EQ(t->live_blocks(), 0);
}

TEST(TrackingAllocator, CountsFromManyThreads) {
  const auto t = tracking();
  std::vector<std::thread> threads;
  for (int k = 0; k < 4; ++k)
    threads.emplace_back([&] {
      for (int i = 0; i < 2000; ++i) {
        const Block a(*t, 100), b(*t, 28);
      }
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(t->live_bytes(), 0);
  EXPECT_EQ(t->allocations(), 16000);
  EXPECT_GE(t->peak_bytes(), 128);
  EXPECT_LE(t->peak_bytes(), 4 * 128);
}

TEST(LimitAllocator, ThrowsAtTheLimitAndRecovers) {
  LimitAllocator limit(std::make_shared<DriverAllocator>(), 1000);
  const Block a(limit, 600);
  expect_error([&] { Block(limit, 401); }, {"limit of 1000", "600 in use", "401 more", "cpu"},
               ErrorKind::out_of_memory);
  expect_error([&] { Block(limit, SIZE_MAX); }, {"limit"}, ErrorKind::out_of_memory);
  { const Block b(limit, 400); }
  const Block c(limit, 400);
  EXPECT_NE(c.data, nullptr);
}

TEST(LimitAllocator, AFailureBelowIsNotCounted) {
  const auto inner = std::make_shared<LimitAllocator>(std::make_shared<DriverAllocator>(), 100);
  LimitAllocator outer(inner, 1000);
  for (int i = 0; i < 20; ++i)
    expect_error([&] { Block(outer, 900); }, {"limit of 100 "}, ErrorKind::out_of_memory);
}

TEST(GuardAllocator, FindsWritesOnBothSidesOfABlock) {
  GuardAllocator guard(std::make_shared<DriverAllocator>());
  guard.report_only();
  { const Block clean(guard, 100); }
  EXPECT_EQ(guard.damaged_blocks(), 0);
  int64_t damaged = 0;
  for (const int offset : {-1, -256, 100, 101, 355}) {
    {
      const Block block(guard, 100);
      static_cast<char*>(block.data)[offset] ^= 1;
    }
    EXPECT_EQ(guard.damaged_blocks(), ++damaged) << "offset " << offset;
  }
}

TEST(GuardAllocator, FillsFreshBlocksWithNaN) {
  const AllocatorScope scope(Device::Type::cpu,
                             std::make_shared<GuardAllocator>(std::make_shared<DriverAllocator>()));
  for (const DType dtype : test::float_dtypes)
    for (const double value : test::to_doubles(Tensor::empty({7}, dtype, cpu)))
      EXPECT_TRUE(std::isnan(value));
}

TEST(GuardAllocatorDeathTest, AbortsWithSizeAndOffset) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto damage = [](int offset) {
    GuardAllocator guard(std::make_shared<DriverAllocator>());
    const Block block(guard, 100);
    static_cast<char*>(block.data)[offset] ^= 1;
  };
  EXPECT_DEATH(damage(100), "after a block of 100 bytes, at offset 100");
  EXPECT_DEATH(damage(-2), "before a block of 100 bytes, at offset -2");
}

TEST(CachingAllocator, ReusesFreedBlocksOfTheSameClass) {
  const auto t = tracking();
  CachingAllocator cache(t);
  void* first;
  for (const size_t bytes : {size_t{1}, size_t{64}, size_t{65}, size_t{1000}, size_t{65536},
                             size_t{65537}, size_t{1000000}, size_t{5000000}}) {
    { first = Block(cache, bytes).data; }
    const int64_t allocations = t->allocations();
    const Block again(cache, bytes);
    EXPECT_EQ(again.data, first) << bytes;
    EXPECT_EQ(t->allocations(), allocations) << bytes;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(again.data) % 64, 0u);
    std::memset(again.data, 1, bytes);
  }
  EXPECT_EQ(Block(cache, 0).data, nullptr);
}

TEST(CachingAllocator, LiveBlocksNeverShareMemory) {
  CachingAllocator cache(tracking());
  test::Numbers next(1);
  struct Live {
    unsigned char* data;
    size_t bytes;
    unsigned char mark;
  };
  std::vector<Live> live;
  for (int i = 0; i < 5000; ++i) {
    if (live.size() > 40 || (!live.empty() && next() % 2)) {
      const size_t k = next() % live.size();
      for (const size_t at : {size_t{0}, live[k].bytes / 2, live[k].bytes - 1})
        ASSERT_EQ(live[k].data[at], live[k].mark) << "another block wrote here";
      cache.deallocate(live[k].data, live[k].bytes, current_stream(cpu));
      live[k] = live.back();
      live.pop_back();
    } else {
      const size_t bytes = 1 + next() % (next() % 4 == 0 ? 300000 : 5000);
      Live block{static_cast<unsigned char*>(cache.allocate(bytes, current_stream(cpu))), bytes,
                 static_cast<unsigned char>(i)};
      std::memset(block.data, block.mark, bytes);
      live.push_back(block);
    }
  }
  for (const Live& block : live) cache.deallocate(block.data, block.bytes, current_stream(cpu));
}

TEST(CachingAllocator, GivesEverythingBackInTheEnd) {
  const auto t = tracking();
  {
    CachingAllocator cache(t);
    { const Block a(cache, 100), b(cache, 1 << 20); }
    EXPECT_GT(t->live_bytes(), 0);
    cache.trim();
    EXPECT_EQ(t->live_bytes(), 0);
    { const Block a(cache, 100), b(cache, 1 << 20); }
    std::thread([&] { const Block a(cache, 200); }).join();
  }
  EXPECT_EQ(t->live_bytes(), 0);
}

TEST(CachingAllocator, AnotherAtTheSameAddressStartsAfresh) {
  alignas(CachingAllocator) unsigned char place[sizeof(CachingAllocator)];
  for (int i = 0; i < 50;
       ++i) {  // the state behind the allocator tends to get the same address again
    const auto t = tracking();
    auto* cache = new (place) CachingAllocator(t);
    { const Block a(*cache, 100); }
    EXPECT_EQ(t->live_blocks(), 1);
    { const Block a(*cache, 100); }
    EXPECT_EQ(t->allocations(), 1);
    cache->~CachingAllocator();
    ASSERT_EQ(t->live_bytes(), 0) << "round " << i;
  }
}

TEST(CachingAllocator, TrimsWhenTheUpstreamIsFull) {
  const auto limit = std::make_shared<LimitAllocator>(std::make_shared<DriverAllocator>(), 3 << 20);
  CachingAllocator cache(limit);
  { const Block idle(cache, 2 << 20); }
  { const Block large(cache, 5 << 19); }
  { const Block small(cache, 60000); }
  expect_error([&] { Block(cache, 4 << 20); }, {"limit"}, ErrorKind::out_of_memory);
}

TEST(CachingAllocator, BlocksMayBeFreedOnOtherThreads) {
  const auto t = tracking();
  {
    CachingAllocator cache(t);
    std::atomic<void*> slot{nullptr};
    std::thread consumer([&] {
      for (int i = 0; i < 3000; ++i) {
        void* data;
        while (!(data = slot.exchange(nullptr))) std::this_thread::yield();
        EXPECT_EQ(*static_cast<int*>(data), i);
        cache.deallocate(data, 500, current_stream(cpu));
      }
    });
    for (int i = 0; i < 3000; ++i) {
      void* data = cache.allocate(500, current_stream(cpu));
      *static_cast<int*>(data) = i;
      void* empty = nullptr;
      while (!slot.compare_exchange_weak(empty, data)) {
        empty = nullptr;
        std::this_thread::yield();
      }
    }
    consumer.join();
  }
  EXPECT_EQ(t->live_bytes(), 0);
}

TEST(CachingAllocator, ThreadsWorkSideBySide) {
  const auto t = tracking();
  {
    CachingAllocator cache(t);
    std::vector<std::thread> threads;
    for (int k = 0; k < 4; ++k)
      threads.emplace_back([&, k] {
        for (int i = 0; i < 1000; ++i) {
          const Block a(cache, static_cast<size_t>(1 + i)),
              b(cache, static_cast<size_t>(70000 + i * 100));
          std::memset(a.data, k, a.bytes);
          std::memset(b.data, k, b.bytes);
          EXPECT_EQ(static_cast<char*>(a.data)[a.bytes - 1], k);
          EXPECT_EQ(static_cast<char*>(b.data)[b.bytes - 1], k);
        }
      });
    for (auto& thread : threads) thread.join();
  }
  EXPECT_EQ(t->live_bytes(), 0);
}

TEST(AllocatorScope, IsTheThreadsOwnAndTensorsMayOutliveIt) {
  const auto usual = current_allocator(Device::Type::cpu);
  const auto t = tracking();
  Tensor kept;
  {
    const AllocatorScope scope(Device::Type::cpu, t);
    EXPECT_EQ(current_allocator(Device::Type::cpu), t);
    EXPECT_NE(current_allocator(Device::Type::cuda), t);
    std::thread([&] { EXPECT_NE(current_allocator(Device::Type::cpu), t); }).join();
    kept = Tensor::zeros({10}, DType::f32, cpu);
    const Tensor gone = Tensor::zeros({10}, DType::f32, cpu);
  }
  EXPECT_EQ(current_allocator(Device::Type::cpu), usual);
  EXPECT_EQ(t->live_bytes(), 40);
  kept = Tensor();
  EXPECT_EQ(t->live_bytes(), 0);
}

}  // namespace
}  // namespace tessera
