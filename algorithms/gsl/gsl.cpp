#include "tessera/algorithms/gsl/gsl.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/models/metrics.hpp"
#include "tessera/runtime/interrupt.hpp"

namespace tessera::algorithms::gsl {
namespace {

constexpr size_t at(int64_t i) { return static_cast<size_t>(i); }

models::SimilarityGraphOptions similarity(const ComparisonOptions& options,
                                          models::GraphConstruction construction) {
  return {.construction = construction, .k = options.k, .threshold = options.threshold};
}

/// A node of no degree chooses one neighbour all the same.
std::vector<int64_t> budget_of(const CsrMatrix& adjacency) {
  std::vector<int64_t> budget = models::degrees(adjacency);
  for (int64_t& wanted : budget) wanted = std::max<int64_t>(wanted, 1);
  return budget;
}

bool has(const std::vector<Fusion>& fusions, bool with_structure) {
  return std::any_of(fusions.begin(), fusions.end(),
                     [&](Fusion fusion) { return uses_structure(fusion) == with_structure; });
}

/// The order of all trainings, and what they are told.
class Runner {
 public:
  Runner(const Problem& problem, std::span<const models::Split> splits,
         const ComparisonOptions& options, const LearningOptions& learning, int64_t together,
         const OnStep& on_step, int64_t total)
      : problem_(problem),
        splits_(splits),
        options_(options),
        learning_(learning),
        together_(together),
        on_step_(on_step),
        total_(total) {}

  /// One cell: networks on `x`, one for all splits or one for each, and views likewise.
  ComparisonCell cell(Base base, models::GraphConstruction construction, Backbone backbone,
                      Fusion fusion, std::span<const Tensor> x, std::span<const Views> views,
                      std::span<const Rng> rngs) {
    ComparisonCell result{base, construction, backbone, fusion, {}, {}};
    const bool own_input = x.size() > 1 || views.size() > 1;
    const size_t step = own_input ? 1 : std::min(at(together_), splits_.size());
    for (size_t first = 0; first < splits_.size() && !stop_requested(); first += step) {
      const size_t count = std::min(step, splits_.size() - first);
      const auto& input = x.size() > 1 ? x[first] : x.front();
      const Trained trained = train_network(
          problem_, base == Base::x ? problem_.features : models::NodeFeatures(input),
          views.size() > 1 ? views[first] : views.front(), backbone, fusion, options_.weight,
          splits_.subspan(first, count), learning_, rngs.subspan(first, count));
      for (const Scores& scores : trained.scores) {
        result.validation.push_back(scores.validation);
        result.test.push_back(scores.test);
      }
      done_ += static_cast<int64_t>(count);
      on_step_(done_, total_,
               concat(to_string(base), " ", to_string(backbone), " ", to_string(fusion)));
    }
    return result;
  }

