#pragma once

#include <span>
#include <utility>
#include <vector>

#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/strided_space.hpp"

/// Elementwise kernels over operands of any strides. Operands whose nearest dimension is dense (or
/// repeats one element) and aligned go in packs of up to 128 bits, others one element at a time,
/// neighbouring threads at neighbours of the output.
namespace tessera::kernels::cuda {

inline constexpr uint32_t element_threads = 256;

/// Division of numbers below 2^31 by one that is known at the launch, as a product and a shift
/// (Granlund and Montgomery, "Division by invariant integers using multiplication", PLDI 1994).
struct Divisor {
  uint32_t value = 1, factor = 1, shift = 0;

  Divisor() = default;
  explicit Divisor(int64_t divisor) : value(static_cast<uint32_t>(divisor)) {
    while ((uint64_t{1} << shift) < value) ++shift;
    factor =
        static_cast<uint32_t>((uint64_t{1} << 32) * ((uint64_t{1} << shift) - value) / value + 1);
  }
  TS_DEVICE uint32_t quotient(uint32_t n) const {
    return (static_cast<uint32_t>(uint64_t{factor} * n >> 32) + n) >> shift;
  }
};

/// The operands of one launch, the output last.
struct Elements {
  static constexpr int max_operands = StridedSpace::max_operands;

  char* data[max_operands];
  uint32_t size;  // elements
  bool packed;
  int rank;
  Divisor extent[max_rank];                // the nearest dimension first, counted in packs
  int64_t stride[max_operands][max_rank];  // in elements, per pack in the nearest dimension

  template <class T>
  TS_DEVICE T* as(int operand) const {
    return reinterpret_cast<T*>(data[operand]);
  }
  /// Where in each operand the pack (or the element) of that number begins.
  template <int operands>
  TS_DEVICE void locate(uint32_t number, int64_t (&at)[operands]) const {
#pragma unroll
    for (int k = 0; k < operands; ++k) at[k] = 0;
    for (int d = 0; d + 1 < rank; ++d) {
      const uint32_t next = extent[d].quotient(number);
      const int64_t i = number - next * extent[d].value;
      number = next;
#pragma unroll
      for (int k = 0; k < operands; ++k) at[k] += i * stride[k][d];
    }
#pragma unroll
    for (int k = 0; k < operands; ++k) at[k] += int64_t{number} * stride[k][rank - 1];
  }
};

/// How many elements of these types make a pack.
template <class... T>
inline constexpr int pack_length = [] {
  size_t largest = 2;
  ((largest = sizeof(T) > largest ? sizeof(T) : largest), ...);
  return static_cast<int>(16 / largest);
}();

/// The elements [0, count) of a pack.
template <class T, int n>
TS_DEVICE Pack<T, n> load_pack(const T* from, uint32_t count) {
  if (count >= n) return load_vector(reinterpret_cast<const Pack<T, n>*>(from));
  Pack<T, n> pack{};
#pragma unroll
  for (uint32_t i = 0; i < n; ++i)
    if (i < count) pack.lane[i] = from[i];
  return pack;
}
template <class T, int n>
TS_DEVICE void store_pack(const Pack<T, n>& pack, T* to, uint32_t count) {
  if (count >= n) {
    store_vector(reinterpret_cast<Pack<T, n>*>(to), pack);
    return;
  }
#pragma unroll
  for (uint32_t i = 0; i < n; ++i)
    if (i < count) to[i] = pack.lane[i];
}

/// A pack of neighbours, or of one element again and again.
template <class T, int n>
TS_DEVICE Pack<T, n> load_neighbours(const T* from, bool repeated) {
  if (!repeated) return load_vector(reinterpret_cast<const Pack<T, n>*>(from));
  Pack<T, n> pack;
  const T element = *from;
#pragma unroll
  for (int i = 0; i < n; ++i) pack.lane[i] = element;
  return pack;
}

template <class R, int n, class F, class... T>
TS_DEVICE Pack<R, n> map_pack(F f, const Pack<T, n>&... x) {
  Pack<R, n> y;
#pragma unroll
  for (int i = 0; i < n; ++i) y.lane[i] = narrow<R>(f(widen(x.lane[i])...));
  return y;
}

/// y = f(x...) in the compute types, y of type R and x... of types T. Each element is read before
/// it is written, by the same thread, so y may be one of the x.
template <class R, class... T, class F>
TS_DEVICE void map_elements(const Elements& e, F f) {
  constexpr int n = pack_length<R, T...>;
  constexpr int inputs = static_cast<int>(sizeof...(T));
  const auto thread = static_cast<uint32_t>(first_element()),
             threads = static_cast<uint32_t>(element_step());
  R* y = e.as<R>(inputs);
  int64_t at[inputs + 1];
  const uint32_t packs = e.packed ? e.size / n : 0;
  [&]<int... k>(std::integer_sequence<int, k...>) {
    for (uint32_t i = thread; i < packs; i += threads) {
      e.locate(i, at);
      store_vector(
          reinterpret_cast<Pack<R, n>*>(y + at[inputs]),
          map_pack<R, n>(f, load_neighbours<T, n>(e.as<const T>(k) + at[k], !e.stride[k][0])...));
    }
#pragma unroll 2
    for (uint32_t i = packs * n + thread; i < e.size; i += threads) {
      if (e.packed)  // then the rest is the end of a single row
        ((at[k] = e.stride[k][0] ? i : 0), ..., (at[inputs] = i));
      else
        e.locate(i, at);
      y[at[inputs]] = narrow<R>(f(widen(e.as<const T>(k)[at[k]])...));
    }
  }
  (std::make_integer_sequence<int, inputs>{});
}

/// The operands in launches of fewer than 2^31 elements each: one, but for very large ones. Packs
/// hold `pack` elements.
std::vector<Elements> cut_elements(std::span<const View> inputs, const View& output, int pack);

/// kernel(elements, arguments...) over all elements; the kernel calls map_elements, with packs of
/// `pack` elements.
template <class... Parameters>
void launch_elements(Stream& stream, const char* name, std::span<const View> inputs,
                     const View& output, int pack, void (*kernel)(Elements, Parameters...),
                     const std::type_identity_t<Parameters>&... arguments) {
  for (const Elements& e : cut_elements(inputs, output, pack))
    launch(stream, {name, {blocks_for(e.size, pack * element_threads)}, {element_threads}}, kernel,
           e, arguments...);
}

}  // namespace tessera::kernels::cuda
