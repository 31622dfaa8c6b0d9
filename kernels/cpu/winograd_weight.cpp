#include "tessera/kernels/cpu/winograd.hpp"

#include <algorithm>

#include "tessera/kernels/cpu/gemm_tile.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/winograd_tile.hpp"

namespace tessera::kernels::cpu {
namespace {

using namespace winograd;

constexpr int64_t largest_chunks = 8;  // of images, that sum weight gradients apart
constexpr int64_t partial_bytes = 128 << 20;

void transform_output_gradient(const PaddedRows<float>& rows, int64_t tile_rows_,
                               int64_t tile_columns_, float* out, int64_t distance) {
  for (int64_t r = 0; r < tile_rows_; ++r)
    for (int64_t c = 0; c < tile_columns_; ++c)
      for (int64_t k = 0; k < rows.channels; k += width, out += width) {
        V x[products];
        for (int i = 0; i < out_tile; ++i) {
          const float* row = rows.pixel(r * out_tile + i, c * out_tile) + k;
          for (int j = 0; j < out_tile; ++j) x[i * points + j] = load(row + j * rows.channels);
          to_points_of_output<1>(x + i * points);
        }
        for (int j = 0; j < points; ++j) {
          to_points_of_output<points>(x + j);
          for (int i = 0; i < points; ++i)
            store(out + (i * points + j) * distance, x[i * points + j]);
        }
      }
}

template <class E>
class WinogradWeightAccumulator {
 public:
  explicit WinogradWeightAccumulator(const WeightGradient<E>& p)
      : p_(p),
        channels_(round_up(p.channels, width)),
        filters_(round_up(p.filters, width)),
        orders_(p.dweight.count()),
        order_size_(products * p.filters * channels_),
        sums_size_(orders_ * order_size_ + filters_) {
    chunks_ = std::clamp<int64_t>(
        partial_bytes / (p.groups * sums_size_ * static_cast<int64_t>(sizeof(float))), 1,
        std::min(p.images, largest_chunks));
    const Tiling tiling = tiling_of(p.images);
    in_distance_ = Tiling::distance(tiling.block_tiles(), channels_);
    out_distance_ = Tiling::distance(tiling.block_tiles(), filters_);
    const int64_t segment_rows = std::min(tiling.rows_per_block, tiling.tile_rows_) * out_tile;
    padded_width_ = tiling.tile_columns_ * out_tile;
    rows_size_ = std::max((segment_rows + 2) * (padded_width_ + 2) * channels_,
                          segment_rows * padded_width_ * filters_);
    slot_size_ = rows_size_ + orders_ * products * (in_distance_ + out_distance_);
    const int64_t work = p.images * p.groups * p.channels * p.filters * p.out_height * p.out_width;
    slots_ = work / thread_work < 2 ? 1 : max_threads();
  }

  size_t scratch_bytes() const {
    return static_cast<size_t>(chunks_ * p_.groups * sums_size_ + slots_ * slot_size_) *
           sizeof(float);
  }

  void run(float* scratch) {
    sums_ = scratch;
    slot_memory_ = sums_ + chunks_ * p_.groups * sums_size_;
    const int64_t tasks = chunks_ * p_.groups;
    const auto task = [&](int64_t i, int thread) {
      run_chunk(i / p_.groups, i % p_.groups, thread);
    };
    if (slots_ == 1)
      for (int64_t i = 0; i < tasks; ++i) task(i, 0);
    else
      parallel_blocks(tasks, task);
    const int64_t filters = p_.groups * p_.filters;
    parallel_for(filters, slots_ == 1 ? filters : 1, [&](int64_t begin, int64_t end) {
      for (int64_t f = begin; f < end; ++f)
        for (int order = 0; order < orders_; ++order) finish(order, f / p_.filters, f % p_.filters);
    });
  }

 private:
  Tiling tiling_of(int64_t images) const {
    return {images, p_.out_height, p_.out_width, orders_ * (channels_ + filters_)};
  }
  float* sums(int64_t chunk, int64_t group) const {
    return sums_ + (chunk * p_.groups + group) * sums_size_;
  }

