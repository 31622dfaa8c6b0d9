#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "tessera/algorithms/hignn/hignn.hpp"
#include "tessera/models/data/synthetic.hpp"
#include "tessera/tests/support/close.hpp"

/// A small graph, what a first model could say of it, and dense matrices to compare with.
namespace tessera::algorithms::hignn {

using test::at;
using test::to_doubles;
using Doubles = std::vector<double>;

inline models::GraphData small_graph(int64_t nodes = 60, double homophily = 0.3) {
  return models::synthetic_graph({.nodes = nodes,
                                  .classes = 3,
                                  .features = 8,
                                  .degree = 5,
                                  .homophily = homophily,
                                  .feature_signal = 1.5,
                                  .splits = 3},
                                 Rng(5));
}

/// Row-major [rows, columns].
struct Matrix {
  int64_t rows = 0, columns = 0;
  Doubles values;

  Matrix(int64_t r, int64_t c) : rows(r), columns(c), values(at(r * c)) {}
  explicit Matrix(const Tensor& t) : Matrix(t.size(0), t.size(-1)) { values = to_doubles(t); }
  double& operator()(int64_t i, int64_t j) { return values[at(i * columns + j)]; }
  double operator()(int64_t i, int64_t j) const { return values[at(i * columns + j)]; }
  Matrix operator*(const Matrix& b) const {
    Matrix y(rows, b.columns);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t k = 0; k < columns; ++k)
        for (int64_t j = 0; j < b.columns; ++j) y(i, j) += (*this)(i, k) * b(k, j);
    return y;
  }
  template <class F>
  Matrix map(F&& f) const {
    Matrix y = *this;
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t j = 0; j < columns; ++j) y(i, j) = f(i, j);
    return y;
  }
  Matrix plus(const Matrix& b, double factor = 1) const {
    return map([&](int64_t i, int64_t j) { return (*this)(i, j) + factor * b(i, j); });
  }
  Matrix plus_bias(const models::Var& bias) const {
    const Doubles b = to_doubles(bias.value());
    return map([&](int64_t i, int64_t j) { return (*this)(i, j) + b[at(j)]; });
  }
  Matrix relu() const {
    return map([&](int64_t i, int64_t j) { return std::max((*this)(i, j), 0.0); });
  }
  double row_sum(int64_t i) const {
    double sum = 0;
    for (int64_t j = 0; j < columns; ++j) sum += (*this)(i, j);
    return sum;
  }
  /// D^row A D^column
  Matrix scaled(double row, double column) const {
    return map([&](int64_t i, int64_t j) {
      return (*this)(i, j) == 0
                 ? 0
                 : (*this)(i, j) * std::pow(row_sum(i), row) * std::pow(row_sum(j), column);
    });
  }
};

inline Matrix dense(const CsrMatrix& m) {
  const auto row_ptr = m.row_ptr.values<int32_t>(), col = m.col.values<int32_t>();
  Matrix a(m.rows, m.cols);
  Doubles values(at(m.nnz()), 1.0);
  if (m.values.defined()) values = to_doubles(m.values);
  for (int64_t i = 0; i < m.rows; ++i)
    for (int64_t e = row_ptr[at(i)]; e < row_ptr[at(i + 1)]; ++e) a(i, col[at(e)]) = values[at(e)];
  return a;
}
inline Matrix plus_identity(Matrix a) {
  for (int64_t i = 0; i < a.rows; ++i) a(i, i) += 1;
  return a;
}

inline constexpr Backbone backbones[] = {Backbone::acm_gcn, Backbone::gcn, Backbone::gat,
                                         Backbone::sage,    Backbone::sgc, Backbone::mixhop};

/// Probabilities that are the classes, but for some nodes.
inline Tensor imagined_probabilities(const models::GraphData& graph) {
  std::vector<float> p(at(graph.nodes * graph.classes), 0.1f);
  const auto labels = graph.labels.values<int32_t>();
  test::Numbers next(8);
  for (int64_t i = 0; i < graph.nodes; ++i) {
    const auto other = static_cast<int32_t>(next() % static_cast<uint32_t>(graph.classes));
    p[at(i * graph.classes + (i % 4 == 0 ? other : labels[at(i)]))] += 0.5f;
    p[at(i * graph.classes + other)] += 0.2f;
  }
  return Tensor::from(p, {graph.nodes, graph.classes}, Device::cpu());
}

}  // namespace tessera::algorithms::hignn
