#include "tessera/kernels/cpu/correlation.hpp"

#include <algorithm>
#include <limits>
#include <type_traits>

#include "tessera/kernels/cpu/conv_tile.hpp"
#include "tessera/kernels/cpu/epilogue.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::kernels::cpu {

PaddedRow::PaddedRow(int64_t start, int64_t step, int64_t row_length, int64_t extent)
    : length(row_length) {
  before = std::min(length, start < 0 ? (-start + step - 1) / step : 0);
  first = start + before * step;
  count = first >= extent ? 0 : std::min(length - before, (extent - first + step - 1) / step);
}

namespace {

// Padded planes of one task stay below this many bytes where they can.
constexpr int64_t plane_bytes = 400 << 10;
// Multiply-adds that pay for waking a thread.
constexpr int64_t thread_work = 200'000;

constexpr int64_t ceil_divide(int64_t a, int64_t b) { return (a + b - 1) / b; }

// y[i] = x[i * stride] for i < n.
template <class E, class T>
inline void copy_row(const E* x, int64_t stride, int64_t n, T* y) {
  constexpr int64_t width = Vec<T>::width;
  if (stride == 1) {
    int64_t i = 0;
    for (; i + width <= n; i += width) store(y + i, load(x + i));
    if (i < n) store(y + i, load(x + i, n - i), n - i);
  } else {
    for (int64_t i = 0; i < n; ++i) y[i] = static_cast<T>(x[i * stride]);
  }
}

template <class T>
inline void zero(T* y, int64_t n) {
  for (int64_t i = 0; i < n; ++i) y[i] = 0;
}

template <class E>
class Correlator {
  using T = compute_t<E>;
  static constexpr int64_t width = Vec<T>::width;

  // What the tiles of one (row class, column class, order) of outputs have in common.
  struct Class {
    const ConvAxis::Output *rows, *columns;
    int order;                         // of the output, which reads as many orders of the source
    int64_t steps;                     // terms per output
    int64_t weights, offsets, pieces;  // where its part of these tables begins
    int64_t unit;   // pixels per piece of a tile: a vector, or half of one where rows are an odd
                    // number of halves
    bool flat;      // tiles run on across row ends; what falls between the rows is dropped
    bool in_place;  // tiles store to the output itself
  };

 public:
  explicit Correlator(const Correlation<E>& p)
      : p_(p),
        source_channels_(p.source.count() * p.channels),
        tiles_(p.filters, tile_rows),
        reach_(p.rows.reach()),
        height_(p.rows.count()),
        row_length_(p.columns.count() + p.columns.reach()),
        planes_(static_cast<int64_t>(p.rows.starts.size() * p.columns.starts.size())) {
    source_in_place_ = reads_source_in_place();
    pitch_ = source_in_place_ ? row_length_ : row_length_ - shared_padding();
    choose_tasks();
    const int64_t stacked = stack_ * (band_ + reach_) * pitch_;
    plane_size_ = stacked + row_length_ - pitch_;
    channel_size_ = source_in_place_ ? p.source_stride.channel : planes_ * plane_size_;
    source_size_ = source_in_place_ ? 0 : source_channels_ * channel_size_ + 2 * width;
    TS_CHECK(source_channels_ * channel_size_ + plane_size_ < std::numeric_limits<int32_t>::max(),
             "convolution: ", p.channels, " channels of ", p.source_height, " x ", p.source_width,
             " pixels exceed the 32-bit offsets of the CPU kernel");
    staged_stride_ = stacked + 2 * width;
    for (const ConvAxis::Output& r : p.rows.outputs)
      for (const ConvAxis::Output& c : p.columns.outputs)
        for (int order = 0; order < p.output.count(); ++order) add_class(r, c, order, stacked);
  }

  size_t scratch_bytes() const {
    const auto floats =
        static_cast<size_t>(weights_size_ + slots_ * (source_size_ + tile_rows * staged_stride_));
    return floats * sizeof(T) + static_cast<size_t>(offsets_size_ + pieces_size_) * sizeof(int32_t);
  }

  void run(T* scratch) {
    weights_ = scratch;
    slot_memory_ = weights_ + weights_size_;
    offsets_ = reinterpret_cast<int32_t*>(slot_memory_ +
                                          slots_ * (source_size_ + tile_rows * staged_stride_));
    pieces_ = offsets_ + offsets_size_;
    for (const Class& k : classes_) fill_tables(k);

    const int64_t panels = p_.groups * tiles_.parts;
    for (const Class& k : classes_)
      parallel_for(panels, slots_ == 1 ? panels : 1, [&](int64_t begin, int64_t end) {
        for (int64_t i = begin; i < end; ++i) pack_weights(k, i / tiles_.parts, i % tiles_.parts);
      });

    const int64_t blocks = ceil_divide(p_.images, stack_) * bands_ * parts_;
    if (slots_ == 1)
      for (int64_t b = 0; b < blocks; ++b) run_task(b, 0);
    else
      parallel_blocks(blocks, [&](int64_t b, int thread) { run_task(b, thread); });
  }

