// Products of a warp group with one mistake each.
#include <gtest/gtest.h>

#include "tessera/kernels/cuda/ptx_warpgroup.cuh"
#include "tessera/tests/simt/array.hpp"

namespace tessera::kernels::cuda {
namespace {

enum class Bug {
  none,
  no_wait,         // the result is read before the product has ended
  no_fence,        // registers are not known to be ready
  no_proxy_fence,  // the product may not see what threads wrote
  no_commit,       // the wait waits for nothing
  overwritten,     // an operand is written to before the product has ended
  other_operand,   // one warp multiplies something else
  outside,         // the descriptor leads out of shared memory
};

struct alignas(1024) Operands {
  f16 a[64 * 64], b[8 * 64];
};

template <Bug bug>
__global__ void multiply_ones(float* out) {
  Operands& s = dynamic_shared<Operands>();
  const uint32_t me = thread_index().x;
  for (uint32_t i = me; i < 64 * 64; i += 128) s.a[i] = f16::from_bits(0x3c00);
  for (uint32_t i = me; i < 8 * 64; i += 128) s.b[i] = f16::from_bits(0x3c00);
  if (bug != Bug::no_proxy_fence) fence_async_proxy();
  sync_block();
  float d[4];
  const f16* const from = bug == Bug::other_operand && warp_index() == 3 ? s.a + 512 : s.a;
  const uint64_t a = describe_matrix(from, 16, bug == Bug::outside ? 65536 : 1024,
                                     Swizzle::span128),
                 b = describe_matrix(s.b, 16, 1024, Swizzle::span128);
  if (bug != Bug::no_fence) warpgroup_fence();
  warpgroup_multiply<f16, 8>(d, a, b, false);
  if (bug != Bug::no_commit) warpgroup_commit();
  if (bug == Bug::overwritten && me == 0) s.a[0] = f16::from_bits(0x4000);
  if (bug != Bug::no_wait) warpgroup_wait<0>();
  out[me] = d[0];
  if (bug == Bug::no_wait) warpgroup_wait<0>();
}

template <Bug bug>
std::string failure_of(Array<float>& out) {
  return failure({"multiply_ones", {1}, {128}, sizeof(Operands)}, multiply_ones<bug>, out.data());
}

TEST(WarpgroupBugs, AreReported) {
  Array<float> out(128);
  EXPECT_EQ(failure_of<Bug::none>(out), "");
  EXPECT_EQ(out[5], 16);
  expect_contains(failure_of<Bug::no_fence>(out),
                  {"no warpgroup_fence", "warpgroup_bugs_test.cpp:"});
  expect_contains(failure_of<Bug::no_proxy_fence>(out), {"missing fence_async_proxy"});
  expect_contains(failure_of<Bug::no_commit>(out), {"nobody waited for"});
  expect_contains(failure_of<Bug::other_operand>(out), {"different operands"});
  expect_contains(failure_of<Bug::outside>(out), {"outside of shared memory"});
}

// Not reported, but a lazy schedule gives another result.
TEST(WarpgroupBugs, ChangeTheResult) {
  Array<float> out(128);
  failure_of<Bug::no_wait>(out);
  EXPECT_NE(out[5], out[5]);  // NaN
  EXPECT_NE(failure_of<Bug::overwritten>(out) == "" && out[0] == 16, true);
}

}  // namespace
}  // namespace tessera::kernels::cuda
