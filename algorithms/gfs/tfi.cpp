#include "tessera/algorithms/gfs/tfi.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tessera/algorithms/gfs/feature_metrics.hpp"
#include "tessera/autograd/ops/information.hpp"
#include "tessera/runtime/config.hpp"

namespace tessera::algorithms::gfs {
namespace {

constexpr std::string_view metric_names[] = {"tfi",       "tfi_high",  "h_GE", "h_attr",
                                             "h_sim_cos", "h_sim_euc", "h_CTF"};
constexpr int64_t block_elements = int64_t{1} << 21;

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// Aggregates columns over the neighbours of some nodes.
class Aggregation {
 public:
  Aggregation(const models::GraphData& graph, const StandardFeatures& features,
              std::span<const int64_t> rows, Filter filter)
      : features_(features),
        rows_(rows),
        filter_(filter),
        row_ptr_(graph.adjacency.row_ptr.host<int32_t>()),
        col_(graph.adjacency.col.host<int32_t>()),
        place_(at(graph.nodes), -1) {
    for (size_t p = 0; p < rows.size(); ++p) {
      TS_CHECK(rows[p] >= 0 && rows[p] < graph.nodes && place_[at(rows[p])] < 0, "TFI: node ",
               rows[p], " of ", graph.nodes, "; expected each at most once");
      place_[at(rows[p])] = static_cast<int64_t>(p);
    }
    const auto degree = [&](size_t i) {
      return static_cast<double>(row_ptr_[i + 1] - row_ptr_[i]);
    };
    for (size_t i = 0; i < at(graph.nodes); ++i)
      for (int32_t e = row_ptr_[i]; e < row_ptr_[i + 1]; ++e)
        weight_.push_back(1 / (std::sqrt(degree(i) * degree(at(col_[at(e)]))) + 1e-7));
  }

  /// f64 [rows, columns].
  Tensor operator()(std::span<const int64_t> columns) const {
    const auto count = static_cast<int64_t>(columns.size());
    std::vector<double> z(rows_.size() * at(count));
    // Of what a sparse matrix does not store only the sum of weights is left to add.
    if (features_.sparse())
      for (size_t p = 0; p < rows_.size(); ++p) {
        const size_t i = at(rows_[p]);
        const double all =
            std::accumulate(weight_.begin() + row_ptr_[i], weight_.begin() + row_ptr_[i + 1], 0.0);
        std::fill_n(z.begin() + static_cast<int64_t>(p) * count, count, all * features_.of(0));
      }
    const double beside = features_.sparse() ? features_.of(0) : 0;
    for (int64_t c = 0; c < count; ++c)
      features_.each_entry(columns[at(c)], [&](size_t j, double x) {
        for (auto e = at(row_ptr_[j]); e < at(row_ptr_[j + 1]); ++e)
          if (const int64_t p = place_[at(col_[e])]; p >= 0)
            z[at(p * count + c)] += weight_[e] * (x - beside);
      });
    if (filter_ == Filter::high) subtract_from_own(z, columns);
    return Tensor::from(z, {static_cast<int64_t>(rows_.size()), count}, Device::cpu());
  }

 private:
  void subtract_from_own(std::vector<double>& z, std::span<const int64_t> columns) const {
    std::vector<double> own(at(features_.nodes()));
    for (size_t c = 0; c < columns.size(); ++c) {
      features_.column(columns[c], own);
      for (size_t p = 0; p < rows_.size(); ++p) {
        double& value = z[p * columns.size() + c];
        value = own[at(rows_[p])] - value;
      }
    }
  }

  const StandardFeatures& features_;
  std::span<const int64_t> rows_;
  Filter filter_;
  std::span<const int32_t> row_ptr_, col_;
  std::vector<int64_t> place_;  // of each node among the rows, -1: none
  std::vector<double> weight_;  // of each edge end
};

}  // namespace

std::vector<double> topological_feature_informativeness(const models::GraphData& graph,
                                                        const StandardFeatures& features,
                                                        std::span<const int64_t> train,
                                                        const TfiOptions& o, Device device) {
  const Aggregation aggregation(graph, features, train, o.filter);
  const auto label = graph.labels.host<int32_t>();
  std::vector<int32_t> of_rows;
  for (const int64_t i : train) of_rows.push_back(label[at(i)]);
  const auto n = static_cast<int64_t>(train.size());
  const Tensor labels = Tensor::from(of_rows, {n}, Device::cpu());
  std::vector<double> scores;
  const int64_t most = std::max<int64_t>(1, block_elements / std::max<int64_t>(n, 1));
  for (int64_t begin = 0; begin < features.features(); begin += most) {
    const int64_t count = std::min(most, features.features() - begin);
    std::vector<int64_t> columns(at(count));
    std::iota(columns.begin(), columns.end(), begin);
    const Tensor z = aggregation(columns).to(device);
    for (const double value :
         autograd::class_information(z, labels,
                                     {.neighbors = o.neighbors, .seed = o.seed, .first = begin})
             .values<double>())
      scores.push_back(value);
  }
  return scores;
}

Tensor aggregated_columns(const models::GraphData& graph, const StandardFeatures& features,
                          std::span<const int64_t> rows, std::span<const int64_t> columns,
                          Filter filter) {
  for (const int64_t f : columns)
    TS_CHECK(f >= 0 && f < features.features(), "TFI: feature ", f, " of ", features.features());
  return Aggregation(graph, features, rows, filter)(columns);
}

Selection select_features(std::span<const double> scores, double ratio) {
  TS_CHECK(ratio >= 0 && ratio <= 1, "select_features: ratio ", ratio, ", expected 0 to 1");
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  const auto rank = [&](int64_t f) {
    const double score = scores[at(f)];
    return std::isnan(score) ? -std::numeric_limits<double>::infinity() : score;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return rank(a) > rank(b); });
  // 1e-9: 0.29 * 100 is 29 features
  const auto count =
      static_cast<std::ptrdiff_t>(std::floor(ratio * static_cast<double>(scores.size()) + 1e-9));
  Selection selection{{order.begin(), order.begin() + count}, {order.begin() + count, order.end()}};
  std::sort(selection.with_graph.begin(), selection.with_graph.end());
  std::sort(selection.without_graph.begin(), selection.without_graph.end());
  return selection;
}

std::string_view to_string(Metric metric) { return metric_names[static_cast<int>(metric)]; }
void parse(std::string_view text, Metric& metric) { parse_enum(text, metric_names, metric); }

std::vector<double> feature_scores(const models::GraphData& graph, const StandardFeatures& features,
                                   std::span<const int64_t> train, Metric metric, uint64_t seed,
                                   Device device) {
  switch (metric) {
    case Metric::tfi:
      return topological_feature_informativeness(graph, features, train, {.seed = seed}, device);
    case Metric::tfi_high:
      return topological_feature_informativeness(graph, features, train,
                                                 {.filter = Filter::high, .seed = seed}, device);
    case Metric::class_controlled:
      return class_controlled_homophily(graph, features, train);
    default:
      break;
  }
  const FeatureHomophily found = feature_homophily(graph, features);
  return metric == Metric::edge        ? found.edge
         : metric == Metric::attribute ? found.attribute
         : metric == Metric::cosine    ? found.cosine
                                       : found.euclidean;
}

}  // namespace tessera::algorithms::gfs
