// Topological feature informativeness on the training nodes of a graph's first split, as
// bench/peers/sklearn_tfi.py scores features. `information/ross` takes the aggregated columns, 256
// evenly spaced ones, as they are; `tfi/columns` makes all of them from the graph first.
// TESSERA_COAUTHOR names the graph file; without it there is nothing to measure.
#include <cmath>
#include <cstdlib>
#include <memory>

#include "tessera/algorithms/gfs/tfi.hpp"
#include "tessera/autograd/ops/information.hpp"
#include "tessera/bench/support/bench.hpp"

using namespace tessera;
using namespace tessera::algorithms::gfs;

namespace {

constexpr int64_t measured_columns = 256;

struct State {
  models::GraphData graph;
  StandardFeatures features;
  std::vector<int64_t> train;
  Tensor columns, labels;  // f64 [train, measured_columns], i32
  std::vector<double> scores;

  explicit State(const char* file)
      : graph(models::load_graph(file)), features(graph), train(graph.fixed_splits.at(0).train) {
    const auto n = static_cast<int64_t>(train.size());
    std::vector<int64_t> chosen;
    chosen.reserve(static_cast<size_t>(measured_columns));
    for (int64_t c = 0; c < measured_columns; ++c)
      chosen.push_back(c * features.features() / measured_columns);
    columns = aggregated_columns(graph, features, train, chosen, Filter::low);
    const auto all = graph.labels.host<int32_t>();
    std::vector<int32_t> own;
    own.reserve(train.size());
    for (const int64_t i : train) own.push_back(all[static_cast<size_t>(i)]);
    labels = Tensor::from(own, {n}, Device::cpu());
  }

  void check() const {
    double sum = 0;
    for (const double score : scores) {
      TS_CHECK(score >= 0 && score < std::log(static_cast<double>(graph.classes)), "TFI ", score);
      sum += score;
    }
    TS_CHECK(sum > 0, "all scores are 0");
  }
};

}  // namespace

int main(int argc, char** argv) {
  const char* const file = std::getenv("TESSERA_COAUTHOR");
  if (!file) return bench::main(argc, argv);
  const auto state = std::make_shared<State>(file);
  const auto rows = state->train.size();
  bench::add(
      {.name = "information/ross",
       .size = concat(rows, "x", measured_columns),
       .dtype = "f64",
       .prepare = [state] {
         return bench::Work{
             .run =
                 [state] {
                   state->scores =
                       autograd::class_information(state->columns, state->labels).values<double>();
                 },
             .check = [state] { state->check(); }};
       }});
  bench::add({.name = "tfi/columns",
              .size = concat(rows, "x", state->features.features()),
              .dtype = "f64",
              .prepare = [state] {
                return bench::Work{.run =
                                       [state] {
                                         state->scores = topological_feature_informativeness(
                                             state->graph, state->features, state->train, {},
                                             Device::cpu());
                                       },
                                   .check = [state] { state->check(); }};
              }});
  return bench::main(argc, argv);
}
