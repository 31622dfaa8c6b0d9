// Convolutions with few channels and filters in a group, depthwise ones above all: sums in the
// registers of a thread, in the order of channels and taps.
//
// correlate: a thread per element of the output, neighbours in memory. Floor: source and output
// once; the taps of a pixel are read from the first-level cache. Where channels are innermost the
// weight is first put in that order, so that neighbours read neighbours of it too.
// weight_gradient: a block per element of the weight, which reads its two planes from the
// second-level cache once per tap. Where channels are innermost a block has neighbouring filters,
// and pixels are cut into parts, whose sums a second kernel adds in order.
//
// Sectors over the ideal: none for lanes that go through their taps side by side. Counted, 1.16
// (f32) and 1.13 (f16) with planes: a pixel at the rim leaves taps out, and the counters, which put
// the k-th accesses of lanes together, then mix its taps with its neighbours' earlier ones. Putting
// a weight of nine taps in order, once, touches a sector per element read (halves: 18 for 32
// elements) beside those written: (32 + 4) / (4 + 4), (18 + 2) / (2 + 2). Its gradient comes back
// the same way, beside the P parts that are summed: (4 P + 32) / (4 P + 4), (4 P + 18) / (4 P + 2).
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/conv.cuh"
#include "tessera/kernels/cuda/elements.cuh"
#include "tessera/kernels/cuda/gemm_block.cuh"
#include "tessera/kernels/cuda/warp.cuh"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t direct_threads = 256;
constexpr int64_t wanted_blocks = 1024;

/// The sums of products of one launch: a b, or with tangents a' b + a b'.
template <class E>
struct Factors {
  const E *a[2], *b[2];
  int32_t terms;

  static Factors value(const Orders<const E>& a, const Orders<const E>& b) {
    return {{a.value}, {b.value}, 1};
  }
  static Factors tangent(const Orders<const E>& a, const Orders<const E>& b) {
    return {{a.tangent, a.value}, {b.value, b.tangent}, 2};
  }
};

template <class E>
__global__ void __launch_bounds__(direct_threads, 2)
    correlate(const __grid_constant__ Correlation<E> p, const __grid_constant__ Factors<E> factors,
              int64_t weight_tap, E* output, int64_t size) {
  using C = compute_t<E>;
  const Images &out = p.output_images, &in = p.source_images;
  const int32_t plane = out.plane(), all_filters = p.groups * p.filters;
  for (int64_t i = first_element(); i < size; i += element_step()) {
    const int64_t image = i / (int64_t{plane} * all_filters);
    const auto rest = static_cast<uint32_t>(i % (int64_t{plane} * all_filters));
    const uint32_t filter = out.channel == 1 ? rest % all_filters : rest / plane,
                   pixel = out.channel == 1 ? rest / all_filters : rest % plane;
    const auto h = static_cast<int32_t>(pixel / out.width),
               w = static_cast<int32_t>(pixel % out.width);
    const ConvAxis::Class rows = p.rows.at(p.rows.transposed ? h % p.rows.stride : 0),
                          columns = p.columns.at(p.columns.transposed ? w % p.columns.stride : 0);
    const int32_t top = h / rows.step * rows.source_step + rows.shift,
                  left = w / columns.step * columns.source_step + columns.shift;
    const uint32_t group = filter / p.filters;
    const int64_t source = image * in.image + int64_t{group} * p.channels * in.channel,
                  weight = group * p.weight_group + filter % p.filters * p.weight_filter;
    C sum = 0;
    for (int32_t term = 0; term < factors.terms; ++term)
      for (int32_t c = 0; c < p.channels; ++c) {
        const E* const from = factors.a[term] + source + c * in.channel;
        const E* const by = factors.b[term] + weight + c * p.weight_channel;
        for (int32_t r = 0; r < rows.taps; ++r) {
          const int32_t y = top + r * rows.tap_shift;
          if (y < 0 || y >= in.height) continue;
          const int64_t line = int64_t{y} * in.width,
                        taps = int64_t{rows.first_tap + r * rows.tap_step} * p.columns.filter;
          for (int32_t s = 0; s < columns.taps; ++s) {
            const int32_t x = left + s * columns.tap_shift;
            if (x < 0 || x >= in.width) continue;
            sum = functors::fma(
                widen(from[(line + x) * in.pixel]),
                widen(by[(taps + columns.first_tap + s * columns.tap_step) * weight_tap]), sum);
          }
        }
      }
    if (p.bias) sum += widen(p.bias[filter]);
    output[image * out.image + int64_t{pixel} * out.pixel + filter * out.channel] =
        narrow<E>(activated(p.activation, sum));
  }
}

