#include "tessera/kernels/qgemm.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/kernels/quantize.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera {
namespace {

struct Sizes {
  int64_t m, n, k;
};
const Sizes sizes[] = {{1, 1, 1},     {3, 5, 7},    {13, 33, 64}, {12, 32, 130},
                       {37, 70, 257}, {64, 64, 64}, {5, 3, 0},    {0, 4, 4}};

Tensor codes(const Shape& shape, DType type, uint64_t seed) {
  test::Numbers next(seed);
  std::vector<double> values(static_cast<size_t>(shape.numel()));
  for (double& v : values) v = static_cast<double>(next() % 256) - (type == DType::i8 ? 128 : 0);
  return test::from_doubles(values, shape, type);
}

std::vector<int64_t> product(const Tensor& a, const Tensor& b) {
  const auto x = test::to_doubles(a), y = test::to_doubles(b);
  const int64_t m = a.size(0), n = b.size(0), k = a.size(1);
  std::vector<int64_t> c(static_cast<size_t>(m * n));
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l)
        c[static_cast<size_t>(i * n + j)] +=
            static_cast<int64_t>(x[static_cast<size_t>(i * k + l)]) *
            static_cast<int64_t>(y[static_cast<size_t>(j * k + l)]);
  return c;
}

// Every instruction set level, since each multiplies its own way.
TEST(Qgemm, ExactOnEveryLevel) {
  Stream& s = current_stream(Device::cpu());
  for (const kernels::Backend* backend : test::cpu_backends()) {
    for (const DType a_type : {DType::i8, DType::u8}) {
      for (const Sizes& z : sizes) {
        const Tensor a = codes({z.m, z.k}, a_type, 1), b = codes({z.n, z.k}, DType::i8, 2);
        const Tensor c = Tensor::empty({z.m, z.n}, DType::i32, Device::cpu());
        backend->qgemm->qgemm(s, a.view(), b.view(), c.view());
        const auto got = c.values<int32_t>();
        const auto wanted = product(a, b);
        for (size_t i = 0; i < wanted.size(); ++i)
          ASSERT_EQ(got[i], wanted[i]) << backend->name << " " << to_string(a_type) << " " << z.m
                                       << " x " << z.n << " x " << z.k << " at " << i;
      }
    }
  }
}

// The largest sums that the contract allows: all products extreme.
TEST(Qgemm, DoesNotSaturate) {
  Stream& s = current_stream(Device::cpu());
  for (const kernels::Backend* backend : test::cpu_backends()) {
    for (const double x : {-128.0, 127.0}) {
      const int64_t k = 65536;
      const Tensor a = test::from_doubles(std::vector<double>(static_cast<size_t>(2 * k), 255),
                                          {2, k}, DType::u8);
      const Tensor b =
          test::from_doubles(std::vector<double>(static_cast<size_t>(3 * k), x), {3, k}, DType::i8);
      const Tensor c = Tensor::empty({2, 3}, DType::i32, Device::cpu());
      backend->qgemm->qgemm(s, a.view(), b.view(), c.view());
      for (const int32_t v : c.values<int32_t>())
        EXPECT_EQ(v, static_cast<int32_t>(255 * static_cast<int64_t>(x) * k)) << backend->name;
    }
  }
}

TEST(Qgemm, RowsMayBeFurtherApart) {
  Stream& s = current_stream(Device::cpu());
  const Tensor a = codes({6, 40}, DType::i8, 3).narrow(1, 5, 19),
               b = codes({8, 30}, DType::i8, 4).narrow(1, 2, 19);
  const Tensor c = Tensor::empty({6, 8}, DType::i32, Device::cpu());
  kernels::qgemm(s, a.view(), b.view(), c.view());
  const auto wanted = product(a, b);
  const auto got = c.values<int32_t>();
  for (size_t i = 0; i < wanted.size(); ++i) EXPECT_EQ(got[i], wanted[i]);
}

