// What is said of failures of the CUDA runtime, which need no GPU to be reported. Statuses are
// handed in; where there is no driver, calls fail by themselves.
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tessera/runtime/cuda/check.hpp"
#include "tessera/runtime/device.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera::cuda {
namespace {

template <class Call>
Error error_of(Call&& call) {
  try {
    call();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "no error";
  return Error(ErrorKind::io, "none");
}
void expect_parts(const Error& error, ErrorKind kind, std::initializer_list<const char*> parts) {
  EXPECT_EQ(error.kind(), kind) << error.what();
  const std::string message = error.what();
  for (const char* part : parts)
    EXPECT_NE(message.find(part), message.npos) << "'" << part << "' in: " << message;
}
bool without_gpu() { return !available(Device::cuda(0)); }

const KernelLaunch sizes{.name = "some kernel",
                         .grid = {5, 6, 7},
                         .block = {128, 1, 2},
                         .cluster = {2, 1, 1},
                         .shared_bytes = 300000,
                         .cooperative = false};

TEST(CudaFailures, NameDeviceCallAndReason) {
  expect_parts(error_of([] { check(cudaErrorInvalidValue, "cudaSomething"); }), ErrorKind::device,
               {"cuda:0", "cudaSomething", "cudaErrorInvalidValue"});
  expect_parts(error_of([] { fail(cudaErrorMemoryAllocation, "cannot pin 77 bytes", "; a hint"); }),
               ErrorKind::out_of_memory, {"cuda:0", "cannot pin 77 bytes", "; a hint"});
}

TEST(CudaFailures, ALaunchNamesKernelAndSizes) {
  if (!without_gpu()) GTEST_SKIP() << "launches without a driver";
  KernelLaunch launch = sizes;
  expect_parts(error_of([&] { launch_kernel(nullptr, launch, nullptr, nullptr); }),
               ErrorKind::device,
               {"cuda:0", "cannot launch some kernel", "grid (5, 6, 7)", "block (128, 1, 2)",
                "cluster (2, 1, 1)", "300000 bytes of shared memory"});
  EXPECT_EQ(last_kernel(), "");
}

TEST(CudaFailures, WithoutADriverTheCpuWorks) {
  if (!without_gpu()) GTEST_SKIP() << "there is a GPU";
  std::string reason;
  EXPECT_FALSE(available(Device::cuda(0), &reason));
  EXPECT_FALSE(reason.empty());
  expect_parts(error_of([] { Tensor::empty({3}, DType::f32, Device::cuda(0)); }),
               ErrorKind::unsupported, {"cuda:0", reason.c_str()});
  EXPECT_EQ(parse_device("auto"), Device::cpu());
  EXPECT_EQ(Tensor::zeros({3}, DType::f32, Device::cpu()).values<float>(), std::vector<float>(3));
}

// Last: it makes this process's device a lost one.
TEST(CudaFailuresAtLast, WhatFollowsALostDeviceTellsTheFirstFailure) {
  if (!without_gpu()) GTEST_SKIP() << "the GPU is not lost in truth";
  expect_parts(error_of([] { check(cudaErrorInvalidValue, "a harmless call"); }), ErrorKind::device,
               {"a harmless call"});
  expect_parts(error_of([] { check(cudaErrorIllegalAddress, "the first call"); }),
               ErrorKind::device,
               {"the first call", "cudaErrorIllegalAddress", "lost until the process ends"});
  const Error later = error_of([] { fail(cudaErrorIllegalAddress, "a later call", ""); });
  expect_parts(later, ErrorKind::device, {"cuda:0", "is lost", "since: the first call"});
  expect_parts(error_of([] { check(cudaErrorInvalidValue, "a harmless call"); }), ErrorKind::device,
               {"a harmless call", "cudaErrorInvalidValue"});
}

}  // namespace
}  // namespace tessera::cuda
