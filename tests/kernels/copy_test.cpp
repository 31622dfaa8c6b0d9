#include "tessera/kernels/copy.hpp"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/layouts.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::expect_close;
using test::from_doubles;
using test::infinity;
using test::to_doubles;

class Copy : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, Copy, test::targets(test::stored_dtypes, &Backend::copy),
                         test::target_name);

TEST_P(Copy, BetweenAnyStridesAndDtypes) {
  test::Numbers next(41);
  for (int round = 0; round < 40; ++round)
    for (DType to : test::stored_dtypes) {
      const Shape shape = test::random_shape(next);
      const test::Layout x = test::random_layout(shape, dtype(), device(), next, true, 1),
                         y = test::random_layout(shape, to, device(), next, false, 1);
      std::vector<double> wanted = to_doubles(x.view), around = test::outside(y);
      for (double& v : wanted) {
        if (to == DType::bool_) v = v != 0;
        if (to == DType::u8 && v < 0) v = is_float(dtype()) ? 0 : 255;  // saturates; low bits
        if (to == DType::u16 && v < 0) v = is_float(dtype()) ? 0 : 65536 + v;
      }
      copy(stream(), x.view.view(), y.view.view());
      expect_close(y.view, wanted, test::Tolerance{},
                   concat("round ", round, " from ", dtype(), " shape ", shape));
      EXPECT_EQ(test::outside(y), around);
    }
}

TEST_P(Copy, TransposesOfEverySize) {
  for (const auto& [m, n] :
       {std::pair<int64_t, int64_t>{1, 70}, {31, 33}, {64, 64}, {3, 2000}, {2000, 3}, {130, 257}}) {
    const Tensor x = on_device(test::integers({2, m, n}, dtype(), 42, 1)), y = empty({2, n, m});
    copy(stream(), x.permute({0, 2, 1}).view(), y.view());
    EXPECT_EQ(to_doubles(y), to_doubles(x.permute({0, 2, 1}))) << m << " " << n;
    const Tensor z = empty({n, 2, m});
    copy(stream(), x.permute({2, 0, 1}).view(), z.view());
    EXPECT_EQ(to_doubles(z), to_doubles(x.permute({2, 0, 1}))) << m << " " << n;
  }
}

TEST_P(Copy, LargeCopiesStartAnywhere) {
  const int64_t n = large(int64_t{17} << 20) / static_cast<int64_t>(size_of(dtype()));
  for (int64_t start : {0, 1, 5}) {
    const Tensor x = Tensor::zeros({n + 9}, dtype(), device()),
                 y = Tensor::zeros({n + 9}, dtype(), device());
    fill(stream(), 1, x.narrow(0, 2, n).view());
    copy(stream(), x.narrow(0, 2, n).view(), y.narrow(0, start, n).view());
    const Tensor sum = y.to(Device::cpu());
    for_any(dtype(), [&]<class T>() {
      const std::span<const T> h = sum.host<T>();
      int64_t wrong = 0;
      for (int64_t i = 0; i < n + 9; ++i)
        wrong += static_cast<double>(h[static_cast<size_t>(i)]) != (i >= start && i < start + n);
      EXPECT_EQ(wrong, 0) << start;
    });
  }
}

TEST_P(Copy, FillsAnyStrides) {
  test::Numbers next(43);
  for (int round = 0; round < 40; ++round) {
    const Shape shape = test::random_shape(next);
    const test::Layout y = test::random_layout(shape, dtype(), device(), next, false, 1);
    const std::vector<double> around = test::outside(y);
    fill(stream(), 1, y.view.view());
    EXPECT_EQ(to_doubles(y.view), std::vector<double>(static_cast<size_t>(shape.numel()), 1.0));
    EXPECT_EQ(test::outside(y), around);
  }
}

class Cast : public test::TargetTest {
 protected:
  static std::vector<double> converted(const std::vector<double>& values, DType from, DType to) {
    const int64_t n = static_cast<int64_t>(values.size());
    const Tensor x = on_device(from_doubles(values, {n}, from)), y = empty({n}, to);
    copy(stream(), x.view(), y.view());
    return to_doubles(y);
  }
};
INSTANTIATE_TEST_SUITE_P(Targets, Cast, test::targets(test::any_dtype, &Backend::copy),
                         test::target_name);

