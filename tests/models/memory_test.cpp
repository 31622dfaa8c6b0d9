#include <gtest/gtest.h>

#include "tessera/autograd/ops/loss.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/nets/resnet.hpp"
#include "tessera/runtime/allocator.hpp"
#include "tessera/tests/support/target.hpp"

// What each further layer conv - batch norm - relu of a residual network adds to the peak memory of
// a transform, to the byte.

namespace tessera::models {
namespace {

using autograd::Fn;

constexpr int64_t batch = 24, classes = 10;

// From depth 20 to 32 each of the three stages, whose images have a half of the pixels' extent and
// twice the channels of those before, gets two residual blocks of two layers.
constexpr int64_t layers = 4;
constexpr int64_t channels = 16 + 32 + 64;
constexpr int64_t activations = batch * 32 * 32 * (16 + 32 / 4 + 64 / 16) * sizeof(float);
constexpr int64_t filters = 9 * (16 * 16 + 32 * 32 + 64 * 64) * sizeof(float);
constexpr int64_t statistics = 2 * channels * sizeof(float);  // mean and rstd

int64_t peak_bytes(int depth, const std::function<void(const Fn&, const Vars&, const Vars&)>& run) {
  const test::Threads threads(2);  // each has scratch memory
  Rng rng(1);
  const ResNet model = ResNet::make(depth, classes, rng);
  const Tensor images = normal({batch, 3, 32, 32}, 1.0, rng);
  const Tensor labels = Tensor::from(std::vector<int64_t>(batch, 3), {batch}, Device::cpu());
  const auto loss = [&](const ResNet& net) {
    return autograd::cross_entropy(net(images, {.training = true, .rng = Rng(0)}), labels);
  };
  const Vars at = parameters(model), v = parameters(ResNet::make(depth, classes, rng));
  const auto tracking = std::make_shared<TrackingAllocator>(std::make_shared<DriverAllocator>());
  const AllocatorScope scope(Device::Type::cpu, tracking);
  run(loss_of_parameters(model, loss), at, v);
  return tracking->peak_bytes();
}

int64_t growth(const std::function<void(const Fn&, const Vars&, const Vars&)>& run) {
  return peak_bytes(32, run) - peak_bytes(20, run);
}

// A layer keeps what its convolution gave and computes the rest again, but for every second block's
// sum, from which the next one's is computed: five activations in four layers.
constexpr int64_t kept = (layers + 1) * activations + layers * statistics;

TEST(MemoryPerLayer, Gradient) {
  EXPECT_EQ(growth([](const Fn& f, const Vars& x, const Vars&) { autograd::value_and_grad(f, x); }),
            kept);
}

// All that a gradient keeps, and its tangent.
TEST(MemoryPerLayer, HvpForwardOverReverse) {
  EXPECT_EQ(growth([](const Fn& f, const Vars& x, const Vars& v) { autograd::hvp(f, x, v); }),
            2 * kept);
}

// In a block of two layers: what both convolutions gave, the sum, and the cotangents of both
// convolutions and of both norms, seven in two layers; and the gradients of all parameters.
TEST(MemoryPerLayer, HvpReverseOverReverse) {
  EXPECT_EQ(
      growth([](const Fn& f, const Vars& x, const Vars& v) { autograd::hvp_reverse(f, x, v); }),
      layers * 7 / 2 * activations + layers * (filters + 2 * statistics));
}

TEST(MemoryPerLayer, VhvForwardOverForward) {
  EXPECT_EQ(growth([](const Fn& f, const Vars& x, const Vars& v) { autograd::vhv(f, x, v); }), 0);
}

}  // namespace
}  // namespace tessera::models
