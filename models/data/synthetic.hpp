#pragma once

#include <cstdint>

#include "tessera/models/data/graph.hpp"
#include "tessera/models/data/image.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/rng.hpp"

/// Data sets made from a seed, for tests, demonstrations and experiments that need no download.
namespace tessera::models {

/// A contextual stochastic block model: classes show in who is linked with whom and in the
/// features.
struct SyntheticGraphOptions {
  int64_t nodes = 1000;
  int64_t classes = 4;
  int64_t features = 32;
  double degree = 6;            // mean number of neighbours
  double homophily = 0.8;       // share of edges within a class
  double feature_signal = 0.5;  // distance of a class mean from the origin, in standard deviations
  int64_t splits = 10;
  static void visit(auto& self, auto&& f) {
    f("nodes", self.nodes, "", Bounds::between(1, INT32_MAX));
    f("classes", self.classes, "at most one for each node", Bounds::at_least(1));
    f("features", self.features, "of a node", Bounds::at_least(1));
    f("degree", self.degree, "mean number of neighbours", Bounds::at_least(0));
    f("homophily", self.homophily, "share of edges within a class", Bounds::between(0, 1));
    f("feature_signal", self.feature_signal, "distance of class means from the origin",
      Bounds::finite());
    f("splits", self.splits, "fixed ones, 60/20/20 per class", Bounds::at_least(0));
  }
};

/// Every class has as many nodes (one more or less), in random order. Each of nodes * degree / 2
/// edges joins a random node with a random one of the same class, or else of another; edges drawn
/// twice count once and self-loops not at all, so the mean degree comes out a little lower. x_i =
/// feature_signal * m_(class of i) + z_i, m a random unit vector per class, z standard normal.
/// Fixed splits are 60 / 20 / 20 percent of each class; the public one trains on 5 percent of a
/// class, at least 1 node and at most 20, and halves the rest.
GraphData synthetic_graph(const SyntheticGraphOptions& options, const Rng& rng);

struct SyntheticImageOptions {
  int64_t images = 512;
  int64_t classes = 10;
  int64_t channels = 3, height = 32, width = 32;
  double noise = 0.15;  // standard deviation, of a full range of 1
  static void visit(auto& self, auto&& f) {
    f("images", self.images, "", Bounds::at_least(1));
    f("classes", self.classes, "", Bounds::at_least(1));
    f("channels", self.channels, "", Bounds::at_least(1));
    f("height", self.height, "", Bounds::at_least(1));
    f("width", self.width, "", Bounds::at_least(1));
    f("noise", self.noise, "standard deviation, of a full range of 1", Bounds::at_least(0));
  }
};

/// Waves whose direction, length and colour are those of the class and whose phase is each image's
/// own, with noise. Every class has as many images (one more or less), in random order. The classes
/// depend on `class_seed` alone, so that two calls with different `rng` give a training and a test
/// set.
ImageData synthetic_images(const SyntheticImageOptions& options, const Rng& rng,
                           uint64_t class_seed = 0);

}  // namespace tessera::models
