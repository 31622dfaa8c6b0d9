// Convolutions as matrix products on tensor cores, with the tiles and the ring of gemm_block.cuh.
//
// Inside, channels are innermost and each group's are padded to whole chunks of 16 bytes: images
// that lie otherwise are packed first, and so is the weight, [filter][tap][channel]. The patch
// matrix is never formed. A chunk of a tile's line is a tap and some channels of a pixel, so every
// asynchronous copy moves 16 adjacent bytes, or zeros where the tap leaves the image.
//
// correlate: pixels x filters, summed over taps and channels. The tile of pixels is A or B so that
// the lanes that store a line of results are neighbours in memory, along rows or along channels.
// Tangents, a' b + a b', are one product of twice the depth, and read the packed operands again.
// weight_gradient: filters x (taps, channels), summed over pixels, cut into parts.
//
// Sectors over the ideal, once per element of a weight: where weights are packed, whose taps are
// neighbours before and channels after, for runs of taps are shorter than a warp; and where the
// sums of its P parts are joined, and 32 channels go to sectors of their own (of halves to 18, of 9
// taps): (4 P + 32) / (4 P + 4) for floats, (4 P + 18) / (4 P + 2) for halves, (8 P + 32) / (8 P +
// 8) for doubles.
//
// Floor: 2 pixels filters channels taps operations (three times that of tf32 for floats), or each
// image once; packing writes and reads it once more, and taps reread tiles from the second-level
// cache.
#include "tessera/kernels/cuda/conv.cuh"
#include "tessera/kernels/cuda/elements.cuh"
#include "tessera/kernels/cuda/gemm_block.cuh"

namespace tessera::kernels::cuda {
namespace {

template <class E>
inline constexpr int chunk_elements = chunk_bytes / static_cast<int>(sizeof(E));

// ---------------------------------------------------------------- channels innermost

/// Elements as the products read them: pixel number i of image n begins at n * image + i * pixel;
/// `group` elements of it belong to each group.
template <class E>
struct Packed {
  const E* data;
  int64_t image, pixel;
  int32_t group;
};

constexpr uint32_t pack_threads = 256;

/// to[image][pixel][group][channel], channels behind a group's last are 0.
template <class E>
__global__ void __launch_bounds__(pack_threads)
    pack_channels(const E* from, Images images, int32_t groups, int32_t channels, int32_t chunks,
                  E* to) {
  constexpr int n = chunk_elements<E>;
  const int64_t pixels = images.plane(), of_pixel = int64_t{groups} * chunks;
  // Neighbouring threads at neighbours in memory: along pixels, two chunks of each, which make up a
  // sector of the result.
  const bool along_pixels = images.pixel == 1;
  const int64_t side = along_pixels && of_pixel % 2 == 0 ? 2 : 1;
  for (int64_t image = block_index().y; image < images.count; image += grid_size().y)
    for (int64_t i = first_element(); i < pixels * of_pixel; i += element_step()) {
      const int64_t pixel = along_pixels ? i / side % pixels : i / of_pixel,
                    chunk = along_pixels ? i / (pixels * side) * side + i % side : i % of_pixel;
      const auto first = static_cast<int32_t>(chunk % chunks) * n;
      const E* source = from + image * images.image + pixel * images.pixel +
                        (chunk / chunks * channels + first) * images.channel;
      Pack<E, n> pack{};
#pragma unroll
      for (int k = 0; k < n; ++k)
        if (first + k < channels) pack.lane[k] = source[k * images.channel];
      store_vector(reinterpret_cast<Pack<E, n>*>(to) + (image * pixels + pixel) * of_pixel + chunk,
                   pack);
    }
}

/// Operands on their way to a product, value and tangent alike.
template <class E>
class PackedOrders {
 public:
  PackedOrders(Stream& stream, const Orders<const E>& from, const Images& images, int32_t groups,
               int32_t channels, bool dual)
      : chunks_(static_cast<int32_t>(ceil_divide(channels, chunk_elements<E>))),
        as_it_is_(images.channel == 1 && channels % chunk_elements<E> == 0 &&
                  aligned(from.value, chunk_bytes) &&
                  (!dual || aligned(from.tangent, chunk_bytes))),
        size_(int64_t{images.count} * images.plane() * groups * group()),
        copies_(stream.scratch(
            as_it_is_ ? 0 : static_cast<size_t>(size_ * (dual ? 2 : 1)) * sizeof(E))) {
    const auto packed = [&](const E* data, int64_t at) -> Packed<E> {
      if (as_it_is_) return {data, images.image, images.pixel, group()};
      E* to = copies_.template as<E>() + at;
      const int64_t pixel = int64_t{groups} * group(), image = images.plane() * pixel;
      if (size_ > 0)
        launch(stream,
               {"conv pack",
                {blocks_for(image / chunk_elements<E>, pack_threads),
                 static_cast<uint32_t>(std::min(images.count, 65535))},
                {pack_threads}},
               pack_channels<E>, data, images, groups, channels, chunks_, to);
      return {to, image, pixel, group()};
    };
    value = packed(from.value, 0);
    if (dual) tangent = packed(from.tangent, size_);
  }

