#include "tessera/algorithms/trihom/feature_homophily.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tessera/runtime/rng.hpp"

namespace tessera::algorithms::trihom {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

size_t at(int64_t i) { return static_cast<size_t>(i); }

double finite_or_nan(double value) { return std::isfinite(value) ? value : nan; }

template <class F>
void each_entry(const FeatureRows& x, size_t row, F&& f) {
  for (size_t e = at(x.first[row]); e < at(x.first[row + 1]); ++e) f(at(x.column[e]), x.value[e]);
}

/// Inner products x_i . x_j of all edge ends, in the order of `neighbours`. Each edge is computed
/// once, from its lower node, whose features lie spread out; a self-loop is one end.
std::vector<double> products_of_ends(const Neighbours& neighbours, const FeatureRows& x) {
  std::vector<double> products(at(neighbours.ends())), spread(at(x.features));
  std::vector<int32_t> next = neighbours.first;  // the next end of every node with a lower one
  for (size_t i = 0; i < at(neighbours.nodes()); ++i) {
    each_entry(x, i, [&](size_t f, double value) { spread[f] = value; });
    for (int32_t e = next[i]; e < neighbours.first[i + 1]; ++e) {
      const size_t j = at(neighbours.node[at(e)]);
      double product = 0;
      each_entry(x, j, [&](size_t f, double value) { product += spread[f] * value; });
      products[at(e)] = products[at(next[j]++)] = product;
    }
    each_entry(x, i, [&](size_t f, double) { spread[f] = 0; });
  }
  return products;
}

std::vector<double> squared_norms(const FeatureRows& x) {
  std::vector<double> norms(at(x.rows()));
  for (size_t i = 0; i < norms.size(); ++i)
    each_entry(x, i, [&](size_t, double value) { norms[i] += value * value; });
  return norms;
}

void similarities(const LabelledGraph& graph, const std::vector<double>& products,
                  const std::vector<double>& norms, FeatureMetrics& out) {
  const Neighbours& n = graph.with_loops;
  const auto nodes = static_cast<double>(graph.nodes());
  std::vector<double> cosine_of_class(at(graph.classes())), distance_of_class(cosine_of_class);
  double cosines = 0;
  for (size_t i = 0; i < graph.label.size(); ++i) {
    double cosine = 0, own = 0, distance = 0;  // own: of a self-loop
    for (size_t e = at(n.first[i]); e < at(n.first[i + 1]); ++e) {
      const double other = norms[at(n.node[e])], scale = norms[i] * other;
      if (scale > 0) cosine += products[e] / std::sqrt(scale);
      if (scale > 0 && at(n.node[e]) == i) own = 1;
      distance += std::sqrt(std::max(0.0, norms[i] + other - 2 * products[e]));
    }
    cosines += cosine - own;
    if (const int32_t d = n.degree(i); d > 0) {
      cosine_of_class[at(graph.label[i])] += cosine / d;
      distance_of_class[at(graph.label[i])] -= distance / d;
    }
  }
  const auto sum = [](const std::vector<double>& v) {
    return std::accumulate(v.begin(), v.end(), 0.0);
  };
  out.graph.generalized_edge = cosines / static_cast<double>(graph.neighbours.ends());
  out.graph.local_cosine = sum(cosine_of_class) / nodes;
  out.graph.local_euclidean = sum(distance_of_class) / nodes;
  for (size_t c = 0; c < cosine_of_class.size(); ++c) {
    const auto size = static_cast<double>(graph.class_size[c]);
    out.local_cosine.push_back(cosine_of_class[c] / size);
    out.local_euclidean.push_back(distance_of_class[c] / size);
  }
}

/// Calls row(i, columns, sums) with row i of A X: `columns` are those that a neighbour has an entry
/// in, sums[f] the sums there, zeros elsewhere.
template <class F>
void each_aggregated_row(const Neighbours& neighbours, const FeatureRows& x, F&& row) {
  std::vector<double> sums(at(x.features));
  std::vector<int32_t> last(at(x.features), -1);  // the row that touched a column
  std::vector<size_t> columns;
  for (size_t i = 0; i < at(neighbours.nodes()); ++i) {
    columns.clear();
    for (size_t e = at(neighbours.first[i]); e < at(neighbours.first[i + 1]); ++e)
      each_entry(x, at(neighbours.node[e]), [&](size_t f, double value) {
        if (last[f] != static_cast<int32_t>(i)) {
          last[f] = static_cast<int32_t>(i);
          columns.push_back(f);
        }
        sums[f] += value;
      });
    row(i, std::as_const(columns), std::as_const(sums));
    for (const size_t f : columns) sums[f] = 0;
  }
}

void attribute(const Neighbours& neighbours, const FeatureRows& x, FeatureMetrics& out) {
  std::vector<double> agreement(at(x.features)), total(at(x.features));
  for (size_t i = 0; i < at(x.rows()); ++i)
    each_entry(x, i, [&](size_t f, double value) { total[f] += value; });
  each_aggregated_row(neighbours, x, [&](size_t i, const auto&, const std::vector<double>& sums) {
    each_entry(x, i, [&](size_t f, double value) {
      if (sums[f] != 0) agreement[f] += value * sums[f] / neighbours.degree(i);
    });
  });
  double all = 0;
  for (size_t f = 0; f < agreement.size(); ++f) {
    out.attribute.push_back(agreement[f] / (total[f] == 0 ? 1 : total[f]));
    all += out.attribute.back();
  }
  out.graph.attribute = all / static_cast<double>(x.features);
}

/// Means of the classes, [classes, features].
std::vector<double> class_means(const LabelledGraph& graph, const FeatureRows& x) {
  const size_t width = at(x.features);
  std::vector<double> means(at(graph.classes()) * width);
  for (size_t i = 0; i < graph.label.size(); ++i)
    each_entry(x, i,
               [&](size_t f, double value) { means[at(graph.label[i]) * width + f] += value; });
  for (size_t c = 0; c < at(graph.classes()); ++c)
    for (size_t f = 0; f < width; ++f)
      means[c * width + f] /= static_cast<double>(graph.class_size[c]);
  return means;
}

/// With m_a the mean of class a, |x'_i - x'_j|^2 is expanded into x_i . x_j, x_i . m_a and m_a .
/// m_b, so that features may be sparse. The mean of all x' is 0.
double class_controlled(const LabelledGraph& graph, const FeatureRows& x,
                        const std::vector<double>& products, const std::vector<double>& norms,
                        Mode mode) {
  const Neighbours& n = graph.with_loops;
  const size_t classes = at(graph.classes()), width = at(x.features);
  const std::vector<double> means = class_means(graph, x);
  std::vector<double> with_mean(graph.label.size() * classes);  // x_i . m_c
  std::vector<double> between(classes * classes);               // m_a . m_b
  for (size_t i = 0; i < graph.label.size(); ++i)
    for (size_t c = 0; c < classes; ++c)
      each_entry(x, i, [&](size_t f, double value) {
        with_mean[i * classes + c] += value * means[c * width + f];
      });
  for (size_t a = 0; a < classes; ++a)
    for (size_t b = 0; b < classes; ++b)
      between[a * classes + b] =
          std::inner_product(means.begin() + static_cast<int64_t>(a * width),
                             means.begin() + static_cast<int64_t>((a + 1) * width),
                             means.begin() + static_cast<int64_t>(b * width), 0.0);

  // x'_i . x'_j
  const auto controlled = [&](size_t i, size_t j, double product) {
    const size_t a = at(graph.label[i]), b = at(graph.label[j]);
    return product - with_mean[i * classes + b] - with_mean[j * classes + a] +
           between[a * classes + b];
  };
  std::vector<double> own(graph.label.size()), distance(products.size());
  for (size_t i = 0; i < own.size(); ++i) own[i] = controlled(i, i, norms[i]);
  for (size_t i = 0; i < own.size(); ++i)
    for (size_t e = at(n.first[i]); e < at(n.first[i + 1]); ++e) {
      const size_t j = at(n.node[e]);
      distance[e] = own[i] + own[j] - 2 * controlled(i, j, products[e]);
    }
  if (mode == Mode::compat && distance.size() < own.size()) return nan;
  double level = 0, base = 0;
  const double distances = std::accumulate(distance.begin(), distance.end(), 0.0);
  for (size_t i = 0; i < own.size(); ++i) {
    base += 2 * own[i];
    level += n.degree(i) * (2 * own[i] - (mode == Mode::compat ? distance[i] : 0));
  }
  if (mode == Mode::correct) level -= distances;
  return finite_or_nan(level / std::max(base, distances));  // all three are sums over nodes
}

}  // namespace

