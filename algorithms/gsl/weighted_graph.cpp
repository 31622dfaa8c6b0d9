#include "tessera/algorithms/gsl/weighted_graph.hpp"

#include <algorithm>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/neighbors.hpp"
#include "tessera/autograd/ops/reduction.hpp"

namespace tessera::algorithms::gsl {
namespace {

constexpr double tiny = 1e-12;

constexpr size_t at(int64_t i) { return static_cast<size_t>(i); }

}  // namespace

Var unit_rows(const Var& x) {
  return x * autograd::rsqrt(autograd::sum(autograd::square(x), {-1}, true) + tiny);
}

Var propagate(const WeightedGraph& graph, const Var& x) {
  const Tensor ones =
      autograd::full({graph.pattern.columns(), 1}, 1.0, x.dtype(), graph.pattern.device());
  const Var scale = autograd::rsqrt(autograd::spmm(graph.pattern, graph.weights, ones) + tiny);
  return scale * autograd::spmm(graph.pattern, graph.weights, scale * x);
}

JoinedPattern joined(std::span<const CsrMatrix> matrices, Device device) {
  TS_CHECK(!matrices.empty(), "joined: no matrices");
  const int64_t rows = matrices.front().rows, cols = matrices.front().cols;
  std::vector<int64_t> row, col;
  for (const CsrMatrix& m : matrices) {
    TS_CHECK(m.rows == rows && m.cols == cols, "joined: ", m, " with ", matrices.front());
    const auto first = m.row_ptr.host<int32_t>(), to = m.col.host<int32_t>();
    for (int64_t i = 0; i < rows; ++i)
      for (int32_t e = first[at(i)]; e < first[at(i) + 1]; ++e) {
        row.push_back(i);
        col.push_back(to[at(e)]);
      }
  }
  const CsrMatrix all = CsrMatrix::from_edges(rows, cols, row, col);
  const auto begin = all.row_ptr.host<int32_t>(), column = all.col.host<int32_t>();
  JoinedPattern result{autograd::SparseMatrix(all.to(device)), {}};
  for (const CsrMatrix& m : matrices) {
    const auto first = m.row_ptr.host<int32_t>(), to = m.col.host<int32_t>();
    const std::vector<float> own =
        m.values.defined() ? m.values.values<float>() : std::vector<float>(to.size(), 1.0f);
    std::vector<float> values(column.size());
    for (int64_t i = 0; i < rows; ++i)
      for (int32_t e = first[at(i)]; e < first[at(i) + 1]; ++e) {
        const auto place = std::lower_bound(column.begin() + begin[at(i)],
                                            column.begin() + begin[at(i) + 1], to[at(e)]);
        values[at(place - column.begin())] = own[at(e)];
      }
    result.values.push_back(Tensor::from(values, {static_cast<int64_t>(values.size())}, device));
  }
  return result;
}

double weighted_homophily(const CsrMatrix& pattern, const Tensor& weights, const Tensor& labels) {
  const auto first = pattern.row_ptr.values<int32_t>(), to = pattern.col.values<int32_t>();
  const auto label = labels.values<int32_t>();
  const auto weight = weights.values<float>();
  double same = 0, all = 0;
  for (size_t i = 0; i < label.size(); ++i)
    for (int32_t e = first[i]; e < first[i + 1]; ++e) {
      if (at(to[at(e)]) == i) continue;
      all += weight[at(e)];
      if (label[i] == label[at(to[at(e)])]) same += weight[at(e)];
    }
  return same / all;
}

CsrMatrix identity_matrix(int64_t n) {
  return CsrMatrix::from_edges(n, n, {}, {}, {.self_loops = EdgeOptions::SelfLoops::add});
}

CsrMatrix neighbour_choices(const Tensor& x, int64_t k) {
  const int64_t n = x.size(0);
  const autograd::Neighbors found = autograd::nearest_neighbors(
      x, x, std::min(k, n - 1), {.metric = autograd::Metric::cosine, .exclude_same_index = true});
  const std::vector<int64_t> to = found.index.values<int64_t>();
  const int64_t chosen = found.index.size(1);
  std::vector<int64_t> from;
  for (int64_t i = 0; i < n; ++i) from.insert(from.end(), at(chosen), i);
  return CsrMatrix::from_edges(n, n, from, to, std::vector<float>(to.size(), 1.0f),
                               {.symmetrize = true});
}

}  // namespace tessera::algorithms::gsl
