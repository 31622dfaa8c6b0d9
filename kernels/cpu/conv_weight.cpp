#include "tessera/kernels/cpu/conv_weight.hpp"

#include <algorithm>
#include <type_traits>

#include "tessera/kernels/cpu/gemm_tile.hpp"
#include "tessera/kernels/cpu/parallel.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t thread_work = 200'000;      // multiply-adds that pay for waking a thread
constexpr int64_t band_bytes = 400 << 10;     // of x, in the second-level cache
constexpr int64_t largest_chunks = 8;         // of images
constexpr int64_t partial_bytes = 128 << 20;  // of all chunks' sums

template <class E>
class WeightAccumulator {
  using T = compute_t<E>;
  static constexpr int64_t vector = Vec<T>::width;

 public:
  explicit WeightAccumulator(const WeightGradient<E>& p)
      : p_(p),
        row_terms_(p.filter_width * p.channels),
        tiles_(p.filters, tile_rows),
        padded_width_((p.out_width - 1) * p.stride[1] + (p.filter_width - 1) * p.dilation[1] + 1) {
    const int64_t sums = p.groups * p.filters * p.filter_height * row_terms_;
    chunks_ = std::clamp<int64_t>(
        partial_bytes / std::max<int64_t>(1, sums * static_cast<int64_t>(sizeof(T))), 1,
        std::min(p.images, largest_chunks));
    sums_size_ = sums + p.groups * p.filters;  // the bias comes last

    const int64_t row_bytes =
        std::max<int64_t>(1, padded_width_ * p.channels * static_cast<int64_t>(sizeof(T)));
    const int64_t span = (p.filter_height - 1) * p.dilation[0] + 1;
    band_ = std::clamp<int64_t>((band_bytes / row_bytes - span) / p.stride[0] + 1, 1, p.out_height);
    band_ = Split(p.out_height, band_).largest();
    x_rows_ = (band_ - 1) * p.stride[0] + span;
    x_size_ = x_rows_ * padded_width_ * p.channels + 2 * vector;
    dy_in_place_ = std::is_same_v<E, T> && (p.dy_stride.column == 1 || p.dy_stride.channel == 1);
    dy_size_ = dy_in_place_ ? 0 : p.filters * band_ * p.out_width;

    const int64_t work = p.images * sums * p.out_height * p.out_width;
    slots_ = work / thread_work < 2 ? 1 : max_threads();
    parts_ =
        std::clamp<int64_t>(2 * slots_ / chunks_, 1, slots_ == 1 ? 1 : p.groups * tiles_.parts);
  }

  size_t scratch_bytes() const {
    return static_cast<size_t>(chunks_ * sums_size_ + slots_ * (x_size_ + dy_size_)) * sizeof(T);
  }

  void run(T* scratch, int order) {
    sums_ = scratch;
    order_ = order;
    slot_memory_ = sums_ + chunks_ * sums_size_;
    const int64_t tasks = chunks_ * parts_;
    if (slots_ == 1)
      for (int64_t b = 0; b < tasks; ++b) run_task(b, 0);
    else
      parallel_blocks(tasks, [&](int64_t b, int thread) { run_task(b, thread); });
    const int64_t filters = p_.groups * p_.filters;
    parallel_for(filters, slots_ == 1 ? filters : 1, [&](int64_t begin, int64_t end) {
      for (int64_t f = begin; f < end; ++f) finish(f);
    });
  }

