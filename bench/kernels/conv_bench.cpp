// Convolutions of ResNet-20 on CIFAR-sized images, of wider networks, and of patch embeddings.
#include "tessera/kernels/conv.hpp"

#include <cmath>
#include <memory>
#include <string>

#include "tessera/bench/support/bench.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera {
namespace {

struct Layer {
  const char* name;
  int64_t n, c, h, o, filter, stride, padding;

  kernels::ConvParams params() const {
    return {.stride = {stride, stride}, .padding = {padding, padding}};
  }
  int64_t out() const { return kernels::conv_extent(h, filter, stride, padding, 1); }
  double flops() const { return 2.0 * n * o * out() * out() * c * filter * filter; }
  std::string size() const { return concat(n, "x", c, "x", h, "x", h, "->", o); }
};

const Layer layers[] = {
    {"3x3", 32, 64, 32, 64, 3, 1, 1},          {"3x3", 128, 3, 32, 16, 3, 1, 1},
    {"3x3", 128, 16, 32, 16, 3, 1, 1},         {"3x3", 128, 32, 16, 32, 3, 1, 1},
    {"3x3", 128, 64, 8, 64, 3, 1, 1},          {"3x3_stride2", 128, 16, 32, 32, 3, 2, 1},
    {"3x3_stride2", 128, 32, 16, 64, 3, 2, 1}, {"1x1_stride2", 128, 16, 32, 32, 1, 2, 0},
    {"1x1", 4, 128, 64, 128, 1, 1, 0},         {"3x3", 8, 512, 7, 512, 3, 1, 1},
    {"7x7_stride2", 4, 3, 224, 64, 7, 2, 3},   {"16x16_stride16", 8, 3, 224, 192, 16, 16, 0},
};

struct Data {
  explicit Data(const Layer& l)
      : x(filled({l.n, l.c, l.h, l.h})),
        weight(filled({l.o, l.c, l.filter, l.filter})),
        y(filled({l.n, l.o, l.out(), l.out()})),
        dx(Tensor::zeros(x.shape(), DType::f32, Device::cpu())),
        dweight(Tensor::zeros(weight.shape(), DType::f32, Device::cpu())),
        dy(filled(y.shape())) {}

  // Integers of [-2, 2], so that sums are exact and can be compared.
  static Tensor filled(const Shape& shape) {
    Tensor t = Tensor::empty(shape, DType::f32, Device::cpu());
    uint32_t state = 1;
    for (float& v : t.host_mutable<float>())
      v = static_cast<float>((state = state * 1664525 + 1013904223) >> 16) / 16384 - 2;
    return t;
  }

  Tensor x, weight, y, dx, dweight, dy;
};

void check_element(const char* what, double got, double wanted) {
  if (std::abs(got - wanted) > 1e-3 * (1 + std::abs(wanted)))
    throw Error(ErrorKind::invalid_argument, concat(what, ": ", got, " instead of ", wanted));
}

// y at one pixel in the middle, and the inner products <y, dy> = <x, dx> = <weight, dweight>.
void check(const Layer& l, const Data& d, bool gradients) {
  const auto x = d.x.host<float>(), w = d.weight.host<float>(), y = d.y.host<float>();
  const int64_t q = l.out(), p = q / 2, n = l.n - 1, o = l.o - 1;
  double sum = 0;
  for (int64_t c = 0; c < l.c; ++c)
    for (int64_t r = 0; r < l.filter; ++r)
      for (int64_t s = 0; s < l.filter; ++s) {
        const int64_t h = p * l.stride - l.padding + r, v = p * l.stride - l.padding + s;
        if (h < 0 || h >= l.h || v < 0 || v >= l.h) continue;
        sum += double(x[static_cast<size_t>(((n * l.c + c) * l.h + h) * l.h + v)]) *
               w[static_cast<size_t>(((o * l.c + c) * l.filter + r) * l.filter + s)];
      }
  check_element("y", y[static_cast<size_t>(((n * l.o + o) * q + p) * q + p)], sum);
  if (!gradients) return;
  const auto dot = [](const Tensor& a, const Tensor& b) {
    double total = 0;
    for (size_t i = 0; i < a.host<float>().size(); ++i)
      total += double(a.host<float>()[i]) * b.host<float>()[i];
    return total;
  };
  check_element("<x, dx>", dot(d.x, d.dx), dot(d.y, d.dy));
  check_element("<weight, dweight>", dot(d.weight, d.dweight), dot(d.y, d.dy));
}

void add(const Layer& l, const char* what, bool with_forward, bool with_dx, bool with_dw) {
  bench::add({.name = concat("conv/", l.name, what), .size = l.size(), .prepare = [=] {
                auto d = std::make_shared<Data>(l);
                Stream& s = current_stream(Device::cpu());
                const auto run = [=, &s](bool forward, bool dx, bool dw) {
                  if (forward)
                    kernels::conv_forward(s, d->x.view(), d->weight.view(), {}, d->y.view(),
                                          l.params());
                  if (dx)
                    kernels::conv_data_gradient(s, d->dy.view(), d->weight.view(), d->dx.view(),
                                                l.params());
                  if (dw)
                    kernels::conv_weight_gradient(s, d->x.view(), d->dy.view(), d->dweight.view(),
                                                  {}, l.params());
                };
                run(true, true, true);
                return bench::Work{.run = [=] { run(with_forward, with_dx, with_dw); },
                                   .check = [=] { check(l, *d, true); },
                                   .flops = l.flops() * (with_forward + with_dx + with_dw)};
              }});
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  for (const tessera::Layer& l : tessera::layers) {
    tessera::add(l, "", true, false, false);
    tessera::add(l, "_dx", false, true, false);
    tessera::add(l, "_dw", false, false, true);
    // The first layer of a network needs no gradient of its images.
    tessera::add(l, "_fwd_bwd", true, l.c > 3, true);
  }
  return tessera::bench::main(argc, argv);
}
