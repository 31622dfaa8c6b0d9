#include "tessera/algorithms/gsl/information_study.hpp"

#include <cmath>
#include <numbers>

#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/models/similarity_graph.hpp"
#include "tessera/runtime/interrupt.hpp"

namespace tessera::algorithms::gsl {
namespace {

struct Network {
  const char* name;
  Fusion fusion;
};
constexpr Network networks[] = {
    {"MLP", Fusion::none}, {"GCN", Fusion::original}, {"GCN", Fusion::structure}};

models::CsbmHOptions csbm(const StudyOptions& o, double homophily) {
  return {.nodes0 = o.nodes0,
          .nodes1 = o.nodes1,
          .mean0 = o.mean0,
          .mean1 = o.mean1,
          .variance0 = o.variance0,
          .variance1 = o.variance1,
          .degree0 = o.degree0,
          .degree1 = o.degree1,
          .homophily = homophily};
}

/// Estimates on some nodes.
class Information {
 public:
  Information(const Problem& problem, const models::Split& split,
              const models::MutualInformationOptions& options, const Rng& rng)
      : options_(options), rng_(rng) {
    std::vector<int64_t> rows = split.validation;
    rows.insert(rows.end(), split.test.begin(), split.test.end());
    rows_ = Tensor::from(rows, {static_cast<int64_t>(rows.size())}, Device::cpu());
    const auto label = problem.labels.values<int32_t>();
    std::vector<int32_t> own;
    own.reserve(rows.size());
    for (const int64_t row : rows) own.push_back(label[static_cast<size_t>(row)]);
    labels_ = Tensor::from(own, {static_cast<int64_t>(own.size())}, Device::cpu());
  }
  void add(const Tensor& x, StudyPoint& point) const {
    const Tensor own = autograd::gather_rows(x.to(Device::cpu()), rows_).value();
    point.joint.push_back(models::mutual_information(own, labels_, options_, rng_));
    point.single.push_back(models::mean_mutual_information(own, labels_, options_, rng_));
  }