 private:
  // One image and a group's planes are what a tile would read anyway: 1 x 1 filters without stride
  // and padding, on images of whole vectors, since tiles read whole vectors.
  bool reads_source_in_place() const {
    const auto plain = [](const ConvAxis& axis, int64_t extent) {
      return axis.source_step == 1 && axis.output_step == 1 && axis.starts.size() == 1 &&
             axis.starts[0] == 0 && axis.reach() == 0 && axis.count() == extent;
    };
    return std::is_same_v<E, T> && p_.source.count() == 1 && plain(p_.rows, p_.source_height) &&
           plain(p_.columns, p_.source_width) && p_.source_stride.column == 1 &&
           p_.source_stride.row == p_.source_width &&
           p_.source_height * p_.source_width % width == 0 &&
           p_.channels * p_.source_stride.channel < std::numeric_limits<int32_t>::max();
  }

  // The zeros behind a row can be the zeros before the next.
  int64_t shared_padding() const {
    int64_t shared = p_.columns.reach();
    for (const int64_t start : p_.columns.starts) {
      const PaddedRow row(start, p_.columns.source_step, row_length_, p_.source_width);
      shared = std::min({shared, row.before, row.after()});
    }
    return shared;
  }

  // A task is a band of rows of one image, or a stack of small images, times a part of the filters.
  void choose_tasks() {
    int64_t terms = 0;
    for (const ConvAxis::Output& r : p_.rows.outputs)
      for (const ConvAxis::Output& c : p_.columns.outputs)
        terms += r.count * c.count * static_cast<int64_t>(r.taps.size() * c.taps.size());
    const int64_t work = p_.images * p_.groups * p_.filters * p_.channels * terms;
    slots_ = work / thread_work < 2 ? 1 : max_threads();
    const int64_t wanted = slots_ == 1 ? 1 : 4 * slots_;

    const int64_t row_bytes =
        std::max<int64_t>(1, source_channels_ * planes_ * pitch_ * static_cast<int64_t>(sizeof(T)));
    band_ = source_in_place_ ? height_
                             : std::clamp(plane_bytes / row_bytes - reach_,
                                          std::min<int64_t>(height_, 4), height_);
    if (p_.images < wanted)
      band_ = std::clamp(height_ * p_.images / wanted, std::min<int64_t>(height_, 4), band_);
    if (source_in_place_ && band_ * pitch_ % width != 0) band_ = height_;
    bands_ = ceil_divide(height_, band_);
    if (!source_in_place_) band_ = ceil_divide(height_, bands_);

    const int64_t image = (height_ + reach_) * pitch_;
    if (bands_ == 1 && !source_in_place_ && height_ * p_.columns.count() < 4 * width)
      stack_ = std::clamp<int64_t>(
          16 * width / image, 1,
          std::max<int64_t>(
              1, std::min(p_.images / wanted, plane_bytes / (row_bytes * (height_ + reach_)))));
    const int64_t tasks = ceil_divide(p_.images, stack_) * bands_;
    parts_ = slots_ == 1 ? 1 : std::clamp(wanted / tasks, int64_t{1}, p_.groups * tiles_.parts);
  }

  void add_class(const ConvAxis::Output& rows, const ConvAxis::Output& columns, int order,
                 int64_t stacked) {
    Class k{};
    k.rows = &rows;
    k.columns = &columns;
    k.order = order;
    k.steps =
        (order + 1) * p_.channels * static_cast<int64_t>(rows.taps.size() * columns.taps.size());
    k.unit = columns.count % width == 0 ? width : width / 2;
    k.flat = stack_ > 1 || columns.count % k.unit != 0;
    if (k.flat) k.unit = width;
    k.in_place = std::is_same_v<E, T> && stack_ == 1 && (!k.flat || pitch_ == columns.count) &&
                 p_.output_stride.column * p_.columns.output_step == 1 &&
                 p_.output_stride.row * p_.rows.output_step == columns.count;
    k.weights = weights_size_;
    k.offsets = offsets_size_;
    k.pieces = pieces_size_;
    weights_size_ += p_.groups * p_.filters * k.steps;
    offsets_size_ += k.steps;
    pieces_size_ += ceil_divide(k.flat ? staged_stride_ : stacked, k.unit);
    classes_.push_back(k);
  }

