#pragma once

#include "tessera/kernels/cuda/elements.cuh"
#include "tessera/kernels/cuda/rowwise.cuh"

/// Sums over the channels of x [samples, channels, inner], and maps with values per channel.
///
/// Channels are planes where there is an inner extent: a block sums a chunk of one channel, packs
/// of neighbours to a thread. Where there is none they are columns: neighbouring threads have
/// neighbouring channels, and the groups of a block take turns with the samples of a chunk. Extents
/// alone decide what is a chunk; a warp per channel puts the chunks together, in double. The sums
/// of a chunk of columns lie where those warps read them, a sector per channel and sum: beside 256
/// rows of 256, 1.01 to 1.02 of the ideal sectors.
namespace tessera::kernels::cuda {

/// Operands of x's shape; null reads as 0.
template <class T, int n>
struct Activations {
  const T* data[n];
};

/// How the channels are cut. Numbers count elements of a channel, in packs for planes.
struct ChannelChunks {
  int64_t channels, samples;
  Divisor inner;         // planes: packs of a plane
  int64_t inner_extent;  // elements of a plane
  uint32_t numbers, chunk, chunks;
  uint32_t lanes;  // columns: threads with neighbouring channels
};

/// `Terms` has
///   using C; static constexpr int operands, sums;
///   struct Part: what a thread gathers;
///   add(Part&, sample, channel, Values<C, operands>): takes in the elements at one place;
///   total(Part, channel): Values<double, sums>.
template <class T, int n, class Terms>
__global__ void __launch_bounds__(row_threads, 2)
    sum_planes(ChannelChunks l, Activations<T, Terms::operands> x, Terms terms,
               Values<double, Terms::sums>* partial) {
  using C = compute_t<T>;
  using Total = Values<double, Terms::sums>;
  struct Shared {
    Total warps[row_threads / warp_size];
  };
  for (int64_t job = block_index().x; job < l.channels * l.chunks; job += grid_size().x) {
    const int64_t channel = job / l.chunks;
    const uint32_t begin = static_cast<uint32_t>(job % l.chunks) * l.chunk;
    const uint32_t end = l.numbers - begin < l.chunk ? l.numbers : begin + l.chunk;
    typename Terms::Part part{};
    for (uint32_t i = begin + thread_index().x; i < end; i += row_threads) {
      const uint32_t sample = l.inner.quotient(i);
      const int64_t at = (sample * l.channels + channel) * l.inner_extent +
                         int64_t{i - sample * l.inner.value} * n;
      Pack<T, n> pack[Terms::operands] = {};
#pragma unroll
      for (int k = 0; k < Terms::operands; ++k)
        if (x.data[k]) pack[k] = load_vector(reinterpret_cast<const Pack<T, n>*>(x.data[k] + at));
#pragma unroll
      for (int j = 0; j < n; ++j) {
        Values<C, Terms::operands> values;
#pragma unroll
        for (int k = 0; k < Terms::operands; ++k) values.of[k] = widen(pack[k].lane[j]);
        terms.add(part, sample, channel, values);
      }
    }
    const Total total =
        block_reduce(terms.total(part, channel), SumOfValues{}, static_shared<Shared>().warps);
    if (thread_index().x == 0) partial[job] = total;
  }
}

template <class T, class Terms>
__global__ void __launch_bounds__(row_threads, 2)
    sum_columns(ChannelChunks l, Activations<T, Terms::operands> x, Terms terms,
                Values<double, Terms::sums>* partial) {
  using C = compute_t<T>;
  using Total = Values<double, Terms::sums>;
  struct Shared {
    double totals[Terms::sums][row_threads];  // neighbours in different banks
  };
  Shared& shared = static_shared<Shared>();
  const uint32_t lane = thread_index().x % l.lanes, group = thread_index().x / l.lanes,
                 groups = row_threads / l.lanes;
  const int64_t jobs = ceil_divide(l.channels, l.lanes) * l.chunks;
  for (int64_t job = block_index().x; job < jobs; job += grid_size().x) {
    const int64_t channel = job / l.chunks * l.lanes + lane;
    const uint32_t number = static_cast<uint32_t>(job % l.chunks), begin = number * l.chunk;
    const uint32_t end = l.numbers - begin < l.chunk ? l.numbers : begin + l.chunk;
    Total total{};
    if (channel < l.channels) {
      typename Terms::Part part{};
#pragma unroll 4
      for (uint32_t sample = begin + group; sample < end; sample += groups) {
        Values<C, Terms::operands> values;
#pragma unroll
        for (int k = 0; k < Terms::operands; ++k)
          values.of[k] = x.data[k] ? widen(x.data[k][sample * l.channels + channel]) : C{0};
        terms.add(part, sample, channel, values);
      }
      total = terms.total(part, channel);
    }
#pragma unroll
    for (int k = 0; k < Terms::sums; ++k) shared.totals[k][thread_index().x] = total.of[k];
    sync_block();
    if (group == 0 && channel < l.channels) {
      for (uint32_t g = 1; g < groups; ++g)
#pragma unroll
        for (int k = 0; k < Terms::sums; ++k) total.of[k] += shared.totals[k][g * l.lanes + lane];
      partial[channel * l.chunks + number] = total;
    }
    sync_block();
  }
}

/// finish(channel, sums) by one thread per channel.
template <int sums, class Finish>
__global__ void __launch_bounds__(row_threads)
    join_channels(int64_t channels, uint32_t chunks, const Values<double, sums>* partial,
                  Finish finish) {
  for (int64_t channel = first_element() / warp_size; channel < channels;
       channel += element_step() / warp_size) {
    Values<double, sums> total{};
    for (uint32_t c = lane_index(); c < chunks; c += warp_size)
      total = SumOfValues{}(total, partial[channel * chunks + c]);
    total = warp_reduce(total, SumOfValues{});
    if (lane_index() == 0) finish(channel, total);
  }
}

inline constexpr int64_t wanted_channel_blocks = 1024;

inline ChannelChunks cut_channels(std::string_view operation, const BatchExtents& e, int pack) {
  const bool columns = e.inner == 1;
  const int64_t numbers = columns ? e.samples : e.per_channel() / pack;
  TS_CHECK(numbers < INT32_MAX, operation, ": ", e.per_channel(),
           " elements of a channel are more than 32-bit numbers count");
  ChannelChunks l{};
  l.channels = e.channels;
  l.samples = e.samples;
  l.inner = Divisor(std::max<int64_t>(1, e.inner / pack));
  l.inner_extent = e.inner;
  l.numbers = static_cast<uint32_t>(numbers);
  l.lanes = 4;
  while (l.lanes < warp_size && l.lanes < e.channels) l.lanes *= 2;
  const int64_t jobs = columns ? ceil_divide(e.channels, l.lanes) : e.channels,
                least = columns ? 16 * row_threads / l.lanes : 8 * row_threads,
                most = std::max<int64_t>(1, wanted_channel_blocks / std::max<int64_t>(1, jobs));
  l.chunk = static_cast<uint32_t>(std::max(ceil_divide(numbers, most), least));
  l.chunks = static_cast<uint32_t>(ceil_divide(numbers, l.chunk));
  return l;
}

/// Sums over each channel what `terms` makes of the operands, and calls finish(channel, sums) on
/// the device.
template <class T, class Terms, class Finish>
void sum_channels(Stream& stream, const char* name, const BatchExtents& e,
                  const View (&operands)[Terms::operands], const Terms& terms,
                  const Finish& finish) {
  if (e.channels == 0) return;
  Activations<T, Terms::operands> x;
  bool packed = e.inner > 1 && e.inner % vector_length<T> == 0;
  for (int k = 0; k < Terms::operands; ++k) {
    x.data[k] = operands[k].template as<const T>();
    packed = packed && aligned(operands[k].data, 16);
  }
  using Total = Values<double, Terms::sums>;
  const ChannelChunks l = cut_channels(name, e, packed ? vector_length<T> : 1);
  const Scratch partial =
      stream.scratch(static_cast<size_t>(l.channels) * l.chunks * sizeof(Total));
  if (l.chunks > 0) {
    const auto kernel = e.inner == 1 ? sum_columns<T, Terms>
                        : packed     ? sum_planes<T, vector_length<T>, Terms>
                                     : sum_planes<T, 1, Terms>;
    const int64_t jobs = (e.inner == 1 ? ceil_divide(l.channels, l.lanes) : l.channels) * l.chunks;
    launch(stream, {name, {blocks_for(jobs, 1)}, {row_threads}}, kernel, l, x, terms,
           partial.as<Total>());
  }
  launch(stream, {name, {blocks_for(l.channels, row_threads / warp_size)}, {row_threads}},
         join_channels<Terms::sums, Finish>, l.channels, l.chunks, partial.as<Total>(), finish);
}

// ---------------------------------------------------------------- maps

/// One launch of a map: packs from element `first` on, which begins a sample.
struct ChannelMapping {
  int64_t first;
  uint32_t packs;
  bool columns;
  Divisor inner;     // packs of a plane; columns: of a sample
  Divisor channels;  // planes of a sample
};

/// y = f(channel)(operands) for each element, each read before it is written by the same thread.
template <class T, int n, class F>
__global__ void __launch_bounds__(row_threads, 2)
    map_channel_packs(ChannelMapping m, Activations<T, F::operands> x, T* y, F f) {
  using C = compute_t<T>;
  for (auto i = static_cast<uint32_t>(first_element()); i < m.packs;
       i += static_cast<uint32_t>(element_step())) {
    const int64_t at = m.first + int64_t{i} * n;
    Pack<T, n> pack[F::operands] = {};
#pragma unroll
    for (int k = 0; k < F::operands; ++k)
      if (x.data[k]) pack[k] = load_vector(reinterpret_cast<const Pack<T, n>*>(x.data[k] + at));
    const auto values = [&](int j) {
      Values<C, F::operands> v;
#pragma unroll
      for (int k = 0; k < F::operands; ++k) v.of[k] = widen(pack[k].lane[j]);
      return v;
    };
    const uint32_t run = m.inner.quotient(i);
    if (m.columns) {
      const int64_t channel = int64_t{i - run * m.inner.value} * n;
      store_values<n>(y + at, [&](int j) { return f(channel + j)(values(j)); });
    } else {
      const auto of_channel = f(int64_t{run - m.channels.quotient(run) * m.channels.value});
      store_values<n>(y + at, [&](int j) { return of_channel(values(j)); });
    }
  }
}

/// `F` has static constexpr int operands, and operator()(channel) gives what maps Values<C,
/// operands> to a C.
template <class T, class F>
void map_channels(Stream& stream, const char* name, const BatchExtents& e,
                  const View (&operands)[F::operands], const View& y, const F& f) {
  const bool columns = e.inner == 1;
  const int64_t run = columns ? e.channels : e.inner, sample = e.channels * e.inner;
  if (e.samples * sample == 0) return;
  Activations<T, F::operands> x;
  bool packed = run % vector_length<T> == 0 && aligned(y.data, 16);
  for (int k = 0; k < F::operands; ++k) {
    x.data[k] = operands[k].template as<const T>();
    packed = packed && aligned(operands[k].data, 16);
  }
  const int n = packed ? vector_length<T> : 1;
  const int64_t sample_packs = sample / n, samples_at_once = (int64_t{1} << 30) / sample_packs;
  TS_CHECK(samples_at_once > 0, name, ": ", sample,
           " elements of a sample are more than 32-bit numbers count");
  for (int64_t first = 0; first < e.samples; first += samples_at_once) {
    const int64_t packs = std::min(samples_at_once, e.samples - first) * sample_packs;
    launch(stream, {name, {blocks_for(packs, row_threads)}, {row_threads}},
           packed ? map_channel_packs<T, vector_length<T>, F> : map_channel_packs<T, 1, F>,
           ChannelMapping{first * sample, static_cast<uint32_t>(packs), columns, Divisor(run / n),
                          Divisor(e.channels)},
           x, y.as<T>(), f);
  }
}

}  // namespace tessera::kernels::cuda