 private:
  const Problem& problem_;
  std::span<const models::Split> splits_;
  const ComparisonOptions& options_;
  const LearningOptions& learning_;
  int64_t together_;
  const OnStep& on_step_;
  int64_t total_, done_ = 0;
};

int64_t trainings(const ComparisonOptions& o, size_t splits) {
  int64_t of_base = 0;
  for (const Fusion fusion : o.fusions)
    of_base += static_cast<int64_t>((fusion == Fusion::none ? 1 : o.backbones.size()) *
                                    (uses_structure(fusion) ? o.constructions.size() : 1));
  return of_base * static_cast<int64_t>(o.bases.size() * splits);
}

double percent(const std::vector<double>& values) { return 100 * models::mean_std(values).mean; }
double deviation(const std::vector<double>& values) { return 100 * models::mean_std(values).std; }

constexpr double none = std::numeric_limits<double>::quiet_NaN();

/// The cell of a row and column of the accuracy tables.
const ComparisonCell* find(const Comparison& comparison, Base base,
                           models::GraphConstruction construction, Backbone backbone,
                           Fusion fusion) {
  for (const ComparisonCell& cell : comparison.cells)
    if (cell.base == base && cell.fusion == fusion && !cell.test.empty() &&
        (fusion == Fusion::none || cell.backbone == backbone) &&
        (!uses_structure(fusion) || cell.construction == construction))
      return &cell;
  return nullptr;
}

}  // namespace

Comparison compare(const Problem& problem, std::span<const models::Split> splits,
                   const ComparisonOptions& o, const LearningOptions& learning,
                   const ContrastiveOptions& contrastive, int64_t together, const Rng& rng,
                   const OnStep& on_step) {
  TS_CHECK(!splits.empty() && together >= 1, "gsl: ", splits.size(), " splits, ", together,
           " together");
  TS_CHECK(!o.bases.empty() && !o.backbones.empty() && !o.fusions.empty() &&
               (!o.constructions.empty() || !has(o.fusions, true)),
           "gsl: bases, backbones, fusions and constructions must each have a value");
  for (const Backbone backbone : o.backbones)  // before hours of training, not after
    TS_CHECK(backbone != Backbone::gat || learning.hidden % learning.heads == 0,
             "gsl: hidden width ", learning.hidden, " does not split into ", learning.heads,
             " heads of gat");
  Comparison result{.name = problem.name,
                    .homophily = models::edge_homophily(problem.adjacency, problem.labels),
                    .structures = {},
                    .cells = {}};
  std::vector<Rng> base_rngs, rngs;
  for (size_t r = 0; r < splits.size(); ++r) {
    base_rngs.push_back(rng.split(0).split(r));
    rngs.push_back(rng.split(1).split(r));
  }
  const auto budget = budget_of(problem.adjacency);
  Runner runner(problem, splits, o, learning, together, on_step, trainings(o, splits.size()));
  for (const Base base : o.bases) {
    const std::vector<Tensor> x =
        make_bases(base, problem, splits, learning, contrastive, base_rngs);
    if (stop_requested()) break;
    const std::vector<Views> plain{views_of(problem)};
    for (const Fusion fusion : o.fusions) {
      if (uses_structure(fusion)) continue;
      for (const Backbone backbone : o.backbones) {
        result.cells.push_back(runner.cell(base, {}, backbone, fusion, x, plain, rngs));
        if (fusion == Fusion::none) break;  // one MLP, whatever the backbone
      }
    }
    for (const models::GraphConstruction construction : o.constructions) {
      if (!has(o.fusions, true) || stop_requested()) break;
      StructureCell structure{base, construction, {}, {}, {}};
      std::vector<Views> views;
      for (const Tensor& b : x) {
        const CsrMatrix graph = models::similarity_graph(
            b, similarity(o, construction),
            construction == models::GraphConstruction::cos_node ? std::span<const int64_t>(budget)
                                                                : std::span<const int64_t>());
        structure.homophily.push_back(models::edge_homophily(graph, problem.labels));
        structure.degree.push_back(static_cast<double>(graph.nnz()) /
                                   static_cast<double>(graph.rows));
        if (views.empty()) structure.graph = graph;
        views.push_back(views_of(problem, graph));
      }
      result.structures.push_back(std::move(structure));
      for (const Fusion fusion : o.fusions)
        for (const Backbone backbone : o.backbones)
          if (uses_structure(fusion))
            result.cells.push_back(
                runner.cell(base, construction, backbone, fusion, x, views, rngs));
    }
  }
  return result;
}

Table homophily_table(const Comparison& comparison) {
  Table table{.name = comparison.name + ".homophily",
              .corner = concat("base (A: ", std::round(1e4 * comparison.homophily) / 1e4, ")"),
              .rows = {},
              .columns = {},
              .values = {}};
  for (const StructureCell& cell : comparison.structures)
    for (const char* what : {"", " degree"})
      if (const auto column = concat(to_string(cell.construction), what); !table.column(column))
        table.columns.push_back(column);
  for (const StructureCell& cell : comparison.structures) {
    const std::string row(to_string(cell.base));
    if (!table.row(row)) table.add(row, std::vector<double>(table.columns.size(), none));
    auto& values = table.values[*table.row(row)];
    values[*table.column(to_string(cell.construction))] = models::mean_std(cell.homophily).mean;
    values[*table.column(concat(to_string(cell.construction), " degree"))] =
        models::mean_std(cell.degree).mean;
  }
  return table;
}

std::vector<Table> accuracy_tables(const Comparison& comparison, const ComparisonOptions& o) {
  std::vector<Table> tables;
  for (const Backbone backbone : o.backbones) {
    Table mean{.name = concat(comparison.name, ".", to_string(backbone)),
               .corner = "base structure",
               .rows = {},
               .columns = {},
               .values = {}};
    for (const Fusion fusion : o.fusions) mean.columns.emplace_back(to_string(fusion));
    Table spread = mean;
    spread.name += ".std";
    auto constructions = o.constructions;
    if (constructions.empty()) constructions.emplace_back();
    for (const Base base : o.bases)
      for (const auto construction : constructions) {
        std::vector<double> means, spreads;
        for (const Fusion fusion : o.fusions) {
          const ComparisonCell* cell = find(comparison, base, construction, backbone, fusion);
          means.push_back(cell ? percent(cell->test) : none);
          spreads.push_back(cell ? deviation(cell->test) : none);
        }
        const std::string row = concat(to_string(base), " ", to_string(construction));
        mean.add(row, std::move(means));
        spread.add(row, std::move(spreads));
      }
    tables.push_back(std::move(mean));
    tables.push_back(std::move(spread));
  }
  return tables;
}

BestCells best_cells(const Comparison& comparison, Backbone backbone) {
  BestCells best;
  const auto offer = [](const ComparisonCell*& place, const ComparisonCell& cell) {
    if (!place || percent(cell.validation) > percent(place->validation)) place = &cell;
  };
  for (const ComparisonCell& cell : comparison.cells) {
    if (cell.test.empty() || (cell.fusion != Fusion::none && cell.backbone != backbone)) continue;
    if (uses_structure(cell.fusion)) {
      offer(best.structure_learning, cell);
      continue;
    }
    const bool edges = cell.fusion == Fusion::original;
    offer(edges ? best.gnn_base : best.mlp_base, cell);
    if (cell.base == Base::x) offer(edges ? best.gnn_x : best.mlp_x, cell);
  }
  return best;
}

Table summary_table(std::span<const Comparison> comparisons, const ComparisonOptions& o) {
  Table table{.name = "gnn_against_gsl",
              .corner = "graph backbone",
              .rows = {},
              .columns = {"homophily"},
              .values = {}};
  BestCells::visit(BestCells{}, [&](const std::string& name, auto) {
    table.columns.push_back(name);
    table.columns.push_back(name + " std");
  });
  for (const Comparison& comparison : comparisons)
    for (const Backbone backbone : o.backbones) {
      std::vector<double> row{comparison.homophily};
      BestCells::visit(best_cells(comparison, backbone),
                       [&](std::string_view, const ComparisonCell* cell) {
                         row.push_back(cell ? percent(cell->test) : none);
                         row.push_back(cell ? deviation(cell->test) : none);
                       });
      table.add(concat(comparison.name, " ", to_string(backbone)), std::move(row));
    }
  return table;
}

CsrMatrix predicted_graph(const Problem& problem, const models::Split& split,
                          const LearningOptions& learning, const Rng& rng) {
  const Trained trained =
      train_network(problem, problem.features, views_of(problem), Backbone::gcn, Fusion::none, 0,
                    std::span(&split, 1), two_layers(learning), std::span(&rng, 1), true);
  if (!trained.logits.front().defined()) return {};
  const Tensor classes = autograd::argmax(trained.logits.front(), 1);
  return models::similarity_graph(
      autograd::one_hot(classes, problem.classes, DType::f32),
      {.construction = models::GraphConstruction::cos_graph, .threshold = 1});
}

std::string adjacency_picture(const CsrMatrix& graph, const Tensor& labels,
                              const std::string& title) {
  const auto label = labels.values<int32_t>();
  const auto n = static_cast<int64_t>(label.size());
  TS_CHECK(graph.rows == n && graph.cols == n && n >= 1, "adjacency_picture: ", labels, " for ",
           graph);
  std::vector<int64_t> order(label.size()), place(label.size());
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return label[at(a)] < label[at(b)]; });
  for (size_t p = 0; p < order.size(); ++p) place[at(order[p])] = static_cast<int64_t>(p);

  const int64_t cells = std::min<int64_t>(n, 160);
  constexpr int64_t extent = 480, top = 30;
  const auto cell_of = [&](int64_t p) { return p * cells / n; };
  std::vector<double> edges(at(cells * cells)), size(at(cells));
  for (int64_t p = 0; p < n; ++p) ++size[at(cell_of(p))];
  const auto first = graph.row_ptr.values<int32_t>(), to = graph.col.values<int32_t>();
  for (int64_t i = 0; i < n; ++i)
    for (int32_t e = first[at(i)]; e < first[at(i) + 1]; ++e)
      ++edges[at(cell_of(place[at(i)]) * cells + cell_of(place[at(to[at(e)])]))];

  const double side = static_cast<double>(extent) / static_cast<double>(cells);
  std::string out =
      concat("<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"", extent + 20, "\" height=\"",
             extent + top + 10, "\" font-family=\"sans-serif\" font-size=\"13\">\n",
             "<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n<text x=\"10\" y=\"20\">");
  for (const char c : title) out += c == '<' ? "&lt;" : c == '&' ? "&amp;" : std::string(1, c);
  out += concat("</text>\n<g transform=\"translate(10 ", top, ")\" fill=\"#0072b2\">\n");
  for (int64_t r = 0; r < cells; ++r)
    for (int64_t c = 0; c < cells; ++c) {
      const double count = edges[at(r * cells + c)];
      if (count == 0) continue;
      const double share = count / (size[at(r)] * size[at(c)]);
      out += concat("<rect x=\"", static_cast<float>(static_cast<double>(c) * side), "\" y=\"",
                    static_cast<float>(static_cast<double>(r) * side), "\" width=\"",
                    static_cast<float>(side), "\" height=\"", static_cast<float>(side),
                    "\" opacity=\"", std::round(100 * (0.15 + 0.85 * std::min(share, 1.0))) / 100,
                    "\"/>\n");
    }
  out += "</g>\n<g stroke=\"#d55e00\" stroke-width=\"0.7\">\n";
  for (int64_t p = 1; p < n; ++p) {
    if (label[at(order[at(p)])] == label[at(order[at(p - 1)])]) continue;
    const auto line = static_cast<float>(static_cast<double>(extent * p) / static_cast<double>(n));
    out += concat("<path d=\"M", 10 + line, " ", top, "v", extent, "M10 ",
                  static_cast<float>(top) + line, "h", extent, "\"/>\n");
  }
  return out + concat("</g>\n<rect x=\"10\" y=\"", top, "\" width=\"", extent, "\" height=\"",
                      extent, "\" fill=\"none\" stroke=\"black\"/>\n</svg>\n");
}

}  // namespace tessera::algorithms::gsl
