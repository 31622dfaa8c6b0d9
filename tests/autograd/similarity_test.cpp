// Graphs of similar nodes against matrices that are made link by link.
#include "tessera/autograd/ops/similarity.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tessera/autograd/ops/sparse.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::autograd {
namespace {

using test::at;
using test::expect_close;
using test::expect_error;
using test::from_doubles;
using test::to_doubles;
using Doubles = std::vector<double>;

struct Nodes {
  int64_t n = 60, width = 4;
  Doubles features;

  explicit Nodes(uint64_t seed) {
    test::Numbers next(seed);
    for (int64_t k = 0; k < n * width; ++k) features.push_back(next() % 2 == 0 ? 0 : next() % 3);
    for (int64_t c = 0; c < width; ++c) features[at(7 * width + c)] = 0;
  }
  Tensor tensor() const { return from_doubles(features, {n, width}, DType::f64); }
  double product(int64_t i, int64_t j) const {
    double sum = 0;
    for (int64_t c = 0; c < width; ++c)
      sum += features[at(i * width + c)] * features[at(j * width + c)];
    return sum;
  }
  /// [n, n], where no cosine is near a bound but 1.
  Doubles matrix(const SimilarityOptions& o) const {
    Doubles m(at(n * n));
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) {
        const double lengths = std::sqrt(product(i, i) * product(j, j));
        const double cosine = lengths > 0 ? product(i, j) / lengths : NAN;
        m[at(i * n + j)] = i == j                                                ? o.diagonal
                           : cosine >= o.least - 1e-6 && cosine < o.below - 1e-6 ? 1
                                                                                 : 0;
      }
    return m;
  }
};

Doubles dense(const CsrMatrix& m) {
  const auto row_ptr = m.row_ptr.values<int32_t>(), col = m.col.values<int32_t>();
  Doubles values(at(m.nnz()), 1.0), all(at(m.rows * m.cols));
  if (m.values.defined()) values = to_doubles(m.values);
  for (int64_t i = 0; i < m.rows; ++i)
    for (int64_t e = row_ptr[at(i)]; e < row_ptr[at(i + 1)]; ++e)
      all[at(i * m.cols + col[at(e)])] = values[at(e)];
  return all;
}

Doubles times(const Doubles& m, const Doubles& x, int64_t n) {
  const auto width = static_cast<int64_t>(x.size()) / n;
  Doubles y(x.size());
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t k = 0; k < width; ++k)
        y[at(i * width + k)] += m[at(i * n + j)] * x[at(j * width + k)];
  return y;
}

const SimilarityOptions several[] = {{.least = 0.77},
                                     {.least = 1, .diagonal = 1},
                                     {.least = 0.3, .below = 0.85, .diagonal = 0},
                                     {.least = 0.55, .below = 1, .diagonal = 0.5}};

TEST(SimilarityGraph, IsTheMatrixOfItsLinks) {
  const Nodes nodes(3);
  const Tensor x = test::uniform({nodes.n, 5}, DType::f64, 2);
  for (const SimilarityOptions& options : several) {
    const SimilarityGraph graph(nodes.tensor(), options, Device::cpu());
    EXPECT_LT(graph.groups(), nodes.n);
    const Doubles wanted = nodes.matrix(options);
    EXPECT_EQ(dense(graph.matrix()), wanted);
    expect_close(graph.times(x), times(wanted, to_doubles(x), nodes.n));
    Doubles sums(at(nodes.n));
    for (int64_t i = 0; i < nodes.n; ++i)
      for (int64_t j = 0; j < nodes.n; ++j) sums[at(i)] += wanted[at(i * nodes.n + j)];
    EXPECT_EQ(to_doubles(graph.degrees()), sums);
    Doubles walk = wanted, symmetric = wanted;
    for (int64_t i = 0; i < nodes.n; ++i)
      for (int64_t j = 0; j < nodes.n; ++j) {
        const double product = sums[at(i)] * sums[at(j)];
        walk[at(i * nodes.n + j)] /= sums[at(i)] > 0 ? sums[at(i)] : 1;
        symmetric[at(i * nodes.n + j)] /= product > 0 ? std::sqrt(product) : 1;
      }
    expect_close(graph.random_walk().times(x), times(walk, to_doubles(x), nodes.n));
    expect_close(graph.symmetric().times(x), times(symmetric, to_doubles(x), nodes.n));
  }
}

