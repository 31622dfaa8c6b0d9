#include "tessera/models/data/graph.hpp"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <utility>

#include "tessera/runtime/config.hpp"
#include "tessera/runtime/io/npy.hpp"

namespace tessera::models {
namespace {

constexpr std::string_view split_names[] = {"public", "fixed", "random"};

// The members of one file with checks that name it.
class Members {
 public:
  Members(const std::map<std::string, Tensor>& arrays, const std::string& file)
      : arrays_(arrays), file_(file) {}

  bool has(const std::string& name) const { return arrays_.contains(name); }

  const Tensor& get(const std::string& name, int rank) const {
    const auto it = arrays_.find(name);
    if (it == arrays_.end()) {
      std::string names;
      for (const auto& [there, tensor] : arrays_) names += (names.empty() ? "only " : ", ") + there;
      throw Error(ErrorKind::io, concat(file_, ": has no array '", name, "', ",
                                        names.empty() ? "nor any other" : names));
    }
    if (it->second.rank() != rank)
      fail(name, "expected ", rank, " dimensions, found shape ", it->second.shape());
    return it->second;
  }

  std::vector<int64_t> integers(const std::string& name, int rank) const {
    const Tensor& t = get(name, rank);
    if (!is_integer(t.dtype())) fail(name, "expected integers, found ", t.dtype());
    std::vector<int64_t> out(static_cast<size_t>(t.numel()));
    for_any(t.dtype(), [&]<class T>() {
      const auto values = t.clone();
      std::transform(values.host<T>().begin(), values.host<T>().end(), out.begin(),
                     [](T value) { return static_cast<int64_t>(value); });
    });
    return out;
  }

  template <class... Parts>
  [[noreturn]] void fail(const std::string& name, const Parts&... parts) const {
    throw Error(ErrorKind::io, concat(file_, ": '", name, "': ", parts...));
  }
  const std::string& file() const { return file_; }

