#include "tessera/algorithms/bigset/evaluation.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/models/metrics.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::algorithms::bigset {
namespace {

constexpr std::string_view rule_names[] = {"log_mad", "mean_3std", "mad_6", "mad_10", "otsu"};

/// Scores of valid pixels, greatest first, with their truth.
struct Ranked {
  std::vector<double> scores;
  std::vector<uint8_t> anomaly;
  double anomalies = 0, background = 0;
};

Ranked ranked(std::span<const double> scores, std::span<const uint8_t> truth,
              std::span<const uint8_t> valid) {
  TS_CHECK(scores.size() == truth.size() && scores.size() == valid.size(),
           "evaluate: ", scores.size(), " scores, truth of ", truth.size(), " pixels, ",
           valid.size(), " that may be valid");
  std::vector<size_t> order;
  for (size_t p = 0; p < scores.size(); ++p) {
    if (!valid[p]) continue;
    TS_CHECK(std::isfinite(scores[p]), "evaluate: the score of pixel ", p, " is ", scores[p]);
    order.push_back(p);
  }
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return scores[a] > scores[b]; });
  Ranked r;
  for (const size_t p : order) {
    r.scores.push_back(scores[p]);
    r.anomaly.push_back(truth[p]);
    ++(truth[p] ? r.anomalies : r.background);
  }
  TS_CHECK(r.anomalies > 0 && r.background > 0, "evaluate: ", r.anomalies, " anomalies among ",
           r.anomalies + r.background, " pixels: a curve needs both kinds");
  return r;
}

Roc curve(const Ranked& r) {
  Roc roc{{0}, {0}};
  double hits = 0, alarms = 0;
  for (size_t i = 0; i < r.scores.size(); ++i) {
    ++(r.anomaly[i] ? hits : alarms);
    if (i + 1 < r.scores.size() && r.scores[i + 1] == r.scores[i]) continue;
    roc.pf.push_back(alarms / r.background);
    roc.pd.push_back(hits / r.anomalies);
  }
  return roc;
}

/// Detection where false alarms reach `pf`, between the curve's points in a straight line.
double detection_at(const Roc& roc, double pf) {
  const auto after = std::upper_bound(roc.pf.begin(), roc.pf.end(), pf);
  if (after == roc.pf.end()) return roc.pd.back();
  const auto i = static_cast<size_t>(after - roc.pf.begin());
  const double share = (pf - roc.pf[i - 1]) / (roc.pf[i] - roc.pf[i - 1]);
  return roc.pd[i - 1] + share * (roc.pd[i] - roc.pd[i - 1]);
}

double median(std::vector<double> values) {
  const size_t middle = values.size() / 2;
  std::nth_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle),
                   values.end());
  const double upper = values[middle];
  if (values.size() % 2 == 1) return upper;
  return (upper +
          *std::max_element(values.begin(), values.begin() + static_cast<std::ptrdiff_t>(middle))) /
         2;
}

double threshold_by_mad(const std::vector<double>& values, double factor) {
  const double middle = median(values);
  std::vector<double> apart;
  apart.reserve(values.size());
  for (const double v : values) apart.push_back(std::abs(v - middle));
  return middle + factor * 1.4826 * median(apart);
}

}  // namespace

Evaluation evaluate(std::span<const double> scores, std::span<const uint8_t> truth,
                    std::span<const uint8_t> valid) {
  const Ranked r = ranked(scores, truth, valid);
  const Roc roc = curve(r);
  Evaluation e;
  e.auc = models::roc_auc(r.scores, r.anomaly);
  const double greatest = r.scores.front(), least = r.scores.back();
  double hits = 0;
  for (size_t i = 0; i < r.scores.size(); ++i) {
    const double scaled = greatest > least ? (r.scores[i] - least) / (greatest - least) : 0;
    (r.anomaly[i] ? e.auc_pd_tau : e.auc_pf_tau) +=
        scaled / (r.anomaly[i] ? r.anomalies : r.background);
  }
  // precision where each run of equal scores ends, weighted by the anomalies in it
  double found = 0;
  for (size_t i = 0; i < r.scores.size(); ++i) {
    hits += r.anomaly[i];
    if (i + 1 < r.scores.size() && r.scores[i + 1] == r.scores[i]) continue;
    e.average_precision += (hits - found) / r.anomalies * hits / static_cast<double>(i + 1);
    found = hits;
  }
  e.auc_td = e.auc + e.auc_pd_tau;
  e.auc_bs = e.auc - e.auc_pf_tau;
  e.auc_tdbs = e.auc_pd_tau - e.auc_pf_tau;
  e.auc_odp = e.auc + e.auc_pd_tau - e.auc_pf_tau;
  e.auc_snpr = e.auc_pd_tau / e.auc_pf_tau;
  e.pd_at_1e3 = detection_at(roc, 1e-3);
  e.pd_at_1e2 = detection_at(roc, 1e-2);
  return e;
}

Roc roc_curve(std::span<const double> scores, std::span<const uint8_t> truth,
              std::span<const uint8_t> valid) {
  return curve(ranked(scores, truth, valid));
}

std::string_view to_string(ProportionRule rule) { return rule_names[static_cast<int>(rule)]; }
void parse(std::string_view text, ProportionRule& rule) { parse_enum(text, rule_names, rule); }

double proportion(std::span<const double> rx_scores, ProportionRule rule) {
  std::vector<double> values;
  for (const double d : rx_scores)
    if (std::isfinite(d)) values.push_back(d);
  TS_CHECK(!values.empty(), "proportion: no scores");
  const auto count = static_cast<double>(values.size());
  double threshold = 0;
  switch (rule) {
    case ProportionRule::log_mad:
      for (double& v : values) v = std::log(std::max(v, 1e-300));
      threshold = threshold_by_mad(values, 4);
      break;
    case ProportionRule::mean_3std: {
      const models::MeanStd of = models::mean_std(values);
      threshold = of.mean + 3 * of.std;
      break;
    }
    case ProportionRule::mad_6:
      threshold = threshold_by_mad(values, 6);
      break;
    case ProportionRule::mad_10:
      threshold = threshold_by_mad(values, 10);
      break;
    case ProportionRule::otsu:
      threshold = otsu_threshold(values);
      break;
  }
  return static_cast<double>(
             std::count_if(values.begin(), values.end(), [&](double v) { return v > threshold; })) /
         count;
}

double otsu_threshold(std::span<const double> values) {
  TS_CHECK(!values.empty(), "otsu_threshold: no values");
  constexpr size_t bins = 256;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  if (!(*high > *low)) return *low;
  const double width = (*high - *low) / bins;
  std::vector<double> count(bins);
  for (const double v : values)
    ++count[std::min(bins - 1, static_cast<size_t>((v - *low) / width))];
  const auto centre = [&](size_t b) { return *low + (static_cast<double>(b) + 0.5) * width; };
  double total = 0, sum = 0;
  for (size_t b = 0; b < bins; ++b) {
    total += count[b];
    sum += count[b] * centre(b);
  }
  double below = 0, sum_below = 0, best = -1, threshold = *low;
  for (size_t b = 0; b + 1 < bins; ++b) {
    below += count[b];
    sum_below += count[b] * centre(b);
    if (below == 0 || below == total) continue;
    const double apart = sum_below / below - (sum - sum_below) / (total - below);
    const double between = below * (total - below) * apart * apart;
    if (between > best) {
      best = between;
      threshold = *low + static_cast<double>(b + 1) * width;
    }
  }
  return threshold;
}

}  // namespace tessera::algorithms::bigset
