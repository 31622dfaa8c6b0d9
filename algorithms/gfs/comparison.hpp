#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "tessera/algorithms/table.hpp"
#include "tessera/models/nets/gnn/trunk.hpp"

/// From the outcomes of trainings to tables: GFS beside the plain network and the plain MLP.
namespace tessera::algorithms::gfs {

/// Scores in [0, 1] of all splits, in their order.
struct Scores {
  std::vector<double> validation, test;
};

/// What one network made of one graph.
struct Pair {
  std::string graph;
  models::TrunkModule module = models::TrunkModule::gcn;
  std::vector<double> ratios;  // rising; 0 is the MLP, 1 the plain network
  std::vector<Scores> scores;  // of each ratio
};

/// The first ratio strictly between 0 and 1 of the highest mean validation score; none: the
/// number of ratios.
size_t chosen_ratio(const Pair& pair);

/// A row for each pair, scores in percent: mean and sample deviation over splits of "MLP", "GNN"
/// and "GFS" (at the chosen ratio, column "r"), then GFS's difference to both with the p-value of a
/// paired t-test over splits. NaN where a ratio is missing, and p-values of fewer than two splits.
Table comparison_table(const std::vector<Pair>& pairs);

/// Rows "GFS - GNN", "GFS - MLP" and "GFS - both" (the better of the two by mean test score): how
/// many pairs have a higher, equal or lower mean test score, how many differ at p < 0.05 (paired t)
/// either way, and the sign test's p-value over all pairs.
Table win_table(const std::vector<Pair>& pairs);

}  // namespace tessera::algorithms::gfs
