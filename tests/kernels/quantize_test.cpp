#include "tessera/kernels/quantize.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera {
namespace {

using kernels::CodeRange;
constexpr DType float_types[] = {DType::f32, DType::f64, DType::f16, DType::bf16};

class Quantize : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, Quantize, test::targets(float_types, &kernels::Backend::quantize),
                         test::target_name);

// Which entry of a scale of shape `cuts` serves element `i` of `shape`.
size_t entry_of(int64_t i, const Shape& shape, const Shape& cuts) {
  int64_t entry = 0, scale_step = 1;
  for (int d = shape.rank() - 1; d >= 0; --d) {
    entry += i % shape[d] / (shape[d] / cuts[d]) * scale_step;
    scale_step *= cuts[d];
    i /= shape[d];
  }
  return static_cast<size_t>(entry);
}

struct Case {
  Shape shape, cuts;
};
const Case cases[] = {
    {{7, 33}, {1, 1}},  {{7, 33}, {7, 1}}, {{7, 33}, {1, 33}},      {{5, 96}, {5, 3}},
    {{5, 96}, {5, 12}}, {{5, 96}, {1, 6}}, {{3, 4, 17}, {3, 4, 1}}, {{3, 4, 16}, {1, 2, 4}},
    {{6, 10}, {3, 5}},  {{0, 8}, {1, 1}},  {{64, 1000}, {1, 1}},    {{2, 3, 2, 8}, {2, 1, 2, 1}}};

// scale and zero that make some codes clamp.
std::pair<Tensor, Tensor> grid(const Shape& cuts, uint64_t seed) {
  std::vector<double> s = test::to_doubles(test::uniform(cuts, DType::f32, seed)), z = s;
  for (double& v : s) v = static_cast<float>(0.02 + 0.02 * std::abs(v));
  for (double& v : z) v = std::nearbyint(v * 10);
  return {test::from_doubles(s, cuts, DType::f32), test::from_doubles(z, cuts, DType::f32)};
}

TEST_P(Quantize, EqualsTheFormula) {
  for (const Case& c : cases) {
    for (const bool with_zero : {false, true}) {
      for (const CodeRange range :
           {CodeRange{-8, 7}, CodeRange{-128, 127}, CodeRange{0, 15}, CodeRange{-1, 1}}) {
        const Tensor x = test::uniform(c.shape, dtype(), 3);
        const auto [scale, zero] = grid(c.cuts, 4);
        const Tensor z = with_zero ? on_device(zero) : Tensor();
        const DType code_type = range.lowest < 0 ? DType::i8 : DType::u8;
        const Tensor code = empty(c.shape, code_type), back = empty(c.shape), y = empty(c.shape),
                     slope = empty(c.shape), inside = empty(c.shape, DType::bool_);
        const View zv = with_zero ? z.view() : View();
        kernels::quantize(stream(), on_device(x).view(), on_device(scale).view(), zv, code.view(),
                          range);
        kernels::dequantize(stream(), code.view(), on_device(scale).view(), zv, back.view());
        kernels::fake_quantize(stream(), on_device(x).view(), on_device(scale).view(), zv, y.view(),
                               inside.view(), slope.view(), range);

        const auto xs = test::to_doubles(x), ss = test::to_doubles(scale),
                   zs = test::to_doubles(zero);
        std::vector<double> codes, values, masks, slopes;
        for (size_t i = 0; i < xs.size(); ++i) {
          const size_t e = entry_of(static_cast<int64_t>(i), c.shape, c.cuts);
          const double zero_at = with_zero ? zs[e] : 0;
          // division in the compute type, as the contract says
          const double ratio =
              dtype() == DType::f64
                  ? xs[i] / ss[e]
                  : static_cast<double>(static_cast<float>(xs[i]) / static_cast<float>(ss[e]));
          const double free = std::nearbyint(ratio) + zero_at;
          const double clamped = std::clamp<double>(free, range.lowest, range.highest);
          codes.push_back(clamped);
          values.push_back((clamped - zero_at) * ss[e]);
          masks.push_back(free == clamped);
          slopes.push_back(clamped - zero_at - (free == clamped ? ratio : 0));
        }
        const std::string what =
            concat("shape ", c.shape, " cuts ", c.cuts, " range ", range.lowest);
        test::expect_close(code, codes, what);
        test::expect_close(inside, masks, what);
        test::expect_close(y, values, what);
        test::expect_close(back, values, what);
        test::expect_close(slope, slopes, test::tolerance(dtype()).times(300), what);
        EXPECT_EQ(test::to_doubles(y), test::to_doubles(back)) << what;  // bit for bit
      }
    }
  }
}

