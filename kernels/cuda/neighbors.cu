// Nearest neighbours by comparing all pairs. Floor: 3 m n d operations; the distances of as many
// queries as fit 64 MB are written and read once. A block takes 64 queries and 64 points, 16
// coordinates at a time through shared memory, each thread 4 x 4 pairs. Squared distances are
// summed as (q - p)^2, which does not cancel as |q|^2 + |p|^2 - 2 q.p does. Where a query is not
// its own neighbour the others move up, so that lines of distances begin within sectors.
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/sort.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/indexing.hpp"
#include "tessera/kernels/sort_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t pairs = 64, coordinates = 16, side = 16, per_thread = pairs / side;
constexpr int64_t most_query_blocks = 65535;  // of the second axis of a grid

/// A warp per row of x [n, d]: its norm.
template <class T>
__global__ void __launch_bounds__(sort_threads)
    row_norms(const T* x, int64_t n, int64_t d, T* norms) {
  for (int64_t row = first_element() / warp_size; row < n; row += element_step() / warp_size) {
    double sum = 0;
    for (int64_t j = lane_index(); j < d; j += warp_size) {
      const auto v = static_cast<double>(x[row * d + j]);
      sum = std::fma(v, v, sum);
    }
    sum = warp_reduce(sum, Sum{});
    if (lane_index() == 0) norms[row] = static_cast<T>(std::sqrt(sum));
  }
}

template <class T>
struct Pairs {
  const T *queries, *points, *query_norms, *point_norms;  // norms: cosine only
  int64_t m, n, d;
  int64_t first;  // the number of the first query here
  bool exclude_same_index;
  T* distances;  // [m, n]; without the query itself the others move up, and NaN takes the last
                 // place

  TS_DEVICE void put(int64_t i, int64_t j, T distance) const {
    const bool excludes = exclude_same_index && first + i < n;
    const int64_t column = !excludes || j < first + i ? j : j == first + i ? n - 1 : j - 1;
    distances[i * n + column] =
        excludes && j == first + i ? std::numeric_limits<T>::quiet_NaN() : distance;
  }
};

/// Columns of a tile, so far apart that two rows of 16 floats, or one of doubles, meet all banks.
template <class T>
constexpr uint32_t pitch = pairs + (sizeof(T) == 4 ? 2 : 1);

/// The tile [pairs, coordinates] of x [rows, d] that begins at (row, column), by columns; zeros
/// beyond x.
template <class T>
TS_DEVICE void load_tile(T (*to)[pitch<T>], const T* x, int64_t row, int64_t rows, int64_t column,
                         int64_t d) {
  for (uint32_t i = thread_index().x; i < pairs * coordinates; i += sort_threads) {
    const uint32_t r = i / coordinates, c = i % coordinates;
    to[c][r] = row + r < rows && column + c < d ? x[(row + r) * d + column + c] : T{0};
  }
}

template <class T, bool l2>
__global__ void __launch_bounds__(sort_threads, 3) all_distances(Pairs<T> p) {
  struct Shared {
    T queries[coordinates][pitch<T>], points[coordinates][pitch<T>];
  };
  Shared& shared = static_shared<Shared>();
  const int64_t first_query = int64_t{block_index().y} * pairs,
                first_point = int64_t{block_index().x} * pairs;
  const uint32_t x = thread_index().x % side, y = thread_index().x / side;
  T sums[per_thread][per_thread] = {};
  for (int64_t column = 0; column < p.d; column += coordinates) {
    load_tile(shared.queries, p.queries, first_query, p.m, column, p.d);
    load_tile(shared.points, p.points, first_point, p.n, column, p.d);
    sync_block();
#pragma unroll
    for (uint32_t c = 0; c < coordinates; ++c) {
      T point[per_thread];
#pragma unroll
      for (uint32_t j = 0; j < per_thread; ++j) point[j] = shared.points[c][x + j * side];
#pragma unroll
      for (uint32_t i = 0; i < per_thread; ++i) {
        const T query = shared.queries[c][y + i * side];
#pragma unroll
        for (uint32_t j = 0; j < per_thread; ++j) {
          const T a = l2 ? query - point[j] : query, b = l2 ? a : point[j];
          sums[i][j] = std::fma(a, b, sums[i][j]);
        }
      }
    }
    sync_block();
  }
#pragma unroll
  for (uint32_t i = 0; i < per_thread; ++i)
#pragma unroll
    for (uint32_t j = 0; j < per_thread; ++j) {
      const int64_t query = first_query + y + i * side, point = first_point + x + j * side;
      if (query >= p.m || point >= p.n) continue;
      T distance = sums[i][j];
      if (!l2) {
        const T product = p.query_norms[query] * p.point_norms[point];
        distance = product == 0 ? T{1} : T{1} - distance / product;
        if (distance < 0) distance = 0;
      }
      p.put(query, point, distance);
    }
}

