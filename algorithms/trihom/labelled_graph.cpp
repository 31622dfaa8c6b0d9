#include "tessera/algorithms/trihom/labelled_graph.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/runtime/config.hpp"

namespace tessera::algorithms::trihom {
namespace {

constexpr std::string_view mode_names[] = {"correct", "compat"};

size_t at(int64_t i) { return static_cast<size_t>(i); }

void renumber_classes(LabelledGraph& graph) {
  const int32_t most = *std::max_element(graph.label.begin(), graph.label.end());
  std::vector<int64_t> count(at(most) + 1);
  for (const int32_t label : graph.label) ++count[at(label)];
  std::vector<int32_t> number(count.size());
  for (size_t c = 0; c < count.size(); ++c) {
    if (count[c] == 0) continue;
    number[c] = static_cast<int32_t>(graph.class_size.size());
    graph.class_size.push_back(count[c]);
    graph.class_id.push_back(static_cast<int64_t>(c));
  }
  for (int32_t& label : graph.label) label = number[at(label)];
}

Neighbours with_loops(const Neighbours& plain, const std::vector<int64_t>& loops) {
  Neighbours out;
  size_t next = 0;
  for (int64_t i = 0; i < plain.nodes(); ++i) {
    const auto begin = plain.node.begin() + plain.first[at(i)],
               end = plain.node.begin() + plain.first[at(i) + 1];
    const bool loop = next < loops.size() && loops[next] == i;
    next += loop;
    const auto middle = loop ? std::lower_bound(begin, end, static_cast<int32_t>(i)) : end;
    out.node.insert(out.node.end(), begin, middle);
    if (loop) out.node.push_back(static_cast<int32_t>(i));
    out.node.insert(out.node.end(), middle, end);
    out.first.push_back(static_cast<int32_t>(out.node.size()));
  }
  return out;
}

}  // namespace

std::string_view to_string(Mode mode) { return mode_names[static_cast<int>(mode)]; }
void parse(std::string_view text, Mode& mode) { parse_enum(text, mode_names, mode); }

LabelledGraph labelled_graph(const models::GraphData& data, Mode mode) {
  LabelledGraph graph;
  graph.name = data.name;
  const auto labels = data.labels.host<int32_t>();
  std::vector<int32_t> number(at(data.nodes), -1);  // among the nodes that are kept
  for (int64_t i = 0; i < data.nodes; ++i) {
    if (mode == Mode::correct &&
        std::binary_search(data.unlabelled.begin(), data.unlabelled.end(), i))
      continue;
    number[at(i)] = static_cast<int32_t>(graph.node_id.size());
    graph.node_id.push_back(i);
    graph.label.push_back(labels[at(i)]);
  }
  TS_CHECK(!graph.label.empty(), "graph ", data.name, " has no node with a label");
  renumber_classes(graph);
  TS_CHECK(graph.nodes() * graph.classes() <= int64_t{1} << 28, "graph ", data.name, ": ",
           graph.nodes(), " nodes times ", graph.classes(), " classes are more than 2^28");

  const auto row_ptr = data.adjacency.row_ptr.host<int32_t>();
  const auto col = data.adjacency.col.host<int32_t>();
  for (const int64_t i : graph.node_id) {
    for (int32_t e = row_ptr[at(i)]; e < row_ptr[at(i) + 1]; ++e)
      if (const int32_t j = number[at(col[at(e)])]; j >= 0) graph.neighbours.node.push_back(j);
    graph.neighbours.first.push_back(static_cast<int32_t>(graph.neighbours.node.size()));
  }
  graph.with_loops = mode == Mode::compat && !data.self_loops.empty()
                         ? with_loops(graph.neighbours, data.self_loops)
                         : graph.neighbours;
  return graph;
}

std::vector<int32_t> class_counts(const Neighbours& neighbours, const LabelledGraph& graph) {
  const size_t classes = at(graph.classes());
  std::vector<int32_t> counts(at(graph.nodes()) * classes);
  for (size_t i = 0; i < at(graph.nodes()); ++i)
    for (int32_t e = neighbours.first[i]; e < neighbours.first[i + 1]; ++e)
      ++counts[i * classes + at(graph.label[at(neighbours.node[at(e)])])];
  return counts;
}

FeatureRows feature_rows(const models::GraphData& data, const LabelledGraph& graph) {
  TS_CHECK(data.has_features(), "graph ", data.name, " has no features");
  FeatureRows rows;
  rows.features = data.features();
  const auto add = [&](int64_t node, int64_t feature, double value) {
    TS_CHECK(std::isfinite(value), "graph ", data.name, ": feature ", feature, " of node ", node,
             " is ", value);
    if (value == 0) return;
    rows.column.push_back(static_cast<int32_t>(feature));
    rows.value.push_back(value);
  };
  const bool dense = data.dense_features.defined();
  const auto x = dense ? data.dense_features.host<float>() : std::span<const float>{};
  const auto& sparse = data.sparse_features;
  const auto row_ptr = dense ? std::span<const int32_t>{} : sparse.row_ptr.host<int32_t>(),
             col = dense ? std::span<const int32_t>{} : sparse.col.host<int32_t>();
  const auto values =
      !dense && sparse.values.defined() ? sparse.values.host<float>() : std::span<const float>{};
  std::vector<std::pair<int32_t, double>> entries;
  for (const int64_t i : graph.node_id) {
    if (dense) {
      for (int64_t f = 0; f < rows.features; ++f) add(i, f, x[at(i * rows.features + f)]);
    } else {
      entries.clear();
      for (int32_t e = row_ptr[at(i)]; e < row_ptr[at(i) + 1]; ++e)
        entries.emplace_back(col[at(e)], values.empty() ? 1.0 : values[at(e)]);
      std::sort(entries.begin(), entries.end());
      for (size_t k = 0; k < entries.size();) {
        double sum = 0;
        const int32_t f = entries[k].first;
        for (; k < entries.size() && entries[k].first == f; ++k) sum += entries[k].second;
        add(i, f, sum);
      }
    }
    rows.first.push_back(static_cast<int64_t>(rows.column.size()));
  }
  return rows;
}

FeatureRows l1_normalized(FeatureRows rows) {
  for (size_t i = 0; i < at(rows.rows()); ++i) {
    double sum = 0;
    for (size_t e = at(rows.first[i]); e < at(rows.first[i + 1]); ++e)
      sum += std::abs(rows.value[e]);
    for (size_t e = at(rows.first[i]); e < at(rows.first[i + 1]); ++e) rows.value[e] /= sum;
  }
  return rows;
}

}  // namespace tessera::algorithms::trihom
