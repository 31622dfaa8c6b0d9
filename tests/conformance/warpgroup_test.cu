// Products of a warp group with operands in shared memory.
#include "tessera/kernels/cuda/ptx_warpgroup.cuh"
#include "tessera/tests/conformance/conformance.hpp"

namespace tessera::conformance {
namespace {

constexpr uint32_t max_operand_bytes = 256 * 128;
struct alignas(1024) Operands {
  std::byte a[64 * 128], b[max_operand_bytes];
};

// Operands as they lie in shared memory, and the descriptors' distances.
struct Placement {
  uint32_t a_bytes, b_bytes, leading_a, stride_a, leading_b, stride_b, step_a, step_b;
};

enum class Kind { halves, registers, tf32, bytes };

// d = sum over `steps` of a b, in `steps` products of one group, on top of ones.
template <Kind kind, class A, class B, class D, int n, Swizzle swizzle, Major a_major,
          Major b_major>
__global__ void multiply(const std::byte* a, const std::byte* b, const uint32_t* fragments,
                         Placement p, int steps, D* d) {
  Operands& s = dynamic_shared<Operands>();
  const uint32_t me = thread_index().x;
  for (uint32_t i = me; i < p.a_bytes; i += 128) s.a[i] = a[i];
  for (uint32_t i = me; i < p.b_bytes; i += 128) s.b[i] = b[i];
  fence_async_proxy();
  sync_block();
  D sums[n / 2];
  for (int i = 0; i < n / 2; ++i) sums[i] = 1;
  const uint64_t at_a = describe_matrix(s.a, p.leading_a, p.stride_a, swizzle),
                 at_b = describe_matrix(s.b, p.leading_b, p.stride_b, swizzle);
  warpgroup_fence();
  for (int step = 0; step < steps; ++step) {
    const auto k = static_cast<uint32_t>(step);
    const uint64_t x = advance_matrix(at_a, k * p.step_a), y = advance_matrix(at_b, k * p.step_b);
    if constexpr (kind == Kind::halves) {
      warpgroup_multiply<A, n, a_major, b_major>(sums, x, y, true);
    } else if constexpr (kind == Kind::registers) {
      uint32_t words[4];
      for (int i = 0; i < 4; ++i) words[i] = fragments[(k * 128 + me) * 4 + i];
      warpgroup_multiply<A, n, b_major>(sums, words, y, true);
      warpgroup_commit();
      warpgroup_wait<0>();  // the words' registers are written to again
      warpgroup_fence();
    } else if constexpr (kind == Kind::tf32) {
      warpgroup_multiply_tf32<n>(sums, x, y, true);
    } else {
      warpgroup_multiply<A, B, n>(sums, x, y, true);
    }
  }
  warpgroup_commit();
  warpgroup_wait<0>();
  for (int i = 0; i < n / 2; ++i) {
    const uint32_t row = me / 32 * 16 + me % 32 / 4 + static_cast<uint32_t>(i / 2 % 2) * 8;
    const uint32_t column =
        static_cast<uint32_t>(i / 4) * 8 + me % 4 * 2 + static_cast<uint32_t>(i % 2);
    d[row * n + column] = sums[i];
  }
}

// Small integers: sums are exact in any order, so that interpreter and hardware agree to the bit.
template <class T>
std::vector<T> integers(size_t count, uint64_t seed) {
  Bits next(seed);
  std::vector<T> values(count);
  for (T& v : values) {
    if constexpr (std::is_same_v<T, int8_t> || std::is_same_v<T, uint8_t>)
      v = static_cast<T>(next());
    else
      v = static_cast<T>(static_cast<float>(static_cast<int>(next.below(17)) - 8));
  }
  return values;
}
double number(int8_t x) { return x; }
double number(uint8_t x) { return x; }
template <class T>
double number(T x) {
  return static_cast<double>(static_cast<float>(x));
}

// Where element (row, k) of an operand lies, by the layouts that ptx_warpgroup.cuh describes, and
// the distances that say so. `depth`: elements along k in all.
template <class T>
struct Layout {
  Major major;
  uint32_t span, rows, depth;  // span 16: no swizzle