/// Numbers among the others become numbers among all points.
__global__ void __launch_bounds__(sort_threads)
    count_the_query(int64_t* index, int64_t rows, int64_t k, int64_t first) {
  for (int64_t i = first_element(); i < rows * k; i += element_step())
    index[i] += index[i] >= first + i / k;
}

template <class T>
void search_neighbors(Stream& stream, const View& queries, const View& points, const View& distance,
                      const View& index, const NeighborExtents& e, const NeighborParams& params) {
  const auto [m, n, d, k] = e;
  const bool l2 = params.metric == Metric::squared_l2;
  const int64_t fits =
      ceil_divide(std::max<int64_t>(1, (64 << 20) / (n * static_cast<int64_t>(sizeof(T)))), pairs);
  const int64_t rows = std::min<int64_t>(m, std::min<int64_t>(fits, most_query_blocks) * pairs);
  const Scratch distances = stream.scratch(static_cast<size_t>(rows * n) * sizeof(T)),
                norms = stream.scratch(static_cast<size_t>(l2 ? 0 : m + n) * sizeof(T));
  Pairs<T> p{.queries = queries.as<T>(),
             .points = points.as<T>(),
             .query_norms = norms.as<T>(),
             .point_norms = norms.as<T>() + (l2 ? 0 : m),
             .m = m,
             .n = n,
             .d = d,
             .first = 0,
             .exclude_same_index = params.exclude_same_index,
             .distances = distances.as<T>()};
  if (!l2) {
    launch(stream, shape_over("neighbors row_norms", m * warp_size), row_norms<T>, p.queries, m, d,
           norms.as<T>());
    launch(stream, shape_over("neighbors row_norms", n * warp_size), row_norms<T>, p.points, n, d,
           norms.as<T>() + m);
  }
  for (int64_t first = 0; first < m; first += rows) {
    p.first = first;
    p.m = std::min(rows, m - first);
    p.queries = queries.as<T>() + first * d;
    p.query_norms = norms.as<T>() + (l2 ? 0 : first);
    launch(stream,
           {"neighbors all_distances",
            {static_cast<uint32_t>(ceil_divide(n, pairs)),
             static_cast<uint32_t>(ceil_divide(p.m, pairs))},
            {sort_threads}},
           l2 ? all_distances<T, true> : all_distances<T, false>, p);
    const auto part = [&](auto* data, int64_t width) {
      return View{
          data, dtype_of<std::remove_pointer_t<decltype(data)>>, 2, {p.m, width}, {width, 1}};
    };
    auto* const found = index.as<int64_t>() + first * k;
    indexing_kernels.top_k(stream, part(p.distances, n), false,
                           part(distance.as<T>() + first * k, k), part(found, k));
    if (params.exclude_same_index)
      launch(stream, shape_over("neighbors count_the_query", p.m * k), count_the_query, found, p.m,
             k, first);
  }
}

}  // namespace

void nearest_neighbors(Stream& stream, View queries, View points, View distance, View index,
                       const NeighborParams& params) {
  const NeighborExtents e = check_neighbors(queries, points, distance, index, params);
  if (e.m == 0 || e.k == 0) return;
  if (queries.dtype == DType::f32)
    search_neighbors<float>(stream, queries, points, distance, index, e, params);
  else if (queries.dtype == DType::f64)
    search_neighbors<double>(stream, queries, points, distance, index, e, params);
  else
    unsupported_dtype("nearest_neighbors", queries.dtype);
}

}  // namespace tessera::kernels::cuda
