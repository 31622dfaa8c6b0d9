#include "tessera/models/similarity_graph.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/neighbors.hpp"

namespace tessera::models {
namespace {

constexpr std::string_view construction_names[] = {"knn", "cos_node", "cos_graph"};
constexpr std::string_view symmetrization_names[] = {"either", "maximum", "sum"};
constexpr int64_t tile_rows = 128;
constexpr int64_t most_pairs = int64_t{1} << 26;
constexpr float slack = 1e-6f;

constexpr size_t at(int64_t i) { return static_cast<size_t>(i); }

/// `from` chose `to`.
struct Choice {
  int32_t from, to;
  float cosine;
};

bool more_alike(const Choice& a, const Choice& b) {
  if (a.cosine != b.cosine) return a.cosine > b.cosine;
  return a.from != b.from ? a.from < b.from : a.to < b.to;
}

/// The rows with their lengths, and products of them a tile at a time.
class Rows {
 public:
  explicit Rows(const Tensor& base)
      : x_(autograd::contiguous(base.dtype() == DType::f64 ? base
                                                           : autograd::convert(base, DType::f32))),
        length_(at(x_.size(0))) {
    const size_t width = at(x_.size(1));
    for (int64_t first = 0; first < count(); first += tile_rows) {
      const int64_t rows = std::min(tile_rows, count() - first);
      const auto tile = autograd::convert(x_.narrow(0, first, rows).to(Device::cpu()), DType::f64)
                            .values<double>();
      for (size_t k = 0; k < tile.size(); ++k) {
        const size_t i = at(first) + k / width;
        TS_CHECK(std::isfinite(tile[k]), "similarity_graph: element ", k % width, " of row ", i,
                 " is ", tile[k]);
        length_[i] += tile[k] * tile[k];
      }
    }
    for (double& length : length_) length = std::sqrt(length);
  }

  const Tensor& tensor() const { return x_; }
  int64_t count() const { return x_.size(0); }
  bool zero(int64_t i) const { return length_[at(i)] == 0; }

  /// Calls use(i, cosines), cosines[j] of row i with row first + j, for i from 0 up. With
  /// `later_only`, first = i's tile's first row, else 0.
  template <class Use>
  void each(bool later_only, Use&& use) const {
    for (int64_t first = 0; first < count(); first += tile_rows) {
      const int64_t rows = std::min(tile_rows, count() - first), from = later_only ? first : 0;
      const Tensor others = x_.narrow(0, from, count() - from);
      const std::vector<double> products =
          autograd::convert(autograd::matmul(x_.narrow(0, first, rows), others.transpose(0, 1))
                                .value()
                                .to(Device::cpu()),
                            DType::f64)
              .values<double>();
      std::vector<float> cosines(at(count() - from));
      for (int64_t r = 0; r < rows; ++r) {
        const double* product = products.data() + r * (count() - from);
        for (size_t j = 0; j < cosines.size(); ++j) {
          const double lengths = length_[at(first + r)] * length_[at(from) + j];
          cosines[j] = lengths == 0 ? 0 : static_cast<float>(product[j] / lengths);
        }
        use(first + r, from, cosines);
      }
    }
  }

