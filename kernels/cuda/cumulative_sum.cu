// Running sums along an axis. Floor: x and y once; where there are few lines, which are then cut
// into chunks, x twice: sums of chunks, their running sums, and the elements from there on. Lines
// that are neighbours in y go to neighbouring threads; lines along y go to blocks. Sums are in
// double (integers: in 64 bits) and in an order that extents alone decide.
#include "tessera/kernels/cuda/elements.cuh"
#include "tessera/kernels/cuda/pack.cuh"
#include "tessera/kernels/cuda/reduce.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/reduce_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

template <class S>
using Wide = std::conditional_t<std::is_floating_point_v<compute_t<S>>, double, int64_t>;

struct Add {
  template <class V>
  TS_DEVICE V operator()(V a, V b) const {
    return functors::add(a, b);
  }
};

struct CumulativeSum {
  Elements lines;  // where they begin in x and y
  int64_t n, x_stride, y_stride;
  bool exclusive;  // y[i] is the sum of what stands before i
  int64_t chunk, chunks;
  void* carries;  // Wide [chunks, lines]: sums of the chunks, then of all chunks before
};

template <class S>
TS_DEVICE Wide<S>& carry(const CumulativeSum& s, int64_t line, int64_t chunk) {
  return static_cast<Wide<S>*>(s.carries)[chunk * s.lines.size + line];
}
template <class S>
TS_DEVICE S narrow_sum(Wide<S> sum) {
  return narrow<S>(static_cast<compute_t<S>>(sum));
}

/// A thread per chunk of a line, neighbours in lines. Only the sum where `totals`.
template <class S, bool totals>
__global__ void __launch_bounds__(element_threads, 3) sum_neighbors(CumulativeSum s) {
  for (int64_t job = first_element(); job < s.lines.size * s.chunks; job += element_step()) {
    const int64_t line = job % s.lines.size, c = job / s.lines.size;
    int64_t at[2];
    s.lines.locate(static_cast<uint32_t>(line), at);
    const S* x = s.lines.as<const S>(0) + at[0];
    S* y = s.lines.as<S>(1) + at[1];
    const int64_t end = s.n - c * s.chunk < s.chunk ? s.n : (c + 1) * s.chunk;
    Wide<S> sum = totals || !s.carries ? Wide<S>{0} : carry<S>(s, line, c);
#pragma unroll 4
    for (int64_t i = c * s.chunk; i < end; ++i) {
      const Wide<S> before = sum;
      sum = functors::add(sum, static_cast<Wide<S>>(widen(x[i * s.x_stride])));
      if (!totals) y[i * s.y_stride] = narrow_sum<S>(s.exclusive ? before : sum);
    }
    if (totals) carry<S>(s, line, c) = sum;
  }
}

/// What a thread takes of a tile, in one access where it lies side by side.
template <class S>
constexpr int64_t items = sizeof(S) == 8 ? 2 : 4;
template <class S>
constexpr int64_t tile = items<S>* element_threads;

/// A block per chunk of a line, a tile at a time.
template <class S, bool totals>
__global__ void __launch_bounds__(element_threads, 3) sum_blocks(CumulativeSum s) {
  using W = Wide<S>;
  using Items = Pack<S, static_cast<int>(items<S>)>;
  struct Shared {
    W warps[element_threads / warp_size];
  };
  Shared& shared = static_shared<Shared>();
  for (int64_t job = block_index().x; job < s.lines.size * s.chunks; job += grid_size().x) {
    const int64_t line = job / s.chunks, c = job % s.chunks;
    int64_t at[2];
    s.lines.locate(static_cast<uint32_t>(line), at);
    const S* x = s.lines.as<const S>(0) + at[0];
    S* y = s.lines.as<S>(1) + at[1];
    const int64_t end = s.n - c * s.chunk < s.chunk ? s.n : (c + 1) * s.chunk;
    W before = totals || !s.carries ? W{0} : carry<S>(s, line, c);
    for (int64_t first = c * s.chunk; first < end; first += tile<S>) {
      const int64_t begin = first + thread_index().x * items<S>;
      const auto side_by_side = [&](const S* from, int64_t stride) {
        return stride == 1 && begin + items<S> <= end &&
               reinterpret_cast<uintptr_t>(from + begin) % sizeof(Items) == 0;
      };
      Items pack{};
      if (side_by_side(x, s.x_stride)) {
        pack = load_vector(reinterpret_cast<const Items*>(x + begin));
      } else {
#pragma unroll
        for (int64_t j = 0; j < items<S>; ++j)
          if (begin + j < end) pack.lane[j] = x[(begin + j) * s.x_stride];
      }
      W sums[items<S>];
#pragma unroll
      for (int64_t j = 0; j < items<S>; ++j) {
        const W term = static_cast<W>(widen(pack.lane[j]));
        sums[j] = j > 0 ? functors::add(sums[j - 1], term) : term;
      }
      const W in_warp = warp_scan(sums[items<S> - 1], Add{});
      if (lane_index() == warp_size - 1) shared.warps[warp_index()] = in_warp;
      sync_block();
      W here = before;
      for (uint32_t w = 0; w < element_threads / warp_size; ++w) {
        if (w < warp_index()) here = functors::add(here, shared.warps[w]);
        before = functors::add(before, shared.warps[w]);
      }
      const W left = shuffle_up(in_warp, 1);
      if (lane_index() > 0) here = functors::add(here, left);
#pragma unroll
      for (int64_t j = 0; j < items<S>; ++j)
        pack.lane[j] = narrow_sum<S>(!s.exclusive ? functors::add(here, sums[j])
                                     : j > 0      ? functors::add(here, sums[j - 1])
                                                  : here);
      if (!totals && side_by_side(y, s.y_stride)) {
        store_vector(reinterpret_cast<Items*>(y + begin), pack);
      } else if (!totals) {
#pragma unroll
        for (int64_t j = 0; j < items<S>; ++j)
          if (begin + j < end) y[(begin + j) * s.y_stride] = pack.lane[j];
      }
      sync_block();
    }
    if (totals && thread_index().x == 0) carry<S>(s, line, c) = before;
  }
}

