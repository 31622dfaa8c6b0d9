#include <algorithm>
#include <limits>
#include <vector>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/simd.hpp"
#include "tessera/kernels/pool_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

// Elements that pay for waking a thread.
constexpr int64_t thread_work = 20'000;

template <class Body>
void for_planes(int64_t planes, int64_t plane_work, Body&& body) {
  parallel_for(planes, thread_work / std::max<int64_t>(plane_work, 1) + 1,
               [&](int64_t begin, int64_t end) {
                 for (int64_t i = begin; i < end; ++i) body(i);
               });
}

// --- maxima ---

// The outputs along one axis for which `tap` lies inside the image.
struct Inside {
  int64_t begin, end;
  Inside(int64_t tap, int axis, int64_t in, int64_t out, const PoolParams& p) {
    const int64_t at = tap * p.dilation[axis] - p.padding[axis], stride = p.stride[axis];
    begin = std::min(out, at >= 0 ? 0 : (-at + stride - 1) / stride);
    end = std::max(begin, at >= in ? 0 : std::min(out, (in - 1 - at) / stride + 1));
  }
};

template <class E>
void max_pool_plane(const E* x, E* y, int64_t* index, const PoolExtents& e, const PoolParams& p) {
  using T = compute_t<E>;
  for (int64_t i = 0; i < e.out_height; ++i, y += e.out_width, index += e.out_width) {
    std::fill_n(y, e.out_width, static_cast<E>(-std::numeric_limits<T>::infinity()));
    std::fill_n(index, e.out_width, int64_t{-1});
    for (int64_t r = 0; r < p.window[0]; ++r) {
      const int64_t row = i * p.stride[0] - p.padding[0] + r * p.dilation[0];
      if (row < 0 || row >= e.height) continue;
      for (int64_t s = 0; s < p.window[1]; ++s) {
        const Inside q(s, 1, e.width, e.out_width, p);
        int64_t at = row * e.width + q.begin * p.stride[1] - p.padding[1] + s * p.dilation[1];
        for (int64_t j = q.begin; j < q.end; ++j, at += p.stride[1]) {
          const T value = static_cast<T>(x[at]), best = static_cast<T>(y[j]);
          // Not (value <= best) where either is NaN; a NaN that is there already stays.
          if (index[j] < 0 || (!(value <= best) && !std::isnan(best))) {
            y[j] = x[at];
            index[j] = at;
          }
        }
      }
    }
  }
}

void max_pool(Stream&, View x, View y, View index, const PoolParams& p) {
  const PoolExtents e = check_max_pool(x, y, index, p);
  for_float(x.dtype, "max_pool", [&]<class E>() {
    for_planes(e.planes, e.out_size() * p.window[0] * p.window[1], [&](int64_t n) {
      max_pool_plane(x.as<const E>() + n * e.in_size(), y.as<E>() + n * e.out_size(),
                     index.as<int64_t>() + n * e.out_size(), e, p);
    });
  });
}

void check_position(const char* name, int64_t at, const PoolExtents& e, int64_t plane, int64_t i) {
  TS_CHECK(at >= 0 && at < e.in_size(), name, ": index ", at, " at element ", i, " of plane ",
           plane, " lies outside of ", e.height, " x ", e.width, " pixels");
}

void pool_gather(Stream&, View x, View index, View y) {
  const PoolExtents e = check_images("pool_gather", x, y);
  check_pool_index("pool_gather", y, index);
  for_float(x.dtype, "pool_gather", [&]<class E>() {
    for_planes(e.planes, e.out_size(), [&](int64_t n) {
      const E* from = x.as<const E>() + n * e.in_size();
      const int64_t* at = index.as<const int64_t>() + n * e.out_size();
      E* to = y.as<E>() + n * e.out_size();
      for (int64_t i = 0; i < e.out_size(); ++i) {
        check_position("pool_gather", at[i], e, n, i);
        to[i] = from[at[i]];
      }
    });
  });
}

