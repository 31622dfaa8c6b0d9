// How elementwise kernels, reductions, row-wise ones, sparse products, optimizers and indexing fall
// on memory.
#include "tessera/kernels/elementwise.hpp"
#include "tessera/kernels/indexing.hpp"
#include "tessera/kernels/optimizer.hpp"
#include "tessera/kernels/random.hpp"
#include "tessera/kernels/reduce.hpp"
#include "tessera/kernels/rowwise.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/tests/simt/regular_graph.hpp"
#include "tessera/tests/simt/traffic.hpp"

namespace tessera::kernels {
namespace {

using test::Pinned;
using test::Traffic;

const Pinned pinned{
    // rowwise_channels.cuh, reduce.cu: sums of columns are put together by warps
    {"f32 layer norm gradient, layer_norm_gradient", {1.012}},
    {"f64 layer norm gradient, layer_norm_gradient", {1.006}},
    {"f16 layer norm gradient, layer_norm_gradient", {1.018}},
    {"f32 to [1, 256], sum", {1.014}},
    {"f64 to [1, 256], sum", {1.008}},
    {"f16 to [1, 256], sum", {1.027}},
    // spmm.cu, edges.cu: lanes of different rows read their own columns
    {"width 16, rows, spmm sum_rows", {1.698}},
    {"width 16, cut, spmm sum_rows", {1.698}},
    {"width 16, cut, spmm list_long_rows", {1.125}},
    {"width 16 sddmm, sddmm", {1.417}},
    {"width 64, rows, spmm sum_rows", {1.100}},
    {"width 64, cut, spmm sum_rows", {1.100}},
    {"width 64, cut, spmm list_long_rows", {1.125}},
    {"width 64 sddmm, sddmm", {1.063}},
    {"edges, edge_add", {2.190}},
    // grouping.cu: rows go where their indices send them
    {"f32 scatter add, spmm sum_rows", {1.005}},
    {"f64 scatter add, spmm sum_rows", {1.941}},
    {"f16 scatter add, spmm sum_rows", {1.010}},
    {"f32 scatter add, find_starts", {1.758}},
    {"f64 scatter add, find_starts", {1.758}},
    {"f16 scatter add, find_starts", {1.758}},
    // indexing.cu: what was chosen is fetched from where it lies
    {"f32 top k, top_k", {1.371}},
    {"f64 top k, top_k", {1.216}},
    {"f16 top k, top_k", {1.332}},
};

constexpr int64_t n = 256;
constexpr DType of_floats[] = {DType::f32, DType::f64, DType::f16};

class ElementwiseTraffic : public Traffic {};

TEST_F(ElementwiseTraffic, DenseOperands) {
  for (DType dtype : of_floats) {
    const std::string name(to_string(dtype));
    const Tensor a = numbers({n, n}, dtype), b = numbers({n, n}, dtype, 2),
                 y = empty({n, n}, dtype);
    const Tensor condition = test::integers({n, n}, DType::bool_, 3).to(Device::simt());
    expect_ideal(
        name + " unary", [&](Stream& s) { unary(s, UnaryOp::tanh, a.view(), y.view()); }, pinned);
    expect_ideal(
        name + " binary",
        [&](Stream& s) { binary(s, BinaryOp::add, a.view(), b.view(), y.view()); }, pinned);
    expect_ideal(
        name + " axpby", [&](Stream& s) { axpby(s, 2, a.view(), 0.5, y.view()); }, pinned);
    expect_ideal(
        name + " select",
        [&](Stream& s) { select(s, condition.view(), a.view(), b.view(), y.view()); }, pinned);
    expect_ideal(
        name + " uniform",
        [&](Stream& s) {
          uniform(s, {1, 2}, 0, 1, y.view());
        },
        pinned);
    expect_ideal(
        name + " dropout",
        [&](Stream& s) {
          dropout(s, {1, 2}, 0.5, a.view(), y.view());
        },
        pinned);
  }
}

TEST_F(ElementwiseTraffic, RowsRepeated) {
  const Tensor a = numbers({n, n}, DType::f32), row = numbers({1, n}, DType::f32),
               column = numbers({n, 1}, DType::f32), y = empty({n, n}, DType::f32);
  for (const auto& [name, repeated] : {std::pair{"row", row}, std::pair{"column", column}})
    expect_ideal(
        name,
        [&](Stream& s) {
          binary(s, BinaryOp::multiply, a.view(), repeated.broadcast_to({n, n}).view(), y.view());
        },
        pinned);
}

class ReduceTraffic : public Traffic {};

TEST_F(ReduceTraffic, EitherAxisAndAll) {
  for (DType dtype : of_floats) {
    const Tensor x = numbers({n, n}, dtype);
    for (const Shape& to : {Shape{n, 1}, Shape{1, n}, Shape{1, 1}}) {
      const Tensor y = empty(to, dtype);
      expect_ideal(
          concat(dtype, " to ", to),
          [&](Stream& s) { reduce(s, ReduceOp::sum, x.view(), y.view()); }, pinned);
    }
    const Tensor sum = empty({}, DType::f64), at = empty({n, 1}, DType::i64);
    expect_ideal(
        concat(dtype, " dot"), [&](Stream& s) { dot(s, x.view(), x.view(), sum.view()); }, pinned);
    expect_ideal(
        concat(dtype, " argmax"), [&](Stream& s) { argmax(s, x.view(), 1, at.view()); }, pinned);
  }
}

class RowwiseTraffic : public Traffic {};

TEST_F(RowwiseTraffic, SoftmaxAndLayerNorm) {
  for (DType dtype : of_floats) {
    const std::string name(to_string(dtype));
    const DType wide = dtype == DType::f16 ? DType::f32 : dtype;
    const Tensor x = numbers({n, n}, dtype), y = empty({n, n}, dtype), gx = empty({n, n}, dtype),
                 gamma = numbers({n}, wide), beta = numbers({n}, wide), mean = empty({n}, wide),
                 rstd = empty({n}, wide), ggamma = empty({n}, wide), gbeta = empty({n}, wide);
    expect_ideal(
        name + " softmax", [&](Stream& s) { softmax(s, x.view(), y.view()); }, pinned);
    expect_ideal(
        name + " softmax gradient",
        [&](Stream& s) { softmax_gradient(s, y.view(), x.view(), gx.view()); }, pinned);
    expect_ideal(
        name + " layer norm",
        [&](Stream& s) {
          layer_norm(s, x.view(), gamma.view(), beta.view(), 1e-5, y.view(), mean.view(),
                     rstd.view());
        },
        pinned);
    expect_ideal(
        name + " layer norm gradient",
        [&](Stream& s) {
          layer_norm_gradient(s, x.view(), gamma.view(), mean.view(), rstd.view(), y.view(),
                              gx.view(), ggamma.view(), gbeta.view());
        },
        pinned);
  }
}

TEST_F(RowwiseTraffic, BatchNorm) {
  for (DType dtype : of_floats) {
    const std::string name(to_string(dtype));
    const DType wide = dtype == DType::f16 ? DType::f32 : dtype;
    const Tensor x = numbers({8, 16, 16, 16}, dtype), y = empty(x.shape(), dtype),
                 gx = empty(x.shape(), dtype), gamma = numbers({16}, wide),
                 beta = numbers({16}, wide), mean = empty({16}, wide), rstd = empty({16}, wide),
                 ggamma = empty({16}, wide), gbeta = empty({16}, wide);
    const BatchNormMap map{mean.view(), rstd.view(), gamma.view(), beta.view(), true};
    expect_ideal(
        name + " statistics",
        [&](Stream& s) { batch_statistics(s, x.view(), {}, mean.view(), rstd.view()); }, pinned);
    expect_ideal(
        name + " batch norm", [&](Stream& s) { batch_norm(s, x.view(), map, {}, y.view()); },
        pinned);
    expect_ideal(
        name + " batch norm gradient",
        [&](Stream& s) {
          batch_norm_gradient(s, x.view(), map, y.view(), true, gx.view(), ggamma.view(),
                              gbeta.view());
        },
        pinned);
  }
}

class SparseTraffic : public Traffic {};

TEST_F(SparseTraffic, Products) {
  const test::RegularGraph a(n);
  for (const int64_t width : {16, 64}) {
    const Tensor x = numbers({n, width}, DType::f32), y = empty({n, width}, DType::f32),
                 scores = empty({8 * n}, DType::f32);
    const std::string name = concat("width ", width);
    for (const auto variant : {SpmmVariant::row_split, SpmmVariant::merge_path})
      expect_ideal(
          concat(name, variant == SpmmVariant::row_split ? ", rows" : ", cut"),
          [&](Stream& s) { spmm(s, a.view(), x.view(), y.view(), {.variant = variant}); }, pinned);
    expect_ideal(
        name + " sddmm", [&](Stream& s) { sddmm(s, a.view(), x.view(), x.view(), scores.view()); },
        pinned);
  }
}

TEST_F(SparseTraffic, Edges) {
  const test::RegularGraph a(n);
  const Tensor scores = numbers({8 * n}, DType::f32), y = empty({8 * n}, DType::f32),
               nodes = numbers({n}, DType::f32);
  expect_ideal(
      "softmax", [&](Stream& s) { edge_softmax(s, a.view(), scores.view(), y.view()); }, pinned);
  expect_ideal(
      "edges", [&](Stream& s) { edge_add(s, a.view(), nodes.view(), nodes.view(), y.view()); },
      pinned);
}

class OptimizerTraffic : public Traffic {};

TEST_F(OptimizerTraffic, Steps) {
  for (DType dtype : of_floats) {
    const std::string name(to_string(dtype));
    const DType wide = dtype == DType::f16 ? DType::f32 : dtype;
    const Tensor p = numbers({n, n}, dtype), g = numbers({n, n}, dtype), m = numbers({n, n}, wide),
                 v = numbers({n, n}, wide), norm = empty({}, DType::f64);
    const OptimizerTensor all[] = {{p.view(), g.view(), m.view(), v.view(), {}}};
    const View gradients[] = {g.view()};
    expect_ideal(
        name + " adam", [&](Stream& s) { adam(s, all, {}); }, pinned);
    expect_ideal(
        name + " sgd", [&](Stream& s) { sgd(s, all, {.learning_rate = 0.1, .momentum = 0.9}); },
        pinned);
    expect_ideal(
        name + " global norm", [&](Stream& s) { global_norm(s, gradients, norm.view()); }, pinned);
    expect_ideal(
        name + " scale", [&](Stream& s) { scale(s, gradients, 0.5); }, pinned);
  }
}

class IndexingTraffic : public Traffic {};

TEST_F(IndexingTraffic, RowsAndLargest) {
  std::vector<int32_t> scattered;
  for (int32_t i = 0; i < n; ++i) scattered.push_back(i * 37 % static_cast<int32_t>(n));
  const Tensor rows = Tensor::from(scattered, {n}, Device::simt());
  for (DType dtype : of_floats) {
    const std::string name(to_string(dtype));
    const Tensor x = numbers({n, 64}, dtype), y = empty({n, 64}, dtype),
                 values = empty({n, 8}, dtype), index = empty({n, 8}, DType::i64),
                 hot = empty({n, n}, dtype);
    expect_ideal(
        name + " gather", [&](Stream& s) { gather(s, x.view(), rows.view(), y.view()); }, pinned);
    expect_ideal(
        name + " scatter add", [&](Stream& s) { scatter_add(s, x.view(), rows.view(), y.view()); },
        pinned);
    expect_ideal(
        name + " one hot", [&](Stream& s) { one_hot(s, rows.view(), hot.view()); }, pinned);
    expect_ideal(
        name + " top k", [&](Stream& s) { top_k(s, x.view(), true, values.view(), index.view()); },
        pinned);
  }
}

}  // namespace
}  // namespace tessera::kernels
