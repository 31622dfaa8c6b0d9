#include "tessera/kernels/pool.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <numeric>

#include "tessera/kernels/conv.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::Values;

class PoolTest : public test::TargetTest {
 protected:
  static std::vector<int64_t> index_of(const Tensor& t) { return t.values<int64_t>(); }
};

struct Case {
  Shape x;
  PoolParams params;
  int64_t extra = 0;  // windows beyond the whole ones (ceil mode)

  Shape y() const {
    Shape y = x;
    for (int i = 0; i < 2; ++i)
      y[i + 2] = conv_extent(x[i + 2], params.window[i], params.stride[i], params.padding[i],
                             params.dilation[i]) +
                 extra;
    return y;
  }
};

const Case cases[] = {
    {{2, 3, 8, 8}, {}},
    {{1, 2, 7, 9}, {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}}},
    {{2, 1, 32, 33}, {.window = {3, 2}, .stride = {1, 3}, .padding = {0, 1}}},
    {{1, 1, 3, 3}, {.window = {3, 3}, .stride = {1, 1}}},
    {{1, 2, 6, 6}, {.window = {3, 3}, .stride = {2, 2}}, 1},
    {{1, 2, 6, 6}, {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}, .count_padding = false}},
};

// The elements of each window, as positions in the plane, row by row.
std::vector<std::vector<int64_t>> windows(const Case& k) {
  std::vector<std::vector<int64_t>> all;
  const Shape y = k.y();
  for (int64_t i = 0; i < y[2]; ++i)
    for (int64_t j = 0; j < y[3]; ++j) {
      all.emplace_back();
      for (int64_t r = 0; r < k.params.window[0]; ++r)
        for (int64_t s = 0; s < k.params.window[1]; ++s) {
          const int64_t h = i * k.params.stride[0] - k.params.padding[0] + r * k.params.dilation[0];
          const int64_t w = j * k.params.stride[1] - k.params.padding[1] + s * k.params.dilation[1];
          if (h >= 0 && h < k.x[2] && w >= 0 && w < k.x[3]) all.back().push_back(h * k.x[3] + w);
        }
    }
  return all;
}

TEST_P(PoolTest, MaximaGatherAndScatter) {
  std::vector<Case> all(std::begin(cases), std::end(cases));
  all.push_back(
      {{1, 2, 9, 9}, {.window = {2, 3}, .stride = {2, 1}, .padding = {1, 1}, .dilation = {2, 2}}});
  for (const Case& k : all) {
    const Tensor x = test::integers(k.x, dtype(), 1), y = empty(k.y()),
                 index = empty(k.y(), DType::i64);
    const Values xs = test::to_doubles(x);
    max_pool(stream(), on_device(x).view(), y.view(), index.view(), k.params);
    const auto in_window = windows(k);
    const auto in = static_cast<size_t>(k.x[2] * k.x[3]);
    Values maxima, scattered(xs.size());
    std::vector<int64_t> positions;
    for (size_t plane = 0; plane < xs.size() / in; ++plane)
      for (const auto& window : in_window) {
        int64_t best = window[0];
        for (const int64_t at : window)
          if (xs[plane * in + static_cast<size_t>(at)] > xs[plane * in + static_cast<size_t>(best)])
            best = at;
        positions.push_back(best);
        maxima.push_back(xs[plane * in + static_cast<size_t>(best)]);
        scattered[plane * in + static_cast<size_t>(best)] +=
            static_cast<double>(positions.size() % 5);
      }
    test::expect_close(y, maxima, {}, "maxima");
    EXPECT_EQ(index_of(index), positions);

    const Tensor gathered = empty(k.y());
    pool_gather(stream(), on_device(x).view(), index.view(), gathered.view());
    test::expect_close(gathered, maxima, {}, "gathered");

    Values dy;
    for (size_t i = 0; i < positions.size(); ++i) dy.push_back(static_cast<double>((i + 1) % 5));
    const Tensor back = empty(k.x);
    pool_scatter(stream(), on_device(test::from_doubles(dy, k.y(), dtype())).view(), index.view(),
                 back.view());
    test::expect_close(back, scattered, {}, "scattered");
  }
}

