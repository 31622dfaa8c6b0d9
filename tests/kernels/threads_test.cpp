#include "tessera/kernels/threads.hpp"

#include <gtest/gtest.h>

#include <thread>

#include "tessera/runtime/error.hpp"

namespace tessera::kernels {
namespace {

TEST(Threads, TakesTheCountGiven) {
  const int before = cpu_threads();
  ASSERT_GE(before, 1);
  for (const int count : {1, 3, 2}) {
    set_cpu_threads(count);
    EXPECT_EQ(cpu_threads(), count);
  }
  set_cpu_threads(before);
}

TEST(Threads, HoldsForTheCallingThreadOnly) {
  const int before = cpu_threads();
  std::thread([&] { set_cpu_threads(before + 5); }).join();
  EXPECT_EQ(cpu_threads(), before);
}

TEST(Threads, RejectsNone) {
  EXPECT_THROW(set_cpu_threads(0), Error);
  EXPECT_THROW(set_cpu_threads(-2), Error);
}

}  // namespace
}  // namespace tessera::kernels