 private:
  void run_task(int64_t block, int thread) {
    const int64_t chunk = block / parts_, part = block % parts_;
    T* const x = slot_memory_ + thread * (x_size_ + dy_size_);
    T* const dy = x + x_size_;
    T* const sums = sums_ + chunk * sums_size_;
    const int64_t panels = p_.groups * tiles_.parts;
    const int64_t begin = panels * part / parts_, end = panels * (part + 1) / parts_;
    bool first = true;
    for (int64_t n = p_.images * chunk / chunks_; n < p_.images * (chunk + 1) / chunks_; ++n)
      for (int64_t row = 0; row < p_.out_height; row += band_) {
        const int64_t rows = std::min(band_, p_.out_height - row);
        for (int k = 0; k <= order_; ++k) {
          const E *const of_x = p_.x[k], *const of_dy = p_.dy[order_ - k];
          int64_t loaded = -1;
          for (int64_t i = begin; i < end; ++i) {
            const int64_t group = i / tiles_.parts;
            if (group != loaded) {
              load_x(of_x, n, group, row, rows, x);
              if (!dy_in_place_) load_dy(of_dy, n, group, row, rows, dy);
              loaded = group;
            }
            multiply(of_dy, n, group, i % tiles_.parts, row, rows, x, dy, sums, first);
          }
          first = false;
        }
      }
  }

  // x of a band, padded, channels innermost.
  void load_x(const E* source, int64_t n, int64_t group, int64_t row, int64_t rows, T* out) {
    const PaddedRow padded(-p_.padding[1], 1, padded_width_, p_.width);
    const int64_t used = (rows - 1) * p_.stride[0] + (p_.filter_height - 1) * p_.dilation[0] + 1;
    const E* from = source + n * p_.x_stride.image + group * p_.channels * p_.x_stride.channel +
                    padded.first * p_.x_stride.column;
    for (int64_t u = 0; u < used; ++u, out += padded_width_ * p_.channels) {
      const int64_t h = row * p_.stride[0] + u - p_.padding[0];
      if (h < 0 || h >= p_.height) {
        std::fill_n(out, padded_width_ * p_.channels, T(0));
        continue;
      }
      std::fill_n(out, padded.before * p_.channels, T(0));
      T* const inside = out + padded.before * p_.channels;
      pack_panel(from + h * p_.x_stride.row, p_.x_stride.channel, p_.x_stride.column, p_.channels,
                 p_.channels, padded.count, inside);
      std::fill_n(inside + padded.count * p_.channels, padded.after() * p_.channels, T(0));
    }
  }

  // dy of a band as [filter, pixel] in the type of the sums.
  void load_dy(const E* source, int64_t n, int64_t group, int64_t row, int64_t rows, T* out) {
    for (int64_t f = 0; f < p_.filters; ++f)
      for (int64_t i = 0; i < rows; ++i) {
        const E* from = source + n * p_.dy_stride.image +
                        (group * p_.filters + f) * p_.dy_stride.channel +
                        (row + i) * p_.dy_stride.row;
        T* to = out + (f * band_ + i) * p_.out_width;
        for (int64_t j = 0; j < p_.out_width; ++j)
          to[j] = static_cast<T>(from[j * p_.dy_stride.column]);
      }
  }

  void multiply(const E* source, int64_t n, int64_t group, int64_t tile, int64_t row, int64_t rows,
                const T* x, const T* dy, T* sums, bool first) {
    const int64_t filters = tiles_.size(tile), filter = tiles_.begin(tile);
    TileProduct<T> t;
    TileA layout = TileA::rows;
    t.a = dy + filter * band_ * p_.out_width;
    t.a_stride = band_ * p_.out_width;
    t.a_outer = p_.out_width;
    int64_t a_step = 1;
    if constexpr (std::is_same_v<E, T>)
      if (dy_in_place_) {
        t.a = source + n * p_.dy_stride.image +
              (group * p_.filters + filter) * p_.dy_stride.channel + row * p_.dy_stride.row;
        layout = p_.dy_stride.column == 1 ? TileA::rows : TileA::columns;
        t.a_stride = p_.dy_stride.column == 1 ? p_.dy_stride.channel : p_.dy_stride.column;
        t.a_outer = p_.dy_stride.row;
        a_step = p_.dy_stride.column;
      }
    t.k = p_.out_width;
    t.outer = rows;
    t.b_stride = p_.stride[1] * p_.channels;
    t.b_outer = p_.stride[0] * padded_width_ * p_.channels;
    t.alpha = 1;
    t.beta = first ? T(0) : T(1);
    t.c_stride = p_.filter_height * row_terms_;

    T* const out = sums + (group * p_.filters + filter) * t.c_stride;
    // With dilation the taps of a row lie apart, and each is a run of its own.
    const int64_t runs = p_.dilation[1] == 1 ? 1 : p_.filter_width;
    const int64_t run = row_terms_ / runs;
    for (int64_t r = 0; r < p_.filter_height; ++r)
      for (int64_t s = 0; s < runs; ++s)
        for (int64_t j = 0; j < run; j += tile_columns<T>) {
          t.b = x + (r * p_.dilation[0] * padded_width_ + s * p_.dilation[1]) * p_.channels + j;
          t.c = out + r * row_terms_ + s * run + j;
          t.columns = std::min<int64_t>(tile_columns<T>, run - j);
          tile_kernel<T>(layout, filters, t.columns)(t);
        }
    if (dbias()) {
      T* bias = sums + sums_size_ - p_.groups * p_.filters + group * p_.filters + filter;
      for (int64_t f = 0; f < filters; ++f) {
        const int64_t stride = layout == TileA::rows ? t.a_stride : 1;
        const T sum = sum_pixels(t.a + f * stride, rows, t.a_outer, a_step);
        bias[f] = first ? sum : bias[f] + sum;
      }
    }
  }

