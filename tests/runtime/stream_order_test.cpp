// Memory that several streams use, and the check that they wait for each other.
#include <gtest/gtest.h>

#include <numeric>

#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/upload.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/watched_device.hpp"

namespace tessera {
namespace {

class StreamOrder : public test::WatchedDevice {
 protected:
  static Tensor made() {
    const Tensor t = Tensor::zeros({64}, DType::f32, device());
    (void)t.view();
    return t;
  }
  static void expect_refused(const Tensor& t) {
    test::expect_error([&] { (void)t.view(); }, {"256 bytes", to_string(device()), "waited"},
                       ErrorKind::invalid_argument);
  }
  /// What freeing `t` logs.
  static std::string freed(Tensor& t) {
    testing::internal::CaptureStderr();
    t = Tensor();
    return testing::internal::GetCapturedStderr();
  }
};

TEST_P(StreamOrder, AnotherStreamMustWaitForWhatFilledTheMemory) {
  Stream a(device()), b(device());
  Tensor t;
  {
    const StreamScope scope(a);
    t = made();
  }
  const StreamScope scope(b);
  expect_refused(t);
  b.wait(Event());
  expect_refused(t);
  b.wait(a.record());
  EXPECT_NO_THROW((void)t.view());
  a.wait(b.record());
  EXPECT_EQ(freed(t), "");
}

TEST_P(StreamOrder, AnEventFromBeforeTheWorkIsNotEnough) {
  Stream a(device()), b(device());
  const StreamScope scope(a);
  const Event early = a.record();
  Tensor t = made();
  b.wait(early);
  const StreamScope inner(b);
  expect_refused(t);
}

TEST_P(StreamOrder, WaitingIsPassedOn) {
  Stream a(device()), b(device()), c(device());
  Tensor t;
  {
    const StreamScope scope(a);
    t = made();
  }
  b.wait(a.record());
  c.wait(b.record());
  const StreamScope scope(c);
  EXPECT_NO_THROW((void)t.view());
  a.wait(c.record());
  EXPECT_EQ(freed(t), "");
}

TEST_P(StreamOrder, TheHostWaitingIsEnough) {
  for (const bool by_event : {false, true}) {
    Stream a(device()), b(device());
    Tensor t;
    {
      const StreamScope scope(a);
      t = made();
    }
    if (by_event)
      a.record().synchronize();
    else
      a.synchronize();
    const StreamScope scope(b);
    EXPECT_NO_THROW((void)t.view());
    b.synchronize();
    EXPECT_EQ(freed(t), "");
  }
}

TEST_P(StreamOrder, BothMayReadOnceTheMemoryIsFilled) {
  Stream a(device()), b(device());
  const StreamScope scope(a);
  Tensor t = made();
  b.wait(a.record());
  for (int i = 0; i < 3; ++i) {
    const StreamScope inner(b);
    EXPECT_NO_THROW((void)t.view());
    const StreamScope innermost(a);
    EXPECT_NO_THROW((void)t.view());
  }
  a.wait(b.record());
  EXPECT_EQ(freed(t), "");
}

TEST_P(StreamOrder, FreeingWhatAnotherStreamMayStillUseIsLogged) {
  Stream a(device()), b(device());
  const StreamScope scope(a);
  Tensor t = made();
  b.wait(a.record());
  {
    const StreamScope inner(b);
    (void)t.view();
  }
  EXPECT_NE(freed(t).find("is freed while stream"), std::string::npos);
  b.synchronize();
}

TEST_P(StreamOrder, UploadsArriveAndAreWaitedFor) {
  Uploader uploader(device());
  std::vector<float> values(64);
  for (int round = 0; round < 11; ++round) {  // more than there are places for copies under way
    std::iota(values.begin(), values.end(), static_cast<float>(round));
    Tensor host = Tensor::from(values, {64}, Device::cpu());
    Tensor t = uploader.start(host);
    host.host_mutable<float>()[0] = -1;  // copied already
    expect_refused(t);
    uploader.wait();
    EXPECT_EQ(t.values<float>(), values);
    EXPECT_EQ(freed(t), "");
  }
  EXPECT_EQ(uploader.start(Tensor::zeros({0, 3}, DType::i64, Device::cpu())).shape(),
            (Shape{0, 3}));
  test::expect_error([&] { uploader.start(made()); }, {"contiguous tensor on cpu"},
                     ErrorKind::invalid_argument);
}

INSTANTIATE_TEST_SUITE_P(Devices, StreamOrder, test::queueing_devices(), test::device_name);

}  // namespace
}  // namespace tessera