/// Of the products that make up dweight[filter, channel, tap], those of pixels begin, begin + step,
/// ... below `end`.
template <class E>
TS_DEVICE compute_t<E> sum_pixels(const WeightGradient<E>& p, const Factors<E>& factors,
                                  int64_t filter, int64_t channel, int32_t tap, uint32_t begin,
                                  uint32_t end, uint32_t step) {
  using C = compute_t<E>;
  const int32_t down = tap / p.columns.filter * p.rows.dilation - p.rows.padding,
                right = tap % p.columns.filter * p.columns.dilation - p.columns.padding;
  const int64_t of_x = (filter / p.filters * p.channels + channel) * p.x_images.channel,
                of_dy = filter * p.dy_images.channel;
  const auto width = static_cast<uint32_t>(p.dy_images.width),
             height = static_cast<uint32_t>(p.dy_images.height);
  C sum = 0;
  for (int32_t term = 0; term < factors.terms; ++term)
    for (uint32_t pixel = begin; pixel < end; pixel += step) {
      const uint32_t of_rows = pixel / width, image = of_rows / height;
      const int32_t y = static_cast<int32_t>(of_rows % height) * p.rows.stride + down,
                    x = static_cast<int32_t>(pixel % width) * p.columns.stride + right;
      if (y < 0 || y >= p.x_images.height || x < 0 || x >= p.x_images.width) continue;
      const int64_t at_x = image * p.x_images.image +
                           (int64_t{y} * p.x_images.width + x) * p.x_images.pixel + of_x,
                    at_dy = image * p.dy_images.image +
                            int64_t{pixel - image * height * width} * p.dy_images.pixel + of_dy;
      sum = functors::fma(widen(factors.a[term][at_x]), widen(factors.b[term][at_dy]), sum);
    }
  return sum;
}
template <class E>
TS_HD uint32_t pixels_of(const WeightGradient<E>& p) {
  return static_cast<uint32_t>(p.dy_images.count * p.dy_images.plane());
}

template <class E>
__global__ void __launch_bounds__(direct_threads)
    weight_gradient(const __grid_constant__ WeightGradient<E> p,
                    const __grid_constant__ Factors<E> factors, E* dweight) {
  using C = compute_t<E>;
  struct Shared {
    C warps[warp_size];
  };
  const auto element = static_cast<int64_t>(block_index().x), taps = int64_t{p.taps()};
  C sum = sum_pixels(p, factors, element / taps / p.channels, element / taps % p.channels,
                     static_cast<int32_t>(element % taps), thread_index().x, pixels_of(p),
                     direct_threads);
  sum = block_reduce(sum, Sum{}, static_shared<Shared>().warps);
  if (thread_index().x == 0) dweight[element] = narrow<E>(sum);
}

/// How a weight's gradient is cut where channels are innermost: `lanes` filters to a block, whose
/// groups of lanes take turns with the pixels of a part.
struct FilterCut {
  uint32_t lanes, filter_blocks, parts, pixels;  // of a part

  template <class E>
  explicit FilterCut(const WeightGradient<E>& p) : lanes(1) {
    const int64_t filters = int64_t{p.groups} * p.filters, all = pixels_of(p);
    while (lanes < warp_size && lanes < filters) lanes *= 2;
    filter_blocks = static_cast<uint32_t>(ceil_divide(filters, lanes));
    const int64_t blocks = int64_t{filter_blocks} * p.channels * p.taps(),
                  most = std::max<int64_t>(1, wanted_blocks / blocks),
                  least = 16 * int64_t{direct_threads / lanes};
    pixels = static_cast<uint32_t>(std::max(ceil_divide(all, most), least));
    parts = static_cast<uint32_t>(std::max<int64_t>(1, ceil_divide(all, pixels)));
  }
};

/// parts [parts, channels, taps, filters of all groups]
template <class E>
__global__ void __launch_bounds__(direct_threads)
    weight_gradient_of_filters(const __grid_constant__ WeightGradient<E> p,
                               const __grid_constant__ Factors<E> factors, FilterCut cut,
                               compute_t<E>* parts) {
  using C = compute_t<E>;
  struct Shared {
    C sums[direct_threads];
  };
  Shared& shared = static_shared<Shared>();
  const uint32_t lane = thread_index().x % cut.lanes, group = thread_index().x / cut.lanes,
                 groups = direct_threads / cut.lanes;
  const uint32_t row = block_index().x / cut.filter_blocks,
                 rows = static_cast<uint32_t>(p.channels * p.taps());  // of each part
  const int64_t filters = int64_t{p.groups} * p.filters,
                filter = int64_t{block_index().x % cut.filter_blocks} * cut.lanes + lane;
  const uint32_t begin = row / rows * cut.pixels, all = pixels_of(p),
                 end = all - begin < cut.pixels ? all : begin + cut.pixels;
  C sum = 0;
  if (filter < filters)
    sum = sum_pixels(p, factors, filter, row % rows / p.taps(),
                     static_cast<int32_t>(row % rows % p.taps()), begin + group, end, groups);
  shared.sums[thread_index().x] = sum;
  sync_block();
  if (group > 0 || filter >= filters) return;
  for (uint32_t g = 1; g < groups; ++g) sum += shared.sums[g * cut.lanes + lane];
  parts[row * filters + filter] = sum;
}
/// Puts sums in the weight's order.
template <class E>
struct StoredByFilter {
  E* dweight;
  int64_t filters, rows;

