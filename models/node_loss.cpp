#include "tessera/models/node_loss.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/ops/sparse.hpp"

namespace tessera::models {

NodeLoss::NodeLoss(const Tensor& labels, std::span<const Split> splits) {
  const auto runs = static_cast<int64_t>(splits.size());
  const Device device = labels.device();
  std::vector<int64_t> rows, offsets{0};
  for (int64_t r = 0; r < runs; ++r) {
    for (const int64_t node : splits[static_cast<size_t>(r)].train) rows.push_back(node * runs + r);
    offsets.push_back(static_cast<int64_t>(rows.size()));
  }
  selection_.rows = Tensor::from(rows, {static_cast<int64_t>(rows.size())}, device);
  selection_.reduction = autograd::LossReduction::none;
  offsets_ = Tensor::from(offsets, {runs + 1}, device);
  const auto values = autograd::convert(labels, DType::i64).values<int64_t>();
  std::vector<int64_t> repeated;
  for (const int64_t label : values)
    repeated.insert(repeated.end(), static_cast<size_t>(runs), label);
  labels_ = Tensor::from(repeated, {static_cast<int64_t>(repeated.size())}, device);
}

Var NodeLoss::operator()(const Var& logits) const {
  const Var costs = autograd::cross_entropy(
      autograd::reshape(logits, {labels_.size(0), logits.size(-1)}), labels_, selection_);
  return autograd::segment_mean(autograd::unsqueeze(costs, 1), offsets_);
}

}  // namespace tessera::models
