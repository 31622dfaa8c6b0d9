#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <string>
#include <vector>

#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/runtime/driver.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/runtime/tensor.hpp"

/// Tests of single instructions: what a wrapper of kernels/cuda/ptx*.cuh does, against what the PTX
/// ISA says, computed in plain C++ without the interpreter's code. The same files are compiled for
/// the interpreter and for a GPU.
namespace tessera::conformance {

using namespace kernels::cuda;

/// An array in the device's memory.
template <class T>
class Buffer {
 public:
  explicit Buffer(const std::vector<T>& values) : count_(values.size()) {
    data_ = static_cast<T*>(module_driver().allocate(bytes(), 0, nullptr));
    module_driver().copy_from_host(data_, values.data(), count_ * sizeof(T), nullptr);
  }
  explicit Buffer(size_t count, T fill = T{}) : Buffer(std::vector<T>(count, fill)) {}
  ~Buffer() { module_driver().deallocate(data_, bytes(), 0, nullptr); }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;

  T* data() const { return data_; }
  size_t size() const { return count_; }
  std::vector<T> values() const {
    std::vector<T> out(count_);
    module_driver().copy_to_host(out.data(), data_, count_ * sizeof(T), nullptr);
    module_driver().synchronize(nullptr);
    return out;
  }

 private:
  size_t bytes() const { return (count_ > 0 ? count_ : 1) * sizeof(T); }
  size_t count_;
  T* data_;
};

inline Stream& stream() { return current_stream(Device::cpu()); }

/// What differs between the interpreter (on_simt.cpp) and a GPU (cuda/on_cuda.cpp): the number of
/// schedules to run under, one of them chosen by its index, and whether results are to be recorded.
int schedule_count();
std::string use_schedule(int index);
bool records();

/// Calls body() under each schedule.
template <class Body>
void for_schedules(Body&& body) {
  for (int i = 0; i < schedule_count(); ++i) {
    SCOPED_TRACE(use_schedule(i));
    body();
  }
  (void)use_schedule(0);
}

/// Pseudo-random bits, the same on every machine.
class Bits {
 public:
  explicit Bits(uint64_t seed) : state_(seed * 0x9e3779b97f4a7c15u + 0x632be59bd9b4e019u) {}
  uint32_t operator()() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<uint32_t>(state_ >> 32);
  }
  uint32_t below(uint32_t bound) {
    return static_cast<uint32_t>((uint64_t{(*this)()} * bound) >> 32);
  }

 private:
  uint64_t state_;
};

/// A binary floating-point format by its definition: sign, exponent, fraction.
struct Format {
  int exponent_bits, fraction_bits;

  int bias() const { return (1 << (exponent_bits - 1)) - 1; }
  uint32_t sign_bit() const { return 1u << (exponent_bits + fraction_bits); }
  uint32_t infinity() const { return ((1u << exponent_bits) - 1) << fraction_bits; }
  uint32_t largest() const { return infinity() - 1; }
  uint32_t one() const { return static_cast<uint32_t>(bias()) << fraction_bits; }

  double value(uint32_t bits) const {
    const auto fraction = static_cast<double>(bits & ((1u << fraction_bits) - 1));
    const int exponent = static_cast<int>(bits >> fraction_bits & ((1u << exponent_bits) - 1));
    const double sign = bits & sign_bit() ? -1 : 1;
    if (exponent == (1 << exponent_bits) - 1) return fraction != 0 ? NAN : sign * INFINITY;
    if (exponent == 0) return sign * std::ldexp(fraction, 1 - bias() - fraction_bits);
    return sign * std::ldexp(1 + std::ldexp(fraction, -fraction_bits), exponent - bias());
  }
};
inline constexpr Format half_format{5, 10}, bfloat_format{8, 7}, single_format{8, 23};

/// What operands are drawn from.
enum class Draw {
  integers,   // small ones: sums are exact in any order
  reals,      // of a few binades, both signs
  subnormal,  // below the smallest normal number
  special,    // NaN, infinities, zeros, largest numbers, one at a time among zeros
};
inline constexpr Draw draws[] = {Draw::integers, Draw::reals, Draw::subnormal, Draw::special};