TEST_P(Cast, FloatingToIntegerTruncatesAndSaturates) {
  const std::vector<double> x = {1.9, -1.9, 300, -300, 1e30, -1e30, infinity, -infinity, NAN, 0.5};
  for (DType from : {DType::f32, DType::f64}) {
    EXPECT_EQ(converted(x, from, DType::i8),
              (std::vector<double>{1, -1, 127, -128, 127, -128, 127, -128, 0, 0}));
    EXPECT_EQ(converted(x, from, DType::u8),
              (std::vector<double>{1, 0, 255, 0, 255, 0, 255, 0, 0, 0}));
    constexpr double most32 = std::numeric_limits<int32_t>::max(),
                     least32 = std::numeric_limits<int32_t>::min();
    EXPECT_EQ(converted(x, from, DType::i32),
              (std::vector<double>{1, -1, 300, -300, most32, least32, most32, least32, 0, 0}));
    EXPECT_EQ(converted(x, from, DType::i64),
              (std::vector<double>{1, -1, 300, -300, 0x1p63, -0x1p63, 0x1p63, -0x1p63, 0, 0}));
    EXPECT_EQ(converted(x, from, DType::bool_),
              (std::vector<double>{1, 1, 1, 1, 1, 1, 1, 1, 1, 1}));
  }
  EXPECT_EQ(converted({258, -1, 3}, DType::i32, DType::u8), (std::vector<double>{2, 255, 3}));
}

// The half nearest to x, ties to even, by search among all halves.
double nearest_half(double x, DType dtype) {
  static const auto finite = [](DType half) {
    std::vector<std::pair<double, uint16_t>> list;
    for (uint32_t b = 0; b < 0x8000; ++b) {
      const auto bits = static_cast<uint16_t>(b);
      const double v = half == DType::f16 ? f16::from_bits(bits) : bf16::from_bits(bits);
      if (std::isfinite(v)) list.emplace_back(v, bits);
    }
    return list;
  };
  static const auto f16s = finite(DType::f16), bf16s = finite(DType::bf16);
  const auto& list = dtype == DType::f16 ? f16s : bf16s;
  const double magnitude = std::abs(x);
  auto above =
      std::lower_bound(list.begin(), list.end(), std::pair<double, uint16_t>{magnitude, 0});
  double result;
  if (above == list.end()) {
    const double last = list.back().first, step = last - list[list.size() - 2].first;
    result = magnitude < last + step / 2 ? last : infinity;
  } else if (above == list.begin() || above->first == magnitude) {
    result = above->first;
  } else {
    const auto below = above - 1;
    const double down = magnitude - below->first, up = above->first - magnitude;
    result = down < up || (down == up && below->second % 2 == 0) ? below->first : above->first;
  }
  return std::copysign(result, x);
}

