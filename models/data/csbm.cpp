#include "tessera/models/data/csbm.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <utility>

#include "tessera/models/data/spectrum.hpp"
#include "tessera/models/init.hpp"

namespace tessera::models {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

void add_splits(GraphData& graph, int64_t count, const Rng& rng) {
  for (int64_t s = 0; s < count; ++s)
    graph.fixed_splits.push_back(split_by_half(graph.nodes, rng.split(static_cast<uint64_t>(s))));
}

struct Edges {
  std::vector<int64_t> from, to;
};

CsrMatrix adjacency_of(int64_t nodes, const Edges& edges, EdgeOptions::SelfLoops loops) {
  CsrMatrix a = CsrMatrix::from_edges(
      nodes, nodes, edges.from, edges.to,
      {.duplicates = EdgeOptions::Duplicates::merge, .self_loops = loops, .symmetrize = true});
  a.symmetric = true;
  return a;
}

Edges bernoulli_edges(const Csbm3hOptions& o, const std::vector<int32_t>& labels, Rng rng) {
  const auto classes = static_cast<double>(o.classes);
  std::vector<double> root(labels.size());  // of the expected degree
  for (double& r : root)
    r = std::sqrt(static_cast<double>(
        o.degree_low +
        static_cast<int64_t>(rng.below(static_cast<uint64_t>(o.degree_high - o.degree_low + 1)))));
  const double beside = (1 - o.label_homophily) / (classes - 1),
               deviation = (1 - o.structural_homophily) / std::sqrt(classes - 1);
  Edges edges;
  std::vector<double> share(at(o.classes));  // a row of Z S + noise
  for (int64_t i = 0; i < o.nodes; ++i) {
    for (int64_t c = 0; c < o.classes; ++c)
      share[at(c)] = (labels[at(i)] == c ? o.label_homophily : beside) + deviation * normal(rng);
    const double scale = classes / static_cast<double>(o.nodes) * root[at(i)];
    for (int64_t j = i; j < o.nodes; ++j)
      if (rng.uniform() < scale * root[at(j)] * share[at(labels[at(j)])]) {
        edges.from.push_back(i);
        edges.to.push_back(j);
      }
  }
  return edges;
}

Tensor graph_filtered_features(const Csbm3hOptions& o, const std::vector<int32_t>& labels,
                               const CsrMatrix& adjacency, Rng rng) {
  const double radius = spectral_radius(adjacency);
  const double weight = radius > 0 ? o.feature_homophily / radius : 0;
  Tensor x = Tensor::empty({o.nodes, o.features}, DType::f32, Device::cpu());
  const auto out = x.host_mutable<float>();
  std::vector<double> mean(at(o.classes)), deviation(mean.size()), column(labels.size());
  for (int64_t f = 0; f < o.features; ++f) {
    for (double& m : mean) m = rng.uniform();
    for (double& d : deviation) d = std::sqrt(rng.uniform());
    for (size_t i = 0; i < labels.size(); ++i)
      column[i] = mean[at(labels[i])] + deviation[at(labels[i])] * normal(rng);
    const auto filtered = solve_shifted(adjacency, weight, column);
    for (size_t i = 0; i < labels.size(); ++i)
      out[i * at(o.features) + at(f)] = static_cast<float>(filtered[i]);
  }
  return x;
}

}  // namespace

Split split_by_half(int64_t nodes, Rng rng) {
  TS_CHECK(nodes >= 4, "split_by_half: ", nodes, " nodes; expected at least 4");
  std::vector<int64_t> order(at(nodes));
  std::iota(order.begin(), order.end(), int64_t{0});
  shuffle(order.begin(), order.end(), rng);
  const auto half = order.begin() + nodes / 2, quarter = half + nodes / 4;
  Split split{{order.begin(), half}, {half, quarter}, {quarter, order.end()}};
  for (auto* part : {&split.train, &split.validation, &split.test})
    std::sort(part->begin(), part->end());
  return split;
}

