#include "tessera/models/data/spectrum.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tessera::models {
namespace {

using Vector = std::vector<double>;

class Operator {
 public:
  explicit Operator(const CsrMatrix& a)
      : row_ptr_(a.row_ptr.host<int32_t>()), col_(a.col.host<int32_t>()), nodes_(a.rows) {
    TS_CHECK(a.rows == a.cols && !a.values.defined(), "expected a square matrix without values, ",
             "found ", to_string(a));
  }
  size_t size() const { return static_cast<size_t>(nodes_); }
  int32_t degree(size_t i) const { return row_ptr_[i + 1] - row_ptr_[i]; }
  void apply(std::span<const double> x, Vector& y) const {
    for (size_t i = 0; i < size(); ++i) {
      double sum = 0;
      for (int32_t e = row_ptr_[i]; e < row_ptr_[i + 1]; ++e)
        sum += x[static_cast<size_t>(col_[static_cast<size_t>(e)])];
      y[i] = sum;
    }
  }

 private:
  std::span<const int32_t> row_ptr_, col_;
  int64_t nodes_;
};

double dot(const Vector& x, const Vector& y) {
  return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
}

// Eigenvalues below `value` of the symmetric tridiagonal matrix (Sturm's count).
int eigenvalues_below(const Vector& diagonal, const Vector& beside, double value) {
  int count = 0;
  double d = 1;
  for (size_t i = 0; i < diagonal.size(); ++i) {
    const double b = i > 0 ? beside[i - 1] : 0;
    d = diagonal[i] - value - b * b / d;
    if (d == 0) d = -1e-300;
    count += d < 0;
  }
  return count;
}

// The largest absolute eigenvalue of a tridiagonal matrix whose spectrum lies in [-bound, bound].
double largest_magnitude(const Vector& diagonal, const Vector& beside, double bound) {
  const auto n = static_cast<int>(diagonal.size());
  double low = 0, high = bound;
  for (int i = 0; i < 200 && high - low > 1e-14 * bound; ++i) {
    const double middle = 0.5 * (low + high);
    const bool outside = eigenvalues_below(diagonal, beside, middle) < n ||
                         eigenvalues_below(diagonal, beside, -middle) > 0;
    (outside ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

}  // namespace

double spectral_radius(const CsrMatrix& adjacency) {
  const Operator a(adjacency);
  if (adjacency.nnz() == 0) return 0;
  // Positive, so that no component's leading vector is orthogonal to it.
  Vector v(a.size()), before(a.size()), w(a.size()), diagonal, beside;
  double bound = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    v[i] = 1 + a.degree(i);
    bound = std::max(bound, static_cast<double>(a.degree(i)));
  }
  const double norm = std::sqrt(dot(v, v));
  for (double& value : v) value /= norm;
  double radius = 0, beta = 0;
  const size_t steps = std::min<size_t>(a.size(), 300);
  for (size_t k = 0; k < steps; ++k) {
    a.apply(v, w);
    const double alpha = dot(v, w);
    for (size_t i = 0; i < w.size(); ++i) w[i] -= alpha * v[i] + beta * before[i];
    diagonal.push_back(alpha);
    beta = std::sqrt(dot(w, w));
    if (k % 5 == 4 || k + 1 == steps || beta < 1e-12 * bound) {
      const double now = largest_magnitude(diagonal, beside, bound * (1 + 1e-12));
      const bool settled = std::abs(now - radius) <= 1e-12 * now;
      radius = now;
      if (settled || beta < 1e-12 * bound) break;
    }
    beside.push_back(beta);
    for (size_t i = 0; i < w.size(); ++i) {
      before[i] = v[i];
      v[i] = w[i] / beta;
    }
  }
  return radius;
}

std::vector<double> solve_shifted(const CsrMatrix& adjacency, double weight,
                                  std::span<const double> b) {
  const Operator a(adjacency);
  TS_CHECK(b.size() == a.size(), "solve_shifted: ", b.size(), " values for ", to_string(adjacency));
  Vector x(b.size()), r(b.begin(), b.end()), p = r, ap(b.size());
  double rr = dot(r, r);
  const double enough = 1e-24 * rr;
  const size_t most = 10 * b.size() + 100;
  for (size_t step = 0; rr > enough; ++step) {
    a.apply(p, ap);
    for (size_t i = 0; i < p.size(); ++i) ap[i] = p[i] - weight * ap[i];
    const double curvature = dot(p, ap);
    TS_CHECK(step < most && curvature > 0, "solve_shifted: I - ", weight,
             " A is not positive definite, or too near to singular");
    const double alpha = rr / curvature;
    for (size_t i = 0; i < p.size(); ++i) {
      x[i] += alpha * p[i];
      r[i] -= alpha * ap[i];
    }
    const double next = dot(r, r), beta = next / rr;
    rr = next;
    for (size_t i = 0; i < p.size(); ++i) p[i] = r[i] + beta * p[i];
  }
  return x;
}

}  // namespace tessera::models