  void fill_tables(const Class& k) {
    int32_t* offset = offsets_ + k.offsets;
    const auto plane_columns = static_cast<int64_t>(p_.columns.starts.size());
    for (int64_t c = 0; c < (k.order + 1) * p_.channels; ++c)
      for (const ConvAxis::Tap& r : k.rows->taps)
        for (const ConvAxis::Tap& s : k.columns->taps)
          *offset++ = static_cast<int32_t>(c * channel_size_ +
                                           (r.plane * plane_columns + s.plane) * plane_size_ +
                                           r.shift * pitch_ + s.shift);
    int32_t* piece = pieces_ + k.pieces;
    const int64_t per_row = k.columns->count / k.unit;
    const int64_t count = k.flat ? ceil_divide(staged_stride_, k.unit) : band_ * per_row;
    for (int64_t i = 0; i < count; ++i)
      piece[i] =
          static_cast<int32_t>(k.flat ? i * k.unit : i / per_row * pitch_ + i % per_row * k.unit);
  }

  T* panel(const Class& k, int64_t group, int64_t tile) const {
    return weights_ + k.weights + (group * p_.filters + tiles_.begin(tile)) * k.steps;
  }

  void pack_weights(const Class& k, int64_t group, int64_t tile) {
    T* out = panel(k, group, tile);
    const int64_t count = tiles_.size(tile);
    for (int i = 0; i <= k.order; ++i) {
      const E* from =
          p_.weight[k.order - i] + group * p_.weight_group + tiles_.begin(tile) * p_.weight_filter;
      for (int64_t c = 0; c < p_.channels; ++c, from += p_.weight_channel)
        for (const ConvAxis::Tap& r : k.rows->taps)
          for (const ConvAxis::Tap& s : k.columns->taps) {
            const E* w = from + r.filter * p_.weight_row + s.filter;
            for (int64_t f = 0; f < count; ++f) *out++ = static_cast<T>(w[f * p_.weight_filter]);
          }
    }
  }

  struct Task {
    int64_t image, images, row, rows;
    T *source, *staged;
  };

  void run_task(int64_t block, int thread) {
    Task t;
    const int64_t part = block % parts_;
    t.row = block / parts_ % bands_ * band_;
    t.rows = std::min(band_, height_ - t.row);
    t.image = block / parts_ / bands_ * stack_;
    t.images = std::min(stack_, p_.images - t.image);
    t.source = slot_memory_ + thread * (source_size_ + tile_rows * staged_stride_);
    t.staged = t.source + source_size_;

    const int64_t panels = p_.groups * tiles_.parts;
    int64_t loaded = -1;
    for (int64_t i = panels * part / parts_; i < panels * (part + 1) / parts_; ++i) {
      const int64_t group = i / tiles_.parts;
      if (group != loaded) load_planes(t, group);
      loaded = group;
      for (const Class& k : classes_) run_panel(t, k, group, i % tiles_.parts);
    }
  }

  void load_planes(const Task& t, int64_t group) {
    if (source_in_place_) return;
    T* plane = t.source;
    for (int64_t c = 0; c < source_channels_; ++c)
      for (const int64_t row_start : p_.rows.starts)
        for (const int64_t column_start : p_.columns.starts) {
          const PaddedRow padded(column_start, p_.columns.source_step, row_length_,
                                 p_.source_width);
          const E* from = p_.source[static_cast<int>(c / p_.channels)] +
                          t.image * p_.source_stride.image +
                          (group * p_.channels + c % p_.channels) * p_.source_stride.channel +
                          padded.first * p_.source_stride.column;
          for (int64_t n = 0; n < t.images; ++n)
            for (int64_t j = 0; j < t.rows + reach_; ++j) {
              T* to = plane + (n * (band_ + reach_) + j) * pitch_;
              const int64_t row = row_start + (t.row + j) * p_.rows.source_step;
              if (row < 0 || row >= p_.source_height) {
                zero(to, row_length_);
                continue;
              }
              zero(to, padded.before);
              copy_row(from + n * p_.source_stride.image + row * p_.source_stride.row,
                       p_.source_stride.column * p_.columns.source_step, padded.count,
                       to + padded.before);
              zero(to + padded.before + padded.count, padded.after());
            }
          plane += plane_size_;
        }
  }

