#include "tessera/models/similarity_graph.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "tessera/tests/support/files.hpp"

namespace tessera::models {
namespace {

using test::at;
using test::expect_error;
using Matrix = std::vector<std::vector<double>>;

Matrix rows_of(const Tensor& base) {
  const auto values = test::to_doubles(base);
  Matrix rows(at(base.size(0)));
  for (size_t i = 0; i < values.size(); ++i) rows[i / at(base.size(1))].push_back(values[i]);
  return rows;
}

double cosine(const std::vector<double>& a, const std::vector<double>& b) {
  double product = 0, of_a = 0, of_b = 0;
  for (size_t f = 0; f < a.size(); ++f)
    product += a[f] * b[f], of_a += a[f] * a[f], of_b += b[f] * b[f];
  return product / std::sqrt(of_a * of_b);
}

/// W by sorting all pairs: the choices of each row, or of the graph.
Matrix choices(const Matrix& rows, const SimilarityGraphOptions& o,
               const std::vector<int64_t>& budget = {}) {
  struct Pair {
    double cosine;
    size_t i, j;
  };
  const size_t n = rows.size();
  const auto alike = [](const Pair& a, const Pair& b) {
    // Cosines of one value may differ in the last bits.
    if (std::abs(a.cosine - b.cosine) > 1e-9) return a.cosine > b.cosine;
    return std::pair(a.i, a.j) < std::pair(b.i, b.j);
  };
  Matrix w(n, std::vector<double>(n));
  std::vector<Pair> all;
  for (size_t i = 0; i < n; ++i) {
    std::vector<Pair> own;
    for (size_t j = 0; j < n; ++j)
      if (j != i) own.push_back({cosine(rows[i], rows[j]), i, j});
    std::sort(own.begin(), own.end(), alike);
    for (const Pair& p : own)
      if (p.i < p.j) all.push_back(p);
    if (o.construction == GraphConstruction::cos_graph) continue;
    size_t wanted = budget.empty() ? at(o.k) : at(budget[i]);
    if (o.construction == GraphConstruction::cos_node && o.threshold > 0)
      wanted = at(std::count_if(own.begin(), own.end(), [&](const Pair& p) {
        return p.cosine >= o.threshold * own.front().cosine - 1e-6;
      }));
    for (size_t e = 0; e < std::min(wanted, own.size()); ++e) w[i][own[e].j] = own[e].cosine;
  }
  if (o.construction != GraphConstruction::cos_graph) return w;
  std::sort(all.begin(), all.end(), alike);
  const size_t wanted =
      o.threshold > 0
          ? at(std::count_if(all.begin(), all.end(),
                             [&](const Pair& p) { return p.cosine >= o.threshold - 1e-6; }))
          : n * at(o.k) / 2;
  for (size_t e = 0; e < wanted; ++e) w[all[e].i][all[e].j] = w[all[e].j][all[e].i] = all[e].cosine;
  return w;
}

void expect_graph(const CsrMatrix& graph, const Matrix& w, Symmetrization how) {
  const size_t n = w.size();
  Matrix found(n, std::vector<double>(n));
  const auto first = graph.row_ptr.host<int32_t>(), to = graph.col.host<int32_t>();
  for (size_t i = 0; i < n; ++i)
    for (int32_t e = first[i]; e < first[i + 1]; ++e) {
      if (e > first[i]) {
        EXPECT_LT(to[at(e - 1)], to[at(e)]);
      }
      found[i][at(to[at(e)])] =
          graph.values.defined() ? static_cast<double>(graph.values.host<float>()[at(e)]) : 1;
    }
  EXPECT_EQ(graph.values.defined(), how != Symmetrization::either);
  EXPECT_TRUE(graph.symmetric);
  for (size_t i = 0; i < n; ++i)
    for (size_t j = 0; j < n; ++j) {
      const double both = how == Symmetrization::sum ? w[i][j] + w[j][i]
                          : how == Symmetrization::maximum
                              ? std::max(w[i][j], w[j][i])
                              : (w[i][j] != 0 || w[j][i] != 0 ? 1.0 : 0.0);
      ASSERT_NEAR(found[i][j], both, 1e-5) << i << " " << j;
    }
}

/// Rows with `ones` ones: many equal cosines, all exact in f32.
Tensor words(int64_t rows, int64_t width, int64_t ones, uint64_t seed) {
  test::Numbers next(seed);
  std::vector<double> values(at(rows * width));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t set = 0; set < ones;) {
      double& value = values[at(i * width) + next() % at(width)];
      set += value == 0;
      value = 1;
    }
  return test::from_doubles(values, {rows, width}, DType::f32);
}

TEST(SimilarityGraph, IsThatOfSortedPairs) {
  // 300 rows are more than a tile, and cos_graph throws pairs away on the way.
  const std::vector<Tensor> bases{test::uniform({300, 5}, DType::f32, 1),
                                  test::uniform({61, 9}, DType::f64, 2),
                                  test::uniform({40, 3}, DType::f16, 4), words(150, 12, 4, 3)};
  for (const Tensor& base : bases) {
    const Matrix rows = rows_of(base);
    std::vector<int64_t> budget;
    for (int64_t i = 0; i < base.size(0); ++i) budget.push_back(i % 7);
    for (const auto how : {Symmetrization::either, Symmetrization::maximum, Symmetrization::sum}) {
      SCOPED_TRACE(concat(base, " ", to_string(how)));
      SimilarityGraphOptions o{.k = 4, .symmetrization = how};
      expect_graph(similarity_graph(base, o), choices(rows, o), how);
      o.construction = GraphConstruction::cos_node;
      expect_graph(similarity_graph(base, o), choices(rows, o), how);
      expect_graph(similarity_graph(base, o, budget), choices(rows, o, budget), how);
      o.threshold = 0.9;
      expect_graph(similarity_graph(base, o), choices(rows, o), how);
      o.construction = GraphConstruction::cos_graph;
      o.threshold = 0.75;
      expect_graph(similarity_graph(base, o), choices(rows, o), how);
      o.threshold = 0;
      expect_graph(similarity_graph(base, o), choices(rows, o), how);
    }
  }
}

// Rows of one direction join though their cosine may round to less than 1.
TEST(SimilarityGraph, ThresholdOfOneJoinsEqualDirections) {
  Matrix directions{{1, 2, 2.5}, {-0.3, 0.1, 7}, {0.7, 0.7, -0.1}};
  std::vector<double> values;
  for (int i = 0; i < 30; ++i)
    for (const double v : directions[at(i % 3)]) values.push_back(v * (1 + 0.37 * i));
  const CsrMatrix graph =
      similarity_graph(test::from_doubles(values, {30, 3}, DType::f32),
                       {.construction = GraphConstruction::cos_graph, .threshold = 1});
  EXPECT_EQ(graph.nnz(), 30 * 9);
  EXPECT_EQ(edge_homophily(graph, test::from_doubles({0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2,
                                                      0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2, 0, 1, 2},
                                                     {30}, DType::i32)),
            1);
}

TEST(SimilarityGraph, RowsOfZerosAndFewRows) {
  const Tensor base =
      test::from_doubles({1, 0, /**/ 0, 0, /**/ 1, 1, /**/ 0, 2, /**/ 0, 0}, {5, 2}, DType::f32);
  for (const auto construction :
       {GraphConstruction::knn, GraphConstruction::cos_node, GraphConstruction::cos_graph}) {
    const CsrMatrix graph = similarity_graph(base, {.construction = construction, .k = 9});
    EXPECT_EQ(degrees(graph), (std::vector<int64_t>{2, 0, 2, 2, 0})) << to_string(construction);
    const CsrMatrix single = similarity_graph(base.narrow(0, 0, 1), {.construction = construction});
    EXPECT_EQ(single.rows, 1);
    EXPECT_EQ(single.nnz(), 0);
  }
}

// What points away is more alike than what points nowhere.
TEST(SimilarityGraph, RowsOfZerosTakeNobodysPlace) {
  const Tensor base =
      test::from_doubles({0, 0, /**/ 1, 0, /**/ -1, 1, /**/ -1, -1}, {4, 2}, DType::f32);
  for (const auto construction : {GraphConstruction::knn, GraphConstruction::cos_node})
    for (const int64_t k : {2, 3}) {
      const CsrMatrix graph = similarity_graph(base, {.construction = construction, .k = k});
      EXPECT_EQ(degrees(graph), (std::vector<int64_t>{0, 2, 2, 2})) << to_string(construction);
    }
  const CsrMatrix none = similarity_graph(Tensor::zeros({3, 2}, DType::f32, Device::cpu()),
                                          {.symmetrization = Symmetrization::sum});
  EXPECT_EQ(none.nnz(), 0);
  EXPECT_EQ(none.values.shape(), Shape({0}));
}

TEST(SimilarityGraph, BadInputIsNamed) {
  const auto kind = ErrorKind::invalid_argument;
  const Tensor base = test::from_doubles({1, 2, 3, test::nan}, {2, 2}, DType::f32);
  expect_error([&] { similarity_graph(base, {}); }, {"element 1 of row 1", "nan"}, kind);
  const Tensor good = test::uniform({3, 2}, DType::f32, 1);
  expect_error([&] { similarity_graph(good.select(0, 0), {}); }, {"[rows, width]"}, kind);
  expect_error([&] { similarity_graph(good, {.k = 0}); }, {"k 0"}, kind);
  expect_error([&] { similarity_graph(good, {.threshold = 1.5}); }, {"1.5"}, kind);
  const std::vector<int64_t> two{1, 1}, negative{1, -1, 0};
  const SimilarityGraphOptions by_node{.construction = GraphConstruction::cos_node};
  expect_error([&] { similarity_graph(good, by_node, two); }, {"2 of 3 rows"}, kind);
  expect_error([&] { similarity_graph(good, by_node, negative); }, {"-1"}, kind);
  expect_error(
      [&] {
        merged_graph(CsrMatrix::from_edges(2, 2, {}, {}), CsrMatrix::from_edges(3, 3, {}, {}));
      },
      {"2 x 2", "3 x 3"}, kind);
  expect_error([&] { edge_homophily(CsrMatrix::from_edges(2, 2, {}, {}), good); }, {"labels"},
               kind);
}

TEST(SimilarityGraph, MergedGraphsAndHomophily) {
  const std::vector<int64_t> a{0, 1}, b{1, 2}, c{0, 3}, d{1, 2};
  const CsrMatrix merged = merged_graph(CsrMatrix::from_edges(4, 4, a, b, {.symmetrize = true}),
                                        CsrMatrix::from_edges(4, 4, c, d, {.symmetrize = true}));
  EXPECT_EQ(degrees(merged), (std::vector<int64_t>{1, 2, 2, 1}));
  EXPECT_TRUE(merged.symmetric);
  EXPECT_NEAR(edge_homophily(merged, test::from_doubles({0, 0, 1, 1}, {4}, DType::i32)), 2 / 3.0,
              1e-15);
  EXPECT_TRUE(std::isnan(edge_homophily(CsrMatrix::from_edges(4, 4, {}, {}),
                                        test::from_doubles({0, 0, 1, 1}, {4}, DType::i32))));
}

}  // namespace
}  // namespace tessera::models
