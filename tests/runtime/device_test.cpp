#include "tessera/runtime/device.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tessera/runtime/driver.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera {
namespace {

using test::expect_error;
constexpr ErrorKind invalid = ErrorKind::invalid_argument;

TEST(Device, TextForms) {
  EXPECT_EQ(parse_device("cpu"), Device::cpu());
  EXPECT_EQ(parse_device("cuda"), Device::cuda(0));
  EXPECT_EQ(parse_device("cuda:12"), Device::cuda(12));
  EXPECT_EQ(parse_device("simt"), Device::simt());
  for (const Device device : {Device::cpu(), Device::cuda(3), Device::simt()})
    EXPECT_EQ(parse_device(to_string(device)), device);
  for (const char* text :
       {"", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cuda:1x", "cuda:99999999999", "cpu:0 "})
    expect_error([&] { parse_device(text); }, {concat("'", text, "'"), "cuda:N"}, invalid);
}

TEST(Device, TheCpuIsThereAndDescribesItself) {
  EXPECT_TRUE(available(Device::cpu()));
  const DeviceInfo info = describe(Device::cpu());
  EXPECT_FALSE(info.name.empty());
  EXPECT_GT(info.memory_bytes, 0);
  const auto devices = available_devices();
  EXPECT_EQ(devices.front(), Device::cpu());
  EXPECT_EQ(parse_device("auto"), available(Device::cuda(0)) ? Device::cuda(0) : Device::cpu());
}

TEST(Device, AMissingDeviceSaysWhy) {
  for (const Device device :
       {Device::cuda(1000), Device{Device::Type::simt, 1000}, Device{Device::Type::cpu, 1}}) {
    std::string reason;
    EXPECT_FALSE(available(device, &reason));
    EXPECT_FALSE(available(device));
    EXPECT_FALSE(reason.empty()) << to_string(device);
  }
  if (!available(Device::simt()))
    expect_error([] { driver(Device::Type::simt); }, {"simt", "not available"},
                 ErrorKind::unsupported);
}

// Tests of a device that is not available are skipped; this one fails where its module is built.
#if defined(TESSERA_HAVE_SIMT)
TEST(Device, TheInterpreterLoads) {
  std::string reason;
  EXPECT_TRUE(available(Device::simt(), &reason)) << reason;
  EXPECT_NE(load_module("tessera_simt", reason), nullptr) << reason;
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_NE(load_module("tessera_simt_checked", reason), nullptr) << reason;
#endif
}
#endif

// What a kernel does not write, or reads before it was written, is seen.
TEST(Device, MemoryOfTheInterpreterBeginsAsNaN) {
  if (!available(Device::simt())) GTEST_SKIP() << "no interpreter";
  Driver& simt = driver(Device::Type::simt);
  for (int round = 0; round < 2; ++round) {  // the second time, memory that was in use
    auto* const values = static_cast<float*>(simt.allocate(64 * sizeof(float), 0, nullptr));
    for (int i = 0; i < 64; ++i) {
      EXPECT_TRUE(std::isnan(values[i])) << i;
      values[i] = 1;
    }
    simt.deallocate(values, 64 * sizeof(float), 0, nullptr);
  }
}

TEST(Device, MissingModulesKeepTheirReason) {
  for (int i = 0; i < 2; ++i) {
    std::string reason;
    EXPECT_EQ(load_module("tessera_nonesuch", reason), nullptr);
    EXPECT_NE(reason.find("libtessera_nonesuch.so"), std::string::npos) << reason;
  }
}

}  // namespace
}  // namespace tessera
