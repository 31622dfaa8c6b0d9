#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <set>

#include "tessera/models/data/batches.hpp"
#include "tessera/models/data/graph.hpp"
#include "tessera/models/data/image.hpp"
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

TEST(SyntheticImages, ClassesDifferAndAreSharedBetweenSeeds) {
  SyntheticImageOptions o;
  o.images = 60;
  o.classes = 3;
  o.height = o.width = 16;
  const ImageData train = synthetic_images(o, Rng(1)), test = synthetic_images(o, Rng(2));
  EXPECT_EQ(train.images.shape(), (Shape{60, 3, 16, 16}));
  EXPECT_NE(train.images.values<uint8_t>(), test.images.values<uint8_t>());
  EXPECT_EQ(train.images.values<uint8_t>(), synthetic_images(o, Rng(1)).images.values<uint8_t>());
  // The spectrum's magnitude ignores the phase: the nearest class mean of it must name the class.
  const auto features = [](const ImageData& data, int64_t i) {
    std::vector<double> out;
    const auto pixels = data.images.select(0, i).values<uint8_t>();
    for (size_t c = 0; c < 3; ++c)
      for (int u = 0; u < 8; ++u)
        for (int v = -7; v < 8; ++v) {
          double re = 0, im = 0;
          for (int y = 0; y < 16; ++y)
            for (int x = 0; x < 16; ++x) {
              const double angle = 2 * 3.141592653589793 * (u * y + v * x) / 16;
              const double p = pixels[c * 256 + static_cast<size_t>(y * 16 + x)] / 255.0 - 0.5;
              re += p * std::cos(angle);
              im += p * std::sin(angle);
            }
          out.push_back(std::hypot(re, im));
        }
    return out;
  };
  std::vector<std::vector<double>> means(3, std::vector<double>(360));
  for (int64_t i = 0; i < 60; ++i) {
    const auto f = features(train, i);
    auto& mean = means[static_cast<size_t>(train.labels.host<int32_t>()[static_cast<size_t>(i)])];
    for (size_t k = 0; k < f.size(); ++k) mean[k] += f[k] / 20;
  }
  int right = 0;
  for (int64_t i = 0; i < 60; ++i) {
    const auto f = features(test, i);
    double best = 1e300;
    int chosen = -1;
    for (int c = 0; c < 3; ++c) {
      double distance = 0;
      for (size_t k = 0; k < f.size(); ++k)
        distance += std::pow(f[k] - means[static_cast<size_t>(c)][k], 2);
      if (distance < best) best = distance, chosen = c;
    }
    right += chosen == test.labels.host<int32_t>()[static_cast<size_t>(i)];
  }
  EXPECT_GE(right, 54) << "of 60";
}

// Two channels of 4 x 5 pixels, all different.
ImageData numbered_images(int64_t n) {
  ImageData data{Tensor::empty({n, 2, 4, 5}, DType::u8, cpu), Tensor::zeros({n}, DType::i32, cpu),
                 3};
  int value = 0;
  for (uint8_t& pixel : data.images.host_mutable<uint8_t>())
    pixel = static_cast<uint8_t>(++value * 37 % 251 + 1);
  for (int64_t i = 0; i < n; ++i)
    data.labels.host_mutable<int32_t>()[static_cast<size_t>(i)] = static_cast<int32_t>(i % 3);
  return data;
}

TEST(Images, StatisticsAndNormalisation) {
  const ImageData data = numbered_images(7);
  const ChannelStatistics s = channel_statistics(data);
  for (size_t c = 0; c < 2; ++c) {
    std::vector<double> values;
    for (int64_t i = 0; i < 7; ++i)
      for (const uint8_t p :
           data.images.select(0, i).select(0, static_cast<int64_t>(c)).values<uint8_t>())
        values.push_back(p / 255.0);
    double mean = 0, variance = 0;
    for (const double v : values) mean += v / 140;
    for (const double v : values) variance += (v - mean) * (v - mean) / 140;
    EXPECT_NEAR(s.mean[c], mean, 1e-6);
    EXPECT_NEAR(s.std[c], std::sqrt(variance), 1e-6);
  }
  const ImageDataset dataset(data, s);
  EXPECT_EQ(dataset.size(), 7);
  const Sample sample = dataset.get(4, Rng(0));
  EXPECT_EQ(sample[1].item(), 1);
  EXPECT_EQ(sample[1].rank(), 0);
  const auto raw = data.images.select(0, 4).values<uint8_t>();
  const auto x = sample[0].values<float>();
  for (size_t i = 0; i < x.size(); ++i)
    EXPECT_NEAR(x[i], (raw[i] / 255.0 - s.mean[i / 20]) / s.std[i / 20], 1e-5);
}

