#include "tessera/models/layers/graph/conv.hpp"

#include <cmath>

#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/ops/softmax.hpp"
#include "tessera/models/init.hpp"
#include "tessera/models/layers/graph/acm_channels.hpp"
#include "tessera/models/runs.hpp"

namespace tessera::models {
namespace {

Var plus_bias(const Var& y, const Var& bias) { return bias.defined() ? y + bias : y; }

}  // namespace

GraphLinear GraphLinear::make(int64_t in, int64_t out, Rng& rng, bool with_bias) {
  const double bound = 1 / std::sqrt(static_cast<double>(in));
  GraphLinear layer{uniform({in, out}, bound, rng), {}};
  if (with_bias) layer.bias = uniform({out}, bound, rng);
  return layer;
}

GraphLinear GraphLinear::glorot(int64_t in, int64_t out, Rng& rng, bool with_bias) {
  GraphLinear layer{glorot_uniform({in, out}, in, out, rng), {}};
  if (with_bias) layer.bias = constant({out}, 0.0);
  return layer;
}

Var GraphLinear::operator()(const Var& x) const { return plus_bias(times(x, weight), bias); }

Var GraphLinear::operator()(const NodeFeatures& x, double dropout, ForwardContext& context) const {
  return plus_bias(x.times(weight, dropout, context), bias);
}

FeedForward FeedForward::make(int64_t in, int64_t hidden, double dropout, Rng& rng) {
  FeedForward layer;
  layer.first = GraphLinear::make(in, hidden, rng);
  layer.second = GraphLinear::make(hidden, hidden, rng);
  layer.dropout = dropout;
  return layer;
}

Var FeedForward::operator()(const Var& x, ForwardContext& context) const {
  return drop(second(autograd::gelu(drop(first(x), dropout, context))), dropout, context);
}

AcmConv AcmConv::make(int64_t in, int64_t out, const Options& options, Rng& rng) {
  const double bound = 1 / std::sqrt(static_cast<double>(out));
  const int64_t channels = options.structure_nodes > 0 ? 4 : 3;
  AcmConv layer;
  layer.relu_first = options.relu_first;
  layer.plus = options.plus;
  layer.symmetric = options.symmetric;
  for (Var* weight : {&layer.low, &layer.high, &layer.full})
    *weight = uniform({in, out}, bound, rng);
  for (Var* vector : {&layer.low_vector, &layer.high_vector, &layer.full_vector})
    *vector = uniform({out, 1}, 1.0, rng);
  if (channels == 4) {
    layer.structure = uniform({options.structure_nodes, out}, bound, rng);
    layer.structure_vector = uniform({out, 1}, 1.0, rng);
  }
  layer.mix = uniform({channels, channels}, 1 / std::sqrt(static_cast<double>(channels)), rng);
  if (layer.plus) {
    for (LayerNorm* norm : {&layer.low_norm, &layer.high_norm, &layer.full_norm})
      *norm = LayerNorm::make(out);
    if (channels == 4) layer.structure_norm = LayerNorm::make(out);
  }
  return layer;
}

Var AcmConv::operator()(const GraphOperators& graph, const Var& x) const {
  return mixed(graph, times(x, low), times(x, high), times(x, full));
}

Var AcmConv::operator()(const GraphOperators& graph, const NodeFeatures& x, double dropout,
                        ForwardContext& context) const {
  // One dropout of x for all channels.
  const Var weights[] = {low, high, full};
  const Var products = x.times(autograd::concat(weights, -1), dropout, context);
  const std::vector<Var> parts = autograd::split(products, -1, 3);
  return mixed(graph, parts[0], parts[1], parts[2]);
}

Var AcmConv::mixed(const GraphOperators& graph, const Var& to_low, const Var& to_high,
                   const Var& to_full) const {
  const autograd::SparseMatrix& filter =
      symmetric ? graph.symmetric(true) : graph.random_walk(true);
  Var structural;
  if (structure.defined())
    structural = autograd::relu(autograd::spmm(graph.pattern(false), structure));
  return mixed_channels(
      *this, [&](const Var& x) { return autograd::spmm(filter, x); }, to_low, to_high, to_full,
      structural);
}

Var mixed_channels(const AcmConv& conv, const std::function<Var(const Var&)>& low_pass,
                   const Var& to_low, const Var& to_high, const Var& to_full,
                   const Var& structural) {
  using autograd::relu;
  const auto high_pass = [&](const Var& x) { return x - low_pass(x); };
  Vars channels;
  if (conv.relu_first)
    channels = {low_pass(relu(to_low)), high_pass(relu(to_high)), relu(to_full)};
  else
    channels = {relu(low_pass(to_low)), relu(high_pass(to_high)), relu(to_full)};
  Vars vectors = {conv.low_vector, conv.high_vector, conv.full_vector};
  std::vector<const LayerNorm*> norms = {&conv.low_norm, &conv.high_norm, &conv.full_norm};
  if (structural.defined()) {
    channels.push_back(structural);
    vectors.push_back(conv.structure_vector);
    norms.push_back(&conv.structure_norm);
  }
  Vars scores;
  for (size_t i = 0; i < channels.size(); ++i)
    scores.push_back(times(conv.plus ? (*norms[i])(channels[i]) : channels[i], vectors[i]));
  const auto count = static_cast<double>(channels.size());
  const Var attention =
      autograd::softmax(times(autograd::sigmoid(autograd::concat(scores, -1)), conv.mix) / count);
  Var y;
  for (size_t i = 0; i < channels.size(); ++i) {
    const Var term = channels[i] * autograd::narrow(attention, -1, static_cast<int64_t>(i), 1);
    y = y.defined() ? y + term : term;
  }
  return structural.defined() ? y : y * count;
}

}  // namespace tessera::models
