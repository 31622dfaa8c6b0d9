#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace tessera::algorithms::bigset {

/// How well scores tell anomalies from background. `tau` runs over scores scaled to [0, 1].
struct Evaluation {
  double auc = 0;         // of detection against false alarms, (Pd, Pf); ties share ranks
  double auc_pd_tau = 0;  // mean scaled score of anomalies
  double auc_pf_tau = 0;  // of background; low is good
  double auc_td = 0, auc_bs = 0, auc_tdbs = 0, auc_odp = 0, auc_snpr = 0;  // Chang's sums of these
  double pd_at_1e3 = 0, pd_at_1e2 = 0;  // detection at 0.1 % and 1 % of false alarms
  double average_precision = 0;

  static void visit(auto& self, auto&& f) {
    f("auc", self.auc);
    f("auc_pd_tau", self.auc_pd_tau);
    f("auc_pf_tau", self.auc_pf_tau);
    f("auc_td", self.auc_td);
    f("auc_bs", self.auc_bs);
    f("auc_tdbs", self.auc_tdbs);
    f("auc_odp", self.auc_odp);
    f("auc_snpr", self.auc_snpr);
    f("pd_at_1e3", self.pd_at_1e3);
    f("pd_at_1e2", self.pd_at_1e2);
    f("average_precision", self.average_precision);
  }
};

/// Scores and truth (1 = anomaly) of pixels with `valid` 1. Throws where there are no anomalies or
/// nothing else, and on scores that are not numbers.
Evaluation evaluate(std::span<const double> scores, std::span<const uint8_t> truth,
                    std::span<const uint8_t> valid);

/// The receiver operating characteristic: false alarm and detection rates for falling thresholds,
/// from (0, 0) to (1, 1), a point wherever the score changes.
struct Roc {
  std::vector<double> pf, pd;
};
Roc roc_curve(std::span<const double> scores, std::span<const uint8_t> truth,
              std::span<const uint8_t> valid);

/// How many pixels a mask should hold, estimated from RX scores before any training (BiGSeT calls
/// for such an estimate without saying which). With L = ln d, and MAD the median distance to the
/// median times 1.4826:
enum class ProportionRule : uint8_t {
  log_mad,    // L > median L + 4 MAD(L)
  mean_3std,  // d > mean + 3 standard deviations
  mad_6,      // d > median + 6 MAD(d)
  mad_10,
  otsu,  // Otsu's threshold of d
};
std::string_view to_string(ProportionRule rule);
void parse(std::string_view text, ProportionRule& rule);
/// The share of the scores beyond the rule's threshold.
double proportion(std::span<const double> rx_scores, ProportionRule rule);

/// The threshold that splits values into two classes of least variance (Otsu 1979), over 256 equal
/// bins; values above it are the upper class. The least value when all are equal.
double otsu_threshold(std::span<const double> values);

}  // namespace tessera::algorithms::bigset
