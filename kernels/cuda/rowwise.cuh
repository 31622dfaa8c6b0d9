#pragma once

#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/functors.hpp"
#include "tessera/kernels/rowwise_operands.hpp"

/// What the files of the row-wise family share: rows as threads see them, and parameters of
/// channels. rowwise_channels.cuh holds sums over channels; the table is at the end of
/// rowwise_softmax.cu.
namespace tessera::kernels::cuda {

void layer_norm(Stream&, View x, View gamma, View beta, double epsilon, View y, View mean,
                View rstd);
void layer_norm_gradient(Stream&, View x, View gamma, View mean, View rstd, View gy, View gx,
                         View ggamma, View gbeta);
void rms_norm(Stream&, View x, View gamma, double epsilon, View y, View rstd);
void rms_norm_gradient(Stream&, View x, View gamma, View rstd, View gy, View gx, View ggamma);
void group_norm(Stream&, View x, int64_t groups, View gamma, View beta, double epsilon, View y,
                View mean, View rstd);
void group_norm_gradient(Stream&, View x, int64_t groups, View gamma, View mean, View rstd, View gy,
                         View gx, View ggamma, View gbeta);

void batch_statistics(Stream&, View x, const BatchNormParams&, View mean, View rstd,
                      View running_mean, View running_var);
void batch_norm(Stream&, View x, const BatchNormMap&, View residual, View y);
void batch_norm_gradient(Stream&, View x, const BatchNormMap&, View gy, bool batch_statistics,
                         View gx, View ggamma, View gbeta);
void batch_statistics_tangent(Stream&, View x, View mean, View rstd, View dx, View dmean,
                              View drstd);
void batch_norm_tangent(Stream&, View x, const BatchNormMap&, View y, View dx,
                        const BatchNormMap& moves, View dresidual, View dy);
void batch_norm_gradient_tangent(Stream&, View x, const BatchNormMap&, View gy, View dx,
                                 View dgamma, View dgy, View dgx, View dggamma, View dgbeta);

void cross_entropy(Stream&, View logits, View target, const LossSelection&,
                   const CrossEntropyParams&, View loss, View lse);
void cross_entropy_gradient(Stream&, View logits, View target, const LossSelection&,
                            const CrossEntropyParams&, View lse, View gloss, View glogits);
void binary_cross_entropy(Stream&, View logits, View target, const LossSelection&, LossReduction,
                          View loss);
void binary_cross_entropy_gradient(Stream&, View logits, View target, const LossSelection&,
                                   LossReduction, View gloss, View glogits);

inline constexpr uint32_t row_threads = 256;

/// n values of type C.
template <class C, int n>
struct Values {
  C of[n];
};
struct SumOfValues {
  template <class C, int n>
  TS_DEVICE Values<C, n> operator()(Values<C, n> a, const Values<C, n>& b) const {
#pragma unroll
    for (int k = 0; k < n; ++k) a.of[k] += b.of[k];
    return a;
  }
};

/// One component after the other: a shuffle moves 16 bytes.
template <class C, int n>
TS_DEVICE Values<C, n> warp_reduce(Values<C, n> v, SumOfValues, uint32_t width = warp_size) {
#pragma unroll
  for (int k = 0; k < n; ++k) v.of[k] = warp_reduce(v.of[k], Sum{}, width);
  return v;
}

// ---------------------------------------------------------------- rows

/// Rows of n elements; `group` threads, a power of two of lanes or the block, share one.
struct Rows {
  int64_t count;
  uint32_t n, group;
};

/// Packs of a row that a thread keeps in registers: 64 bytes of them, or 16 elements that come one
/// by one.
template <class T, int pack>
inline constexpr int held_packs = 64 /
                                  (pack * sizeof(T) < 4 ? 4 : pack * static_cast<int>(sizeof(T)));

/// A warp's lanes hold short rows whole; longer rows get the block.
template <class T, int pack>
Rows rows_for(std::string_view operation, int64_t count, int64_t n) {
  TS_CHECK(n < INT32_MAX, operation, ": rows of ", n,
           " elements are more than 32-bit numbers count");
  const int64_t packs = ceil_divide(n, pack);
  uint32_t group = 1;
  while (group < warp_size && group < packs) group *= 2;
  if (packs > warp_size * held_packs<T, pack>) group = row_threads;
  return {count, static_cast<uint32_t>(n), group};
}
inline LaunchShape shape_for(const char* name, const Rows& rows) {
  return {name, {blocks_for(rows.count, row_threads / rows.group)}, {row_threads}};
}

/// A row as one of its threads sees it. A group behind the last row has an empty one.
struct Row {
  int64_t number;
  bool there;
  uint32_t n, group, lane;

