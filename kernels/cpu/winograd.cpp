#include "tessera/kernels/cpu/winograd.hpp"

#include <algorithm>

#include "tessera/kernels/cpu/epilogue.hpp"
#include "tessera/kernels/cpu/gemm_tile.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/winograd_tile.hpp"

namespace tessera::kernels::cpu {
namespace {

using namespace winograd;

// The outputs of all tiles of a segment, with bias (null, or padded to vectors) and activation.
void transform_output(const float* in, int64_t distance, int64_t tile_rows_, int64_t tile_columns_,
                      const float* bias, Activation activation, const PaddedRows<float>& rows) {
  with_activation<float>(activation, [&](auto f) {
    for (int64_t r = 0; r < tile_rows_; ++r)
      for (int64_t c = 0; c < tile_columns_; ++c)
        for (int64_t k = 0; k < rows.channels; k += width, in += width) {
          V x[products];
          for (int j = 0; j < points; ++j) {
            for (int i = 0; i < points; ++i)
              x[i * points + j] = load(in + (i * points + j) * distance);
            from_points_to_output<points>(x + j);
          }
          const V added = bias ? load(bias + k) : V(0);
          for (int i = 0; i < out_tile; ++i) {
            from_points_to_output<1>(x + i * points);
            float* row = rows.pixel(r * out_tile + i, c * out_tile) + k;
            for (int j = 0; j < out_tile; ++j)
              store(row + j * rows.channels, f(x[i * points + j] + added));
          }
        }
  });
}

// c[m, n] = a b, or += where `add`, m rows in tiles; n a whole number of vectors. b: panels of
// tile_columns columns.
void multiply_panels(int64_t m, int64_t n, int64_t k, const float* left, int64_t left_stride,
                     const float* panels, float* c, int64_t c_stride, bool add) {
  const Split rows(m, tile_rows);
  TileProduct<float> t;
  t.k = k;
  t.a_stride = left_stride;
  t.c_stride = c_stride;
  t.alpha = 1;
  t.beta = add ? 1.0f : 0.0f;
  for (int64_t j = 0; j < n; j += tile_columns<float>) {
    t.columns = std::min<int64_t>(tile_columns<float>, n - j);
    t.b = panels + j * k;
    t.b_stride = t.columns;
    for (int64_t i = 0; i < rows.parts; ++i) {
      t.a = left + rows.begin(i) * left_stride;
      t.c = c + rows.begin(i) * c_stride + j;
      tile_kernel<float>(TileA::rows, rows.size(i), t.columns)(t);
    }
  }
}

template <class E>
class WinogradCorrelator {
 public:
  explicit WinogradCorrelator(const Correlation<E>& p)
      : p_(p),
        channels_(round_up(p.channels, width)),
        filters_(round_up(p.filters, width)),
        orders_(p.output.count()),
        tiling_(p.images, p.rows.count(), p.columns.count(), orders_ * (channels_ + filters_)),
        in_distance_(Tiling::distance(tiling_.block_tiles(), channels_)),
        out_distance_(Tiling::distance(tiling_.block_tiles(), filters_)) {
    const int64_t segment_rows = std::min(tiling_.rows_per_block, tiling_.tile_rows_) * out_tile;
    padded_width_ = tiling_.tile_columns_ * out_tile;
    const int64_t in_rows = (segment_rows + 2) * (padded_width_ + 2) * channels_;
    const int64_t out_rows = segment_rows * padded_width_ * filters_;
    rows_size_ = std::max(in_rows, out_rows);
    slot_size_ = rows_size_ + orders_ * products * (in_distance_ + out_distance_);
    weights_size_ = orders_ * products * p.channels * filters_;
    const int64_t work =
        p.images * p.groups * p.channels * p.filters * p.rows.count() * p.columns.count();
    slots_ = work / thread_work < 2 ? 1 : max_threads();
  }

  size_t scratch_bytes() const {
    return static_cast<size_t>(p_.groups * (weights_size_ + filters_) + slots_ * slot_size_) *
           sizeof(float);
  }

  void run(float* scratch) {
    weights_ = scratch;
    bias_ = weights_ + p_.groups * weights_size_;
    slot_memory_ = bias_ + p_.groups * filters_;
    if (p_.bias)
      for (int64_t g = 0; g < p_.groups; ++g)
        for (int64_t f = 0; f < filters_; ++f)
          bias_[g * filters_ + f] =
              f < p_.filters ? static_cast<float>(p_.bias[g * p_.filters + f]) : 0;
    const int64_t columns = p_.groups * p_.channels;
    parallel_for(columns, slots_ == 1 ? columns : 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i)
        for (int order = 0; order < orders_; ++order)
          transform_weights(order, i / p_.channels, i % p_.channels);
    });
    const int64_t blocks = p_.groups * tiling_.blocks();
    const auto task = [&](int64_t i, int thread) {
      run_block(i / tiling_.blocks(), i % tiling_.blocks(), thread);
    };
    if (slots_ == 1)
      for (int64_t i = 0; i < blocks; ++i) task(i, 0);
    else
      parallel_blocks(blocks, task);
  }