  uint32_t leading() const {
    if (major == Major::depth) return span == 16 ? rows * 16 : 16;
    return span == 16 ? rows * 16 : span * depth;
  }
  uint32_t stride() const {
    if (major == Major::depth) return span == 16 ? 128 : 8 * span;
    return span == 16 ? 128 : 8 * span;
  }
  // Bytes between one step of 32 bytes along k and the next.
  uint32_t step() const {
    if (major == Major::depth) return span == 16 ? 2 * leading() : 32;
    return span == 16 ? 2 * leading() : 2 * stride();
  }
  uint32_t bytes() const { return rows * depth * static_cast<uint32_t>(sizeof(T)); }
  uint32_t place(uint32_t row, uint32_t k) const {
    const uint32_t size = sizeof(T);
    uint32_t at;
    if (major == Major::depth && span == 16)
      at = row / 8 * stride() + k * size / 16 * leading() + row % 8 * 16 + k * size % 16;
    else if (major == Major::depth)
      at = row / 8 * stride() + row % 8 * span + k * size;
    else if (span == 16)
      at = row / 8 * stride() + k / 8 * leading() + k % 8 * 16 + row % 8 * 2;
    else
      at = row * 2 / span * leading() + k / 8 * stride() + k % 8 * span + row * 2 % span;
    return at ^ (at >> 7 & (span / 16 - 1)) << 4;
  }
};

template <Kind kind, class A, class B, class D, int n, Swizzle swizzle = Swizzle::span128,
          Major a_major = Major::depth, Major b_major = Major::depth>
void check(const std::string& name) {
  constexpr uint32_t span = 16u << static_cast<uint32_t>(swizzle);
  constexpr uint32_t per_step = 32 / sizeof(A);
  // With memory along the depth, a row has one span; else two steps.
  constexpr int steps =
      a_major == Major::depth && b_major == Major::depth && span > 16 ? span / 32 : 2;
  constexpr uint32_t depth = per_step * steps;
  // An operand whose memory runs along the depth has rows of one span, whatever is used of them.
  const auto layout = [&]<class T>(Major major, uint32_t rows, T) {
    return Layout<T>{
        major, span, rows,
        major == Major::depth && span > 16 ? span / static_cast<uint32_t>(sizeof(T)) : depth};
  };
  const auto la = layout(a_major, 64, A{});
  const auto lb = layout(b_major, n, B{});
  const std::vector<A> a = integers<A>(64 * depth, n + 1);
  const std::vector<B> b = integers<B>(n * depth, n + 2);
  std::vector<std::byte> in_a(la.bytes()), in_b(lb.bytes());
  for (uint32_t k = 0; k < depth; ++k) {
    for (uint32_t i = 0; i < 64; ++i)
      std::memcpy(&in_a[la.place(i, k)], &a[i * depth + k], sizeof(A));
    for (uint32_t j = 0; j < n; ++j)
      std::memcpy(&in_b[lb.place(j, k)], &b[j * depth + k], sizeof(B));
  }
  std::vector<uint32_t> fragments;
  for (uint32_t step = 0; step < static_cast<uint32_t>(steps); ++step)
    for (uint32_t t = 0; t < 128; ++t)
      for (uint32_t w = 0; w < 4; ++w) {
        const uint32_t row = t / 32 * 16 + t % 32 / 4 + w % 2 * 8,
                       k = step * per_step + (t % 4 + w / 2 * 4) * (4 / sizeof(A));
        uint32_t word;
        std::memcpy(&word, &a[row * depth + k], 4);
        fragments.push_back(word);
      }
  std::vector<D> wanted(64 * n);
  for (uint32_t i = 0; i < 64; ++i)
    for (uint32_t j = 0; j < n; ++j) {
      double sum = 1;
      for (uint32_t k = 0; k < depth; ++k)
        sum += number(a[i * depth + k]) * number(b[j * depth + k]);
      wanted[i * n + j] = static_cast<D>(sum);
    }
  const Placement p{la.bytes(),   lb.bytes(),  la.leading(), la.stride(),
                    lb.leading(), lb.stride(), la.step(),    lb.step()};
  for_schedules([&] {
    const Buffer<std::byte> data_a(in_a), data_b(in_b);
    const Buffer<uint32_t> words(fragments);
    const Buffer<D> out(wanted.size());
    launch(stream(), {"multiply", {1}, {128}, sizeof(Operands)},
           multiply<kind, A, B, D, n, swizzle, a_major, b_major>, data_a.data(), data_b.data(),
           words.data(), p, steps, out.data());
    const std::vector<D> got = out.values();
    size_t wrong = 0;
    for (size_t i = 0; i < got.size(); ++i) wrong += got[i] != wanted[i];
    EXPECT_EQ(wrong, 0u) << name << ", n = " << n;
  });
  check_recorded(concat("warpgroup_", name, "_", n), wanted);
}

TEST(Warpgroup, Widths) {
  check<Kind::halves, f16, f16, float, 8>("f16");
  check<Kind::halves, bf16, bf16, float, 16>("bf16");
  check<Kind::halves, f16, f16, float, 32>("f16");
  check<Kind::halves, bf16, bf16, float, 64>("bf16");
  check<Kind::halves, f16, f16, float, 128>("f16");
  check<Kind::halves, bf16, bf16, float, 256>("bf16");
}
TEST(Warpgroup, Swizzles) {
  check<Kind::halves, f16, f16, float, 64, Swizzle::none>("none");
  check<Kind::halves, f16, f16, float, 64, Swizzle::span32>("span32");
  check<Kind::halves, f16, f16, float, 64, Swizzle::span64>("span64");
}
TEST(Warpgroup, OtherWayRound) {
  constexpr Major depth = Major::depth, rows = Major::rows;
  check<Kind::halves, f16, f16, float, 64, Swizzle::span128, depth, rows>("b_rows");
  check<Kind::halves, f16, f16, float, 128, Swizzle::span128, rows, rows>("both_rows");
  check<Kind::halves, bf16, bf16, float, 64, Swizzle::span64, rows, depth>("a_rows");
  check<Kind::halves, bf16, bf16, float, 32, Swizzle::span32, rows, rows>("span32_rows");
  check<Kind::halves, f16, f16, float, 32, Swizzle::none, rows, rows>("none_rows");
}
TEST(Warpgroup, Registers) {
  check<Kind::registers, f16, f16, float, 64>("registers_f16");
  check<Kind::registers, bf16, bf16, float, 128, Swizzle::span128, Major::depth, Major::rows>(
      "registers_bf16");
}
TEST(Warpgroup, Tf32) {
  check<Kind::tf32, float, float, float, 32>("tf32");
  check<Kind::tf32, float, float, float, 128>("tf32");
}
TEST(Warpgroup, Bytes) {
  check<Kind::bytes, int8_t, int8_t, int32_t, 64>("s8_s8");
  check<Kind::bytes, int8_t, uint8_t, int32_t, 128>("s8_u8");
  check<Kind::bytes, uint8_t, int8_t, int32_t, 256>("u8_s8");
  check<Kind::bytes, uint8_t, uint8_t, int32_t, 8>("u8_u8");
}

}  // namespace
}  // namespace tessera::conformance
