#include <gtest/gtest.h>

#include <cmath>

#include "tessera/kernels/spmm.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::at;
using test::expect_close;
using test::integers;
using test::to_doubles;
using Doubles = std::vector<double>;

/// Counts between 0 and 4, few of which are not 0; some nodes have none at all.
struct Nodes {
  int64_t n, width;
  Doubles counts;
  Tensor features, norms;

  Nodes(int64_t nodes, int64_t features_each, uint64_t seed)
      : n(nodes), width(features_each), counts(at(nodes * features_each)) {
    test::Numbers next(seed);
    for (double& count : counts) count = next() % 3 == 0 ? 1 + next() % 4 : 0;
    Doubles norm;
    for (int64_t i = 0; i < n; ++i) norm.push_back(i % 17 == 5 ? NAN : std::sqrt(dot(i, i)));
    features = test::from_doubles(counts, {n, width}, DType::f32);
    norms = test::from_doubles(norm, {n}, DType::f32);
  }
  double dot(int64_t i, int64_t j) const {
    double sum = 0;
    for (int64_t c = 0; c < width; ++c)
      sum += counts[at(i * width + c)] * counts[at(j * width + c)];
    return sum;
  }
  bool linked(int64_t i, int64_t j, const SimilarityParams& p) const {
    if (i % 17 == 5 || j % 17 == 5) return false;
    const double product = std::sqrt(dot(i, i) * dot(j, j));
    return dot(i, j) >= p.least * product && dot(i, j) < p.below * product;
  }
};

/// The word of pair i > j, by the numbering of pairs row by row below the diagonal.
bool kept(int64_t i, int64_t j, const SimilarityParams& p) {
  const int64_t high = std::max(i, j), low = std::min(i, j);
  int64_t pair = low;
  for (int64_t row = 1; row < high; ++row) pair += row;
  const Philox::Block b =
      Philox::generate(p.rng.seed, p.rng.offset + static_cast<uint64_t>(pair / 4));
  return b.word[pair % 4] < p.keep * 0x1p32;
}

Doubles reference(const Nodes& nodes, const Doubles& x, int64_t width, const SimilarityParams& p) {
  Doubles y(x.size());
  for (int64_t i = 0; i < nodes.n; ++i)
    for (int64_t j = 0; j < nodes.n; ++j) {
      double weight = 0;
      if (i == j)
        weight = p.diagonal;
      else if (nodes.linked(i, j, p) && (p.keep == 1 || kept(i, j, p)))
        weight = 1;
      if (weight != 0)
        for (int64_t k = 0; k < width; ++k) y[at(i * width + k)] += weight * x[at(j * width + k)];
    }
  return y;
}

class SimilarityTest : public test::TargetTest {
 protected:
  void SetUp() override {
    TargetTest::SetUp();
    if (!IsSkipped() && (!backend(device()).spmm || !backend(device()).spmm->similarity_spmm))
      GTEST_SKIP() << "no such kernel on " << to_string(device());
  }
  Tensor product(const Nodes& nodes, const Tensor& x, const SimilarityParams& p) {
    const Tensor y = empty(x.shape());
    similarity_spmm(stream(), on_device(nodes.features).view(), on_device(nodes.norms).view(),
                    on_device(x).view(), y.view(), p);
    return y;
  }
  // A row is the sum of up to n integers of at most 3: exact in f32, halves round once.
  void check(const Nodes& nodes, int64_t width, const SimilarityParams& p) {
    const Tensor x = integers({nodes.n, width}, dtype(), 7);
    expect_close(product(nodes, x, p), reference(nodes, to_doubles(x), width, p),
                 test::Tolerance{test::roundoff(dtype()), 0},
                 concat(nodes.n, " nodes, ", nodes.width, " features, width ", width, ", least ",
                        p.least, ", below ", p.below, ", keep ", p.keep));
  }
};

// No cosine of small counts lies as near a bound as f32 rounds, but for 1 itself.
constexpr SimilarityParams bounds[] = {{.least = 0.3123, .diagonal = 2},
                                       {.least = 1 - 1e-6, .diagonal = 0.75},
                                       {.least = 0.51, .below = 0.8765, .diagonal = 0},
                                       {.least = -1, .diagonal = 1}};

TEST_P(SimilarityTest, SumsOfLinkedRows) {
  for (const int64_t n : {1, 2, 17, 64, 65, 131})
    for (const SimilarityParams& p : bounds) check(Nodes(n, 5, at(n)), 20, p);
  for (const int64_t width : {1, 3, 7, 33, 64, 100, 150}) check(Nodes(70, 6, 3), width, bounds[0]);
  for (const int64_t features : {1, 2, 4, 15, 16, 17, 39})
    check(Nodes(70, features, 4), 9, bounds[0]);
}