  /// Of each group.
  int32_t chunks() const { return chunks_; }
  int32_t group() const { return chunks_ * chunk_elements<E>; }

  Packed<E> value = {}, tangent = {};

 private:
  int32_t chunks_;
  bool as_it_is_;
  int64_t size_;
  Scratch copies_;
};

// ---------------------------------------------------------------- correlate

/// What one launch adds up: a product of source and weight, or two of twice the depth.
template <class E>
struct CorrelationJob {
  using C = compute_t<E>;
  Packed<E> source[2], weight[2];  // the weight's images are filters, its pixels taps
  int32_t terms, images, classes, filters;
  int64_t weight_group;  // between the first filters of groups
  Divisor channel_chunks;
  ConvAxis rows, columns;
  E* output;
  Images out;
  const E* bias;
  Activation activation;
  bool filters_are_rows;  // of the product; else pixels are
  int64_t most_pixels;    // of a class
  C* parts;               // [parts, groups and classes, m, n]; null for one part

  TS_DEVICE int64_t part_at(int64_t batch, int64_t pixel, int64_t filter) const {
    return batch * filters * most_pixels +
           (filters_are_rows ? filter * most_pixels + pixel : pixel * filters + filter);
  }
  /// What classes of rows and columns have in common with number `number`.
  struct Classes {
    ConvAxis::Class rows, columns;
    int64_t pixels;
  };
  TS_DEVICE Classes classes_at(int64_t number) const {
    const auto per_row = columns.classes();
    const ConvAxis::Class r = rows.at(static_cast<int32_t>(number / per_row)),
                          c = columns.at(static_cast<int32_t>(number % per_row));
    return {r, c, int64_t{images} * r.count * c.count};
  }
  TS_DEVICE void finish(C sum, const Classes& of, uint32_t pixel, int64_t filter) const {
    const uint32_t line = pixel / of.columns.count, j = pixel % of.columns.count;
    const int64_t h = of.rows.first + int64_t{line % of.rows.count} * of.rows.step,
                  w = of.columns.first + int64_t{j} * of.columns.step;
    if (bias) sum += widen(bias[filter]);
    output[line / of.rows.count * out.image + (h * out.width + w) * out.pixel +
           filter * out.channel] = narrow<E>(activated(activation, sum));
  }
};

template <class E, class B>
__global__ void __launch_bounds__(B::threads, 256 / B::threads)
    correlate(CorrelationJob<E> job, ProductCut cut) {
  using Product = BlockProduct<E, E, compute_t<E>, B, true, true>;
  using Tile = decltype(Product::Stage::a);
  constexpr int turns = Tile::lines * Tile::chunks / B::threads;
  auto& shared = dynamic_shared<typename Product::Shared>();
  const BlockPlace place(cut, block_index().x);
  const int64_t group = place.batch / job.classes;
  const auto of = job.classes_at(place.batch % job.classes);
  const auto &rows = of.rows, &columns = of.columns;
  const int64_t first_pixel = (job.filters_are_rows ? place.column : place.row) * B::extent,
                first_filter = (job.filters_are_rows ? place.row : place.column) * B::extent;
  if (first_pixel >= of.pixels) return;

  // The lines of this thread's chunks: where in the source their first tap is, and their filter.
  int64_t image[turns], filter_line[turns];
  int32_t row[turns], column[turns];
  const auto thread = static_cast<int>(thread_index().x);
#pragma unroll
  for (int i = 0; i < turns; ++i) {
    const int line = (i * B::threads + thread) / Tile::chunks;
    const bool there = first_pixel + line < of.pixels;
    const auto pixel = static_cast<uint32_t>(there ? first_pixel + line : 0);
    const uint32_t of_rows = pixel / columns.count;
    image[i] = of_rows / rows.count * job.source[0].image + group * job.source[0].group;
    row[i] = there ? static_cast<int32_t>(of_rows % rows.count) * rows.source_step + rows.shift
                   : INT32_MIN / 2;  // above every image
    column[i] = static_cast<int32_t>(pixel % columns.count) * columns.source_step + columns.shift;
    const int64_t filter = first_filter + line;
    filter_line[i] =
        filter < job.filters ? group * job.weight_group + filter * job.weight[0].image : -1;
  }
  const uint32_t term_chunks =
                     static_cast<uint32_t>(rows.taps * columns.taps) * job.channel_chunks.value,
                 chunks = job.terms * term_chunks;
  // A class may have fewer taps than the largest.
  const int64_t left = (int64_t{chunks} + Tile::chunks - 1) / Tile::chunks - place.begin,
                count = left < 0             ? 0
                        : left < place.count ? left
                                             : place.count;

  const int64_t filters_left = job.filters - first_filter, pixels_left = of.pixels - first_pixel;
  Product product(job.filters_are_rows ? filters_left : pixels_left,
                  job.filters_are_rows ? pixels_left : filters_left);
  product.multiply(shared, count, [&](typename Product::Stage& stage, int64_t i) {
    uint32_t chunk = static_cast<uint32_t>(place.begin + i) * Tile::chunks + thread % Tile::chunks;
    const bool inside = chunk < chunks;
    const int term = chunk >= term_chunks;
    if (term) chunk -= term_chunks;
    const uint32_t tap = job.channel_chunks.quotient(chunk);
    const int64_t channel = int64_t{chunk - tap * job.channel_chunks.value} * chunk_elements<E>;
    const auto r = static_cast<int32_t>(tap / columns.taps),
               c = static_cast<int32_t>(tap % columns.taps);
    const Packed<E>&source = job.source[term], &weight = job.weight[term];
    auto &pixel_tile = job.filters_are_rows ? stage.b : stage.a,
         &filter_tile = job.filters_are_rows ? stage.a : stage.b;
    const E* const pixels = source.data + channel;
    pixel_tile.template copy<B::threads>(source.data, [&](int turn) {
      const int32_t y = row[turn] + r * rows.tap_shift, x = column[turn] + c * columns.tap_shift;
      const bool there =
          inside && y >= 0 && y < job.rows.source && x >= 0 && x < job.columns.source;
      return there ? pixels + image[turn] + (int64_t{y} * job.columns.source + x) * source.pixel
                   : nullptr;
    });
    const int64_t filter_tap = int64_t{rows.first_tap + r * rows.tap_step} * job.columns.filter +
                               columns.first_tap + c * columns.tap_step;
    const E* const taps = weight.data + filter_tap * weight.pixel + channel;
    filter_tile.template copy<B::threads>(weight.data, [&](int turn) {
      return inside && filter_line[turn] >= 0 ? taps + filter_line[turn] : nullptr;
    });
  });
  product.write(shared, [&](int i, int j, compute_t<E> sum) {
    const int64_t pixel = first_pixel + (job.filters_are_rows ? j : i),
                  filter = first_filter + (job.filters_are_rows ? i : j);
    if (pixel >= of.pixels || filter >= job.filters) return;
    if (job.parts)
      job.parts[job.part_at(place.part * cut.batches + place.batch, pixel, filter)] = sum;
    else
      job.finish(sum, of, static_cast<uint32_t>(pixel), group * job.filters + filter);
  });
}

template <class E>
struct JoinedCorrelation {
  CorrelationJob<E> job;
  TS_DEVICE void operator()(int64_t i, compute_t<E> sum) const {
    const int64_t product = job.filters * job.most_pixels, batch = i / product, at = i % product;
    const int64_t pixel = job.filters_are_rows ? at % job.most_pixels : at / job.filters,
                  filter = job.filters_are_rows ? at / job.most_pixels : at % job.filters;
    const auto of = job.classes_at(batch % job.classes);
    if (pixel < of.pixels)
      job.finish(sum, of, static_cast<uint32_t>(pixel), batch / job.classes * job.filters + filter);
  }
};

// ---------------------------------------------------------------- weight_gradient

template <class E>
struct WeightJob {
  Packed<E> x[2], dy[2];
  int32_t terms, filters, channels, taps;
  int64_t pixels;  // of all images of dy
  Divisor channel_chunks, out_height, out_width;
  ConvAxis rows, columns;
  E* dweight;
  compute_t<E>* parts;  // [parts, groups, filters, taps and padded channels]; null for one part