  void run_chunk(int64_t chunk, int64_t group, int thread) {
    const int64_t first_image = p_.images * chunk / chunks_;
    const Tiling tiling = tiling_of(p_.images * (chunk + 1) / chunks_ - first_image);
    float* const rows = slot_memory_ + thread * slot_size_;
    float* const in_memory = rows + rows_size_;
    float* const out_memory = in_memory + orders_ * products * in_distance_;
    const auto in = [&](int order, int i) {
      return in_memory + (order * products + i) * in_distance_;
    };
    const auto out = [&](int order, int i) {
      return out_memory + (order * products + i) * out_distance_;
    };
    float* const total = sums(chunk, group);
    float* const bias = total + orders_ * order_size_;
    std::fill_n(bias, filters_, 0.0f);
    const PaddedRows<float> source{rows, padded_width_ + 2, channels_};
    const PaddedRows<float> gradient{rows, padded_width_, filters_};
    for (int64_t block = 0; block < tiling.blocks(); ++block) {
      const int64_t tiles = tiling.for_each_segment(block, [&](int64_t n, int64_t first,
                                                               int64_t count, int64_t tile) {
        const int64_t image = first_image + n;
        for (int order = 0; order < orders_; ++order) {
          load_rows(
              p_.x[order] + image * p_.x_stride.image + group * p_.channels * p_.x_stride.channel,
              p_.x_stride, p_.channels, p_.height, p_.width, first * out_tile - p_.padding[0],
              count * out_tile + 2, p_.padding[1], source);
          transform_input(source, count, tiling.tile_columns_, in(order, 0) + tile * channels_,
                          in_distance_);
          load_rows(
              p_.dy[order] + image * p_.dy_stride.image + group * p_.filters * p_.dy_stride.channel,
              p_.dy_stride, p_.filters, p_.out_height, p_.out_width, first * out_tile,
              count * out_tile, 0, gradient);
          transform_output_gradient(gradient, count, tiling.tile_columns_,
                                    out(order, 0) + tile * filters_, out_distance_);
          if (p_.dbias && order == 0) add_pixels(gradient, count * out_tile * padded_width_, bias);
        }
      });
      for (int i = 0; i < products; ++i)
        for (int order = 0; order < orders_; ++order)
          for (int k = 0; k <= order; ++k)
            accumulate(tiles, out(order - k, i), in(k, i),
                       total + order * order_size_ + i * p_.filters * channels_,
                       block == 0 && k == 0);
    }
  }

  // total[filter, channel] (+)= sum over tiles of left[tile, filter] right[tile, channel]
  void accumulate(int64_t tiles, const float* left, const float* right, float* total, bool first) {
    const Split rows(p_.filters, tile_rows);
    TileProduct<float> t;
    t.k = tiles;
    t.a_stride = filters_;
    t.b_stride = channels_;
    t.c_stride = channels_;
    t.alpha = 1;
    t.beta = first ? 0.0f : 1.0f;
    for (int64_t j = 0; j < channels_; j += tile_columns<float>) {
      t.columns = std::min<int64_t>(tile_columns<float>, channels_ - j);
      t.b = right + j;
      for (int64_t i = 0; i < rows.parts; ++i) {
        t.a = left + rows.begin(i);
        t.c = total + rows.begin(i) * channels_ + j;
        tile_kernel<float>(TileA::columns, rows.size(i), t.columns)(t);
      }
    }
  }

  void add_pixels(const PaddedRows<float>& rows, int64_t pixels, float* bias) const {
    for (int64_t k = 0; k < filters_; k += width) {
      V sum(0);
      for (int64_t i = 0; i < pixels; ++i) sum += load(rows.data + i * filters_ + k);
      store(bias + k, load(bias + k) + sum);
    }
  }

  // Adds the chunks in order, and takes the points back to taps.
  void finish(int order, int64_t group, int64_t filter) {
    E* const out = p_.dweight[order] + (group * p_.filters + filter) * p_.channels * 9;
    for (int64_t c = 0; c < channels_; c += width) {
      V x[products];
      for (int i = 0; i < products; ++i) {
        x[i] = V(0);
        for (int64_t chunk = 0; chunk < chunks_; ++chunk)
          x[i] += load(sums(chunk, group) + order * order_size_ +
                       (i * p_.filters + filter) * channels_ + c);
      }
      for (int j = 0; j < points; ++j) from_points_to_filter<points>(x + j);
      for (int i = 0; i < 3; ++i) {
        from_points_to_filter<1>(x + i * points);
        for (int j = 0; j < 3; ++j)
          for (int64_t l = 0; l < std::min(width, p_.channels - c); ++l)
            out[(c + l) * 9 + i * 3 + j] = static_cast<E>(x[i * points + j][static_cast<int>(l)]);
      }
    }
    if (!p_.dbias || order > 0) return;
    float bias = 0;
    for (int64_t chunk = 0; chunk < chunks_; ++chunk)
      bias += sums(chunk, group)[orders_ * order_size_ + filter];
    p_.dbias[group * p_.filters + filter] = static_cast<E>(bias);
  }

  const WeightGradient<E>& p_;
  const int64_t channels_, filters_;  // padded to vectors
  const int orders_;
  const int64_t order_size_;  // of one chunk and group: products
  const int64_t sums_size_;   // those of all orders, and bias
  int64_t chunks_, in_distance_, out_distance_, padded_width_, rows_size_, slot_size_, slots_;
  float *sums_ = nullptr, *slot_memory_ = nullptr;
};

}  // namespace

template <class E>
void accumulate_weight_gradient_winograd(Stream& stream, const WeightGradient<E>& problem) {
  WinogradWeightAccumulator<E> accumulator(problem);
  const Scratch scratch = stream.scratch(accumulator.scratch_bytes());
  accumulator.run(scratch.as<float>());
}
template void accumulate_weight_gradient_winograd(Stream&, const WeightGradient<float>&);
template void accumulate_weight_gradient_winograd(Stream&, const WeightGradient<f16>&);
template void accumulate_weight_gradient_winograd(Stream&, const WeightGradient<bf16>&);

}  // namespace tessera::kernels::cpu
