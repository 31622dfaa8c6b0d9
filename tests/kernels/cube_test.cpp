// gram and project of cubes as they lie in memory: every dtype of pixels, every interleave, and
// counts of bands on both sides of what a block, a cluster and a panel of the GPU kernels hold.
// Pixels are whole numbers, so that sums in f64 are exact in whatever order they are made.
#include <gtest/gtest.h>

#include "tessera/kernels/linalg.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::at;
using test::expect_close;
using test::Numbers;
using test::to_doubles;
using test::Values;

/// How rows, columns and bands follow each other in memory, the nearest last; with gaps, every
/// second element of each axis is not the cube's.
struct Interleave {
  const char* name;
  int axes[3];
  bool gaps = false;
};
const Interleave by_pixel{"by pixel", {0, 1, 2}}, by_line{"by line", {0, 2, 1}},
    by_band{"by band", {2, 0, 1}};
const Interleave interleaves[] = {
    by_pixel,
    by_line,
    by_band,
    {"by pixel, columns first", {1, 0, 2}},
    {"by band, columns first", {2, 1, 0}},
    {"by pixel, with gaps", {0, 1, 2}, true},
    {"by band, with gaps", {2, 0, 1}, true},
};
constexpr DType pixel_dtypes[] = {DType::f64,  DType::f32, DType::f16,
                                  DType::bf16, DType::i16, DType::u16};

template <class Body>
void for_pixel_type(DType dtype, Body&& body) {
  if (dtype == DType::i16) return body.template operator()<int16_t>();
  if (dtype == DType::u16) return body.template operator()<uint16_t>();
  for_float(dtype, "test", body);
}

/// Whole numbers that the dtype has, of both signs where it has these, up to 255 (wide: up to the
/// bounds of 16 bits).
Values numbers(int64_t count, DType dtype, bool wide, uint64_t seed = 1) {
  Numbers next(seed);
  Values values;
  for (int64_t i = 0; i < count; ++i) {
    const auto x = static_cast<double>(next() % (wide ? 65536 : 256));
    values.push_back(dtype == DType::u16 ? x : x - (wide ? 32768 : 128));
  }
  return values;
}

/// values [rows, columns, bands] on a device, a view of the shape that lies in memory as wanted.
Tensor cube(const Values& values, const Shape& shape, DType dtype, const Interleave& lie,
            Device device) {
  const int64_t step = lie.gaps ? 2 : 1;
  Shape stored{1, 1, 1}, back{0, 0, 0};
  for (int i = 0; i < 3; ++i) {
    stored[i] = shape[lie.axes[i]] * step;
    back[lie.axes[i]] = i;
  }
  Tensor whole = Tensor::zeros(stored, dtype, Device::cpu());
  for_pixel_type(dtype, [&]<class T>() {
    T* out = static_cast<T*>(whole.data());
    for (int64_t i = 0; i < whole.numel(); ++i) out[i] = T(77.0f);
    int64_t strides[3] = {stored[1] * stored[2], stored[2], 1};
    int64_t number = 0;
    for (int64_t r = 0; r < shape[0]; ++r)
      for (int64_t c = 0; c < shape[1]; ++c)
        for (int64_t b = 0; b < shape[2]; ++b)
          out[(r * strides[back[0]] + c * strides[back[1]] + b * strides[back[2]]) * step +
              (lie.gaps ? strides[0] + strides[1] + strides[2] : 0)] =
              T(static_cast<float>(values[at(number++)]));
  });
  Tensor x = whole.to(device);
  if (lie.gaps)
    for (int i = 0; i < 3; ++i) x = x.narrow(i, 1, stored[i] / 2, 2);
  return x.permute(back);
}

struct Wanted {
  Values g, sums;
};
/// In long double, over the pixels that are valid (empty: all).
Wanted naive_gram(const Values& values, int64_t n, const Values& shift,
                  const std::vector<bool>& valid) {
  std::vector<long double> g(at(n * n)), sums(at(n));
  const int64_t m = n == 0 ? 0 : static_cast<int64_t>(values.size()) / n;
  for (int64_t p = 0; p < m; ++p) {
    if (!valid.empty() && !valid[at(p)]) continue;
    for (int64_t i = 0; i < n; ++i) {
      const long double x = values[at(p * n + i)] - (shift.empty() ? 0 : shift[at(i)]);
      sums[at(i)] += x;
      for (int64_t j = 0; j < n; ++j)
        g[at(i * n + j)] += x * (values[at(p * n + j)] - (shift.empty() ? 0 : shift[at(j)]));
    }
  }
  return {Values(g.begin(), g.end()), Values(sums.begin(), sums.end())};
}