FeatureMetrics feature_homophily(const LabelledGraph& graph, const FeatureRows& features,
                                 Mode mode) {
  const FeatureRows x = l1_normalized(features);
  const std::vector<double> products = products_of_ends(graph.with_loops, x),
                            norms = squared_norms(x);
  FeatureMetrics out;
  similarities(graph, products, norms, out);
  attribute(graph.with_loops, x, out);
  out.graph.class_controlled = class_controlled(graph, x, products, norms, mode);
  return out;
}

namespace {

constexpr int grid_steps = 100;  // on each side of 0

/// 2 / N ln det(I - h A / rho) for h = -1, ..., 1 in steps of 1 / grid_steps: -sum_k h^k t_k / k
/// with t_k the mean of the diagonal of (A / rho)^k, for k <= 2 exactly and else estimated with
/// random signs (Hutchinson 1990), the same in every call. Cut off at k = 40.
std::vector<double> log_determinants(const Neighbours& neighbours, double spectral_radius) {
  constexpr size_t terms = 40, probes = 16;
  const size_t nodes = at(neighbours.nodes());
  std::vector<double> traces(terms + 2);
  std::vector<double> signs(nodes), now, next(nodes);
  Rng rng(0);
  for (size_t probe = 0; probe < probes; ++probe) {
    for (double& sign : signs) sign = rng.next_word() >> 31 ? 1 : -1;
    now = signs;
    for (size_t k = 0; 2 * k <= terms; ++k) {  // now = (A / rho)^k signs
      for (size_t i = 0; i < nodes; ++i) {
        double sum = 0;
        for (size_t e = at(neighbours.first[i]); e < at(neighbours.first[i + 1]); ++e)
          sum += now[at(neighbours.node[e])];
        next[i] = sum / spectral_radius;
      }
      for (size_t i = 0; i < nodes; ++i) {
        traces[2 * k] += now[i] * now[i] / probes;
        traces[2 * k + 1] += now[i] * next[i] / probes;
      }
      std::swap(now, next);
    }
  }
  traces[1] = 0;
  traces[2] = static_cast<double>(neighbours.ends()) / (spectral_radius * spectral_radius);
  std::vector<double> out;
  for (int step = -grid_steps; step <= grid_steps; ++step) {
    const double h = static_cast<double>(step) / grid_steps;
    double sum = 0, power = 1;
    for (size_t k = 1; k <= terms; ++k) {
      power *= h;
      sum -= power * traces[k] / static_cast<double>(k);
    }
    out.push_back(2 * sum / static_cast<double>(nodes));
  }
  return out;
}

/// Where ln V - log_determinants is least: on the grid, then on the parabola through the least
/// value and its neighbours.
double most_likely(double pp, double pq, double qq, double spectral_radius,
                   const std::vector<double>& log_determinant) {
  const auto value = [&](size_t k) {
    const double w = (static_cast<double>(k) / grid_steps - 1) / spectral_radius;
    return std::log(std::max(pp - 2 * w * pq + w * w * qq, 1e-300)) - log_determinant[k];
  };
  size_t best = 0;
  for (size_t k = 1; k < log_determinant.size(); ++k)
    if (value(k) < value(best)) best = k;
  double place = static_cast<double>(best);
  if (best > 0 && best + 1 < log_determinant.size()) {
    const double before = value(best - 1), after = value(best + 1),
                 bend = before - 2 * value(best) + after;
    if (bend > 0) place += 0.5 * (before - after) / bend;
  }
  return place / grid_steps - 1;
}

}  // namespace