double activated(kernels::Activation f, double x) {
  switch (f) {
    case kernels::Activation::none:
      return x;
    case kernels::Activation::relu:
      return std::max(x, 0.0);
    case kernels::Activation::gelu:
      return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
    case kernels::Activation::gelu_tanh:
      return 0.5 * x *
             (1 + std::tanh(std::sqrt(2 / 3.14159265358979) * (x + 0.044715 * x * x * x)));
    case kernels::Activation::silu:
      return x / (1 + std::exp(-x));
  }
  return x;
}
constexpr kernels::Activation activations[] = {
    kernels::Activation::none, kernels::Activation::relu, kernels::Activation::gelu,
    kernels::Activation::gelu_tanh, kernels::Activation::silu};

class QuantizedProduct : public test::TargetTest {};
constexpr DType outputs[] = {DType::f32, DType::f16, DType::bf16};
INSTANTIATE_TEST_SUITE_P(Targets, QuantizedProduct,
                         test::targets(outputs, &kernels::Backend::qgemm), test::target_name);

TEST_P(QuantizedProduct, ScaledEqualsTheFormula) {
  uint64_t seed = 10;
  for (const Sizes& z : sizes) {
    for (const bool per_row : {false, true}) {
      for (const bool zeros : {false, true}) {
        const kernels::Activation f = activations[seed % 5];
        const Tensor a = codes({z.m, z.k}, DType::u8, ++seed),
                     b = codes({z.n, z.k}, DType::i8, ++seed);
        const auto small = [&](int64_t rows, double unit, bool whole) {
          auto v = test::to_doubles(test::uniform({rows, 1}, DType::f32, ++seed));
          for (double& x : v)
            x = whole ? std::nearbyint(x * 90) : static_cast<float>(unit * (1.5 + x));
          return test::from_doubles(v, {rows, 1}, DType::f32);
        };
        const Tensor as = small(per_row ? z.m : 1, 1.0 / 256, false),
                     bs = small(per_row ? z.n : 1, 1.0 / 256, false);
        const Tensor az = small(per_row ? z.m : 1, 0, true), bz = small(per_row ? z.n : 1, 0, true);
        const Tensor bias = test::uniform({z.n}, dtype(), ++seed), y = empty({z.m, z.n});
        const Tensor there[] = {on_device(a),  on_device(b),  on_device(as),  on_device(bs),
                                on_device(az), on_device(bz), on_device(bias)};
        kernels::QuantizedView av{.codes = there[0].view(), .scale = there[2].view()},
            bv{.codes = there[1].view(), .scale = there[3].view()};
        if (zeros) {
          av.zero = there[4].view();
          bv.zero = there[5].view();
        }
        kernels::qgemm_scaled(stream(), av, bv, y.view(),
                              {.bias = there[6].view(), .activation = f});

        std::vector<double> wanted;
        const auto x = test::to_doubles(a), w = test::to_doubles(b), sa = test::to_doubles(as),
                   sb = test::to_doubles(bs), za = test::to_doubles(az), zb = test::to_doubles(bz),
                   c = test::to_doubles(bias);
        for (int64_t i = 0; i < z.m; ++i) {
          for (int64_t j = 0; j < z.n; ++j) {
            const auto ri = static_cast<size_t>(per_row ? i : 0),
                       rj = static_cast<size_t>(per_row ? j : 0);
            double sum = 0;
            for (int64_t l = 0; l < z.k; ++l)
              sum += (x[static_cast<size_t>(i * z.k + l)] - (zeros ? za[ri] : 0)) *
                     (w[static_cast<size_t>(j * z.k + l)] - (zeros ? zb[rj] : 0));
            wanted.push_back(activated(f, sa[ri] * sb[rj] * sum + c[static_cast<size_t>(j)]));
          }
        }
        test::Tolerance allowed = test::tolerance(dtype());
        allowed.atol = 2e-5;
        test::expect_close(y, wanted, allowed,
                           concat("m ", z.m, " n ", z.n, " k ", z.k, " seed ", seed));
      }
    }
  }
}

