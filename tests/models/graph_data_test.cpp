#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "tessera/models/data/graph.hpp"
#include "tessera/models/data/synthetic.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::models {
namespace {

using test::expect_error;
using test::TemporaryFolder;
using Arrays = std::map<std::string, Tensor>;

const Device cpu = Device::cpu();

Tensor bools(const std::vector<int>& values, const Shape& shape) {
  Tensor t = Tensor::empty(shape, DType::bool_, cpu);
  for (size_t i = 0; i < values.size(); ++i) t.host_mutable<bool>()[i] = values[i] != 0;
  return t;
}

// Six nodes, node 5 isolated; edges unsorted, one reversed, one repeated, one self-loop.
Arrays small_graph() {
  return {{"edges", Tensor::from<int32_t>({4, 0, 2, 1, 0, 3, /**/ 2, 1, 1, 0, 3, 3}, {2, 6}, cpu)},
          {"labels", Tensor::from<int32_t>({0, 1, 0, 2, 1, 0}, {6}, cpu)},
          {"x", Tensor::from<float>({1, 2, 3, 4, 5, 6, -1, 1, 0, 0, 2, 2}, {6, 2}, cpu)},
          {"train_masks", bools({1, 0, 0, 0, 0, 0, /**/ 0, 1, 1, 0, 0, 0}, {2, 6})},
          {"val_masks", bools({0, 1, 0, 0, 0, 0, /**/ 0, 0, 0, 1, 0, 0}, {2, 6})},
          {"test_masks", bools({0, 0, 1, 1, 0, 0, /**/ 1, 0, 0, 0, 0, 1}, {2, 6})}};
}

std::vector<int32_t> neighbours(const GraphData& g, size_t node) {
  const auto row_ptr = g.adjacency.row_ptr.host<int32_t>();
  const auto col = g.adjacency.col.host<int32_t>();
  return {col.begin() + row_ptr[node], col.begin() + row_ptr[node + 1]};
}

TEST(GraphData, EdgesGoBothWaysOnceAndWithoutLoops) {
  const GraphData g = graph_from_arrays(small_graph(), "dir/small.npz");
  EXPECT_EQ(g.name, "small");
  EXPECT_EQ(g.nodes, 6);
  EXPECT_EQ(g.classes, 3);
  const std::vector<std::vector<int32_t>> expected{{1, 3}, {0, 2}, {1, 4}, {0}, {2}, {}};
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(neighbours(g, i), expected[i]) << i;
  EXPECT_TRUE(g.adjacency.symmetric);
  EXPECT_FALSE(g.adjacency.values.defined());
  EXPECT_EQ(g.self_loops, std::vector<int64_t>{3});
  EXPECT_EQ(g.isolated_nodes(), 1);
  EXPECT_EQ(g.labels.values<int32_t>(), (std::vector<int32_t>{0, 1, 0, 2, 1, 0}));
}

TEST(GraphData, SplitsAreTheMasks) {
  const GraphData g = graph_from_arrays(small_graph(), "small");
  ASSERT_EQ(g.fixed_splits.size(), 2u);
  EXPECT_EQ(g.fixed_splits[0].test, (std::vector<int64_t>{2, 3}));
  EXPECT_EQ(g.fixed_splits[1].train, (std::vector<int64_t>{1, 2}));
  EXPECT_EQ(choose_split(g, SplitKind::fixed, 3, Rng(0)).validation, std::vector<int64_t>{3});
  expect_error([&] { choose_split(g, SplitKind::public_, 0, Rng(0)); },
               {"small", "no public split", "2 fixed"}, ErrorKind::invalid_argument);
}

TEST(GraphData, SparseFeaturesEqualDenseOnes) {
  Arrays arrays = small_graph();
  arrays.erase("x");
  EXPECT_FALSE(graph_from_arrays(arrays, "g").has_features());
  expect_error([&] { graph_from_arrays(arrays, "g").features_as_dense(); }, {"no features"},
               ErrorKind::invalid_argument);
  arrays["x_shape"] = Tensor::from<int32_t>({6, 4}, {2}, cpu);
  arrays["x_indptr"] = Tensor::from<int32_t>({0, 2, 2, 3, 3, 6, 6}, {7}, cpu);
  arrays["x_indices"] = Tensor::from<int32_t>({0, 3, 1, 0, 1, 2}, {6}, cpu);
  GraphData g = graph_from_arrays(arrays, "g");
  EXPECT_EQ(g.features(), 4);
  EXPECT_EQ(
      g.features_as_dense().values<float>(),
      (std::vector<float>{1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0}));
  normalize_feature_rows(g);
  const float third = static_cast<float>(1.0 / 3);
  EXPECT_EQ(g.features_as_dense().values<float>(),
            (std::vector<float>{.5f, 0, 0, .5f, 0,     0,     0,     0, 0, 1, 0, 0,
                                0,   0, 0, 0,   third, third, third, 0, 0, 0, 0, 0}));
}

TEST(GraphData, NormalizesDenseRowsByAbsoluteSum) {
  GraphData g = graph_from_arrays(small_graph(), "g");
  const Tensor before = g.dense_features;
  normalize_feature_rows(g);
  EXPECT_EQ(g.dense_features.select(0, 3).values<float>(), (std::vector<float>{-.5f, .5f}));
  EXPECT_EQ(g.dense_features.select(0, 4).values<float>(), (std::vector<float>{0, 0}));
  EXPECT_EQ(before.values<float>()[0], 1) << "the tensor it was given is left alone";
}

TEST(GraphData, NamesWhatIsWrong) {
  const auto refuses = [](const std::string& name, const Tensor& array,
                          const std::vector<std::string>& parts) {
    Arrays arrays = small_graph();
    if (array.defined())
      arrays[name] = array;
    else
      arrays.erase(name);
    std::vector<std::string> all{"g.npz", name};
    all.insert(all.end(), parts.begin(), parts.end());
    expect_error([&] { graph_from_arrays(arrays, "g.npz"); }, all);
  };
  constexpr float nan = std::numeric_limits<float>::quiet_NaN();
  expect_error([] { graph_from_arrays({}, "g.npz"); }, {"g.npz", "'labels'", "nor any other"});
  refuses("labels", {}, {"no array", "edges"});
  refuses("edges", {}, {"no array"});
  refuses("labels", Tensor::from<int32_t>({0, 1, 0, -1, 1, 0}, {6}, cpu), {"node 3", "-1"});
  refuses("labels", Tensor::from<int32_t>({0, 1, 0, 6, 1, 0}, {6}, cpu), {"node 3", "6"});
  refuses("labels", Tensor::zeros({6}, DType::f32, cpu), {"integers", "f32"});
  refuses("labels", Tensor::zeros({6, 1}, DType::i32, cpu), {"1 dimensions", "[6, 1]"});
  refuses("labels", Tensor::empty({0}, DType::i32, cpu), {"no nodes"});
  refuses("edges", Tensor::from<int64_t>({0, 6}, {2, 1}, cpu), {"element 1", "node 6", "[0, 6)"});
  refuses("edges", Tensor::from<int64_t>({0, -1}, {2, 1}, cpu), {"node -1"});
  refuses("edges", Tensor::zeros({3, 2}, DType::i32, cpu), {"[2, edges]", "[3, 2]"});
  refuses("edges", Tensor::zeros({2}, DType::i32, cpu), {"2 dimensions"});
  refuses("x", Tensor::from<float>({1, 1, 1, 1, 1, nan, 1, 1, 1, 1, 1, 1}, {6, 2}, cpu),
          {"feature 1 of node 2", "nan"});
  refuses("x", Tensor::from<double>({1, 1, 1, 1, 1, 1e300, 1, 1, 1, 1, 1, 1}, {6, 2}, cpu),
          {"node 2", "1e+300", "f32"});
  refuses("x", Tensor::zeros({5, 2}, DType::f32, cpu), {"6 rows", "[5, 2]"});
  refuses("train_masks", {}, {"no array"});
  refuses("val_masks", bools({0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}, {2, 6}), {"split 0 is empty"});
  refuses("val_masks", bools({1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0}, {2, 6}),
          {"node 0 of split 0", "another part"});
  refuses("val_masks", bools({1, 0, 0, 0, 0, 0}, {1, 6}), {"[2, 6]", "[1, 6]"});
  refuses("train_masks", bools({1, 0, 0, 0, 0}, {1, 5}), {"6", "[1, 5]"});
  refuses("train_masks", Tensor::empty({int64_t{1} << 40, 0}, DType::bool_, cpu), {"train_masks"});
  refuses("test_masks", Tensor::zeros({2, 6}, DType::u8, cpu), {"bool", "u8"});
  refuses("no_label", bools({1}, {1}), {"bool [6]"});
  refuses("self_loops", Tensor::from<int32_t>({9}, {1}, cpu), {"node 9"});

  Arrays arrays = small_graph();
  arrays.erase("x");
  arrays["x_shape"] = Tensor::from<int32_t>({6, 2}, {2}, cpu);
  arrays["x_indptr"] = Tensor::from<int32_t>({0, 1, 1, 1, 1, 1, 1}, {7}, cpu);
  arrays["x_indices"] = Tensor::from<int32_t>({2}, {1}, cpu);
  expect_error([&] { graph_from_arrays(arrays, "g"); }, {"x_indices"});
  arrays["x_indices"] = Tensor::from<int64_t>({int64_t{1} << 40}, {1}, cpu);
  expect_error([&] { graph_from_arrays(arrays, "g"); }, {"x_indices", "i32"});
  arrays["x_shape"] = Tensor::from<int32_t>({5, 2}, {2}, cpu);
  expect_error([&] { graph_from_arrays(arrays, "g"); }, {"x_shape", "[6, features]"});
}

TEST(GraphData, LoadsFiles) {
  const TemporaryFolder folder;
  save_npz(folder / "toy.npz", small_graph(), NpzMethod::deflated);
  const GraphData g = load_graph(folder / "toy.npz");
  EXPECT_EQ(g.name, "toy");
  EXPECT_EQ(g.adjacency.nnz(), 8);
  expect_error([] { load_graph("/no/such.npz"); }, {"/no/such.npz", "No such file"});
}

void expect_valid(const Split& split, int64_t nodes) {
  std::set<int64_t> all;
  for (const auto* part : {&split.train, &split.validation, &split.test}) {
    EXPECT_FALSE(part->empty());
    EXPECT_TRUE(std::is_sorted(part->begin(), part->end()));
    for (const int64_t i : *part) {
      EXPECT_TRUE(all.insert(i).second) << "node " << i << " is in two parts";
      EXPECT_TRUE(i >= 0 && i < nodes);
    }
  }
}

TEST(GraphData, RandomSplitsTakeTheirShareOfEveryClass) {
  GraphData g;
  g.nodes = 100;
  g.classes = 3;
  std::vector<int32_t> labels(100, 0);
  for (size_t i = 0; i < 100; ++i) labels[i] = i < 50 ? 0 : i < 83 ? 1 : 2;  // 50, 33, 17 nodes
  g.labels = Tensor::from(labels, {100}, cpu);
  g.unlabelled = {0, 99};
  const auto counts = [&](const std::vector<int64_t>& part) {
    std::vector<int64_t> out(3);
    for (const int64_t i : part) ++out[static_cast<size_t>(labels[static_cast<size_t>(i)])];
    return out;
  };
  const Split share = split_by_share(g, 0.6, 0.2, Rng(1));
  expect_valid(share, 100);
  EXPECT_EQ(counts(share.train), (std::vector<int64_t>{29, 19, 9}));
  EXPECT_EQ(counts(share.validation), (std::vector<int64_t>{9, 6, 3}));
  EXPECT_EQ(counts(share.test), (std::vector<int64_t>{11, 8, 4}));
  const Split count = split_by_count(g, 5, 30, 40, Rng(1));
  expect_valid(count, 100);
  EXPECT_EQ(counts(count.train), (std::vector<int64_t>{5, 5, 5}));
  EXPECT_EQ(count.validation.size(), 30u);
  EXPECT_EQ(count.test.size(), 40u);
  for (const auto* part : {&share.train, &share.validation, &share.test})
    for (const int64_t i : *part)
      EXPECT_TRUE(i != 0 && i != 99) << "a node without label was taken";

  EXPECT_EQ(split_by_share(g, 0.6, 0.2, Rng(1)).train, share.train) << "the seed decides";
  EXPECT_NE(split_by_share(g, 0.6, 0.2, Rng(2)).train, share.train);
  EXPECT_NE(choose_split(g, SplitKind::random, 0, Rng(1)).train,
            choose_split(g, SplitKind::random, 1, Rng(1)).train);
  const ErrorKind kind = ErrorKind::invalid_argument;
  expect_error([&] { split_by_count(g, 17, 1, 1, Rng(0)); }, {"class 2", "16 nodes"}, kind);
  expect_error([&] { split_by_count(g, 5, 60, 40, Rng(0)); }, {"83 nodes left"}, kind);
  expect_error([&] { split_by_share(g, 0.6, 0.5, Rng(0)); }, {"0.5"}, kind);
}

TEST(SyntheticGraph, HasTheStructureThatWasAskedFor) {
  SyntheticGraphOptions o;
  o.nodes = 2000;
  o.classes = 5;
  o.homophily = 0.7;
  o.degree = 8;
  o.feature_signal = 3;
  const GraphData g = synthetic_graph(o, Rng(3));
  const auto labels = g.labels.host<int32_t>(), row_ptr = g.adjacency.row_ptr.host<int32_t>(),
             col = g.adjacency.col.host<int32_t>();
  int64_t same = 0;
  for (size_t i = 0; i < 2000; ++i)
    for (auto e = row_ptr[i]; e < row_ptr[i + 1]; ++e) {
      const auto j = static_cast<size_t>(col[static_cast<size_t>(e)]);
      EXPECT_NE(i, j);
      const auto back = neighbours(g, j);
      EXPECT_TRUE(std::binary_search(back.begin(), back.end(), static_cast<int32_t>(i)));
      same += labels[i] == labels[j];
    }
  EXPECT_NEAR(static_cast<double>(same) / static_cast<double>(g.adjacency.nnz()), 0.7, 0.02);
  EXPECT_NEAR(static_cast<double>(g.adjacency.nnz()) / 2000, 8, 0.2);
  std::vector<int64_t> counts(5);
  for (const int32_t label : labels) ++counts[static_cast<size_t>(label)];
  EXPECT_EQ(counts, std::vector<int64_t>(5, 400));

  // Distance of class means from the origin, and variance around them.
  const auto x = g.dense_features.host<float>();
  std::vector<double> mean(5 * 32);
  for (size_t i = 0; i < x.size(); ++i)
    mean[static_cast<size_t>(labels[i / 32]) * 32 + i % 32] += x[i] / 400;
  double norm = 0, variance = 0;
  for (const double m : mean) norm += m * m / 5;
  for (size_t i = 0; i < x.size(); ++i)
    variance += std::pow(x[i] - mean[static_cast<size_t>(labels[i / 32]) * 32 + i % 32], 2) /
                static_cast<double>(x.size());
  EXPECT_NEAR(std::sqrt(norm), 3, 0.1);
  EXPECT_NEAR(variance, 1, 0.03);

  ASSERT_EQ(g.fixed_splits.size(), 10u);
  for (const Split& split : g.fixed_splits) expect_valid(split, 2000);
  expect_valid(g.public_splits.at(0), 2000);
  EXPECT_EQ(g.public_splits[0].train.size(), 100u);
}

TEST(SyntheticGraph, SeedDecidesAndEdgesOfTheRangeWork) {
  SyntheticGraphOptions o;
  o.nodes = 60;
  o.classes = 2;
  EXPECT_EQ(synthetic_graph(o, Rng(1)).adjacency.col.values<int32_t>(),
            synthetic_graph(o, Rng(1)).adjacency.col.values<int32_t>());
  EXPECT_NE(synthetic_graph(o, Rng(1)).adjacency.col.values<int32_t>(),
            synthetic_graph(o, Rng(2)).adjacency.col.values<int32_t>());
  o.homophily = 0;
  const GraphData g = synthetic_graph(o, Rng(1));
  const auto labels = g.labels.host<int32_t>();
  for (size_t i = 0; i < 60; ++i)
    for (const int32_t j : neighbours(g, i)) EXPECT_NE(labels[i], labels[static_cast<size_t>(j)]);
  o.degree = 0;
  EXPECT_EQ(synthetic_graph(o, Rng(1)).isolated_nodes(), 60);
  o.classes = 1;
  o.degree = 3;
  EXPECT_GT(synthetic_graph(o, Rng(1)).adjacency.nnz(), 0) << "one class: every edge is within it";
  o.homophily = 1.5;
  expect_error([&] { synthetic_graph(o, Rng(0)); }, {"1.5"}, ErrorKind::invalid_argument);
}

}  // namespace
}  // namespace tessera::models
