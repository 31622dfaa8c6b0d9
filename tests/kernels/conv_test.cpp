#include "tessera/kernels/conv.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

struct Case {
  int64_t n, c, h, w, o, r, s;
  ConvParams params = {};

  Shape x() const { return {n, c, h, w}; }
  Shape weight() const { return {o, c / params.groups, r, s}; }
  Shape y() const {
    const auto extent = [&](int i) {
      return conv_extent(i ? w : h, i ? s : r, params.stride[i], params.padding[i],
                         params.dilation[i]);
    };
    return {n, o, extent(0), extent(1)};
  }
  std::string name() const {
    return concat("x ", x(), " weight ", weight(), " stride ", params.stride[0], ",",
                  params.stride[1], " padding ", params.padding[0], ",", params.padding[1],
                  " dilation ", params.dilation[0], ",", params.dilation[1]);
  }
};

// Calls term(index of x, of weight, of y) for every product in the definition of the convolution.
template <class Term>
void for_each_term(const Case& k, Term&& term) {
  const Shape y = k.y();
  const int64_t cg = k.c / k.params.groups, og = k.o / k.params.groups;
  for (int64_t n = 0; n < k.n; ++n)
    for (int64_t o = 0; o < k.o; ++o)
      for (int64_t p = 0; p < y[2]; ++p)
        for (int64_t q = 0; q < y[3]; ++q)
          for (int64_t c = 0; c < cg; ++c)
            for (int64_t r = 0; r < k.r; ++r)
              for (int64_t s = 0; s < k.s; ++s) {
                const int64_t h =
                    p * k.params.stride[0] - k.params.padding[0] + r * k.params.dilation[0];
                const int64_t w =
                    q * k.params.stride[1] - k.params.padding[1] + s * k.params.dilation[1];
                if (h < 0 || h >= k.h || w < 0 || w >= k.w) continue;
                term(static_cast<size_t>(((n * k.c + o / og * cg + c) * k.h + h) * k.w + w),
                     static_cast<size_t>(((o * cg + c) * k.r + r) * k.s + s),
                     static_cast<size_t>(((n * k.o + o) * y[2] + p) * y[3] + q));
              }
}

// As stored in `dtype`.
std::vector<double> rounded(const std::vector<double>& values, DType dtype) {
  return test::to_doubles(test::from_doubles(values, {static_cast<int64_t>(values.size())}, dtype));
}

Tensor channels_last(const Tensor& x) {
  return x.permute({0, 2, 3, 1}).clone().permute({0, 3, 1, 2});
}

ConvParams with(int64_t stride, int64_t padding, int64_t dilation = 1, int64_t groups = 1) {
  return {.stride = {stride, stride},
          .padding = {padding, padding},
          .dilation = {dilation, dilation},
          .groups = groups};
}

const Case cases[] = {
    {2, 3, 32, 32, 16, 3, 3, with(1, 1)},   // a network's first layer
    {1, 16, 16, 16, 16, 3, 3, with(1, 1)},  // rows of one vector
    {3, 8, 8, 8, 20, 3, 3, with(1, 1)},     // of half a vector
    {2, 4, 24, 24, 5, 3, 3, with(1, 1)},    // of one and a half
    {2, 5, 7, 9, 17, 3, 3, with(1, 1)},     // of no whole number
    {5, 6, 3, 3, 7, 3, 3, with(1, 1)},      // small images, several to a tile
    {9, 33, 1, 1, 30, 1, 1, with(1, 0)},    // pixels without neighbours
    {2, 12, 8, 8, 40, 1, 1, with(1, 0)},    // a product
    {2, 6, 5, 5, 9, 1, 1, with(1, 0)},
    {2, 8, 16, 16, 12, 3, 3, with(2, 1)},
    {2, 7, 9, 10, 4, 3, 3, with(2, 1)},  // odd and even extents
    {2, 8, 8, 8, 16, 1, 1, with(2, 0)},  // a shortcut: most pixels are read by no output
    {2, 3, 23, 23, 6, 7, 7, with(2, 3)},
    {2, 3, 32, 32, 24, 8, 8, with(8, 0)},  // patches
    {1, 4, 11, 11, 3, 3, 3, with(3, 0)},
    {1, 4, 10, 10, 3, 3, 3, with(5, 1)},  // stride beyond the filter
    {2, 3, 13, 13, 5, 3, 3, with(1, 2, 2)},
    {2, 3, 13, 12, 5, 3, 3, with(2, 2, 2)},
    {2, 3, 13, 12, 5, 3, 2, with(2, 3, 3)},
    {2, 2, 6, 6, 4, 3, 3, with(1, 5)},  // padding beyond the filter
    {2, 8, 9, 9, 12, 3, 3, with(1, 1, 1, 4)},
    {2, 6, 9, 16, 6, 3, 3, with(1, 1, 1, 6)},  // depthwise
    {2, 6, 9, 9, 12, 5, 5, with(2, 2, 1, 6)},
    {2, 3, 6, 20, 4, 1, 5, {.stride = {2, 1}, .padding = {0, 2}, .dilation = {1, 1}}},
    {2, 3, 20, 6, 4, 5, 1, {.stride = {1, 3}, .padding = {3, 0}, .dilation = {2, 1}}},
    {1, 2, 3, 3, 2, 3, 3, with(1, 0)},  // one output
    {1, 3, 70, 130, 2, 3, 3, with(1, 1)},
};