TEST(SimilarityGraph, WideFeatures) {
  Nodes nodes(5);
  nodes.width = 100;
  nodes.features.clear();
  test::Numbers next(1);
  for (int64_t k = 0; k < nodes.n * nodes.width; ++k)
    nodes.features.push_back(next() % 3 == 0 ? 1 : 0);
  const SimilarityOptions options{.least = 0.3717};
  const SimilarityGraph graph(nodes.tensor(), options, Device::cpu());
  EXPECT_EQ(dense(graph.matrix()), nodes.matrix(options));
}

// At bounds that a cosine meets but for its rounding.
TEST(SimilarityGraph, StoredLinksAreThoseOfProducts) {
  constexpr int64_t n = 150, width = 1433;
  const Tensor features = test::uniform({n, width}, DType::f32, 8);
  Doubles identity(at(n * n));
  for (int64_t i = 0; i < n; ++i) identity[at(i * n + i)] = 1;
  const Tensor x = from_doubles(identity, {n, n}, DType::f64);
  const Doubles f = to_doubles(features);
  for (int64_t j = 1; j < 20; ++j) {
    double product = 0, first = 0, second = 0;
    for (int64_t c = 0; c < width; ++c) {
      const double u = f[at(c)], v = f[at(j * width + c)];
      product += u * v, first += u * u, second += v * v;
    }
    const double cosine = static_cast<float>(product / std::sqrt(first * second));
    const SimilarityGraph graph(features, {.least = cosine}, Device::cpu());
    EXPECT_EQ(dense(graph.matrix()), to_doubles(graph.times(x))) << j;
  }
}

TEST(SimilarityGraph, NoCosineIsAboveOne) {
  const Nodes nodes(3);
  const SimilarityGraph graph(nodes.tensor(), {.least = 1.5, .diagonal = 0}, Device::cpu());
  EXPECT_EQ(to_doubles(graph.degrees()), Doubles(at(nodes.n)));
  EXPECT_EQ(graph.matrix().nnz(), 0);
}

// Two vectors of one allocation are still two.
TEST(SimilarityGraph, FactorsThatShareMemoryDiffer) {
  const Nodes nodes(3);
  const Tensor factors = test::uniform({2, nodes.n}, DType::f64, 4);
  const Tensor rows = factors.select(0, 0), columns = factors.select(0, 1);
  const SimilarityGraph graph(nodes.tensor(), several[0], Device::cpu());
  EXPECT_FALSE(graph.scaled(rows, columns).is_symmetric());
  EXPECT_TRUE(graph.scaled(rows, rows).is_symmetric());
  CsrMatrix m = graph.matrix();
  ASSERT_TRUE(m.symmetric);
  m.values = {};
  EXPECT_FALSE(SparseMatrix(m).scaled(rows, columns).symmetric());
  EXPECT_TRUE(SparseMatrix(m).scaled(rows, rows).symmetric());
  EXPECT_TRUE(SparseMatrix(m).symmetric());
}