// Calls body(plane, sums, row) with zeroed sums in the compute type, and stores them as the plane
// of x. `row` is room for one row.
template <class E, class Body>
void accumulate_planes(Stream& s, const PoolExtents& e, E* x, Body&& body) {
  using T = compute_t<E>;
  constexpr bool in_place = std::is_same_v<E, T>;
  const int64_t per_block = thread_work / std::max<int64_t>(e.in_size() + e.out_size(), 1) + 1;
  const int64_t slot = e.width + (in_place ? 0 : e.in_size());
  const Scratch scratch = s.scratch(static_cast<size_t>(max_threads() * slot) * sizeof(T));
  parallel_blocks((e.planes + per_block - 1) / per_block, [&](int64_t block, int thread) {
    T* const row = scratch.as<T>() + thread * slot;
    for (int64_t n = block * per_block; n < std::min(e.planes, (block + 1) * per_block); ++n) {
      E* const plane = x + n * e.in_size();
      T* sums = row + e.width;
      if constexpr (in_place) sums = plane;
      std::fill_n(sums, e.in_size(), T(0));
      body(n, sums, row);
      if constexpr (!in_place)
        for (int64_t i = 0; i < e.in_size(); ++i) plane[i] = static_cast<E>(sums[i]);
    }
  });
}

void pool_scatter(Stream& s, View y, View index, View x) {
  const PoolExtents e = check_images("pool_scatter", x, y);
  check_pool_index("pool_scatter", y, index);
  for_float(x.dtype, "pool_scatter", [&]<class E>() {
    accumulate_planes(s, e, x.as<E>(), [&](int64_t n, compute_t<E>* sums, compute_t<E>*) {
      const E* from = y.as<const E>() + n * e.out_size();
      const int64_t* at = index.as<const int64_t>() + n * e.out_size();
      for (int64_t i = 0; i < e.out_size(); ++i) {
        check_position("pool_scatter", at[i], e, n, i);
        sums[at[i]] += static_cast<compute_t<E>>(from[i]);
      }
    });
  });
}

// --- linear maps of rows times columns ---

// The taps of a PoolAxis, worked out once for all planes.
struct AxisMap {
  struct Tap {
    int64_t input;
    double weight;
  };
  std::vector<Tap> taps;
  std::vector<int64_t> begin{0};  // of the taps of output i, and the end of the last
  std::vector<double> divisor;

  explicit AxisMap(const PoolAxis& axis) {
    for (int64_t i = 0; i < axis.out; ++i) {
      axis.taps(i, [&](int64_t input, double weight) { taps.push_back({input, weight}); });
      begin.push_back(static_cast<int64_t>(taps.size()));
      divisor.push_back(axis.divisor(i));
    }
  }
  const Tap* first(int64_t output) const {
    return taps.data() + begin[static_cast<size_t>(output)];
  }
  const Tap* last(int64_t output) const {
    return taps.data() + begin[static_cast<size_t>(output) + 1];
  }
};

// y += weight * x
template <class E, class T>
void add_scaled(const E* x, double weight, int64_t n, T* y) {
  constexpr int64_t width = Vec<T>::width;
  const Vec<T> w(static_cast<T>(weight));
  int64_t i = 0;
  for (; i + width <= n; i += width) store(y + i, load(y + i) + w * load(x + i));
  for (; i < n; ++i) y[i] += static_cast<T>(weight) * static_cast<T>(x[i]);
}

// y = rows x columns', plane by plane.
template <class E>
void apply(Stream& s, const PoolExtents& e, const AxisMap& rows, const AxisMap& columns, const E* x,
           E* y) {
  using T = compute_t<E>;
  const int64_t per_block = thread_work / std::max<int64_t>(e.in_size() + e.out_size(), 1) + 1;
  const Scratch scratch = s.scratch(static_cast<size_t>(max_threads() * e.width) * sizeof(T));
  parallel_blocks((e.planes + per_block - 1) / per_block, [&](int64_t block, int thread) {
    T* const mixed = scratch.as<T>() + thread * e.width;
    for (int64_t n = block * per_block; n < std::min(e.planes, (block + 1) * per_block); ++n)
      for (int64_t i = 0; i < e.out_height; ++i) {
        std::fill_n(mixed, e.width, T(0));
        for (const AxisMap::Tap* t = rows.first(i); t < rows.last(i); ++t)
          add_scaled(x + n * e.in_size() + t->input * e.width, t->weight, e.width, mixed);
        E* out = y + n * e.out_size() + i * e.out_width;
        for (int64_t j = 0; j < e.out_width; ++j) {
          T sum = 0;
          for (const AxisMap::Tap* t = columns.first(j); t < columns.last(j); ++t)
            sum += static_cast<T>(t->weight) * mixed[t->input];
          const double divisor =
              rows.divisor[static_cast<size_t>(i)] * columns.divisor[static_cast<size_t>(j)];
          out[j] = static_cast<E>(sum / static_cast<T>(divisor));
        }
      }
  });
}