struct TensorDual {
  Tensor value, tangent;
  Dual view() const { return {value.view(), tangent.view()}; }
};

class ConvTest : public test::TargetTest {
 protected:
  // Where images are alike to a kernel: the interpreter takes long, and gets one.
  static Case few_images(Case k) {
    if (device().type == Device::Type::simt) k.n = 1;
    return k;
  }

  // The three functions against their definition, exact because every sum is of small integers.
  static void check(const Case& k, bool last) {
    const Tensor x = test::integers(k.x(), dtype(), 1, 1),
                 weight = test::integers(k.weight(), dtype(), 2, 1);
    const Tensor dy = test::integers(k.y(), dtype(), 3, 1),
                 bias = test::integers({k.o}, dtype(), 4);
    const std::vector<double> xs = test::to_doubles(x), ws = test::to_doubles(weight),
                              ys = test::to_doubles(dy), bs = test::to_doubles(bias);
    std::vector<double> y(ys.size()), dx(xs.size()), dw(ws.size()), db(bs.size());
    for_each_term(k, [&](size_t i, size_t j, size_t l) {
      y[l] += xs[i] * ws[j];
      dx[i] += ys[l] * ws[j];
      dw[j] += ys[l] * xs[i];
    });
    const int64_t plane = k.y()[2] * k.y()[3];
    for (size_t l = 0; l < y.size(); ++l) {
      const size_t o = l / static_cast<size_t>(plane) % static_cast<size_t>(k.o);
      y[l] = std::max(0.0, y[l] + bs[o]);
      db[o] += ys[l];
    }
    const auto image = [&](const Tensor& t) {
      return last ? channels_last(on_device(t)) : on_device(t);
    };
    const auto nan = [&](const Shape& shape) {
      return test::from_doubles(std::vector<double>(static_cast<size_t>(shape.numel()), NAN), shape,
                                dtype());
    };
    ConvParams params = k.params;
    params.variant = ConvVariant::direct;
    const Tensor got_dx = image(nan(k.x())), got_dw = on_device(nan(k.weight())),
                 got_db = on_device(nan({k.o}));
    conv_data_gradient(stream(), image(dy).view(), on_device(weight).view(), got_dx.view(), params);
    conv_weight_gradient(stream(), image(x).view(), image(dy).view(), got_dw.view(), got_db.view(),
                         params);
    params.activation = Activation::relu;
    const Tensor got_y = image(nan(k.y()));
    conv_forward(stream(), image(x).view(), on_device(weight).view(), on_device(bias).view(),
                 got_y.view(), params);
    test::expect_close(got_y, rounded(y, dtype()), {}, "y of " + k.name());
    test::expect_close(got_dx, rounded(dx, dtype()), {}, "dx of " + k.name());
    test::expect_close(got_dw, rounded(dw, dtype()), {}, "dweight of " + k.name());
    test::expect_close(got_db, rounded(db, dtype()), {}, "dbias of " + k.name());
  }

