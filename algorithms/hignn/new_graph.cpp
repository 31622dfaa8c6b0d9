#include "tessera/algorithms/hignn/new_graph.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/shape.hpp"

namespace tessera::algorithms::hignn {
namespace {

using autograd::SimilarityGraph;
using autograd::Var;

constexpr std::string_view kind_names[] = {
    "histogram", "histogram_rank", "degree", "feature_cosine", "k_means", "label", "soft_label"};

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// [n, parts] with a 1 where the part of each is.
Tensor one_hot(std::span<const int32_t> part, int64_t parts, DType dtype) {
  const auto n = static_cast<int64_t>(part.size());
  std::vector<double> values(at(n * parts));
  for (int64_t i = 0; i < n; ++i) values[at(i * parts + part[at(i)])] = 1;
  return autograd::convert(Tensor::from(values, {n, parts}, Device::cpu()), dtype);
}

void check_labels(std::span<const int32_t> labels, int64_t nodes, int64_t classes) {
  TS_CHECK(static_cast<int64_t>(labels.size()) == nodes, "hignn: ", labels.size(), " labels for ",
           nodes, " nodes");
  for (const int32_t label : labels)
    TS_CHECK(label >= 0 && label < classes, "hignn: label ", label, " of ", classes, " classes");
}

/// Nodes of one degree as one part, in order of degrees.
std::vector<int32_t> parts_by_degree(const CsrMatrix& adjacency, int64_t& parts) {
  const auto row_ptr = adjacency.row_ptr.values<int32_t>();
  std::map<int32_t, int32_t> number;
  for (int64_t i = 0; i < adjacency.rows; ++i) number[row_ptr[at(i + 1)] - row_ptr[at(i)]] = 0;
  parts = 0;
  for (auto& [degree, part] : number) part = static_cast<int32_t>(parts++);
  std::vector<int32_t> part_of_node;
  part_of_node.reserve(static_cast<size_t>(adjacency.rows));
  for (int64_t i = 0; i < adjacency.rows; ++i)
    part_of_node.push_back(number[row_ptr[at(i + 1)] - row_ptr[at(i)]]);
  return part_of_node;
}

CsrMatrix stored_matrix(std::vector<std::vector<int32_t>> links, double diagonal) {
  std::vector<int64_t> row, col;
  std::vector<float> values;
  for (int64_t i = 0; i < static_cast<int64_t>(links.size()); ++i) {
    if (diagonal != 0) links[at(i)].push_back(static_cast<int32_t>(i));
    for (const int32_t j : links[at(i)]) {
      row.push_back(i);
      col.push_back(j);
      values.push_back(i == j ? static_cast<float>(diagonal) : 1.0f);
    }
  }
  const auto n = static_cast<int64_t>(links.size());
  CsrMatrix m = diagonal == 0 || diagonal == 1 ? CsrMatrix::from_edges(n, n, row, col)
                                               : CsrMatrix::from_edges(n, n, row, col, values, {});
  m.symmetric = true;
  return m;
}

/// Links i with the nodes of ranks [first, last) in the rising order of cosines with i, its own
/// being 0 and equal ones in the order of nodes; both directions.
CsrMatrix links_by_rank(const Tensor& histograms, int64_t first, int64_t last, double diagonal) {
  const int64_t n = histograms.size(0), width = histograms.size(1);
  std::vector<float> unit = histograms.values<float>();
  for (int64_t i = 0; i < n; ++i) {
    double square = 0;
    for (int64_t c = 0; c < width; ++c) square += std::pow(unit[at(i * width + c)], 2);
    for (int64_t c = 0; c < width && square > 0; ++c)
      unit[at(i * width + c)] /= static_cast<float>(std::sqrt(square));
  }
  const Tensor rows = Tensor::from(unit, {n, width}, Device::cpu());
  std::vector<std::vector<int32_t>> links(at(n));
  std::vector<int32_t> order(at(n));
  for (int64_t i = 0; i < n; ++i) {
    std::vector<float> cosines =
        autograd::matmul(Var(rows), Var(rows.narrow(0, i, 1).transpose(0, 1)))
            .value()
            .values<float>();
    cosines[at(i)] = 0;
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
      return cosines[static_cast<size_t>(a)] < cosines[static_cast<size_t>(b)];
    });
    for (int64_t r = first; r < last; ++r) {
      const int32_t j = order[at(r)];
      if (j == i) continue;
      links[at(i)].push_back(j);
      links[static_cast<size_t>(j)].push_back(static_cast<int32_t>(i));
    }
  }
  for (auto& of_node : links) {
    std::sort(of_node.begin(), of_node.end());
    of_node.erase(std::unique(of_node.begin(), of_node.end()), of_node.end());
  }
  return stored_matrix(std::move(links), diagonal);
}

