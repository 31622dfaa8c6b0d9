#include "tessera/algorithms/trihom/classifier_metrics.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <numeric>

#include "tessera/algorithms/trihom/support_vector.hpp"
#include "tessera/autograd/ops/linalg.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/models/statistics.hpp"

namespace tessera::algorithms::trihom {
namespace {

constexpr std::string_view kernel_names[] = {"linear", "rbf", "poly"};
using Numbers = std::vector<int64_t>;

size_t at(int64_t i) { return static_cast<size_t>(i); }

/// Nodes of a trial; `train` and `rest` are places in `nodes`.
struct Trial {
  Numbers nodes, train, rest;
  std::vector<int32_t> label;
};

Trial draw(const LabelledGraph& graph, const ClassifierOptions& options, Rng rng) {
  const size_t classes = at(graph.classes());
  const bool all = graph.nodes() <= options.sample;
  std::vector<Numbers> members(classes);
  for (size_t i = 0; i < graph.label.size(); ++i)
    members[at(graph.label[i])].push_back(static_cast<int64_t>(i));
  const auto per_class = [&](double nodes) {
    return at(std::llround(nodes / static_cast<double>(classes)));
  };
  int64_t taken = 0;
  for (Numbers& nodes : members) {
    shuffle(nodes.begin(), nodes.end(), rng);
    if (!all) nodes.resize(std::min(nodes.size(), per_class(static_cast<double>(options.sample))));
    taken += std::ssize(nodes);
  }
  Trial trial;
  const size_t training = per_class(options.train_share * static_cast<double>(taken));
  for (size_t c = 0; c < classes; ++c)
    for (size_t k = 0; k < members[c].size(); ++k) {
      (k < training ? trial.train : trial.rest).push_back(std::ssize(trial.nodes));
      trial.nodes.push_back(members[c][k]);
      trial.label.push_back(static_cast<int32_t>(c));
    }
  return trial;
}

/// Rows of x, or of its mean over neighbours, as dense [nodes, features].
Tensor dense_rows(const FeatureRows& x, const Numbers& nodes, const Neighbours* neighbours) {
  Tensor out = Tensor::zeros({std::ssize(nodes), x.features}, DType::f64, Device::cpu());
  const auto values = out.host_mutable<double>();
  for (size_t r = 0; r < nodes.size(); ++r) {
    double* const row = values.data() + r * at(x.features);
    const auto add = [&](size_t node, double weight) {
      for (size_t e = at(x.first[node]); e < at(x.first[node + 1]); ++e)
        row[x.column[e]] += weight * x.value[e];
    };
    const size_t i = at(nodes[r]);
    if (!neighbours) {
      add(i, 1);
      continue;
    }
    for (int32_t e = neighbours->first[i]; e < neighbours->first[i + 1]; ++e)
      add(at(neighbours->node[at(e)]), 1.0 / neighbours->degree(i));
  }
  return out;
}

std::vector<double> svm_kernel(const Tensor& x, std::span<const double> gram, const Trial& trial,
                               SvmKernel kind) {
  std::vector<double> kernel(gram.begin(), gram.end());
  const size_t n = trial.nodes.size();
  if (kind == SvmKernel::rbf) {
    for (size_t i = 0; i < n; ++i)
      for (size_t j = 0; j < n; ++j)
        kernel[i * n + j] =
            std::exp(-0.5 * (gram[i * n + i] + gram[j * n + j] - 2 * gram[i * n + j]));
  } else if (kind == SvmKernel::poly) {
    const auto values = x.host<double>();
    const size_t width = at(x.size(1));
    const auto count = static_cast<double>(trial.train.size() * width);
    double sum = 0, squares = 0;
    for (const int64_t i : trial.train)
      for (size_t f = 0; f < width; ++f) {
        sum += values[at(i) * width + f];
        squares += values[at(i) * width + f] * values[at(i) * width + f];
      }
    const double variance = squares / count - sum / count * (sum / count);
    const double gamma = variance > 0 ? 1 / (static_cast<double>(width) * variance) : 1;
    for (double& k : kernel) k = std::pow(gamma * k, 3);
  }
  return kernel;
}

double accuracy(const std::vector<int32_t>& predicted, const Trial& trial) {
  int64_t correct = 0;
  for (size_t p = 0; p < predicted.size(); ++p)
    correct += predicted[p] == trial.label[at(trial.rest[p])];
  return static_cast<double>(correct) / static_cast<double>(predicted.size());
}

/// Accuracies of the four classifiers, in the order of ClassifierMetrics.
std::vector<double> accuracies(const Tensor& x, const Trial& trial, int64_t classes,
                               SvmKernel kind) {
  const Tensor products = autograd::matmul(x, x.transpose(0, 1)).value();
  const std::vector<double> gram = products.values<double>();
  const int64_t n = std::ssize(trial.nodes);
  const double cost = kind == SvmKernel::rbf ? 0.1 : 1;
  const auto regression = [&](const std::vector<double>& kernel) {
    return accuracy(
        predict_kernel_regression(kernel, n, trial.label, classes, trial.train, trial.rest), trial);
  };
  return {regression(gram), regression(arc_cosine_kernel(gram, n)),
          accuracy(predict_naive_bayes(x.host<double>(), x.size(1), trial.label, classes,
                                       trial.train, trial.rest),
                   trial),
          accuracy(predict_support_vectors(svm_kernel(x, gram, trial, kind), n, trial.label,
                                           classes, trial.train, trial.rest, cost),
                   trial)};
}

/// `with` and `without` are accuracies of the trials, with and without aggregation.
double p_value(const std::vector<double>& with, const std::vector<double>& without, Mode mode) {
  const models::WelchTest test = models::welch_t_test(with, without);
  bool helps = test.statistic > 0;
  if (mode == Mode::compat) {
    size_t wins = 0;
    for (size_t t = 0; t < with.size(); ++t) wins += with[t] > without[t];
    helps = 2 * wins > with.size();
  }
  return helps ? 1 - test.p_value / 2 : test.p_value / 2;
}

}  // namespace

std::string_view to_string(SvmKernel kernel) { return kernel_names[static_cast<int>(kernel)]; }
void parse(std::string_view text, SvmKernel& kernel) { parse_enum(text, kernel_names, kernel); }

std::vector<double> arc_cosine_kernel(std::span<const double> gram, int64_t n) {
  std::vector<double> kernel(gram.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      const double g = gram[at(i * n + j)];
      const double norms =
          std::max(std::sqrt(gram[at(i * n + i)]) * std::sqrt(gram[at(j * n + j)]), 1e-8);
      const double angle = std::acos(std::clamp(g / norms, -1.0, 1.0));
      kernel[at(i * n + j)] =
          (g * (std::numbers::pi - angle) + std::sqrt(std::max(0.0, norms * norms - g * g))) /
          (2 * std::numbers::pi);
    }
  return kernel;
}

std::vector<int32_t> predict_kernel_regression(std::span<const double> kernel, int64_t n,
                                               std::span<const int32_t> label, int64_t classes,
                                               std::span<const int64_t> train,
                                               std::span<const int64_t> predict) {
  const auto part = [&](std::span<const int64_t> rows) {
    std::vector<double> values;
    for (const int64_t i : rows)
      for (const int64_t j : train) values.push_back(kernel[at(i * n + j)]);
    return Tensor::from(values, {std::ssize(rows), std::ssize(train)}, Device::cpu());
  };
  Tensor targets = Tensor::zeros({std::ssize(train), classes}, DType::f64, Device::cpu());
  for (size_t i = 0; i < train.size(); ++i)
    targets.host_mutable<double>()[i * at(classes) + at(label[at(train[i])])] = 1;

  const autograd::EighResult spectrum = autograd::eigh(part(train));
  const Tensor& vectors = spectrum.vectors.value();
  Tensor along = autograd::matmul(vectors.transpose(0, 1), targets).value().clone();
  const auto values = spectrum.values.value().values<double>();
  double largest = 0;
  for (const double v : values) largest = std::max(largest, std::abs(v));
  for (size_t k = 0; k < values.size(); ++k)
    for (size_t c = 0; c < at(classes); ++c)
      along.host_mutable<double>()[k * at(classes) + c] *=
          std::abs(values[k]) > 1e-12 * largest ? 1 / values[k] : 0;
  const Tensor scores =
      autograd::matmul(part(predict), autograd::matmul(vectors, along)).value().clone();
  std::vector<int32_t> out;
  for (size_t p = 0; p < predict.size(); ++p) {
    const auto row = scores.host<double>().subspan(p * at(classes), at(classes));
    out.push_back(static_cast<int32_t>(std::max_element(row.begin(), row.end()) - row.begin()));
  }
  return out;
}

std::vector<int32_t> predict_naive_bayes(std::span<const double> x, int64_t width,
                                         std::span<const int32_t> label, int64_t classes,
                                         std::span<const int64_t> train,
                                         std::span<const int64_t> predict) {
  const size_t w = at(width), k = at(classes);
  // Means and variances of every class, and of all as one class more.
  std::vector<double> mean((k + 1) * w), variance((k + 1) * w), count(k + 1);
  const auto each = [&](auto&& f) {
    for (const int64_t i : train)
      for (const size_t c : {at(label[at(i)]), k}) f(c, x.data() + at(i) * w);
  };
  each([&](size_t c, const double* row) {
    ++count[c];
    for (size_t f = 0; f < w; ++f) mean[c * w + f] += row[f];
  });
  for (size_t c = 0; c <= k; ++c)
    for (size_t f = 0; f < w; ++f) mean[c * w + f] /= std::max(count[c], 1.0);
  each([&](size_t c, const double* row) {
    for (size_t f = 0; f < w; ++f)
      variance[c * w + f] += (row[f] - mean[c * w + f]) * (row[f] - mean[c * w + f]);
  });
  double largest = 0;
  for (size_t f = 0; f < w; ++f) largest = std::max(largest, variance[k * w + f] / count[k]);
  std::vector<double> constant(k, -std::numeric_limits<double>::infinity());
  for (size_t c = 0; c < k; ++c) {
    if (count[c] == 0) continue;
    constant[c] = std::log(count[c] / count[k]);
    for (size_t f = 0; f < w; ++f) {
      double& v = variance[c * w + f];
      v = std::max(v / count[c] + 1e-9 * largest, std::numeric_limits<double>::min());
      constant[c] -= 0.5 * std::log(2 * std::numbers::pi * v);
      v = 1 / v;
    }
  }
  std::vector<int32_t> out;
  for (const int64_t i : predict) {
    size_t best = k;
    double highest = 0;
    for (size_t c = 0; c < k; ++c) {
      if (count[c] == 0) continue;
      double distance = 0;
      for (size_t f = 0; f < w; ++f) {
        const double from = x[at(i) * w + f] - mean[c * w + f];
        distance += from * from * variance[c * w + f];
      }
      if (const double score = constant[c] - 0.5 * distance; best == k || score > highest) {
        best = c;
        highest = score;
      }
    }
    out.push_back(static_cast<int32_t>(best));
  }
  return out;
}

ClassifierMetrics classifier_metrics(const LabelledGraph& graph, const FeatureRows& features,
                                     const ClassifierOptions& options, Mode mode, const Rng& rng) {
  TS_CHECK(options.trials != 1, "classifier metrics: 1 trial; Welch's test needs at least 2");
  ClassifierMetrics out;
  if (options.trials == 0 || graph.classes() < 2 || features.features == 0) return out;
  const FeatureRows x = l1_normalized(features);
  std::vector<std::vector<double>> with(4), without(4);
  for (int64_t t = 0; t < options.trials; ++t) {
    const Trial trial = draw(graph, options, rng.split(static_cast<uint64_t>(t)));
    if (trial.train.empty() || trial.rest.empty()) return out;
    const auto raw = accuracies(dense_rows(x, trial.nodes, nullptr), trial, graph.classes(),
                                options.svm),
               mixed = accuracies(dense_rows(x, trial.nodes, &graph.with_loops), trial,
                                  graph.classes(), options.svm);
    for (size_t k = 0; k < 4; ++k) {
      without[k].push_back(raw[k]);
      with[k].push_back(mixed[k]);
    }
  }
  size_t k = 0;
  ClassifierMetrics::visit(out, [&](std::string_view, double& value) {
    value = p_value(with[k], without[k], mode);
    ++k;
  });
  return out;
}

}  // namespace tessera::algorithms::trihom