  // One tile of filters over all pixels of the task.
  void run_panel(const Task& t, const Class& k, int64_t group, int64_t tile) {
    const int64_t rows = std::min(t.rows, k.rows->count - t.row);
    if (rows <= 0) return;
    const int64_t filters = tiles_.size(tile), filter = group * p_.filters + tiles_.begin(tile);
    const int64_t count = k.columns->count;
    const int64_t total =
        k.flat ? ((t.images - 1) * (band_ + reach_) + rows - 1) * pitch_ + count : rows * count;
    const int64_t pieces = ceil_divide(total, k.unit);
    const int64_t per_tile = tile_columns<T> / k.unit;
    E* const output = p_.output[k.order] + t.image * p_.output_stride.image +
                      filter * p_.output_stride.channel +
                      (k.rows->first + t.row * p_.rows.output_step) * p_.output_stride.row +
                      k.columns->first * p_.output_stride.column;

    GatheredProduct<T> product;
    product.k = k.steps;
    product.a = panel(k, group, tile);
    if constexpr (std::is_same_v<E, T>)
      product.b = source_in_place_ ? p_.source[0] + t.image * p_.source_stride.image +
                                         group * p_.channels * p_.source_stride.channel +
                                         t.row * p_.source_stride.row
                                   : t.source;
    else
      product.b = t.source;
    product.offset = offsets_ + k.offsets;
    T* sums = t.staged;
    product.c_stride = staged_stride_;
    if constexpr (std::is_same_v<E, T>)
      if (k.in_place) {
        sums = output;
        product.c_stride = p_.output_stride.channel;
      }
    const bool finish_here = k.in_place && (p_.bias || p_.activation != Activation::none);
    const int32_t* const piece = pieces_ + k.pieces;
    for (int64_t u = 0; u < pieces; u += per_tile) {
      for (int64_t i = 0; i < per_tile; ++i) product.piece[i] = piece[std::min(u + i, pieces - 1)];
      product.c = sums + u * k.unit;
      product.columns = std::min<int64_t>(tile_columns<T>, total - u * k.unit);
      gathered_kernel<T>(filters, product.columns, k.unit < width)(product);
      if (finish_here)
        for (int64_t f = 0; f < filters; ++f) {
          T* y = product.c + f * product.c_stride;
          finish_row(y, product.columns, bias(k, filter + f), static_cast<const T*>(nullptr), T(0),
                     p_.activation, y);
        }
    }
    if (!k.in_place) copy_out(t, k, output, filter, filters, rows);
  }

  T bias(const Class& k, int64_t filter) const {
    return p_.bias && k.order == 0 ? static_cast<T>(p_.bias[filter]) : T(0);
  }

  void copy_out(const Task& t, const Class& k, E* output, int64_t filter, int64_t filters,
                int64_t rows) {
    const int64_t count = k.columns->count;
    const int64_t step = p_.output_stride.column * p_.columns.output_step;
    for (int64_t f = 0; f < filters; ++f)
      for (int64_t n = 0; n < t.images; ++n)
        for (int64_t i = 0; i < rows; ++i) {
          T* sums = t.staged + f * staged_stride_ +
                    (k.flat ? (n * (band_ + reach_) + i) * pitch_ : i * count);
          E* y = output + n * p_.output_stride.image + f * p_.output_stride.channel +
                 i * p_.rows.output_step * p_.output_stride.row;
          const E* no_biases = nullptr;
          if (step == 1) {
            finish_row(sums, count, bias(k, filter + f), no_biases, T(0), p_.activation, y);
            continue;
          }
          if (p_.bias || p_.activation != Activation::none)
            finish_row(sums, count, bias(k, filter + f), static_cast<const T*>(nullptr), T(0),
                       p_.activation, sums);
          for (int64_t j = 0; j < count; ++j) y[j * step] = static_cast<E>(sums[j]);
        }
  }

  const Correlation<E>& p_;
  const int64_t source_channels_;  // of a group, of all orders
  const Split tiles_;              // of the filters of a group
  const int64_t reach_;            // rows that a plane has more than outputs
  const int64_t height_;           // rows of outputs
  const int64_t row_length_;       // of a plane, paddings included
  const int64_t planes_;           // per channel
  bool source_in_place_;
  int64_t pitch_;  // between rows of a plane
  int64_t slots_ = 1, band_ = 1, bands_ = 1, stack_ = 1, parts_ = 1;
  int64_t plane_size_, channel_size_, source_size_, staged_stride_;
  int64_t weights_size_ = 0, offsets_size_ = 0, pieces_size_ = 0;
  std::vector<Class> classes_;
  T *weights_ = nullptr, *slot_memory_ = nullptr;
  int32_t *offsets_ = nullptr, *pieces_ = nullptr;
};

}  // namespace

template <class E>
void correlate(Stream& stream, const Correlation<E>& problem) {
  if (problem.images == 0 || problem.groups * problem.filters == 0 || problem.rows.count() <= 0 ||
      problem.columns.count() <= 0)
    return;
  Correlator<E> correlator(problem);
  const Scratch scratch = stream.scratch(correlator.scratch_bytes());
  correlator.run(scratch.as<compute_t<E>>());
}

template void correlate(Stream&, const Correlation<float>&);
template void correlate(Stream&, const Correlation<double>&);
template void correlate(Stream&, const Correlation<f16>&);
template void correlate(Stream&, const Correlation<bf16>&);

}  // namespace tessera::kernels::cpu
