#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "tessera/algorithms/gfs/features.hpp"
#include "tessera/models/data/graph.hpp"

/// Topological feature informativeness, and the choice of features by it (Zheng, Luan, Chen, "Let
/// Your Features Tell The Differences: Understanding Graph Convolution By Feature Splitting", ICLR
/// 2025).
namespace tessera::algorithms::gfs {

/// What a feature is aggregated to before it is asked about classes; x standardised, d degrees
/// without self-loops.
enum class Filter : uint8_t {
  low,   // z_i = sum_j x_j / (sqrt(d_i d_j) + 1e-7)
  high,  // x_i - z_i
};

struct TfiOptions {
  Filter filter = Filter::low;
  int64_t neighbors = 3;  // k of the estimator
  uint64_t seed = 0;      // of the noise that breaks ties
};

/// TFI of every feature: the mutual information, in nats, of the aggregated feature with the class
/// over the nodes `train` (autograd::class_information). The graph counts whole, self-loops do
/// not. Equal arguments give equal numbers. O(features n log n) plus the entries of the features
/// times degrees. Throws as StandardFeatures does.
std::vector<double> topological_feature_informativeness(const models::GraphData& graph,
                                                        const StandardFeatures& features,
                                                        std::span<const int64_t> train,
                                                        const TfiOptions& options, Device device);

/// The aggregated columns `columns` of the nodes `rows`: f64 [rows, columns] on the host.
Tensor aggregated_columns(const models::GraphData& graph, const StandardFeatures& features,
                          std::span<const int64_t> rows, std::span<const int64_t> columns,
                          Filter filter);

/// Which of a graph's features a network with edges sees, and which one without; both ascending.
struct Selection {
  std::vector<int64_t> with_graph, without_graph;
};
/// The floor(ratio * features) features of the highest scores, the first of equal ones; NaN scores
/// lowest. ratio in [0, 1].
Selection select_features(std::span<const double> scores, double ratio);

/// What features are chosen by.
enum class Metric : uint8_t { tfi, tfi_high, edge, attribute, cosine, euclidean, class_controlled };
/// "tfi", "tfi_high", "h_GE", "h_attr", "h_sim_cos", "h_sim_euc", "h_CTF".
std::string_view to_string(Metric metric);
void parse(std::string_view text, Metric& metric);

/// The score of every feature: TFI, or a homophily (feature_metrics.hpp).
std::vector<double> feature_scores(const models::GraphData& graph, const StandardFeatures& features,
                                   std::span<const int64_t> train, Metric metric, uint64_t seed,
                                   Device device);

}  // namespace tessera::algorithms::gfs
