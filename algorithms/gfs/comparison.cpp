#include "tessera/algorithms/gfs/comparison.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tessera/models/metrics.hpp"
#include "tessera/models/statistics.hpp"

namespace tessera::algorithms::gfs {
namespace {

constexpr double nan = std::numeric_limits<double>::quiet_NaN();

const Scores* at_ratio(const Pair& pair, double ratio) {
  const auto found = std::find(pair.ratios.begin(), pair.ratios.end(), ratio);
  return found == pair.ratios.end()
             ? nullptr
             : &pair.scores[static_cast<size_t>(found - pair.ratios.begin())];
}

struct Three {
  const Scores *mlp, *gnn, *gfs;  // null: not there
  double ratio = nan;

  explicit Three(const Pair& pair) : mlp(at_ratio(pair, 0)), gnn(at_ratio(pair, 1)), gfs(nullptr) {
    if (const size_t chosen = chosen_ratio(pair); chosen < pair.ratios.size()) {
      gfs = &pair.scores[chosen];
      ratio = pair.ratios[chosen];
    }
  }
};

double mean(const std::vector<double>& values) { return models::mean_std(values).mean; }

struct Difference {
  double mean = nan, p_value = nan;
};

Difference difference(const Scores* a, const Scores* b) {
  if (!a || !b) return {};
  const double apart = mean(a->test) - mean(b->test);
  return {std::abs(apart) < 1e-12 ? 0 : apart,  // equal but for the rounding of sums
          a->test.size() < 2 ? nan : models::paired_t_test(a->test, b->test).p_value};
}

}  // namespace

size_t chosen_ratio(const Pair& pair) {
  size_t chosen = pair.ratios.size();
  for (size_t i = 0; i < pair.ratios.size(); ++i) {
    if (!(pair.ratios[i] > 0 && pair.ratios[i] < 1)) continue;
    if (chosen == pair.ratios.size() ||
        mean(pair.scores[i].validation) > mean(pair.scores[chosen].validation))
      chosen = i;
  }
  return chosen;
}

Table comparison_table(const std::vector<Pair>& pairs) {
  Table table{.name = "comparison",
              .corner = "graph module",
              .rows = {},
              .columns = {"MLP", "MLP std", "GNN", "GNN std", "GFS", "GFS std", "r", "GFS - GNN",
                          "p GNN", "GFS - MLP", "p MLP"},
              .values = {}};
  for (const Pair& pair : pairs) {
    const Three three(pair);
    std::vector<double> row;
    for (const Scores* scores : {three.mlp, three.gnn, three.gfs}) {
      const models::MeanStd test =
          scores ? models::mean_std(scores->test) : models::MeanStd{nan, nan};
      row.push_back(100 * test.mean);
      row.push_back(100 * test.std);
    }
    row.push_back(three.ratio);
    for (const Scores* other : {three.gnn, three.mlp}) {
      const Difference d = difference(three.gfs, other);
      row.push_back(100 * d.mean);
      row.push_back(d.p_value);
    }
    table.add(concat(pair.graph, " ", to_string(pair.module)), std::move(row));
  }
  return table;
}

Table win_table(const std::vector<Pair>& pairs) {
  Table table{.name = "wins",
              .corner = "comparison",
              .rows = {},
              .columns = {"pairs", "higher", "equal", "lower", "higher p<.05", "lower p<.05",
                          "sign test p"},
              .values = {}};
  const auto add = [&](const std::string& name, auto&& other) {
    int64_t higher = 0, equal = 0, lower = 0, surely_higher = 0, surely_lower = 0;
    for (const Pair& pair : pairs) {
      const Three three(pair);
      const Difference d = difference(three.gfs, other(three));
      higher += d.mean > 0;
      equal += d.mean == 0;
      lower += d.mean < 0;
      surely_higher += d.mean > 0 && d.p_value < 0.05;
      surely_lower += d.mean < 0 && d.p_value < 0.05;
    }
    std::vector<double> row;
    for (const int64_t count :
         {higher + equal + lower, higher, equal, lower, surely_higher, surely_lower})
      row.push_back(static_cast<double>(count));
    row.push_back(models::sign_test(higher, lower));
    table.add(name, std::move(row));
  };
  add("GFS - GNN", [](const Three& t) { return t.gnn; });
  add("GFS - MLP", [](const Three& t) { return t.mlp; });
  add("GFS - both", [](const Three& t) {
    return !t.mlp || !t.gnn ? nullptr : mean(t.mlp->test) > mean(t.gnn->test) ? t.mlp : t.gnn;
  });
  return table;
}

}  // namespace tessera::algorithms::gfs
