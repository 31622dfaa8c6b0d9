// Convolutions with few channels and filters in a group, depthwise ones above all: sums in the
// registers of a thread, in the order of channels and taps.
//
// correlate: a thread per element of the output, neighbours in memory. Floor: source and output
// once; the taps of a pixel are read from the first-level cache.
// weight_gradient: a block per element of the weight, which reads its two planes from the
// second-level cache once per tap.
//
// Sectors over the ideal: 1.16, as taps beside a pixel begin anywhere in a sector. With channels
// last it is 4.3 to 4.8, and 8 to 15 for the weight's gradient: neighbouring threads have
// neighbouring channels, whose filters lie all their taps apart, or neighbouring pixels, which lie
// all channels apart; the first-level cache serves the rest of each sector.
#include "tessera/kernels/cuda/conv.cuh"
#include "tessera/kernels/cuda/elements.cuh"
#include "tessera/kernels/cuda/gemm_block.cuh"
#include "tessera/kernels/cuda/warp.cuh"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t direct_threads = 256;

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
              E* output, int64_t size) {
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
            sum = functors::fma(widen(from[(line + x) * in.pixel]),
                                widen(by[taps + columns.first_tap + s * columns.tap_step]), sum);
          }
        }
      }
    if (p.bias) sum += widen(p.bias[filter]);
    output[image * out.image + int64_t{pixel} * out.pixel + filter * out.channel] =
        narrow<E>(activated(p.activation, sum));
  }
}

template <class E>
__global__ void __launch_bounds__(direct_threads)
    weight_gradient(const __grid_constant__ WeightGradient<E> p,
                    const __grid_constant__ Factors<E> factors, E* dweight) {
  using C = compute_t<E>;
  struct Shared {
    C warps[warp_size];
  };
  const auto element = static_cast<int64_t>(block_index().x);
  const int32_t tap = static_cast<int32_t>(element % p.taps());
  const int64_t channel = element / p.taps() % p.channels, filter = element / p.taps() / p.channels;
  const int32_t down = tap / p.columns.filter * p.rows.dilation - p.rows.padding,
                right = tap % p.columns.filter * p.columns.dilation - p.columns.padding;
  const int64_t of_x = (filter / p.filters * p.channels + channel) * p.x_images.channel,
                of_dy = filter * p.dy_images.channel;
  const auto width = static_cast<uint32_t>(p.dy_images.width),
             height = static_cast<uint32_t>(p.dy_images.height),
             pixels = p.dy_images.count * height * width;
  C sum = 0;
  for (int32_t term = 0; term < factors.terms; ++term)
    for (uint32_t pixel = thread_index().x; pixel < pixels; pixel += direct_threads) {
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
  sum = block_reduce(sum, Sum{}, static_shared<Shared>().warps);
  if (thread_index().x == 0) dweight[element] = narrow<E>(sum);
}

}  // namespace

template <class E>
void correlate_direct(Stream& stream, const Correlation<E>& p) {
  const int64_t size =
      int64_t{p.output_images.count} * p.groups * p.filters * p.output_images.plane();
  const auto run = [&](const Factors<E>& factors, E* output) {
    launch(stream, {p.name, {blocks_for(size, direct_threads)}, {direct_threads}}, correlate<E>, p,
           factors, output, size);
  };
  run(Factors<E>::value(p.source, p.weight), p.output.value);
  if (p.dual) run(Factors<E>::tangent(p.source, p.weight), p.output.tangent);
}

template <class E>
void weight_gradient_direct(Stream& stream, const WeightGradient<E>& p) {
  const auto elements = static_cast<uint32_t>(p.groups * p.filters * p.channels * p.taps());
  const auto run = [&](const Factors<E>& factors, E* dweight) {
    launch(stream, {p.name, {elements}, {direct_threads}}, weight_gradient<E>, p, factors, dweight);
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
