// How kernels of graphs, classes and neighbours fall on memory.
#include "tessera/kernels/sort.hpp"
#include "tessera/tests/simt/regular_graph.hpp"
#include "tessera/tests/simt/traffic.hpp"

namespace tessera::kernels {
namespace {

using test::Pinned;
using test::RegularGraph;
using test::Traffic;

const Pinned pinned{
    // edge_attention.cu: groups of lanes read entries and scores of their own rows
    {"f32, heads 1, edge_attention", {1.093}},
    {"f32, heads 1, gradient, edge_attention columns", {1.181}},
    {"f32, heads 1, gradient, edge_attention targets", {1.050}},
    {"f32, heads 8, edge_attention", {1.047}},
    {"f32, heads 8, gradient, edge_attention columns", {1.118}},
    {"f32, heads 8, gradient, edge_attention targets", {1.025}},
    {"f16, heads 1, edge_attention", {1.213}},
    {"f16, heads 1, gradient, edge_attention columns", {1.442}},
    {"f16, heads 1, gradient, edge_attention targets", {1.113}},
    {"f16, heads 8, edge_attention", {1.230}},
    {"f16, heads 8, gradient, edge_attention columns", {1.300}},
    {"f16, heads 8, gradient, edge_attention targets", {1.111}},
    // radix_sort.cu, grouping.cu, spmm.cu: entries go to their columns
    {"transpose, csr_transpose", {4.731}},
    {"transpose, find_starts", {4.938}},
    {"transpose, sort count_digits", {1, 1.800}},
    {"transpose, sort move_items", {1, 1.685}},
    // similarity.cu: the own rows of x come an element at a time
    {"f32 similarity, similarity_spmm", {1.087}},
    {"f16 similarity, similarity_spmm", {1.171}},
    // aggregate.cu: each element comes from the row that it chose
    {"aggregate, aggregate_gather", {2.294}},
    {"aggregate, aggregate_scatter", {1.283}},
    {"segments, spmm sum_rows", {1.001}},
    // class_neighbors.cu: neighbours search for neighbouring numbers
    {"f32 classes, class_neighbors count_neighbors", {2.575}},
    {"f64 classes, class_neighbors count_neighbors", {2.109}},
    // neighbors.cu: without the query itself, lines of distances begin anywhere
    {"l2, neighbors all_distances", {1.176}},
    {"l2, top_k", {1.175}},
    {"cosine, neighbors all_distances", {1.117}},
    {"cosine, top_k", {1.176}},
    // counting.cu, sort.cu: elements meet in their bins, or search for their places
    {"bincount, bincount", {1, 1.970}},
    {"histogram, histogram", {1, 1.962}},
    {"weighted, bincount sum_slices", {4.267}},
    {"weighted, find_starts", {5.904}},
    {"weighted, sort count_digits", {1.059, 1.889}},
    {"weighted, sort move_items", {1.157, 1.395}},
    {"searchsorted, searchsorted", {2.013}},
};

constexpr int64_t n = 256;

class GraphTraffic : public Traffic {
 protected:
  static Tensor classes(int64_t count) {
    std::vector<int64_t> offsets;
    for (int64_t c = 0; c <= count; ++c) offsets.push_back(c * n / count);
    return Tensor::from(offsets, {count + 1}, Device::simt());
  }
};

TEST_F(GraphTraffic, EdgeAttention) {
  const RegularGraph a(n);
  const Tensor starts = empty({n + 1}, DType::i32), columns = empty({a.nnz()}, DType::i32),
               permutation = empty({a.nnz()}, DType::i32);
  expect_ideal(
      "transpose",
      [&](Stream& s) {
        csr_transpose(s, a.view(), starts.view(), columns.view(), permutation.view());
      },
      pinned);
  const CsrView transposed = a.view(starts, columns);
  for (DType dtype : {DType::f32, DType::f16})
    for (int64_t heads : {1, 8}) {
      const Shape shape{n, heads, 64 / heads};
      const Tensor target = numbers({n, heads}, dtype, 1), source = numbers({n, heads}, dtype, 2),
                   x = numbers(shape, dtype, 3), gy = numbers(shape, dtype, 4),
                   y = empty(shape, dtype), lse = empty({n, heads}, DType::f32),
                   gtarget = empty({n, heads}, dtype), gsource = empty({n, heads}, dtype),
                   gx = empty(shape, dtype);
      const std::string what = concat(dtype, ", heads ", heads);
      expect_ideal(
          what,
          [&](Stream& s) {
            edge_attention(s, a.view(), target.view(), source.view(), x.view(), y.view(),
                           lse.view());
          },
          pinned);
      expect_ideal(
          what + ", gradient",
          [&](Stream& s) {
            edge_attention_gradient(s, a.view(), transposed, permutation.view(), target.view(),
                                    source.view(), x.view(), y.view(), lse.view(), gy.view(),
                                    gtarget.view(), gsource.view(), gx.view());
          },
          pinned);
    }
}

TEST_F(GraphTraffic, Similarity) {
  const Tensor features = numbers({n, 32}, DType::f32);
  const Tensor norms = numbers({n}, DType::f32);
  for (DType dtype : {DType::f32, DType::f16}) {
    const Tensor x = numbers({n, 64}, dtype), y = empty({n, 64}, dtype);
    expect_ideal(
        concat(dtype, " similarity"),
        [&](Stream& s) {
          similarity_spmm(s, features.view(), norms.view(), x.view(), y.view(), {.least = 0.5});
        },
        pinned);
  }
}

TEST_F(GraphTraffic, Aggregation) {
  const RegularGraph a(n);
  const Tensor starts = empty({n + 1}, DType::i32), columns = empty({a.nnz()}, DType::i32),
               permutation = empty({a.nnz()}, DType::i32), scores = numbers({a.nnz()}, DType::f32),
               gscores = empty({a.nnz()}, DType::f32), x = numbers({n, 64}, DType::f32),
               y = empty({n, 64}, DType::f32), index = empty({n, 64}, DType::i32);
  csr_transpose(current_stream(Device::simt()), a.view(), starts.view(), columns.view(),
                permutation.view());
  expect_ideal(
      "aggregate",
      [&](Stream& s) {
        aggregate_extreme(s, ExtremeOp::maximum, a.view(), x.view(), y.view(), index.view());
        aggregate_gather(s, a.view(), x.view(), index.view(), y.view());
        aggregate_scatter(s, a.view(starts, columns), permutation.view(), y.view(), index.view(),
                          x.view());
      },
      pinned);
  expect_ideal(
      "edge softmax",
      [&](Stream& s) {
        edge_softmax_gradient(s, a.view(), scores.view(), scores.view(), gscores.view());
      },
      pinned);
  const Tensor offsets = classes(16), sums = empty({16, 64}, DType::f32),
               origin = empty({16, 64}, DType::i64);
  expect_ideal(
      "segments",
      [&](Stream& s) {
        segment_reduce(s, SegmentOp::mean, x.view(), offsets.view(), {}, sums.view());
        segment_reduce(s, SegmentOp::maximum, x.view(), offsets.view(), {}, sums.view(),
                       origin.view());
        segment_expand(s, sums.view(), offsets.view(), {}, y.view());
      },
      pinned);
}

TEST_F(GraphTraffic, Classes) {
  for (DType dtype : {DType::f32, DType::f64}) {
    const Tensor grouped = empty({4, n}, dtype), sorted = empty({4, n}, dtype),
                 offsets = classes(4), counts = empty({4, n}, DType::i32);
    Stream& stream = current_stream(Device::simt());
    const Tensor x = numbers({4, n}, dtype);
    kernels::sort(stream, x.view(), sorted.view(), {});
    kernels::sort(stream, x.reshape({16, n / 4}).view(), grouped.reshape({16, n / 4}).view(), {});
    expect_ideal(
        concat(dtype, " classes"),
        [&](Stream& s) {
          class_neighbors(s, sorted.view(), grouped.view(), offsets.view(), counts.view());
        },
        pinned);
  }
}

TEST_F(GraphTraffic, Neighbors) {
  for (const Metric metric : {Metric::squared_l2, Metric::cosine}) {
    const Tensor points = numbers({n, 16}, DType::f32), distance = empty({n, 8}, DType::f32),
                 index = empty({n, 8}, DType::i64);
    expect_ideal(
        metric == Metric::cosine ? "cosine" : "l2",
        [&](Stream& s) {
          nearest_neighbors(s, points.view(), points.view(), distance.view(), index.view(),
                            {.metric = metric, .exclude_same_index = true});
        },
        pinned);
  }
}

TEST_F(GraphTraffic, Counts) {
  std::vector<int32_t> bins;
  for (int32_t i = 0; i < 1 << 13; ++i) bins.push_back(i * 37 % 50);
  const Tensor x = Tensor::from(bins, {1 << 13}, Device::simt()), counts = empty({50}, DType::i64),
               values = numbers({1 << 13}, DType::f32), edges = numbers({64}, DType::f32),
               sums = empty({50}, DType::f32), rising = empty({64}, DType::f32),
               place = empty({1 << 13}, DType::i64);
  kernels::sort(current_stream(Device::simt()), edges.view(), rising.view(), {});
  expect_ideal(
      "bincount", [&](Stream& s) { bincount(s, x.view(), {}, counts.view()); }, pinned);
  expect_ideal(
      "weighted", [&](Stream& s) { bincount(s, x.view(), values.view(), sums.view()); }, pinned);
  expect_ideal(
      "histogram", [&](Stream& s) { histogram(s, values.view(), -1, 1, counts.view()); }, pinned);
  expect_ideal(
      "searchsorted",
      [&](Stream& s) { searchsorted(s, rising.view(), values.view(), true, place.view()); },
      pinned);
}

}  // namespace
}  // namespace tessera::kernels
