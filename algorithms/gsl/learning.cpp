#include "tessera/algorithms/gsl/learning.hpp"

#include "tessera/models/metrics.hpp"

namespace tessera::algorithms::gsl {

Problem prepare(models::GraphData graph, bool normalize_features, Device device) {
  TS_CHECK(graph.has_features() && graph.features() >= 1, "gsl: graph ", graph.name,
           " has no node features to build a structure from");
  if (normalize_features) models::normalize_feature_rows(graph);
  const bool sparse = graph.sparse_features.col.defined();
  const Tensor x = graph.features_as_dense().to(device);
  return {graph.name,
          graph.adjacency,
          models::GraphOperators(graph.adjacency, device),
          sparse ? models::NodeFeatures(graph.sparse_features.to(device)) : models::NodeFeatures(x),
          x,
          graph.labels,
          graph.classes};
}

NodeTask::NodeTask(const Problem& problem, std::span<const models::Split> splits)
    : splits_(splits.begin(), splits.end()),
      labels_(problem.labels),
      device_(problem.device()),
      loss_(problem.labels.to(problem.device()), splits) {
  TS_CHECK(!splits_.empty(), "gsl: no splits to train on");
  for (int64_t r = 0; r < runs(); ++r)
    TS_CHECK(!split(r).train.empty() && !split(r).validation.empty() && !split(r).test.empty(),
             "gsl: split ", r, " of graph ", problem.name,
             " has no nodes to train, to validate or to test on");
}

std::vector<Scores> NodeTask::scores(const Tensor& logits) const {
  const Tensor all = logits.to(Device::cpu());
  std::vector<Scores> result;
  for (int64_t r = 0; r < runs(); ++r) {
    const Tensor own = all.rank() == 3 ? all.select(1, r).clone() : all;
    result.push_back({.train = models::accuracy(own, labels_, split(r).train),
                      .validation = models::accuracy(own, labels_, split(r).validation),
                      .test = models::accuracy(own, labels_, split(r).test)});
  }
  return result;
}

void GroupedAdam::update(const models::Vars& parameters, const std::vector<std::string>& names,
                         models::Inputs gradients) {
  std::vector<bool> taken(names.size());
  for (Group& group : groups_) {
    models::Vars own, own_gradients;
    std::vector<std::string> own_names;
    for (size_t i = 0; i < names.size(); ++i) {
      if (taken[i] || !names[i].starts_with(group.prefix)) continue;
      taken[i] = true;
      own.push_back(parameters[i]);
      own_names.push_back(names[i]);
      own_gradients.push_back(gradients[i]);
    }
    if (!own.empty()) group.adam.update(own, own_names, own_gradients);
  }
  for (size_t i = 0; i < names.size(); ++i)
    TS_CHECK(taken[i], "gsl: parameter ", names[i], " belongs to no group of the optimizer");
}

}  // namespace tessera::algorithms::gsl