  TS_DEVICE void operator()(int64_t i, compute_t<E> sum) const {
    dweight[i % filters * rows + i / filters] = narrow<E>(sum);
  }
};

/// The weight as [channel][tap][filter of all groups].
template <class E>
View filters_innermost(Stream& stream, const Correlation<E>& p, const E* weight, E* to) {
  const int64_t taps = int64_t{p.rows.filter} * p.columns.filter;
  const View from{const_cast<E*>(weight),
                  dtype_of<E>,
                  4,
                  {p.channels, taps, p.groups, p.filters},
                  {p.weight_channel, 1, p.weight_group, p.weight_filter}};
  View y = from;
  y.data = to;
  int64_t stride = 1;
  for (int i = 3; i >= 0; --i) y.stride[i] = stride, stride *= y.shape[i];
  copy_kernels.copy(stream, from, y);
  return y;
}

}  // namespace

template <class E>
void correlate_direct(Stream& stream, const Correlation<E>& p) {
  Correlation<E> problem = p;
  const int64_t filters = int64_t{p.groups} * p.filters,
                elements = filters * p.channels * p.rows.filter * p.columns.filter,
                size = int64_t{p.output_images.count} * filters * p.output_images.plane();
  const bool arranged = p.output_images.channel == 1 && filters > 1;
  const Scratch weights =
      stream.scratch(arranged ? static_cast<size_t>(elements * (p.dual ? 2 : 1)) * sizeof(E) : 0);
  int64_t tap = 1;
  if (arranged) {
    const auto arrange = [&](const E*& weight, int64_t at) {
      const View y = filters_innermost(stream, p, weight, weights.as<E>() + at);
      weight = y.as<const E>();
      problem.weight_channel = y.stride[0], tap = y.stride[1];
      problem.weight_group = y.stride[2], problem.weight_filter = y.stride[3];
    };
    arrange(problem.weight.value, 0);
    if (p.dual) arrange(problem.weight.tangent, elements);
  }
  const auto run = [&](const Factors<E>& factors, E* output) {
    launch(stream, {p.name, {blocks_for(size, direct_threads)}, {direct_threads}}, correlate<E>,
           problem, factors, tap, output, size);
  };
  run(Factors<E>::value(problem.source, problem.weight), p.output.value);
  if (p.dual) run(Factors<E>::tangent(problem.source, problem.weight), p.output.tangent);
}

template <class E>
void weight_gradient_direct(Stream& stream, const WeightGradient<E>& p) {
  using C = compute_t<E>;
  const int64_t filters = int64_t{p.groups} * p.filters, rows = int64_t{p.channels} * p.taps();
  const bool innermost = p.x_images.channel == 1 && p.dy_images.channel == 1 && filters > 1;
  const FilterCut cut(p);
  const Scratch parts =
      stream.scratch(innermost ? static_cast<size_t>(cut.parts * rows * filters) * sizeof(C) : 0);
  const auto run = [&](const Factors<E>& factors, E* dweight) {
    if (!innermost) {
      const auto elements = static_cast<uint32_t>(rows * filters);
      launch(stream, {p.name, {elements}, {direct_threads}}, weight_gradient<E>, p, factors,
             dweight);
      return;
    }
    const auto blocks = static_cast<uint32_t>(cut.filter_blocks * rows * cut.parts);
    launch(stream, {p.name, {blocks}, {direct_threads}}, weight_gradient_of_filters<E>, p, factors,
           cut, parts.as<C>());
    launch(stream, {"conv parts", {blocks_for(rows * filters, join_threads)}, {join_threads}},
           join_parts<C, StoredByFilter<E>>, parts.as<C>(), cut.parts, rows * filters,
           StoredByFilter<E>{dweight, filters, rows});
  };
  run(Factors<E>::value(p.x, p.dy), p.dweight.value);
  if (p.dual) run(Factors<E>::tangent(p.x, p.dy), p.dweight.tangent);
}

template void correlate_direct(Stream&, const Correlation<float>&);
template void correlate_direct(Stream&, const Correlation<double>&);
template void correlate_direct(Stream&, const Correlation<f16>&);
template void correlate_direct(Stream&, const Correlation<bf16>&);
template void weight_gradient_direct(Stream&, const WeightGradient<float>&);
template void weight_gradient_direct(Stream&, const WeightGradient<double>&);
template void weight_gradient_direct(Stream&, const WeightGradient<f16>&);
template void weight_gradient_direct(Stream&, const WeightGradient<bf16>&);

}  // namespace tessera::kernels::cuda