// Sums of codes are exact whatever their number and wherever rows lie, and do not saturate.
TEST_P(QuantizedProduct, ExactSums) {
  if (dtype() != DType::f32) GTEST_SKIP() << "once is enough";
  std::vector<Sizes> all(std::begin(sizes), std::end(sizes));
  all.insert(all.end(), {{9, 70, 3000}, {1100, 1032, 48}, {1500, 1410, 144}, {1500, 1410, 20}});
  for (const DType a_type : {DType::i8, DType::u8})
    for (const Sizes& z : all)
      for (const int64_t gap : {0, 5}) {
        const Tensor a = codes({z.m, z.k + gap}, a_type, 1),
                     b = codes({z.n, z.k + gap}, DType::i8, 2);
        const Tensor on_a = on_device(a).narrow(1, 0, z.k), on_b = on_device(b).narrow(1, 0, z.k);
        const Tensor c = empty({z.m, z.n}, DType::i32);
        kernels::qgemm(stream(), on_a.view(), on_b.view(), c.view());
        const auto wanted = product(a.narrow(1, 0, z.k), b.narrow(1, 0, z.k));
        const auto got = c.values<int32_t>();
        for (size_t i = 0; i < wanted.size(); ++i)
          ASSERT_EQ(got[i], wanted[i])
              << concat(to_string(a_type), " ", z.m, " x ", z.n, " x ", z.k);
      }
  const Tensor a = on_device(
                   test::from_doubles(std::vector<double>(65536, 255), {1, 65536}, DType::u8)),
               b = on_device(
                   test::from_doubles(std::vector<double>(65536, -128), {1, 65536}, DType::i8));
  const Tensor c = empty({1, 1}, DType::i32);
  kernels::qgemm(stream(), a.view(), b.view(), c.view());
  EXPECT_EQ(c.values<int32_t>()[0], -255 * 128 * 65536);
}

TEST_P(QuantizedProduct, ZerosMustBeWhole) {
  const Tensor a = on_device(codes({2, 8}, DType::i8, 1)), y = empty({2, 2}),
               one = on_device(test::from_doubles({1}, {1, 1}, DType::f32));
  for (const double zero : {0.5, 257.0, std::nan("")}) {
    const Tensor z = on_device(test::from_doubles({0, zero}, {2, 1}, DType::f32));
    const auto run = [&] {
      kernels::qgemm_scaled(stream(), {.codes = a.view(), .scale = one.view(), .zero = z.view()},
                            {.codes = a.view(), .scale = one.view()}, y.view());
      stream().synchronize();
    };
    EXPECT_THROW(run(), Error) << zero;
  }
}

TEST_P(QuantizedProduct, WeightOnlyEqualsDequantizedProduct) {
  uint64_t seed = 50;
  struct Case {
    int64_t m, n, k, group;  // group 0: one scale per row
  };
  // More than one block of rows; groups that end within, with and beyond what is computed at a
  // time; rows that begin at no multiple of 16 bytes; a long k.
  const Case all[] = {{1, 300, 96, 0},     {3, 300, 96, 32}, {8, 300, 96, 0},
                      {9, 300, 96, 32},    {40, 300, 96, 0}, {40, 70, 96, 48},
                      {20, 140, 192, 128}, {70, 33, 72, 24}, {5, 130, 2112, 64}};
  for (const auto& [m, n, k, group] : all) {
    for (const bool packed : {false, true}) {
      for (const bool is_signed : {true, false}) {
        const DType code_type = is_signed ? DType::i8 : DType::u8;
        Tensor code = codes({n, k}, code_type, ++seed);
        if (packed)
          for (size_t i = 0; i < static_cast<size_t>(n * k); ++i) {
            if (is_signed)
              code.host_mutable<int8_t>()[i] = static_cast<int8_t>(code.host<int8_t>()[i] >> 4);
            else
              code.host_mutable<uint8_t>()[i] = code.host<uint8_t>()[i] >> 4;
          }
        const Shape cuts{n, group ? k / group : 1};
        auto scales = test::to_doubles(test::uniform(cuts, DType::f32, ++seed));
        for (double& v : scales) v = static_cast<float>(0.01 * (1.5 + v));
        const Tensor scale = test::from_doubles(scales, cuts, DType::f32),
                     zero = test::integers(cuts, DType::f32, ++seed);
        const Tensor x = test::uniform({m, k}, dtype(), ++seed),
                     bias = test::uniform({n}, dtype(), ++seed);
        Tensor stored = code;
        if (packed) {
          stored = Tensor::empty({n, k / 2}, DType::u8, Device::cpu());
          kernels::pack_int4(current_stream(Device::cpu()), code.view(), stored.view());
        }
        const Tensor values = Tensor::empty({n, k}, DType::f64, Device::cpu());
        kernels::dequantize(current_stream(Device::cpu()), code.view(), scale.view(), zero.view(),
                            values.view());
        const Tensor y = empty({m, n});
        const Tensor there[] = {on_device(stored), on_device(scale), on_device(zero),
                                on_device(bias)};
        kernels::weight_only_gemm(
            stream(), on_device(x).view(),
            {.codes = there[0].view(),
             .scale = there[1].view(),
             .zero = there[2].view(),
             .packed = packed,
             .is_signed = is_signed},
            y.view(), {.bias = there[3].view(), .activation = kernels::Activation::silu});
        std::vector<double> wanted;
        const auto xs = test::to_doubles(x), ws = test::to_doubles(values),
                   bs = test::to_doubles(bias);
        for (int64_t i = 0; i < m; ++i) {
          for (int64_t j = 0; j < n; ++j) {
            double sum = bs[static_cast<size_t>(j)];
            for (int64_t l = 0; l < k; ++l)
              sum += xs[static_cast<size_t>(i * k + l)] * ws[static_cast<size_t>(j * k + l)];
            wanted.push_back(activated(kernels::Activation::silu, sum));
          }
        }
        test::Tolerance allowed = test::tolerance(dtype());
        allowed.atol = 3e-5 * std::max(1.0, std::sqrt(static_cast<double>(k) / 96));
        test::expect_close(y, wanted, allowed,
                           concat("m ", m, " group ", group, packed ? " packed" : ""));
      }
    }
  }
}

