#include "tessera/autograd/ops/similarity.hpp"

#include <algorithm>
#include <bit>
#include <cmath>
#include <map>
#include <mutex>
#include <vector>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

/// A bound of cosines; those from 1 - 1e-6 on are 1.
double bound(double cosine) { return cosine > 1 ? cosine : std::min(cosine, 1 - 1e-6); }

kernels::CsrView expansion(int64_t nodes, int64_t groups, const Tensor& each, const Tensor& group) {
  return {nodes, groups, nodes, static_cast<const int32_t*>(each.data()),
          static_cast<const int32_t*>(group.data())};
}

Tensor indices(const std::vector<int32_t>& values, Device device) {
  return Tensor::from(values, {static_cast<int64_t>(values.size())}, device);
}

/// x as [n, width] where its rows are contiguous.
Tensor rows_of(const Tensor& x) {
  const Tensor dense = x.rank() == 2 && (x.strides()[1] == 1 || x.size(1) <= 1) ? x : contiguous(x);
  return dense.rank() == 2
             ? dense
             : dense.reshape({x.size(0), x.numel() / std::max<int64_t>(x.size(0), 1)});
}

}  // namespace

struct SimilarityGraph::Data {
  SimilarityOptions options;
  int64_t nodes = 0, groups = 0;
  Device device;
  std::vector<int32_t> group_of_node;       // on the host
  Tensor features, norms;                   // of groups; rows of length 1 or 0, norms 1 or NaN
  Tensor offsets, members, each, group_of;  // i32: members of a group; 0 .. n; group of a node
  double own_group = 0;  // weight of a group in its own sum: whether its members are linked
  mutable std::once_flag once;
  mutable Tensor degrees;

  bool grouped() const { return groups < nodes; }
  kernels::SimilarityParams params(double diagonal) const {
    return {.least = bound(options.least),
            .below = bound(options.below),
            .diagonal = diagonal,
            .keep = options.keep,
            .rng = options.rng};
  }
};

SimilarityGraph::SimilarityGraph(const Tensor& features, const SimilarityOptions& options,
                                 Device device) {
  TS_CHECK(features.rank() == 2 && is_float(features.dtype()) && features.device() == Device::cpu(),
           "SimilarityGraph: features must be floating [nodes, width] on cpu, are ", features);
  TS_CHECK(features.size(0) < INT32_MAX / 2, "SimilarityGraph: ", features.size(0), " nodes");
  TS_CHECK(options.least <= options.below, "SimilarityGraph: no cosine is from ", options.least,
           " on and below ", options.below);
  TS_CHECK(options.keep >= 0 && options.keep <= 1, "SimilarityGraph: keep ", options.keep,
           " is no probability");
  TS_CHECK(std::isfinite(options.diagonal), "SimilarityGraph: diagonal ", options.diagonal);
  auto data = std::make_shared<Data>();
  data->options = options;
  data->nodes = features.size(0);
  data->device = device;
  data->own_group = options.least <= 1 && options.below > 1 ? 1 : 0;

  const int64_t width = features.size(1);
  const std::vector<float> values = convert(features, DType::f32).values<float>();
  std::map<std::vector<float>, int32_t> groups;
  std::vector<std::vector<int32_t>> members;
  std::vector<float> group_features, norms;
  for (int64_t i = 0; i < data->nodes; ++i) {
    const auto begin = values.begin() + i * width;
    std::vector<float> row(begin, begin + width);
    double square = 0;
    for (const float x : row) {
      TS_CHECK(std::isfinite(x), "SimilarityGraph: feature ", x, " of node ", i, " is not finite");
      square += static_cast<double>(x) * x;
    }
    const auto length = static_cast<float>(std::sqrt(square));
    for (float& x : row) x = length > 0 ? x / length + 0.0f : 0.0f;  // + 0: not -0
    const auto next = static_cast<int32_t>(members.size());
    const bool single = options.keep < 1 || length == 0;
    const int32_t group = single ? next : groups.emplace(row, next).first->second;
    if (group == next) {
      members.emplace_back();
      group_features.insert(group_features.end(), row.begin(), row.end());
      norms.push_back(length > 0 ? 1 : std::numeric_limits<float>::quiet_NaN());
    }
    members[static_cast<size_t>(group)].push_back(static_cast<int32_t>(i));
    data->group_of_node.push_back(group);
  }
  data->groups = static_cast<int64_t>(members.size());
  data->features = Tensor::from(group_features, {data->groups, width}, Device::cpu()).to(device);
  data->norms = Tensor::from(norms, {data->groups}, Device::cpu()).to(device);
  if (data->grouped()) {
    std::vector<int32_t> offsets{0}, order, each;
    for (const auto& group : members) {
      order.insert(order.end(), group.begin(), group.end());
      offsets.push_back(static_cast<int32_t>(order.size()));
    }
    for (int64_t i = 0; i <= data->nodes; ++i) each.push_back(static_cast<int32_t>(i));
    data->offsets = indices(offsets, device);
    data->members = indices(order, device);
    data->each = indices(each, device);
    data->group_of = indices(data->group_of_node, device);
  }
  data_ = std::move(data);
}