  TS_DEVICE bool first() const { return there && lane == 0; }
  /// Combines the values of the group's threads; all of them get the result.
  template <class V, class Combine>
  TS_DEVICE V reduce(V value, Combine combine) const {
    struct Shared {
      alignas(V) unsigned char warps[sizeof(V) * row_threads / warp_size];
    };
    if (group <= warp_size) return warp_reduce(value, combine, group);
    return block_reduce(value, combine, reinterpret_cast<V*>(static_shared<Shared>().warps));
  }
  /// The value of the group's first thread.
  template <class V>
  TS_DEVICE V of_first(V value) const {
    struct Shared {
      V value;
    };
    if (group <= warp_size) return shuffle(value, 0, group);
    Shared& shared = static_shared<Shared>();
    if (lane == 0) shared.value = value;
    sync_block();
    value = shared.value;
    sync_block();
    return value;
  }
};

/// body(row) for the rows of this thread's group.
template <class Body>
TS_DEVICE void for_rows(const Rows& rows, Body body) {
  const uint32_t groups = row_threads / rows.group;
  for (int64_t first = int64_t{block_index().x} * groups; first < rows.count;
       first += int64_t{grid_size().x} * groups) {
    const int64_t number = first + thread_index().x / rows.group;
    const bool there = number < rows.count;
    body(Row{number, there, there ? rows.n : 0, rows.group, thread_index().x % rows.group});
  }
}

/// What a thread has of its row in several operands: the first packs in registers, further ones are
/// read again each time. n elements of a pack are the row's or none.
template <class T, int n, int operands>
class RowPacks {
 public:
  struct Packs {
    Pack<T, n> of[operands];
  };

  template <class... From>
  TS_DEVICE RowPacks(const Row& row, const From*... from)
      : row_(row), from_{from + row.number * row.n...} {
#pragma unroll
    for (int k = 0; k < held; ++k)
      if (column(k) < row_.n) packs_[k] = load(column(k));
  }
  /// body(column of its first element, Packs)
  template <class Body>
  TS_DEVICE void each(Body body) const {
#pragma unroll
    for (int k = 0; k < held; ++k)
      if (column(k) < row_.n) body(column(k), packs_[k]);
    for (uint32_t c = column(held); c < row_.n; c += row_.group * n) body(c, load(c));
  }

 private:
  static constexpr int held = held_packs<T, n>;

  TS_DEVICE uint32_t column(int k) const { return (k * row_.group + row_.lane) * n; }
  TS_DEVICE Packs load(uint32_t column) const {
    Packs p;
#pragma unroll
    for (int k = 0; k < operands; ++k)
      p.of[k] = load_vector(reinterpret_cast<const Pack<T, n>*>(from_[k] + column));
    return p;
  }

  Row row_;
  const T* from_[operands];
  Packs packs_[held];
};

/// to[0 .. n) = value(i) in the compute type
template <int n, class T, class Value>
TS_DEVICE void store_values(T* to, Value value) {
  Pack<T, n> pack;
#pragma unroll
  for (int i = 0; i < n; ++i) pack.lane[i] = narrow<T>(value(i));
  store_vector(reinterpret_cast<Pack<T, n>*>(to), pack);
}

/// Calls body with the elements of a pack, as template argument: `most` where whole packs make up a
/// run of elements and all operands are aligned to 16 bytes, else one.
template <class T, int most = vector_length<T>, class Body>
void for_pack(int64_t run, std::initializer_list<View> operands, Body&& body) {
  bool packed = run % most == 0;
  for (const View& v : operands) packed = packed && aligned(v.data, 16);
  if (packed)
    body.template operator()<most>();
  else
    body.template operator()<1>();
}

// ---------------------------------------------------------------- parameters of channels

/// An operand with a value per channel, of the activations' type T or of its compute type;
/// `absent` throughout where it was left out.
template <class T>
struct Parameter {
  using C = compute_t<T>;
  const void* data;
  bool wide;
  C absent;

