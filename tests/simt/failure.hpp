#pragma once

#include <gtest/gtest.h>

#include <initializer_list>
#include <string>
#include <vector>

#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/runtime/error.hpp"

/// What the interpreter says of kernels that are wrong.
namespace tessera::kernels::cuda {

inline Stream& stream() { return current_stream(Device::cpu()); }

/// The Error's message, or "" where the kernel runs through.
template <class... P, class... A>
std::string failure(const LaunchShape& shape, void (*kernel)(P...), A... arguments) {
  try {
    launch(stream(), shape, kernel, arguments...);
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::device);
    return error.what();
  }
  return "";
}

inline void expect_contains(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) EXPECT_NE(text.find(part), text.npos) << part << " in: " << text;
}

}  // namespace tessera::kernels::cuda