int64_t SimilarityGraph::nodes() const { return data_->nodes; }
int64_t SimilarityGraph::groups() const { return data_->groups; }
Device SimilarityGraph::device() const { return data_->device; }
const SimilarityOptions& SimilarityGraph::options() const { return data_->options; }

const Tensor& SimilarityGraph::degrees() const {
  std::call_once(data_->once, [this] {
    SimilarityGraph plain = *this;
    plain.row_scale_ = plain.column_scale_ = {};
    data_->degrees = plain.times(full({nodes(), 1}, 1.0, DType::f64, device())).reshape({nodes()});
  });
  return data_->degrees;
}

SimilarityGraph SimilarityGraph::scaled(const Tensor& rows, const Tensor& columns) const {
  TS_CHECK(!row_scale_.wide.defined() && !column_scale_.wide.defined(),
           "SimilarityGraph: it has factors already");
  const auto scale = [&](const Tensor& given) -> Scale {
    if (!given.defined()) return {};
    TS_CHECK(given.dtype() == DType::f64 && given.shape() == Shape{nodes()} &&
                 given.device() == device(),
             "SimilarityGraph: factors ", given, ", expected f64 [", nodes(), "] on ", device());
    return {contiguous(given), convert(given, DType::f32)};
  };
  SimilarityGraph result = *this;
  result.row_scale_ = scale(rows);
  result.column_scale_ = scale(columns);
  return result;
}

namespace {

Tensor powers(const Tensor& degrees, double power) {
  std::vector<double> values = degrees.values<double>();
  for (double& x : values) x = x > 0 ? std::pow(x, power) : 0;
  return Tensor::from(values, degrees.shape(), degrees.device());
}

}  // namespace

SimilarityGraph SimilarityGraph::random_walk() const { return scaled(powers(degrees(), -1), {}); }

SimilarityGraph SimilarityGraph::symmetric() const {
  const Tensor factors = powers(degrees(), -0.5);
  return scaled(factors, factors);
}

SimilarityGraph SimilarityGraph::transposed() const {
  SimilarityGraph result = *this;
  std::swap(result.row_scale_, result.column_scale_);
  return result;
}

bool SimilarityGraph::is_symmetric() const {
  const Tensor &rows = row_scale_.wide, &columns = column_scale_.wide;
  if (!rows.defined() || !columns.defined()) return rows.defined() == columns.defined();
  return rows.data() == columns.data();
}

