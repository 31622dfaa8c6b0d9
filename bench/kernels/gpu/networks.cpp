// Convolutions and attention.
#include <cmath>

#include "tessera/bench/kernels/gpu/operands.hpp"
#include "tessera/kernels/attention.hpp"
#include "tessera/kernels/conv.hpp"

namespace tessera::bench {
namespace {

/// The sum over the 3x3 taps of a filter, of a [.., h, w] and b [.., 3, 3] for one pixel; `turned`:
/// the transpose, whose taps reach to the other side.
double taps_at(const Tensor& image, const Tensor& filters, int64_t h, int64_t w, bool turned) {
  const int64_t channels = image.size(0), height = image.size(1), width = image.size(2);
  const Numbers x = numbers(image), f = numbers(filters);
  double sum = 0;
  for (int64_t c = 0; c < channels; ++c)
    for (int64_t i = 0; i < 3; ++i)
      for (int64_t j = 0; j < 3; ++j) {
        const int64_t y = turned ? h + 1 - i : h + i - 1, v = turned ? w + 1 - j : w + j - 1;
        if (y < 0 || y >= height || v < 0 || v >= width) continue;
        sum += x[static_cast<size_t>((c * height + y) * width + v)] *
               f[static_cast<size_t>((c * 3 + i) * 3 + j)];
      }
  return sum;
}

/// The sum over all pixels of dy times x one tap away: the gradient of one filter's one channel.
double tap_gradient(const Tensor& x, const Tensor& dy, int64_t i, int64_t j) {
  const int64_t batch = x.size(0), height = x.size(1), width = x.size(2);
  const Numbers a = numbers(x), g = numbers(dy);
  double sum = 0;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = std::max<int64_t>(0, 1 - i); h < std::min(height, height + 1 - i); ++h)
      for (int64_t w = std::max<int64_t>(0, 1 - j); w < std::min(width, width + 1 - j); ++w)
        sum += a[static_cast<size_t>((b * height + h + i - 1) * width + w + j - 1)] *
               g[static_cast<size_t>((b * height + h) * width + w)];
  return sum;
}

Work conv(int64_t batch, int64_t channels, int64_t pixels, DType dtype, const char* which) {
  const Shape image{batch, channels, pixels, pixels}, filters{channels, channels, 3, 3};
  const double bytes =
      2 * static_cast<double>(image.numel() * static_cast<int64_t>(size_of(dtype)));
  const double flops = 18.0 * static_cast<double>(image.numel() * channels);
  const std::string pass = which;
  return rotating(bytes, flops, [&] {
    const bool forward = pass == "forward", data = pass == "data";
    const Tensor x = data ? empty(image, dtype) : uniform(image, dtype),
                 y = forward ? empty(image, dtype) : uniform(image, dtype),
                 weight = forward || data ? uniform(filters, dtype) : empty(filters, dtype);
    const auto run = [=] {
      const kernels::ConvParams p{.padding = {1, 1}};
      if (forward)
        kernels::conv_forward(stream(), x.view(), weight.view(), {}, y.view(), p);
      else if (data)
        kernels::conv_data_gradient(stream(), y.view(), weight.view(), x.view(), p);
      else
        kernels::conv_weight_gradient(stream(), x.view(), y.view(), weight.view(), {}, p);
    };
    const auto check = [=] {
      Numbers got, wanted;
      const auto look = [&](const Tensor& t, double at) {
        got.push_back(numbers(t)[0]);
        wanted.push_back(at);
      };
      for (const int64_t f : places(channels)) {
        if (forward || data)
          for (const int64_t h : places(pixels))
            for (const int64_t b : places(batch)) {
              const int64_t w = (h * 5 + b) % pixels;
              const Tensor &from = forward ? x : y, &to = forward ? y : x;
              look(to.select(0, b).select(0, f).select(0, h).narrow(0, w, 1),
                   taps_at(from.select(0, b), weight.select(forward ? 0 : 1, f), h, w, data));
            }
        else
          for (int64_t i = 0; i < 3; ++i) {
            const int64_t c = (f * 7 + i) % channels, j = 2 - i;
            look(weight.select(0, f).select(0, c).select(0, i).narrow(0, j, 1),
                 tap_gradient(x.select(1, c), y.select(1, f), i, j));
          }
      }
      expect_close(pass, got, wanted, rounding(dtype));
    };
    return Call{run, check};
  });
}

Work attention(int64_t batch, int64_t heads, int64_t tokens, int64_t dim, DType dtype) {
  const Shape shape{batch, heads, tokens, dim};
  const double bytes =
      4 * static_cast<double>(shape.numel() * static_cast<int64_t>(size_of(dtype)));
  const double scale = 1 / std::sqrt(static_cast<double>(dim));
  return rotating(bytes, 4.0 * static_cast<double>(shape.numel() * tokens), [&] {
    const Tensor q = uniform(shape, dtype), k = uniform(shape, dtype), v = uniform(shape, dtype),
                 y = empty(shape, dtype);
    const auto check = [=] {
      for (const int64_t h : places(batch * heads)) {
        const auto of_head = [&](const Tensor& t) {
          return t.reshape({batch * heads, tokens, dim}).select(0, h);
        };
        const Numbers keys = numbers(of_head(k)), values = numbers(of_head(v));
        for (const int64_t i : places(tokens)) {
          const Numbers query = row(of_head(q), i);
          const auto width = static_cast<size_t>(dim);
          Numbers wanted(width);
          double sum = 0;
          for (size_t t = 0; t < static_cast<size_t>(tokens); ++t) {
            double score = 0;
            for (size_t c = 0; c < width; ++c) score += query[c] * keys[t * width + c];
            const double p = std::exp(score * scale);
            sum += p;
            for (size_t c = 0; c < width; ++c) wanted[c] += p * values[t * width + c];
          }
          for (double& w : wanted) w /= sum;
          expect_close(concat("head ", h, ", query ", i), row(of_head(y), i), wanted,
                       rounding(dtype));
        }
      }
    };
    return Call{[=] {
                  kernels::attention(stream(), q.view(), k.view(), v.view(), {}, {.scale = scale},
                                     y.view());
                },
                check};
  });
}

}  // namespace

void add_networks() {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const int64_t sizes[][3] = {{256, 64, 32}, {256, 128, 16}, {256, 256, 8}};
    for (const auto& [b, c, p] : sizes) {
      const int64_t batch = extent(b, 1), channels = extent(c, 32), pixels = extent(p, 8);
      for (const char* which : {"forward", "data", "weight"})
        add_once({.name = std::string("conv/3x3_") + which,
                  .size = concat(batch, "x", channels, "x", pixels, "x", pixels),
                  .dtype = std::string(to_string(dtype)),
                  .device = device(),
                  .prepare = [=] { return conv(batch, channels, pixels, dtype, which); }});
    }
    const int64_t batch = extent(8, 1), heads = extent(16, 1), tokens = extent(2048, 64);
    add({.name = "attention/forward",
         .size = concat(batch, "x", heads, "x", tokens, "x", 64),
         .dtype = std::string(to_string(dtype)),
         .device = device(),
         .prepare = [=] { return attention(batch, heads, tokens, 64, dtype); }});
  }
}

}  // namespace tessera::bench
