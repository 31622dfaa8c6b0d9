#include "tessera/runtime/stream.hpp"

#include <gtest/gtest.h>

#include <cstring>
#include <thread>

#include "tessera/runtime/allocator.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

const Device cpu = Device::cpu();

TEST(Stream, CurrentIsTheDefaultUntilAScopeSaysOtherwise) {
  Stream& usual = current_stream(cpu);
  EXPECT_EQ(&current_stream(cpu), &usual);
  EXPECT_EQ(usual.device(), cpu);
  Stream own(cpu), inner(cpu);
  {
    const StreamScope scope(own);
    EXPECT_EQ(&current_stream(cpu), &own);
    {
      const StreamScope nested(inner);
      EXPECT_EQ(&current_stream(cpu), &inner);
      std::thread([&] {
        EXPECT_EQ(&current_stream(cpu), &usual) << "scopes belong to their thread";
      }).join();
    }
    EXPECT_EQ(&current_stream(cpu), &own);
  }
  EXPECT_EQ(&current_stream(cpu), &usual);
}

TEST(Stream, EventsOrderAndAnEmptyEventIsDone) {
  Stream a(cpu), b(cpu);
  const Event event = a.record();
  b.wait(event);
  event.synchronize();
  Event().synchronize();
  b.wait(Event());
  a.synchronize();
  EXPECT_EQ(a.native(), nullptr);
}

struct Counted {
  explicit Counted(Stream& stream) : of(&stream) { ++made; }
  ~Counted() { ++destroyed; }
  Stream* of;
  static inline int made = 0, destroyed = 0;
};
struct Other {
  explicit Other(Stream&) {}
  int value = 5;
};

TEST(Stream, ResourcesAreMadeOncePerStreamAndGoWithIt) {
  Counted::made = Counted::destroyed = 0;
  {
    Stream a(cpu), b(cpu);
    EXPECT_EQ(&a.resource<Counted>(), &a.resource<Counted>());
    EXPECT_EQ(a.resource<Counted>().of, &a);
    EXPECT_NE(&a.resource<Counted>(), &b.resource<Counted>());
    EXPECT_EQ(a.resource<Other>().value, 5);
    EXPECT_EQ(Counted::made, 2);
    EXPECT_EQ(Counted::destroyed, 0);
  }
  EXPECT_EQ(Counted::destroyed, 2);
}

TEST(Stream, ScratchIsWritableAlignedAndGivenBack) {
  const auto tracking = std::make_shared<TrackingAllocator>(std::make_shared<DriverAllocator>());
  const AllocatorScope scope(Device::Type::cpu, tracking);
  Stream& stream = current_stream(cpu);
  {
    const Scratch a = stream.scratch(1000), none = stream.scratch(0);
    EXPECT_EQ(a.bytes(), 1000u);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(a.as<char>()) % 64, 0u);
    EXPECT_EQ(none.as<char>(), nullptr);
    std::memset(a.as<char>(), 1, a.bytes());
    EXPECT_EQ(tracking->live_bytes(), 1000);
  }
  EXPECT_EQ(tracking->live_bytes(), 0);
}

TEST(Stream, TensorsMayOutliveACpuStream) {
  Tensor t;
  {
    Stream own(cpu);
    const StreamScope scope(own);
    t = Tensor::from<float>({1, 2, 3}, {3}, cpu);
  }
  EXPECT_EQ(t.values<float>(), (std::vector<float>{1, 2, 3}));
  t = Tensor();
}

TEST(Stream, DevicesThatAreNotThereAreRefused) {
  test::expect_error(
      [] {
        Stream(Device{Device::Type::cpu, 1});
      },
      {"cpu"}, ErrorKind::invalid_argument);
  test::expect_error(
      [] {
        current_stream(Device{Device::Type::cpu, -1});
      },
      {}, ErrorKind::invalid_argument);
}

}  // namespace
}  // namespace tessera