  Parameter(const View& v, double if_absent)
      : data(v.data), wide(v.dtype == dtype_of<C>), absent(static_cast<C>(if_absent)) {}
  TS_DEVICE C operator[](int64_t channel) const {
    if (!data) return absent;
    return wide ? static_cast<const C*>(data)[channel]
                : widen(static_cast<const T*>(data)[channel]);
  }
  /// The values of n neighbours; the operand is aligned to packs, and so is the first of them.
  template <int n>
  TS_DEVICE Values<C, n> neighbours(int64_t channel) const {
    Values<C, n> v;
    if constexpr (n > 1) {
      if (data && !wide) {
        const auto pack =
            load_vector(reinterpret_cast<const Pack<T, n>*>(static_cast<const T*>(data) + channel));
#pragma unroll
        for (int i = 0; i < n; ++i) v.of[i] = widen(pack.lane[i]);
        return v;
      }
      if (data) {
        constexpr int part = vector_length<C>;
#pragma unroll
        for (int p = 0; p < n; p += part) {
          const auto pack = load_vector(
              reinterpret_cast<const Pack<C, part>*>(static_cast<const C*>(data) + channel + p));
#pragma unroll
          for (int i = 0; i < part; ++i) v.of[p + i] = pack.lane[i];
        }
        return v;
      }
    }
#pragma unroll
    for (int i = 0; i < n; ++i) v.of[i] = (*this)[channel + i];
    return v;
  }
};

/// As Parameter, to be written; nothing happens where it was left out.
template <class T>
struct ParameterResult {
  using C = compute_t<T>;
  void* data;
  bool wide;

  explicit ParameterResult(const View& v) : data(v.data), wide(v.dtype == dtype_of<C>) {}
  TS_DEVICE explicit operator bool() const { return data != nullptr; }
  TS_DEVICE void put(int64_t channel, double value) const {
    if (!data) return;
    const C rounded = static_cast<C>(value);
    if (wide)
      static_cast<C*>(data)[channel] = rounded;
    else
      static_cast<T*>(data)[channel] = narrow<T>(rounded);
  }
};

// ---------------------------------------------------------------- moments

/// Sums of x - origin and of its square over some elements, in double.
using ShiftedSums = Values<double, 2>;

/// One thread's sums about its own first element: of few terms, none far larger than what the
/// variance is made of, so that their rounding does not depend on where the mean lies.
template <class C>
struct ThreadMoments {
  C guess = 0, sum = 0, squares = 0;
  uint32_t count = 0;

  TS_DEVICE void add(C x) {
    if (count++ == 0) guess = x;
    const C d = x - guess;
    sum += d;
    squares = functors::fma(d, d, squares);
  }
  TS_DEVICE ShiftedSums about(C origin) const {
    if (count == 0) return {};
    const double moved = static_cast<double>(guess) - static_cast<double>(origin);
    const double s = sum;
    return {{s + count * moved, squares + moved * (2 * s + count * moved)}};
  }
};

/// Number, mean and sum of squared deviations.
struct Moments {
  double count, mean, squares;

  /// From the sums over `n` elements about `origin`.
  TS_DEVICE static Moments from(double n, double origin, const ShiftedSums& s) {
    if (n == 0) return {0, 0, 0};
    const double squares = s.of[1] - s.of[0] * s.of[0] / n;
    return {n, origin + s.of[0] / n, squares < 0 ? 0 : squares};
  }
  TS_DEVICE double variance() const { return count > 0 ? squares / count : 0; }
  TS_DEVICE double rstd(double epsilon) const { return 1 / functors::sqrt(variance() + epsilon); }
};

}  // namespace tessera::kernels::cuda