 private:
  // Filters along the vectors; product i of channel c is a row of the panels of matrix i.
  void transform_weights(int order, int64_t group, int64_t c) {
    const ConvAxis::Output &rows = p_.rows.outputs[0], &columns = p_.columns.outputs[0];
    const E* from = p_.weight[order] + group * p_.weight_group + c * p_.weight_channel;
    for (int64_t f = 0; f < filters_; f += width) {
      V x[products];
      for (const ConvAxis::Tap& r : rows.taps)
        for (const ConvAxis::Tap& s : columns.taps) {
          float taps[width] = {};
          for (int64_t i = 0; i < std::min(width, p_.filters - f); ++i)
            taps[i] = static_cast<float>(
                from[(f + i) * p_.weight_filter + r.filter * p_.weight_row + s.filter]);
          x[r.shift * points + s.shift] = load(taps);
        }
      for (int i = 0; i < 3; ++i) to_points_of_filter<1>(x + i * points);
      const int64_t panel = f / tile_columns<float> * tile_columns<float>;
      const int64_t panel_width = std::min<int64_t>(tile_columns<float>, filters_ - panel);
      float* to = weights(order, group, 0) + panel * p_.channels + c * panel_width + (f - panel);
      for (int j = 0; j < points; ++j) {
        to_points_of_filter<points>(x + j);
        for (int i = 0; i < points; ++i)
          store(to + (i * points + j) * p_.channels * filters_, x[i * points + j]);
      }
    }
  }

  // The transformed weight of product i: panels [channel, filter].
  float* weights(int order, int64_t group, int i) const {
    return weights_ + group * weights_size_ + (order * products + i) * p_.channels * filters_;
  }

  void run_block(int64_t group, int64_t block, int thread) {
    float* const rows = slot_memory_ + thread * slot_size_;
    float* const in_memory = rows + rows_size_;
    float* const out_memory = in_memory + orders_ * products * in_distance_;
    const auto in = [&](int order, int i) {
      return in_memory + (order * products + i) * in_distance_;
    };
    const auto out = [&](int order, int i) {
      return out_memory + (order * products + i) * out_distance_;
    };
    const PaddedRows<float> source{rows, padded_width_ + 2, channels_};
    const PaddedRows<float> result{rows, padded_width_, filters_};
    const int64_t top = -p_.rows.starts[0], left = -p_.columns.starts[0];
    const int64_t tiles = tiling_.for_each_segment(
        block, [&](int64_t image, int64_t first, int64_t count, int64_t tile) {
          for (int order = 0; order < orders_; ++order) {
            load_rows(p_.source[order] + image * p_.source_stride.image +
                          group * p_.channels * p_.source_stride.channel,
                      p_.source_stride, p_.channels, p_.source_height, p_.source_width,
                      first * out_tile - top, count * out_tile + 2, left, source);
            transform_input(source, count, tiling_.tile_columns_, in(order, 0) + tile * channels_,
                            in_distance_);
          }
        });
    for (int i = 0; i < products; ++i)
      for (int order = 0; order < orders_; ++order)
        for (int k = 0; k <= order; ++k)
          multiply_panels(tiles, filters_, p_.channels, in(k, i), channels_,
                          weights(order - k, group, i), out(order, i), filters_, k > 0);
    tiling_.for_each_segment(block, [&](int64_t image, int64_t first, int64_t count, int64_t tile) {
      const int64_t row = first * out_tile;
      for (int order = 0; order < orders_; ++order) {
        transform_output(
            out(order, 0) + tile * filters_, out_distance_, count, tiling_.tile_columns_,
            p_.bias && order == 0 ? bias_ + group * filters_ : nullptr, p_.activation, result);
        store_rows(result, std::min(count * out_tile, p_.rows.count() - row), p_.filters,
                   p_.columns.count(),
                   p_.output[order] + image * p_.output_stride.image +
                       group * p_.filters * p_.output_stride.channel + row * p_.output_stride.row,
                   p_.output_stride);
      }
    });
  }

  const Correlation<E>& p_;
  const int64_t channels_, filters_;  // padded to vectors
  const int orders_;
  const Tiling tiling_;
  const int64_t in_distance_, out_distance_;
  int64_t padded_width_, rows_size_, slot_size_, weights_size_, slots_;
  float *weights_ = nullptr, *bias_ = nullptr, *slot_memory_ = nullptr;
};

}  // namespace

template <class E>
void correlate_winograd(Stream& stream, const Correlation<E>& problem) {
  WinogradCorrelator<E> correlator(problem);
  const Scratch scratch = stream.scratch(correlator.scratch_bytes());
  correlator.run(scratch.as<float>());
}
template void correlate_winograd(Stream&, const Correlation<float>&);
template void correlate_winograd(Stream&, const Correlation<f16>&);
template void correlate_winograd(Stream&, const Correlation<bf16>&);

}  // namespace tessera::kernels::cpu