TEST_P(Cast, ToHalfRoundsOnceToNearestEven) {
  for (DType to : {DType::f16, DType::bf16}) {
    std::vector<double> values = {0,         1,      infinity, 65504,  65519.99, 65520,
                                  3.3895e38, 3.4e38, 1e300,    1e-300, 0x1p-25,  0x1.8p-25};
    // just beside the middle between two halves, by less than a float can tell
    const double step = to == DType::f16 ? 0x1p-10 : 0x1p-7;
    for (double base : {1.0, 1.0 + step, 1000.0, 0x1p-14, 0x1p-15 * 1.5})
      for (double nudge : {0.0, 0x1p-45, -0x1p-45})
        values.push_back(std::ldexp(1, std::ilogb(base)) *
                         (base / std::ldexp(1, std::ilogb(base)) + step / 2 + nudge));
    test::Numbers next(44);
    for (int i = 0; i < 5000; ++i)
      values.push_back(std::ldexp(next() * 0x1p-31 - 1, static_cast<int>(next() % 60) - 40));
    const size_t count = values.size();
    for (size_t i = 0; i < count; ++i) values.push_back(-values[i]);

    std::vector<double> wanted;
    for (double v : values) wanted.push_back(nearest_half(v, to));
    EXPECT_EQ(converted(values, DType::f64, to), wanted) << to_string(to);

    std::vector<double> integers;
    for (int64_t v :
         {int64_t{0}, int64_t{-1}, int64_t{2049}, int64_t{65519}, int64_t{65520}, int64_t{257},
          (int64_t{1} << 24) + (int64_t{1} << 16) + 1, (int64_t{1} << 30) + (int64_t{1} << 22) + 1,
          (int64_t{1} << 30) + (int64_t{1} << 22)})
      integers.push_back(static_cast<double>(v));
    wanted.clear();
    for (double v : integers) wanted.push_back(nearest_half(v, to));
    EXPECT_EQ(converted(integers, DType::i32, to), wanted) << to_string(to);
    EXPECT_EQ(converted(integers, DType::i64, to), wanted) << to_string(to);
  }
  // 2^62 + 2^54 + 1 lies just above the middle of two bf16 and is no double
  const Tensor x = Tensor::from(
      {(int64_t{1} << 62) + (int64_t{1} << 54) + 1, -(int64_t{1} << 62) - (int64_t{1} << 54) - 1,
       (int64_t{1} << 62) + (int64_t{1} << 54)},
      {3}, Device::cpu());
  const Tensor y = empty({3}, DType::bf16);
  copy(stream(), on_device(x).view(), y.view());
  EXPECT_EQ(to_doubles(y), (std::vector<double>{0x1.02p62, -0x1.02p62, 0x1p62}));
}

TEST_P(Cast, RefusesOtherShapes) {
  EXPECT_THROW(copy(stream(), empty({2, 3}).view(), empty({3, 2}).view()), Error);
}

class CopyLevels : public testing::TestWithParam<const Backend*> {};
INSTANTIATE_TEST_SUITE_P(Levels, CopyLevels, test::cpu_levels(), test::level_name);

// The instructions of each level against runtime/half.hpp, NaN included.
TEST_P(CopyLevels, HalvesConvertToTheBit) {
  Stream& s = current_stream(Device::cpu());
  const auto check = [&]<class Half>() {
    constexpr int64_t n = 65536;
    std::vector<Half> halves(n);
    for (int64_t i = 0; i < n; ++i) halves[static_cast<size_t>(i)].bits = static_cast<uint16_t>(i);
    const Tensor x = Tensor::from(halves, {n}, Device::cpu()),
                 y = Tensor::empty({n}, DType::f32, Device::cpu());
    GetParam()->copy->copy(s, x.view(), y.view());
    int64_t wrong = 0;
    for (size_t i = 0; i < n; ++i)
      wrong += std::bit_cast<uint32_t>(y.host<float>()[i]) !=
               std::bit_cast<uint32_t>(static_cast<float>(halves[i]));
    EXPECT_EQ(wrong, 0);

    std::vector<float> floats;
    test::Numbers next(45);
    for (int i = 0; i < 200000; ++i) floats.push_back(std::bit_cast<float>(next()));
    for (uint32_t h = 0; h < 65536;
         ++h)  // every half, the middle to the next, and both sides of it
      for (uint32_t low : {0u, 0xfffu, 0x1000u, 0x1001u, 0x7fffu, 0x8000u, 0x8001u})
        floats.push_back(std::bit_cast<float>(
            std::bit_cast<uint32_t>(static_cast<float>(Half::from_bits(static_cast<uint16_t>(h)))) +
            low));
    const auto m = static_cast<int64_t>(floats.size());
    const Tensor f = Tensor::from(floats, {m}, Device::cpu()),
                 h = Tensor::empty({m}, dtype_of<Half>, Device::cpu());
    GetParam()->copy->copy(s, f.view(), h.view());
    for (size_t i = 0; i < floats.size(); ++i)
      wrong += h.host<Half>()[i].bits != Half(floats[i]).bits;
    EXPECT_EQ(wrong, 0);
  };
  check.operator()<f16>();
  check.operator()<bf16>();
}

}  // namespace
}  // namespace tessera::kernels
