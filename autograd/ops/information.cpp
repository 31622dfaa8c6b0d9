#include "tessera/autograd/ops/information.hpp"

#include <algorithm>
#include <limits>
#include <numbers>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/kernels/random.hpp"
#include "tessera/kernels/sort.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

constexpr int64_t block_elements = int64_t{1} << 21;

/// The samples by class, those of classes of one left out.
struct Grouping {
  std::vector<int64_t> order;       // sample numbers
  std::vector<int64_t> offsets{0};  // where each class begins in `order`

  explicit Grouping(const Tensor& labels) {
    const auto label = labels.host<int32_t>();
    for (size_t i = 0; i < label.size(); ++i)
      TS_CHECK(label[i] >= 0, "class_information: label ", i, " is ", label[i]);
    const int32_t most = label.empty() ? -1 : *std::max_element(label.begin(), label.end());
    std::vector<std::vector<int64_t>> members(static_cast<size_t>(most + 1));
    for (size_t i = 0; i < label.size(); ++i)
      members[static_cast<size_t>(label[i])].push_back(static_cast<int64_t>(i));
    for (const auto& samples : members) {
      if (samples.size() < 2) continue;
      order.insert(order.end(), samples.begin(), samples.end());
      offsets.push_back(static_cast<int64_t>(order.size()));
    }
  }
  int64_t samples() const { return static_cast<int64_t>(order.size()); }
  int64_t classes() const { return static_cast<int64_t>(offsets.size()) - 1; }
};

/// z [columns, n]: the columns of x as rows, of deviation 1, without ties; 1 or 0 for each: whether
/// it varies.
std::pair<Tensor, Tensor> unit_rows(const Tensor& x, const ClassInformationOptions& o) {
  const Var rows(contiguous(convert(x, DType::f64).transpose(0, 1)));
  const Var deviation = sqrt(variance(rows, {1}, true));
  const Tensor varies = greater(deviation * (max(rows, 1, true) - min(rows, 1, true)), 0.0);
  const Var one(full(deviation.shape(), 1.0, DType::f64, x.device()));
  Var z = rows / where(varies, deviation, one);
  if (o.noise > 0) {
    const int64_t n = x.size(0);
    const Tensor numbers = empty_like(rows.value());
    for (int64_t c = 0; c < x.size(1); ++c)
      kernels::normal(current_stream(x.device()),
                      Rng(o.seed).split(static_cast<uint64_t>(o.first + c)).take(n), 0.0, 1.0,
                      numbers.select(0, c).view());
    const Var scale = maximum(mean(abs(z), {1}, true), one) * o.noise;
    z = z + Var(numbers) * scale;
  }
  return {z.value(), where(varies, one, one * 0.0).value()};
}

}  // namespace

std::vector<double> digamma_of_integers(int64_t n) {
  std::vector<double> psi{0};
  double value = -std::numbers::egamma;
  for (int64_t m = 1; m <= n; ++m) {
    psi.push_back(value);
    value += 1 / static_cast<double>(m);
  }
  return psi;
}

Tensor class_information(const Tensor& x, const Tensor& labels, const ClassInformationOptions& o) {
  check_floating("class_information", x);
  TS_CHECK(x.rank() == 2 && labels.rank() == 1 && labels.size(0) == x.size(0) &&
               labels.dtype() == DType::i32 && labels.device() == Device::cpu(),
           "class_information: x ", x, " with labels ", labels,
           "; expected x [n, columns] and i32 labels [n] on cpu");
  TS_CHECK(o.neighbors >= 1 && o.noise >= 0, "class_information: ", o.neighbors,
           " neighbours, noise ", o.noise);
  const Device device = x.device();
  const Grouping groups(labels);
  const int64_t columns = x.size(1), n = groups.samples(), classes = groups.classes();
  const Tensor result = full({columns}, 0.0, DType::f64, device);
  if (classes < 2 || columns == 0) return result;

  const std::vector<double> psi = digamma_of_integers(n);
  double expected = psi.back();  // all but <psi(m_i)>
  for (size_t c = 0; c + 1 < groups.offsets.size(); ++c) {
    const int64_t size = groups.offsets[c + 1] - groups.offsets[c];
    expected += static_cast<double>(size) / static_cast<double>(n) *
                (psi[static_cast<size_t>(std::min(o.neighbors, size - 1))] -
                 psi[static_cast<size_t>(size)]);
  }
  const Var psi_of(Tensor::from(psi, {n + 1}, device));
  const Tensor order = Tensor::from(groups.order, {n}, device),
               offsets = Tensor::from(groups.offsets, {classes + 1}, device);
  Stream& stream = current_stream(device);
  const int64_t most = std::max<int64_t>(1, block_elements / x.size(0));
  for (int64_t begin = 0; begin < columns; begin += most) {
    const int64_t count = std::min(most, columns - begin);
    ClassInformationOptions part = o;
    part.first += begin;
    const auto [z, varies] = unit_rows(x.narrow(1, begin, count), part);
    const Tensor of_classes =
        contiguous(gather_rows(Var(contiguous(z.transpose(0, 1))), order).value().transpose(0, 1));
    std::vector<int64_t> cuts{0};
    for (int64_t c = 0; c < count; ++c)
      for (size_t k = 1; k < groups.offsets.size(); ++k) cuts.push_back(c * n + groups.offsets[k]);
    const Tensor sorted = empty_like(of_classes), grouped = empty_like(of_classes),
                 near = Tensor::empty({count, n}, DType::i32, device);
    kernels::sort(stream, of_classes.view(), sorted.view(), {});
    kernels::segmented_sort(stream, of_classes.reshape({-1}).view(),
                            Tensor::from(cuts, {static_cast<int64_t>(cuts.size())}, device).view(),
                            grouped.reshape({-1}).view(), {});
    kernels::class_neighbors(stream, sorted.view(), grouped.view(), offsets.view(), near.view(),
                             {.k = o.neighbors});
    const Var surprise = mean(gather_rows(psi_of, near), {1}, true);
    Tensor to = result.narrow(0, begin, count);
    to.copy_from(
        (clamp(expected - surprise, 0.0, std::numeric_limits<double>::infinity()) * Var(varies))
            .value()
            .reshape({count}));
  }
  return result;
}

}  // namespace tessera::autograd
