#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <span>
#include <string>
#include <vector>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/runtime/driver.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/tensor.hpp"
#include "tessera/tests/support/values.hpp"

/// Tests that run for each device and dtype.
///
///     class Add : public test::TargetTest {};
///     TEST_P(Add, ...) { kernels::binary(stream(), ..., on_device(x).view(), ...); }
///     INSTANTIATE_TEST_SUITE_P(Targets, Add,
///                              test::targets(test::float_dtypes, &Backend::elementwise),
///                              test::target_name);
namespace tessera::test {

struct Target {
  Device device;
  DType dtype;
};

inline std::string target_name(const testing::TestParamInfo<Target>& info) {
  std::string name = to_string(info.param.device) + "_" + std::string(to_string(info.param.dtype));
  for (char& c : name)
    if (c == ':') c = '_';
  return name;
}
inline void PrintTo(const Target& t, std::ostream* out) {
  *out << to_string(t.device) << " " << to_string(t.dtype);
}

/// Every dtype on every device that has the family of kernels; one target for a device that is
/// absent, whose tests are then skipped.
template <class Table>
auto targets(std::span<const DType> dtypes, const Table* kernels::Backend::*family) {
  std::vector<Target> list;
  for (Device device : {Device::cpu(), Device::cuda(), Device::simt()}) {
    if (available(device) && !(kernels::backend(device).*family)) continue;
    for (DType dtype : available(device) ? dtypes : dtypes.first(1))
      list.push_back({device, dtype});
  }
  return testing::ValuesIn(list);
}

/// For tests that choose their dtypes themselves.
inline constexpr DType any_dtype[] = {DType::f32};
inline constexpr DType all_dtypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16, DType::i64,
                                       DType::i32, DType::i8,  DType::u8,  DType::bool_};
/// And those that are only moved and converted.
inline constexpr DType stored_dtypes[] = {DType::f32,   DType::f64, DType::f16, DType::bf16,
                                          DType::i64,   DType::i32, DType::i8,  DType::u8,
                                          DType::bool_, DType::i16, DType::u16};

class TargetTest : public testing::TestWithParam<Target> {
 protected:
  void SetUp() override {
    std::string reason;
    if (!available(device(), &reason)) GTEST_SKIP() << to_string(device()) << ": " << reason;
  }
  static Device device() { return GetParam().device; }
  static DType dtype() { return GetParam().dtype; }
  static Stream& stream() { return current_stream(device()); }
  static Tensor on_device(const Tensor& t) { return t.to(device()); }
  static Tensor empty(const Shape& shape, DType dtype) {
    return Tensor::empty(shape, dtype, device());
  }
  static Tensor empty(const Shape& shape) { return empty(shape, dtype()); }
  /// A number of elements beyond which kernels work otherwise; the interpreter, which takes long
  /// and changes nothing there, gets a part of them.
  static int64_t large(int64_t n) { return device().type == Device::Type::simt ? n / 16 : n; }
};

/// The CPU kernels of every instruction set level that this build and processor have.
inline std::vector<const kernels::Backend*> cpu_backends() {
  std::vector<const kernels::Backend*> list{&kernels::cpu::cpu_backend};
  std::string reason;
#if defined(__x86_64__)
  if (__builtin_cpu_supports("x86-64-v3"))
    if (const Module* m = load_module("tessera_cpu_x86-64-v3", reason)) list.push_back(m->backend);
  if (__builtin_cpu_supports("x86-64-v4"))
    if (const Module* m = load_module("tessera_cpu_x86-64-v4", reason)) list.push_back(m->backend);
#endif
  return list;
}

inline auto cpu_levels() { return testing::ValuesIn(cpu_backends()); }
inline std::string level_name(const testing::TestParamInfo<const kernels::Backend*>& info) {
  std::string name(info.param->name);
  for (char& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}

}  // namespace tessera::test
