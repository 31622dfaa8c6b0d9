#include "tessera/kernels/cpu/winograd.hpp"

#include <algorithm>
#include <type_traits>

#include "tessera/kernels/cpu/channels_last.hpp"
#include "tessera/kernels/cpu/epilogue.hpp"
#include "tessera/kernels/cpu/gemm_tile.hpp"
#include "tessera/kernels/cpu/parallel.hpp"

namespace tessera::kernels::cpu {
namespace {

using V = Vec<float>;
constexpr int64_t width = V::width;

constexpr int points = 6;                  // per axis
constexpr int products = points * points;  // per tile
constexpr int out_tile = 4;

// Points +-a and +-b besides 0 and infinity.
constexpr float a = 0.75f, b = 1.5f;
constexpr float a2 = a * a, b2 = b * b;

constexpr int64_t thread_work = 200'000;    // multiply-adds that pay for waking a thread
constexpr int64_t block_bytes = 400 << 10;  // of transformed tiles, in the second-level cache
constexpr int64_t most_tiles = 64;          // of a block
constexpr int64_t largest_chunks = 8;       // of images, that sum weight gradients apart
constexpr int64_t partial_bytes = 128 << 20;

// The four one-dimensional maps, in place on values that stand `step` apart.

// B': six inputs to six points.
template <int step>
[[gnu::always_inline]] inline void to_points_of_input(V* x) {
  const V x0 = x[0], x1 = x[step], x2 = x[2 * step], x3 = x[3 * step], x4 = x[4 * step],
          x5 = x[5 * step];
  const V even_a = x4 - V(b2) * x2, odd_a = V(a) * (x3 - V(b2) * x1);
  const V even_b = x4 - V(a2) * x2, odd_b = V(b) * (x3 - V(a2) * x1);
  x[0] = V(a2 * b2) * x0 + (x4 - V(a2 + b2) * x2);
  x[step] = even_a + odd_a;
  x[2 * step] = even_a - odd_a;
  x[3 * step] = even_b + odd_b;
  x[4 * step] = even_b - odd_b;
  x[5 * step] = V(a2 * b2) * x1 + (x5 - V(a2 + b2) * x3);
}

// A': six points to four outputs.
template <int step>
[[gnu::always_inline]] inline void from_points_to_output(V* x) {
  const V plus_a = x[step] + x[2 * step], minus_a = V(a) * (x[step] - x[2 * step]);
  const V plus_b = x[3 * step] + x[4 * step], minus_b = V(b) * (x[3 * step] - x[4 * step]);
  const V last = x[5 * step];
  x[0] += plus_a + plus_b;
  x[step] = minus_a + minus_b;
  x[2 * step] = V(a2) * plus_a + V(b2) * plus_b;
  x[3 * step] = V(a2) * minus_a + V(b2) * minus_b + last;
}

// A: four output gradients to six points.
template <int step>
[[gnu::always_inline]] inline void to_points_of_output(V* x) {
  const V x1 = x[step], x2 = x[2 * step], x3 = x[3 * step];
  const V even_a = x[0] + V(a2) * x2, odd_a = V(a) * (x1 + V(a2) * x3);
  const V even_b = x[0] + V(b2) * x2, odd_b = V(b) * (x1 + V(b2) * x3);
  x[step] = even_a + odd_a;
  x[2 * step] = even_a - odd_a;
  x[3 * step] = even_b + odd_b;
  x[4 * step] = even_b - odd_b;
  x[5 * step] = x3;
}

constexpr float scale_0 = 1 / (a2 * b2);
constexpr float scale_a = 1 / (2 * a2 * (a2 - b2));
constexpr float scale_b = 1 / (2 * b2 * (b2 - a2));

// G: three taps to six points.
template <int step>
[[gnu::always_inline]] inline void to_points_of_filter(V* x) {
  const V x0 = x[0], x1 = x[step], x2 = x[2 * step];
  const V even_a = V(scale_a) * (x0 + V(a2) * x2), odd_a = V(scale_a * a) * x1;
  const V even_b = V(scale_b) * (x0 + V(b2) * x2), odd_b = V(scale_b * b) * x1;
  x[0] = V(scale_0) * x0;
  x[step] = even_a + odd_a;
  x[2 * step] = even_a - odd_a;
  x[3 * step] = even_b + odd_b;
  x[4 * step] = even_b - odd_b;
  x[5 * step] = x2;
}

// G': six points to three taps.
template <int step>
[[gnu::always_inline]] inline void from_points_to_filter(V* x) {
  const V plus_a = V(scale_a) * (x[step] + x[2 * step]),
          minus_a = V(scale_a * a) * (x[step] - x[2 * step]);
  const V plus_b = V(scale_b) * (x[3 * step] + x[4 * step]),
          minus_b = V(scale_b * b) * (x[3 * step] - x[4 * step]);
  x[0] = V(scale_0) * x[0] + (plus_a + plus_b);
  x[step] = minus_a + minus_b;
  x[2 * step] = V(a2) * plus_a + V(b2) * plus_b + x[5 * step];
}

// A block of tiles: rows of tiles, consecutive within and across images, that are transformed and
// multiplied together. Product i of all its tiles is the matrix [tile, channel] at i * distance.
struct Tiling {
  int64_t images, tile_rows_, tile_columns_;  // per image
  int64_t rows_per_block;

