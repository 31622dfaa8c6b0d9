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
  rows_ = Tensor::from(rows, {static_cast<int64_t>(rows.size())}, device);
  offsets_ = Tensor::from(offsets, {runs + 1}, device);
  const auto values = autograd::convert(labels, DType::i64).values<int64_t>();
  std::vector<int64_t> repeated;
  for (const int64_t label : values)
    repeated.insert(repeated.end(), static_cast<size_t>(runs), label);
  labels_ = Tensor::from(repeated, {static_cast<int64_t>(repeated.size())}, device);
  positive_ = autograd::convert(labels_, DType::f32).reshape({labels_.size(0), 1});
}

Var NodeLoss::operator()(const Var& logits) const {
  const Var flat = autograd::reshape(logits, {labels_.size(0), logits.size(-1)});
  constexpr auto each = autograd::LossReduction::none;
  const Var costs =
      logits.size(-1) == 1
          ? autograd::binary_cross_entropy_with_logits(flat,
                                                       autograd::convert(positive_, logits.dtype()),
                                                       {.reduction = each, .rows = rows_})
          : autograd::cross_entropy(flat, labels_, {.reduction = each, .rows = rows_});
  return autograd::segment_mean(autograd::reshape(costs, {rows_.size(0), 1}), offsets_);
}

}  // namespace tessera::models
