#include "tessera/models/layers/graph/operators.hpp"

#include <algorithm>
#include <cmath>
#include <mutex>
#include <vector>

#include "tessera/autograd/launch.hpp"
#include "tessera/models/layers/graph/structural_proximity.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::models {
namespace {

/// The row and column of every entry.
struct Edges {
  std::vector<int64_t> row, col;
};

Edges edges_of(const CsrMatrix& m) {
  Edges e;
  const auto row_ptr = m.row_ptr.values<int32_t>(), col = m.col.values<int32_t>();
  for (int64_t r = 0; r < m.rows; ++r) {
    const auto begin = static_cast<size_t>(row_ptr[static_cast<size_t>(r)]),
               end = static_cast<size_t>(row_ptr[static_cast<size_t>(r) + 1]);
    for (size_t k = begin; k < end; ++k) {
      e.row.push_back(r);
      e.col.push_back(col[k]);
    }
  }
  return e;
}

CsrMatrix without_values(const CsrMatrix& m, bool self_loops) {
  const Edges e = edges_of(m);
  EdgeOptions options;
  options.self_loops = self_loops ? EdgeOptions::SelfLoops::add : EdgeOptions::SelfLoops::remove;
  CsrMatrix pattern = CsrMatrix::from_edges(m.rows, m.cols, e.row, e.col, options);
  pattern.symmetric = m.symmetric;
  return pattern;
}

/// Every row's number of entries to `power`; 0 for an empty row.
Tensor degree_power(const CsrMatrix& m, double power) {
  const auto row_ptr = m.row_ptr.values<int32_t>();
  std::vector<double> factors(static_cast<size_t>(m.rows));
  for (size_t i = 0; i < factors.size(); ++i) {
    const double degree = row_ptr[i + 1] - row_ptr[i];
    factors[i] = degree > 0 ? std::pow(degree, power) : 0.0;
  }
  return Tensor::from(factors, {m.rows}, Device::cpu());
}

CsrMatrix strict_two_hop(const CsrMatrix& m) {
  const auto row_ptr = m.row_ptr.values<int32_t>(), col = m.col.values<int32_t>();
  const auto neighbours = [&](int64_t i) {
    return std::span(col).subspan(
        static_cast<size_t>(row_ptr[static_cast<size_t>(i)]),
        static_cast<size_t>(row_ptr[static_cast<size_t>(i) + 1] - row_ptr[static_cast<size_t>(i)]));
  };
  std::vector<int64_t> seen(static_cast<size_t>(m.rows), -1);
  std::vector<int32_t> first{0}, column;  // in place: A^2 may be nearly full
  for (int64_t i = 0; i < m.rows; ++i) {
    seen[static_cast<size_t>(i)] = i;
    for (const int32_t j : neighbours(i)) seen[static_cast<size_t>(j)] = i;
    for (const int32_t j : neighbours(i))
      for (const int32_t k : neighbours(j))
        if (std::exchange(seen[static_cast<size_t>(k)], i) != i) column.push_back(k);
    std::sort(column.begin() + first.back(), column.end());
    TS_CHECK(column.size() < INT32_MAX, "two_hop: ", m,
             " has more than 2^31 pairs two steps apart");
    first.push_back(static_cast<int32_t>(column.size()));
  }
  CsrMatrix pattern =
      CsrMatrix::from_parts(m.rows, m.cols, Tensor::from(first, {m.rows + 1}, Device::cpu()),
                            Tensor::from(column, {std::ssize(column)}, Device::cpu()));
  pattern.symmetric = m.symmetric;
  return pattern;
}

}  // namespace

struct GraphOperators::Data {
  CsrMatrix adjacency;  // on the host
  Device device;
  std::mutex mutex;
  std::map<std::string, autograd::SparseMatrix> made;
  std::map<int64_t, std::vector<WeightedPattern>> proximity;  // by number of radii
  Tensor values_f64, values_f32;                              // see symmetric_values