TEST_P(QuantizedProduct, OneAndTwoThreadsGiveTheSameBits) {
  const Tensor a = on_device(codes({50, 200}, DType::u8, 1)),
               b = on_device(codes({70, 200}, DType::i8, 2));
  const Tensor scale = on_device(test::from_doubles({0.01}, {1, 1}, DType::f32));
  const Tensor x = on_device(test::uniform({50, 200}, dtype(), 3));
  const auto run = [&](int threads) {
    const test::Threads scope(threads);
    const Tensor y = empty({50, 70}), z = empty({50, 70});
    kernels::qgemm_scaled(stream(), {.codes = a.view(), .scale = scale.view()},
                          {.codes = b.view(), .scale = scale.view()}, y.view());
    kernels::weight_only_gemm(stream(), x.view(), {.codes = b.view(), .scale = scale.view()},
                              z.view());
    return std::pair(test::to_doubles(y), test::to_doubles(z));
  };
  EXPECT_EQ(run(1), run(2));
}

TEST(Qgemm, RefusesWhatDoesNotFit) {
  Stream& s = current_stream(Device::cpu());
  const auto make = [](const Shape& shape, DType type) {
    return Tensor::zeros(shape, type, Device::cpu());
  };
  const Tensor a = make({4, 6}, DType::i8), b = make({5, 6}, DType::i8),
               c = make({4, 5}, DType::i32);
  EXPECT_THROW(kernels::qgemm(s, a.view(), make({5, 7}, DType::i8).view(), c.view()), Error);
  EXPECT_THROW(kernels::qgemm(s, a.view(), b.view(), make({5, 4}, DType::i32).view()), Error);
  EXPECT_THROW(kernels::qgemm(s, a.view(), make({5, 6}, DType::u8).view(), c.view()), Error);
  EXPECT_THROW(kernels::qgemm(s, a.view(), b.view(), make({4, 5}, DType::f32).view()), Error);
  EXPECT_THROW(kernels::qgemm(s, make({4, 65537}, DType::i8).view(),
                              make({5, 65537}, DType::i8).view(), c.view()),
               Error);
  const Tensor scale = make({1, 1}, DType::f32), y = make({4, 5}, DType::f32);
  EXPECT_THROW(
      kernels::qgemm_scaled(s, {.codes = a.view(), .scale = make({3, 1}, DType::f32).view()},
                            {.codes = b.view(), .scale = scale.view()}, y.view()),
      Error);
  EXPECT_THROW(kernels::qgemm_scaled(s,
                                     {.codes = a.view(),
                                      .scale = scale.view(),
                                      .zero = test::from_doubles({0.5}, {1, 1}, DType::f32).view()},
                                     {.codes = b.view(), .scale = scale.view()}, y.view()),
               Error);
}

}  // namespace
}  // namespace tessera
