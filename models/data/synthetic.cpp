#include "tessera/models/data/synthetic.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tessera/models/init.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::models {
namespace {

// Labels 0, 1, ..., 0, 1, ... in random order.
std::vector<int32_t> random_labels(int64_t count, int64_t classes, Rng rng) {
  std::vector<int32_t> labels(static_cast<size_t>(count));
  for (size_t i = 0; i < labels.size(); ++i)
    labels[i] = static_cast<int32_t>(i % static_cast<size_t>(classes));
  shuffle(labels.begin(), labels.end(), rng);
  return labels;
}

CsrMatrix random_edges(const SyntheticGraphOptions& o, const std::vector<int32_t>& labels,
                       Rng rng) {
  // Nodes by class: those of class c are by_class[start[c]] .. by_class[start[c + 1]).
  std::vector<int64_t> start(static_cast<size_t>(o.classes) + 1), by_class;
  for (int32_t c = 0; c < o.classes; ++c) {
    for (size_t i = 0; i < labels.size(); ++i)
      if (labels[i] == c) by_class.push_back(static_cast<int64_t>(i));
    start[static_cast<size_t>(c) + 1] = static_cast<int64_t>(by_class.size());
  }
  std::vector<int64_t> from, to;
  const auto below = [&](int64_t bound) {
    return static_cast<int64_t>(rng.below(static_cast<uint64_t>(bound)));
  };
  const auto edges =
      static_cast<int64_t>(std::llround(static_cast<double>(o.nodes) * o.degree / 2));
  for (int64_t e = 0; e < edges; ++e) {
    const int64_t u = below(o.nodes);
    const auto c = static_cast<size_t>(labels[static_cast<size_t>(u)]);
    const int64_t own = start[c + 1] - start[c], others = o.nodes - own;
    int64_t at;
    if (others == 0 || rng.uniform() < o.homophily) {
      at = start[c] + below(own);
    } else {
      at = below(others);
      if (at >= start[c]) at += own;
    }
    from.push_back(u);
    to.push_back(by_class[static_cast<size_t>(at)]);
  }
  CsrMatrix adjacency = CsrMatrix::from_edges(o.nodes, o.nodes, from, to,
                                              {.duplicates = EdgeOptions::Duplicates::merge,
                                               .self_loops = EdgeOptions::SelfLoops::remove,
                                               .symmetrize = true});
  adjacency.symmetric = true;
  return adjacency;
}

Tensor random_features(const SyntheticGraphOptions& o, const std::vector<int32_t>& labels,
                       Rng rng) {
  Tensor x = Tensor::empty({o.nodes, o.features}, DType::f32, Device::cpu());
  std::vector<double> means;
  for (int64_t c = 0; c < o.classes; ++c) {
    std::vector<double> mean(static_cast<size_t>(o.features));
    double norm = 0;
    for (double& m : mean) {
      m = normal(rng);
      norm += m * m;
    }
    for (const double m : mean) means.push_back(o.feature_signal * m / std::sqrt(norm));
  }
  const auto values = x.host_mutable<float>();
  for (int64_t i = 0; i < x.numel(); ++i) {
    const int64_t mean = labels[static_cast<size_t>(i / o.features)] * o.features + i % o.features;
    values[static_cast<size_t>(i)] =
        static_cast<float>(means[static_cast<size_t>(mean)] + normal(rng));
  }
  return x;
}

}  // namespace

GraphData synthetic_graph(const SyntheticGraphOptions& o, const Rng& rng) {
  TS_CHECK(o.nodes > 0 && o.nodes <= INT32_MAX && o.classes > 0 && o.classes <= o.nodes &&
               o.features > 0,
           "synthetic_graph: ", o.nodes, " nodes of ", o.classes, " classes with ", o.features,
           " features");
  TS_CHECK(o.degree >= 0 && o.degree < static_cast<double>(o.nodes), "synthetic_graph: degree ",
           o.degree, " for ", o.nodes, " nodes");
  TS_CHECK(o.homophily >= 0 && o.homophily <= 1, "synthetic_graph: homophily ", o.homophily,
           " is not in [0, 1]");
  GraphData graph;
  graph.name = "synthetic";
  graph.nodes = o.nodes;
  graph.classes = o.classes;
  const auto labels = random_labels(o.nodes, o.classes, rng.split(0));
  graph.labels = Tensor::from(labels, {o.nodes}, Device::cpu());
  graph.adjacency = random_edges(o, labels, rng.split(1));
  graph.dense_features = random_features(o, labels, rng.split(2));
  for (int64_t s = 0; s < o.splits; ++s)
    graph.fixed_splits.push_back(
        split_by_share(graph, 0.6, 0.2, rng.split(static_cast<uint64_t>(3 + s))));
  const int64_t per_class = std::clamp<int64_t>(o.nodes / o.classes / 20, 1, 20);
  const int64_t rest = o.nodes - per_class * o.classes;
  graph.public_splits.push_back(
      split_by_count(graph, per_class, rest / 2, rest - rest / 2, rng.split(UINT64_MAX)));
  return graph;
}

ImageData synthetic_images(const SyntheticImageOptions& o, const Rng& rng, uint64_t class_seed) {
  TS_CHECK(o.images > 0 && o.classes > 0 && o.channels > 0 && o.height > 0 && o.width > 0,
           "synthetic_images: ", o.images, " images of ", o.classes, " classes, ", o.channels,
           " x ", o.height, " x ", o.width);
  constexpr double pi = std::numbers::pi;
  struct Wave {
    double x, y;                // radians per pixel
    std::vector<double> color;  // amplitude per channel, the largest 1
  };
  std::vector<Wave> waves;
  for (int64_t c = 0; c < o.classes; ++c) {
    Rng own = Rng(class_seed).split(static_cast<uint64_t>(c));
    const double angle =
        pi * (static_cast<double>(c) + 0.5 * own.uniform()) / static_cast<double>(o.classes);
    const double rate = 2 * pi / (4 + 8 * own.uniform());
    Wave wave{rate * std::cos(angle), rate * std::sin(angle), {}};
    double largest = 0;
    for (int64_t k = 0; k < o.channels; ++k) {
      wave.color.push_back(2 * own.uniform() - 1);
      largest = std::max(largest, std::abs(wave.color.back()));
    }
    for (double& a : wave.color) a /= largest;
    waves.push_back(std::move(wave));
  }

  ImageData data{
      Tensor::empty({o.images, o.channels, o.height, o.width}, DType::u8, Device::cpu()),
      Tensor::from(random_labels(o.images, o.classes, rng.split(0)), {o.images}, Device::cpu()),
      o.classes};
  uint8_t* to = data.images.host_mutable<uint8_t>().data();
  for (int64_t i = 0; i < o.images; ++i) {
    Rng own = rng.split(static_cast<uint64_t>(1 + i));
    const Wave& wave =
        waves[static_cast<size_t>(data.labels.host<int32_t>()[static_cast<size_t>(i)])];
    const double phase = 2 * pi * own.uniform();
    for (const double color : wave.color)
      for (int64_t y = 0; y < o.height; ++y)
        for (int64_t x = 0; x < o.width; ++x) {
          const double angle =
              wave.x * static_cast<double>(x) + wave.y * static_cast<double>(y) + phase;
          const double value = 0.5 + 0.35 * color * std::sin(angle) + o.noise * normal(own);
          *to++ = static_cast<uint8_t>(std::lround(255 * std::clamp(value, 0.0, 1.0)));
        }
  }
  return data;
}

}  // namespace tessera::models
