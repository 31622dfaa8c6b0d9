#include "tessera/models/layers/graph/structural_proximity.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "tessera/runtime/error.hpp"

namespace tessera::models {
namespace {

/// A sorted sequence of degrees, equal ones together.
struct Run {
  int64_t degree, count;
};
using Sequence = std::vector<Run>;

struct Neighbours {
  std::vector<std::vector<int64_t>> of;  // sorted, without the node itself

  explicit Neighbours(const CsrMatrix& m) : of(static_cast<size_t>(m.rows)) {
    const auto row_ptr = m.row_ptr.values<int32_t>(), col = m.col.values<int32_t>();
    for (size_t i = 0; i < of.size(); ++i) {
      for (auto e = row_ptr[i]; e < row_ptr[i + 1]; ++e)
        if (const int64_t j = col[static_cast<size_t>(e)]; j != static_cast<int64_t>(i))
          of[i].push_back(j);
      std::sort(of[i].begin(), of[i].end());
      of[i].erase(std::unique(of[i].begin(), of[i].end()), of[i].end());
    }
  }
  int64_t degree(int64_t i) const { return std::ssize(of[static_cast<size_t>(i)]); }
};

/// [node][radius]: degrees on each ring, up to the last that is not empty.
std::vector<std::vector<Sequence>> rings_of(const Neighbours& neighbours, int64_t radii) {
  const size_t n = neighbours.of.size();
  std::vector<std::vector<Sequence>> rings(n);
  std::vector<size_t> seen(n, n);
  for (size_t start = 0; start < n; ++start) {
    std::vector<int64_t> ring{static_cast<int64_t>(start)}, next;
    seen[start] = start;
    for (int64_t k = 0; k < radii && !ring.empty(); ++k) {
      std::vector<int64_t> degrees;
      degrees.reserve(ring.size());
      for (const int64_t i : ring) degrees.push_back(neighbours.degree(i));
      std::sort(degrees.begin(), degrees.end());
      Sequence sequence;
      for (const int64_t d : degrees) {
        if (sequence.empty() || sequence.back().degree != d) sequence.push_back({d, 0});
        ++sequence.back().count;
      }
      rings[start].push_back(std::move(sequence));
      next.clear();
      for (const int64_t i : ring)
        for (const int64_t j : neighbours.of[static_cast<size_t>(i)])
          if (std::exchange(seen[static_cast<size_t>(j)], start) != start) next.push_back(j);
      std::swap(ring, next);
    }
  }
  return rings;
}

/// Dynamic time warping of two sequences that are not empty.
double warped_distance(const Sequence& a, const Sequence& b) {
  const auto cost = [](const Run& x, const Run& y) {
    const auto [low, high] = std::minmax(x.degree, y.degree);
    return ((static_cast<double>(high) + 0.5) / (static_cast<double>(low) + 0.5) - 1) *
           static_cast<double>(std::max(x.count, y.count));
  };
  constexpr double unreachable = std::numeric_limits<double>::infinity();
  std::vector<double> above(b.size() + 1, unreachable), row(b.size() + 1, unreachable);
  above[0] = 0;
  for (const Run& x : a) {
    row[0] = unreachable;
    for (size_t j = 0; j < b.size(); ++j)
      row[j + 1] = cost(x, b[j]) + std::min({above[j], above[j + 1], row[j]});
    std::swap(above, row);
  }
  return above.back();
}

/// Pairs (u, v), u < v, sorted, of which one is near the other in the order of degrees.
std::vector<std::pair<int64_t, int64_t>> compared_pairs(const Neighbours& neighbours) {
  const auto n = std::ssize(neighbours.of);
  std::vector<int64_t> order(static_cast<size_t>(n));
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return neighbours.degree(a) < neighbours.degree(b);
  });
  const int64_t wanted = std::min<int64_t>(
      n - 1, 2 * std::bit_width(static_cast<uint64_t>(std::max<int64_t>(n - 1, 0))));
  std::vector<std::pair<int64_t, int64_t>> pairs;
  for (int64_t at = 0; at < n; ++at) {
    const int64_t u = order[static_cast<size_t>(at)];
    int64_t below = at - 1, above = at + 1;
    for (int64_t taken = 0; taken < wanted; ++taken) {
      const auto away = [&](int64_t i) {
        return std::abs(neighbours.degree(order[static_cast<size_t>(i)]) - neighbours.degree(u));
      };
      const bool lower = above >= n || (below >= 0 && away(below) <= away(above));
      const int64_t v = order[static_cast<size_t>(lower ? below-- : above++)];
      pairs.push_back(std::minmax(u, v));
    }
  }
  std::sort(pairs.begin(), pairs.end());
  pairs.erase(std::unique(pairs.begin(), pairs.end()), pairs.end());
  return pairs;
}

CsrMatrix symmetric_matrix(int64_t n, const std::vector<std::pair<int64_t, int64_t>>& pairs,
                           const std::vector<double>& weights) {
  std::vector<std::vector<std::pair<int32_t, double>>> rows(static_cast<size_t>(n));
  for (size_t p = 0; p < pairs.size(); ++p) {
    const auto [u, v] = pairs[p];
    rows[static_cast<size_t>(u)].emplace_back(static_cast<int32_t>(v), weights[p]);
    rows[static_cast<size_t>(v)].emplace_back(static_cast<int32_t>(u), weights[p]);
  }
  std::vector<int32_t> row_ptr{0}, col;
  std::vector<double> values;
  for (auto& row : rows) {
    std::sort(row.begin(), row.end());
    for (const auto& [j, weight] : row) col.push_back(j), values.push_back(weight);
    row_ptr.push_back(static_cast<int32_t>(col.size()));
  }
  const auto entries = std::ssize(col);
  CsrMatrix matrix = CsrMatrix::from_parts(n, n, Tensor::from(row_ptr, {n + 1}, Device::cpu()),
                                           Tensor::from(col, {entries}, Device::cpu()),
                                           Tensor::from(values, {entries}, Device::cpu()));
  matrix.symmetric = true;
  return matrix;
}

}  // namespace

std::vector<CsrMatrix> structural_proximity(const CsrMatrix& adjacency, int64_t radii) {
  TS_CHECK(adjacency.rows == adjacency.cols && adjacency.device() == Device::cpu(),
           "structural_proximity: wanted a square matrix on cpu, have ", adjacency);
  TS_CHECK(radii >= 0, "structural_proximity: ", radii, " radii");
  const Neighbours neighbours(adjacency);
  const auto rings = rings_of(neighbours, radii);
  auto pairs = compared_pairs(neighbours);
  std::vector<double> distance(pairs.size(), 0.0);
  std::vector<CsrMatrix> result;
  for (size_t k = 0; k < static_cast<size_t>(radii); ++k) {
    std::vector<std::pair<int64_t, int64_t>> kept;
    std::vector<double> sums, weights;
    for (size_t p = 0; p < pairs.size(); ++p) {
      const auto& a = rings[static_cast<size_t>(pairs[p].first)];
      const auto& b = rings[static_cast<size_t>(pairs[p].second)];
      if (k >= a.size() || k >= b.size()) continue;
      kept.push_back(pairs[p]);
      sums.push_back(distance[p] + warped_distance(a[k], b[k]));
      weights.push_back(std::exp(-sums.back()));
    }
    result.push_back(symmetric_matrix(adjacency.rows, kept, weights));
    pairs = std::move(kept);
    distance = std::move(sums);
  }
  return result;
}

}  // namespace tessera::models