CsrMatrix SimilarityGraph::matrix() const {
  const Data& d = *data_;
  // Links are those that products find: group h is bit h % 52 of a column, and sums of distinct
  // powers of two below 2^52 are exact.
  constexpr int64_t bits = 52, most = 512 * bits;
  std::vector<std::vector<int32_t>> linked(static_cast<size_t>(d.groups));
  for (int64_t first = 0; first < d.groups; first += most) {
    const int64_t count = std::min(most, d.groups - first), columns = (count + bits - 1) / bits;
    std::vector<double> codes(static_cast<size_t>(d.groups * columns));
    for (int64_t k = 0; k < count; ++k)
      codes[static_cast<size_t>((first + k) * columns + k / bits)] =
          static_cast<double>(uint64_t{1} << k % bits);
    const Tensor x = Tensor::from(codes, {d.groups, columns}, d.device), sums = empty_like(x);
    kernels::similarity_spmm(current_stream(d.device), d.features.view(), d.norms.view(), x.view(),
                             sums.view(), d.params(0));
    const std::vector<double> found = sums.values<double>();
    for (int64_t k = 0; k < d.groups * columns; ++k)
      for (auto code = static_cast<uint64_t>(found[static_cast<size_t>(k)]); code != 0;
           code &= code - 1)
        linked[static_cast<size_t>(k / columns)].push_back(
            static_cast<int32_t>(first + k % columns * bits + std::countr_zero(code)));
  }
  if (d.own_group != 0)
    for (int64_t g = 0; g < d.groups; ++g)
      linked[static_cast<size_t>(g)].push_back(static_cast<int32_t>(g));
  std::vector<std::vector<int32_t>> members(static_cast<size_t>(d.groups));
  for (int64_t i = 0; i < d.nodes; ++i)
    members[static_cast<size_t>(d.group_of_node[static_cast<size_t>(i)])].push_back(
        static_cast<int32_t>(i));

  const double diagonal = d.options.diagonal;
  std::vector<int32_t> row_ptr{0}, col;
  std::vector<float> values;
  for (int64_t i = 0; i < d.nodes; ++i) {
    const size_t begin = col.size();
    if (diagonal != 0) col.push_back(static_cast<int32_t>(i));
    for (const int32_t h : linked[static_cast<size_t>(d.group_of_node[static_cast<size_t>(i)])])
      for (const int32_t j : members[static_cast<size_t>(h)])
        if (j != i) col.push_back(j);
    std::sort(col.begin() + static_cast<int64_t>(begin), col.end());
    TS_CHECK(col.size() <= size_t{INT32_MAX}, "SimilarityGraph: ", d.nodes,
             " nodes have more links than 32-bit indices count; they cannot be stored");
    row_ptr.push_back(static_cast<int32_t>(col.size()));
    if (diagonal == 0 || diagonal == 1) continue;
    for (size_t k = begin; k < col.size(); ++k)
      values.push_back(col[k] == i ? static_cast<float>(diagonal) : 1.0f);
  }
  CsrMatrix m = CsrMatrix::from_parts(d.nodes, d.nodes, indices(row_ptr, Device::cpu()),
                                      indices(col, Device::cpu()));
  if (!values.empty())
    m.values = Tensor::from(values, {static_cast<int64_t>(values.size())}, Device::cpu());
  m.symmetric = true;
  return m;
}

Tensor SimilarityGraph::times(const Tensor& x) const {
  const Tensor y = empty_like(x);
  times(x, y);
  return y;
}

