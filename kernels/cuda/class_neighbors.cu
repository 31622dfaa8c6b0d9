// Neighbours on a line, among the own class and among all. A thread per element: k steps in its
// class, then two searches of its row by halves. Floor: both inputs once, the counts once; the
// searches read log2 n elements more, near each other for neighbouring threads, but not neighbours:
// 2.6 sectors (f32) or 2.1 (f64) for each that the same bytes would fill.
#include "tessera/kernels/cuda/sort.cuh"
#include "tessera/kernels/sort_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

struct Classes {
  const int64_t* offsets;
  int64_t classes, n;

  /// Where the class of position p begins and ends: the last that begins at or before it. False
  /// where offsets do not rise from 0 to n.
  TS_DEVICE bool find(int64_t p, int64_t& begin, int64_t& end) const {
    int64_t low = 0, high = classes;
    while (high - low > 1) {
      const int64_t middle = (low + high) / 2;
      if (offsets[middle] <= p)
        low = middle;
      else
        high = middle;
    }
    begin = offsets[low];
    end = classes > 0 ? offsets[low + 1] : 0;
    return 0 <= begin && begin <= p && p < end && end <= n;
  }
};

template <class T>
__global__ void __launch_bounds__(sort_threads)
    count_neighbors(const T* all_sorted, const T* all_grouped, int64_t elements, Classes classes,
                    int64_t k, int32_t* counts) {
  const int64_t n = classes.n;
  for (int64_t i = first_element(); i < elements; i += element_step()) {
    const int64_t p = i % n;
    const T *sorted = all_sorted + (i - p), *grouped = all_grouped + (i - p);
    int64_t begin = 0, end = 0;
    if (!classes.find(p, begin, end) || end - begin == 1) {
      counts[i] = 0;
      continue;
    }
    const int64_t others = end - begin - 1;
    const T z = grouped[p],
            r = next_below(kth_distance(grouped, begin, end, p, k < others ? k : others));
    int64_t low = 0, high = n;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (z - sorted[middle] <= r)
        high = middle;
      else
        low = middle + 1;
    }
    const int64_t first = low;
    high = n;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (sorted[middle] - z > r)
        high = middle;
      else
        low = middle + 1;
    }
    counts[i] = static_cast<int32_t>(low - first);
  }
}

}  // namespace

void class_neighbors(Stream& stream, View sorted, View grouped, View offsets, View counts,
                     const ClassNeighborParams& params) {
  check_class_neighbors(sorted, grouped, offsets, counts, params);
  const int64_t elements = sorted.numel();
  check_rising_offsets(stream, "class_neighbors", offsets, sorted.shape[1]);
  if (elements == 0) return;
  const Classes classes{offsets.as<int64_t>(), offsets.shape[0] - 1, sorted.shape[1]};
  const auto count = [&]<class T>() {
    launch(stream, shape_over("class_neighbors count_neighbors", elements), count_neighbors<T>,
           sorted.as<T>(), grouped.as<T>(), elements, classes, params.k, counts.as<int32_t>());
  };
  if (sorted.dtype == DType::f32)
    count.template operator()<float>();
  else if (sorted.dtype == DType::f64)
    count.template operator()<double>();
  else
    unsupported_dtype("class_neighbors", sorted.dtype);
}

}  // namespace tessera::kernels::cuda