class Cube : public test::TargetTest {
 protected:
  static Tensor f64(const Values& values) {
    return on_device(test::from_doubles(values, {static_cast<int64_t>(values.size())}, DType::f64));
  }
  static Tensor mask(const std::vector<bool>& valid, const Shape& shape) {
    Tensor t = Tensor::empty(shape, DType::bool_, Device::cpu());
    std::copy(valid.begin(), valid.end(), static_cast<bool*>(t.data()));
    return on_device(t);
  }
  static std::vector<bool> some(int64_t count) {
    Numbers next(9);
    std::vector<bool> valid;
    for (int64_t i = 0; i < count; ++i) valid.push_back(next() % 4 != 0);
    return valid;
  }
  static bool whole_numbers() { return dtype() == DType::i16 || dtype() == DType::u16; }

  /// All forms of gram on one cube.
  void check_gram_of(const Shape& shape, const Interleave& lie) {
    const int64_t n = shape[2], m = shape[0] * shape[1];
    const std::string what = concat(shape, " ", lie.name);
    const Values values = numbers(m * n, dtype(), false);
    const Tensor x = cube(values, shape, dtype(), lie, device()), g = empty({n, n}, DType::f64),
                 sums = empty({n}, DType::f64);
    const Values shift = numbers(n, DType::f64, false, 2);
    const std::vector<bool> valid = some(m);
    const Tensor valid_view = mask(valid, {shape[0], shape[1]});

    gram(stream(), x.view(), g.view());
    EXPECT_EQ(to_doubles(g), naive_gram(values, n, {}, {}).g) << what;
    const Wanted wanted = naive_gram(values, n, shift, valid);
    const Tensor shift_tensor = f64(shift);
    SpectralParams params{.shift = shift_tensor.view(), .valid = valid_view.view()};
    gram(stream(), x.view(), g.view(), sums.view(), params);
    EXPECT_EQ(to_doubles(g), wanted.g) << what;
    EXPECT_EQ(to_doubles(sums), wanted.sums) << what;
    params.accumulate = true;
    gram(stream(), x.view(), g.view(), sums.view(), params);
    Wanted twice = wanted;
    for (double& v : twice.g) v *= 2;
    for (double& v : twice.sums) v *= 2;
    EXPECT_EQ(to_doubles(g), twice.g) << what;
    EXPECT_EQ(to_doubles(sums), twice.sums) << what;
    if (dtype() == DType::f32) {
      const Tensor narrow = empty({n, n}, DType::f32);
      params.accumulate = false;
      gram(stream(), x.view(), narrow.view(), sums.view(), params);
      expect_close(narrow, wanted.g, test::Tolerance{test::roundoff(DType::f32), 0}, what);
    }
    if (whole_numbers()) check_exact_gram_of(shape, lie);
  }

  /// Of numbers that use all 16 bits.
  void check_exact_gram_of(const Shape& shape, const Interleave& lie) {
    const int64_t n = shape[2], m = shape[0] * shape[1];
    const std::string what = concat(shape, " ", lie.name, ", exact");
    const Values values = numbers(m * n, dtype(), true);
    const Tensor x = cube(values, shape, dtype(), lie, device()), g = empty({n, n}, DType::i64),
                 sums = empty({n}, DType::i64);
    const std::vector<bool> valid = some(m);
    const Tensor valid_view = mask(valid, {shape[0], shape[1]});
    const Wanted all = naive_gram(values, n, {}, {}), some_of = naive_gram(values, n, {}, valid);
    gram(stream(), x.view(), g.view(), sums.view());
    EXPECT_EQ(to_doubles(g), all.g) << what;
    EXPECT_EQ(to_doubles(sums), all.sums) << what;
    gram(stream(), x.view(), g.view(), sums.view(),
         {.valid = valid_view.view(), .accumulate = true});
    Wanted both = all;
    for (size_t i = 0; i < both.g.size(); ++i) both.g[i] += some_of.g[i];
    for (size_t i = 0; i < both.sums.size(); ++i) both.sums[i] += some_of.sums[i];
    EXPECT_EQ(to_doubles(g), both.g) << what;
    EXPECT_EQ(to_doubles(sums), both.sums) << what;
  }
};
INSTANTIATE_TEST_SUITE_P(Targets, Cube, test::targets(pixel_dtypes, &Backend::linalg),
                         test::target_name);

