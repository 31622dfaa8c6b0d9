#include "tessera/kernels/random.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>
#include <numbers>
#include <span>

#include "tessera/runtime/io/safetensors.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::expect_close;
using test::to_doubles;

// Word i of a sequence, by the scalar function of runtime/rng.hpp.
uint32_t word(RngState rng, int64_t i) {
  return Philox::generate(rng.seed, rng.offset + static_cast<uint64_t>(i) / 4).word[i % 4];
}

// The second one carries into the upper half of the counter within its first vectors.
const RngState states[] = {
    {1, 0}, {0x123456789abcdefu, 0xffffffffu - 5}, {7, (uint64_t{3} << 32) + 17}};
const int64_t sizes[] = {0, 1, 3, 4, 10, 63, 64, 65, 1023, 1025, 40001};

template <class F>
std::vector<double> from_words(RngState rng, int64_t n, F&& f) {
  std::vector<double> out(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) out[static_cast<size_t>(i)] = f(word(rng, i));
  return out;
}

TEST(Philox, KnownAnswers) {
  const auto words = [](uint64_t key, uint64_t low, uint64_t high) {
    const Philox::Block b = Philox::generate(key, low, high);
    return std::vector<uint32_t>(b.word, b.word + 4);
  };
  const uint64_t ones = ~uint64_t{0};
  EXPECT_EQ(words(0, 0, 0),
            (std::vector<uint32_t>{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(words(ones, ones, ones),
            (std::vector<uint32_t>{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(words(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e),
            (std::vector<uint32_t>{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

TEST(Philox, GoldenBlocks) {
  const auto golden = load_safetensors(TESSERA_GOLDEN_DIR "/philox.safetensors");
  const auto counter = golden.at("counter").values<int64_t>(),
             key = golden.at("key").values<int64_t>(),
             output = golden.at("output").values<int64_t>();
  const auto pair = [](const std::vector<int64_t>& v, size_t at) {
    return static_cast<uint64_t>(v[at]) | (static_cast<uint64_t>(v[at + 1]) << 32);
  };
  ASSERT_GE(output.size(), 12u);
  for (size_t row = 0; row < output.size() / 4; ++row) {
    const Philox::Block b =
        Philox::generate(pair(key, 2 * row), pair(counter, 4 * row), pair(counter, 4 * row + 2));
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(b.word[i], output[4 * row + i]) << row;
  }
}

class FloatRandom : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, FloatRandom, test::targets(test::float_dtypes, &Backend::random),
                         test::target_name);

TEST_P(FloatRandom, UniformTakesTheLeadingBits) {
  const int bits = dtype() == DType::f64   ? 32
                   : dtype() == DType::f32 ? 24
                   : dtype() == DType::f16 ? 11
                                           : 8;
  for (RngState rng : states)
    for (int64_t n : sizes) {
      const Tensor y = empty({n});
      uniform(stream(), rng, 0, 1, y.view());
      const std::vector<double> wanted =
          from_words(rng, n, [&](uint32_t w) { return std::ldexp(w >> (32 - bits), -bits); });
      EXPECT_EQ(to_doubles(y), wanted) << n;
      uniform(stream(), rng, -3, 5, y.view());
      std::vector<double> scaled = wanted;
      for (double& v : scaled) v = -3 + 8 * v;
      expect_close(y, scaled, concat("n ", n));
    }
}

TEST_P(FloatRandom, NormalFollowsBoxAndMuller) {
  for (RngState rng : states)
    for (int64_t n : sizes) {
      const Tensor y = empty({n});
      normal(stream(), rng, 0.5, 2, y.view());
      std::vector<double> wanted;
      for (int64_t i = 0; i < n; ++i) {
        const uint32_t w0 = word(rng, i / 2 * 2), w1 = word(rng, i / 2 * 2 + 1);
        const bool wide = dtype() == DType::f64;
        const double open = wide ? (w0 + 0.5) * 0x1p-32 : ((w0 >> 9) + 0.5) * 0x1p-23;
        const double angle = 2 * std::numbers::pi * (wide ? w1 * 0x1p-32 : (w1 >> 8) * 0x1p-24);
        const double radius = std::sqrt(-2 * std::log(open));
        wanted.push_back(0.5 + 2 * radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)));
      }
      test::Tolerance allowed = test::tolerance(dtype());
      allowed.atol *= 2;
      expect_close(y, wanted, allowed, concat("n ", n));
    }
}

TEST_P(FloatRandom, NormalHasTheMomentsOfTheNormalDistribution) {
  constexpr int64_t n = 200000;
  const Tensor y = empty({n});
  normal(stream(), {42, 0}, 0, 1, y.view());
  double moments[5] = {};
  int64_t beyond_two = 0;
  for (double v : to_doubles(y)) {
    for (int k = 1; k <= 4; ++k) moments[k] += std::pow(v, k) / n;
    beyond_two += std::abs(v) > 2;
  }
  const double error = 4 / std::sqrt(static_cast<double>(n));  // four standard errors of the mean
  EXPECT_NEAR(moments[1], 0, error);
  EXPECT_NEAR(moments[2], 1, error * std::sqrt(2));
  EXPECT_NEAR(moments[3], 0, error * std::sqrt(15));
  EXPECT_NEAR(moments[4], 3, error * std::sqrt(96));
  EXPECT_NEAR(static_cast<double>(beyond_two) / n, std::erfc(std::numbers::sqrt2),
              2e-3 + test::roundoff(dtype()));
}

TEST_P(FloatRandom, RademacherTakesTheTopBit) {
  for (RngState rng : states)
    for (int64_t n : sizes) {
      const Tensor y = empty({n});
      rademacher(stream(), rng, 0.25, y.view());
      EXPECT_EQ(to_doubles(y),
                from_words(rng, n, [](uint32_t w) { return w >> 31 ? -0.25 : 0.25; }))
          << n;
    }
}

TEST_P(FloatRandom, DropoutScalesWhatBernoulliKeeps) {
  for (double probability : {0.0, 0.1, 0.5, 1.0})
    for (int64_t n : sizes) {
      const RngState rng{9, 4};
      const Tensor x = on_device(test::integers({n}, dtype(), 51)), y = empty({n}),
                   mask = empty({n}, DType::bool_);
      dropout(stream(), rng, probability, x.view(), y.view());
      bernoulli(stream(), rng, probability, mask.view());
      std::vector<double> wanted = to_doubles(x);
      const std::vector<double> dropped = to_doubles(mask);
      for (size_t i = 0; i < wanted.size(); ++i)
        wanted[i] = dropped[i] ? 0 : wanted[i] / (1 - probability);
      expect_close(y, wanted, concat("n ", n, " probability ", probability));
      dropout(stream(), rng, probability, x.view(), x.view());  // in place
      EXPECT_EQ(to_doubles(x), to_doubles(y));
    }
}

class AnyRandom : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, AnyRandom, test::targets(test::all_dtypes, &Backend::random),
                         test::target_name);

TEST_P(FloatRandom, PositionsMayCountFromOneInMemory) {
  const RngState origin{9, 100}, whole{9, 105};
  const auto* bytes = reinterpret_cast<const uint8_t*>(&origin);
  const Tensor memory = on_device(Tensor::from(std::vector<uint8_t>(bytes, bytes + sizeof origin),
                                               {sizeof origin}, Device::cpu()));
  const RngState state{.seed = 1, .offset = 5, .origin = memory.view().as<const RngState>()};
  const auto expect_same = [&](auto&& fill) {
    Tensor a = empty({1025}), b = empty({1025});
    fill(state, a.view());
    fill(whole, b.view());
    EXPECT_EQ(to_doubles(a), to_doubles(b));
  };
  expect_same([](RngState s, View y) { uniform(stream(), s, -1, 1, y); });
  expect_same([](RngState s, View y) { normal(stream(), s, 0, 1, y); });
  expect_same([](RngState s, View y) { rademacher(stream(), s, 1, y); });
  expect_same([](RngState s, View y) { bernoulli(stream(), s, 0.5, y); });
  const Tensor x = on_device(test::uniform({1025}, dtype(), 1));
  expect_same([&](RngState s, View y) { dropout(stream(), s, 0.5, x.view(), y); });
  Tensor p = empty({1025}, DType::i32), q = empty({1025}, DType::i32);
  permutation(stream(), state, p.view());
  permutation(stream(), whole, q.view());
  EXPECT_EQ(to_doubles(p), to_doubles(q));
}

TEST_P(FloatRandom, SequencesAreDroppedAsTheyWouldBeAlone) {
  const double infinity = std::numeric_limits<double>::infinity();
  const auto expect_same = [&](std::span<const RngState> origins, int64_t rows, int64_t width) {
    const auto* bytes = reinterpret_cast<const uint8_t*>(origins.data());
    const auto size = static_cast<int64_t>(origins.size_bytes()), count = std::ssize(origins);
    const Tensor memory =
        on_device(Tensor::from(std::vector<uint8_t>(bytes, bytes + size), {size}, Device::cpu()));
    const RngState state{.offset = 3, .origin = memory.view().as<const RngState>()};
    Tensor x = test::uniform({rows, count, width}, dtype(), 1);
    if (rows > 0)
      x.select(0, 0).copy_from(
          test::from_doubles(std::vector<double>(static_cast<size_t>(count * width), infinity),
                             {count, width}, dtype()));
    x = on_device(x);
    const Tensor y = empty({rows, count, width});
    dropout(stream(), state, 0.4, x.view(), y.view(), count);
    for (int64_t s = 0; s < count; ++s) {
      const RngState& origin = origins[static_cast<size_t>(s)];
      const Tensor own = on_device(x.to(Device::cpu()).select(1, s).clone()),
                   alone = empty({rows, width});
      dropout(stream(), {origin.seed, origin.offset + 3}, 0.4, own.view(), alone.view());
      EXPECT_EQ(to_doubles(y.to(Device::cpu()).select(1, s).clone()), to_doubles(alone))
          << rows << " rows of " << width << ", sequence " << s << " of " << count;
    }
    EXPECT_THROW(dropout(stream(), state, 0.4, x.view(), y.view(), count + 1), Error);
    EXPECT_THROW(dropout(stream(), {1, 2}, 0.4, x.view(), y.view(), count), Error)
        << "no positions";
  };
  std::vector<RngState> origins{{9, 100}, {9, 101}, {12345, (uint64_t{1} << 32) - 1}};
  for (const int64_t width : {1, 3, 4, 16, 33})
    for (const int64_t rows : {0, 1, 5, 700}) expect_same(origins, rows, width);
  // more than one tile of single elements, more sequences than a vector has lanes
  while (origins.size() < 19) origins.push_back({77 + origins.size(), origins.size()});
  expect_same(origins, 1500, 1);
  expect_same(origins, 40, 32);
}

TEST_P(AnyRandom, BernoulliComparesWords) {
  for (double probability : {0.0, 0x1p-33, 0.3, 0.999, 1.0})
    for (RngState rng : states) {
      const Tensor y = empty({1234});
      bernoulli(stream(), rng, probability, y.view());
      const std::vector<double> wanted = from_words(
          rng, 1234, [&](uint32_t w) { return static_cast<double>(w) < probability * 0x1p32; });
      EXPECT_EQ(to_doubles(y), wanted) << probability;
    }
}

class Permutation : public test::TargetTest {};
constexpr DType index_dtypes[] = {DType::i32, DType::i64};
INSTANTIATE_TEST_SUITE_P(Targets, Permutation, test::targets(index_dtypes, &Backend::random),
                         test::target_name);

TEST_P(Permutation, SortsByPairsOfWords) {
  for (RngState rng : states)
    for (int64_t n : {0, 1, 2, 3, 100, 512, 513, 5001}) {
      const Tensor y = empty({n});
      permutation(stream(), rng, y.view());
      std::vector<std::pair<uint64_t, double>> keyed;
      for (int64_t i = 0; i < n; ++i)
        keyed.emplace_back(word(rng, 2 * i) | (uint64_t{word(rng, 2 * i + 1)} << 32),
                           static_cast<double>(i));
      std::sort(keyed.begin(), keyed.end());
      std::vector<double> wanted;
      for (const auto& [key, number] : keyed) wanted.push_back(number);
      EXPECT_EQ(to_doubles(y), wanted) << n;
    }
}

TEST_P(Permutation, EveryOrderHasEqualChance) {
  std::map<std::vector<double>, int> seen;
  Rng rng(5);
  constexpr int draws = 12000;
  const Tensor y = empty({4});
  for (int i = 0; i < draws; ++i) {
    permutation(stream(), rng.take(8), y.view());
    ++seen[to_doubles(y)];
  }
  ASSERT_EQ(seen.size(), 24u);
  double chi_squared = 0;
  for (const auto& [order, count] : seen)
    chi_squared += std::pow(count - draws / 24.0, 2) / (draws / 24.0);
  EXPECT_LT(chi_squared, 49.7);  // 23 degrees of freedom, p = 0.001
}

class RandomDevice : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, RandomDevice, test::targets(test::any_dtype, &Backend::random),
                         test::target_name);

TEST_P(RandomDevice, ErrorsNameWhatIsWrong) {
  Stream& s = stream();
  const Tensor x = Tensor::zeros({4, 4}, DType::f32, device()),
               i = Tensor::zeros({4}, DType::i32, device());
  const View strided = x.transpose(0, 1).view();
  EXPECT_THROW(uniform(s, {}, 0, 1, strided), Error);
  EXPECT_THROW(uniform(s, {}, 0, 1, i.view()), Error);
  EXPECT_THROW(normal(s, {}, 0, 1, i.view()), Error);
  EXPECT_THROW(normal(s, {}, 0, 1, strided), Error);
  EXPECT_THROW(rademacher(s, {}, 1, i.view()), Error);
  EXPECT_THROW(bernoulli(s, {}, 1.5, x.view()), Error);
  EXPECT_THROW(bernoulli(s, {}, NAN, x.view()), Error);
  EXPECT_THROW(dropout(s, {}, -0.1, x.view(), x.view()), Error);
  EXPECT_THROW(dropout(s, {}, 0.1, strided, x.view()), Error);
  EXPECT_THROW(dropout(s, {}, 0.1, i.view(), x.view()), Error);
  EXPECT_THROW(permutation(s, {}, x.view()), Error);
  EXPECT_THROW(permutation(s, {}, x.select(0, 0).view()), Error);
}

class RandomLevels : public testing::TestWithParam<const Backend*> {};
INSTANTIATE_TEST_SUITE_P(Levels, RandomLevels, test::cpu_levels(), test::level_name);

// What comes from integers has the same bits at every instruction set level and for any number of
// threads.
TEST_P(RandomLevels, IntegersGiveTheSameBitsEverywhere) {
  Stream& s = current_stream(Device::cpu());
  constexpr int64_t n = 100003;
  const RngState rng{77, 0xfffffff0u};
  const RandomKernels &level = *GetParam()->random,
                      &baseline = *test::cpu_backends().front()->random;
  const auto same = [&](DType dtype, auto&& make) {
    const Tensor expected = Tensor::empty({n}, dtype, Device::cpu());
    {
      const test::Threads threads(1);
      make(baseline, expected.view());
    }
    for (int count : {1, 2}) {
      const test::Threads threads(count);
      const Tensor y = Tensor::empty({n}, dtype, Device::cpu());
      make(level, y.view());
      EXPECT_EQ(std::memcmp(y.data(), expected.data(), n * size_of(dtype)), 0) << to_string(dtype);
    }
  };
  for (DType dtype : test::float_dtypes) {
    same(dtype, [&](const RandomKernels& k, View y) { k.uniform(s, rng, 0, 1, y); });
    same(dtype, [&](const RandomKernels& k, View y) { k.rademacher(s, rng, 0.5, y); });
    same(dtype, [&](const RandomKernels& k, View y) { k.bernoulli(s, rng, 0.3, y); });
    const Tensor x = test::uniform({n}, dtype, 52);
    same(dtype, [&](const RandomKernels& k, View y) { k.dropout(s, rng, 1, 0.3, x.view(), y); });
  }
  same(DType::i64, [&](const RandomKernels& k, View y) { k.permutation(s, rng, y); });
}

}  // namespace
}  // namespace tessera::kernels
