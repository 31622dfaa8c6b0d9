// Products of matrices in the registers of a warp. Where each element lies is written here as the
// PTX ISA writes it, element by element.
#include "tessera/kernels/cuda/ptx_tensor.cuh"
#include "tessera/tests/conformance/conformance.hpp"

namespace tessera::conformance {
namespace {

/// Where element i of a lane's fragment lies, g = lane / 4, t = lane % 4.
struct Place {
  int row, column;
};

struct HalfK16 {
  static constexpr int k = 16, a_elements = 8, b_elements = 4;
  using Element = uint16_t;
  TS_DEVICE static Place a(int i, int g, int t) {
    return {(i < 2 || (i >= 4 && i < 6)) ? g : g + 8, t * 2 + (i & 1) + (i < 4 ? 0 : 8)};
  }
  TS_DEVICE static Place b(int i, int g, int t) { return {t * 2 + (i & 1) + (i < 2 ? 0 : 8), g}; }
};
struct HalfK8 {
  static constexpr int k = 8, a_elements = 4, b_elements = 2;
  using Element = uint16_t;
  TS_DEVICE static Place a(int i, int g, int t) { return {i < 2 ? g : g + 8, t * 2 + (i & 1)}; }
  TS_DEVICE static Place b(int i, int g, int t) { return {t * 2 + i, g}; }
};
struct Tf32K8 {
  static constexpr int k = 8, a_elements = 4, b_elements = 2;
  using Element = uint32_t;
  TS_DEVICE static Place a(int i, int g, int t) {
    return {i == 0 || i == 2 ? g : g + 8, i < 2 ? t : t + 4};
  }
  TS_DEVICE static Place b(int i, int g, int t) { return {i == 0 ? t : t + 4, g}; }
};
struct ByteK32 {
  static constexpr int k = 32, a_elements = 16, b_elements = 8;
  using Element = uint8_t;
  TS_DEVICE static Place a(int i, int g, int t) {
    return {(i < 4 || (i >= 8 && i < 12)) ? g : g + 8, t * 4 + (i & 3) + (i < 8 ? 0 : 16)};
  }
  TS_DEVICE static Place b(int i, int g, int t) { return {t * 4 + (i & 3) + (i < 4 ? 0 : 16), g}; }
};
TS_DEVICE Place sum_place(int i, int g, int t) { return {i < 2 ? g : g + 8, t * 2 + (i & 1)}; }

template <class Layout, class Number, class Multiply>
TS_DEVICE void multiply(const typename Layout::Element* a, const typename Layout::Element* b,
                        Number* d, Multiply&& instruction) {
  using Element = typename Layout::Element;
  constexpr int per_word = 4 / sizeof(Element);
  const int g = static_cast<int>(lane_index()) / 4, t = static_cast<int>(lane_index()) % 4;
  uint32_t ra[Layout::a_elements / per_word] = {}, rb[Layout::b_elements / per_word] = {};
  for (int i = 0; i < Layout::a_elements; ++i) {
    const Place p = Layout::a(i, g, t);
    ra[i / per_word] |= static_cast<uint32_t>(a[p.row * Layout::k + p.column])
                        << (i % per_word * 8 * static_cast<int>(sizeof(Element)));
  }
  for (int i = 0; i < Layout::b_elements; ++i) {
    const Place p = Layout::b(i, g, t);
    rb[i / per_word] |= static_cast<uint32_t>(b[p.row * 8 + p.column])
                        << (i % per_word * 8 * static_cast<int>(sizeof(Element)));
  }
  Number rd[4];
  for (int i = 0; i < 4; ++i) rd[i] = d[sum_place(i, g, t).row * 8 + sum_place(i, g, t).column];
  instruction(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[sum_place(i, g, t).row * 8 + sum_place(i, g, t).column] = rd[i];
}

template <class T>
__global__ void half_k16(const uint16_t* a, const uint16_t* b, float* d) {
  multiply<HalfK16>(a, b, d, [](auto& rd, auto& ra, auto& rb) { mma_m16n8k16<T>(rd, ra, rb); });
}
template <class T>
__global__ void half_k8(const uint16_t* a, const uint16_t* b, float* d) {
  multiply<HalfK8>(a, b, d, [](auto& rd, auto& ra, auto& rb) { mma_m16n8k8<T>(rd, ra, rb); });
}
__global__ void tf32_k8(const uint32_t* a, const uint32_t* b, float* d) {
  multiply<Tf32K8>(a, b, d, [](auto& rd, auto& ra, auto& rb) { mma_m16n8k8_tf32(rd, ra, rb); });
}
template <class A, class B>
__global__ void byte_k32(const uint8_t* a, const uint8_t* b, int32_t* d) {
  multiply<ByteK32>(a, b, d, [](auto& rd, auto& ra, auto& rb) { mma_m16n8k32<A, B>(rd, ra, rb); });
}

bool near_float(float x, float y) {
  return (std::isnan(x) && std::isnan(y)) || std::abs(x - y) <= 1e-5f * std::abs(y) + 1e-30f;
}

template <class Element>
void check_float(const std::string& name, void (*kernel)(const Element*, const Element*, float*),
                 const Format& format, int k, int shift = 0) {
  std::vector<float> all;
  for (const Draw kind : draws)
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      const auto size = static_cast<size_t>(k);
      const std::vector<Element> a = draw<Element>(format, kind, 16 * size, seed, shift);
      const std::vector<Element> b = draw<Element>(format, kind, 8 * size, seed + 10, shift);
      std::vector<float> c;
      for (const uint32_t bits : draw<uint32_t>(single_format, kind, 128, seed + 20))
        c.push_back(kind == Draw::special ? 0 : static_cast<float>(single_format.value(bits)));
      std::vector<float> first;
      for_schedules([&] {
        const Buffer<Element> da(a), db(b);
        const Buffer<float> dc(c);
        launch(stream(), {"mma", {1}, {32}}, kernel, da.data(), db.data(), dc.data());
        const std::vector<float> got = dc.values();
        if (first.empty()) first = got;
        EXPECT_EQ(0, std::memcmp(first.data(), got.data(), 128 * sizeof(float)));
      });
      for (size_t i = 0; i < 16; ++i)
        for (size_t j = 0; j < 8; ++j) {
          Sum wanted;
          wanted.add(c[i * 8 + j]);
          for (size_t l = 0; l < size; ++l)
            wanted.add(format.value(static_cast<uint32_t>(a[i * size + l] >> shift)),
                       format.value(static_cast<uint32_t>(b[l * 8 + j] >> shift)));
          expect_sum(first[i * 8 + j], wanted,
                     concat(name, " draw ", static_cast<int>(kind), " [", i, ", ", j, "]"));
          if (kind == Draw::integers) {
            EXPECT_EQ(first[i * 8 + j], wanted.value);
          }
        }
      all.insert(all.end(), first.begin(), first.end());
    }
  check_recorded(name, all, &near_float);
}

TEST(Mma, HalvesK16) {
  check_float("mma_m16n8k16_f16", half_k16<f16>, half_format, 16);
  check_float("mma_m16n8k16_bf16", half_k16<bf16>, bfloat_format, 16);
}
TEST(Mma, HalvesK8) {
  check_float("mma_m16n8k8_f16", half_k8<f16>, half_format, 8);
  check_float("mma_m16n8k8_bf16", half_k8<bf16>, bfloat_format, 8);
}
constexpr Format tf32_format{8, 10};
TEST(Mma, Tf32) { check_float("mma_m16n8k8_tf32", tf32_k8, tf32_format, 8, 13); }

TEST(Mma, Tf32IgnoresLowBits) {
  Bits next(7);
  std::vector<uint32_t> a = draw<uint32_t>(tf32_format, Draw::reals, 128, 5, 13),
                        b = draw<uint32_t>(tf32_format, Draw::reals, 64, 6, 13);
  const Buffer<float> clean(128), noisy(128);
  const Buffer<uint32_t> clean_a(a), clean_b(b);
  launch(stream(), {"mma", {1}, {32}}, tf32_k8, clean_a.data(), clean_b.data(), clean.data());
  for (uint32_t& x : a) x |= next.below(1u << 13);
  for (uint32_t& x : b) x |= next.below(1u << 13);
  const Buffer<uint32_t> da(a), db(b);
  launch(stream(), {"mma", {1}, {32}}, tf32_k8, da.data(), db.data(), noisy.data());
  EXPECT_EQ(clean.values(), noisy.values());
}

template <class A, class B>
void check_bytes(const std::string& name) {
  std::vector<int32_t> all;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Bits next(seed);
    std::vector<uint8_t> a(16 * 32), b(32 * 8);
    std::vector<int32_t> c(128);
    for (uint8_t& x : a) x = static_cast<uint8_t>(seed == 3 ? 0x80 : next());
    for (uint8_t& x : b) x = static_cast<uint8_t>(seed == 3 ? 0x80 : next());
    for (int32_t& x : c) x = seed == 2 ? INT32_MAX : static_cast<int32_t>(next());  // wraps
    const Buffer<uint8_t> da(a), db(b);
    for_schedules([&] {
      const Buffer<int32_t> dc(c);
      launch(stream(), {"mma", {1}, {32}}, byte_k32<A, B>, da.data(), db.data(), dc.data());
      const std::vector<int32_t> got = dc.values();
      for (size_t i = 0; i < 16; ++i)
        for (size_t j = 0; j < 8; ++j) {
          int64_t sum = c[i * 8 + j];
          for (size_t l = 0; l < 32; ++l)
            sum += int64_t{static_cast<A>(a[i * 32 + l])} * static_cast<B>(b[l * 8 + j]);
          EXPECT_EQ(got[i * 8 + j], static_cast<int32_t>(sum)) << name << " " << i << " " << j;
        }
      if (all.size() < seed * 128) all.insert(all.end(), got.begin(), got.end());
    });
  }
  check_recorded(name, all);
}

TEST(Mma, Bytes) {
  check_bytes<int8_t, int8_t>("mma_m16n8k32_s8_s8");
  check_bytes<int8_t, uint8_t>("mma_m16n8k32_s8_u8");
  check_bytes<uint8_t, int8_t>("mma_m16n8k32_u8_s8");
  check_bytes<uint8_t, uint8_t>("mma_m16n8k32_u8_u8");
}

__global__ void double_k4(const double* a, const double* b, double* d) {
  const uint32_t g = lane_index() / 4, t = lane_index() % 4;
  double rd[2] = {d[g * 8 + 2 * t], d[g * 8 + 2 * t + 1]};
  mma_m8n8k4(rd, a[g * 4 + t], b[t * 8 + g]);
  d[g * 8 + 2 * t] = rd[0];
  d[g * 8 + 2 * t + 1] = rd[1];
}
__global__ void double_k16(const double* a, const double* b, double* d) {
  const int g = static_cast<int>(lane_index()) / 4, t = static_cast<int>(lane_index()) % 4;
  double ra[8], rb[4], rd[4];
  for (int i = 0; i < 8; ++i) {
    const int row = i % 2 == 0 ? g : g + 8, column = i % 2 == 0 ? i * 2 + t : i * 2 - 2 + t;
    ra[i] = a[row * 16 + column];
  }
  for (int i = 0; i < 4; ++i) rb[i] = b[(t + 4 * i) * 8 + g];
  for (int i = 0; i < 4; ++i) rd[i] = d[sum_place(i, g, t).row * 8 + sum_place(i, g, t).column];
  mma_m16n8k16(rd, ra, rb);
  for (int i = 0; i < 4; ++i) d[sum_place(i, g, t).row * 8 + sum_place(i, g, t).column] = rd[i];
}

bool near_double(double x, double y) {
  return (std::isnan(x) && std::isnan(y)) || std::abs(x - y) <= 1e-14 * std::abs(y) + 1e-300;
}

void check_double(const std::string& name, void (*kernel)(const double*, const double*, double*),
                  size_t m, size_t k) {
  std::vector<double> all;
  for (int kind = 0; kind < 3; ++kind) {
    Bits next(static_cast<uint64_t>(kind));
    const auto number = [&]() -> double {
      const double x = static_cast<int32_t>(next()) * 0x1p-31;
      if (kind == 0) return std::round(x * 100);
      if (kind == 1) return x;
      const double special[] = {NAN, INFINITY, -INFINITY, 0x1p-1074, -0.0, 1};
      return next.below(9) == 0 ? special[next.below(6)] : 0;
    };
    std::vector<double> a(m * k), b(k * 8), c(m * 8);
    for (double& x : a) x = number();
    for (double& x : b) x = number();
    for (double& x : c) x = kind == 2 ? 0 : number();
    const Buffer<double> da(a), db(b), dc(c);
    launch(stream(), {"mma", {1}, {32}}, kernel, da.data(), db.data(), dc.data());
    const std::vector<double> got = dc.values();
    for (size_t i = 0; i < m; ++i)
      for (size_t j = 0; j < 8; ++j) {
        long double wanted = c[i * 8 + j], size = std::abs(wanted);
        for (size_t l = 0; l < k; ++l) {
          wanted += static_cast<long double>(a[i * k + l]) * b[l * 8 + j];
          size += std::abs(static_cast<long double>(a[i * k + l]) * b[l * 8 + j]);
        }
        const double x = got[i * 8 + j];
        if (std::isnan(wanted))
          EXPECT_TRUE(std::isnan(x)) << i << " " << j;
        else if (std::isinf(wanted))
          EXPECT_EQ(x, static_cast<double>(wanted));
        else
          EXPECT_NEAR(x, static_cast<double>(wanted),
                      kind == 0 ? 0 : static_cast<double>(size) * 0x1p-52 * double(k));
      }
    all.insert(all.end(), got.begin(), got.end());
  }
  check_recorded(name, all, &near_double);
}

TEST(Mma, Doubles) {
  check_double("mma_m8n8k4_f64", double_k4, 8, 4);
  check_double("mma_m16n8k16_f64", double_k16, 16, 16);
}

__global__ void round_to_tf32(const float* x, uint32_t* out, int64_t n) {
  for (int64_t i = first_element(); i < n; i += element_step()) out[i] = to_tf32(x[i]);
}

// Ties go away from zero; what does not fit becomes infinite.
TEST(Mma, ToTf32) {
  Bits next(3);
  std::vector<float> x;
  for (int i = 0; i < 2000; ++i) x.push_back(std::bit_cast<float>(next()));
  for (const uint32_t bits : {0u, 0x80000000u, 0x1000u, 0x0fffu, 0x3f801000u, 0x3f800fffu,
                              0xbf801000u, 0x7f7fffffu, 0x7f7fefffu, 0x7f800000u, 0xff800000u})
    x.push_back(std::bit_cast<float>(bits));
  x.push_back(NAN);
  const Buffer<float> dx(x);
  const Buffer<uint32_t> out(x.size());
  launch(stream(), {"round_to_tf32", {3}, {64}}, round_to_tf32, dx.data(), out.data(),
         static_cast<int64_t>(x.size()));
  const std::vector<uint32_t> got = out.values();
  for (size_t i = 0; i < x.size(); ++i) {
    const double value = tf32_format.value(got[i] >> 13);
    if (std::isnan(x[i])) {
      EXPECT_TRUE(std::isnan(std::bit_cast<float>(got[i])));
      continue;
    }
    if (std::isinf(x[i])) {
      EXPECT_EQ(value, x[i]);
      continue;
    }
    int exponent = 0;
    (void)std::frexp(x[i], &exponent);
    const double unit = std::ldexp(1.0, std::max(exponent - 11, -126 - 10));
    const double wanted = std::round(x[i] / unit) * unit;  // halves away from zero
    if (std::abs(wanted) >= 0x1p128)
      EXPECT_TRUE(std::isinf(value));
    else
      EXPECT_EQ(value, wanted) << x[i];
  }
  check_recorded("to_tf32", got);
}

}  // namespace
}  // namespace tessera::conformance
