// Softmax, normalisations and cross-entropy; outputs are allocated in the timed call, as peers do.
#include "tessera/kernels/rowwise.hpp"

#include <cmath>
#include <vector>

#include "tessera/bench/support/bench.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera {
namespace {

using bench::Work;

Stream& stream() { return current_stream(Device::cpu()); }
Tensor empty(const Shape& shape, DType dtype = DType::f32) {
  return Tensor::empty(shape, dtype, Device::cpu());
}
Tensor random(const Shape& shape, uint64_t seed, float spread = 2) {
  Tensor t = empty(shape);
  Rng rng(seed);
  for (float& v : t.host_mutable<float>()) v = spread * static_cast<float>(rng.uniform() - 0.5);
  return t;
}
double bytes_of(std::initializer_list<Tensor> tensors) {
  double bytes = 0;
  for (const Tensor& t : tensors) bytes += static_cast<double>(t.numel()) * 4;
  return bytes;
}
void expect_near(double got, double wanted, double allowed, const char* what) {
  TS_CHECK(std::abs(got - wanted) <= allowed, what, " is ", got, ", expected ", wanted);
}

constexpr int64_t rows = 4096, width = 1024;

Work softmax(bool backward) {
  const Tensor x = random({rows, width}, 1), gy = random({rows, width}, 2);
  return {.run =
              [=] {
                const Tensor y = empty({rows, width});
                kernels::softmax(stream(), x.view(), y.view());
                if (!backward) return;
                const Tensor gx = empty({rows, width});
                kernels::softmax_gradient(stream(), y.view(), gy.view(), gx.view());
              },
          .check =
              [=] {
                const Tensor y = empty({rows, width}), gx = empty({rows, width});
                kernels::softmax(stream(), x.view(), y.view());
                kernels::softmax_gradient(stream(), y.view(), gy.view(), gx.view());
                double sum = 0, gradient_sum = 0;
                for (int64_t i = 0; i < width; ++i) {
                  sum += y.host<float>()[static_cast<size_t>(i)];
                  gradient_sum += gx.host<float>()[static_cast<size_t>(i)];
                }
                expect_near(sum, 1, 1e-5, "the sum of a softmax");
                expect_near(gradient_sum, 0, 1e-5, "the sum of its gradient");
              },
          .bytes = bytes_of({x, x}) + (backward ? bytes_of({x, x, x}) : 0)};
}

Work layer_norm(bool backward) {
  const Tensor x = random({rows, width}, 1), gy = random({rows, width}, 2);
  const Tensor gamma = random({width}, 3), beta = random({width}, 4);
  const auto run = [=] {
    Tensor y = empty({rows, width});
    const Tensor mean = empty({rows}), rstd = empty({rows});
    kernels::layer_norm(stream(), x.view(), gamma.view(), beta.view(), 1e-5, y.view(), mean.view(),
                        rstd.view());
    if (!backward) return y;
    const Tensor gx = empty({rows, width}), ggamma = empty({width}), gbeta = empty({width});
    kernels::layer_norm_gradient(stream(), x.view(), gamma.view(), mean.view(), rstd.view(),
                                 gy.view(), gx.view(), ggamma.view(), gbeta.view());
    return gbeta;
  };
  return {.run = run,
          .check =
              [=] {
                double wanted = 0;
                if (backward) {
                  for (int64_t r = 0; r < rows; ++r)
                    wanted += gy.host<float>()[static_cast<size_t>(r * width)];
                } else {
                  double mean = 0, squares = 0;
                  for (int64_t i = 0; i < width; ++i)
                    mean += x.host<float>()[static_cast<size_t>(i)] / width;
                  for (int64_t i = 0; i < width; ++i)
                    squares += std::pow(x.host<float>()[static_cast<size_t>(i)] - mean, 2) / width;
                  wanted = (x.host<float>()[0] - mean) / std::sqrt(squares + 1e-5) *
                               gamma.host<float>()[0] +
                           beta.host<float>()[0];
                }
                expect_near(run().host<float>()[0], wanted, 1e-3, "layer norm");
              },
          .bytes = bytes_of({x, x}) + (backward ? bytes_of({x, x, x}) : 0)};
}

Work batch_norm() {
  const Shape shape{128, 16, 32, 32};
  const Tensor x = random(shape, 1), gy = random(shape, 2), gamma = random({16}, 3),
               beta = random({16}, 4);
  const Tensor running_mean = Tensor::zeros({16}, DType::f32, Device::cpu()),
               running_var = running_mean.clone();
  const auto run = [=] {
    const Tensor y = empty(shape), mean = empty({16}), rstd = empty({16});
    const kernels::BatchNormMap map{mean.view(), rstd.view(), gamma.view(), beta.view()};
    kernels::batch_statistics(stream(), x.view(), {}, mean.view(), rstd.view(), running_mean.view(),
                              running_var.view());
    kernels::batch_norm(stream(), x.view(), map, {}, y.view());
    const Tensor gx = empty(shape), ggamma = empty({16}), gbeta = empty({16});
    kernels::batch_norm_gradient(stream(), x.view(), map, gy.view(), true, gx.view(), ggamma.view(),
                                 gbeta.view());
    return gx;
  };
  return {.run = run,
          .check =
              [=] {
                double sum = 0;
                for (const float g : run().host<float>()) sum += g;
                expect_near(sum, 0, 1, "the sum of batch norm's gradient");
              },
          .bytes = bytes_of({x, x, x, x, x, x, x, x})};
}

Work cross_entropy(bool backward) {
  const int64_t n = 2048, classes = 8000;
  const Tensor x = random({n, classes}, 1, 6);
  const Tensor labels = empty({n}, DType::i64), seed = Tensor::from({1.0f}, {}, Device::cpu());
  Rng rng(2);
  for (int64_t& label : Tensor(labels).host_mutable<int64_t>())
    label = static_cast<int64_t>(rng.below(classes));
  const kernels::CrossEntropyParams p{.label_smoothing = 0.1};
  const auto run = [=] {
    Tensor loss = empty({});
    const Tensor lse = empty({n});
    kernels::cross_entropy(stream(), x.view(), labels.view(), {}, p, loss.view(), lse.view());
    if (!backward) return loss;
    const Tensor gx = empty({n, classes});
    kernels::cross_entropy_gradient(stream(), x.view(), labels.view(), {}, p, lse.view(),
                                    seed.view(), gx.view());
    return gx;
  };
  return {.run = run,
          .check =
              [=] {
                double sum = 0, wanted = 0;
                for (const float v : run().host<float>()) sum += v;
                if (!backward)
                  for (int64_t r = 0; r < n; ++r) {
                    double total = 0, mean = 0;
                    const float* row = x.host<float>().data() + r * classes;
                    for (int64_t c = 0; c < classes; ++c)
                      total += std::exp(row[c]), mean += row[c] / classes;
                    const double at_label = row[labels.host<int64_t>()[static_cast<size_t>(r)]];
                    wanted += (std::log(total) - 0.9 * at_label - 0.1 * mean) / n;
                  }
                expect_near(sum, wanted, 1e-4, "cross entropy, or the sum of its gradient,");
              },
          .bytes = bytes_of({x}) + (backward ? bytes_of({x, x}) : 0)};
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  bench::add(
      {.name = "rowwise/softmax", .size = "4096x1024", .prepare = [] { return softmax(false); }});
  bench::add({.name = "rowwise/softmax_fwd_bwd", .size = "4096x1024", .prepare = [] {
                return softmax(true);
              }});
  bench::add({.name = "rowwise/layer_norm", .size = "4096x1024", .prepare = [] {
                return layer_norm(false);
              }});
  bench::add({.name = "rowwise/layer_norm_fwd_bwd", .size = "4096x1024", .prepare = [] {
                return layer_norm(true);
              }});
  bench::add({.name = "rowwise/batch_norm_fwd_bwd", .size = "128x16x32x32", .prepare = batch_norm});
  bench::add({.name = "rowwise/cross_entropy", .size = "2048x8000", .prepare = [] {
                return cross_entropy(false);
              }});
  bench::add({.name = "rowwise/cross_entropy_fwd_bwd", .size = "2048x8000", .prepare = [] {
                return cross_entropy(true);
              }});
  return bench::main(argc, argv);
}
