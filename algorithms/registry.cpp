#include "tessera/algorithms/registry.hpp"

#include "tessera/algorithms/bigset/experiment.hpp"
#include "tessera/algorithms/eigensr/experiment.hpp"
#include "tessera/algorithms/gfs/experiment.hpp"
#include "tessera/algorithms/gsl/experiment.hpp"
#include "tessera/algorithms/hignn/experiment.hpp"
#include "tessera/algorithms/node_classification/experiment.hpp"
#include "tessera/algorithms/svd/experiment.hpp"
#include "tessera/algorithms/trihom/experiment.hpp"

namespace tessera::algorithms {

std::span<const Algorithm> registry() {
  static const std::vector<Algorithm> list{
      algorithm("node_classification",
                "labels of the nodes of a graph from a few known ones, by graph networks",
                node_classification::run, true),
      algorithm("trihom",
                "homophily of graphs: 21 metrics with Tri-Hom, and how they go with accuracies",
                trihom::run),
      algorithm("gfs",
                "features split between a graph network and an MLP by what aggregation tells",
                gfs::run),
      algorithm("hignn",
                "labels of nodes from who has like neighbours: a new graph beside the old one",
                hignn::run),
      algorithm("gsl", "whether learning a graph's structure helps a graph network", gsl::run),
      algorithm("bigset", "anomalies in hyperspectral images, by separation training and classics",
                bigset::run),
      algorithm("eigensr", "super-resolution of hyperspectral images by networks of one channel",
                eigensr::run, true),
      algorithm("svd", "singular values, basis and eigenimages of a hyperspectral image", svd::run),
  };
  return list;
}

const Algorithm& find_algorithm(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Algorithm& algorithm : registry()) names.push_back(algorithm.name);
  try {
    return registry()[find_name(name, names)];
  } catch (const Error& error) {
    throw Error(error.kind(), concat("algorithm: ", error.what()));
  }
}

}  // namespace tessera::algorithms
