#include "tessera/algorithms/gfs/mixed_features.hpp"

#include <algorithm>
#include <cmath>

#include "tessera/models/data/csbm.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/metrics.hpp"

namespace tessera::algorithms::gfs {

models::GraphData mixed_graph(const MixedGraphOptions& o, const Rng& rng) {
  models::GraphData graph = models::csbm_3h({.nodes = o.nodes,
                                             .classes = o.classes,
                                             .features = o.friendly,
                                             .degree_low = o.degree,
                                             .degree_high = o.degree,
                                             .label_homophily = o.label_homophily,
                                             .structural_homophily = o.structural_homophily,
                                             .feature_homophily = o.feature_homophily,
                                             .splits = o.splits},
                                            rng.split(0));
  graph.name = "mixed";
  const auto nodes = static_cast<size_t>(o.nodes), friendly = static_cast<size_t>(o.friendly),
             apart = static_cast<size_t>(o.apart);
  const auto spread = graph.dense_features.values<float>();
  const std::vector<double> numbers(spread.begin(), spread.end());
  const auto [mean, deviation] = models::mean_std(numbers);

  Rng draws = rng.split(1);
  std::vector<double> direction(static_cast<size_t>(o.classes) * apart);
  for (double& u : direction) u = models::normal(draws);
  const double unit = std::sqrt(o.signal * o.signal + 1);
  const auto label = graph.labels.host<int32_t>();
  std::vector<float> x;
  x.reserve(nodes * (friendly + apart));
  for (size_t i = 0; i < nodes; ++i) {
    x.insert(x.end(), spread.begin() + static_cast<std::ptrdiff_t>(i * friendly),
             spread.begin() + static_cast<std::ptrdiff_t>((i + 1) * friendly));
    const double sign = draws.uniform() < 0.5 ? -1 : 1;
    for (size_t f = 0; f < apart; ++f) {
      const double own = sign * o.signal * direction[static_cast<size_t>(label[i]) * apart + f] +
                         models::normal(draws);
      x.push_back(static_cast<float>(mean + deviation * own / unit));
    }
  }
  graph.dense_features = Tensor::from(x, {o.nodes, o.friendly + o.apart}, Device::cpu());
  return graph;
}

}  // namespace tessera::algorithms::gfs
