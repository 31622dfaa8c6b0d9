#include "tessera/models/metrics.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tessera::models {
namespace {

template <class T>
int64_t argmax_row(const T* row, int64_t n) {
  int64_t best = 0;
  for (int64_t c = 1; c < n; ++c)
    if (static_cast<double>(row[c]) > static_cast<double>(row[best])) best = c;
  return best;
}

template <class Rows>
double share_correct(const Tensor& logits, const Tensor& labels, int64_t count, Rows&& row_of) {
  TS_CHECK(logits.rank() == 2 && labels.rank() == 1 && logits.size(0) == labels.size(0),
           "accuracy: logits ", logits, " and labels ", labels, " do not fit");
  TS_CHECK(count > 0, "accuracy: no rows");
  const Tensor l = logits.to(Device::cpu()).clone(), y = labels.to(Device::cpu()).clone();
  const int64_t n = l.size(0), classes = l.size(1);
  int64_t correct = 0;
  for_float(l.dtype(), "accuracy", [&]<class T>() {
    for_index(y.dtype(), "accuracy", [&]<class I>() {
      for (int64_t i = 0; i < count; ++i) {
        const int64_t r = row_of(i);
        TS_CHECK(r >= 0 && r < n, "accuracy: row ", r, " of ", n);
        correct += argmax_row(static_cast<const T*>(l.data()) + r * classes, classes) ==
                   static_cast<int64_t>(static_cast<const I*>(y.data())[r]);
      }
    });
  });
  return static_cast<double>(correct) / static_cast<double>(count);
}

}  // namespace

double accuracy(const Tensor& logits, const Tensor& labels) {
  return share_correct(logits, labels, logits.rank() == 2 ? logits.size(0) : 0,
                       [](int64_t i) { return i; });
}

double accuracy(const Tensor& logits, const Tensor& labels, std::span<const int64_t> rows) {
  return share_correct(logits, labels, static_cast<int64_t>(rows.size()),
                       [&](int64_t i) { return rows[static_cast<size_t>(i)]; });
}

double roc_auc(std::span<const double> scores, std::span<const uint8_t> positive) {
  TS_CHECK(scores.size() == positive.size(), "roc_auc: ", scores.size(), " scores, ",
           positive.size(), " labels");
  std::vector<size_t> order(scores.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] < scores[b]; });
  double rank_sum = 0, positives = 0;
  for (size_t i = 0; i < order.size();) {
    size_t end = i;
    while (end < order.size() && scores[order[end]] == scores[order[i]]) ++end;
    const double middle = 0.5 * static_cast<double>(i + 1 + end);
    for (; i < end; ++i) {
      if (!positive[order[i]]) continue;
      rank_sum += middle;
      ++positives;
    }
  }
  const double negatives = static_cast<double>(scores.size()) - positives;
  TS_CHECK(positives > 0 && negatives > 0, "roc_auc: both classes must occur, have ", positives,
           " positives and ", negatives, " negatives");
  return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives);
}

MeanStd mean_std(std::span<const double> values) {
  TS_CHECK(!values.empty(), "mean_std: no values");
  MeanStd out;
  const auto n = static_cast<double>(values.size());
  out.mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (double v : values) squares += (v - out.mean) * (v - out.mean);
  out.std = values.size() > 1 ? std::sqrt(squares / (n - 1)) : 0.0;
  return out;
}

}  // namespace tessera::models