TEST_P(Cube, GramOfEveryInterleave) {
  for (const Interleave& lie : interleaves)
    for (const Shape& shape : {Shape{5, 48, 24}, Shape{7, 21, 19}, Shape{1, 3, 1}})
      check_gram_of(shape, lie);
}

// One block, clusters of two, four and eight, panels; for whole numbers as well.
TEST_P(Cube, GramOfManyBands) {
  for (const int64_t n : {72, 130, 200, 224, 330})
    check_gram_of({2, 24, n}, n == 200 || n == 330 ? by_band : by_pixel);
  check_gram_of({1, 17, 500}, dtype() == DType::f32 ? by_band : by_pixel);
}

TEST_P(Cube, ProjectReadsAndWritesAnyInterleave) {
  for (const Interleave& from : interleaves)
    for (const Interleave& to : {by_pixel, by_line, by_band})
      for (const DType y_dtype : {DType::f32, DType::f64})
        for (const Shape& shape : {Shape{5, 48, 40}, Shape{3, 21, 19}}) {
          const int64_t n = shape[2], m = shape[0] * shape[1], k = shape[1] == 21 ? 5 : 12;
          const Values values = numbers(m * n, dtype(), false),
                       weights = numbers(n * k, DType::f64, false, 3),
                       shift = numbers(n, DType::f64, false, 2);
          const std::vector<bool> valid = some(m);
          const Tensor x = cube(values, shape, dtype(), from, device()),
                       basis = on_device(test::from_doubles(weights, {n, k}, DType::f64)),
                       shift_tensor = f64(shift), mask_of = mask(valid, {shape[0], shape[1]});
          Values wanted;  // exact, and in f32 too
          for (int64_t p = 0; p < m; ++p)
            for (int64_t j = 0; j < k; ++j) {
              double sum = 0;
              for (int64_t i = 0; i < n && valid[at(p)]; ++i)
                sum += (values[at(p * n + i)] - shift[at(i)]) * weights[at(i * k + j)];
              wanted.push_back(sum);
            }
          const Tensor y =
              cube(Values(wanted.size()), {shape[0], shape[1], k}, y_dtype, to, device());
          project(stream(), x.view(), basis.view(), y.view(),
                  {.shift = shift_tensor.view(), .valid = mask_of.view()});
          EXPECT_EQ(to_doubles(y.clone()), wanted)
              << concat(shape, " ", from.name, " to ", to.name, " ", y_dtype);
        }
}

TEST_P(Cube, ProjectOnManyColumns) {
  for (const int64_t n : {33, 200, 420})
    for (const int64_t k : {1, 64, 131}) {
      const int64_t m = 70;
      const Values values = numbers(m * n, dtype(), false),
                   weights = numbers(n * k, DType::f64, false, 3);
      const Tensor x = cube(values, {1, m, n}, dtype(), by_pixel, device()).select(0, 0),
                   basis = on_device(test::from_doubles(weights, {n, k}, DType::f64)),
                   y = empty({m, k}, DType::f64);
      project(stream(), x.view(), basis.view(), y.view());
      Values wanted(at(m * k));
      for (int64_t p = 0; p < m; ++p)
        for (int64_t i = 0; i < n; ++i)
          for (int64_t j = 0; j < k; ++j)
            wanted[at(p * k + j)] += values[at(p * n + i)] * weights[at(i * k + j)];
      EXPECT_EQ(to_doubles(y), wanted) << n << " " << k;
    }
}