TEST(SimilarityGraph, RandomLinksAreOneSymmetricPartOfAll) {
  const Nodes nodes(4);
  SimilarityOptions options{.least = 0.3, .diagonal = 2};
  const Doubles all = nodes.matrix(options);
  options.keep = 0.5;
  options.rng = {.seed = 9, .offset = 3};
  const SimilarityGraph graph(nodes.tensor(), options, Device::cpu());
  EXPECT_EQ(graph.groups(), nodes.n);
  const Doubles kept = dense(graph.matrix());
  double links = 0, possible = 0;
  for (int64_t i = 0; i < nodes.n; ++i)
    for (int64_t j = 0; j < nodes.n; ++j) {
      const size_t k = at(i * nodes.n + j);
      EXPECT_EQ(kept[k], kept[at(j * nodes.n + i)]);
      if (i == j) {
        EXPECT_EQ(kept[k], 2);
        continue;
      }
      EXPECT_LE(kept[k], all[k]);
      links += kept[k];
      possible += all[k];
    }
  EXPECT_NEAR(links / possible, 0.5, 0.1);
  const Tensor x = test::uniform({nodes.n, 3}, DType::f64, 2);
  expect_close(graph.times(x), times(kept, to_doubles(x), nodes.n));
}

TEST(SimilarityGraph, RunsHaveGraphsOfTheirOwn) {
  const Nodes first(1), second(2);
  const SimilarityGraph graphs[] = {
      SimilarityGraph(first.tensor(), several[0], Device::cpu()).random_walk(),
      SimilarityGraph(second.tensor(), several[2], Device::cpu())};
  const Tensor x = test::uniform({first.n, 2, 3}, DType::f32, 2);
  const Var y = spmm(graphs, Var(x));
  for (int64_t r = 0; r < 2; ++r)
    EXPECT_EQ(to_doubles(y.value().select(1, r).clone()),
              to_doubles(graphs[r].times(x.select(1, r).clone())));
}

TEST(SimilarityGraph, HalvesAreComputedAsFloats) {
  const Nodes nodes(6);
  const SimilarityGraph graph =
      SimilarityGraph(nodes.tensor(), several[0], Device::cpu()).symmetric();
  const Tensor x = test::uniform({nodes.n, 6}, DType::f16, 2);
  const Tensor wide = from_doubles(to_doubles(x), x.shape(), DType::f64);
  expect_close(graph.times(x), to_doubles(graph.times(wide)));
}

TEST(SimilarityGraph, NoNodesNoFeaturesNoColumns) {
  const SimilarityGraph none(Tensor::empty({0, 3}, DType::f32, Device::cpu()), {}, Device::cpu());
  EXPECT_EQ(none.times(Tensor::empty({0, 4}, DType::f32, Device::cpu())).numel(), 0);
  const SimilarityGraph alone(from_doubles(Doubles(6), {3, 2}, DType::f32), {}, Device::cpu());
  EXPECT_EQ(to_doubles(alone.degrees()), Doubles(3, 2.0));
  EXPECT_EQ(alone.times(Tensor::empty({3, 0}, DType::f32, Device::cpu())).numel(), 0);
}

TEST(SimilarityGraph, BadInputNamesWhatIsWrong) {
  const auto invalid = ErrorKind::invalid_argument;
  const auto make = [](const Doubles& values, const SimilarityOptions& options) {
    return [=] {
      SimilarityGraph(from_doubles(values, {2, 2}, DType::f64), options, Device::cpu());
    };
  };
  expect_error(make({1, 2, NAN, 0}, {}), {"node 1", "not finite"}, invalid);
  expect_error(make({1, 2, 3, 0}, {.least = 0.9, .below = 0.5}), {"0.9", "0.5"}, invalid);
  expect_error(make({1, 2, 3, 0}, {.keep = 1.5}), {"keep 1.5"}, invalid);
  const SimilarityGraph graph(from_doubles({1, 0, 0, 1}, {2, 2}, DType::f64), {}, Device::cpu());
  const Tensor x = Tensor::empty({3, 2}, DType::f32, Device::cpu());
  expect_error([&] { graph.times(x); }, {"spmm", "2 nodes"}, invalid);
  const std::vector<SimilarityGraph> graphs{graph, graph};
  expect_error(
      [&] {
        spmm(graphs, Var(Tensor::empty({2, 3, 4}, DType::f32, Device::cpu())));
      },
      {"spmm", "2 runs"}, invalid);
  expect_error([&] { graph.scaled(x, {}); }, {"f64 [2]"}, invalid);
}

}  // namespace
}  // namespace tessera::autograd