 private:
  models::MutualInformationOptions options_;
  Rng rng_;
  Tensor rows_, labels_;
};

/// Adds the numbers of one graph to the points of one homophily, `at` running over the series.
void study_graph(const models::GraphData& graph, const StudyOptions& o, Device device,
                 const Rng& rng, const std::function<StudyPoint&(size_t)>& at,
                 double (&structure_homophily)[2]) {
  const Problem problem = prepare(graph, false, device);
  const models::Split& split = graph.fixed_splits.at(0);
  const Information information(problem, split, o.information, rng.split(0));
  const Tensor bases[] = {problem.x,
                          autograd::spmm(problem.graph.random_walk(false), problem.x).value()};
  for (size_t b = 0; b < 2; ++b) {
    const size_t series = b * (1 + std::size(networks));
    information.add(bases[b], at(series));
    const CsrMatrix structure = models::similarity_graph(bases[b], {.k = o.k});
    structure_homophily[b] = models::edge_homophily(structure, problem.labels);
    const Views views = views_of(problem, structure);
    for (size_t m = 0; m < std::size(networks); ++m) {
      const Rng own[] = {rng.split(1 + m)};
      const Trained trained = train_network(
          problem, models::NodeFeatures(bases[b]), views, Backbone::gcn, networks[m].fusion, 0,
          std::span(&split, 1), two_layers(o.learning), own, true);
      if (stop_requested()) return;
      StudyPoint& point = at(series + 1 + m);
      point.accuracy.push_back(trained.scores.front().test);
      information.add(trained.representations.front(), point);
    }
  }
  at(2 * (1 + std::size(networks)))
      .accuracy.push_back(grcn(problem, split, o.grcn, rng.split(9)).scores.test);
}

std::string short_number(double value) { return concat(std::round(1000 * value) / 1000); }

}  // namespace

Study information_study(const StudyOptions& o, Device device, const Rng& rng,
                        const std::function<void(int64_t, int64_t)>& on_graph) {
  TS_CHECK(!o.homophily.empty() && o.seeds >= 1, "gsl: the study has ", o.homophily.size(),
           " homophilies and ", o.seeds, " graphs of each; expected at least one");
  Study study;
  for (const char* base : {"X", "AX"})
    for (const std::string& name : {std::string(base), concat("MLP(", base, ")"),
                                    concat("GCN(", base, " A)"), concat("GCN(", base, " A')")})
      study.series.push_back(name);
  study.series.emplace_back("GRCN(X A)");
  study.points.assign(study.series.size(), std::vector<StudyPoint>(o.homophily.size()));
  study.structure_homophily_x.assign(o.homophily.size(), 0);
  study.structure_homophily_ax = study.structure_homophily_x;
  const auto total = static_cast<int64_t>(o.homophily.size()) * o.seeds;
  int64_t done = 0;
  for (size_t h = 0; h < o.homophily.size(); ++h)
    for (int64_t seed = 0; seed < o.seeds && !stop_requested(); ++seed) {
      // Graphs of one seed share their random numbers: homophily alone differs.
      const Rng own = rng.split(static_cast<uint64_t>(seed));
      double found[2] = {};
      study_graph(
          models::csbm_h(csbm(o, o.homophily[h]), own.split(0)), o, device, own.split(1),
          [&](size_t s) -> StudyPoint& { return study.points[s][h]; }, found);
      study.structure_homophily_x[h] += found[0] / static_cast<double>(o.seeds);
      study.structure_homophily_ax[h] += found[1] / static_cast<double>(o.seeds);
      on_graph(++done, total);
    }
  return study;
}

models::Correlation accuracy_correlation(const Study& study) {
  std::vector<double> accuracy, information;
  for (const auto& series : study.points)
    for (const StudyPoint& point : series) {
      if (point.accuracy.empty() || point.joint.empty()) continue;
      accuracy.push_back(models::mean_std(point.accuracy).mean);
      information.push_back(models::mean_std(point.joint).mean);
    }
  return models::pearson(accuracy, information);
}

std::vector<Plot> study_plots(const Study& study, const StudyOptions& o) {
  Plot accuracy{"accuracy", "homophily h", "test accuracy, mean of seeds", {}},
      joint{"mutual information", "homophily h", "I(y; representation) in nats, joint", {}},
      single{"mutual information per dimension", "homophily h", "nats, mean of dimensions", {}};
  for (size_t s = 0; s < study.series.size(); ++s) {
    Curve a{study.series[s], o.homophily, {}}, j = a, m = a;
    for (const StudyPoint& point : study.points[s]) {
      if (!point.accuracy.empty()) a.y.push_back(models::mean_std(point.accuracy).mean);
      if (point.joint.empty()) continue;
      j.y.push_back(models::mean_std(point.joint).mean);
      m.y.push_back(models::mean_std(point.single).mean);
    }
    if (!a.y.empty()) accuracy.curves.push_back(a);
    if (!j.y.empty()) joint.curves.push_back(j);
    if (!m.y.empty()) single.curves.push_back(m);
  }
  return {accuracy, joint, single};
}

std::vector<Table> study_tables(const Study& study, const StudyOptions& o) {
  std::vector<std::string> columns;
  columns.reserve(o.homophily.size());
  for (const double h : o.homophily) columns.push_back(concat("h", short_number(h)));
  const auto table = [&](const std::string& name, auto&& number) {
    Table result{.name = name, .corner = "csbm_h", .rows = {}, .columns = columns, .values = {}};
    for (size_t s = 0; s < study.series.size(); ++s) {
      std::vector<double> row;
      for (const StudyPoint& point : study.points[s]) row.push_back(number(point));
      if (!std::isnan(row.front())) result.add(study.series[s], std::move(row));
    }
    return result;
  };
  const auto summary = [](auto StudyPoint::*member, bool spread) {
    return [=](const StudyPoint& point) {
      if ((point.*member).empty()) return std::nan("");
      const models::MeanStd found = models::mean_std(point.*member);
      return spread ? found.std : found.mean;
    };
  };
  std::vector<Table> tables;
  for (const bool spread : {false, true}) {
    const std::string end = spread ? ".std" : "";
    tables.push_back(table("accuracy" + end, summary(&StudyPoint::accuracy, spread)));
    tables.push_back(table("mutual_information" + end, summary(&StudyPoint::joint, spread)));
    tables.push_back(table("mean_mutual_information" + end, summary(&StudyPoint::single, spread)));
  }
  const double share = static_cast<double>(o.nodes0) / static_cast<double>(o.nodes0 + o.nodes1);
  const double entropy = -share * std::log(share) - (1 - share) * std::log(1 - share);
  tables.push_back(table("fano", [&](const StudyPoint& point) {
    if (point.joint.empty()) return std::nan("");
    return models::fano_accuracy(models::mean_std(point.joint).mean, entropy, 2);
  }));
  Table structure{.name = "structure_homophily",
                  .corner = "base",
                  .rows = {},
                  .columns = columns,
                  .values = {}};
  structure.add("X", study.structure_homophily_x);
  structure.add("AX", study.structure_homophily_ax);
  tables.push_back(std::move(structure));
  return tables;
}

}  // namespace tessera::algorithms::gsl