GraphData csbm_3h(const Csbm3hOptions& o, const Rng& rng) {
  TS_CHECK(
      o.nodes >= 4 && o.nodes <= 30000 && o.classes >= 2 && o.classes <= o.nodes && o.features >= 1,
      "csbm_3h: ", o.nodes, " nodes of ", o.classes, " classes with ", o.features,
      " features; expected 4 to 30000, at least 2 and at least 1");
  TS_CHECK(o.degree_low >= 0 && o.degree_low <= o.degree_high && o.degree_high < o.nodes,
           "csbm_3h: degrees from ", o.degree_low, " to ", o.degree_high, " for ", o.nodes,
           " nodes");
  TS_CHECK(o.label_homophily >= 0 && o.label_homophily <= 1 && o.structural_homophily >= 0 &&
               o.structural_homophily <= 1 && std::abs(o.feature_homophily) < 1,
           "csbm_3h: h_L ", o.label_homophily, ", h_S ", o.structural_homophily, ", h_F ",
           o.feature_homophily, "; expected [0, 1], [0, 1], (-1, 1)");
  GraphData graph;
  graph.name = "csbm_3h";
  graph.nodes = o.nodes;
  graph.classes = o.classes;
  Rng label_rng = rng.split(0);
  std::vector<int32_t> labels(at(o.nodes));
  for (int32_t& label : labels)
    label = static_cast<int32_t>(label_rng.below(static_cast<uint64_t>(o.classes)));
  graph.labels = Tensor::from(labels, {o.nodes}, Device::cpu());

  const Edges edges = bernoulli_edges(o, labels, rng.split(1));
  graph.dense_features = graph_filtered_features(
      o, labels, adjacency_of(o.nodes, edges, EdgeOptions::SelfLoops::keep), rng.split(2));
  graph.adjacency = adjacency_of(o.nodes, edges, EdgeOptions::SelfLoops::remove);
  for (size_t e = 0; e < edges.from.size(); ++e)
    if (edges.from[e] == edges.to[e]) graph.self_loops.push_back(edges.from[e]);
  add_splits(graph, o.splits, rng.split(3));
  return graph;
}

GraphData csbm_h(const CsbmHOptions& o, const Rng& rng) {
  TS_CHECK(o.nodes0 >= 1 && o.nodes1 >= 1 && o.nodes0 + o.nodes1 >= 4 &&
               o.nodes0 + o.nodes1 <= INT32_MAX,
           "csbm_h: ", o.nodes0, " and ", o.nodes1, " nodes");
  TS_CHECK(!o.mean0.empty() && o.mean0.size() == o.mean1.size(), "csbm_h: means of ",
           o.mean0.size(), " and ", o.mean1.size(), " features");
  TS_CHECK(o.variance0 >= 0 && o.variance1 >= 0 && o.degree0 >= 0 && o.degree1 >= 0 &&
               o.homophily >= 0 && o.homophily <= 1,
           "csbm_h: variances ", o.variance0, " and ", o.variance1, ", degrees ", o.degree0,
           " and ", o.degree1, ", homophily ", o.homophily);
  GraphData graph;
  graph.name = "csbm_h";
  graph.nodes = o.nodes0 + o.nodes1;
  graph.classes = 2;
  std::vector<int32_t> labels(at(o.nodes0), 0);
  labels.resize(at(graph.nodes), 1);
  graph.labels = Tensor::from(labels, {graph.nodes}, Device::cpu());

  Rng edge_rng = rng.split(0);
  const auto within = [&](int64_t count) {
    return static_cast<int64_t>(edge_rng.below(static_cast<uint64_t>(count)));
  };
  Edges edges;
  for (int64_t i = 0; i < graph.nodes; ++i) {
    const bool second = i >= o.nodes0;
    const double wanted = (second ? o.degree1 : o.degree0) / 2, whole = std::floor(wanted);
    const int64_t draws = static_cast<int64_t>(whole) + (edge_rng.uniform() < wanted - whole);
    for (int64_t k = 0; k < draws; ++k) {
      const bool other = edge_rng.uniform() >= o.homophily;
      edges.from.push_back(i);
      edges.to.push_back(second != other ? o.nodes0 + within(o.nodes1) : within(o.nodes0));
    }
  }
  graph.adjacency = adjacency_of(graph.nodes, edges, EdgeOptions::SelfLoops::remove);

  Rng feature_rng = rng.split(1);
  const auto width = static_cast<int64_t>(o.mean0.size());
  graph.dense_features = Tensor::empty({graph.nodes, width}, DType::f32, Device::cpu());
  const auto x = graph.dense_features.host_mutable<float>();
  for (int64_t i = 0; i < graph.nodes; ++i) {
    const auto& mean = i < o.nodes0 ? o.mean0 : o.mean1;
    const double deviation = std::sqrt(i < o.nodes0 ? o.variance0 : o.variance1);
    for (int64_t f = 0; f < width; ++f)
      x[at(i * width + f)] = static_cast<float>(mean[at(f)] + deviation * normal(feature_rng));
  }
  add_splits(graph, o.splits, rng.split(2));
  return graph;
}

}  // namespace tessera::models
