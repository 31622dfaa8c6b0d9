// Matrices in the registers of a warp.
//
// The operands of the warp-wide products all have one layout in units of 32-bit words, each of two
// halves, one tf32 or four bytes: lane 4 g + t holds words t and t + 4 of rows g and g + 8 of a, of
// column g of b. So a product gathers words, widens them, and multiplies outer products of a column
// of a and a row of b.
#include "tessera/runtime/simt/tensor.hpp"

#include <cmath>
#include <cstring>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/simt/interpreter.hpp"
#include "tessera/runtime/simt/levels.hpp"
#include "tessera/runtime/simt/trace.hpp"
#include "tessera/runtime/simt/vector.hpp"

namespace tessera::simt {
namespace {

// ---------------------------------------------------------------- matrices of shared memory

struct MatrixSlot {
  std::byte* row;
  uint32_t* registers;
  uint32_t count;
};

constexpr size_t row_bytes = 16;

void check_row(const void* row, const char* name, const void* site) {
  const Block& block = *current().block;
  const auto* at = static_cast<const std::byte*>(row);
  if (at < block.shared || at + row_bytes > block.shared + block.shared_bytes)
    fault(concat(name, ": a row that is not in the block's shared memory"), site);
  if (reinterpret_cast<uintptr_t>(row) % row_bytes != 0)
    fault(concat(name, ": the address of a row is not a multiple of 16"), site);
}

template <bool stores, bool transposed>
void finish_matrices(void** slots, uint32_t) {
  const auto slot = [&](uint32_t lane) -> const MatrixSlot& {
    return *static_cast<const MatrixSlot*>(slots[lane]);
  };
  const uint32_t count = slot(0).count;
  for (uint32_t matrix = 0; matrix < count; ++matrix)
    for (uint32_t lane = 0; lane < warp_size; ++lane) {
      uint32_t& word = slot(lane).registers[matrix];
      if constexpr (!transposed) {
        std::byte* at = slot(8 * matrix + lane / 4).row + lane % 4 * 4;
        if (stores)
          std::memcpy(at, &word, 4);
        else
          std::memcpy(&word, at, 4);
      } else {
        uint16_t halves[2];
        if (stores) std::memcpy(halves, &word, 4);
        for (uint32_t i = 0; i < 2; ++i) {
          std::byte* at = slot(8 * matrix + lane % 4 * 2 + i).row + lane / 4 * 2;
          if (stores)
            std::memcpy(at, &halves[i], 2);
          else
            std::memcpy(&halves[i], at, 2);
        }
        if (!stores) std::memcpy(&word, halves, 4);
      }
    }
}

void move_matrices(MatrixSlot slot, const char* name, Access access,
                   void (*finish)(void**, uint32_t), const void* site) {
  if (current().lane < 8 * slot.count) {
    check_row(slot.row, name, site);
    if (tracing().access) tracing().access(slot.row, row_bytes, access, site);
  }
  collective(~0u, name, &slot, finish, site);
}

// ---------------------------------------------------------------- products

struct ProductSlot {
  void* d;
  const void* a;
  const void* b;
};

/// What the 32-bit words of operands are.
template <class T>
struct HalfWords {
  using Number = float;
  static constexpr int per_word = 2;
  template <int i, int n>
  [[gnu::always_inline]] static inline Vector<float, n> widen(const Vector<uint32_t, n>& words) {
    return widen_half<T, n>(i == 0 ? words & 0xffffu : words >> 16);
  }
};
struct Tf32Words {
  using Number = float;
  static constexpr int per_word = 1;
  template <int, int n>
  [[gnu::always_inline]] static inline Vector<float, n> widen(const Vector<uint32_t, n>& words) {
    return reinterpret_cast<Vector<float, n>>(words & 0xffffe000u);
  }
};
template <class T>
struct ByteWords {
  using Number = uint32_t;  // wraps around
  static constexpr int per_word = 4;
  template <int i, int n>
  [[gnu::always_inline]] static inline Vector<uint32_t, n> widen(const Vector<uint32_t, n>& words) {
    const Vector<uint32_t, n> high = words << (24 - 8 * i);
    if constexpr (std::is_signed_v<T>)
      return reinterpret_cast<Vector<uint32_t, n>>(reinterpret_cast<Vector<int32_t, n>>(high) >>
                                                   24);
    else
      return high >> 24;
  }
};

/// 16 x 8 x (words * per_word), words of a row = 4 or 8.
template <class A, class B, int words>
struct WordProduct {
  using Number = typename A::Number;
  using Rows = Vector<Number, 16>;

