#include "tessera/models/node_metric.hpp"

#include <algorithm>

#include "tessera/autograd/launch.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/runtime/config.hpp"

namespace tessera::models {
namespace {

constexpr std::string_view names[] = {"auto", "accuracy", "auc"};

}  // namespace

std::string_view to_string(NodeMetric metric) { return names[static_cast<int>(metric)]; }
void parse(std::string_view text, NodeMetric& metric) { parse_enum(text, names, metric); }

NodeMetric metric_for(NodeMetric metric, int64_t classes) {
  if (metric == NodeMetric::automatic) return classes == 2 ? NodeMetric::auc : NodeMetric::accuracy;
  TS_CHECK(metric != NodeMetric::auc || classes == 2, "metric auc: the graph has ", classes,
           " classes; ROC AUC is of two, accuracy of any number");
  return metric;
}

void check_split(NodeMetric metric, const Tensor& labels, const Split& split, size_t run) {
  if (metric != NodeMetric::auc) return;
  const auto label = autograd::convert(labels.to(Device::cpu()), DType::i64).values<int64_t>();
  const auto check = [&](std::string_view part, const std::vector<int64_t>& nodes) {
    const auto ones = std::count_if(nodes.begin(), nodes.end(),
                                    [&](int64_t i) { return label[static_cast<size_t>(i)] == 1; });
    TS_CHECK(ones > 0 && ones < std::ssize(nodes), "metric auc: the ", part, " nodes of run ", run,
             " are ", std::ssize(nodes) - ones, " of class 0 and ", ones,
             " of class 1; ROC AUC needs some of both");
  };
  check("training", split.train);
  check("validation", split.validation);
  check("test", split.test);
}

double node_score(NodeMetric metric, const Tensor& logits, const Tensor& labels,
                  std::span<const int64_t> nodes) {
  TS_CHECK(metric != NodeMetric::automatic, "node_score: the metric is open, see metric_for");
  if (metric == NodeMetric::accuracy) return accuracy(logits, labels, nodes);
  TS_CHECK(logits.rank() == 2 && (logits.size(1) == 1 || logits.size(1) == 2) &&
               labels.rank() == 1 && labels.size(0) == logits.size(0),
           "node_score: AUC of logits ", logits, " and labels ", labels,
           "; expected [n, 1] or [n, 2] and [n]");
  const auto outputs = static_cast<size_t>(logits.size(1));
  const auto z = autograd::convert(logits.to(Device::cpu()), DType::f64).values<double>();
  const auto label = autograd::convert(labels.to(Device::cpu()), DType::i64).values<int64_t>();
  std::vector<double> scores;
  std::vector<uint8_t> positive;
  for (const int64_t node : nodes) {
    TS_CHECK(node >= 0 && node < logits.size(0), "node_score: node ", node, " of ", logits.size(0));
    const auto i = static_cast<size_t>(node);
    scores.push_back(outputs == 1 ? z[i] : z[2 * i + 1] - z[2 * i]);
    positive.push_back(label[i] == 1);
  }
  return roc_auc(scores, positive);
}

}  // namespace tessera::models
