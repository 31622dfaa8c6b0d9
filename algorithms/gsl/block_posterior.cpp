#include "tessera/algorithms/gsl/block_posterior.hpp"

#include <algorithm>
#include <cmath>

#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::gsl {
namespace {

constexpr size_t at(int64_t i) { return static_cast<size_t>(i); }

/// How often each pair i < j was seen, of those that were.
struct Seen {
  std::vector<int64_t> from, to, times;
};

Seen count_pairs(std::span<const CsrMatrix> observations) {
  Seen seen;
  const int64_t n = observations.front().rows;
  std::vector<int64_t> times(at(n)), columns;
  for (int64_t i = 0; i < n; ++i) {
    columns.clear();
    for (const CsrMatrix& o : observations) {
      const auto first = o.row_ptr.host<int32_t>(), col = o.col.host<int32_t>();
      for (int32_t e = first[at(i)]; e < first[at(i) + 1]; ++e) {
        const int64_t j = col[at(e)];
        if (j <= i) continue;
        if (times[at(j)]++ == 0) columns.push_back(j);
      }
    }
    std::sort(columns.begin(), columns.end());
    for (const int64_t j : columns) {
      seen.from.push_back(i);
      seen.to.push_back(j);
      seen.times.push_back(times[at(j)]);
      times[at(j)] = 0;
    }
  }
  return seen;
}

}  // namespace

BlockPosterior block_posterior(std::span<const CsrMatrix> observations,
                               std::span<const int32_t> labels, int64_t classes, double threshold,
                               double tolerance) {
  TS_CHECK(!observations.empty(), "block_posterior: no observations");
  const auto n = static_cast<int64_t>(labels.size());
  for (const CsrMatrix& o : observations)
    TS_CHECK(o.rows == n && o.cols == n, "block_posterior: ", o, " of ", n, " nodes");
  std::vector<double> members(at(classes));
  for (const int32_t label : labels) {
    TS_CHECK(label >= 0 && label < classes, "block_posterior: label ", label, " of ", classes,
             " classes");
    ++members[at(label)];
  }
  const size_t most = observations.size(), blocks = at(classes * classes);
  // pairs[e * blocks + c * classes + d], c <= d: of classes c and d, seen e times.
  std::vector<double> pairs((most + 1) * blocks);
  const auto block = [&](int32_t a, int32_t b) {
    return at(std::min(a, b) * classes + std::max(a, b));
  };
  const Seen seen = count_pairs(observations);
  for (size_t p = 0; p < seen.from.size(); ++p)
    ++pairs[at(seen.times[p]) * blocks + block(labels[at(seen.from[p])], labels[at(seen.to[p])])];
  std::vector<double> all(blocks);
  for (int64_t c = 0; c < classes; ++c)
    for (int64_t d = c; d < classes; ++d) {
      const size_t b = at(c * classes + d);
      all[b] = c == d ? members[at(c)] * (members[at(c)] - 1) / 2 : members[at(c)] * members[at(d)];
      pairs[b] = all[b];
      for (size_t e = 1; e <= most; ++e) pairs[b] -= pairs[e * blocks + b];
    }

  BlockPosterior result{.true_positive = 0.7,
                        .false_positive = 0,
                        .prior = std::vector<double>(blocks),
                        .rounds = 0,
                        .graph = {}};
  const auto inside = [](double p) { return std::clamp(p, 1e-9, 1 - 1e-9); };
  double total = 0;
  for (size_t b = 0; b < blocks; ++b) {
    total += all[b];
    if (all[b] > 0) result.prior[b] = inside(1 - pairs[b] / all[b]);
  }
  result.false_positive = total > 0 ? inside(static_cast<double>(seen.from.size()) / total) : 0.5;
  std::vector<double> q(pairs.size());
  const auto estimate = [&] {
    double change = 0;
    for (size_t e = 0; e <= most; ++e) {
      const auto times = static_cast<double>(e), others = static_cast<double>(most - e);
      const double a =
          times * std::log(result.true_positive) + others * std::log1p(-result.true_positive);
      const double b =
          times * std::log(result.false_positive) + others * std::log1p(-result.false_positive);
      for (size_t c = 0; c < blocks; ++c) {
        const double w = inside(result.prior[c]);
        const double now = 1 / (1 + (1 - w) / w * std::exp(b - a));
        if (pairs[e * blocks + c] > 0) change = std::max(change, std::abs(now - q[e * blocks + c]));
        q[e * blocks + c] = now;
      }
    }
    return change;
  };
  while (estimate() > tolerance && result.rounds < 1000) {
    ++result.rounds;
    double edges = 0, others = 0, seen_edges = 0, seen_others = 0;
    std::fill(result.prior.begin(), result.prior.end(), 0.0);
    for (size_t e = 0; e <= most; ++e)
      for (size_t b = 0; b < blocks; ++b) {
        const double count = pairs[e * blocks + b], chance = q[e * blocks + b];
        edges += count * chance;
        others += count * (1 - chance);
        seen_edges += static_cast<double>(e) * count * chance;
        seen_others += static_cast<double>(e) * count * (1 - chance);
        if (all[b] > 0) result.prior[b] += count * chance / all[b];
      }
    const auto m = static_cast<double>(most);
    if (edges > 0) result.true_positive = inside(seen_edges / (m * edges));
    if (others > 0) result.false_positive = inside(seen_others / (m * others));
  }

  std::vector<int64_t> from, to;
  std::vector<float> values;
  for (size_t p = 0; p < seen.from.size(); ++p) {
    const double chance =
        q[at(seen.times[p]) * blocks + block(labels[at(seen.from[p])], labels[at(seen.to[p])])];
    if (chance <= threshold) continue;
    from.push_back(seen.from[p]);
    to.push_back(seen.to[p]);
    values.push_back(static_cast<float>(chance));
  }
  for (int64_t c = 0; c < classes; ++c)  // both orders of two classes
    for (int64_t d = 0; d < c; ++d)
      result.prior[at(c * classes + d)] = result.prior[at(d * classes + c)];
  result.graph = CsrMatrix::from_edges(n, n, from, to, values, {.symmetrize = true});
  return result;
}

}  // namespace tessera::algorithms::gsl