  T sum_pixels(const T* dy, int64_t rows, int64_t row_stride, int64_t step) const {
    Vec<T> lanes(T(0));
    for (int64_t i = 0; i < rows; ++i, dy += row_stride) {
      if (step == 1) {
        int64_t j = 0;
        for (; j + vector <= p_.out_width; j += vector) lanes += load(dy + j);
        if (j < p_.out_width) lanes += load(dy + j, p_.out_width - j);
      } else {
        T sum = 0;
        for (int64_t j = 0; j < p_.out_width; ++j) sum += dy[j * step];
        lanes += load(&sum, 1);
      }
    }
    return horizontal_sum(lanes);
  }

  // Adds the chunks in order and puts the channel before the taps.
  void finish(int64_t filter) {
    const int64_t taps = p_.filter_height * p_.filter_width, terms = taps * p_.channels;
    T* const total = sums_ + filter * terms;
    for (int64_t chunk = 1; chunk < chunks_; ++chunk) {
      const T* part = total + chunk * sums_size_;
      for (int64_t i = 0; i < terms; ++i) total[i] += part[i];
    }
    E* out = p_.dweight[order_] + filter * terms;
    for (int64_t c = 0; c < p_.channels; ++c)
      for (int64_t tap = 0; tap < taps; ++tap)
        *out++ = static_cast<E>(total[tap * p_.channels + c]);
    if (!dbias()) return;
    T bias = 0;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk)
      bias += sums_[(chunk + 1) * sums_size_ - p_.groups * p_.filters + filter];
    dbias()[filter] = static_cast<E>(bias);
  }

  E* dbias() const { return order_ == 0 ? p_.dbias : nullptr; }

  const WeightGradient<E>& p_;
  const int64_t row_terms_;  // of one filter row: taps x channels
  const Split tiles_;        // of the filters of a group
  const int64_t padded_width_;
  int64_t chunks_, sums_size_, band_, x_rows_, x_size_, dy_size_, slots_, parts_;
  bool dy_in_place_;
  int order_ = 0;
  T *sums_ = nullptr, *slot_memory_ = nullptr;
};

}  // namespace

template <class E>
void accumulate_weight_gradient(Stream& stream, const WeightGradient<E>& problem) {
  WeightAccumulator<E> accumulator(problem);
  const Scratch scratch = stream.scratch(accumulator.scratch_bytes());
  for (int order = 0; order < problem.dweight.count(); ++order)
    accumulator.run(scratch.as<compute_t<E>>(), order);
}

template void accumulate_weight_gradient(Stream&, const WeightGradient<float>&);
template void accumulate_weight_gradient(Stream&, const WeightGradient<double>&);
template void accumulate_weight_gradient(Stream&, const WeightGradient<f16>&);
template void accumulate_weight_gradient(Stream&, const WeightGradient<bf16>&);

}  // namespace tessera::kernels::cpu