  template <int i>
  [[gnu::always_inline]] static inline void add_column(const uint32_t* a, const uint32_t* b,
                                                       Rows (&sums)[8]) {
    const Rows column = A::template widen<i, 16>(load_vector<uint32_t, 16>(a));
    const Vector<Number, 8> row = B::template widen<i, 8>(load_vector<uint32_t, 8>(b));
#pragma GCC unroll 8
    for (int n = 0; n < 8; ++n) sums[n] += column * row[n];
  }

  [[gnu::always_inline]] static inline void run(void** slots, uint32_t) {
    alignas(64) uint32_t a[words][16], b[words][8];
    alignas(64) Number sums_of[8][16];
    for (uint32_t lane = 0; lane < warp_size; ++lane) {
      const auto& slot = *static_cast<const ProductSlot*>(slots[lane]);
      const auto* own_a = static_cast<const uint32_t*>(slot.a);
      const auto* own_b = static_cast<const uint32_t*>(slot.b);
      const auto* own_d = static_cast<const Number*>(slot.d);
      const uint32_t g = lane / 4, t = lane % 4;
      for (int half = 0; half < words / 4; ++half) {
        a[t + 4 * half][g] = own_a[2 * half];
        a[t + 4 * half][g + 8] = own_a[2 * half + 1];
        b[t + 4 * half][g] = own_b[half];
      }
      sums_of[2 * t][g] = own_d[0];
      sums_of[2 * t + 1][g] = own_d[1];
      sums_of[2 * t][g + 8] = own_d[2];
      sums_of[2 * t + 1][g + 8] = own_d[3];
    }
    Rows sums[8];
#pragma GCC unroll 8
    for (int n = 0; n < 8; ++n) sums[n] = load_vector<Number, 16>(sums_of[n]);
    for (int w = 0; w < words; ++w) {
      add_column<0>(a[w], b[w], sums);
      if constexpr (A::per_word >= 2) add_column<1>(a[w], b[w], sums);
      if constexpr (A::per_word == 4) {
        add_column<2>(a[w], b[w], sums);
        add_column<3>(a[w], b[w], sums);
      }
    }
#pragma GCC unroll 8
    for (int n = 0; n < 8; ++n) store_vector(sums_of[n], sums[n]);
    for (uint32_t lane = 0; lane < warp_size; ++lane) {
      auto* own_d = static_cast<Number*>(static_cast<const ProductSlot*>(slots[lane])->d);
      const uint32_t g = lane / 4, t = lane % 4;
      own_d[0] = sums_of[2 * t][g];
      own_d[1] = sums_of[2 * t + 1][g];
      own_d[2] = sums_of[2 * t][g + 8];
      own_d[3] = sums_of[2 * t + 1][g + 8];
    }
  }
};

/// m x 8 x k in doubles, fused multiply-adds in the order of k. Lane 4 g + t holds of a the rows g,
/// g + 8, ... in columns t, t + 4, ..., rows first; of b rows t, t + 4, ... of column g.
template <int m, int k>
struct DoubleProduct {
  [[gnu::always_inline]] static inline void run(void** slots, uint32_t) {
    double a[m][k], b[k][8], d[m][8];
    for (uint32_t lane = 0; lane < warp_size; ++lane) {
      const auto& slot = *static_cast<const ProductSlot*>(slots[lane]);
      const auto* own_a = static_cast<const double*>(slot.a);
      const auto* own_b = static_cast<const double*>(slot.b);
      const auto* own_d = static_cast<const double*>(slot.d);
      const uint32_t g = lane / 4, t = lane % 4;
      for (uint32_t c = 0; c < k / 4; ++c) {
        for (uint32_t r = 0; r < m / 8; ++r) a[g + 8 * r][t + 4 * c] = own_a[c * (m / 8) + r];
        b[t + 4 * c][g] = own_b[c];
      }
      for (uint32_t r = 0; r < m / 8; ++r)
        for (uint32_t i = 0; i < 2; ++i) d[g + 8 * r][2 * t + i] = own_d[2 * r + i];
    }
    for (int i = 0; i < m; ++i)
      for (int l = 0; l < k; ++l)
        for (int j = 0; j < 8; ++j) d[i][j] = std::fma(a[i][l], b[l][j], d[i][j]);
    for (uint32_t lane = 0; lane < warp_size; ++lane) {
      auto* own_d = static_cast<double*>(static_cast<const ProductSlot*>(slots[lane])->d);
      const uint32_t g = lane / 4, t = lane % 4;
      for (uint32_t r = 0; r < m / 8; ++r)
        for (uint32_t i = 0; i < 2; ++i) own_d[2 * r + i] = d[g + 8 * r][2 * t + i];
    }
  }
};

/// `operations`: of one product.
template <class Product>
void multiply(const char* name, uint64_t operations, void* d, const void* a, const void* b,
              const void* site) {
  if (tracing().operate && current().lane == 0) tracing().operate(operations);
  static const auto finish = ForLevels<Product, void**, uint32_t>::chosen();
  ProductSlot slot{d, a, b};
  collective(~0u, name, &slot, finish, site);
}

}  // namespace

void load_matrices(uint32_t* registers, const void* row, uint32_t count, bool transposed) {
  move_matrices({const_cast<std::byte*>(static_cast<const std::byte*>(row)), registers, count},
                "load_matrices", Access::read,
                transposed ? &finish_matrices<false, true> : &finish_matrices<false, false>,
                __builtin_return_address(0));
}
void store_matrices(void* row, const uint32_t* registers, uint32_t count, bool transposed) {
  move_matrices({static_cast<std::byte*>(row), const_cast<uint32_t*>(registers), count},
                "store_matrices", Access::write,
                transposed ? &finish_matrices<true, true> : &finish_matrices<true, false>,
                __builtin_return_address(0));
}

template <class T, int k>
void mma_m16n8(float* d, const uint32_t* a, const uint32_t* b) {
  multiply<WordProduct<HalfWords<T>, HalfWords<T>, k / 2>>(k == 8 ? "mma_m16n8k8" : "mma_m16n8k16",
                                                           2 * 16 * 8 * k, d, a, b,
                                                           __builtin_return_address(0));
}
template void mma_m16n8<f16, 8>(float*, const uint32_t*, const uint32_t*);
template void mma_m16n8<f16, 16>(float*, const uint32_t*, const uint32_t*);
template void mma_m16n8<bf16, 8>(float*, const uint32_t*, const uint32_t*);
template void mma_m16n8<bf16, 16>(float*, const uint32_t*, const uint32_t*);

void mma_m16n8k8_tf32(float* d, const uint32_t* a, const uint32_t* b) {
  multiply<WordProduct<Tf32Words, Tf32Words, 8>>("mma_m16n8k8_tf32", 2 * 16 * 8 * 8, d, a, b,
                                                 __builtin_return_address(0));
}

template <class A, class B>
void mma_m16n8k32(int32_t* d, const uint32_t* a, const uint32_t* b) {
  multiply<WordProduct<ByteWords<A>, ByteWords<B>, 8>>("mma_m16n8k32", 2 * 16 * 8 * 32, d, a, b,
                                                       __builtin_return_address(0));
}
template void mma_m16n8k32<int8_t, int8_t>(int32_t*, const uint32_t*, const uint32_t*);
template void mma_m16n8k32<int8_t, uint8_t>(int32_t*, const uint32_t*, const uint32_t*);
template void mma_m16n8k32<uint8_t, int8_t>(int32_t*, const uint32_t*, const uint32_t*);
template void mma_m16n8k32<uint8_t, uint8_t>(int32_t*, const uint32_t*, const uint32_t*);

void mma_m8n8k4(double* d, double a, double b) {
  multiply<DoubleProduct<8, 4>>("mma_m8n8k4", 2 * 8 * 8 * 4, d, &a, &b,
                                __builtin_return_address(0));
}
void mma_m16n8k16(double* d, const double* a, const double* b) {
  multiply<DoubleProduct<16, 16>>("mma_m16n8k16", 2 * 16 * 8 * 16, d, a, b,
                                  __builtin_return_address(0));
}

}  // namespace tessera::simt