/// Sums of chunks to sums of all chunks before.
template <class W>
__global__ void __launch_bounds__(element_threads)
    sum_chunks(W* carries, int64_t lines, int64_t chunks) {
  for (int64_t line = first_element(); line < lines; line += element_step()) {
    W sum = 0;
    for (int64_t c = 0; c < chunks; ++c) {
      const W here = carries[c * lines + line];
      carries[c * lines + line] = sum;
      sum = functors::add(sum, here);
    }
  }
}

View without(const View& v, int axis) {
  View rest{.data = v.data, .dtype = v.dtype};
  for (int d = 0; d < v.rank; ++d) {
    if (d == axis) continue;
    rest.shape[rest.rank] = v.shape[d];
    rest.stride[rest.rank++] = v.stride[d];
  }
  return rest;
}

}  // namespace

void running_sums(Stream& stream, const View& x, int axis, const View& y, bool exclusive) {
  if (x.numel() == 0) return;
  const View x_lines = without(x, axis), y_lines = without(y, axis);
  for (const Elements& lines : cut_elements({&x_lines, 1}, y_lines, 1)) {
    CumulativeSum s{.lines = lines,
                    .n = x.shape[axis],
                    .x_stride = x.stride[axis],
                    .y_stride = y.stride[axis],
                    .exclusive = exclusive,
                    .chunk = 0,
                    .chunks = 1,
                    .carries = nullptr};
    const bool neighbors = lines.size >= 8 && lines.stride[1][0] < s.y_stride;
    constexpr int64_t wanted_threads = 1 << 16, wanted_blocks = 1024;
    const int64_t most = std::max<int64_t>(
                      1, (neighbors ? wanted_threads : wanted_blocks) / lines.size),
                  least = neighbors ? 64 : 16 * element_threads;
    s.chunk = std::max(ceil_divide(ceil_divide(s.n, most), 4) * 4, least);  // whole packs
    s.chunks = ceil_divide(s.n, s.chunk);
    const int64_t jobs = lines.size * s.chunks;
    const uint32_t blocks = blocks_for(jobs, neighbors ? element_threads : 1);
    for_computed(x.dtype, "cumulative_sum", [&]<class S>() {
      if constexpr (!std::is_same_v<S, bool>) {
        const Scratch carries =
            stream.scratch(s.chunks > 1 ? static_cast<size_t>(jobs) * sizeof(Wide<S>) : 0);
        if (s.chunks > 1) {
          s.carries = carries.as<void>();
          launch(stream, {"cumulative_sum totals", {blocks}, {element_threads}},
                 neighbors ? sum_neighbors<S, true> : sum_blocks<S, true>, s);
          launch(stream,
                 {"cumulative_sum chunks",
                  {blocks_for(lines.size, element_threads)},
                  {element_threads}},
                 sum_chunks<Wide<S>>, carries.as<Wide<S>>(), int64_t{lines.size}, s.chunks);
        }
        launch(stream, {"cumulative_sum", {blocks}, {element_threads}},
               neighbors ? sum_neighbors<S, false> : sum_blocks<S, false>, s);
      }
    });
  }
}

void cumulative_sum(Stream& stream, View x, int axis, View y) {
  check_cumulative_sum(x, axis, y);
  running_sums(stream, x, axis, y, false);
}

}  // namespace tessera::kernels::cuda