TEST_P(Quantize, HalvesRoundToEvenAndNanIsZero) {
  const double nan = std::numeric_limits<double>::quiet_NaN(),
               inf = std::numeric_limits<double>::infinity();
  const Tensor x = test::from_doubles({0.5, 1.5, 2.5, -0.5, -1.5, nan, inf, -inf}, {8}, dtype());
  const Tensor scale = test::from_doubles({1}, {1}, DType::f32),
               zero = test::from_doubles({3}, {1}, DType::f32);
  const Tensor code = empty({8}, DType::i8);
  kernels::quantize(stream(), on_device(x).view(), on_device(scale).view(), {}, code.view(),
                    {-100, 100});
  EXPECT_EQ(test::to_doubles(code), (std::vector<double>{0, 2, 2, 0, -2, 0, 100, -100}));
  kernels::quantize(stream(), on_device(x).view(), on_device(scale).view(), on_device(zero).view(),
                    code.view(), {-100, 100});
  EXPECT_EQ(test::to_doubles(code)[5], 3);
}

TEST_P(Quantize, RangesAndQuantiles) {
  for (const Case& c : cases) {
    if (c.shape.numel() == 0) continue;
    const Tensor x = test::uniform(c.shape, dtype(), 8);
    const Tensor low = empty(c.cuts, DType::f32), high = empty(c.cuts, DType::f32);
    const Tensor q_low = empty(c.cuts, DType::f32), q_high = empty(c.cuts, DType::f32);
    kernels::quantize_range(stream(), on_device(x).view(), low.view(), high.view());
    kernels::quantile_range(stream(), on_device(x).view(), 0.9, q_low.view(), q_high.view());

    std::vector<std::vector<double>> members(static_cast<size_t>(c.cuts.numel()));
    const auto xs = test::to_doubles(x);
    for (size_t i = 0; i < xs.size(); ++i)
      members[entry_of(static_cast<int64_t>(i), c.shape, c.cuts)].push_back(xs[i]);
    std::vector<double> lows, highs, q_lows, q_highs;
    for (auto& m : members) {
      std::sort(m.begin(), m.end());
      const auto at = [&](double q) {
        const double p = q * static_cast<double>(m.size() - 1);
        const auto k = static_cast<size_t>(p);
        return k + 1 < m.size() ? m[k] + (p - static_cast<double>(k)) * (m[k + 1] - m[k]) : m[k];
      };
      lows.push_back(m.front());
      highs.push_back(m.back());
      q_lows.push_back(at(1 - 0.9));
      q_highs.push_back(at(0.9));
    }
    const test::Tolerance f32 = test::tolerance(DType::f32);
    test::expect_close(low, lows, f32, "low");
    test::expect_close(high, highs, f32, "high");
    test::expect_close(q_low, q_lows, f32, "lower quantile");
    test::expect_close(q_high, q_highs, f32, "upper quantile");
  }
}

TEST_P(Quantize, NanWinsInRanges) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const int64_t at : {0, 17, 99}) {
    std::vector<double> values(100, 1.0);
    values[static_cast<size_t>(at)] = nan;
    const Tensor x = test::from_doubles(values, {1, 100}, dtype());
    const Tensor low = empty({1, 1}, DType::f32), high = empty({1, 1}, DType::f32);
    kernels::quantize_range(stream(), on_device(x).view(), low.view(), high.view());
    EXPECT_TRUE(std::isnan(test::to_doubles(low)[0])) << at;
    EXPECT_TRUE(std::isnan(test::to_doubles(high)[0])) << at;
  }
}

class QuantizeDevice : public test::TargetTest {};  // what is not a matter of x's dtype
INSTANTIATE_TEST_SUITE_P(Targets, QuantizeDevice,
                         test::targets(test::any_dtype, &kernels::Backend::quantize),
                         test::target_name);

