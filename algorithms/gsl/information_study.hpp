#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tessera/algorithms/gsl/bases.hpp"
#include "tessera/algorithms/gsl/learners.hpp"
#include "tessera/algorithms/plot.hpp"
#include "tessera/algorithms/table.hpp"
#include "tessera/models/data/csbm.hpp"
#include "tessera/models/mutual_information.hpp"
#include "tessera/models/statistics.hpp"

/// What structure learning adds, where the graph's homophily h is a dial: on CSBM-H graphs, bases B
/// = X and B = D^-1 A X; an MLP on B, a GCN on B and A, and a GCN on B and the k nearest neighbours
/// in B; also GRCN, which learns its structure with the labels. Any function of B tells no more
/// about the labels than B: I(y; f(B)) <= I(y; B), A' being such a function.
namespace tessera::algorithms::gsl {

struct StudyOptions {
  std::vector<double> homophily{0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1};
  int64_t seeds = 10;  // graphs of each homophily
  int64_t nodes0 = 100, nodes1 = 100;
  std::vector<double> mean0{-1, 0}, mean1{1, 0};
  double variance0 = 1, variance1 = 5;
  double degree0 = 5, degree1 = 5;
  int64_t k = 5;  // neighbours in A'
  TaskOptions learning{.hidden = 16, .dropout = 0};
  models::MutualInformationOptions information;
  GrcnOptions grcn{.task = {.hidden = 16, .dropout = 0, .epochs = 100}, .k = 5};

  static void visit(auto& self, auto&& f) {
    f("homophily", self.homophily, "chances that an edge stays in its class",
      Bounds::between(0, 1));
    f("seeds", self.seeds, "graphs of each", Bounds::at_least(1));
    f("nodes0", self.nodes0, "of class 0", Bounds::at_least(4));
    f("nodes1", self.nodes1, "of class 1", Bounds::at_least(4));
    f("mean0", self.mean0, "of class 0's features", Bounds::finite());
    f("mean1", self.mean1, "of class 1's, as many", Bounds::finite());
    f("variance0", self.variance0, "of a feature of class 0", Bounds::at_least(0));
    f("variance1", self.variance1, "of a feature of class 1", Bounds::at_least(0));
    f("degree0", self.degree0, "ends per node of class 0", Bounds::between(0, 1e6));
    f("degree1", self.degree1, "ends per node of class 1", Bounds::between(0, 1e6));
    f("k", self.k, "neighbours that a node chooses in A'", Bounds::at_least(1));
    f("learning", self.learning);
    f("information", self.information);
    f("grcn", self.grcn);
  }
};

/// What one representation showed, one number for each seed.
struct StudyPoint {
  std::vector<double> accuracy;  // on test nodes; empty for a base as it is
  std::vector<double> joint;     // I(y; all dimensions); empty for GRCN
  std::vector<double> single;    // mean over dimensions of I(y; one)
};
/// points[s][i]: series s at options.homophily[i]. Mutual information is estimated on the nodes
/// outside training: of the representation before the last layer, at the epoch that is best on
/// validation nodes.
struct Study {
  std::vector<std::string> series;  // "X", "MLP(X)", "GCN(X A)", "GCN(X A')", "AX", .. "GRCN(X A)"
  std::vector<std::vector<StudyPoint>> points;
  std::vector<double> structure_homophily_x, structure_homophily_ax;  // of A', mean over seeds
};

/// `on_graph(done, total)` after every graph. Stops early when a stop was requested.
Study information_study(const StudyOptions& options, Device device, const Rng& rng,
                        const std::function<void(int64_t done, int64_t total)>& on_graph);

/// Of mean accuracy and mean joint mutual information, over all networks and homophilies.
models::Correlation accuracy_correlation(const Study& study);

/// Mean curves over h: accuracy, joint and single mutual information.
std::vector<Plot> study_plots(const Study& study, const StudyOptions& options);
/// Rows are the series, columns the homophilies: "accuracy", "mutual_information" (joint), "mean
/// mutual_information", each with deviations over the seeds, and "fano": the highest accuracy that
/// the joint mutual information allows.
std::vector<Table> study_tables(const Study& study, const StudyOptions& options);

}  // namespace tessera::algorithms::gsl
