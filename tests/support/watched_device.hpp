#pragma once

#include <gtest/gtest.h>

#include <string>

#include "tessera/runtime/device.hpp"
#include "tessera/runtime/storage.hpp"

/// Tests that run for each device that queues work, with its streams watched (`check_streams`); of
/// a device that is absent they are skipped with the reason.
///
///     class Uploads : public test::WatchedDevice {};
///     INSTANTIATE_TEST_SUITE_P(Devices, Uploads, test::queueing_devices(), test::device_name);
namespace tessera::test {

class WatchedDevice : public testing::TestWithParam<Device> {
 protected:
  void SetUp() override {
    std::string reason;
    if (!available(GetParam(), &reason)) GTEST_SKIP() << reason;
    check_streams(true);
  }
  void TearDown() override {
#if defined(NDEBUG)
    check_streams(false);
#endif
  }
  static Device device() { return GetParam(); }
};

inline auto queueing_devices() { return testing::Values(Device::cuda(), Device::simt()); }

inline std::string device_name(const testing::TestParamInfo<Device>& info) {
  std::string name = to_string(info.param);
  for (char& c : name)
    if (c == ':') c = '_';
  return name;
}

}  // namespace tessera::test
