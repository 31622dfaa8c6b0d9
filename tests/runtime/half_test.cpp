#include "tessera/runtime/half.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

namespace tessera {
namespace {

// A format by its numbers: the value of a bit pattern, written with ldexp alone.
struct Format {
  int mantissa_bits, bias, largest_exponent;
};
constexpr Format f16_format{10, 15, 31}, bf16_format{7, 127, 255};

double value_of(uint16_t bits, const Format& f) {
  const int exponent = bits >> f.mantissa_bits & f.largest_exponent;
  const int mantissa = bits & ((1 << f.mantissa_bits) - 1);
  double magnitude;
  if (exponent == f.largest_exponent)
    magnitude = mantissa ? std::numeric_limits<double>::quiet_NaN()
                         : std::numeric_limits<double>::infinity();
  else if (exponent == 0)
    magnitude = std::ldexp(mantissa, 1 - f.bias - f.mantissa_bits);
  else
    magnitude = std::ldexp((1 << f.mantissa_bits) + mantissa, exponent - f.bias - f.mantissa_bits);
  return bits & 0x8000 ? -magnitude : magnitude;
}

// The nearest value of the format by search through all of them, ties to the even pattern; overflow
// where the next power of two would be nearest.
class Reference {
 public:
  explicit Reference(const Format& format) : format_(format) {
    const int infinity = format.largest_exponent << format.mantissa_bits;
    for (int bits = 0; bits < infinity; ++bits)
      values_.push_back(value_of(static_cast<uint16_t>(bits), format));
    values_.push_back(
        std::ldexp(1.0, format.largest_exponent - format.bias));  // stands for infinity
  }
  uint16_t nearest(float x) const {
    const uint16_t sign = std::signbit(x) ? 0x8000 : 0;
    const double magnitude = std::abs(static_cast<double>(x));
    if (magnitude >= values_.back()) return static_cast<uint16_t>(sign | (values_.size() - 1));
    const auto above = std::upper_bound(values_.begin(), values_.end(), magnitude);
    const auto high = static_cast<size_t>(above - values_.begin()), low = high - 1;
    const double down = magnitude - values_[low], up = values_[high] - magnitude;
    const size_t chosen = down < up || (down == up && low % 2 == 0) ? low : high;
    return static_cast<uint16_t>(sign | chosen);
  }

 private:
  Format format_;
  std::vector<double> values_;
};

template <class T>
void expect_all_patterns_round_trip(const Format& format) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto pattern = static_cast<uint16_t>(bits);
    const float x = T::from_bits(pattern);
    const double expected = value_of(pattern, format);
    if (std::isnan(expected)) {
      EXPECT_TRUE(std::isnan(x)) << bits;
      EXPECT_TRUE(std::isnan(static_cast<float>(T(x)))) << bits;
      EXPECT_EQ(std::signbit(x), pattern >= 0x8000) << bits;
      continue;
    }
    ASSERT_EQ(static_cast<double>(x), expected) << bits;
    ASSERT_EQ(std::signbit(x), pattern >= 0x8000) << bits;
    ASSERT_EQ(T(x).bits, pattern) << bits;
  }
}

TEST(Half, Every16BitPatternRoundTrips) {
  expect_all_patterns_round_trip<f16>(f16_format);
  expect_all_patterns_round_trip<bf16>(bf16_format);
}

template <class T>
void expect_nearest(const Reference& reference, float x) {
  ASSERT_EQ(T(x).bits, reference.nearest(x)) << std::hexfloat << x;
}

template <class T>
void expect_correct_rounding(const Format& format) {
  const Reference reference(format);
  // Every value of the format, every midpoint between neighbours (the ties, subnormal ones among
  // them), and the floats next to both.
  const int infinity = format.largest_exponent << format.mantissa_bits;
  for (int bits = 0; bits < infinity; ++bits) {
    const double low = value_of(static_cast<uint16_t>(bits), format);
    const double high = bits + 1 < infinity
                            ? value_of(static_cast<uint16_t>(bits + 1), format)
                            : std::ldexp(1.0, format.largest_exponent - format.bias);
    for (const double exact : {low, (low + high) / 2}) {
      const auto x = static_cast<float>(exact);
      for (const float near : {x, std::nextafter(x, INFINITY), std::nextafter(x, 0.0f)})
        for (const float signed_value : {near, -near}) expect_nearest<T>(reference, signed_value);
    }
  }
  // Floats all over, by a full-period step through the bit patterns.
  uint32_t pattern = 0;
  for (int i = 0; i < 2'000'000; ++i) {
    pattern += 0x9E3779B1u;
    const auto x = std::bit_cast<float>(pattern);
    if (!std::isnan(x)) expect_nearest<T>(reference, x);
  }
}

TEST(Half, RoundsToTheNearestAndTiesToEven) {
  expect_correct_rounding<f16>(f16_format);
  expect_correct_rounding<bf16>(bf16_format);
}

TEST(Half, NamedCases) {
  EXPECT_EQ(f16(65504.0f).bits, 0x7BFF);
  EXPECT_EQ(f16(65519.996f).bits, 0x7BFF);
  EXPECT_EQ(f16(65520.0f).bits, 0x7C00) << "the tie above the largest number goes to infinity";
  EXPECT_EQ(f16(0x1p-24f).bits, 1);
  EXPECT_EQ(f16(0x1p-25f).bits, 0) << "a tie, to even";
  EXPECT_EQ(f16(0x1.8p-24f).bits, 2) << "a tie, to even";
  EXPECT_EQ(f16(-0.0f).bits, 0x8000);
  EXPECT_EQ(f16(INFINITY).bits, 0x7C00);
  EXPECT_EQ(bf16(std::numeric_limits<float>::max()).bits, 0x7F80);
  EXPECT_EQ(bf16(-INFINITY).bits, 0xFF80);
}

TEST(Half, NaNStaysNaN) {
  for (const uint32_t payload : {0x7F800001u, 0x7FC00000u, 0x7FFFFFFFu, 0x7F801FFFu, 0x7F80FFFFu}) {
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const auto x = std::bit_cast<float>(payload | sign);
      EXPECT_TRUE(std::isnan(static_cast<float>(f16(x)))) << payload;
      EXPECT_TRUE(std::isnan(static_cast<float>(bf16(x)))) << payload;
      EXPECT_EQ(f16(x).bits >> 15, sign >> 31);
      EXPECT_EQ(bf16(x).bits >> 15, sign >> 31);
    }
  }
}

}  // namespace
}  // namespace tessera