TEST_P(SimilarityTest, ManyNodes) { check(Nodes(large(1100), 5, 1), 17, bounds[0]); }

TEST_P(SimilarityTest, RandomLinksAreThoseOfTheirPairs) {
  for (const double keep : {0.0, 0.25, 0.7})
    check(Nodes(75, 5, 9), 12,
          {.least = 0.4321, .diagonal = 2, .keep = keep, .rng = {.seed = 5, .offset = 1000}});
}

TEST_P(SimilarityTest, RowsApartAndHeads) {
  const Nodes nodes(66, 5, 2);
  const Tensor x = integers({66, 3, 7}, dtype(), 8);
  const auto rows_of = [&](const Tensor& memory) {
    return Tensor::over(memory.storage(), 0, {66, 3, 7}, {memory.size(1), 7, 1}, dtype());
  };
  const Tensor host = Tensor::empty({66, 23}, dtype(), Device::cpu());
  Tensor(rows_of(host)).copy_from(x);
  const Tensor from = on_device(host), to = empty({66, 40});
  similarity_spmm(stream(), on_device(nodes.features).view(), on_device(nodes.norms).view(),
                  rows_of(from).view(), rows_of(to).view(), bounds[0]);
  expect_close(rows_of(to), reference(nodes, to_doubles(x), 21, bounds[0]),
               test::Tolerance{test::roundoff(dtype()), 0});
}

TEST_P(SimilarityTest, RoundsAsSumsDo) {
  const Nodes nodes(200, 5, 2);
  const Tensor x = test::uniform({200, 40}, dtype(), 8);
  expect_close(product(nodes, x, bounds[0]), reference(nodes, to_doubles(x), 40, bounds[0]),
               test::tolerance(dtype()).times(std::sqrt(200.0)));
}

TEST_P(SimilarityTest, SameBitsForAnyThreadCount) {
  const Nodes nodes(large(1500), 5, 2);
  const Tensor x = test::uniform({nodes.n, 19}, dtype(), 8);
  Doubles bits[2];
  for (const int threads : {1, 2}) {
    test::Threads scope(threads);
    bits[threads - 1] = to_doubles(product(nodes, x, bounds[0]));
  }
  EXPECT_EQ(bits[0], bits[1]);
}

TEST_P(SimilarityTest, EmptyInput) {
  for (const auto& [n, features, width] :
       {std::array<int64_t, 3>{0, 5, 4}, std::array<int64_t, 3>{6, 5, 0}})
    EXPECT_EQ(product(Nodes(n, features, 1), integers({n, width}, dtype(), 1), bounds[0]).numel(),
              0);
  // Without features every product is 0, which is as much as a bound of 0 asks for.
  Nodes none(6, 0, 1);
  const Tensor x = integers({6, 2}, dtype(), 1);
  const auto ones = [&] { none.norms = test::from_doubles(Doubles(6, 1.0), {6}, DType::f32); };
  ones();
  Doubles sums(12);
  const Doubles xs = to_doubles(x);
  for (size_t k = 0; k < 12; ++k)
    for (size_t j = 0; j < 6; ++j) sums[k] += xs[2 * j + k % 2];
  expect_close(product(none, x, {.least = 0, .diagonal = 1}), sums,
               test::Tolerance{test::roundoff(dtype()), 0});
  expect_close(product(none, x, {.least = 0.5, .diagonal = 1}), xs, test::Tolerance{});
}

TEST_P(SimilarityTest, RejectsWhatDoesNotFit) {
  const Tensor features = empty({4, 3}, DType::f32), norms = empty({4}, DType::f32);
  const Tensor x = empty({4, 8}), y = empty({4, 8});
  const auto call = [&](const Tensor& f, const Tensor& n, const Tensor& from, const Tensor& to,
                        double keep = 1) {
    similarity_spmm(stream(), f.view(), n.view(), from.view(), to.view(), {.keep = keep});
  };
  EXPECT_THROW(call(empty({5, 3}, DType::f32), norms, x, y), Error);
  EXPECT_THROW(call(empty({4, 3}, DType::f64), norms, x, y), Error);
  EXPECT_THROW(call(features, empty({3}, DType::f32), x, y), Error);
  EXPECT_THROW(call(features, norms, x, empty({4, 7})), Error);
  EXPECT_THROW(call(features, norms, empty({8, 4}).transpose(0, 1), y), Error);
  EXPECT_THROW(call(features, norms, x, empty({4, 8}, DType::i32)), Error);
  EXPECT_THROW(call(features, norms, x, y, 1.5), Error);
  EXPECT_THROW(call(features, norms, x, y, NAN), Error);
}

INSTANTIATE_TEST_SUITE_P(Targets, SimilarityTest, test::targets(test::float_dtypes, &Backend::spmm),
                         test::target_name);

}  // namespace
}  // namespace tessera::kernels
