#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <initializer_list>
#include <string>

#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/simt/trace.hpp"

/// Memory and launches for tests of the traced interpreter.
namespace tessera::kernels::cuda {

/// Device memory as the driver of the device simt would hand it out.
template <class T>
class Array {
 public:
  explicit Array(size_t count, T value = {}) : values_(new T[count]) {
    std::fill_n(values_, count, value);
    simt::add_device_memory(values_, count * sizeof(T));
  }
  ~Array() {
    simt::remove_device_memory(values_);
    delete[] values_;
  }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* data() const { return values_; }
  T operator[](size_t i) const { return values_[i]; }

 private:
  T* values_;
};

/// The Error's message, or "" where the kernel runs through, for several schedules.
template <class... P, class... A>
std::string failure(const LaunchShape& shape, void (*kernel)(P...), A... arguments) {
  std::string message;
  for (const uint64_t seed : {0, 1, 2}) {
    simt::set_schedule({.seed = seed});
    try {
      launch(current_stream(Device::cpu()), shape, kernel, arguments...);
    } catch (const Error& error) {
      message = error.what();
    }
  }
  simt::set_schedule({});
  return message;
}
inline void expect_contains(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts)
    EXPECT_NE(text.find(part), text.npos) << "'" << part << "' in: " << text;
}

}  // namespace tessera::kernels::cuda