 private:
  Tensor x_;
  std::vector<double> length_;
};

void check_count(size_t choices, const SimilarityGraphOptions& options) {
  const bool by_threshold = options.threshold > 0;
  TS_CHECK(static_cast<int64_t>(choices) <= most_pairs,
           "similarity_graph: ", to_string(options.construction), " with ",
           by_threshold ? concat("threshold ", options.threshold) : concat("budget k ", options.k),
           " leaves more than ", most_pairs, " pairs; expected a ",
           by_threshold ? "higher threshold" : "smaller budget");
}

std::vector<Choice> nearest(const Rows& rows, int64_t k) {
  std::vector<int64_t> nodes;  // that have a direction
  for (int64_t i = 0; i < rows.count(); ++i)
    if (!rows.zero(i)) nodes.push_back(i);
  const auto count = static_cast<int64_t>(nodes.size());
  if (count < 2) return {};
  Tensor points = rows.tensor();
  if (count < rows.count())
    points = autograd::gather_rows(points, Tensor::from(nodes, {count}, points.device())).value();
  const autograd::Neighbors found =
      autograd::nearest_neighbors(points, points, std::min(k, count - 1),
                                  {.metric = autograd::Metric::cosine, .exclude_same_index = true});
  const auto index = found.index.values<int64_t>();
  const auto distance =
      autograd::convert(found.distance.to(Device::cpu()), DType::f64).values<double>();
  const auto chosen = at(found.index.size(1));
  std::vector<Choice> choices;
  choices.reserve(index.size());
  for (size_t e = 0; e < index.size(); ++e)
    choices.push_back({static_cast<int32_t>(nodes[e / chosen]),
                       static_cast<int32_t>(nodes[at(index[e])]),
                       static_cast<float>(1 - distance[e])});
  return choices;
}

std::vector<Choice> chosen_by_node(const Rows& rows, const SimilarityGraphOptions& options,
                                   std::span<const int64_t> budget) {
  std::vector<Choice> choices, row;
  rows.each(false, [&](int64_t i, int64_t, std::span<const float> cosines) {
    if (rows.zero(i)) return;
    row.clear();
    for (int64_t j = 0; j < rows.count(); ++j)
      if (j != i && !rows.zero(j))
        row.push_back({static_cast<int32_t>(i), static_cast<int32_t>(j), cosines[at(j)]});
    if (row.empty()) return;
    auto end = row.end();
    if (options.threshold > 0) {
      const float best = std::min_element(row.begin(), row.end(), more_alike)->cosine;
      const auto threshold = static_cast<float>(options.threshold) * best;
      end = std::remove_if(row.begin(), row.end(), [&](const Choice& choice) {
        return choice.cosine <= 0 || choice.cosine < threshold - slack;
      });
    } else {
      const int64_t wanted = budget.empty() ? options.k : budget[at(i)];
      end = row.begin() + std::min(wanted, static_cast<int64_t>(row.size()));
      if (end != row.end()) std::nth_element(row.begin(), end, row.end(), more_alike);
    }
    choices.insert(choices.end(), row.begin(), end);
    check_count(choices.size(), options);
  });
  return choices;
}

/// Pairs i < j.
std::vector<Choice> chosen_by_graph(const Rows& rows, const SimilarityGraphOptions& options) {
  const int64_t n = rows.count();
  const auto wanted =
      at(std::min(n * (n - 1) / 2, static_cast<int64_t>(static_cast<double>(n) *
                                                        static_cast<double>(options.k) / 2)));
  const bool by_budget = options.threshold == 0;
  if (by_budget) check_count(wanted, options);
  const auto threshold = static_cast<float>(options.threshold) - slack;
  std::vector<Choice> choices;
  float floor = -std::numeric_limits<float>::infinity();  // what a pair must exceed
  const auto keep_best = [&] {
    if (choices.size() <= wanted) return;
    const auto end = choices.begin() + static_cast<std::ptrdiff_t>(wanted);
    std::nth_element(choices.begin(), end - 1, choices.end(), more_alike);
    floor = choices[wanted - 1].cosine;  // later pairs as alike have higher numbers
    choices.erase(end, choices.end());
  };
  rows.each(true, [&](int64_t i, int64_t from, std::span<const float> cosines) {
    if (rows.zero(i) || (by_budget && wanted == 0)) return;
    for (int64_t j = i + 1; j < n; ++j) {
      const float cosine = cosines[at(j - from)];
      const bool fits = by_budget ? cosine > floor : cosine > 0 && cosine >= threshold;
      if (fits && !rows.zero(j))
        choices.push_back({static_cast<int32_t>(i), static_cast<int32_t>(j), cosine});
    }
    if (!by_budget)
      check_count(choices.size(), options);
    else if (choices.size() > 2 * wanted + 4096)
      keep_best();
  });
  if (by_budget) keep_best();
  return choices;
}

CsrMatrix symmetrized(int64_t n, std::vector<Choice> choices, Symmetrization how, bool both_ways) {
  if (how == Symmetrization::maximum) {
    for (Choice& c : choices)
      if (c.from > c.to) std::swap(c.from, c.to);
    const auto pair_of = [](const Choice& c) { return std::pair(c.from, c.to); };
    std::sort(choices.begin(), choices.end(), [&](const Choice& a, const Choice& b) {
      return pair_of(a) != pair_of(b) ? pair_of(a) < pair_of(b) : a.cosine > b.cosine;
    });
    const auto same = [&](const Choice& a, const Choice& b) { return pair_of(a) == pair_of(b); };
    choices.erase(std::unique(choices.begin(), choices.end(), same), choices.end());
  }
  std::vector<int64_t> from, to;
  std::vector<float> values;
  for (const Choice& c : choices) {
    from.push_back(c.from);
    to.push_back(c.to);
    if (how == Symmetrization::either) continue;
    values.push_back(how == Symmetrization::sum && both_ways ? 2 * c.cosine : c.cosine);
  }
  CsrMatrix graph = CsrMatrix::from_edges(n, n, from, to, values, {.symmetrize = true});
  if (how != Symmetrization::either && choices.empty())
    graph.values = Tensor::from(values, {0}, Device::cpu());
  return graph;
}

void append_entries(const CsrMatrix& graph, std::vector<int64_t>& row, std::vector<int64_t>& col) {
  const auto first = graph.row_ptr.host<int32_t>(), to = graph.col.host<int32_t>();
  for (int64_t i = 0; i < graph.rows; ++i)
    for (int32_t e = first[at(i)]; e < first[at(i) + 1]; ++e) {
      row.push_back(i);
      col.push_back(to[at(e)]);
    }
}

}  // namespace

std::string_view to_string(GraphConstruction construction) {
  return construction_names[static_cast<int>(construction)];
}
void parse(std::string_view text, GraphConstruction& construction) {
  parse_enum(text, construction_names, construction);
}
std::string_view to_string(Symmetrization symmetrization) {
  return symmetrization_names[static_cast<int>(symmetrization)];
}
void parse(std::string_view text, Symmetrization& symmetrization) {
  parse_enum(text, symmetrization_names, symmetrization);
}

CsrMatrix similarity_graph(const Tensor& base, const SimilarityGraphOptions& options,
                           std::span<const int64_t> budget) {
  TS_CHECK(base.rank() == 2 && is_float(base.dtype()) && base.size(0) >= 1,
           "similarity_graph: base is ", base, "; expected floating [rows, width]");
  TS_CHECK(options.k >= 1 && options.threshold >= 0 && options.threshold <= 1,
           "similarity_graph: k ", options.k, ", threshold ", options.threshold,
           "; expected at least 1, and [0, 1]");
  TS_CHECK(budget.empty() || static_cast<int64_t>(budget.size()) == base.size(0),
           "similarity_graph: a budget for ", budget.size(), " of ", base.size(0), " rows");
  for (const int64_t wanted : budget)
    TS_CHECK(wanted >= 0, "similarity_graph: a budget of ", wanted, " neighbours");
  const Rows rows(base);
  const bool by_graph = options.construction == GraphConstruction::cos_graph;
  std::vector<Choice> choices;
  if (by_graph)
    choices = chosen_by_graph(rows, options);
  else if (options.construction == GraphConstruction::cos_node)
    choices = chosen_by_node(rows, options, budget);
  else
    choices = nearest(rows, options.k);
  return symmetrized(rows.count(), std::move(choices), options.symmetrization, by_graph);
}

CsrMatrix merged_graph(const CsrMatrix& a, const CsrMatrix& b) {
  TS_CHECK(a.rows == b.rows && a.cols == b.cols, "merged_graph: ", a, " and ", b);
  std::vector<int64_t> row, col;
  append_entries(a, row, col);
  append_entries(b, row, col);
  return CsrMatrix::from_edges(a.rows, a.cols, row, col);
}

double edge_homophily(const CsrMatrix& graph, const Tensor& labels) {
  TS_CHECK(labels.dtype() == DType::i32 && labels.shape() == Shape{graph.rows} &&
               graph.rows == graph.cols,
           "edge_homophily: labels ", labels, " for ", graph);
  const auto label = labels.values<int32_t>();
  const auto first = graph.row_ptr.host<int32_t>(), to = graph.col.host<int32_t>();
  double same = 0;
  for (size_t i = 0; i < label.size(); ++i)
    for (int32_t e = first[i]; e < first[i + 1]; ++e) same += label[i] == label[at(to[at(e)])];
  return same / static_cast<double>(to.size());
}

std::vector<int64_t> degrees(const CsrMatrix& graph) {
  const auto first = graph.row_ptr.host<int32_t>();
  std::vector<int64_t> result(at(graph.rows));
  for (size_t i = 0; i < result.size(); ++i) result[i] = first[i + 1] - first[i];
  return result;
}

}  // namespace tessera::models
