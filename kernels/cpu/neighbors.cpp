// Nearest neighbours by comparing all pairs, tile by tile: a panel of points, transposed so that
// lanes are points, against four queries at a time. Squared distances are summed as (q - p)^2,
// which costs one subtraction more than |q|^2 + |p|^2 - 2 q.p and does not cancel.
#include <limits>

#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/select.hpp"
#include "tessera/kernels/cpu/simd.hpp"
#include "tessera/kernels/cpu/sort.hpp"
#include "tessera/kernels/sort_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t query_block = 16;  // queries whose distances to all points are kept at a time

template <class T>
inline constexpr int64_t panel_points = 2 * Vec<T>::width;

/// points [n, d] as panels [ceil(n / panel), d, panel], the last one filled up with zeros.
template <class T>
void pack(const View& points, T* panels) {
  constexpr int64_t width = panel_points<T>;
  const int64_t n = points.shape[0], d = points.shape[1];
  parallel_for((n + width - 1) / width, 16, [&](int64_t first, int64_t last) {
    for (int64_t panel = first; panel < last; ++panel)
      for (int64_t lane = 0; lane < width; ++lane) {
        const int64_t point = panel * width + lane;
        for (int64_t j = 0; j < d; ++j)
          panels[(panel * d + j) * width + lane] = point < n ? points.as<T>()[point * d + j] : T{0};
      }
  });
}

template <bool l2, class T>
inline void accumulate(Vec<T>& a0, Vec<T>& a1, T q, Vec<T> p0, Vec<T> p1) {
  const Vec<T> query(q);
  if constexpr (l2) {
    const Vec<T> d0 = query - p0, d1 = query - p1;
    a0 = fma(d0, d0, a0);
    a1 = fma(d1, d1, a1);
  } else {
    a0 = fma(query, p0, a0);
    a1 = fma(query, p1, a1);
  }
}

/// Squared distances, or inner products, of four queries with one panel.
template <bool l2, class T>
void tile(const T* const* q, int64_t d, const T* panel, T* const* to) {
  constexpr int64_t lanes = Vec<T>::width;
  Vec<T> a00(T{0}), a01(T{0}), a10(T{0}), a11(T{0}), a20(T{0}), a21(T{0}), a30(T{0}), a31(T{0});
  for (int64_t j = 0; j < d; ++j, panel += 2 * lanes) {
    const Vec<T> p0 = load(panel), p1 = load(panel + lanes);
    accumulate<l2>(a00, a01, q[0][j], p0, p1);
    accumulate<l2>(a10, a11, q[1][j], p0, p1);
    accumulate<l2>(a20, a21, q[2][j], p0, p1);
    accumulate<l2>(a30, a31, q[3][j], p0, p1);
  }
  store(to[0], a00), store(to[0] + lanes, a01);
  store(to[1], a10), store(to[1] + lanes, a11);
  store(to[2], a20), store(to[2] + lanes, a21);
  store(to[3], a30), store(to[3] + lanes, a31);
}

template <class T>
T norm(const T* x, int64_t d) {
  double sum = 0;
  for (int64_t j = 0; j < d; ++j) sum += static_cast<double>(x[j]) * static_cast<double>(x[j]);
  return static_cast<T>(std::sqrt(sum));
}

template <class T>
struct Search {
  View queries, points;
  const T* panels;
  const T* point_norms;  // cosine only
  int64_t n, padded, d, k;
  NeighborParams params;

  /// Distances of queries [first, first + count) to all points, `padded` elements apart.
  void distances(int64_t first, int64_t count, T* rows) const {
    constexpr int64_t width = panel_points<T>;
    const bool l2 = params.metric == Metric::squared_l2;
    for (int64_t panel = 0; panel * width < n; ++panel)
      for (int64_t b = 0; b < count; b += 4) {
        const T* q[4];
        T* to[4];
        for (int64_t i = 0; i < 4; ++i) {  // the last query again where there are fewer than four
          const int64_t row = std::min(b + i, count - 1);
          q[i] = queries.as<T>() + (first + row) * d;
          to[i] = rows + row * padded + panel * width;
        }
        if (l2)
          tile<true>(q, d, panels + panel * d * width, to);
        else
          tile<false>(q, d, panels + panel * d * width, to);
      }
    if (l2) return;
    for (int64_t row = 0; row < count; ++row) {
      const T query_norm = norm(queries.as<T>() + (first + row) * d, d);
      for (int64_t p = 0; p < n; ++p) {
        T& v = rows[row * padded + p];
        const T product = query_norm * point_norms[p], distance = T{1} - v / product;
        v = product == 0 ? T{1} : distance < 0 ? T{0} : distance;
      }
    }
  }

  void select(int64_t query, T* row, T* distance, int64_t* index, int64_t* order) const {
    const bool without_self = params.exclude_same_index && query < n;
    if (without_self) std::copy(row + query + 1, row + n, row + query);
    top_k_row<T, false>(row, without_self ? n - 1 : n, k, distance, index, order);
    if (without_self)
      for (int64_t j = 0; j < k; ++j) index[j] += index[j] >= query;
  }
};

}  // namespace

void nearest_neighbors(Stream& stream, View queries, View points, View distance, View index,
                       const NeighborParams& params) {
  const auto [m, n, d, k] = check_neighbors(queries, points, distance, index, params);
  const auto search = [&]<class T>() {
    constexpr int64_t width = panel_points<T>;
    const int64_t panels = (n + width - 1) / width, padded = panels * width;
    const int64_t blocks = (m + query_block - 1) / query_block;
    const int64_t workers = std::min<int64_t>(blocks, m * n * d < (1 << 16) ? 1 : max_threads());
    const Scratch packed = stream.scratch(static_cast<size_t>(padded * d) * sizeof(T));
    const Scratch norms = stream.scratch(static_cast<size_t>(n) * sizeof(T));
    const Scratch rows =
        stream.scratch(static_cast<size_t>(workers * query_block * padded) * sizeof(T));
    const Scratch orders = stream.scratch(static_cast<size_t>(workers * n) * sizeof(int64_t));
    pack(points, packed.as<T>());
    if (params.metric == Metric::cosine)
      for (int64_t p = 0; p < n; ++p) norms.as<T>()[p] = norm(points.as<T>() + p * d, d);

    const Search<T> s{queries, points, packed.as<T>(), norms.as<T>(), n, padded, d, k, params};
    parallel_blocks(workers, [&](int64_t worker) {
      T* own_rows = rows.as<T>() + worker * query_block * padded;
      for (int64_t block = blocks * worker / workers; block < blocks * (worker + 1) / workers;
           ++block) {
        const int64_t first = block * query_block, count = std::min(query_block, m - first);
        s.distances(first, count, own_rows);
        for (int64_t i = 0; i < count; ++i)
          s.select(first + i, own_rows + i * padded, distance.as<T>() + (first + i) * k,
                   index.as<int64_t>() + (first + i) * k, orders.as<int64_t>() + worker * n);
      }
    });
  };
  if (m == 0 || k == 0) return;
  if (queries.dtype == DType::f32)
    search.template operator()<float>();
  else if (queries.dtype == DType::f64)
    search.template operator()<double>();
  else
    unsupported_dtype("nearest_neighbors", queries.dtype);
}

}  // namespace tessera::kernels::cpu
