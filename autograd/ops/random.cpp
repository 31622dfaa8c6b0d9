#include "tessera/autograd/ops/random.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/kernels/random.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

// Diagonal, and so its own transpose.
struct Dropout final : LinearOp {
  double probability;
  RngState rng;
  int64_t sequences;
  Dropout(double p, RngState state, int64_t count) : probability(p), rng(state), sequences(count) {}
  std::string_view name() const override { return "dropout"; }
  Tensor eval(const Tensor& x) const override {
    const Tensor y = empty_like(x);
    kernels::dropout(current_stream(x.device()), rng, probability, contiguous(x).view(), y.view(),
                     sequences);
    return y;
  }
  Var transpose(const Var& gy, const Var&) const override {
    return apply_op(shared_from_this(), gy);
  }
};

}  // namespace

Var dropout(const Var& x, double probability, RngState rng, int64_t sequences) {
  TS_CHECK(probability >= 0 && probability < 1, "dropout: probability ", probability,
           " is not in [0, 1)");
  return probability == 0 ? x : apply_op(std::make_shared<Dropout>(probability, rng, sequences), x);
}

Var gaussian_noise(const Var& x, double deviation, RngState rng) {
  check_floating("gaussian_noise", x.value());
  return add(x, normal(x.shape(), 0.0, deviation, rng, x.dtype(), x.device()));
}

Tensor uniform(const Shape& shape, double low, double high, RngState rng, DType dtype,
               Device device) {
  const Tensor y = Tensor::empty(shape, dtype, device);
  kernels::uniform(current_stream(device), rng, low, high, y.view());
  return y;
}

Tensor normal(const Shape& shape, double mean, double deviation, RngState rng, DType dtype,
              Device device) {
  const Tensor y = Tensor::empty(shape, dtype, device);
  kernels::normal(current_stream(device), rng, mean, deviation, y.view());
  return y;
}

Tensor rademacher_like(const Var& x, RngState rng) {
  const Tensor y = empty_like(x.value());
  kernels::rademacher(current_stream(y.device()), rng, 1.0, y.view());
  return y;
}

}  // namespace tessera::autograd