  template <class Make>
  const autograd::SparseMatrix& get(const std::string& name, Make&& make) {
    const std::lock_guard lock(mutex);
    const auto found = made.find(name);
    return found != made.end() ? found->second : made.emplace(name, make()).first->second;
  }
  autograd::SparseMatrix scaled(const CsrMatrix& pattern, double row_power,
                                double column_power) const {
    const auto factors = [&](double power) {
      return power == 0 ? Tensor() : degree_power(pattern, power).to(device);
    };
    const Tensor rows = factors(row_power);
    return autograd::SparseMatrix(pattern.to(device))
        .scaled(rows, column_power == row_power ? rows : factors(column_power));
  }
};

GraphOperators::GraphOperators(const CsrMatrix& adjacency, Device device)
    : data_(std::make_shared<Data>()) {
  TS_CHECK(adjacency.rows == adjacency.cols && adjacency.device() == Device::cpu(),
           "GraphOperators: wanted a square matrix on cpu, have ", adjacency);
  data_->adjacency = without_values(adjacency, false);
  data_->device = device;
}

int64_t GraphOperators::nodes() const { return data_->adjacency.rows; }
Device GraphOperators::device() const { return data_->device; }

const autograd::SparseMatrix& GraphOperators::pattern(bool self_loops) const {
  return data_->get(concat("pattern ", self_loops), [&] {
    return autograd::SparseMatrix(without_values(data_->adjacency, self_loops).to(data_->device));
  });
}

const autograd::SparseMatrix& GraphOperators::symmetric(bool self_loops) const {
  return data_->get(concat("symmetric ", self_loops), [&] {
    return data_->scaled(without_values(data_->adjacency, self_loops), -0.5, -0.5);
  });
}

const autograd::SparseMatrix& GraphOperators::random_walk(bool self_loops) const {
  return data_->get(concat("random walk ", self_loops), [&] {
    return data_->scaled(without_values(data_->adjacency, self_loops), -1, 0);
  });
}

Tensor GraphOperators::symmetric_values(DType dtype) const {
  const std::lock_guard lock(data_->mutex);
  Tensor& values = dtype == DType::f64 ? data_->values_f64 : data_->values_f32;
  if (!values.defined()) {
    const CsrMatrix& a = data_->adjacency;
    const auto row_ptr = a.row_ptr.values<int32_t>(), col = a.col.values<int32_t>();
    const auto factors = degree_power(a, -0.5).values<double>();
    std::vector<double> made;
    for (size_t i = 0; i < factors.size(); ++i)
      for (auto e = static_cast<size_t>(row_ptr[i]); e < static_cast<size_t>(row_ptr[i + 1]); ++e)
        made.push_back(factors[i] * factors[static_cast<size_t>(col[e])]);
    const Tensor wide = Tensor::from(made, {a.nnz(), 1}, Device::cpu());
    values =
        autograd::convert(wide, dtype == DType::f64 ? DType::f64 : DType::f32).to(data_->device);
  }
  return values;
}

const autograd::SparseMatrix& GraphOperators::two_hop() const {
  return data_->get("two hop",
                    [&] { return data_->scaled(strict_two_hop(data_->adjacency), -0.5, -0.5); });
}

const std::vector<WeightedPattern>& GraphOperators::structural(int64_t radii) const {
  const std::lock_guard lock(data_->mutex);
  const auto found = data_->proximity.find(radii);
  if (found != data_->proximity.end()) return found->second;
  std::vector<WeightedPattern> made;
  for (CsrMatrix& m : structural_proximity(data_->adjacency, radii)) {
    const Tensor weights = m.values.reshape({m.nnz(), 1});
    m.values = Tensor();
    made.push_back({autograd::SparseMatrix(m.to(data_->device)), weights.to(data_->device),
                    autograd::convert(weights, DType::f32).to(data_->device)});
  }
  return data_->proximity.emplace(radii, std::move(made)).first->second;
}

}  // namespace tessera::models
