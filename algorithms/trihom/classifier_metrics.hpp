#pragma once

#include <limits>
#include <span>
#include <vector>

#include "tessera/algorithms/trihom/labelled_graph.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"

/// Homophily as what aggregation does for a classifier without a network (Luan et al. 2023): how
/// sure it is that features averaged over neighbours classify better than the features themselves.
namespace tessera::algorithms::trihom {

enum class SvmKernel : uint8_t {
  linear,  // cost 1
  rbf,     // exp(-|x - x'|^2 / 2), cost 0.1
  poly,    // (gamma x . x')^3, gamma = 1 / (features * variance of the training entries), cost 1
};
std::string_view to_string(SvmKernel kernel);
void parse(std::string_view text, SvmKernel& kernel);

struct ClassifierOptions {
  int64_t trials = 100;  // 0: not computed
  int64_t sample = 500;  // nodes of a trial
  double train_share = 0.6;
  SvmKernel svm = SvmKernel::rbf;

  static void visit(auto& self, auto&& f) {
    f("trials", self.trials, "of each classifier, 0: not computed, else at least 2",
      Bounds::at_least(0));
    f("sample", self.sample, "nodes of a trial, spread over the classes", Bounds::at_least(4));
    f("train_share", self.train_share, "of the sample", Bounds::between(0, 1));
    f("svm", self.svm, "linear, rbf or poly");
  }
};

/// p-values in [0, 1]; high ones say that aggregation helps. NaN where not computed.
struct ClassifierMetrics {
  static constexpr double nan = std::numeric_limits<double>::quiet_NaN();
  double kernel0 = nan;  // kernel regression, linear kernel
  double kernel1 = nan;  // the same, arc-cosine kernel
  double gnb = nan;      // Gaussian naive Bayes
  double svm = nan;      // support vector machine

  static void visit(auto& self, auto&& f) {
    f("h_KR0", self.kernel0);
    f("h_KR1", self.kernel1);
    f("h_GNB", self.gnb);
    f("h_SVM", self.svm);
  }
};

/// Every trial draws round(sample / C) nodes of each class (all nodes of a graph that is no larger
/// than the sample), trains on round(train_share * sample / C) of each class and measures accuracy
/// on the rest, with x and with the mean of x over neighbours; x has rows of sum 1. The p-value is
/// that of Welch's one-sided test between the accuracies; `compat` chooses the side by the share
/// of trials in which aggregation wins, and has self-loops as neighbours. NaN in graphs of one
/// class, without features, or too small to train and validate on.
ClassifierMetrics classifier_metrics(const LabelledGraph& graph, const FeatureRows& features,
                                     const ClassifierOptions& options, Mode mode, const Rng& rng);

/// The classes that kernel regression predicts: rows `predict` of kernel[predict, train]
/// pinv(kernel[train, train]) onehot(train). Eigenvalues below 1e-12 of the largest count as 0.
std::vector<int32_t> predict_kernel_regression(std::span<const double> kernel, int64_t n,
                                               std::span<const int32_t> label, int64_t classes,
                                               std::span<const int64_t> train,
                                               std::span<const int64_t> predict);

/// The classes that Gaussian naive Bayes predicts; x [n, width]. Variances have 1e-9 of the largest
/// variance of a feature added.
std::vector<int32_t> predict_naive_bayes(std::span<const double> x, int64_t width,
                                         std::span<const int32_t> label, int64_t classes,
                                         std::span<const int64_t> train,
                                         std::span<const int64_t> predict);

/// Arc-cosine kernel of the inner products `gram` [n, n] (Cho and Saul 2009, order 1, halved).
std::vector<double> arc_cosine_kernel(std::span<const double> gram, int64_t n);

}  // namespace tessera::algorithms::trihom