  // A value and a tangent of small integers.
  static TensorDual integers(const Shape& shape, uint64_t seed, bool last = false) {
    const auto tensor = [&](uint64_t s) {
      const Tensor t = test::integers(shape, dtype(), s, 1);
      return last ? channels_last(on_device(t)) : on_device(t);
    };
    return {tensor(seed), tensor(seed + 1)};
  }

  // The three functions with tangents against the product rule, exact on integers.
  static void check_tangents(const Case& k, bool last) {
    const TensorDual x = integers(k.x(), 1, last), weight = integers(k.weight(), 3),
                     dy = integers(k.y(), 5, last);
    const std::vector<double> xs[] = {test::to_doubles(x.value), test::to_doubles(x.tangent)},
                              ws[] = {test::to_doubles(weight.value),
                                      test::to_doubles(weight.tangent)},
                              ys[] = {test::to_doubles(dy.value), test::to_doubles(dy.tangent)};
    std::vector<double> y(ys[0].size()), dx(xs[0].size()), dw(ws[0].size()), y_tangent(y),
        dx_tangent(dx), dw_tangent(dw);
    for_each_term(k, [&](size_t i, size_t j, size_t l) {
      y[l] += xs[0][i] * ws[0][j];
      dx[i] += ys[0][l] * ws[0][j];
      dw[j] += ys[0][l] * xs[0][i];
      y_tangent[l] += xs[1][i] * ws[0][j] + xs[0][i] * ws[1][j];
      dx_tangent[i] += ys[1][l] * ws[0][j] + ys[0][l] * ws[1][j];
      dw_tangent[j] += ys[1][l] * xs[0][i] + ys[0][l] * xs[1][i];
    });
    ConvParams params = k.params;
    params.variant = ConvVariant::direct;
    const auto nan = [&](const Shape& shape) {
      return on_device(test::from_doubles(
          std::vector<double>(static_cast<size_t>(shape.numel()), NAN), shape, dtype()));
    };
    const auto image = [&](const Shape& shape) {
      return last ? channels_last(nan(shape)) : nan(shape);
    };
    const TensorDual got_y{image(k.y()), image(k.y())}, got_dx{image(k.x()), image(k.x())},
        got_dw{nan(k.weight()), nan(k.weight())};
    conv_forward(stream(), x.view(), weight.view(), got_y.view(), params);
    conv_data_gradient(stream(), dy.view(), weight.view(), got_dx.view(), params);
    conv_weight_gradient(stream(), x.view(), dy.view(), got_dw.view(), params);
    test::expect_close(got_y.value, rounded(y, dtype()), {}, "y of " + k.name());
    test::expect_close(got_dx.value, rounded(dx, dtype()), {}, "dx of " + k.name());
    test::expect_close(got_dw.value, rounded(dw, dtype()), {}, "dweight of " + k.name());
    test::expect_close(got_y.tangent, rounded(y_tangent, dtype()), {}, "y' of " + k.name());
    test::expect_close(got_dx.tangent, rounded(dx_tangent, dtype()), {}, "dx' of " + k.name());
    test::expect_close(got_dw.tangent, rounded(dw_tangent, dtype()), {}, "dweight' of " + k.name());
  }
};

TEST_P(ConvTest, ExactOnIntegers) {
  for (const Case& k : cases) check(k, false);
}

TEST_P(ConvTest, ChannelsLast) {
  for (const Case& k : {cases[1], cases[4], cases[10], cases[20]}) check(k, true);
}

TEST_P(ConvTest, TangentsAreExactOnIntegers) {
  for (const Case& k : cases) check_tangents(k, false);
  for (const Case& k : {cases[1], cases[4], cases[10], cases[20]}) check_tangents(k, true);
}

