#include "tessera/algorithms/trihom/label_homophily.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <numeric>

namespace tessera::algorithms::trihom {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();
using Counts = std::vector<int32_t>;  // [nodes, classes]
using Means = std::vector<double>;    // [nodes, classes]

size_t at(int64_t i) { return static_cast<size_t>(i); }

double finite_or_nan(double value) { return std::isfinite(value) ? value : nan; }

double mean(const std::vector<double>& values) {
  if (values.empty()) return nan;
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

/// Ends of edges between every two classes, and between a class and all.
struct ClassPairs {
  std::vector<double> ends;  // [classes, classes]
  std::vector<double> of_class;
  double all = 0;

  ClassPairs(const LabelledGraph& graph, const Counts& counts)
      : ends(at(graph.classes() * graph.classes())), of_class(at(graph.classes())) {
    const size_t classes = of_class.size();
    for (size_t i = 0; i < graph.label.size(); ++i)
      for (size_t k = 0; k < classes; ++k)
        ends[at(graph.label[i]) * classes + k] += counts[i * classes + k];
    for (size_t c = 0; c < classes; ++c)
      for (size_t k = 0; k < classes; ++k) of_class[c] += ends[c * classes + k];
    all = std::accumulate(of_class.begin(), of_class.end(), 0.0);
  }
  double operator()(size_t c, size_t k) const { return ends[c * of_class.size() + k]; }
  double within() const {
    double sum = 0;
    for (size_t c = 0; c < of_class.size(); ++c) sum += (*this)(c, c);
    return sum;
  }
};

/// Means of a number of every node, over all nodes and over each class.
class NodeMeans {
 public:
  explicit NodeMeans(const LabelledGraph& graph)
      : graph_(graph), sum_(at(graph.classes())), count_(sum_.size()) {}
  void add(size_t node, double value) {
    sum_[at(graph_.label[node])] += value;
    ++count_[at(graph_.label[node])];
    total_ += value;
  }
  double all() const {
    return total_ / static_cast<double>(std::accumulate(count_.begin(), count_.end(), int64_t{0}));
  }
  std::vector<double> by_class() const {
    std::vector<double> out;
    out.reserve(sum_.size());
    for (size_t c = 0; c < sum_.size(); ++c)
      out.push_back(sum_[c] / static_cast<double>(count_[c]));
    return out;
  }

 private:
  const LabelledGraph& graph_;
  std::vector<double> sum_;
  std::vector<int64_t> count_;
  double total_ = 0;
};

void edge_and_class(const LabelledGraph& graph, const ClassPairs& looped, const ClassPairs& plain,
                    LabelMetrics& out) {
  const auto classes = static_cast<double>(graph.classes()),
             nodes = static_cast<double>(graph.nodes());
  out.graph.edge = looped.within() / looped.all;
  out.edge_without_loops = plain.within() / plain.all;
  double excess = 0;
  for (size_t c = 0; c < plain.of_class.size(); ++c) {
    out.classes.edge.push_back(looped(c, c) / looped.of_class[c]);
    const double share = plain(c, c) / plain.of_class[c];
    const double over = share - static_cast<double>(graph.class_size[c]) / nodes;
    out.classes.class_.push_back(over > 0 ? over : 0);  // 0 for a class without edges
    excess += out.classes.class_.back();
  }
  out.graph.class_ = finite_or_nan(excess / (classes - 1));
}

void node_level(const LabelledGraph& graph, const Counts& counts, LabelMetrics& out) {
  const size_t classes = at(graph.classes());
  NodeMeans means(graph);
  for (size_t i = 0; i < graph.label.size(); ++i)
    if (const int32_t d = graph.neighbours.degree(i); d > 0)
      means.add(i, static_cast<double>(counts[i * classes + at(graph.label[i])]) / d);
  out.graph.node = means.all();
  out.classes.node = means.by_class();
}

void density(const LabelledGraph& graph, const ClassPairs& pairs, LabelMetrics& out) {
  out.graph.density = graph.classes() > 1 ? std::numeric_limits<double>::infinity() : nan;
  for (size_t c = 0; c < pairs.of_class.size(); ++c) {
    const auto own = static_cast<double>(graph.class_size[c]);
    double most = 0;
    for (size_t k = 0; k < pairs.of_class.size(); ++k)
      if (k != c)
        most = std::max(most, pairs(c, k) / (own * static_cast<double>(graph.class_size[k])));
    out.classes.density.push_back((pairs(c, c) / (own * own) - most) / 2 + 0.5);
    out.graph.density = std::min(out.graph.density, out.classes.density.back());
  }
}

/// Adjusted homophily and label informativeness. Shares p_c are of degrees less `missing`.
void adjusted_and_information(const LabelledGraph& graph, const ClassPairs& pairs, Mode mode,
                              LabelHomophily& out) {
  const int missing = mode == Mode::compat ? 1 : 0;
  std::vector<double> share(pairs.of_class.size());
  for (size_t i = 0; i < graph.label.size(); ++i)
    share[at(graph.label[i])] += graph.with_loops.degree(i) - missing;
  const double all = std::accumulate(share.begin(), share.end(), 0.0);
  double squares = 0, entropy = 0, pair_entropy = 0;
  const auto p_ln_p = [&](double p) {
    if (p == 0 && mode == Mode::compat) p = 1e-8;
    return p == 0 ? 0 : p * std::log(p);
  };
  for (double& p : share) {
    p /= all;
    squares += p * p;
    entropy += p_ln_p(p);
  }
  for (const double ends : pairs.ends) pair_entropy += p_ln_p(ends / all);
  out.adjusted = finite_or_nan((out.edge - squares) / (1 - squares));
  out.informativeness = finite_or_nan(2 - pair_entropy / entropy);
}

void two_hop(const LabelledGraph& graph, LabelMetrics& out) {
  const size_t classes = at(graph.classes());
  const Counts counts = two_step_class_counts(graph.with_loops, graph);
  NodeMeans own(graph), largest(graph);
  for (size_t i = 0; i < graph.label.size(); ++i) {
    const auto row = counts.begin() + static_cast<int64_t>(i * classes);
    const double all = std::accumulate(row, row + graph.classes(), 0.0);
    if (all > 1) own.add(i, (row[graph.label[i]] - 1) / (all - 1));
    largest.add(i, all > 0 ? *std::max_element(row, row + graph.classes()) / all : 0);
  }
  out.graph.two_hop = own.all();
  out.classes.two_hop = own.by_class();
  out.graph.neighborhood = largest.all();
  out.classes.neighborhood = largest.by_class();
}

Means shares_of(const Neighbours& neighbours, const Counts& counts, size_t classes) {
  Means shares(counts.size());
  for (size_t i = 0; i < at(neighbours.nodes()); ++i)
    if (const int32_t d = neighbours.degree(i); d > 0)
      for (size_t k = 0; k < classes; ++k)
        shares[i * classes + k] = static_cast<double>(counts[i * classes + k]) / d;
  return shares;
}

/// Inner products of different nodes' shares: sum over pairs = |sum of rows|^2 - sum |row|^2.
double neighborhood_similarity(const LabelledGraph& graph, const Means& shares) {
  const size_t classes = at(graph.classes());
  std::vector<double> sums(classes * classes), squares(classes);
  for (size_t i = 0; i < graph.label.size(); ++i)
    for (size_t k = 0; k < classes; ++k) {
      const double share = shares[i * classes + k];
      sums[at(graph.label[i]) * classes + k] += share;
      squares[at(graph.label[i])] += share * share;
    }
  double all = 0, within = 0;
  for (size_t k = 0; k < classes; ++k) {
    double sum = 0;
    for (size_t c = 0; c < classes; ++c) {
      sum += sums[c * classes + k];
      within += sums[c * classes + k] * sums[c * classes + k];
    }
    all += sum * sum;
  }
  for (const double square : squares) {
    all -= square;
    within -= square;
  }
  const auto c = static_cast<double>(classes);
  return finite_or_nan((within / c) / ((all - within) / (c * (c - 1))));
}

/// Which of `nodes` agree at least as much with their class as with the others, on the average:
/// S_ic = h_i . sum of h_j over the class c.
std::vector<bool> aggregates_alike(const LabelledGraph& graph, const Means& h,
                                   const std::vector<int64_t>& nodes) {
  const size_t classes = at(graph.classes());
  std::vector<double> sums(classes * classes), size(classes);
  for (const int64_t i : nodes) {
    const size_t c = at(graph.label[at(i)]);
    ++size[c];
    for (size_t k = 0; k < classes; ++k) sums[c * classes + k] += h[at(i) * classes + k];
  }
  std::vector<bool> alike;
  for (const int64_t i : nodes) {
    const size_t own = at(graph.label[at(i)]);
    double same = 0, all = 0;
    for (size_t c = 0; c < classes; ++c) {
      double product = 0;
      for (size_t k = 0; k < classes; ++k)
        product += h[at(i) * classes + k] * sums[c * classes + k];
      all += product;
      if (c == own) same = product;
    }
    const double others = static_cast<double>(nodes.size()) - size[own];
    alike.push_back((same / size[own]) / ((all - same) / others) >= 1);  // false for 0 / 0
  }
  return alike;
}

/// round(10000 / C) random nodes of every class, or all.
std::vector<int64_t> balanced_sample(const LabelledGraph& graph, Rng rng) {
  const auto per_class =
      static_cast<size_t>(std::llround(10000.0 / static_cast<double>(graph.classes())));
  std::vector<std::vector<int64_t>> members(at(graph.classes()));
  for (size_t i = 0; i < graph.label.size(); ++i)
    members[at(graph.label[i])].push_back(static_cast<int64_t>(i));
  std::vector<int64_t> nodes;
  for (auto& of_class : members) {
    shuffle(of_class.begin(), of_class.end(), rng);
    of_class.resize(std::min(of_class.size(), per_class));
    nodes.insert(nodes.end(), of_class.begin(), of_class.end());
  }
  return nodes;
}

void aggregation(const LabelledGraph& graph, const Counts& counts, const Means& shares, Mode mode,
                 const Rng& rng, LabelMetrics& out) {
  if (graph.classes() == 1) {
    out.graph.aggregation = nan;
    out.classes.aggregation = {nan};
    return;
  }
  std::vector<int64_t> nodes(at(graph.nodes()));
  std::iota(nodes.begin(), nodes.end(), int64_t{0});
  const Means h = mode == Mode::compat ? Means(counts.begin(), counts.end()) : shares;
  const bool sampled = mode == Mode::compat && graph.nodes() >= 10000;
  double total = 0;
  NodeMeans by_class(graph);
  const uint64_t draws = sampled ? 10 : 1;
  for (uint64_t draw = 0; draw < draws; ++draw) {
    if (sampled) nodes = balanced_sample(graph, rng.split(draw));
    const std::vector<bool> alike = aggregates_alike(graph, h, nodes);
    for (size_t i = 0; i < nodes.size(); ++i) by_class.add(at(nodes[i]), alike[i] ? 1 : -1);
    total += static_cast<double>(std::count(alike.begin(), alike.end(), true)) /
             static_cast<double>(nodes.size());
  }
  out.graph.aggregation = 2 * total / static_cast<double>(draws) - 1;
  out.classes.aggregation = by_class.by_class();
}

void structural(const LabelledGraph& graph, const Means& shares, LabelMetrics& out) {
  const size_t classes = at(graph.classes());
  std::vector<double> sums(classes * classes), deviations(classes);
  for (size_t i = 0; i < graph.label.size(); ++i)
    for (size_t k = 0; k < classes; ++k)
      sums[at(graph.label[i]) * classes + k] += shares[i * classes + k];
  std::vector<double> squares(classes * classes);  // about the means
  for (size_t i = 0; i < graph.label.size(); ++i) {
    const size_t c = at(graph.label[i]);
    for (size_t k = 0; k < classes; ++k) {
      const double from = shares[i * classes + k] -
                          sums[c * classes + k] / static_cast<double>(graph.class_size[c]);
      squares[c * classes + k] += from * from;
    }
  }
  const auto count = static_cast<double>(classes);
  const double most = std::sqrt((1 - 1 / count) / count);
  std::vector<double> counted;
  for (size_t c = 0; c < classes; ++c) {
    double sum = 0;
    for (size_t k = 0; k < classes; ++k)
      sum += std::sqrt(squares[c * classes + k] / static_cast<double>(graph.class_size[c] - 1));
    const bool defined = graph.class_size[c] > 1 && classes > 1;
    out.classes.structural.push_back(defined ? 1 - sum / count / most : nan);
    if (defined) counted.push_back(out.classes.structural.back());
  }
  out.graph.structural = mean(counted);
}

}  // namespace

// One row of A^2 > 0 at a time as bits, classes one after another. A neighbour with more neighbours
// than a row has words is itself kept as such a row, so that a step costs the less of the two.
std::vector<int32_t> two_step_class_counts(const Neighbours& neighbours,
                                           const LabelledGraph& graph) {
  const size_t nodes = at(graph.nodes()), classes = at(graph.classes());
  const size_t words = (nodes + 63) / 64;
  std::vector<int64_t> begin(classes + 1);  // bits of each class
  std::partial_sum(graph.class_size.begin(), graph.class_size.end(), begin.begin() + 1);
  std::vector<uint32_t> bit(nodes);
  {
    std::vector<int64_t> next = begin;
    for (size_t i = 0; i < nodes; ++i) bit[i] = static_cast<uint32_t>(next[at(graph.label[i])]++);
  }
  const auto each_neighbour = [&](size_t i, auto&& f) {
    for (int32_t e = neighbours.first[i]; e < neighbours.first[i + 1]; ++e)
      f(at(neighbours.node[at(e)]));
  };
  std::vector<size_t> row_of(nodes, SIZE_MAX);
  std::vector<uint64_t> rows;
  for (size_t i = 0; i < nodes; ++i) {
    if (at(neighbours.degree(i)) <= words) continue;
    row_of[i] = rows.size();
    rows.resize(rows.size() + words);
    each_neighbour(i,
                   [&](size_t j) { rows[row_of[i] + bit[j] / 64] |= uint64_t{1} << bit[j] % 64; });
  }

  std::vector<int32_t> counts(nodes * classes);
  std::vector<uint64_t> seen(words);
  const auto count_bits = [&](int32_t* count) {
    for (size_t c = 0; c < classes; ++c)
      for (int64_t at_bit = begin[c]; at_bit < begin[c + 1];) {
        const int64_t end = std::min(begin[c + 1], (at_bit / 64 + 1) * 64);
        uint64_t word = seen[at(at_bit / 64)] >> at_bit % 64;
        if (end - at_bit < 64) word &= (uint64_t{1} << (end - at_bit)) - 1;
        count[c] += std::popcount(word);
        at_bit = end;
      }
  };
  for (size_t i = 0; i < nodes; ++i) {
    int32_t* const count = counts.data() + i * classes;
    bool by_rows = false;
    each_neighbour(i, [&](size_t j) {
      if (row_of[j] == SIZE_MAX) return;
      by_rows = true;
      const uint64_t* row = rows.data() + row_of[j];
      for (size_t w = 0; w < words; ++w) seen[w] |= row[w];
    });
    if (by_rows) count_bits(count);
    each_neighbour(i, [&](size_t j) {
      if (row_of[j] != SIZE_MAX) return;
      each_neighbour(j, [&](size_t k) {
        uint64_t& word = seen[bit[k] / 64];
        const uint64_t mask = uint64_t{1} << bit[k] % 64;
        count[graph.label[k]] += (word & mask) == 0;
        word |= mask;
      });
    });
    if (by_rows)
      std::fill(seen.begin(), seen.end(), 0);
    else
      each_neighbour(
          i, [&](size_t j) { each_neighbour(j, [&](size_t k) { seen[bit[k] / 64] = 0; }); });
  }
  return counts;
}

LabelMetrics label_homophily(const LabelledGraph& graph, Mode mode, const Rng& rng) {
  const size_t classes = at(graph.classes());
  const Counts plain = class_counts(graph.neighbours, graph);
  const Counts looped = class_counts(graph.with_loops, graph);
  const ClassPairs plain_pairs(graph, plain), looped_pairs(graph, looped);
  const Means plain_shares = shares_of(graph.neighbours, plain, classes),
              looped_shares = shares_of(graph.with_loops, looped, classes);
  LabelMetrics out;
  edge_and_class(graph, looped_pairs, plain_pairs, out);
  node_level(graph, plain, out);
  density(graph, looped_pairs, out);
  adjusted_and_information(graph, plain_pairs, mode, out.graph);
  two_hop(graph, out);
  out.graph.similarity = neighborhood_similarity(graph, looped_shares);
  aggregation(graph, looped, looped_shares, mode, rng, out);
  structural(graph, plain_shares, out);
  return out;
}

}  // namespace tessera::algorithms::trihom
