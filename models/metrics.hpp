#pragma once

#include <span>
#include <vector>

#include "tessera/runtime/tensor.hpp"

/// Evaluation of predictions, on the host, in double.
namespace tessera::models {

/// Share of rows whose largest logit (the first of ties) is at the label. logits [n, classes]
/// floating; labels [n] i64 or i32; `rows` restricts the share to those row numbers.
double accuracy(const Tensor& logits, const Tensor& labels);
double accuracy(const Tensor& logits, const Tensor& labels, std::span<const int64_t> rows);

/// Area under the ROC curve by the rank sum, ties at their middle rank. `positive[i]` is 0 or 1;
/// both must occur.
double roc_auc(std::span<const double> scores, std::span<const uint8_t> positive);

struct MeanStd {
  double mean = 0;
  double std = 0;  // sample standard deviation (n - 1); 0 for a single value
};
MeanStd mean_std(std::span<const double> values);

}  // namespace tessera::models
