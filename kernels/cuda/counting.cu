// Counts and sums per bin. Floor: the elements once. Counts of up to 2048 bins are gathered in
// shared memory before they go to y, by atomic adds of integers. Weights are floats, which are not
// added atomically: elements are grouped by bin, and the weights of a bin are summed by warps that
// take fixed slices of them, in f64. Elements meet in the banks of their bins: 2 passes for each
// ideal one where values have no order; the weights of a bin come from wherever they lie, a sector
// each where the ideal is an eighth, after positions that are neighbours: (8 + 1) / 2 of the ideal.
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/sort.cuh"
#include "tessera/kernels/cuda/spmm.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/sort_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr int64_t bins_in_shared = 2048;

/// bin_of(i) is the bin of element i, or -1.
template <class BinOf>
__global__ void __launch_bounds__(sort_threads)
    count_bins(BinOf bin_of, int64_t n, int64_t bins, int64_t* y) {
  struct Shared {
    int32_t count[bins_in_shared];
  };
  Shared& shared = static_shared<Shared>();
  const bool near = bins <= bins_in_shared;
  for (int64_t b = thread_index().x; near && b < bins; b += sort_threads) shared.count[b] = 0;
  sync_block();
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t b = bin_of(i);
    if (b < 0) continue;
    if (near)
      atomic_add(&shared.count[b], 1);
    else
      atomic_add(&y[b], int64_t{1});
  }
  sync_block();
  for (int64_t b = thread_index().x; near && b < bins; b += sort_threads)
    if (shared.count[b] > 0) atomic_add(&y[b], int64_t{shared.count[b]});
}

template <class BinOf>
void count_elements(Stream& stream, const char* name, const BinOf& bin_of, int64_t n,
                    const View& y) {
  copy_kernels.fill(stream, 0, y);
  if (n == 0) return;
  // enough elements per block that it pays to gather them
  launch(stream, {name, {blocks_for(n, 16 * sort_threads)}, {sort_threads}}, count_bins<BinOf>,
         bin_of, n, y.numel(), y.as<int64_t>());
}

template <class I>
struct CheckedBin {
  const I* x;
  int64_t bins;
  Finding* finding;
  int32_t call;

  TS_DEVICE int64_t operator()(int64_t i) const {
    const int64_t b = x[i];
    if (b >= 0 && b < bins) return b;
    report(finding, call, i, b, 0, bins);
    return -1;
  }
};

template <class T>
struct HistogramBin {
  const T* x;
  HistogramBins parts;

  TS_DEVICE int64_t operator()(int64_t i) const { return parts.of(widen(x[i])); }
};

/// The bin of each element, `bins` for those without one.
template <class I>
__global__ void __launch_bounds__(sort_threads)
    write_bins(CheckedBin<I> bin_of, int64_t n, int32_t* keys) {
  for (int64_t i = first_element(); i < n; i += element_step()) {
    const int64_t b = bin_of(i);
    keys[i] = static_cast<int32_t>(b < 0 ? bin_of.bins : b);
  }
}

/// A warp per slice of a bin: sums [bins, slices].
template <class W>
__global__ void __launch_bounds__(sort_threads)
    sum_slices(const W* weights, const int32_t* start, const int32_t* order, int64_t bins,
               int64_t slices, double* sums) {
  for (int64_t job = first_element() / warp_size; job < bins * slices;
       job += element_step() / warp_size) {
    const int64_t b = job / slices, slice = job % slices, first = start[b],
                  count = start[b + 1] - first;
    double sum = 0;
    for (int64_t i = first + count * slice / slices + lane_index();
         i < first + count * (slice + 1) / slices; i += warp_size)
      sum += static_cast<double>(widen(weights[order[i]]));
    sum = warp_reduce(sum, Sum{});
    if (lane_index() == 0) sums[job] = sum;
  }
}

template <class T>
__global__ void __launch_bounds__(sort_threads)
    join_slices(const double* sums, int64_t bins, int64_t slices, T* y) {
  for (int64_t b = first_element(); b < bins; b += element_step()) {
    double sum = 0;
    for (int64_t slice = 0; slice < slices; ++slice) sum += sums[b * slices + slice];
    y[b] = narrow<T>(static_cast<compute_t<T>>(sum));
  }
}

}  // namespace

void bincount(Stream& stream, View x, View weights, View y) {
  const bool weighted = check_bincount(x, weights, y);
  const int64_t n = x.numel(), bins = y.numel();
  Faults& faults = stream.resource<Faults>();
  for_index(x.dtype, "bincount", [&]<class I>() {
    const CheckedBin<I> bin_of{x.as<I>(), bins, faults.finding(),
                               faults.expect("bincount: element")};
    if (!weighted) {
      count_elements(stream, "bincount", bin_of, n, y);
      return faults.launched();
    }
    TS_CHECK(n < INT32_MAX && bins < INT32_MAX, "bincount: ", n, " weights in ", bins,
             " bins are more than 32-bit indices can address");
    const int64_t slices = std::clamp<int64_t>(n / (1024 * std::max<int64_t>(bins, 1)), 1, 1024);
    const Scratch keys = stream.scratch(static_cast<size_t>(n) * sizeof(int32_t)),
                  order = stream.scratch(static_cast<size_t>(n) * sizeof(int32_t)),
                  start = stream.scratch(static_cast<size_t>(bins + 2) * sizeof(int32_t)),
                  sums = stream.scratch(static_cast<size_t>(bins * slices) * sizeof(double));
    if (n > 0)
      launch(stream, shape_over("bincount write_bins", n), write_bins<I>, bin_of, n,
             keys.as<int32_t>());
    faults.launched();
    if (bins == 0) return;
    group_positions(stream, keys.as<int32_t>(), n, bins + 1, start.as<int32_t>(),
                    order.as<int32_t>());
    for_float(weights.dtype, "bincount", [&]<class W>() {
      launch(stream, shape_over("bincount sum_slices", bins * slices * warp_size), sum_slices<W>,
             weights.as<W>(), start.as<int32_t>(), order.as<int32_t>(), bins, slices,
             sums.as<double>());
    });
    for_float(y.dtype, "bincount", [&]<class T>() {
      launch(stream, shape_over("bincount join_slices", bins), join_slices<T>, sums.as<double>(),
             bins, slices, y.as<T>());
    });
  });
}

void histogram(Stream& stream, View x, double lower, double upper, View counts) {
  const HistogramBins parts = check_histogram(x, lower, upper, counts);
  for_float(x.dtype, "histogram", [&]<class T>() {
    count_elements(stream, "histogram", HistogramBin<T>{x.as<T>(), parts}, x.numel(), counts);
  });
}

}  // namespace tessera::kernels::cuda