 private:
  const std::map<std::string, Tensor>& arrays_;
  const std::string& file_;
};

void read_labels(const Members& members, GraphData& graph) {
  const auto labels = members.integers("labels", 1);
  graph.nodes = static_cast<int64_t>(labels.size());
  if (graph.nodes == 0) members.fail("labels", "the graph has no nodes");
  if (graph.nodes > INT32_MAX)
    members.fail("labels", graph.nodes, " nodes are more than i32 can number");
  for (size_t i = 0; i < labels.size(); ++i)
    if (labels[i] < 0 || labels[i] >= graph.nodes)
      members.fail("labels", "node ", i, " has label ", labels[i],
                   "; expected one from 0, below the number of nodes");
  graph.classes = *std::max_element(labels.begin(), labels.end()) + 1;
  graph.labels = Tensor::from(std::vector<int32_t>(labels.begin(), labels.end()), {graph.nodes},
                              Device::cpu());
}

std::vector<int64_t> read_nodes(const Members& members, const std::string& name, int rank,
                                int64_t nodes) {
  auto numbers = members.integers(name, rank);
  for (size_t i = 0; i < numbers.size(); ++i)
    if (numbers[i] < 0 || numbers[i] >= nodes)
      members.fail(name, "element ", i, " is node ", numbers[i], "; expected one in [0, ", nodes,
                   ")");
  return numbers;
}

void read_edges(const Members& members, GraphData& graph) {
  if (members.get("edges", 2).size(0) != 2)
    members.fail("edges", "expected shape [2, edges], found ", members.get("edges", 2).shape());
  const auto ends = read_nodes(members, "edges", 2, graph.nodes);
  const std::span from(ends.data(), ends.size() / 2), to(ends.data() + from.size(), from.size());
  graph.adjacency = CsrMatrix::from_edges(graph.nodes, graph.nodes, from, to,
                                          {.duplicates = EdgeOptions::Duplicates::merge,
                                           .self_loops = EdgeOptions::SelfLoops::remove,
                                           .symmetrize = true});
  graph.adjacency.symmetric = true;
  if (members.has("self_loops"))
    graph.self_loops = read_nodes(members, "self_loops", 1, graph.nodes);
  for (size_t e = 0; e < from.size(); ++e)
    if (from[e] == to[e]) graph.self_loops.push_back(from[e]);
  std::sort(graph.self_loops.begin(), graph.self_loops.end());
  graph.self_loops.erase(std::unique(graph.self_loops.begin(), graph.self_loops.end()),
                         graph.self_loops.end());
}

void read_dense_features(const Members& members, GraphData& graph) {
  const Tensor& x = members.get("x", 2);
  if (x.size(0) != graph.nodes)
    members.fail("x", "expected ", graph.nodes, " rows, one for each label, found shape ",
                 x.shape());
  Tensor out = Tensor::empty(x.shape(), DType::f32, Device::cpu());
  for_any(x.dtype(), [&]<class T>() {
    const Tensor dense = x.clone();
    const auto from = dense.host<T>();
    const auto to = out.host_mutable<float>();
    for (size_t i = 0; i < from.size(); ++i) {
      to[i] = static_cast<float>(from[i]);
      if (!std::isfinite(to[i]))
        members.fail("x", "feature ", static_cast<int64_t>(i) % x.size(1), " of node ",
                     static_cast<int64_t>(i) / x.size(1), " is ", static_cast<double>(from[i]),
                     "; expected a finite number that f32 can hold");
    }
  });
  graph.dense_features = out;
}

void read_sparse_features(const Members& members, GraphData& graph) {
  const auto shape = members.integers("x_shape", 1);
  if (shape.size() != 2 || shape[0] != graph.nodes || shape[1] < 0)
    members.fail("x_shape", "expected [", graph.nodes, ", features], one row for each label");
  const auto as_i32 = [&](const std::string& name) {
    const auto values = members.integers(name, 1);
    for (const int64_t v : values)
      if (v < INT32_MIN || v > INT32_MAX) members.fail(name, v, " does not fit i32");
    return Tensor::from(std::vector<int32_t>(values.begin(), values.end()),
                        {static_cast<int64_t>(values.size())}, Device::cpu());
  };
  const Tensor row_ptr = as_i32("x_indptr"), col = as_i32("x_indices");
  try {
    graph.sparse_features = CsrMatrix::from_parts(shape[0], shape[1], row_ptr, col);
  } catch (const Error& error) {
    members.fail("x_indptr' and 'x_indices", error.what());
  }
}

std::vector<Split> read_splits(const Members& members, const std::string& prefix, int64_t nodes) {
  struct Part {
    std::string name;
    std::vector<int64_t> Split::*rows;
  };
  const Part parts[] = {{prefix + "train_masks", &Split::train},
                        {prefix + "val_masks", &Split::validation},
                        {prefix + "test_masks", &Split::test}};
  if (std::none_of(std::begin(parts), std::end(parts),
                   [&](const Part& p) { return members.has(p.name); }))
    return {};
  const Tensor& first = members.get(parts[0].name, 2);
  if (first.size(1) != nodes)
    members.fail(parts[0].name, "expected bool [splits, ", nodes, "], found shape ", first.shape());
  const int64_t count = first.size(0);
  std::vector<Split> splits(static_cast<size_t>(count));
  std::vector<int8_t> taken(static_cast<size_t>(count * nodes));
  for (const auto& [name, rows] : parts) {
    const Tensor& masks = members.get(name, 2);
    if (masks.dtype() != DType::bool_ || masks.shape() != Shape{count, nodes})
      members.fail(name, "expected bool [", count, ", ", nodes, "], found ", masks.dtype(), " ",
                   masks.shape());
    const Tensor dense = masks.clone();
    const auto mask = dense.host<bool>();
    for (int64_t i = 0; i < count * nodes; ++i) {
      if (!mask[static_cast<size_t>(i)]) continue;
      if (std::exchange(taken[static_cast<size_t>(i)], 1))
        members.fail(name, "node ", i % nodes, " of split ", i / nodes,
                     " is in another part of the split too");
      (splits[static_cast<size_t>(i / nodes)].*rows).push_back(i % nodes);
    }
    for (int64_t s = 0; s < count; ++s)
      if ((splits[static_cast<size_t>(s)].*rows).empty())
        members.fail(name, "split ", s, " is empty");
  }
  return splits;
}

// The labelled nodes of every class, each in random order.
std::vector<std::vector<int64_t>> shuffled_classes(const GraphData& graph, Rng& rng) {
  std::vector<std::vector<int64_t>> members(static_cast<size_t>(graph.classes));
  const auto labels = graph.labels.host<int32_t>();
  for (int64_t i = 0; i < graph.nodes; ++i)
    if (!std::binary_search(graph.unlabelled.begin(), graph.unlabelled.end(), i))
      members[static_cast<size_t>(labels[static_cast<size_t>(i)])].push_back(i);
  for (auto& nodes : members) shuffle(nodes.begin(), nodes.end(), rng);
  return members;
}

Split sorted(Split split) {
  for (auto* part : {&split.train, &split.validation, &split.test})
    std::sort(part->begin(), part->end());
  return split;
}

}  // namespace

std::string_view to_string(SplitKind kind) { return split_names[static_cast<size_t>(kind)]; }
void parse(std::string_view text, SplitKind& kind) { parse_enum(text, split_names, kind); }

int64_t GraphData::features() const {
  return dense_features.defined() ? dense_features.size(1) : sparse_features.cols;
}

Tensor GraphData::features_as_dense() const {
  TS_CHECK(has_features(), "graph ", name, " has no features");
  if (dense_features.defined()) return dense_features;
  Tensor out = Tensor::zeros({nodes, features()}, DType::f32, Device::cpu());
  const auto row_ptr = sparse_features.row_ptr.host<int32_t>(),
             col = sparse_features.col.host<int32_t>();
  const auto values = sparse_features.values.defined() ? sparse_features.values.host<float>()
                                                       : std::span<const float>{};
  const auto x = out.host_mutable<float>();
  for (int64_t i = 0; i < nodes; ++i)
    for (auto e = static_cast<size_t>(row_ptr[static_cast<size_t>(i)]);
         e < static_cast<size_t>(row_ptr[static_cast<size_t>(i) + 1]); ++e)
      x[static_cast<size_t>(i * features() + col[e])] += values.empty() ? 1 : values[e];
  return out;
}

int64_t GraphData::isolated_nodes() const {
  const auto row_ptr = adjacency.row_ptr.host<int32_t>();
  int64_t count = 0;
  for (size_t i = 0; i + 1 < row_ptr.size(); ++i) count += row_ptr[i] == row_ptr[i + 1];
  return count;
}

GraphData graph_from_arrays(const std::map<std::string, Tensor>& arrays, const std::string& name) {
  const Members members(arrays, name);
  GraphData graph;
  graph.name = std::filesystem::path(name).stem().string();
  read_labels(members, graph);
  read_edges(members, graph);
  if (members.has("x"))
    read_dense_features(members, graph);
  else if (members.has("x_indptr"))
    read_sparse_features(members, graph);
  if (members.has("no_label")) {
    const Tensor& mask = members.get("no_label", 1);
    if (mask.dtype() != DType::bool_ || mask.size(0) != graph.nodes)
      members.fail("no_label", "expected bool [", graph.nodes, "], found ", mask.dtype(), " ",
                   mask.shape());
    for (int64_t i = 0; i < graph.nodes; ++i)
      if (mask.host<bool>()[static_cast<size_t>(i)]) graph.unlabelled.push_back(i);
  }
  graph.fixed_splits = read_splits(members, "", graph.nodes);
  graph.public_splits = read_splits(members, "public_", graph.nodes);
  return graph;
}

GraphData load_graph(const std::string& path) { return graph_from_arrays(load_npz(path), path); }

Split choose_split(const GraphData& graph, SplitKind kind, int64_t run, const Rng& rng) {
  if (kind == SplitKind::random)
    return split_by_share(graph, 0.6, 0.2, rng.split(static_cast<uint64_t>(run)));
  const auto& splits = kind == SplitKind::public_ ? graph.public_splits : graph.fixed_splits;
  TS_CHECK(!splits.empty(), "graph ", graph.name, " has no ", kind, " split; it has ",
           graph.public_splits.size(), " public and ", graph.fixed_splits.size(),
           " fixed ones, and random ones can always be drawn");
  TS_CHECK(run >= 0, "choose_split: run ", run, " is negative");
  return splits[static_cast<size_t>(run) % splits.size()];
}

Split split_by_share(const GraphData& graph, double train_share, double validation_share, Rng rng) {
  TS_CHECK(train_share > 0 && validation_share > 0 && train_share + validation_share < 1,
           "split_by_share: shares ", train_share, " and ", validation_share,
           " must be positive, their sum below 1");
  Split split;
  for (const auto& nodes : shuffled_classes(graph, rng)) {
    const auto train = static_cast<int64_t>(train_share * static_cast<double>(nodes.size()));
    const auto validation =
        static_cast<int64_t>(validation_share * static_cast<double>(nodes.size()));
    const auto first = nodes.begin() + train, second = first + validation;
    split.train.insert(split.train.end(), nodes.begin(), first);
    split.validation.insert(split.validation.end(), first, second);
    split.test.insert(split.test.end(), second, nodes.end());
  }
  TS_CHECK(!split.train.empty() && !split.validation.empty() && !split.test.empty(),
           "split_by_share: graph ", graph.name, " with ", graph.nodes,
           " nodes is too small: a part of the split is empty");
  return sorted(std::move(split));
}

Split split_by_count(const GraphData& graph, int64_t train_per_class, int64_t validation,
                     int64_t test, Rng rng) {
  TS_CHECK(train_per_class > 0 && validation > 0 && test > 0, "split_by_count: ", train_per_class,
           " / ", validation, " / ", test, " must be positive");
  Split split;
  std::vector<int64_t> rest;
  int64_t label = 0;
  for (const auto& nodes : shuffled_classes(graph, rng)) {
    TS_CHECK(static_cast<int64_t>(nodes.size()) >= train_per_class, "split_by_count: class ", label,
             " of graph ", graph.name, " has ", nodes.size(), " nodes, ", train_per_class,
             " are wanted for training");
    const auto first = nodes.begin() + train_per_class;
    split.train.insert(split.train.end(), nodes.begin(), first);
    rest.insert(rest.end(), first, nodes.end());
    ++label;
  }
  TS_CHECK(static_cast<int64_t>(rest.size()) >= validation + test, "split_by_count: graph ",
           graph.name, " has ", rest.size(), " nodes left, ", validation, " + ", test,
           " are wanted");
  shuffle(rest.begin(), rest.end(), rng);
  split.validation.assign(rest.begin(), rest.begin() + validation);
  split.test.assign(rest.begin() + validation, rest.begin() + validation + test);
  return sorted(std::move(split));
}

void normalize_feature_rows(GraphData& graph) {
  TS_CHECK(graph.has_features(), "graph ", graph.name, " has no features");
  const auto normalize = [](std::span<float> row) {
    double sum = 0;
    for (const float value : row) sum += std::abs(value);
    if (sum > 0)
      for (float& value : row) value = static_cast<float>(value / sum);
  };
  if (graph.dense_features.defined()) {
    Tensor x = graph.dense_features.clone();
    const auto width = static_cast<size_t>(x.size(1));
    for (size_t i = 0; i < static_cast<size_t>(graph.nodes); ++i)
      normalize(x.host_mutable<float>().subspan(i * width, width));
    graph.dense_features = x;
    return;
  }
  CsrMatrix& x = graph.sparse_features;
  Tensor values = x.values.defined()
                      ? x.values.clone()
                      : Tensor::from(std::vector<float>(static_cast<size_t>(x.nnz()), 1.0f),
                                     {x.nnz()}, Device::cpu());
  const auto row_ptr = x.row_ptr.host<int32_t>();
  for (size_t i = 0; i < static_cast<size_t>(graph.nodes); ++i)
    normalize(values.host_mutable<float>().subspan(
        static_cast<size_t>(row_ptr[i]), static_cast<size_t>(row_ptr[i + 1] - row_ptr[i])));
  x = x.with_values(values);
}

}  // namespace tessera::models