TEST_P(PoolTest, MaximaOfSpecialValues) {
  const Tensor x = on_device(test::from_doubles(
      {NAN, 1, 2, -INFINITY, -INFINITY, -INFINITY, NAN, NAN}, {1, 1, 1, 8}, dtype()));
  const Tensor y = empty({1, 1, 1, 4}), index = empty({1, 1, 1, 4}, DType::i64);
  max_pool(stream(), x.view(), y.view(), index.view(), {.window = {1, 2}, .stride = {1, 2}});
  test::expect_close(y, Values{NAN, 2, -INFINITY, NAN});
  EXPECT_EQ(index_of(index), (std::vector<int64_t>{0, 2, 4, 6}));
}

using Map = std::function<void(View, View)>;

TEST_P(PoolTest, Averages) {
  for (const Case& k : cases) {
    const Tensor x = test::uniform(k.x, dtype(), 1), y = empty(k.y());
    const Values xs = test::to_doubles(x);
    average_pool(stream(), on_device(x).view(), y.view(), k.params);
    const auto in_window = windows(k);
    const auto in = static_cast<size_t>(k.x[2] * k.x[3]);
    const Shape out = k.y();
    Values wanted;
    for (size_t plane = 0; plane < xs.size() / in; ++plane)
      for (int64_t i = 0; i < out[2]; ++i)
        for (int64_t j = 0; j < out[3]; ++j) {
          const auto& window = in_window[static_cast<size_t>(i * out[3] + j)];
          double sum = 0;
          for (const int64_t at : window) sum += xs[plane * in + static_cast<size_t>(at)];
          const auto counted = [&](int axis, int64_t at) {
            const int64_t start = at * k.params.stride[axis] - k.params.padding[axis];
            return std::min(start + k.params.window[axis], k.x[axis + 2] + k.params.padding[axis]) -
                   start;
          };
          const auto count = k.params.count_padding ? counted(0, i) * counted(1, j)
                                                    : static_cast<int64_t>(window.size());
          wanted.push_back(sum / static_cast<double>(count));
        }
    test::expect_close(y, wanted, "averages");
  }
}

TEST_P(PoolTest, AdaptiveAverages) {
  // rows 0-1, 1-3, 3-4 of five; the golden formula floor(i h / p) .. ceil((i + 1) h / p)
  const Tensor x = test::from_doubles({1, 2, 3, 4, 5}, {1, 1, 5, 1}, dtype()),
               y = empty({1, 1, 3, 1});
  adaptive_average_pool(stream(), on_device(x).view(), y.view());
  test::expect_close(y, Values{1.5, 3, 4.5});
  const Tensor images = test::integers({3, 5, 8, 8}, dtype(), 2), means = empty({3, 5, 1, 1});
  adaptive_average_pool(stream(), on_device(images).view(), means.view());
  Values wanted(15);
  const Values xs = test::to_doubles(images);
  for (size_t i = 0; i < xs.size(); ++i) wanted[i / 64] += xs[i] / 64;
  test::expect_close(means, wanted, "global averages");
}

TEST_P(PoolTest, ResamplesKnownValues) {
  const auto resampled = [&](const Values& x, int64_t n, const ResampleParams& p) {
    const Tensor y = empty({1, 1, 1, n});
    const auto size = static_cast<int64_t>(x.size());
    resample(stream(), on_device(test::from_doubles(x, {1, 1, 1, size}, dtype())).view(), y.view(),
             p);
    return y;
  };
  test::expect_close(resampled({1, 2, 3}, 6, {.mode = ResampleMode::nearest}),
                     Values{1, 1, 2, 2, 3, 3});
  test::expect_close(resampled({1, 2, 3, 4, 5}, 3, {.mode = ResampleMode::nearest}),
                     Values{1, 2, 4});
  test::expect_close(resampled({0, 4}, 4, {}), Values{0, 1, 3, 4});
  test::expect_close(resampled({0, 4, 0}, 5, {.align_corners = true}), Values{0, 2, 4, 2, 0});
  test::expect_close(resampled({7, 3}, 1, {.align_corners = true}), Values{7});
  test::expect_close(resampled({0, 2, 4, 6}, 2, {}), Values{1, 5});
  // Keys' cubic with a = -0.75 at t = 1/4 and 3/4: weights (-27, 225, 67, -9) / 256 and their
  // mirror image
  const ResampleParams cubic{.mode = ResampleMode::bicubic};
  test::expect_close(resampled({0, 0, 256, 0, 0}, 10, cubic),
                     Values{0, -9, -27, 67, 225, 225, 67, -27, -9, 0});
  test::expect_close(resampled({5, 5, 5}, 7, cubic), Values(7, 5));
  // exact at the points themselves
  test::expect_close(
      resampled({3, -1, 4, 1, 5}, 9, {.mode = ResampleMode::bicubic, .align_corners = true})
          .reshape({9, 1})
          .narrow(0, 2, 1),
      Values{-1});
}