void SimilarityGraph::times(const Tensor& x, const Tensor& y) const {
  const Data& d = *data_;
  check_floating("spmm", x);
  TS_CHECK(x.device() == d.device && (x.rank() == 2 || x.rank() == 3) && x.size(0) == d.nodes,
           "spmm: ", x, " with a similarity graph of ", d.nodes, " nodes on ", d.device,
           "; expected [nodes, width] or [nodes, heads, width]");
  TS_CHECK(y.shape() == x.shape() && y.dtype() == x.dtype() && y.device() == x.device(),
           "spmm: y is ", y, ", x is ", x);
  if (x.numel() == 0) return;
  Stream& stream = current_stream(d.device);
  if (is_half(x.dtype())) {
    const Tensor wide = times(convert(x, DType::f32));
    kernels::copy(stream, convert(wide, x.dtype()).view(), y.view());
    return;
  }
  const auto factors = [&](const Scale& scale) {
    return x.dtype() == DType::f64 ? scale.wide : scale.narrow;
  };
  const auto times_rows = [](const Tensor& v, const Tensor& scale) {
    return binary("spmm", kernels::BinaryOp::multiply, v, scale.unsqueeze(1));
  };
  const Tensor rows = factors(row_scale_), columns = factors(column_scale_);
  const Tensor to = y.rank() == 2 ? y : y.reshape({d.nodes, y.numel() / d.nodes});
  Tensor from = rows_of(x);
  if (columns.defined()) from = times_rows(from, columns);
  if (!d.grouped()) {
    const Tensor sums = rows.defined() ? empty_like(from) : to;
    kernels::similarity_spmm(stream, d.features.view(), d.norms.view(), from.view(), sums.view(),
                             d.params(d.options.diagonal));
    if (rows.defined()) kernels::copy(stream, times_rows(sums, rows).view(), to.view());
    return;
  }
  const Tensor gathered = Tensor::empty({d.groups, from.size(1)}, x.dtype(), d.device),
               sums = empty_like(gathered);
  kernels::segment_reduce(stream, kernels::SegmentOp::sum, from.view(), d.offsets.view(),
                          d.members.view(), gathered.view());
  kernels::similarity_spmm(stream, d.features.view(), d.norms.view(), gathered.view(), sums.view(),
                           d.params(d.own_group));
  const double own = d.options.diagonal - d.own_group;
  if (own != 0)
    kernels::copy(stream, (rows.defined() ? times_rows(from, rows) : from).view(), to.view());
  kernels::spmm(stream, expansion(d.nodes, d.groups, d.each, d.group_of), sums.view(), to.view(),
                {.beta = own, .row_scale = view_or_none(rows)});
}

namespace {

struct SimilaritySpmm final : LinearOp {
  std::vector<SimilarityGraph> graphs;  // one for each run, or one for all
  explicit SimilaritySpmm(std::vector<SimilarityGraph> of_runs) : graphs(std::move(of_runs)) {}
  std::string_view name() const override { return "spmm"; }
  Tensor eval(const Tensor& x) const override {
    if (graphs.size() == 1) return graphs.front().times(x);
    TS_CHECK(x.rank() == 3 && x.size(1) == static_cast<int64_t>(graphs.size()), "spmm: ", x,
             " with similarity graphs of ", graphs.size(), " runs, expected [nodes, ",
             graphs.size(), ", width]");
    const Tensor all = contiguous(x), y = empty_like(all);
    for (size_t r = 0; r < graphs.size(); ++r) {
      const auto run = static_cast<int64_t>(r);
      graphs[r].times(all.select(1, run), y.select(1, run));
    }
    return y;
  }
  Var transpose(const Var& gy, const Var&) const override {
    if (std::all_of(graphs.begin(), graphs.end(), [](const auto& g) { return g.is_symmetric(); }))
      return apply_op(shared_from_this(), gy);
    std::vector<SimilarityGraph> exchanged;
    exchanged.reserve(graphs.size());
    for (const SimilarityGraph& g : graphs) exchanged.push_back(g.transposed());
    return apply_op(std::make_shared<SimilaritySpmm>(std::move(exchanged)), gy);
  }
};

}  // namespace

Var spmm(const SimilarityGraph& a, const Var& x) {
  return apply_op(std::make_shared<SimilaritySpmm>(std::vector<SimilarityGraph>{a}), x);
}

Var spmm(std::span<const SimilarityGraph> of_runs, const Var& x) {
  TS_CHECK(!of_runs.empty(), "spmm: no similarity graph");
  if (of_runs.size() == 1 && x.rank() == 3)
    TS_CHECK(x.size(1) == 1, "spmm: ", x.shape(), " with the similarity graph of one run");
  return apply_op(std::make_shared<SimilaritySpmm>(
                      std::vector<SimilarityGraph>(of_runs.begin(), of_runs.end())),
                  x);
}

}  // namespace tessera::autograd