TEST(Images, AugmentationIsACropOfThePaddedImageOrItsMirror) {
  const ImageData data = numbered_images(1);
  const ChannelStatistics plain{{0, 0}, {1.0f / 255, 1.0f / 255}};  // values stay bytes
  const ImageDataset dataset(data, plain, {.crop_padding = 2, .flip = true});
  const auto raw = data.images.values<uint8_t>();
  std::set<std::tuple<int, int, bool>> seen;
  for (uint64_t seed = 0; seed < 600; ++seed) {
    const auto x = dataset.get(0, Rng(seed))[0].values<float>();
    bool found = false;
    for (int top = -2; top <= 2; ++top)
      for (int left = -2; left <= 2; ++left)
        for (const bool flip : {false, true}) {
          bool same = true;
          for (int c = 0; c < 2; ++c)
            for (int i = 0; i < 4; ++i)
              for (int j = 0; j < 5; ++j) {
                const int row = i + top, column = (flip ? 4 - j : j) + left;
                const bool inside = row >= 0 && row < 4 && column >= 0 && column < 5;
                const float expected =
                    inside ? raw[static_cast<size_t>(c * 20 + row * 5 + column)] : 0.0f;
                same =
                    same && std::abs(x[static_cast<size_t>(c * 20 + i * 5 + j)] - expected) < 1e-3f;
              }
          if (!same) continue;
          found = true;
          seen.insert({top, left, flip});
        }
    EXPECT_TRUE(found) << "seed " << seed;
  }
  EXPECT_EQ(seen.size(), 50u) << "every offset and both mirrorings occur";
}

TEST(Images, LoadersCheckWhatTheyRead) {
  const TemporaryFolder folder;
  using std::string;
  const string images = string("\0\0\x08\3\0\0\0\2\0\0\0\1\0\0\0\3", 16) + "abcdef";
  test::write_bytes(folder / "images", images);
  test::write_bytes(folder / "labels", string("\0\0\x08\1\0\0\0\2", 8) + "\1\2");
  test::write_bytes(folder / "three", string("\0\0\x08\1\0\0\0\3", 8) + "\1\2\3");
  test::write_bytes(folder / "large", string("\0\0\x08\1\0\0\0\2", 8) + "\1\x0a");
  const ImageData data = load_idx_images(folder / "images", folder / "labels");
  EXPECT_EQ(data.images.shape(), (Shape{2, 1, 1, 3}));
  EXPECT_EQ(data.labels.values<int32_t>(), (std::vector<int32_t>{1, 2}));
  EXPECT_EQ(take_images(data, 1).size(), 1);
  EXPECT_EQ(take_images(data, 9).size(), 2);
  expect_error([&] { load_idx_images(folder / "images", folder / "three"); },
               {"three", "3 labels", "2 images"});
  expect_error([&] { load_idx_images(folder / "images", folder / "large"); },
               {"large", "label 10", "image 1"});
  expect_error([&] { load_idx_images(folder / "labels", folder / "labels"); },
               {"labels", "[n, height, width]"});
  expect_error([&] { load_idx_images(folder / "images", folder / "images"); }, {"labels u8 [n]"});

  string record(3073, '\7');
  test::write_bytes(folder / "a.bin", record + record);
  record[0] = '\3';
  test::write_bytes(folder / "b.bin", record);
  const ImageData cifar = load_cifar10({folder / "a.bin", folder / "b.bin"});
  EXPECT_EQ(cifar.images.shape(), (Shape{3, 3, 32, 32}));
  EXPECT_EQ(cifar.labels.values<int32_t>(), (std::vector<int32_t>{7, 7, 3}));
  EXPECT_EQ(cifar.classes, 10);
  const ErrorKind kind = ErrorKind::invalid_argument;
  expect_error([&] { ImageDataset(cifar, {{0}, {1}}); }, {"1 channels"}, kind);
  expect_error(
      [&] {
        ImageDataset(cifar, {{0, 0, 0}, {1, 1, 1}}).get(3, Rng(0));
      },
      {"example 3"}, kind);
}

// Example i is {i, random number}; fails at one index, counts calls.
class Numbers final : public Dataset {
 public:
  explicit Numbers(int64_t size, int64_t bad = -1) : size_(size), bad_(bad) {}
  int64_t size() const override { return size_; }
  Sample get(int64_t index, Rng rng) const override {
    ++calls;
    if (index == bad_) throw Error(ErrorKind::io, concat("cannot read example ", index));
    return {Tensor::from<int64_t>({index}, {}, cpu),
            Tensor::from<double>({rng.uniform(), 2}, {2}, cpu)};
  }
  mutable std::atomic<int64_t> calls{0};

 private:
  int64_t size_, bad_;
};

