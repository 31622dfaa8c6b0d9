#pragma once

#include <cmath>
#include <optional>

#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/rows.hpp"
#include "tessera/kernels/rowwise_operands.hpp"

/// What the files of the row-wise family share: the functions that rowwise.cpp puts in the table
/// and per-channel parameters in the compute type.
namespace tessera::kernels::cpu {

// rowwise_softmax.cpp
void softmax(Stream&, View x, View y);
void log_softmax(Stream&, View x, View y);
void softmax_gradient(Stream&, View y, View gy, View gx);
void log_softmax_gradient(Stream&, View y, View gy, View gx);

// rowwise_norm.cpp: statistics of a row
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

// rowwise_batch_norm.cpp: statistics of a channel
void batch_statistics(Stream&, View x, const BatchNormParams&, View mean, View rstd,
                      View running_mean, View running_var);
void batch_norm(Stream&, View x, const BatchNormMap&, View residual, View y);
void batch_norm_gradient(Stream&, View x, const BatchNormMap&, View gy, bool batch_statistics,
                         View gx, View ggamma, View gbeta);

// rowwise_batch_norm_tangent.cpp
void batch_statistics_tangent(Stream&, View x, View mean, View rstd, View dx, View dmean,
                              View drstd);
void batch_norm_tangent(Stream&, View x, const BatchNormMap&, View y, View dx,
                        const BatchNormMap& moves, View dresidual, View dy);
void batch_norm_gradient_tangent(Stream&, View x, const BatchNormMap&, View gy, View dx,
                                 View dgamma, View dgy, View dgx, View dggamma, View dgbeta);

// rowwise_loss.cpp
void cross_entropy(Stream&, View logits, View target, const LossSelection&,
                   const CrossEntropyParams&, View loss, View lse);
void cross_entropy_gradient(Stream&, View logits, View target, const LossSelection&,
                            const CrossEntropyParams&, View lse, View gloss, View glogits);
void binary_cross_entropy(Stream&, View logits, View target, const LossSelection&, LossReduction,
                          View loss);
void binary_cross_entropy_gradient(Stream&, View logits, View target, const LossSelection&,
                                   LossReduction, View gloss, View glogits);

/// Elements per thread below which a second thread costs more than it brings.
inline constexpr int64_t row_grain = 16384;
/// A call that touches more than this writes past the caches: what it wrote first would be evicted
/// before it ends, and a line that is only written need not be read from memory.
inline constexpr int64_t cached_bytes = int64_t{32} << 20;

struct CachedStore {
  template <class T, class At>
  void operator()(T* y, At at, Vec<compute_t<T>> v) const {
    write(y, at, v);
  }
  void finish() const {}
};
struct StorePastCaches {
  template <class T, class At>
  void operator()(T* y, At at, Vec<compute_t<T>> v) const {
    write_past_caches(y, at, v);
  }
  void finish() const { stream_fence(); }
};

/// Calls body(store) with the way to write rows of n elements of `out` for a call that reads and
/// writes `operands` views of out's size. The body calls store.finish() when a thread's rows are
/// written.
template <class Body>
void with_store(const View& out, int64_t n, int operands, Body&& body) {
  const int64_t size = static_cast<int64_t>(size_of(out.dtype));
  const bool aligned =
      reinterpret_cast<uintptr_t>(out.data) % vector_bytes == 0 && n * size % vector_bytes == 0;
  if (aligned && operands * out.numel() * size > cached_bytes)
    body(StorePastCaches{});
  else
    body(CachedStore{});
}

/// The n values of a parameter in the compute type: the operand's own memory where it has that
/// type, else a copy; `absent` throughout where it was left out.
template <class C>
class Parameter {
 public:
  Parameter(Stream& stream, const View& given, int64_t n, C absent) {
    if (given.data && given.dtype == dtype_of<C>) {
      data_ = given.as<const C>();
      return;
    }
    copy_.emplace(static_cast<size_t>(n) * sizeof(C), stream);
    C* out = copy_->template as<C>();
    if (given.data) {
      for_float(given.dtype, "parameter", [&]<class T>() {
        for (int64_t i = 0; i < n; ++i) out[i] = static_cast<C>(given.as<const T>()[i]);
      });
    } else {
      for (int64_t i = 0; i < n; ++i) out[i] = absent;
    }
    data_ = out;
  }
  const C* data() const { return data_; }
  C operator[](int64_t i) const { return data_[i]; }

 private:
  std::optional<Scratch> copy_;
  const C* data_;
};

/// out[i] = value(i) in out's dtype for each of its elements; nothing where out was left out.
template <class Value>
void fill_from(const View& out, Value&& value) {
  if (!out.data) return;
  for_float(out.dtype, "parameter", [&]<class T>() {
    for (int64_t i = 0; i < out.numel(); ++i) out.as<T>()[i] = static_cast<T>(value(i));
  });
}

/// log(sum(exp(x))) = top + log(sum), and shifted = sum(w * (x - top)) where that is asked for.
template <class C>
struct LogSumExp {
  C top, sum, shifted;
  C value() const { return top + std::log(sum); }
};

/// One pass over memory: a block's maximum is found and its exponentials are summed while the block
/// is in the first-level cache, and earlier sums are rescaled when the maximum has grown. `weights`
/// may be null for ones.
template <bool with_shifted = false, class T, class C = compute_t<T>>
LogSumExp<C> log_sum_exp(const T* x, int64_t n, const C* weights = nullptr) {
  constexpr int64_t block = 2048;
  constexpr C infinity = std::numeric_limits<C>::infinity();
  C top = -infinity, reference = 0, sum = 0, shifted = 0, weight_before = 0;
  for (int64_t begin = 0; begin < n; begin += block) {
    const int64_t size = std::min(block, n - begin);
    const T* from = x + begin;
    top = std::max(top, row_max<C>(size, [=](auto at) { return read(from, at); }));
    const C moved =
        reference - (top == -infinity ? C{0} : top);  // all -inf so far: no reference yet
    if (begin > 0 && moved != 0) sum *= std::exp(moved);
    reference -= moved;
    const Vec<C> origin = reference;
    if constexpr (with_shifted) {
      const C* w = weights ? weights + begin : nullptr;
      const auto [exponentials, differences] = row_sums<C>(size, [=](auto at) {
        const Vec<C> d = read(from, at) - origin;
        return Two<Vec<C>>{exp(d), w ? d * read(w, at) : d};
      });
      shifted += weight_before * moved + differences;
      weight_before +=
          w ? row_sum<C>(size, [=](auto at) { return read(w, at); }) : static_cast<C>(size);
      sum += exponentials;
    } else {
      sum += row_sum<C>(size, [=](auto at) { return exp(read(from, at) - origin); });
    }
  }
  return {top, sum, shifted};
}

/// n cut into at most `parts` equal blocks of at least `least`, whatever the number of threads.
struct Blocks {
  int64_t n, size, count;
  Blocks(int64_t total, int64_t least, int64_t parts)
      : n(total),
        size(std::max(least, (total + parts - 1) / std::max<int64_t>(1, parts))),
        count((n + size - 1) / size) {}
  int64_t begin(int64_t block) const { return block * size; }
  int64_t end(int64_t block) const { return std::min(n, (block + 1) * size); }
};

}  // namespace tessera::kernels::cpu