// imresize(reshape(0:15, 4, 4)', [3 3], 'bicubic') to four decimals, and the weights worked out by
// hand for a factor of two either way.
TEST_P(PoolTest, ImresizeAgreesWithMatlab) {
  const ResampleParams params{.mode = ResampleMode::imresize};
  const auto resized = [&](const Values& x, const Shape& from, const Shape& to) {
    const Tensor y = empty(to);
    resample(stream(), on_device(test::from_doubles(x, from, dtype())).view(), y.view(), params);
    return y;
  };
  Values ramp(16);
  std::iota(ramp.begin(), ramp.end(), 0.0);
  const Values small = test::to_doubles(resized(ramp, {1, 1, 4, 4}, {1, 1, 3, 3}));
  const Values matlab{0.7506, 2.1004, 3.4503, 6.1501, 7.5, 8.8499, 11.5497, 12.8996, 14.2494};
  for (size_t i = 0; i < matlab.size(); ++i)
    EXPECT_NEAR(small[i], matlab[i], 5.1e-5 + 16 * test::roundoff(dtype())) << i;
  // twice as many: (-3, 29, 111, -9) / 128 and its mirror image; the rim counts again outside
  const auto line = [&](const Values& x, int64_t n) {
    return resized(x, {1, 1, 1, static_cast<int64_t>(x.size())}, {1, 1, 1, n});
  };
  test::expect_close(line({0, 0, 0, 128, 0, 0, 0}, 14),
                     Values{0, 0, 0, -3, -9, 29, 111, 111, 29, -9, -3, 0, 0, 0});
  test::expect_close(line({128, 0, 0, 0}, 8), Values{140, 102, 26, -9, -3, 0, 0, 0});
  // half as many: the kernel twice as wide
  test::expect_close(line({0, 0, 1024, 0, 0, 0, 0, 0}, 4), Values{104, 444, -36, 0});
  test::expect_close(line({1024, 0, 0, 0, 0, 0, 0, 0}, 4), Values{560, -48, 0, 0});
  test::expect_close(line({1, 2, 3, 4, 5, 6, 7, 8}, 1), Values{4.5});
}

// <map(x), y> = <x, transpose(y)>, with the transpose of every map.
TEST_P(PoolTest, TransposesAreAdjoint) {
  struct Pair {
    std::string name;
    Shape x, y;
    Map map, transpose;
  };
  std::vector<Pair> pairs;
  for (const Case& k : cases)
    pairs.push_back({"average", k.x, k.y(),
                     [&](View x, View y) { average_pool(stream(), x, y, k.params); },
                     [&](View y, View x) { average_pool_transpose(stream(), y, x, k.params); }});
  for (const Shape& y : {Shape{2, 3, 1, 1}, Shape{2, 3, 3, 4}, Shape{2, 3, 9, 11}})
    pairs.push_back({"adaptive average",
                     {2, 3, 7, 6},
                     y,
                     [&](View x, View out) { adaptive_average_pool(stream(), x, out); },
                     [&](View out, View x) { adaptive_average_pool_transpose(stream(), out, x); }});
  for (const ResampleMode mode : {ResampleMode::nearest, ResampleMode::bilinear,
                                  ResampleMode::bicubic, ResampleMode::imresize})
    for (const bool align : {false, true})
      for (const Shape& y : {Shape{2, 2, 10, 13}, Shape{2, 2, 3, 2}, Shape{2, 2, 1, 6}}) {
        const ResampleParams p{.mode = mode, .align_corners = align};
        pairs.push_back({"resample",
                         {2, 2, 5, 6},
                         y,
                         [=](View x, View out) { resample(stream(), x, out, p); },
                         [=](View out, View x) { resample_transpose(stream(), out, x, p); }});
      }
  for (const Pair& k : pairs) {
    const Tensor x = test::uniform(k.x, dtype(), 1), dy = test::uniform(k.y, dtype(), 2);
    const Tensor y = empty(k.y), dx = empty(k.x);
    k.map(on_device(x).view(), y.view());
    k.transpose(on_device(dy).view(), dx.view());
    const Values xs = test::to_doubles(x), ys = test::to_doubles(y), dys = test::to_doubles(dy),
                 dxs = test::to_doubles(dx);
    double left = 0, right = 0, size = 0;
    for (size_t i = 0; i < ys.size(); ++i) left += ys[i] * dys[i], size += std::abs(ys[i] * dys[i]);
    for (size_t i = 0; i < xs.size(); ++i) right += xs[i] * dxs[i];
    EXPECT_NEAR(left, right, 4 * test::roundoff(dtype()) * size + 1e-13)
        << k.name << " " << to_string(k.y);
  }
}