// With mu the mean of a feature, d the degrees, Y = A X: <P, Q> = <X - class means, Y - mu d> and
// <Q, Q> = |Y - mu d|^2 - sum_c n_c (class mean)^2, from sums over the entries of X and Y alone.
GraphFilter feature_filter_homophily(const LabelledGraph& graph, const FeatureRows& x,
                                     double spectral_radius, Mode mode) {
  const Neighbours& n = graph.neighbours;
  const size_t classes = at(graph.classes()), width = at(x.features);
  const std::vector<double> means = class_means(graph, x);
  std::vector<double> ends(classes);  // of edges at each class: sums of d
  double squared_degrees = 0;
  for (size_t i = 0; i < graph.label.size(); ++i) {
    const double d = n.degree(i);
    ends[at(graph.label[i])] += d;
    squared_degrees += d * d;
  }
  std::vector<double> x_x(width), x_y(width), y_y(width), x_d(width), y_d(width);
  std::vector<double> y_of_class(classes * width);
  each_aggregated_row(n, x, [&](size_t i, const auto& columns, const std::vector<double>& y) {
    const double d = n.degree(i);
    double* const of_class = y_of_class.data() + at(graph.label[i]) * width;
    for (const size_t f : columns) {
      y_y[f] += y[f] * y[f];
      y_d[f] += y[f] * d;
      of_class[f] += y[f];
    }
    each_entry(x, i, [&](size_t f, double value) {
      x_x[f] += value * value;
      x_y[f] += value * y[f];
      x_d[f] += value * d;
    });
  });
  std::vector<int64_t> entries(width);
  constexpr double infinity = std::numeric_limits<double>::infinity();
  std::vector<double> least(width, infinity), greatest(width, -infinity);
  for (size_t e = 0; e < x.value.size(); ++e) {
    const size_t f = at(x.column[e]);
    ++entries[f];
    least[f] = std::min(least[f], x.value[e]);
    greatest[f] = std::max(greatest[f], x.value[e]);
  }

  const std::vector<double> log_determinant = mode == Mode::correct && spectral_radius > 0
                                                  ? log_determinants(n, spectral_radius)
                                                  : std::vector<double>{};
  GraphFilter out;
  double sum = 0;
  int64_t count = 0;
  for (size_t f = 0; f < width; ++f) {
    double mu = 0;
    for (size_t c = 0; c < classes; ++c)
      mu += means[c * width + f] * static_cast<double>(graph.class_size[c]);
    mu /= static_cast<double>(graph.nodes());
    double pp = x_x[f], pq = x_y[f] - mu * x_d[f];
    double qq = y_y[f] - 2 * mu * y_d[f] + mu * mu * squared_degrees;
    const double whole = qq;
    for (size_t c = 0; c < classes; ++c) {
      const double q = y_of_class[c * width + f] - mu * ends[c];
      const double m = means[c * width + f];
      pp -= m * m * static_cast<double>(graph.class_size[c]);
      pq -= m * q;
      qq -= q * q / static_cast<double>(graph.class_size[c]);
    }
    const bool constant =
        entries[f] == 0 || (entries[f] == graph.nodes() && least[f] == greatest[f]);
    double h = nan;
    if (!constant && qq > 1e-12 * whole) {
      h = mode == Mode::correct
              ? most_likely(pp, pq, qq, spectral_radius, log_determinant)
              : std::round(grid_steps * std::clamp(spectral_radius * pq / qq, -1.0, 1.0)) /
                    grid_steps;
      sum += h;
      ++count;
    }
    out.by_feature.push_back(h);
  }
  out.mean = count > 0 ? sum / static_cast<double>(count) : nan;
  return out;
}

}  // namespace tessera::algorithms::trihom