// The rounding errors of both variants, against f64: at most three times as large (root mean
// square) by winograd.
TEST_P(ConvTest, WinogradIsClose) {
  if (dtype() == DType::f64) GTEST_SKIP() << "f64 has no winograd variant";
  for (const Case& of_many :
       {Case{3, 16, 32, 32, 16, 3, 3, with(1, 1)}, Case{2, 64, 8, 8, 64, 3, 3, with(1, 1)},
        Case{2, 5, 9, 14, 40, 3, 3, with(1, 0)}, Case{9, 33, 4, 5, 20, 3, 3, with(1, 2)},
        Case{1, 48, 3, 70, 7, 3, 3, with(1, 1)}, Case{2, 40, 7, 7, 80, 3, 3, with(1, 1, 1, 2)}})
    for (const bool last : {false, true}) {
      const Case k = few_images(of_many);
      const Tensor x = test::uniform(k.x(), dtype(), 1),
                   weight = test::uniform(k.weight(), dtype(), 2),
                   dy = test::uniform(k.y(), dtype(), 3), bias = test::uniform({k.o}, dtype(), 4);
      const auto results = [&](DType type, ConvVariant variant) {
        const auto in = [&](const Tensor& t) {
          return on_device(test::from_doubles(test::to_doubles(t), t.shape(), type));
        };
        const auto image = [&](const Tensor& t) { return last ? channels_last(in(t)) : in(t); };
        const Tensor y = image(dy), dx = image(x), dw = in(weight), db = in(bias);
        ConvParams params = k.params;
        params.variant = variant;
        conv_data_gradient(stream(), image(dy).view(), in(weight).view(), dx.view(), params);
        conv_weight_gradient(stream(), image(x).view(), image(dy).view(), dw.view(), db.view(),
                             params);
        params.activation = Activation::relu;
        conv_forward(stream(), image(x).view(), in(weight).view(), in(bias).view(), y.view(),
                     params);
        const auto dual = [&](const Tensor& t, uint64_t seed, bool is_image = true) {
          const Tensor tangent = test::uniform(t.shape(), dtype(), seed);
          return TensorDual{is_image ? image(t) : in(t), is_image ? image(tangent) : in(tangent)};
        };
        const TensorDual xs = dual(x, 5), ws = dual(weight, 6, false), dys = dual(dy, 7);
        const TensorDual ys = dual(dy, 8), dxs = dual(x, 9), dws = dual(weight, 10, false);
        params.activation = Activation::none;
        conv_forward(stream(), xs.view(), ws.view(), ys.view(), params);
        conv_data_gradient(stream(), dys.view(), ws.view(), dxs.view(), params);
        conv_weight_gradient(stream(), xs.view(), dys.view(), dws.view(), params);
        std::vector<std::vector<double>> numbers;
        for (const Tensor& t :
             {y, dx, dw, db, ys.value, ys.tangent, dxs.value, dxs.tangent, dws.value, dws.tangent})
          numbers.push_back(test::to_doubles(t));
        return numbers;
      };
      const auto exact = results(DType::f64, ConvVariant::direct);
      const auto direct = results(dtype(), ConvVariant::direct),
                 winograd = results(dtype(), ConvVariant::winograd);
      const auto error = [&](const std::vector<double>& got, const std::vector<double>& wanted) {
        double sum = 0;
        for (size_t i = 0; i < got.size(); ++i) sum += (got[i] - wanted[i]) * (got[i] - wanted[i]);
        return std::sqrt(sum / static_cast<double>(got.size()));
      };
      const char* names[] = {"y",  "dx",        "dweight", "dbias",          "y (dual)",
                             "y'", "dx (dual)", "dx'",     "dweight (dual)", "dweight'"};
      for (size_t i = 0; i < std::size(names); ++i)
        EXPECT_LE(error(winograd[i], exact[i]), 6 * error(direct[i], exact[i]))
            << names[i] << " of " << k.name();
    }
}