TEST_P(PoolTest, EmptyBatch) {
  const Tensor x = empty({0, 3, 4, 4}), y = empty({0, 3, 2, 2}),
               index = empty({0, 3, 2, 2}, DType::i64);
  max_pool(stream(), x.view(), y.view(), index.view());
  pool_scatter(stream(), y.view(), index.view(), x.view());
  average_pool(stream(), x.view(), y.view());
  resample_transpose(stream(), y.view(), x.view());
}

INSTANTIATE_TEST_SUITE_P(Targets, PoolTest, test::targets(test::float_dtypes, &Backend::pool),
                         test::target_name);

TEST(Pool, RefusesWhatDoesNotFit) {
  Stream& s = current_stream(Device::cpu());
  const auto tensor = [](const Shape& shape, DType dtype = DType::f32) {
    return Tensor::zeros(shape, dtype, Device::cpu());
  };
  const Tensor x = tensor({1, 2, 6, 6}), y = tensor({1, 2, 3, 3}),
               index = tensor({1, 2, 3, 3}, DType::i64);
  const auto refuses = [&](const Tensor& a, const Tensor& b, const PoolParams& p = {}) {
    const Tensor at = Tensor::zeros(b.shape(), DType::i64, Device::cpu());
    EXPECT_THROW(max_pool(s, a.view(), b.view(), at.view(), p), Error);
    EXPECT_THROW(average_pool(s, a.view(), b.view(), p), Error);
    EXPECT_THROW(average_pool_transpose(s, b.view(), a.view(), p), Error);
  };
  max_pool(s, x.view(), y.view(), index.view());
  refuses(x, tensor({1, 2, 4, 3}));
  refuses(x, tensor({1, 3, 3, 3}));
  refuses(x, tensor({2, 3, 3}));
  refuses(x, tensor({1, 2, 3, 3}, DType::f64));
  refuses(x, y, {.window = {0, 2}});
  refuses(x, y, {.stride = {0, 2}});
  refuses(x, tensor({1, 2, 5, 5}), {.padding = {2, 2}});
  refuses(tensor({1, 2, 6, 12}).narrow(3, 0, 6), y);
  refuses(tensor({1, 2, 0, 0}), y);
  EXPECT_THROW(max_pool(s, x.view(), y.view(), tensor({1, 2, 3, 3}).view()), Error);
  EXPECT_THROW(average_pool(s, x.view(), tensor({1, 2, 4, 4}).view(),
                            {.stride = {1, 1}, .dilation = {2, 2}}),
               Error);
  // a dilated window that misses the single pixel
  EXPECT_THROW(
      max_pool(s, tensor({1, 1, 1, 1}).view(), tensor({1, 1, 1, 1}).view(),
               tensor({1, 1, 1, 1}, DType::i64).view(), {.padding = {1, 1}, .dilation = {2, 2}}),
      Error);
  Tensor wrong = Tensor::zeros({1, 2, 3, 3}, DType::i64, Device::cpu());
  for (const int64_t at : {int64_t{36}, int64_t{-1}}) {
    wrong.host_mutable<int64_t>()[10] = at;
    EXPECT_THROW(pool_gather(s, x.view(), wrong.view(), y.view()), Error);
    try {
      pool_scatter(s, y.view(), wrong.view(), x.view());
      FAIL();
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find("element 1 of plane 1"), std::string::npos) << e.what();
    }
  }
}

}  // namespace
}  // namespace tessera::kernels
