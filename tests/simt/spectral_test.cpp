// The forms of the spectral kernels that the interpreter's own device does not choose: without
// clusters, as compute capability 8.0 runs them, and ranges of pixels so long that exact sums must
// leave 32 bits on the way.
#include <gtest/gtest.h>

#include <vector>

#include "tessera/kernels/cuda/gram.cuh"
#include "tessera/kernels/cuda/project.cuh"
#include "tessera/tests/support/values.hpp"

namespace tessera::kernels::cuda {
namespace {

using test::at;

Stream& stream() { return current_stream(Device::cpu()); }

/// [m, n] of whole numbers, one pixel after the other or one band after the other.
Tensor pixels(int64_t m, int64_t n, DType dtype, bool by_band) {
  const Tensor x = test::integers({m, n}, dtype, 1, 100);
  return by_band ? x.transpose(0, 1).clone().transpose(0, 1) : x;
}
test::Values naive_gram(const Tensor& x) {
  const int64_t m = x.size(0), n = x.size(1);
  const test::Values v = test::to_doubles(x.clone());
  test::Values g(at(n * n));
  for (int64_t p = 0; p < m; ++p)
    for (int64_t i = 0; i < n; ++i)
      for (int64_t j = 0; j < n; ++j) g[at(i * n + j)] += v[at(p * n + i)] * v[at(p * n + j)];
  return g;
}

TEST(Spectral, GramWithoutClusters) {
  for (const bool by_band : {false, true})
    for (const DType dtype : {DType::f32, DType::f64})
      for (const int64_t n : {24, 144, 150, 270}) {
        const Tensor x = pixels(150, n, dtype, by_band);
        const Tensor g = Tensor::empty({n, n}, DType::f64, Device::cpu());
        launch_gram(stream(), Cube(x.view(), {}), {g.view(), {}, false}, false);
        EXPECT_EQ(test::to_doubles(g), naive_gram(x)) << concat(dtype, " ", n, " ", by_band);
      }
}

// All of the basis in shared memory, and tiles of it.
TEST(Spectral, ProjectWithAndWithoutRoomForTheBasis) {
  for (const bool clusters : {false, true})
    for (const bool by_band : {false, true})
      for (const int64_t n : {100, 400, 1700}) {
        const int64_t m = 100, k = 40;
        const Tensor x = pixels(m, n, DType::f64, by_band),
                     basis = test::integers({n, k}, DType::f64, 2),
                     shift = test::integers({n}, DType::f64, 3),
                     y = Tensor::empty({m, k}, DType::f64, Device::cpu());
        launch_project(stream(), Cube(x.view(), {.shift = shift.view()}, y.view()), basis.view(),
                       y.view(), false, clusters);
        const test::Values from = test::to_doubles(x.clone()), weights = test::to_doubles(basis),
                           less = test::to_doubles(shift);
        test::Values wanted(at(m * k));
        for (int64_t p = 0; p < m; ++p)
          for (int64_t i = 0; i < n; ++i)
            for (int64_t j = 0; j < k; ++j)
              wanted[at(p * k + j)] += (from[at(p * n + i)] - less[at(i)]) * weights[at(i * k + j)];
        EXPECT_EQ(test::to_doubles(y), wanted) << concat(n, " ", clusters, " ", by_band);
      }
}

// Rows are made for some of the pixels at a time: all, some image rows, one.
TEST(Spectral, SquaredLengthsWithLittleRoom) {
  const int64_t n = 33, k = 40;
  for (const Shape& leading : {Shape{70}, Shape{7, 10}}) {
    Shape shape = leading;
    shape.push_back(n);
    const Tensor x = test::integers(shape, DType::f32, 1),
                 basis = test::integers({n, k}, DType::f64, 2),
                 shift = test::integers({n}, DType::f64, 3),
                 y = Tensor::empty(leading, DType::f64, Device::cpu());
    Tensor valid = Tensor::empty(leading, DType::bool_, Device::cpu());
    for (size_t p = 0; p < 70; ++p) valid.host_mutable<bool>()[p] = p % 3 != 0;
    const test::Values from = test::to_doubles(x), weights = test::to_doubles(basis),
                       less = test::to_doubles(shift);
    test::Values wanted(70);
    for (int64_t p = 0; p < 70; ++p)
      for (int64_t j = 0; j < k && p % 3 != 0; ++j) {
        double sum = 0;
        for (int64_t i = 0; i < n; ++i)
          sum += (from[at(p * n + i)] - less[at(i)]) * weights[at(i * k + j)];
        wanted[at(p)] += sum * sum;
      }
    for (const int64_t room : {int64_t{1} << 20, 25 * k, int64_t{1}}) {
      launch_squared_lengths(stream(), x.view(), basis.view(), y.view(),
                             {.shift = shift.view(), .valid = valid.view()}, false, room);
      EXPECT_EQ(test::to_doubles(y), wanted) << concat(leading, " ", room);
    }
  }
}

TEST(Spectral, SameBitsInEverySchedule) {
  const int64_t m = 200, n = 200, k = 24;
  const Tensor x = test::uniform({m, n}, DType::f32, 1),
               basis = test::uniform({n, k}, DType::f64, 2);
  std::vector<test::Values> first;
  for (const uint64_t seed : {0, 1, 2}) {
    simt::set_schedule({.seed = seed, .lazy = seed != 1});
    const Tensor g = Tensor::empty({n, n}, DType::f64, Device::cpu()),
                 sums = Tensor::empty({n}, DType::f64, Device::cpu()),
                 y = Tensor::empty({m, k}, DType::f64, Device::cpu());
    launch_gram(stream(), Cube(x.view(), {}), {g.view(), sums.view(), false}, true);
    launch_project(stream(), Cube(x.view(), {}, y.view()), basis.view(), y.view(), false, true);
    const std::vector<test::Values> all{test::to_doubles(g), test::to_doubles(sums),
                                        test::to_doubles(y)};
    if (first.empty()) first = all;
    EXPECT_EQ(all, first) << "seed " << seed;
  }
  simt::set_schedule({});
}

/// g and sums of m pixels with `value` in all n bands.
template <class T>
void check_extreme(T value, int64_t m, int64_t n, bool clusters, const ExactLimits& limits) {
  const std::vector<T> x(at(m * n), value);
  std::vector<int64_t> g(at(n * n)), sums(at(n));
  const View of_x{const_cast<T*>(x.data()), dtype_of<T>, 2, {m, n}, {n, 1}},
      of_g{g.data(), DType::i64, 2, {n, n}, {n, 1}}, of_sums{sums.data(), DType::i64, 1, {n}, {1}};
  launch_exact_gram(stream(), Cube(of_x, {}), {of_g, of_sums, false}, clusters, limits);
  EXPECT_EQ(g, std::vector<int64_t>(at(n * n), m * value * value));
  EXPECT_EQ(sums, std::vector<int64_t>(at(n), m * value));
}

TEST(Spectral, ExactSumsOfTheLargestNumbers) {
  const int64_t m = 2 * 16384 + 100;  // in one range: two flushes and a rest
  check_extreme<uint16_t>(65535, m, 8, true, {.most_ranges = 1});
  check_extreme<int16_t>(-32768, m, 8, true, {.most_ranges = 1});
  check_extreme<int16_t>(32767, m, 8, true, {.most_ranges = 1});
  check_extreme<uint16_t>(65535, 1000, 270, false, {.flush_pixels = 128, .most_ranges = 2});
}

TEST(Spectral, RunsCoverTheTriangleOnce) {
  for (const uint32_t longest : {8, 13})
    for (uint32_t tiles = 1; tiles <= 60; ++tiles) {
      std::vector<int> owners(tiles * tiles);
      for (const GramRun& run : triangle_runs(tiles, longest)) {
        EXPECT_LE(run.count, longest);
        EXPECT_EQ(run.lead, run.first == 2 * run.strip);
        for (uint32_t column = run.first; column < run.first + run.count; ++column)
          for (uint32_t row = 2 * run.strip; row < std::min(2u * run.strip + 2, tiles); ++row)
            ++owners[row * tiles + column];
      }
      for (uint32_t row = 0; row < tiles; ++row)
        for (uint32_t column = row; column < tiles; ++column)
          EXPECT_EQ(owners[row * tiles + column], 1) << tiles << ": " << row << " " << column;
    }
}

}  // namespace
}  // namespace tessera::kernels::cuda