TEST_P(QuantizeDevice, FitRangeCoversTheRangeAndZeroExactly) {
  const Tensor low = on_device(test::from_doubles({-1, 0.5, -3, 0, -2}, {5}, DType::f32));
  const Tensor high = on_device(test::from_doubles({2, 4, -1, 0, 2}, {5}, DType::f32));
  const Tensor scale = empty({5}, DType::f32), zero = empty({5}, DType::f32);
  kernels::fit_range(stream(), low.view(), high.view(), scale.view(), zero.view(), {0, 255});
  for (size_t i = 0; i < 5; ++i) {
    const double sc = test::to_doubles(scale)[i], z = test::to_doubles(zero)[i];
    EXPECT_EQ(z, std::nearbyint(z));
    EXPECT_GE(z, 0);
    EXPECT_LE(z, 255);
    EXPECT_LE((0 - z) * sc, std::min(0.0, test::to_doubles(low)[i]) + 0.51 * sc);
    EXPECT_GE((255 - z) * sc, std::max(0.0, test::to_doubles(high)[i]) - 0.51 * sc);
  }
  kernels::fit_range(stream(), low.view(), high.view(), scale.view(), {}, {-127, 127});
  EXPECT_FLOAT_EQ(static_cast<float>(test::to_doubles(scale)[1] * 127), 4.0f);
  EXPECT_FLOAT_EQ(static_cast<float>(test::to_doubles(scale)[2] * 127), 3.0f);
  EXPECT_EQ(test::to_doubles(scale)[3], 1.0);
}

TEST_P(QuantizeDevice, PackInt4RoundTripsEveryPairAndOddWidths) {
  for (const DType type : {DType::i8, DType::u8}) {
    const int lowest = type == DType::i8 ? -8 : 0;
    for (const int64_t n : {1, 2, 7, 16}) {
      std::vector<double> values(static_cast<size_t>(40 * n));
      for (int64_t i = 0; i < 40 * n; ++i)
        values[static_cast<size_t>(i)] = lowest + static_cast<double>((i * 7 + i / n) % 16);
      const Tensor code = on_device(test::from_doubles(values, {40, n}, type));
      const Tensor bytes = empty({40, (n + 1) / 2}, DType::u8);
      const Tensor back = empty({40, n}, type);
      kernels::pack_int4(stream(), code.view(), bytes.view());
      kernels::unpack_int4(stream(), bytes.view(), back.view());
      EXPECT_EQ(test::to_doubles(back), values) << n;
    }
    const Tensor bad =
        on_device(test::from_doubles({type == DType::i8 ? -9.0 : 16.0}, {1, 1}, type));
    EXPECT_THROW(
        {
          kernels::pack_int4(stream(), bad.view(), empty({1, 1}, DType::u8).view());
          stream().synchronize();  // a GPU's findings
        },
        Error);
  }
  for (int even = -8; even < 8; ++even)
    for (int odd = -8; odd < 8; ++odd) {
      EXPECT_EQ(kernels::unpack_int4(kernels::pack_int4_pair(even, odd), 0), even);
      EXPECT_EQ(kernels::unpack_int4(kernels::pack_int4_pair(even, odd), 1), odd);
    }
}

TEST_P(QuantizeDevice, RefusesWhatDoesNotFit) {
  Stream& s = stream();
  const auto make = [](const Shape& shape, DType type) {
    return Tensor::zeros(shape, type, device());
  };
  const Tensor x = make({4, 6}, DType::f32), code = make({4, 6}, DType::i8),
               scale = make({1, 1}, DType::f32);
  EXPECT_THROW(kernels::quantize(s, x.view(), make({1}, DType::f32).view(), {}, code.view(), {}),
               Error);
  EXPECT_THROW(kernels::quantize(s, x.view(), make({1, 4}, DType::f32).view(), {}, code.view(), {}),
               Error);
  EXPECT_THROW(kernels::quantize(s, x.view(), make({1, 1}, DType::f64).view(), {}, code.view(), {}),
               Error);
  EXPECT_THROW(kernels::quantize(s, x.view(), scale.view(), make({4, 1}, DType::f32).view(),
                                 code.view(), {}),
               Error);
  EXPECT_THROW(kernels::quantize(s, x.view(), scale.view(), {}, make({4, 5}, DType::i8).view(), {}),
               Error);
  EXPECT_THROW(kernels::quantize(s, x.view(), scale.view(), {}, code.view(), {0, 255}), Error);
  EXPECT_THROW(
      kernels::quantize(s, x.view(), scale.view(), {}, make({4, 6}, DType::i32).view(), {}), Error);
}

}  // namespace
}  // namespace tessera