TEST_P(ConvTest, SameBitsForAnyThreadCount) {
  for (const Case& of_many :
       {Case{9, 16, 20, 24, 32, 3, 3, with(1, 1)}, Case{1, 16, 40, 40, 70, 3, 3, with(2, 1)},
        Case{2, 130, 9, 9, 40, 1, 1, with(1, 0)}}) {
    const Case k = few_images(of_many);
    std::vector<double> results[2];
    for (const int threads : {1, 2}) {
      test::Threads scope(threads);
      const Tensor x = on_device(test::uniform(k.x(), dtype(), 1)),
                   dy = on_device(test::uniform(k.y(), dtype(), 2));
      const Tensor weight = on_device(test::uniform(k.weight(), dtype(), 3));
      const Tensor y = empty(k.y()), dx = empty(k.x()), dw = empty(k.weight()), db = empty({k.o});
      conv_forward(stream(), x.view(), weight.view(), {}, y.view(), k.params);
      conv_data_gradient(stream(), dy.view(), weight.view(), dx.view(), k.params);
      conv_weight_gradient(stream(), x.view(), dy.view(), dw.view(), db.view(), k.params);
      const auto dual = [](const Tensor& value, uint64_t seed) {
        return TensorDual{value, on_device(test::uniform(value.shape(), dtype(), seed))};
      };
      const TensorDual xs = dual(x, 4), ws = dual(weight, 5), dys = dual(dy, 6);
      const TensorDual ys = dual(empty(k.y()), 7), dxs = dual(empty(k.x()), 8),
                       dws = dual(empty(k.weight()), 9);
      conv_forward(stream(), xs.view(), ws.view(), ys.view(), k.params);
      conv_data_gradient(stream(), dys.view(), ws.view(), dxs.view(), k.params);
      conv_weight_gradient(stream(), xs.view(), dys.view(), dws.view(), k.params);
      for (const Tensor& t :
           {y, dx, dw, db, ys.value, ys.tangent, dxs.value, dxs.tangent, dws.value, dws.tangent})
        for (const double v : test::to_doubles(t)) results[threads - 1].push_back(v);
    }
    EXPECT_EQ(results[0], results[1]) << k.name();
  }
}

TEST_P(ConvTest, EmptyBatch) {
  const Tensor weight = on_device(test::integers({4, 3, 3, 3}, dtype(), 1));
  const Tensor x = empty({0, 3, 8, 8}), y = empty({0, 4, 6, 6}),
               dw = on_device(test::integers({4, 3, 3, 3}, dtype(), 2));
  conv_forward(stream(), x.view(), weight.view(), {}, y.view());
  conv_data_gradient(stream(), y.view(), weight.view(), x.view());
  conv_weight_gradient(stream(), x.view(), y.view(), dw.view(), {});
  test::expect_close(dw, std::vector<double>(4 * 27), {}, "dweight of nothing");
  const TensorDual dweights{dw, on_device(test::integers({4, 3, 3, 3}, dtype(), 3))};
  const TensorDual xs{x, x}, ys{y, y}, weights{weight, weight};
  conv_forward(stream(), xs.view(), weights.view(), ys.view());
  conv_data_gradient(stream(), ys.view(), weights.view(), xs.view());
  conv_weight_gradient(stream(), xs.view(), ys.view(), dweights.view());
  test::expect_close(dweights.tangent, std::vector<double>(4 * 27), {}, "dweight' of nothing");
}

INSTANTIATE_TEST_SUITE_P(Targets, ConvTest, test::targets(test::float_dtypes, &Backend::conv),
                         test::target_name);

TEST(Conv, Extent) {
  EXPECT_EQ(conv_extent(32, 3, 1, 1, 1), 32);
  EXPECT_EQ(conv_extent(32, 3, 2, 1, 1), 16);
  EXPECT_EQ(conv_extent(224, 16, 16, 0, 1), 14);
  EXPECT_EQ(conv_extent(7, 3, 1, 0, 3), 1);
  EXPECT_EQ(conv_extent(2, 3, 1, 0, 1), 0);
}

TEST(Conv, Choice) {
  const auto chosen = [](const ConvParams& p, const Shape& weight, const Shape& y,
                         DType dtype = DType::f32) { return choose_conv(p, weight, y, dtype); };
  const Shape wide{64, 64, 3, 3}, image{8, 64, 16, 16};
  EXPECT_EQ(chosen(with(1, 1), wide, image), ConvVariant::winograd);
  EXPECT_EQ(chosen(with(1, 1), wide, image, DType::bf16), ConvVariant::winograd);
  EXPECT_EQ(chosen(with(1, 1), wide, image, DType::f64), ConvVariant::direct);
  EXPECT_EQ(chosen(with(2, 1), wide, image), ConvVariant::direct);
  EXPECT_EQ(chosen(with(1, 1, 2), wide, image), ConvVariant::direct);
  EXPECT_EQ(chosen(with(1, 0), {64, 64, 1, 1}, image), ConvVariant::direct);
  EXPECT_EQ(chosen(with(1, 1), {16, 3, 3, 3}, image), ConvVariant::direct);
  EXPECT_EQ(chosen(with(1, 1, 1, 64), {64, 1, 3, 3}, image), ConvVariant::direct);
  EXPECT_EQ(chosen(with(1, 1), wide, {99, 64, 2, 2}), ConvVariant::direct);
  EXPECT_EQ(chosen(with(1, 1), wide, {1, 64, 16, 16}), ConvVariant::direct);
  EXPECT_EQ(chosen(with(1, 1), {512, 512, 3, 3}, {16, 512, 8, 8}), ConvVariant::direct);
}

