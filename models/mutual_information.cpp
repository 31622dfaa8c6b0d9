#include "tessera/models/mutual_information.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <vector>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/information.hpp"
#include "tessera/models/init.hpp"

namespace tessera::models {
namespace {

struct Samples {
  size_t width = 0;
  std::vector<double> x;  // [rows, width]
  std::vector<int32_t> label;
};

/// Divides by the deviation (a column that does not vary keeps its size) and adds noise.
void prepare_column(Samples& samples, size_t column, double noise, Rng rng) {
  const auto n = static_cast<double>(samples.label.size());
  double mean = 0, squares = 0, size = 0;
  const auto value = [&](size_t i) -> double& { return samples.x[i * samples.width + column]; };
  for (size_t i = 0; i < samples.label.size(); ++i) mean += value(i) / n;
  for (size_t i = 0; i < samples.label.size(); ++i)
    squares += (value(i) - mean) * (value(i) - mean);
  const double deviation = std::sqrt(squares / n);
  for (size_t i = 0; i < samples.label.size(); ++i) {
    if (deviation > 0) value(i) /= deviation;
    size += std::abs(value(i)) / n;
  }
  for (size_t i = 0; i < samples.label.size(); ++i)
    value(i) += noise * std::max(1.0, size) * normal(rng);
}

void check(const Tensor& x, const Tensor& labels, const MutualInformationOptions& options) {
  TS_CHECK(x.rank() == 2 && is_float(x.dtype()) && labels.dtype() == DType::i32 &&
               labels.shape() == Shape{x.size(0)},
           "mutual_information: ", x, " with labels ", labels,
           "; expected floating [n, d] and i32 [n]");
  TS_CHECK(options.k >= 1 && options.noise >= 0, "mutual_information: ", options.k,
           " neighbours, noise ", options.noise, "; expected at least 1 and at least 0");
}

std::vector<double> finite_values(const Tensor& x) {
  auto values = autograd::convert(x.to(Device::cpu()), DType::f64).values<double>();
  const auto width = static_cast<size_t>(x.size(1));
  for (size_t k = 0; k < values.size(); ++k)
    TS_CHECK(std::isfinite(values[k]), "mutual_information: element ", k % width, " of row ",
             k / width, " is ", values[k]);
  return values;
}

/// All rows of classes with at least two members.
Samples samples_of(const Tensor& x, const Tensor& labels) {
  const std::vector<double> values = finite_values(x);
  const auto label = labels.values<int32_t>();
  std::map<int32_t, int64_t> members;
  for (const int32_t y : label) ++members[y];
  Samples samples{.width = static_cast<size_t>(x.size(1)), .x = {}, .label = {}};
  for (size_t i = 0; i < label.size(); ++i) {
    if (members[label[i]] < 2) continue;
    samples.label.push_back(label[i]);
    const auto row = values.begin() + static_cast<std::ptrdiff_t>(i * samples.width);
    samples.x.insert(samples.x.end(), row, row + x.size(1));
  }
  return samples;
}

double ross(const Samples& samples, int64_t k) {
  const size_t n = samples.label.size(), width = samples.width;
  if (n < 2 || width == 0) return 0;
  const std::vector<double> psi = autograd::digamma_of_integers(static_cast<int64_t>(n));
  std::map<int32_t, size_t> members;
  for (const int32_t y : samples.label) ++members[y];
  std::vector<double> distance(n), same;
  double sum = 0;
  for (size_t i = 0; i < n; ++i) {
    same.clear();
    for (size_t j = 0; j < n; ++j) {
      double largest = 0;
      for (size_t f = 0; f < width; ++f)
        largest = std::max(largest, std::abs(samples.x[i * width + f] - samples.x[j * width + f]));
      distance[j] = largest;
      if (j != i && samples.label[j] == samples.label[i]) same.push_back(largest);
    }
    const size_t nearest = std::min(static_cast<size_t>(k), same.size());
    const auto kth = same.begin() + static_cast<std::ptrdiff_t>(nearest - 1);
    std::nth_element(same.begin(), kth, same.end());
    const double radius = std::nextafter(*kth, 0.0);
    const auto within =
        std::count_if(distance.begin(), distance.end(), [&](double d) { return d <= radius; });
    sum += psi[nearest] - psi[members[samples.label[i]]] - psi[static_cast<size_t>(within)];
  }
  return std::max(0.0, psi[n] + sum / static_cast<double>(n));
}

double entropy(const auto& counts, double total) {
  double sum = 0;
  for (const auto& [key, count] : counts) {
    const double share = static_cast<double>(count) / total;
    sum -= share * std::log(share);
  }
  return sum;
}

}  // namespace

double mutual_information(const Tensor& x, const Tensor& labels,
                          const MutualInformationOptions& options, const Rng& rng) {
  check(x, labels, options);
  Samples samples = samples_of(x, labels);
  for (size_t f = 0; f < samples.width; ++f)
    prepare_column(samples, f, options.noise, rng.split(f));
  return ross(samples, options.k);
}

double mean_mutual_information(const Tensor& x, const Tensor& labels,
                               const MutualInformationOptions& options, const Rng& rng) {
  check(x, labels, options);
  if (x.numel() == 0) return 0;
  const Tensor columns = Tensor::from(finite_values(x), x.shape(), Device::cpu());
  const auto found =
      autograd::class_information(
          columns, labels.to(Device::cpu()),
          {.neighbors = options.k, .noise = options.noise, .seed = rng.split(0).state().seed})
          .values<double>();
  return std::accumulate(found.begin(), found.end(), 0.0) / static_cast<double>(found.size());
}

double label_entropy(std::span<const int32_t> labels) {
  std::map<int32_t, int64_t> counts;
  for (const int32_t y : labels) ++counts[y];
  return entropy(counts, static_cast<double>(labels.size()));
}

double discrete_mutual_information(std::span<const int64_t> codes,
                                   std::span<const int32_t> labels) {
  TS_CHECK(codes.size() == labels.size(), "discrete_mutual_information: ", codes.size(),
           " codes for ", labels.size(), " labels");
  std::map<int64_t, int64_t> of_code;
  std::map<std::pair<int64_t, int32_t>, int64_t> of_pair;
  for (size_t i = 0; i < codes.size(); ++i) {
    ++of_code[codes[i]];
    ++of_pair[{codes[i], labels[i]}];
  }
  const auto n = static_cast<double>(codes.size());
  return label_entropy(labels) + entropy(of_code, n) - entropy(of_pair, n);
}

double fano_accuracy(double information, double entropy, int64_t classes) {
  TS_CHECK(classes >= 2, "fano_accuracy: ", classes, " classes");
  const double needed = entropy - information;  // what the error must leave open
  const auto open = [&](double error) {
    const double others = std::log(static_cast<double>(classes - 1));
    if (error <= 0) return 0.0;
    if (error >= 1) return others;
    return -error * std::log(error) - (1 - error) * std::log1p(-error) + error * others;
  };
  // `open` rises from 0 to ln(classes) at the error of guessing.
  double low = 0, high = 1 - 1 / static_cast<double>(classes);
  if (needed <= 0) return 1;
  if (needed >= open(high)) return 1 - high;
  for (int step = 0; step < 60; ++step) {
    const double middle = 0.5 * (low + high);
    (open(middle) < needed ? low : high) = middle;
  }
  return 1 - low;
}

}  // namespace tessera::models
