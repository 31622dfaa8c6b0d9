#include "tessera/algorithms/gfs/feature_metrics.hpp"

#include <cmath>

namespace tessera::algorithms::gfs {
namespace {

size_t at(int64_t i) { return static_cast<size_t>(i); }

double sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

/// 1 / |row i| of every row; 0 for rows of zeros.
std::vector<double> inverse_norms(const StandardFeatures& features) {
  const double zero = features.sparse() ? features.of(0) : 0;
  std::vector<double> norms(at(features.nodes()),
                            static_cast<double>(features.features()) * zero * zero);
  for (int64_t f = 0; f < features.features(); ++f)
    features.each_entry(f, [&](size_t i, double x) { norms[i] += x * x - zero * zero; });
  for (double& norm : norms) norm = norm > 0 ? 1 / std::sqrt(norm) : 0;
  return norms;
}

}  // namespace

FeatureHomophily feature_homophily(const models::GraphData& graph,
                                   const StandardFeatures& features) {
  const auto row_ptr = graph.adjacency.row_ptr.host<int32_t>(),
             col = graph.adjacency.col.host<int32_t>();
  const std::vector<double> inverse = inverse_norms(features);
  std::vector<double> x(at(graph.nodes));
  FeatureHomophily out;
  for (int64_t f = 0; f < features.features(); ++f) {
    features.column(f, x);
    double signs = 0, attribute = 0, total = 0, cosine = 0, euclidean = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const int32_t degree = row_ptr[i + 1] - row_ptr[i];
      double sum = x[i], angles = 0, distances = 0;
      for (int32_t e = row_ptr[i]; e < row_ptr[i + 1]; ++e) {
        const size_t j = at(col[at(e)]);
        sum += x[j];
        signs += sign(x[i]) * sign(x[j]);
        angles += x[j] * inverse[j];
        distances += std::abs(x[i] - x[j]);
      }
      total += x[i];
      attribute += x[i] * sum / (degree + 1);
      if (degree == 0) continue;
      cosine += x[i] * inverse[i] * angles / degree;
      euclidean -= distances / degree;
    }
    const auto nodes = static_cast<double>(graph.nodes);
    out.edge.push_back(signs / static_cast<double>(col.size()));
    out.attribute.push_back(attribute / (total == 0 ? 1 : total));
    out.cosine.push_back(cosine / nodes);
    out.euclidean.push_back(euclidean / nodes);
  }
  return out;
}

std::vector<double> class_controlled_homophily(const models::GraphData& graph,
                                               const StandardFeatures& features,
                                               std::span<const int64_t> train) {
  const auto row_ptr = graph.adjacency.row_ptr.host<int32_t>(),
             col = graph.adjacency.col.host<int32_t>(), label = graph.labels.host<int32_t>();
  std::vector<uint8_t> chosen(at(graph.nodes));
  std::vector<double> size(at(graph.classes)), mean(size.size()), x(chosen.size()), out;
  for (const int64_t i : train) {
    TS_CHECK(i >= 0 && i < graph.nodes, "h_CTF: node ", i, " of ", graph.nodes);
    chosen[at(i)] = 1;
    ++size[at(label[at(i)])];
  }
  for (int64_t f = 0; f < features.features(); ++f) {
    features.column(f, x);
    std::fill(mean.begin(), mean.end(), 0);
    for (const int64_t i : train) mean[at(label[at(i)])] += x[at(i)] / size[at(label[at(i)])];
    for (const int64_t i : train) x[at(i)] -= mean[at(label[at(i)])];  // their mean is now 0
    double sum = 0;
    for (const int64_t i : train)
      for (int32_t e = row_ptr[at(i)]; e < row_ptr[at(i) + 1]; ++e) {
        const size_t j = at(col[at(e)]);
        if (!chosen[j]) continue;
        const double distance = x[at(i)] - x[j];
        sum += 2 * x[at(i)] * x[at(i)] - distance * distance;
      }
    out.push_back(sum / static_cast<double>(train.size()));
  }
  return out;
}

}  // namespace tessera::algorithms::gfs