/// The number of links of different nodes, both directions.
double link_count(const SimilarityGraph& graph) {
  const auto degrees = graph.degrees().values<double>();
  return std::accumulate(degrees.begin(), degrees.end(), 0.0) -
         graph.options().diagonal * static_cast<double>(graph.nodes());
}

LinkStatistics statistics_of(const std::vector<double>& counts, std::span<const int32_t> labels,
                             int64_t classes, double entries_of_graph) {
  LinkStatistics s;
  std::vector<double> size(at(classes));
  for (const int32_t label : labels) ++size[static_cast<size_t>(label)];
  double within = 0;
  for (int64_t a = 0; a < classes; ++a)
    for (int64_t b = 0; b < classes; ++b) {
      const double found = counts[at(a * classes + b)];
      s.links += found;
      if (a == b) within += found;
      s.block_share.push_back(found / (size[at(a)] * (size[at(b)] - (a == b ? 1 : 0))));
    }
  s.ratio = s.links / entries_of_graph;
  s.homophily = within / s.links;
  return s;
}

std::vector<double> block_counts(const CsrMatrix& m, std::span<const int32_t> labels,
                                 int64_t classes) {
  std::vector<double> counts(at(classes * classes));
  const auto row_ptr = m.row_ptr.values<int32_t>(), col = m.col.values<int32_t>();
  for (int64_t i = 0; i < m.rows; ++i)
    for (int64_t e = row_ptr[at(i)]; e < row_ptr[at(i + 1)]; ++e)
      if (col[at(e)] != i) ++counts[at(labels[at(i)] * classes + labels[at(col[at(e)])])];
  return counts;
}

}  // namespace

std::string_view to_string(NewGraphKind kind) { return kind_names[static_cast<int>(kind)]; }
void parse(std::string_view text, NewGraphKind& kind) { parse_enum(text, kind_names, kind); }

Tensor class_histograms(const CsrMatrix& adjacency, std::span<const int32_t> labels,
                        int64_t classes, bool itself) {
  check_labels(labels, adjacency.rows, classes);
  const auto row_ptr = adjacency.row_ptr.values<int32_t>(), col = adjacency.col.values<int32_t>();
  std::vector<float> histograms(at(adjacency.rows * classes));
  for (int64_t i = 0; i < adjacency.rows; ++i) {
    float* const count = histograms.data() + i * classes;
    for (int64_t e = row_ptr[at(i)]; e < row_ptr[at(i + 1)]; ++e) ++count[labels[at(col[at(e)])]];
    if (itself) ++count[labels[at(i)]];
  }
  return Tensor::from(histograms, {adjacency.rows, classes}, Device::cpu());
}

std::vector<int32_t> predicted_classes(const Tensor& probabilities) {
  const std::vector<float> p = probabilities.values<float>();
  const int64_t classes = probabilities.size(1);
  std::vector<int32_t> predicted;
  for (auto row = p.begin(); row != p.end(); row += classes)
    predicted.push_back(static_cast<int32_t>(std::max_element(row, row + classes) - row));
  return predicted;
}