TEST(Conv, RefusesWhatDoesNotFit) {
  Stream& s = current_stream(Device::cpu());
  const auto tensor = [](const Shape& shape, DType dtype = DType::f32) {
    return Tensor::zeros(shape, dtype, Device::cpu());
  };
  const Tensor x = tensor({2, 4, 8, 8}), weight = tensor({6, 4, 3, 3}), y = tensor({2, 6, 6, 6});
  const auto refuses = [&](const Tensor& a, const Tensor& b, const Tensor& c,
                           const ConvParams& p = {}, const Tensor& bias = {}) {
    EXPECT_THROW(
        conv_forward(s, a.view(), b.view(), bias.defined() ? bias.view() : View{}, c.view(), p),
        Error);
    EXPECT_THROW(conv_data_gradient(s, c.view(), b.view(), a.view(), p), Error) << "data gradient";
    EXPECT_THROW(conv_weight_gradient(s, a.view(), c.view(), b.view(), {}, p), Error)
        << "weight gradient";
  };
  conv_forward(s, x.view(), weight.view(), {}, y.view());
  refuses(tensor({2, 5, 8, 8}), weight, y);
  refuses(x, tensor({7, 4, 3, 3}), y);
  refuses(x, weight, tensor({3, 6, 6, 6}));
  refuses(x, weight, tensor({2, 6, 6, 7}));
  refuses(x, weight, y, with(2, 0));
  refuses(x, weight, y, with(0, 0));
  refuses(x, weight, y, {.padding = {-1, 0}});
  refuses(x, weight, y, with(1, 0, 0));
  refuses(x, weight, y, with(1, 0, 1, 2));
  refuses(x, weight, y, with(1, 0, 1, 0));
  refuses(tensor({2, 4, 8, 8}, DType::f64), weight, y);
  refuses(x, weight, tensor({6, 6, 6}));
  refuses(tensor({2, 4, 8, 16}).narrow(3, 0, 8), weight, y);
  refuses(x, tensor({6, 4, 3, 6}).narrow(3, 0, 3), y);
  for (const auto& [a, b, c, p] :
       {std::tuple{x, tensor({6, 4, 1, 1}), tensor({2, 6, 8, 8}), with(1, 0)},
        std::tuple{x, weight, tensor({2, 6, 3, 3}), with(2, 0)},
        std::tuple{x, weight, tensor({2, 6, 12, 12}), with(1, 3)}}) {
    ConvParams winograd = p;
    winograd.variant = ConvVariant::winograd;
    refuses(a, b, c, winograd);
  }
  const Tensor bias = tensor({5});
  EXPECT_THROW(conv_forward(s, x.view(), weight.view(), bias.view(), y.view()), Error);
  const auto refuses_dual = [&](const TensorDual& a, const TensorDual& b, const TensorDual& c,
                                const ConvParams& p = {}) {
    EXPECT_THROW(conv_forward(s, a.view(), b.view(), c.view(), p), Error);
    EXPECT_THROW(conv_data_gradient(s, c.view(), b.view(), a.view(), p), Error);
    EXPECT_THROW(conv_weight_gradient(s, a.view(), c.view(), b.view(), p), Error);
  };
  const Tensor tangent = tensor({2, 6, 6, 6});
  conv_forward(s, Dual{x.view(), x.view()}, {weight.view(), weight.view()},
               {y.view(), tangent.view()});
  refuses_dual({x, channels_last(x)}, {weight, weight}, {y, tangent});
  refuses_dual({x, x}, {weight, tensor({6, 4, 3, 3}, DType::f64)}, {y, tangent});
  refuses_dual({x, x}, {weight, weight}, {y, tensor({2, 6, 6, 7})});
  refuses_dual({x, x}, {weight, weight}, {y, tangent}, {.activation = Activation::relu});
  try {
    conv_forward(s, x.view(), weight.view(), {}, tensor({2, 6, 6, 7}).view());
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("conv_forward: x [2, 4, 8, 8]"), std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace tessera::kernels