// x = rows' y columns, plane by plane.
template <class E>
void apply_transpose(Stream& s, const PoolExtents& e, const AxisMap& rows, const AxisMap& columns,
                     const E* y, E* x) {
  using T = compute_t<E>;
  accumulate_planes(s, e, x, [&](int64_t n, T* sums, T* mixed) {
    for (int64_t i = 0; i < e.out_height; ++i) {
      const E* in = y + n * e.out_size() + i * e.out_width;
      std::fill_n(mixed, e.width, T(0));
      for (int64_t j = 0; j < e.out_width; ++j) {
        const double divisor =
            rows.divisor[static_cast<size_t>(i)] * columns.divisor[static_cast<size_t>(j)];
        const T value = static_cast<T>(in[j]) / static_cast<T>(divisor);
        for (const AxisMap::Tap* t = columns.first(j); t < columns.last(j); ++t)
          mixed[t->input] += static_cast<T>(t->weight) * value;
      }
      for (const AxisMap::Tap* t = rows.first(i); t < rows.last(i); ++t)
        add_scaled(mixed, t->weight, e.width, sums + t->input * e.width);
    }
  });
}

void map_images(const char* name, Stream& s, View x, View y, const PoolExtents& e,
                const PoolAxis& row_axis, const PoolAxis& column_axis, bool transpose) {
  const AxisMap rows(row_axis), columns(column_axis);
  for_float(x.dtype, name, [&]<class E>() {
    if (transpose)
      apply_transpose(s, e, rows, columns, y.as<const E>(), x.as<E>());
    else
      apply(s, e, rows, columns, x.as<const E>(), y.as<E>());
  });
}

void pool_average(const char* name, Stream& s, View x, View y, const PoolParams& p,
                  bool transpose) {
  const PoolExtents e = check_images(name, x, y);
  TS_CHECK(p.dilation[0] == 1 && p.dilation[1] == 1, name, ": averages take no dilation");
  check_windows(name, e, p);
  map_images(name, s, x, y, e, PoolAxis::windows(e.height, e.out_height, 0, p),
             PoolAxis::windows(e.width, e.out_width, 1, p), transpose);
}
void average_pool(Stream& s, View x, View y, const PoolParams& p) {
  pool_average("average_pool", s, x, y, p, false);
}
void average_pool_transpose(Stream& s, View y, View x, const PoolParams& p) {
  pool_average("average_pool_transpose", s, x, y, p, true);
}

void adaptive_average(const char* name, Stream& s, View x, View y, bool transpose) {
  const PoolExtents e = check_images(name, x, y);
  map_images(name, s, x, y, e, PoolAxis::parts(e.height, e.out_height),
             PoolAxis::parts(e.width, e.out_width), transpose);
}
void adaptive_average_pool(Stream& s, View x, View y) {
  adaptive_average("adaptive_average_pool", s, x, y, false);
}
void adaptive_average_pool_transpose(Stream& s, View y, View x) {
  adaptive_average("adaptive_average_pool_transpose", s, x, y, true);
}

void resample_images(const char* name, Stream& s, View x, View y, const ResampleParams& p,
                     bool transpose) {
  const PoolExtents e = check_images(name, x, y);
  map_images(name, s, x, y, e, PoolAxis::resample(e.height, e.out_height, p),
             PoolAxis::resample(e.width, e.out_width, p), transpose);
}
void resample(Stream& s, View x, View y, const ResampleParams& p) {
  resample_images("resample", s, x, y, p, false);
}
void resample_transpose(Stream& s, View y, View x, const ResampleParams& p) {
  resample_images("resample_transpose", s, x, y, p, true);
}

}  // namespace

const PoolKernels pool_kernels{
    .max_pool = max_pool,
    .pool_gather = pool_gather,
    .pool_scatter = pool_scatter,
    .average_pool = average_pool,
    .average_pool_transpose = average_pool_transpose,
    .adaptive_average_pool = adaptive_average_pool,
    .adaptive_average_pool_transpose = adaptive_average_pool_transpose,
    .resample = resample,
    .resample_transpose = resample_transpose,
};

}  // namespace tessera::kernels::cpu