  Tiling(int64_t image_count, int64_t height, int64_t image_width, int64_t channels_in_and_out)
      : images(image_count),
        tile_rows_((height + out_tile - 1) / out_tile),
        tile_columns_((image_width + out_tile - 1) / out_tile) {
    const int64_t tile_bytes = products * channels_in_and_out * static_cast<int64_t>(sizeof(float));
    const int64_t wanted = std::clamp<int64_t>(block_bytes / tile_bytes, 2 * tile_rows, most_tiles);
    rows_per_block = std::clamp<int64_t>(wanted / tile_columns_, 1, images * tile_rows_);
  }
  int64_t blocks() const { return (images * tile_rows_ + rows_per_block - 1) / rows_per_block; }
  int64_t block_tiles() const { return rows_per_block * tile_columns_; }
  // A line apart from a power of two, so that the products of a tile do not fall on one set of the
  // cache.
  static int64_t distance(int64_t tiles, int64_t channels) { return tiles * channels + width; }

  // Calls body(image, first row of tiles, rows of tiles, first tile in the block) for each image of
  // a block.
  template <class Body>
  int64_t for_each_segment(int64_t block, Body&& body) const {
    int64_t row = block * rows_per_block;
    const int64_t end = std::min(row + rows_per_block, images * tile_rows_);
    int64_t tile = 0;
    while (row < end) {
      const int64_t count = std::min(end - row, tile_rows_ - row % tile_rows_);
      body(row / tile_rows_, row % tile_rows_, count, tile);
      tile += count * tile_columns_;
      row += count;
    }
    return tile;
  }
};

// Points of all tiles of a segment whose padded rows start at the first tile's first input.
void transform_input(const PaddedRows<float>& rows, int64_t tile_rows_, int64_t tile_columns_,
                     float* out, int64_t distance) {
  for (int64_t r = 0; r < tile_rows_; ++r)
    for (int64_t c = 0; c < tile_columns_; ++c)
      for (int64_t k = 0; k < rows.channels; k += width, out += width) {
        V x[products];
        for (int i = 0; i < points; ++i) {
          const float* row = rows.pixel(r * out_tile + i, c * out_tile) + k;
          for (int j = 0; j < points; ++j) x[i * points + j] = load(row + j * rows.channels);
          to_points_of_input<1>(x + i * points);
        }
        for (int j = 0; j < points; ++j) {
          to_points_of_input<points>(x + j);
          for (int i = 0; i < points; ++i)
            store(out + (i * points + j) * distance, x[i * points + j]);
        }
      }
}

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
void correlate_winograd(Stream& stream, const Correlation<E>& problem) {
  WinogradCorrelator<E> correlator(problem);
  const Scratch scratch = stream.scratch(correlator.scratch_bytes());
  correlator.run(scratch.as<float>());
}

template <class E>
void accumulate_weight_gradient_winograd(Stream& stream, const WeightGradient<E>& problem) {
  WinogradWeightAccumulator<E> accumulator(problem);
  const Scratch scratch = stream.scratch(accumulator.scratch_bytes());
  accumulator.run(scratch.as<float>());
}

template void correlate_winograd(Stream&, const Correlation<float>&);
template void correlate_winograd(Stream&, const Correlation<f16>&);
template void correlate_winograd(Stream&, const Correlation<bf16>&);
template void accumulate_weight_gradient_winograd(Stream&, const WeightGradient<float>&);
template void accumulate_weight_gradient_winograd(Stream&, const WeightGradient<f16>&);
template void accumulate_weight_gradient_winograd(Stream&, const WeightGradient<bf16>&);

}  // namespace tessera::kernels::cpu