/// `count` numbers of a format whose bits lie at `shift` of a T.
template <class T>
std::vector<T> draw(const Format& f, Draw kind, size_t count, uint64_t seed, int shift = 0) {
  Bits next(seed * 4 + static_cast<uint64_t>(kind));
  std::vector<T> out(count);
  for (T& x : out) {
    uint32_t bits = 0;
    const uint32_t sign = next() & 1 ? f.sign_bit() : 0;
    switch (kind) {
      case Draw::integers: {
        const uint32_t n = next.below(4);  // 0, 1, 2, 3
        const uint32_t table[] = {0, f.one(), f.one() + (1u << f.fraction_bits),
                                  f.one() + (3u << (f.fraction_bits - 1))};
        bits = table[n] | (n ? sign : 0);
        break;
      }
      case Draw::reals:
        bits = sign | (f.one() - (2u << f.fraction_bits) + next.below(4u << f.fraction_bits));
        break;
      case Draw::subnormal:
        bits = sign | next.below(1u << f.fraction_bits);
        break;
      case Draw::special: {
        const uint32_t table[] = {f.infinity() + 1, f.infinity(), f.largest(), f.one(), 1u};
        bits = next.below(12) == 0 ? sign | table[next.below(5)] : 0;
        break;
      }
    }
    x = static_cast<T>(bits) << shift;
  }
  return out;
}

/// A sum of products with the size of its terms: what a float sum in any order must come near to.
struct Sum {
  double value = 0, size = 0;
  int terms = 0;

  void add(double x) {
    value += x;
    size += std::abs(x);
    ++terms;
  }
  void add(double x, double y) { add(x * y); }
};

/// A sum that tensor cores made: terms added in any order, each addition rounded or truncated to
/// float. Infinite and NaN where the exact sum is.
inline void expect_sum(float got, const Sum& wanted, const std::string& what) {
  if (std::isnan(wanted.value)) {
    EXPECT_TRUE(std::isnan(got)) << what << ": " << got << ", NaN expected";
  } else if (std::isinf(wanted.value) || std::abs(wanted.value) > 0x1.fffffep127) {
    EXPECT_TRUE(std::isinf(got) && std::signbit(got) == std::signbit(wanted.value))
        << what << ": " << got << ", " << wanted.value << " expected";
  } else {
    const double allowed = wanted.size * wanted.terms * 0x1p-23 + 0x1p-149;
    EXPECT_NEAR(got, wanted.value, allowed) << what;
  }
}

/// Compares with what a GPU gave for the same inputs, if that has been recorded under
/// tests/conformance/recorded; a GPU build records it when TESSERA_RECORD=1 is set. `near` is how
/// two elements compare: equal bits where null.
template <class T>
void check_recorded(const std::string& name, const std::vector<T>& got,
                    bool (*near)(T, T) = nullptr) {
  const std::string path = TESSERA_SOURCE_DIR "/tests/conformance/recorded/" + name + ".npy";
  const auto bytes = static_cast<int64_t>(got.size() * sizeof(T));
  if (records()) {
    const Tensor out = Tensor::empty({bytes}, DType::u8, Device::cpu());
    std::memcpy(out.data(), got.data(), static_cast<size_t>(bytes));
    std::filesystem::create_directories(std::filesystem::path(path).parent_path());
    save_npy(path, out);
    return;
  }
  if (!std::filesystem::exists(path)) return;
  const Tensor recorded = load_npy(path);
  ASSERT_EQ(recorded.numel(), bytes) << path;
  std::vector<T> wanted(got.size());
  std::memcpy(wanted.data(), recorded.data(), static_cast<size_t>(bytes));
  for (size_t i = 0; i < got.size(); ++i)
    if (std::memcmp(&got[i], &wanted[i], sizeof(T)) != 0 && !(near && near(got[i], wanted[i]))) {
      ADD_FAILURE() << "element " << i << " is not what a GPU recorded in " << path;
      return;
    }
}

}  // namespace tessera::conformance
