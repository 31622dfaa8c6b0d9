// Copies of boxes of tensors with one mistake each, next to the same kernel without it.
#include <gtest/gtest.h>

#include "tessera/kernels/cuda/ptx_warpgroup.cuh"
#include "tessera/kernels/cuda/tensor_map.cuh"
#include "tessera/tests/simt/array.hpp"

namespace tessera::kernels::cuda {
namespace {

enum class Bug {
  none,
  no_map,         // what should be a tensor map is not one
  misaligned,     // the box in shared memory
  beyond,         // ... leads out of it
  missing_bytes,  // the phase expects more than the box has
  other_swizzle,  // the product reads in another order than the copy wrote
  overwritten,    // the producer does not wait for the product that reads the box
};

struct alignas(1024) Boxes {
  Mbarrier full;
  alignas(1024) f16 a[64 * 64];
  f16 b[8 * 64];
};
constexpr uint32_t box_bytes = (64 + 8) * 64 * 2;

/// d = a b^T of boxes of 64 x 64 and 8 x 64 halves.
template <Bug bug>
__global__ void multiply_boxes(const __grid_constant__ TensorMap a_map,
                               const __grid_constant__ TensorMap b_map, float* out) {
  Boxes& s = dynamic_shared<Boxes>();
  const uint32_t me = thread_index().x;
  const int32_t start[2] = {0, 0};
  if (me == 0) {
    init_mbarrier(s.full, 1);
    fence_mbarrier_init();
  }
  sync_block();
  if (me == 0) {
    arrive_and_expect(s.full, box_bytes + (bug == Bug::missing_bytes ? 16 : 0));
    tensor_load<2>(bug == Bug::misaligned ? s.a + 8
                   : bug == Bug::beyond   ? s.a + 1536
                                          : s.a,
                   a_map, start, s.full);
    tensor_load<2>(s.b, b_map, start, s.full);
  }
  wait_mbarrier(s.full, 0);
  const Swizzle swizzle = bug == Bug::other_swizzle ? Swizzle::span64 : Swizzle::span128;
  const uint64_t a = describe_matrix(s.a, 16, 1024, swizzle),
                 b = describe_matrix(s.b, 16, 1024, Swizzle::span128);
  float d[4];
  warpgroup_fence();
  warpgroup_multiply<f16, 8>(d, a, b, false);
  warpgroup_commit();
  if (bug == Bug::overwritten) {
    sync_block();
    if (me == 0) {
      arrive_and_expect(s.full, box_bytes);
      tensor_load<2>(s.a, a_map, start, s.full);
      tensor_load<2>(s.b, b_map, start, s.full);
    }
  }
  warpgroup_wait<0>();
  if (bug == Bug::overwritten) wait_mbarrier(s.full, 1);
  out[me] = d[0];
}

TensorShape halves(const void* data, uint32_t rows) {
  return {.dtype = DType::f16,
          .data = data,
          .rank = 2,
          .extent = {64, rows},
          .stride = {128},
          .box = {64, rows},
          .swizzle = Swizzle::span128};
}

template <Bug bug>
std::string boxes_failure() {
  const Array<Pack<f16, 8>> x(64 * 8, {f16(1.0f), f16(1.0f), f16(1.0f), f16(1.0f), f16(1.0f),
                                       f16(1.0f), f16(1.0f), f16(1.0f)});
  const Array<float> out(128);
  const TensorMap a = bug == Bug::no_map ? TensorMap{}
                                         : make_tensor_map("test", halves(x.data(), 64)),
                  b = make_tensor_map("test", halves(x.data(), 8));
  const std::string message =
      failure({"multiply_boxes", {1}, {128}, sizeof(Boxes)}, multiply_boxes<bug>, a, b, out.data());
  if (message.empty()) {
    EXPECT_EQ(out[77], 16);
  }
  return message;
}

TEST(BoxBugs, AreReported) {
  EXPECT_EQ(boxes_failure<Bug::none>(), "");
  const auto expect = [](const std::string& message, const char* what) {
    expect_contains(
        message, {what, "kernel multiply_boxes, block (0, 0, 0), thread (", "box_bugs_test.cpp:"});
  };
  expect(boxes_failure<Bug::no_map>(), "tensor_load: not a tensor map");
  expect(boxes_failure<Bug::misaligned>(), "the shared address is not a multiple of 1024 bytes");
  expect(boxes_failure<Bug::beyond>(), "outside of shared memory");
  expect_contains(boxes_failure<Bug::missing_bytes>(),
                  {"no thread of kernel multiply_boxes can go on", "and 16 bytes of phase 0"});
  expect(boxes_failure<Bug::other_swizzle>(),
         "a box with swizzle 128 bytes is read with swizzle 64 bytes");
  expect(boxes_failure<Bug::overwritten>(), "race");
}

// What the driver would refuse never reaches a kernel.
TEST(BoxBugs, MalformedMaps) {
  const Array<Pack<f16, 8>> x(64 * 8);
  const auto refusal = [&](auto&& change) {
    TensorShape shape = halves(x.data(), 8);
    change(shape);
    try {
      make_tensor_map("test", shape);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(refusal([](TensorShape&) {}), "");
  expect_contains(refusal([](TensorShape& t) { t.data = static_cast<const f16*>(t.data) + 4; }),
                  {"begins at no multiple of 16 bytes"});
  expect_contains(refusal([](TensorShape& t) { t.box[0] = 4; }), {"rows of 8 bytes"});
  expect_contains(refusal([](TensorShape& t) { t.swizzle = Swizzle::span64; }),
                  {"rows of 128 bytes, more than the 64 of their swizzle"});
  expect_contains(refusal([](TensorShape& t) { t.box[1] = 257; }), {"boxes of extent 257"});
  expect_contains(refusal([](TensorShape& t) { t.stride[0] = 136; }), {"a stride of 136 bytes"});
  expect_contains(refusal([](TensorShape& t) { t.rank = 6; }), {"6 dimensions"});
}

}  // namespace
}  // namespace tessera::kernels::cuda