TEST(Batches, EveryEpochIsAPermutationOfItsOwn) {
  const Numbers data(23);
  const Batches batches(data, 5, Rng(1));
  EXPECT_EQ(batches.per_epoch(), 5);
  std::vector<std::vector<int64_t>> epochs(3);
  for (int64_t step = 0; step < 15; ++step) {
    const Sample batch = batches.at(step);
    EXPECT_EQ(batch[0].shape(), Shape{step % 5 == 4 ? 3 : 5});
    EXPECT_EQ(batch[1].shape(), (Shape{step % 5 == 4 ? 3 : 5, 2}));
    EXPECT_EQ(batches.epoch(step), step / 5);
    for (const int64_t i : batch[0].values<int64_t>())
      epochs[static_cast<size_t>(step / 5)].push_back(i);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  for (auto& epoch : epochs) {
    EXPECT_FALSE(std::is_sorted(epoch.begin(), epoch.end()));
    std::sort(epoch.begin(), epoch.end());
    for (int64_t i = 0; i < 23; ++i) EXPECT_EQ(epoch[static_cast<size_t>(i)], i);
  }
}

TEST(Batches, OptionsAndErrors) {
  const Numbers data(23);
  EXPECT_EQ(Batches(data, 5, Rng(1), {.drop_last = true}).per_epoch(), 4);
  EXPECT_EQ(Batches(data, 5, Rng(1), {.drop_last = true}).indices(3).size(), 5u);
  EXPECT_EQ(Batches(data, 5, Rng(1), {.shuffle = false}).indices(4),
            (std::vector<int64_t>{20, 21, 22}));
  EXPECT_EQ(Batches(data, 100, Rng(1)).per_epoch(), 1);
  const ErrorKind kind = ErrorKind::invalid_argument;
  expect_error([&] { Batches(data, 0, Rng(1)); }, {"0 examples"}, kind);
  expect_error([&] { Batches(Numbers(0), 4, Rng(1)); }, {"empty"}, kind);
  expect_error([&] { Batches(data, 24, Rng(1), {.drop_last = true}); }, {"24", "23"}, kind);
  expect_error([&] { Batches(data, 5, Rng(1)).at(-1); }, {"-1"}, kind);
  expect_error(
      [] {
        stack({{Tensor::zeros({2}, DType::f32, cpu)}, {Tensor::zeros({3}, DType::f32, cpu)}});
      },
      {"[2]", "[3]", "sample 1"}, kind);
  expect_error(
      [] {
        stack({{Tensor::zeros({2}, DType::f32, cpu)}, {}});
      },
      {"sample 1 has 0"}, kind);
}

TEST(PrefetchLoader, GivesTheSameBatchesAndResumesExactly) {
  const Numbers data(23);
  const Batches batches(data, 5, Rng(9));
  PrefetchLoader loader(batches);
  const auto expect_step = [&](const Sample& batch, int64_t step) {
    const Sample direct = batches.at(step);
    EXPECT_EQ(batch[0].values<int64_t>(), direct[0].values<int64_t>()) << step;
    EXPECT_EQ(batch[1].values<double>(), direct[1].values<double>()) << step;
  };
  for (int64_t step = 0; step < 12; ++step) {
    EXPECT_EQ(loader.position(), step);
    expect_step(loader.next(), step);
  }
  PrefetchLoader resumed(batches, loader.position());
  for (int64_t step = 12; step < 30; ++step) expect_step(resumed.next(), step);
}

TEST(PrefetchLoader, ThrowsAtTheBatchThatFailedAndEverAfter) {
  const Numbers data(20, 13);
  const Batches batches(data, 5, Rng(0), {.shuffle = false});
  PrefetchLoader loader(batches, 0, 8);
  EXPECT_NO_THROW(loader.next());
  EXPECT_NO_THROW(loader.next());
  for (int i = 0; i < 2; ++i) expect_error([&] { loader.next(); }, {"example 13"});
  EXPECT_EQ(loader.position(), 2);
}

TEST(PrefetchLoader, StopsWheneverItIsDestroyed) {
  const Numbers data(1000);
  for (int used = 0; used < 4; ++used) {
    data.calls = 0;
    {
      PrefetchLoader loader(Batches(data, 10, Rng(0)), 0, 2);
      for (int i = 0; i < used; ++i) loader.next();
    }
    EXPECT_LE(data.calls, (used + 3) * 10)
        << "no more than `ahead` finished batches and one in work";
  }
  const Numbers bad(10, 0);
  PrefetchLoader failed(Batches(bad, 10, Rng(0)));  // destroyed with its error never asked for
}

TEST(PrefetchLoader, HonoursTheMemoryLimitOfItsMaker) {
  const Numbers data(100000);
  const auto limit =
      std::make_shared<LimitAllocator>(std::make_shared<DriverAllocator>(), 64 << 10);
  const AllocatorScope scope(Device::Type::cpu, limit);
  PrefetchLoader loader(Batches(data, 50000, Rng(0)));
  expect_error([&] { loader.next(); }, {"memory limit"}, ErrorKind::out_of_memory);
}

}  // namespace
}  // namespace tessera::models