double mean_class_deviation(const Tensor& histograms, std::span<const int32_t> labels,
                            int64_t classes) {
  check_labels(labels, histograms.size(0), classes);
  const int64_t width = histograms.size(1);
  const std::vector<float> values = histograms.values<float>();
  std::vector<std::vector<std::vector<double>>> rows(at(classes));  // [class][node][entry]
  for (size_t i = 0; i < labels.size(); ++i) {
    std::vector<double> row;
    double square = 0;
    for (size_t c = 0; c < at(width); ++c) {
      row.push_back(values[i * at(width) + c]);
      square += row.back() * row.back();
    }
    if (square == 0) continue;
    for (double& x : row) x /= std::sqrt(square);
    rows[static_cast<size_t>(labels[i])].push_back(std::move(row));
  }
  double total = 0;
  int64_t counted = 0;
  for (const auto& nodes : rows) {
    if (nodes.size() < 2) continue;
    for (size_t c = 0; c < at(width); ++c) {
      double mean = 0, squares = 0;
      for (const auto& row : nodes) mean += row[c] / static_cast<double>(nodes.size());
      for (const auto& row : nodes) squares += (row[c] - mean) * (row[c] - mean);
      total +=
          std::sqrt(squares / static_cast<double>(nodes.size() - 1)) / static_cast<double>(width);
    }
    ++counted;
  }
  return total / static_cast<double>(counted);
}

std::vector<int32_t> k_means(const Tensor& x, int64_t clusters, Rng rng) {
  const int64_t n = x.size(0), width = x.size(1);
  TS_CHECK(clusters >= 1 && clusters <= n, "k_means: ", clusters, " clusters of ", n, " rows");
  const std::vector<float> values = autograd::convert(x, DType::f32).values<float>();
  const auto distance = [&](int64_t i, const double* centre) {
    double square = 0;
    for (int64_t f = 0; f < width; ++f) {
      const double d = values[at(i * width + f)] - centre[f];
      square += d * d;
    }
    return square;
  };
  std::vector<double> centre;
  const auto add_centre = [&](int64_t i) {
    for (int64_t f = 0; f < width; ++f) centre.push_back(values[at(i * width + f)]);
  };
  add_centre(static_cast<int64_t>(rng.below(static_cast<uint64_t>(n))));
  std::vector<double> nearest(at(n), std::numeric_limits<double>::infinity());
  for (int64_t k = 1; k < clusters; ++k) {
    double total = 0;
    for (int64_t i = 0; i < n; ++i) {
      nearest[at(i)] = std::min(nearest[at(i)], distance(i, centre.data() + (k - 1) * width));
      total += nearest[at(i)];
    }
    double left = rng.uniform() * total;
    int64_t chosen = 0;
    while (chosen + 1 < n && (left -= nearest[at(chosen)]) >= 0) ++chosen;
    add_centre(chosen);
  }

  std::vector<int32_t> cluster(at(n), -1);
  for (int round = 0; round < 100; ++round) {
    bool changed = false;
    for (int64_t i = 0; i < n; ++i) {
      int32_t best = 0;
      double least = std::numeric_limits<double>::infinity();
      for (int64_t k = 0; k < clusters; ++k)
        if (const double d = distance(i, centre.data() + k * width); d < least)
          least = d, best = static_cast<int32_t>(k);
      changed = changed || cluster[at(i)] != best;
      cluster[at(i)] = best;
    }
    if (!changed) break;
    std::vector<double> sum(centre.size()), members(at(clusters));
    for (int64_t i = 0; i < n; ++i) {
      ++members[at(cluster[at(i)])];
      for (int64_t f = 0; f < width; ++f)
        sum[at(cluster[at(i)] * width + f)] += values[at(i * width + f)];
    }
    for (int64_t k = 0; k < clusters; ++k)  // an empty cluster keeps its centre
      for (int64_t f = 0; f < width && members[at(k)] > 0; ++f)
        centre[at(k * width + f)] = sum[at(k * width + f)] / members[at(k)];
  }
  return cluster;
}

