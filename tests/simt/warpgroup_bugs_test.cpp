// Products of a warp group with one mistake each.
#include <gtest/gtest.h>

#include "tessera/kernels/cuda/ptx_warpgroup.cuh"
#include "tessera/tests/simt/array.hpp"

namespace tessera::kernels::cuda {
namespace {

enum class Bug {
  none,
  no_wait,             // the result is read before the product has ended
  no_end,              // nobody ever waits
  no_fence,            // registers are not known to be ready
  no_proxy_fence,      // the product may not see what threads wrote
  no_commit,           // the wait waits for nothing
  overwritten,         // operands are written to before the product has ended
  overwritten_by_one,  // ... by a thread that knows that others have started it
  other_operand,       // one warp multiplies something else
  outside,             // the descriptor leads out of shared memory
  early_write,         // a register of the result is written to before
  misaligned,          // a matrix at no multiple of 16 bytes
  within_pattern,      // ... that begins within a pattern
  off_span,            // a step along the depth that leaves the span
  stride,              // blocks of eight rows lie within each other
  no_stride,           // ... at one place
  no_leading,          // without a swizzle, the units of a row lie at one place
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
  const f16* from = s.a;
  if (bug == Bug::other_operand && warp_index() == 3) from += 512;
  if (bug == Bug::misaligned) from += 4;
  if (bug == Bug::within_pattern) from += 64;
  if (bug == Bug::off_span) from += 56;
  const uint32_t stride = bug == Bug::outside     ? 65536
                          : bug == Bug::stride    ? 512
                          : bug == Bug::no_stride ? 0
                                                  : 1024;
  const uint64_t a = bug == Bug::no_leading ? describe_matrix(from, 0, 128, Swizzle::none)
                                            : describe_matrix(from, 16, stride, Swizzle::span128),
                 b = describe_matrix(s.b, 16, 1024, Swizzle::span128);
  if (bug != Bug::no_fence) warpgroup_fence();
  warpgroup_multiply<f16, 8>(d, a, b, false);
  if (bug != Bug::no_commit) warpgroup_commit();
  if (bug == Bug::overwritten || bug == Bug::overwritten_by_one) {
    sync_block();
    if (bug == Bug::overwritten || me == 5) s.a[me] = f16::from_bits(0x4000);
  }
  if (bug == Bug::early_write) d[1] = 3;
  if (bug == Bug::no_end) return;
  if (bug != Bug::no_wait) warpgroup_wait<0>();
  out[me] = d[0];
  if (bug == Bug::no_wait) warpgroup_wait<0>();
}

template <Bug bug>
std::string failure_of() {
  const Array<float> out(128);
  const std::string message =
      failure({"multiply_ones", {1}, {128}, sizeof(Operands)}, multiply_ones<bug>, out.data());
  if (message.empty()) {
    EXPECT_EQ(out[5], 16);
  }
  return message;
}

TEST(WarpgroupBugs, AreReported) {
  EXPECT_EQ(failure_of<Bug::none>(), "");
  const auto expect = [](const std::string& message, const char* what) {
    expect_contains(message, {what, "kernel multiply_ones, block (0, 0, 0), thread (",
                              "warpgroup_bugs_test.cpp:"});
  };
  expect(failure_of<Bug::no_fence>(), "no warpgroup_fence");
  expect(failure_of<Bug::no_proxy_fence>(), "missing fence_async_proxy");
  expect(failure_of<Bug::no_commit>(), "accessed before warpgroup_wait");
  expect_contains(failure_of<Bug::no_end>(),
                  {"multiply_ones ends while a product of a warp group that nobody waited for"});
  expect(failure_of<Bug::other_operand>(), "different operands");
  expect(failure_of<Bug::outside>(), "outside of shared memory");
  expect(failure_of<Bug::no_wait>(), "accessed before warpgroup_wait");
  expect(failure_of<Bug::early_write>(), "accessed before warpgroup_wait");
  expect(failure_of<Bug::overwritten>(), "race");
  expect(failure_of<Bug::overwritten_by_one>(), "race");
}

TEST(WarpgroupBugs, MalformedDescriptors) {
  expect_contains(failure_of<Bug::misaligned>(), {"multiples of 16 bytes", "multiply_ones"});
  expect_contains(failure_of<Bug::within_pattern>(),
                  {"a matrix at 128 is no multiple of the 1024 bytes of a pattern"});
  expect_contains(failure_of<Bug::off_span>(), {"leaves the span of 128 bytes"});
  expect_contains(failure_of<Bug::stride>(), {"the stride of 512 is no multiple of the 1024"});
  expect_contains(failure_of<Bug::no_stride>(), {"parts of an operand lie at one place"});
  expect_contains(failure_of<Bug::no_leading>(), {"parts of an operand lie at one place"});
}

// Widths and numbers of accumulators that do not belong together do not compile.
template <class T, int n, int words>
concept Multiplies = requires(float (&d)[words], uint64_t a) {
  warpgroup_multiply<T, n>(d, a, a, false);
};
static_assert(Multiplies<f16, 8, 4> && Multiplies<bf16, 256, 128>);
static_assert(!Multiplies<f16, 8, 8> && !Multiplies<f16, 16, 4>);
static_assert(!Multiplies<f16, 12, 6> && !Multiplies<f16, 24, 12> && !Multiplies<f16, 512, 256>);

__global__ void odd_width(float* out) {
  float d[6];
  simt::warpgroup_multiply(d, {"warpgroup_multiply", simt::Element::f16, simt::Element::f16, 12, 0,
                               0, nullptr, false, false, false});
  out[thread_index().x] = d[0];
}
template <bool second_is_wider>
__global__ void two_widths(float* out) {
  Operands& s = dynamic_shared<Operands>();
  const uint64_t a = describe_matrix(s.a, 16, 1024, Swizzle::span128);
  float d[8];
  warpgroup_fence();
  warpgroup_multiply<f16, 8>(reinterpret_cast<float(&)[4]>(d), a, a, false);
  if (second_is_wider)
    warpgroup_multiply<f16, 16>(d, a, a, true);
  else
    warpgroup_multiply<f16, 8>(reinterpret_cast<float(&)[4]>(d), a, a, true);
  warpgroup_commit();
  warpgroup_wait<0>();
  out[thread_index().x] = d[0];
}
__global__ void half_a_group(float* out) {
  Operands& s = dynamic_shared<Operands>();
  const uint64_t a = describe_matrix(s.a, 16, 1024, Swizzle::span128);
  float d[4];
  warpgroup_fence();
  warpgroup_multiply<f16, 8>(d, a, a, false);
  warpgroup_commit();
  warpgroup_wait<0>();
  out[thread_index().x] = d[0];
}

TEST(WarpgroupBugs, Widths) {
  const Array<float> out(128);
  expect_contains(failure({"odd_width", {1}, {128}}, odd_width, out.data()),
                  {"12 columns are no multiple of 8 up to 256", "odd_width"});
  const LaunchShape shape{"two_widths", {1}, {128}, sizeof(Operands)};
  EXPECT_EQ(failure(shape, two_widths<false>, out.data()), "");
  expect_contains(failure(shape, two_widths<true>, out.data()),
                  {"products of different widths into the same registers"});
  expect_contains(failure({"half_a_group", {1}, {64}, sizeof(Operands)}, half_a_group, out.data()),
                  {"the block's last warps are not four"});
}

}  // namespace
}  // namespace tessera::kernels::cuda
