#include "tessera/runtime/recording.hpp"

#include <gtest/gtest.h>

#include "tessera/runtime/allocator.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/watched_device.hpp"

namespace tessera {
namespace {

class Recordings : public test::WatchedDevice {
 protected:
  static Stream& stream() { return current_stream(device()); }
  static Tensor on_device(std::vector<float> values) {
    const auto n = static_cast<int64_t>(values.size());
    return Tensor::from(values, {n}, device());
  }
  static Tensor on_host(std::vector<float> values) {
    return Tensor::from(values, {static_cast<int64_t>(values.size())}, Device::cpu());
  }
};

TEST_P(Recordings, DoNothingUntilReplayedAndThenReadWhatMemoryHolds) {
  Tensor from = on_device({1, 2, 3}), to = on_device({0, 0, 0});
  Recording recording(stream(), [&] { to.copy_from(from); });
  EXPECT_EQ(to.values<float>(), (std::vector<float>{0, 0, 0}));
  recording.replay();
  EXPECT_EQ(to.values<float>(), (std::vector<float>{1, 2, 3}));
  from.copy_from(on_host({4, 5, 6}));
  EXPECT_EQ(to.values<float>(), (std::vector<float>{1, 2, 3}));
  recording.replay();
  EXPECT_EQ(to.values<float>(), (std::vector<float>{4, 5, 6}));
}

TEST_P(Recordings, WorkComesInItsOrder) {
  Tensor a = on_device({1, 2}), b = on_device({3, 4});
  Recording recording(stream(), [&] {  // swaps, by way of memory of its own
    const Tensor kept = a.clone();
    a.copy_from(b);
    b.copy_from(kept);
  });
  for (int i = 0; i < 3; ++i) recording.replay();
  EXPECT_EQ(a.values<float>(), (std::vector<float>{3, 4}));
  EXPECT_EQ(b.values<float>(), (std::vector<float>{1, 2}));
}

TEST_P(Recordings, TensorsMadeMeanwhileHoldTheirValuesAfterEachReplay) {
  Tensor from = on_device({1, 2}), result, nothing;
  {
    Recording recording(stream(), [&] {
      result = from.clone();
      nothing = Tensor::zeros({3}, DType::f32, device());
    });
    for (float x : {7.f, 8.f}) {
      from.copy_from(on_host({x, -x}));
      nothing.copy_from(on_host({1, 1, 1}));
      recording.replay();
      const Tensor other = on_device({0, 0});  // gets other memory
      EXPECT_EQ(result.values<float>(), (std::vector<float>{x, -x}));
      EXPECT_EQ(nothing.values<float>(), (std::vector<float>{0, 0, 0}));
    }
  }
  EXPECT_EQ(result.values<float>(), (std::vector<float>{8, -8})) << "outlives the recording";
}

TEST_P(Recordings, MemoryIsReusedInsideAndGivenBackAtTheEnd) {
  const auto tracking = std::make_shared<TrackingAllocator>(std::make_shared<DriverAllocator>());
  const AllocatorScope scope(device().type, tracking);
  const Tensor from = Tensor::zeros({1000}, DType::f32, device());
  const int64_t before = tracking->live_bytes(), blocks = tracking->live_blocks();
  {
    Recording recording(stream(), [&] {
      for (int i = 0; i < 5; ++i) (void)from.clone();
    });
    EXPECT_EQ(tracking->live_blocks(), blocks + 1);
    recording.replay();
    EXPECT_EQ(tracking->live_blocks(), blocks + 1);
  }
  EXPECT_EQ(tracking->live_bytes(), before);
}

TEST_P(Recordings, RefreshesComeFirstInEveryReplay) {
  Tensor number = on_device({0}), copy = on_device({0});
  std::vector<int> calls;
  Recording recording(stream(), [&] {
    ASSERT_NE(stream().recording(), nullptr);
    stream().recording()->at_replay([&] {
      calls.push_back(1);
      number.copy_from(on_host({static_cast<float>(calls.size())}));
    });
    stream().recording()->at_replay([&] { calls.push_back(2); });
    copy.copy_from(number);
  });
  EXPECT_EQ(stream().recording(), nullptr);
  EXPECT_TRUE(calls.empty());
  recording.replay();
  EXPECT_EQ(copy.item(), 1);
  recording.replay();
  EXPECT_EQ(copy.item(), 3);
  EXPECT_EQ(calls, (std::vector<int>{1, 2, 1, 2}));
}

TEST_P(Recordings, WhatRefreshesFillIsNotWrittenByTheWork) {
  const Tensor from = on_device({5, 6});
  Tensor copy = on_device({0, 0});
  float value = 0;
  Recording recording(stream(), [&] {
    (void)from.clone();  // its memory is free from here on
    Tensor number = stream().recording()->lasting({2}, DType::f32);
    stream().recording()->at_replay([&, number]() mutable {
      number.copy_from(on_host({value, -value}));
    });
    copy.copy_from(number);
  });
  for (const float now : {1.0f, 2.0f, 3.0f}) {
    value = now;
    recording.replay();
    EXPECT_EQ(copy.values<float>(), (std::vector<float>{value, -value}));
  }
}

TEST_P(Recordings, RefuseWhatCannotBeReplayed) {
  Tensor t = on_device({1, 2});
  const auto record = [&](const std::function<void()>& body) {
    const Recording recording(stream(), body);
  };
  const ErrorKind kind = ErrorKind::invalid_argument;
  test::expect_error([&] { record([&] { t.values<float>(); }); }, {"copy to the host", "replay"},
                     kind);
  test::expect_error([&] { record([&] {
                             t.copy_from(on_host({3, 4}));
                           }); },
                     {"copy from the host", "replay"}, kind);
  test::expect_error([&] { record([&] { stream().synchronize(); }); }, {"synchronize"}, kind);
  test::expect_error([&] { record([&] { record([] {}); }); }, {"already"}, kind);
  test::expect_error([&] { record([] { throw Error(ErrorKind::io, "its own"); }); }, {"its own"},
                     ErrorKind::io);
  Stream other(device());
  test::expect_error([&] { const Recording recording(other, [] {}); }, {"current"}, kind);
  EXPECT_EQ(stream().recording(), nullptr);
  EXPECT_EQ(t.values<float>(), (std::vector<float>{1, 2})) << "the stream works as before";
}

TEST_P(Recordings, AnotherStreamGoesOnMeanwhile) {
  Stream other(device());
  Tensor a = on_device({1}), b = on_device({0});
  stream().synchronize();
  Recording recording(stream(), [&] {
    const StreamScope scope(other);
    const AllocatorScope memory(device().type, std::make_shared<DriverAllocator>());
    b.copy_from(a);
    other.synchronize();
  });
  EXPECT_EQ(b.item(), 1) << "was done, not recorded";
}

INSTANTIATE_TEST_SUITE_P(Devices, Recordings, test::queueing_devices(), test::device_name);

TEST(Recording, TheCpuDoesWorkAtOnce) {
  test::expect_error([] { const Recording recording(current_stream(Device::cpu()), [] {}); },
                     {"cpu"}, ErrorKind::unsupported);
}

}  // namespace
}  // namespace tessera