NewGraph make_new_graph(const models::GraphData& graph, const Tensor& probabilities,
                        const NewGraphOptions& o, double diagonal, Device device, Rng rng) {
  using Kind = NewGraphKind;
  const bool of_predictions = o.kind == Kind::histogram || o.kind == Kind::histogram_rank ||
                              o.kind == Kind::label || o.kind == Kind::soft_label;
  if (of_predictions)
    TS_CHECK(probabilities.defined() && probabilities.dtype() == DType::f32 &&
                 probabilities.device() == Device::cpu() &&
                 probabilities.shape() == Shape({graph.nodes, graph.classes}),
             "hignn: a new graph by ", to_string(o.kind), " needs probabilities f32 [", graph.nodes,
             ", ", graph.classes, "] on cpu, has ", probabilities);
  const auto equal = [&](std::span<const int32_t> part, int64_t parts) {
    return SimilarityGraph(one_hot(part, parts, DType::f32), {.least = 1, .diagonal = diagonal},
                           device);
  };
  const auto cosine = [&](const Tensor& features) {
    const autograd::SimilarityOptions options{
        .least = o.threshold, .below = o.below, .diagonal = diagonal};
    SimilarityGraph all(features, options, device);
    if (o.links_per_node == 0) return all;
    const double share =
        o.links_per_node * static_cast<double>(graph.nodes) / std::max(link_count(all), 1.0);
    if (share >= 1) return all;
    autograd::SimilarityOptions kept = options;
    kept.keep = share;
    kept.rng = rng.take(graph.nodes * (graph.nodes - 1) / 2);
    return SimilarityGraph(features, kept, device);
  };
  const auto histograms = [&] {
    return class_histograms(graph.adjacency, predicted_classes(probabilities), graph.classes, true);
  };
  switch (o.kind) {
    case Kind::histogram:
      return {cosine(histograms()), {}};
    case Kind::histogram_rank: {
      const auto rank = [&](double share) {
        return std::min(static_cast<int64_t>(static_cast<double>(graph.nodes) * share + 1e-9),
                        graph.nodes);
      };
      return {{},
              links_by_rank(histograms(), rank(o.rank_from), rank(o.rank_from + o.rank_span),
                            diagonal)};
    }
    case Kind::degree: {
      int64_t parts = 0;
      const std::vector<int32_t> part = parts_by_degree(graph.adjacency, parts);
      return {equal(part, parts), {}};
    }
    case Kind::feature_cosine:
      return {{}, cosine(graph.features_as_dense()).matrix()};
    case Kind::k_means: {
      const int64_t clusters = o.clusters > 0 ? o.clusters : graph.classes;
      return {equal(k_means(graph.features_as_dense(), clusters, rng), clusters), {}};
    }
    case Kind::label:
      return {equal(predicted_classes(probabilities), graph.classes), {}};
    case Kind::soft_label:
      return {cosine(probabilities), {}};
  }
  throw Error(ErrorKind::invalid_argument, concat("hignn: new graph ", static_cast<int>(o.kind)));
}

LinkStatistics link_statistics(const NewGraph& links, std::span<const int32_t> labels,
                               int64_t classes, int64_t entries_of_graph) {
  check_labels(labels, links.nodes(), classes);
  const auto entries = static_cast<double>(entries_of_graph);
  if (!links.similar)
    return statistics_of(block_counts(links.stored, labels, classes), labels, classes, entries);
  const SimilarityGraph& graph = *links.similar;
  const Tensor z = one_hot(labels, classes, DType::f64).to(graph.device());
  const std::vector<double> around = graph.times(z).values<double>();  // [nodes, classes]
  std::vector<double> counts(at(classes * classes));
  for (size_t i = 0; i < labels.size(); ++i)
    for (int64_t c = 0; c < classes; ++c)
      counts[at(labels[i] * classes + c)] +=
          around[i * at(classes) + at(c)] - (c == labels[i] ? graph.options().diagonal : 0);
  return statistics_of(counts, labels, classes, entries);
}

LinkStatistics link_statistics(const CsrMatrix& adjacency, std::span<const int32_t> labels,
                               int64_t classes) {
  check_labels(labels, adjacency.rows, classes);
  return statistics_of(block_counts(adjacency, labels, classes), labels, classes,
                       static_cast<double>(adjacency.nnz()));
}

}  // namespace tessera::algorithms::hignn