TEST_P(Cube, ProjectOnATriangleReadsNothingBelowIt) {
  for (const int64_t n : {1, 40, 131})
    for (const int64_t k : {1, 24, 150}) {
      const int64_t m = 70;
      const Values values = numbers(m * n, dtype(), false);
      Values weights = numbers(n * k, DType::f64, false, 3);
      for (int64_t i = 0; i < n; ++i)
        for (int64_t j = 0; j < std::min(i, k); ++j) weights[at(i * k + j)] = NAN;
      const Tensor x = cube(values, {1, m, n}, dtype(), by_pixel, device()).select(0, 0),
                   basis = on_device(test::from_doubles(weights, {n, k}, DType::f64)),
                   y = empty({m, k}, DType::f64);
      project(stream(), x.view(), basis.view(), y.view(), {.upper = true});
      Values wanted(at(m * k));
      for (int64_t p = 0; p < m; ++p)
        for (int64_t i = 0; i < n; ++i)
          for (int64_t j = i; j < k; ++j)
            wanted[at(p * k + j)] += values[at(p * n + i)] * weights[at(i * k + j)];
      EXPECT_EQ(to_doubles(y), wanted) << n << " " << k;
    }
  const Tensor x = empty({4, 3}), g = empty({3, 3}, DType::f64);
  EXPECT_THROW(gram(stream(), x.view(), g.view(), {}, {.upper = true}), Error);
}

TEST_P(Cube, ProjectGivesSquaredLengths) {
  for (const Interleave& from : interleaves)
    for (const bool upper : {false, true}) {
      const int64_t m = 5 * 48, n = 40, k = 23;
      const Values values = numbers(m * n, dtype(), false),
                   weights = numbers(n * k, DType::f64, false, 3),
                   shift = numbers(n, DType::f64, false, 2);
      const std::vector<bool> valid = some(m);
      const Tensor x = cube(values, {5, 48, n}, dtype(), from, device()),
                   basis = on_device(test::from_doubles(weights, {n, k}, DType::f64)),
                   shift_tensor = f64(shift), mask_of = mask(valid, {5, 48}),
                   y = empty({5, 48}, DType::f64);
      project(stream(), x.view(), basis.view(), y.view(),
              {.shift = shift_tensor.view(), .valid = mask_of.view(), .upper = upper});
      Values wanted(at(m));
      for (int64_t p = 0; p < m; ++p)
        for (int64_t j = 0; j < k && valid[at(p)]; ++j) {
          double sum = 0;
          for (int64_t i = 0; i < (upper ? j + 1 : n); ++i)
            sum += (values[at(p * n + i)] - shift[at(i)]) * weights[at(i * k + j)];
          wanted[at(p)] += sum * sum;
        }
      EXPECT_EQ(to_doubles(y), wanted) << from.name << " " << upper;
    }
}

class FloatCube : public Cube {};
INSTANTIATE_TEST_SUITE_P(Targets, FloatCube, test::targets(test::float_dtypes, &Backend::linalg),
                         test::target_name);

TEST_P(FloatCube, PixelsThatDoNotCountMayBeNaN) {
  const int64_t m = 40, n = 24;
  Values values = numbers(m * n, dtype(), false);
  std::vector<bool> valid = some(m);
  for (int64_t p = 0; p < m; ++p)
    if (!valid[at(p)]) values[at(p * n + p % n)] = NAN;
  const Tensor valid_view = mask(valid, {1, m}), g = empty({n, n}, DType::f64);
  const Wanted wanted = naive_gram(values, n, {}, valid);
  for (const Interleave& lie : {by_pixel, by_band}) {
    const Tensor x = cube(values, {1, m, n}, dtype(), lie, device());
    gram(stream(), x.view(), g.view(), {}, {.valid = valid_view.view()});
    EXPECT_EQ(to_doubles(g), wanted.g) << lie.name;
  }
}

TEST_P(Cube, WithoutPixelsOrBands) {
  const Tensor x = empty({0, 7, 5}), g = empty({5, 5}, DType::f64), sums = empty({5}, DType::f64),
               basis = empty({5, 2}, DType::f64), y = empty({0, 7, 2}, DType::f64);
  gram(stream(), x.view(), g.view(), sums.view());
  EXPECT_EQ(to_doubles(g), Values(25));
  EXPECT_EQ(to_doubles(sums), Values(5));
  EXPECT_NO_THROW(project(stream(), x.view(), basis.view(), y.view()));
  const Tensor no_bands = empty({6, 0}), no_basis = empty({0, 2}, DType::f64),
               zeros = on_device(test::uniform({6, 2}, DType::f64, 1));
  project(stream(), no_bands.view(), no_basis.view(), zeros.view());
  EXPECT_EQ(to_doubles(zeros), Values(12));
  const Tensor lengths = on_device(test::uniform({6}, DType::f64, 1));
  project(stream(), no_bands.view(), no_basis.view(), lengths.view());
  EXPECT_EQ(to_doubles(lengths), Values(6));
}

}  // namespace
}  // namespace tessera::kernels