  TS_DEVICE int64_t columns_of_product() const {
    return int64_t{taps} * channel_chunks.value * chunk_elements<E>;
  }
  TS_DEVICE void finish(compute_t<E> sum, int64_t filter, int64_t column) const {
    const int64_t group = int64_t{channel_chunks.value} * chunk_elements<E>;
    const int64_t tap = column / group, channel = column % group;
    if (channel < channels) dweight[(filter * channels + channel) * taps + tap] = narrow<E>(sum);
  }
};

template <class E, class B>
__global__ void __launch_bounds__(B::threads, 256 / B::threads)
    weight_gradient(WeightJob<E> job, ProductCut cut) {
  using Product = BlockProduct<E, E, compute_t<E>, B, false, false>;
  using Tile = decltype(Product::Stage::a);
  static_assert(B::threads % Tile::chunks == 0);
  auto& shared = dynamic_shared<typename Product::Shared>();
  const BlockPlace place(cut, block_index().x);
  const int64_t first_filter = place.row * B::extent, first_column = place.column * B::extent;

  // This thread's chunks: some filters of dy, and some channels of x at a tap, of several pixels.
  const auto thread = static_cast<int>(thread_index().x);
  const int at = thread % Tile::chunks, line = thread / Tile::chunks;
  const int64_t filter = first_filter + at * chunk_elements<E>;
  const auto chunk = static_cast<uint32_t>(first_column / chunk_elements<E> + at);
  const auto tap = static_cast<int32_t>(job.channel_chunks.quotient(chunk));
  const int64_t of_filter = place.batch * job.dy[0].group + filter,
                of_channel = place.batch * job.x[0].group +
                             int64_t{chunk - tap * job.channel_chunks.value} * chunk_elements<E>;
  const bool has_filter = filter < job.dy[0].group, has_tap = tap < job.taps;
  const int32_t down = tap / job.columns.filter * job.rows.dilation - job.rows.padding,
                right = tap % job.columns.filter * job.columns.dilation - job.columns.padding;
  const int64_t term_tiles = cut.k_tiles / job.terms;

  Product product(job.filters - first_filter, job.columns_of_product() - first_column);
  product.multiply(shared, place.count, [&](typename Product::Stage& stage, int64_t i) {
    const int64_t tile = place.begin + i;
    const int term = tile >= term_tiles;
    const int64_t first = (tile - term * term_tiles) * tile_depth<E> + line;
    const Packed<E>&x = job.x[term], &dy = job.dy[term];
    constexpr int lines_per_turn = B::threads / Tile::chunks;
    stage.a.template copy<B::threads>(dy.data, [&](int turn) {
      const int64_t pixel = first + turn * lines_per_turn;
      return has_filter && pixel < job.pixels ? dy.data + pixel * dy.pixel + of_filter : nullptr;
    });
    stage.b.template copy<B::threads>(x.data, [&](int turn) {
      const auto pixel = static_cast<uint32_t>(first + turn * lines_per_turn);
      const uint32_t of_rows = job.out_width.quotient(pixel), n = job.out_height.quotient(of_rows);
      const int32_t h = static_cast<int32_t>(of_rows - n * job.out_height.value) * job.rows.stride +
                        down,
                    w = static_cast<int32_t>(pixel - of_rows * job.out_width.value) *
                            job.columns.stride +
                        right;
      const bool there = has_tap && pixel < job.pixels && h >= 0 && h < job.rows.source && w >= 0 &&
                         w < job.columns.source;
      return there ? x.data + n * x.image + (int64_t{h} * job.columns.source + w) * x.pixel +
                         of_channel
                   : nullptr;
    });
  });
  product.write(shared, [&](int i, int j, compute_t<E> sum) {
    const int64_t f = first_filter + i, column = first_column + j, n = job.columns_of_product();
    if (f >= job.filters || column >= n) return;
    if (job.parts)
      job.parts[((place.part * cut.batches + place.batch) * job.filters + f) * n + column] = sum;
    else
      job.finish(sum, place.batch * job.filters + f, column);
  });
}

template <class E>
struct JoinedWeightGradient {
  WeightJob<E> job;
  TS_DEVICE void operator()(int64_t i, compute_t<E> sum) const {
    const int64_t n = job.columns_of_product();
    job.finish(sum, i / n, i % n);
  }
};

/// body<B>() with the block that suits m x n.
template <class E, class Body>
void for_block(int64_t m, int64_t n, int64_t batches, Body&& body) {
  if constexpr (sizeof(E) < 8)
    if (ProductCut::wants_large(m, n, batches)) return body.template operator()<LargeBlock>();
  body.template operator()<SmallBlock>();
}

}  // namespace

template <class E>
void correlate_product(Stream& stream, const Correlation<E>& p) {
  const PackedOrders<E> source(stream, p.source, p.source_images, p.groups, p.channels, p.dual);
  // Filters are the first axis of the weight, of a group's part of it, or of each group in turn.
  const bool transposed = p.rows.transposed;
  const int32_t taps = p.rows.filter * p.columns.filter;
  const PackedOrders<E> weight(stream, p.weight,
                               {.count = transposed ? p.filters : p.groups * p.filters,
                                .height = taps,
                                .width = 1,
                                .image = p.weight_filter,
                                .pixel = 1,
                                .channel = p.weight_channel},
                               transposed ? p.groups : 1, p.channels, p.dual);
  const ConvAxis::Class rows = p.rows.at(0), columns = p.columns.at(0);
  const int64_t pixels = int64_t{p.source_images.count} * rows.count * columns.count;
  CorrelationJob<E> job{
      .source = {source.value},
      .weight = {weight.value},
      .terms = 1,
      .images = p.source_images.count,
      .classes = p.classes(),
      .filters = p.filters,
      .weight_group = transposed ? weight.group() : p.filters * weight.value.image,
      .channel_chunks = Divisor(source.chunks()),
      .rows = p.rows,
      .columns = p.columns,
      .output = p.output.value,
      .out = p.output_images,
      .bias = p.bias,
      .activation = p.activation,
      .filters_are_rows = p.output_images.channel != 1,
      .most_pixels = pixels,
      .parts = nullptr};
  const auto run = [&] {
    const int64_t m = job.filters_are_rows ? p.filters : pixels,
                  n = job.filters_are_rows ? pixels : p.filters,
                  batches = int64_t{p.groups} * job.classes,
                  chunks = int64_t{job.terms} * p.rows.most_taps() * p.columns.most_taps() *
                           source.chunks();
    for_block<E>(m, n, batches, [&]<class B>() {
      using Shared = typename BlockProduct<E, E, compute_t<E>, B, true, true>::Shared;
      launch_product(
          stream, {p.name, "conv parts"},
          ProductCut(p.name, m, n, batches, ceil_divide(chunks, tile_bytes / chunk_bytes),
                     B::extent),
          B::threads, sizeof(Shared), job,
          [](const CorrelationJob<E>& j) { return JoinedCorrelation<E>{j}; }, correlate<E, B>);
    });
  };
  run();
  if (!p.dual) return;
  job.terms = 2;
  job.source[0] = source.tangent, job.source[1] = source.value;
  job.weight[0] = weight.value, job.weight[1] = weight.tangent;
  job.output = p.output.tangent;
  run();
}

template <class E>
void weight_gradient_product(Stream& stream, const WeightGradient<E>& p) {
  const PackedOrders<E> x(stream, p.x, p.x_images, p.groups, p.channels, p.dual),
      dy(stream, p.dy, p.dy_images, p.groups, p.filters, p.dual);
  WeightJob<E> job{.x = {x.value},
                   .dy = {dy.value},
                   .terms = 1,
                   .filters = p.filters,
                   .channels = p.channels,
                   .taps = p.taps(),
                   .pixels = int64_t{p.dy_images.count} * p.dy_images.plane(),
                   .channel_chunks = Divisor(x.chunks()),
                   .out_height = Divisor(std::max(p.dy_images.height, 1)),
                   .out_width = Divisor(std::max(p.dy_images.width, 1)),
                   .rows = p.rows,
                   .columns = p.columns,
                   .dweight = p.dweight.value,
                   .parts = nullptr};
  const auto run = [&] {
    const int64_t m = p.filters, n = int64_t{p.taps()} * x.group();
    for_block<E>(m, n, p.groups, [&]<class B>() {
      using Shared = typename BlockProduct<E, E, compute_t<E>, B, false, false>::Shared;
      launch_product(
          stream, {p.name, "conv parts"},
          ProductCut(p.name, m, n, p.groups, job.terms * ceil_divide(job.pixels, tile_depth<E>),
                     B::extent),
          B::threads, sizeof(Shared), job,
          [](const WeightJob<E>& j) { return JoinedWeightGradient<E>{j}; }, weight_gradient<E, B>);
    });
  };
  run();
  if (!p.dual) return;
  job.terms = 2;
  job.x[0] = x.tangent, job.x[1] = x.value;
  job.dy[0] = dy.value, job.dy[1] = dy.tangent;
  job.dweight = p.dweight.tangent;
  run();
}

template void correlate_product(Stream&, const Correlation<float>&);
template void correlate_product(Stream&, const Correlation<double>&);
template void correlate_product(Stream&, const Correlation<f16>&);
template void correlate_product(Stream&, const Correlation<bf16>&);
template void weight_gradient_product(Stream&, const WeightGradient<float>&);
template void weight_gradient_product(Stream&, const WeightGradient<double>&);
template void weight_gradient_product(Stream&, const WeightGradient<f16>&);
template void weight_gradient_product(Stream&, const WeightGradient<bf16>&);

}  // namespace tessera::kernels::cuda
