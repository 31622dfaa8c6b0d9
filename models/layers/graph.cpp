#include "tessera/models/layers/graph.hpp"

#include <cmath>

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/models/init.hpp"

namespace tessera::models {
namespace {

struct Edges {
  std::vector<int64_t> row, col;
  std::vector<float> value;
};

Edges edges_of(const CsrMatrix& m) {
  Edges e;
  const auto row_ptr = m.row_ptr.values<int32_t>(), col = m.col.values<int32_t>();
  e.value.assign(col.size(), 1.0f);
  if (m.values.defined())
    e.value = autograd::convert(m.values.to(Device::cpu()), DType::f32).values<float>();
  for (int64_t r = 0; r < m.rows; ++r) {
    for (int32_t k = row_ptr[static_cast<size_t>(r)]; k < row_ptr[static_cast<size_t>(r) + 1];
         ++k) {
      e.row.push_back(r);
      e.col.push_back(col[static_cast<size_t>(k)]);
    }
  }
  return e;
}

void add_loops(Edges& e, int64_t n) {
  for (int64_t i = 0; i < n; ++i) {
    e.row.push_back(i);
    e.col.push_back(i);
    e.value.push_back(1.0f);
  }
}

std::vector<double> row_sums(const Edges& e, int64_t rows) {
  std::vector<double> sums(static_cast<size_t>(rows));
  for (size_t k = 0; k < e.row.size(); ++k) sums[static_cast<size_t>(e.row[k])] += e.value[k];
  return sums;
}

}  // namespace

CsrMatrix symmetric_normalized(const CsrMatrix& adjacency, bool add_self_loops) {
  TS_CHECK(adjacency.rows == adjacency.cols, "symmetric_normalized: the adjacency is ", adjacency);
  Edges e = edges_of(adjacency);
  if (add_self_loops) add_loops(e, adjacency.rows);
  const std::vector<double> degree = row_sums(e, adjacency.rows);
  for (size_t k = 0; k < e.row.size(); ++k) {
    const double d = degree[static_cast<size_t>(e.row[k])] * degree[static_cast<size_t>(e.col[k])];
    e.value[k] = d > 0 ? static_cast<float>(e.value[k] / std::sqrt(d)) : 0.0f;
  }
  CsrMatrix out = CsrMatrix::from_edges(adjacency.rows, adjacency.cols, e.row, e.col, e.value, {});
  out.symmetric = adjacency.symmetric;
  return out.to(adjacency.device());
}

CsrMatrix row_normalized(const CsrMatrix& matrix, bool add_self_loops) {
  TS_CHECK(!add_self_loops || matrix.rows == matrix.cols, "row_normalized: self-loops for ",
           matrix);
  Edges e = edges_of(matrix);
  if (add_self_loops) add_loops(e, matrix.rows);
  const std::vector<double> sums = row_sums(e, matrix.rows);
  for (size_t k = 0; k < e.row.size(); ++k) {
    const double s = sums[static_cast<size_t>(e.row[k])];
    e.value[k] = s != 0 ? static_cast<float>(e.value[k] / s) : 0.0f;
  }
  return CsrMatrix::from_edges(matrix.rows, matrix.cols, e.row, e.col, e.value, {})
      .to(matrix.device());
}

NodeFeatures::NodeFeatures(CsrMatrix sparse) {
  if (!sparse.values.defined())
    sparse = sparse.with_values(autograd::full({sparse.nnz()}, 1.0, DType::f32, sparse.device()));
  sparse_.emplace(std::move(sparse));
}

int64_t NodeFeatures::nodes() const { return sparse_ ? sparse_->rows() : dense_.size(0); }
int64_t NodeFeatures::width() const { return sparse_ ? sparse_->columns() : dense_.size(1); }

Var NodeFeatures::times(const Var& weight, double dropout, ForwardContext& context) const {
  const bool drop = context.training && dropout > 0;
  if (!sparse_) {
    Var x = dense_;
    if (drop) x = autograd::dropout(x, dropout, context.rng.take(x.numel()));
    return autograd::matmul(x, weight);
  }
  if (!drop) return autograd::spmm(*sparse_, weight);
  const Var kept =
      autograd::dropout(sparse_->matrix().values, dropout, context.rng.take(sparse_->entries()));
  return autograd::spmm(*sparse_, kept, weight);
}

GraphConv GraphConv::make(int64_t in, int64_t out, Rng& rng, bool with_bias) {
  GraphConv layer;
  layer.weight = glorot_uniform({in, out}, in, out, rng);
  if (with_bias) layer.bias = constant({out}, 0.0);
  return layer;
}

Var GraphConv::operator()(const autograd::SparseMatrix& adjacency, const Var& x) const {
  const Var y = autograd::spmm(adjacency, autograd::matmul(x, weight));
  return bias.defined() ? y + bias : y;
}

Var GraphConv::operator()(const autograd::SparseMatrix& adjacency, const NodeFeatures& x,
                          double dropout, ForwardContext& context) const {
  const Var y = autograd::spmm(adjacency, x.times(weight, dropout, context));
  return bias.defined() ? y + bias : y;
}

}  // namespace tessera::models
