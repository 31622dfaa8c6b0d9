#include <gtest/gtest.h>

#include "tessera/autograd/ops.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/runtime/allocator.hpp"
#include "tessera/tests/support/gradcheck.hpp"

// How much memory a transform needs for each further layer, in activations.

namespace tessera::test {
namespace {

using namespace autograd;

// Bytes allocated at the same time while `run` runs, beyond those before it.
int64_t peak_bytes(const std::function<void()>& run) {
  const auto tracking = std::make_shared<TrackingAllocator>(std::make_shared<DriverAllocator>());
  AllocatorScope scope(Device::Type::cpu, tracking);
  run();
  return tracking->peak_bytes();
}

constexpr int64_t batch = 512, width = 8;  // activations weigh far more than parameters

Vars weights(int layers) {
  Vars w;
  for (int i = 0; i < layers; ++i)
    w.emplace_back(uniform({width, width}, DType::f64, static_cast<uint64_t>(i)));
  return w;
}

double activations_per_layer(
    const std::function<void(const Fn&, const Vars&, const Vars&)>& transform) {
  const Var x = uniform({batch, width}, DType::f64, 99);
  const Fn loss = [&](Inputs w) {
    Var h = x;
    for (const Var& layer : w) h = tanh(linear(h, layer));
    return sum(h);
  };
  const auto peak = [&](int layers) {
    const Vars w = weights(layers), v = random_like(w, 5);
    return static_cast<double>(peak_bytes([&] { transform(loss, w, v); }));
  };
  constexpr int few = 8, many = 24;
  return (peak(many) - peak(few)) / (many - few) / (batch * width * sizeof(double));
}

TEST(MemoryPerLayer, Gradient) {
  EXPECT_NEAR(
      activations_per_layer([](const Fn& f, const Vars& w, const Vars&) { value_and_grad(f, w); }),
      1, 0.1);
}

TEST(MemoryPerLayer, HvpForwardOverReverse) {
  EXPECT_NEAR(
      activations_per_layer([](const Fn& f, const Vars& w, const Vars& v) { hvp(f, w, v); }), 2,
      0.1);
}

// Better than the four that a plain tape of a tape takes. The outer tape holds h, its cotangent,
// and the cotangent through tanh. The fourth would be tanh'(h), which is never there: one op takes
// its product with the cotangent, and computes it from h again.
TEST(MemoryPerLayer, HvpReverseOverReverse) {
  EXPECT_NEAR(activations_per_layer(
                  [](const Fn& f, const Vars& w, const Vars& v) { hvp_reverse(f, w, v); }),
              3, 0.1);
}

TEST(MemoryPerLayer, VhvForwardOverForward) {
  EXPECT_NEAR(
      activations_per_layer([](const Fn& f, const Vars& w, const Vars& v) { vhv(f, w, v); }), 0,
      0.1);
}

// Layers in segments of four, of which the tape keeps the inputs only.
TEST(MemoryPerLayer, CheckpointedGradient) {
  const Var x = uniform({batch, width}, DType::f64, 99);
  const Fn segment = [](Inputs in) {
    Var h = in[0];
    for (const Var& layer : in.subspan(1)) h = tanh(linear(h, layer));
    return h;
  };
  const Fn loss = [&](Inputs w) {
    Var h = x;
    for (size_t i = 0; i < w.size(); i += 4) {
      Vars in{h};
      in.insert(in.end(), w.begin() + static_cast<ptrdiff_t>(i),
                w.begin() + static_cast<ptrdiff_t>(i + 4));
      h = checkpoint(segment, in);
    }
    return sum(h);
  };
  const auto peak = [&](int layers) {
    const Vars w = weights(layers);
    return static_cast<double>(peak_bytes([&] { value_and_grad(loss, w); }));
  };
  EXPECT_NEAR((peak(32) - peak(16)) / 16 / (batch * width * sizeof(double)), 0.25, 0.05);
}

TEST(Memory, NothingStaysAllocated) {
  const Vars w = weights(4), v = random_like(w, 5);
  const Var x = uniform({batch, width}, DType::f64, 99);
  const Fn loss = [&](Inputs at) {
    Var h = x;
    for (const Var& layer : at) h = tanh(linear(h, layer));
    return mean(square(h));
  };
  const auto tracking = std::make_shared<TrackingAllocator>(std::make_shared<DriverAllocator>());
  AllocatorScope scope(Device::Type::cpu, tracking);
  hvp(loss, w, v);
  hvp_reverse(loss, w, v);
  vhv(loss, w, v);
  linearize(MultiFn([&](Inputs at) { return value_and_grad(loss, at).gradients; }), w)(v);
  EXPECT_EQ(tracking->live_bytes(), 0);
}

}  // namespace
}  // namespace tessera::test
