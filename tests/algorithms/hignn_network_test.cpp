// Layers on two graphs against dense formulas, and links that are found against stored ones.
#include <gtest/gtest.h>

#include <numeric>

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/models/runs.hpp"
#include "tessera/models/train.hpp"
#include "tessera/tests/algorithms/hignn_graphs.hpp"

namespace tessera::algorithms::hignn {
namespace {

using test::expect_close;

/// One layer on one graph: `a` without the node itself (A), or with it (A' with a diagonal of 1).
Matrix layer(const HiNetwork::Conv& conv, const Matrix& a, bool is_new, const Matrix& x,
             const NetworkOptions& o) {
  const auto weight = [](const models::Var& w) { return Matrix(w.value()); };
  const Matrix itself = is_new ? a : plus_identity(a);
  switch (o.backbone) {
    case Backbone::acm_gcn: {
      // A' + I: its diagonal is 2
      const Matrix filter = (is_new ? plus_identity(a) : itself).scaled(-1, 0);
      const models::AcmConv& c = conv.acm;
      const Matrix to_high = x * weight(c.high);
      const Matrix channels[] = {(filter * (x * weight(c.low))).relu(),
                                 to_high.plus(filter * to_high, -1).relu(),
                                 (x * weight(c.full)).relu()};
      const models::Var* const vectors[] = {&c.low_vector, &c.high_vector, &c.full_vector};
      const Matrix mix = weight(c.mix);
      Matrix y(x.rows, channels[0].columns);
      for (int64_t i = 0; i < x.rows; ++i) {
        double gate[3], score[3] = {}, total = 0;
        for (int k = 0; k < 3; ++k) {
          double sum = 0;
          const Doubles vector = to_doubles(vectors[k]->value());
          for (int64_t j = 0; j < y.columns; ++j) sum += channels[k](i, j) * vector[at(j)];
          gate[k] = 1 / (1 + std::exp(-sum));
        }
        for (int k = 0; k < 3; ++k) {
          for (int l = 0; l < 3; ++l) score[k] += gate[l] * mix(l, k) / 3;
          total += std::exp(score[k]);
        }
        for (int k = 0; k < 3; ++k)
          for (int64_t j = 0; j < y.columns; ++j)
            y(i, j) += 3 * std::exp(score[k]) / total * channels[k](i, j);
      }
      return y;
    }
    case Backbone::gcn:
      return (itself.scaled(-0.5, -0.5) * (x * weight(conv.linear[0].weight)))
          .plus_bias(conv.linear[0].bias);
    case Backbone::sgc: {
      const Matrix filter = itself.scaled(-0.5, -0.5);
      return (filter * (filter * (x * weight(conv.linear[0].weight))))
          .plus_bias(conv.linear[0].bias);
    }
    case Backbone::sage:
      return (x * weight(conv.linear[0].weight))
          .plus(a.scaled(-1, 0) * (x * weight(conv.linear[1].weight)))
          .plus_bias(conv.linear[0].bias);
    case Backbone::mixhop: {
      const Matrix filter = itself.scaled(-0.5, -0.5);
      std::vector<Matrix> powers;
      for (size_t k = 0; k < conv.linear.size(); ++k) {
        powers.push_back((x * weight(conv.linear[k].weight)).plus_bias(conv.linear[k].bias));
        for (size_t step = 0; step < k; ++step) powers[k] = filter * powers[k];
      }
      const int64_t width = powers[0].columns;
      Matrix y(x.rows, width * static_cast<int64_t>(powers.size()));
      return y.map([&](int64_t i, int64_t j) { return powers[at(j / width)](i, j % width); });
    }
    case Backbone::gat: {
      const Matrix value = x * weight(conv.attention.value.weight);
      const Doubles target = to_doubles(conv.attention.target.value()),
                    source = to_doubles(conv.attention.source.value());
      const int64_t width = value.columns / o.heads;
      Matrix y(x.rows, width);
      for (int64_t h = 0; h < o.heads; ++h) {
        const auto score = [&](const Doubles& vectors, int64_t i) {
          double sum = 0;
          for (int64_t c = h * width; c < (h + 1) * width; ++c) sum += value(i, c) * vectors[at(c)];
          return sum;
        };
        for (int64_t i = 0; i < x.rows; ++i) {
          Doubles weights(at(x.rows));
          for (int64_t j = 0; j < x.rows; ++j) {
            const double s = score(target, i) + score(source, j);
            weights[at(j)] = itself(i, j) == 0 ? 0 : std::exp(s > 0 ? s : 0.2 * s);
          }
          const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
          for (int64_t j = 0; j < x.rows; ++j)
            for (int64_t c = 0; c < width; ++c)
              y(i, c) +=
                  weights[at(j)] / total * value(j, h * width + c) / static_cast<double>(o.heads);
        }
      }
      return y.plus_bias(conv.attention.bias);
    }
  }
  return x;
}

TEST(HignnNetwork, OneLayerIsTheDenseFormula) {
  const models::GraphData graph = small_graph();
  const Problem problem = prepare(graph, false, Device::cpu());
  const Matrix a = dense(graph.adjacency), x(graph.features_as_dense());
  for (const Backbone backbone : backbones) {
    const NetworkOptions options{
        .backbone = backbone, .layers = 1, .hidden = 5, .heads = 2, .dropout = 0, .lambda = 0.7};
    const NewGraph added = make_new_graph(graph, imagined_probabilities(graph), {.threshold = 0.9},
                                          diagonal_weight(backbone), Device::cpu(), Rng(1));
    Matrix links = dense(added.matrix());
    if (backbone == Backbone::acm_gcn)
      for (int64_t i = 0; i < links.rows; ++i) links(i, i) = 1;
    EXPECT_GT(std::accumulate(links.values.begin(), links.values.end(), 0.0), 4 * graph.nodes);
    for (const Graphs graphs : {Graphs::both, Graphs::old_graph, Graphs::new_graph}) {
      Rng rng(3);
      const HiNetwork net = HiNetwork::make(8, 3, options, graphs, rng);
      models::ForwardContext context{.runs = 1};
      const models::Var logits = models::stack_runs(std::vector{net})(
          problem.filters, filters_of(std::span(&added, 1), Device::cpu()), problem.features,
          context);

      const auto& convs = net.layers[0].graphs;
      Matrix wanted = graphs == Graphs::new_graph ? layer(convs[0], links, true, x, options)
                                                  : layer(convs[0], a, false, x, options);
      if (graphs == Graphs::new_graph)
        wanted = wanted.map([&](int64_t i, int64_t j) { return 0.7 * wanted(i, j); });
      if (graphs == Graphs::both)
        wanted = wanted.plus(layer(convs[1], links, true, x, options), 0.7);
      if (net.output.weight.defined())
        wanted = (wanted * Matrix(net.output.weight.value())).plus_bias(net.output.bias);
      expect_close(logits.value(), wanted.values, {1e-5, 1e-5},
                   concat(to_string(backbone), ", ", to_string(graphs)));
    }
  }
}

// Links found in every product and a matrix that stores them: the same values and gradients.
TEST(HignnNetwork, StoredLinksGiveTheSame) {
  const models::GraphData graph = small_graph(150);
  const Problem problem = prepare(graph, false, Device::cpu());
  for (const Backbone backbone : backbones) {
    const bool attends = backbone == Backbone::gat;
    const size_t runs = attends ? 1 : 2;
    std::vector<NewGraph> found, stored;
    for (size_t r = 0; r < runs; ++r) {
      found.push_back(make_new_graph(graph, imagined_probabilities(graph),
                                     {.threshold = r == 0 ? 0.8 : 0.95}, diagonal_weight(backbone),
                                     Device::cpu(), Rng(1)));
      stored.push_back({{}, found.back().matrix()});
    }
    std::vector<HiNetwork> nets;
    for (size_t r = 0; r < runs; ++r) {
      Rng rng(7 + r);
      nets.push_back(HiNetwork::make(
          8, 3, {.backbone = backbone, .hidden = 6, .heads = 2, .dropout = 0.3, .lambda = 0.5},
          Graphs::both, rng));
    }
    const auto gradients_on = [&](const std::vector<NewGraph>& graphs) {
      const HiNetwork model = models::clone(models::stack_runs(nets));  // running means of its own
      const Filters added = filters_of(graphs, Device::cpu());
      models::StepRng numbers(Device::cpu(), static_cast<int64_t>(runs));
      const std::vector<Rng> of_runs(runs, Rng(4));
      numbers.begin(of_runs);
      models::ForwardContext context{true, numbers.rng(), static_cast<int64_t>(runs)};
      const auto [value, gradients] = models::value_and_grad(model, [&](const HiNetwork& m) {
        const models::Var logits = m(problem.filters, added, problem.features, context);
        return autograd::sum(logits * logits);
      });
      Doubles all = to_doubles(value.value());
      for (const models::Var& g : gradients)
        for (const double v : to_doubles(g.value())) all.push_back(v);
      return all;
    };
    const Doubles wanted = gradients_on(stored);
    double size = 0;
    for (const double v : wanted) size = std::max(size, std::abs(v));
    expect_close(gradients_on(found), wanted, test::Tolerance{1e-4, 1e-6 * size},
                 std::string(to_string(backbone)));
  }
}

}  // namespace
}  // namespace tessera::algorithms::hignn
