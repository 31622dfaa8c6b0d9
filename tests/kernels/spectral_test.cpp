#include <gtest/gtest.h>

#include "tessera/kernels/linalg.hpp"
#include "tessera/kernels/linalg_operands.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/matrices.hpp"
#include "tessera/tests/support/target.hpp"

/// `gram` and `project` of every instruction set level against naive sums.
namespace tessera::kernels {
namespace {

using test::at;
using test::Plain;
using test::to_doubles;
using test::Values;

constexpr DType pixel_dtypes[] = {DType::f64,  DType::f32, DType::f16,
                                  DType::bf16, DType::i16, DType::u16};

/// Extents of a cube and the order in which its dimensions lie in memory, the outermost first.
struct Layout {
  const char* name;
  Shape shape;  // [rows, columns, bands] or [pixels, bands]
  Shape order;
};
const Layout layouts[] = {
    {"by pixel", {11, 17, 21}, {0, 1, 2}}, {"by line", {11, 17, 21}, {0, 2, 1}},
    {"by band", {11, 17, 21}, {2, 0, 1}},  {"reversed", {5, 29, 13}, {2, 1, 0}},
    {"matrix", {300, 33}, {0, 1}},         {"transposed matrix", {300, 33}, {1, 0}},
    {"one band", {40, 1}, {0, 1}},         {"one pixel", {1, 9}, {0, 1}},
};

template <class T, class V>
Tensor stored(const std::vector<V>& values, const Shape& shape) {
  const Tensor t = Tensor::empty(shape, dtype_of<T>, Device::cpu());
  for (size_t i = 0; i < values.size(); ++i) {
    if constexpr (is_half(dtype_of<T>))
      static_cast<T*>(t.data())[i] = T(static_cast<float>(values[i]));
    else
      static_cast<T*>(t.data())[i] = static_cast<T>(values[i]);
  }
  return t;
}

/// The tensor's elements in another order in memory.
Tensor laid_out(const Tensor& t, const Layout& layout) {
  Shape back = layout.order;
  for (int d = 0; d < back.rank(); ++d) back[static_cast<int>(layout.order[d])] = d;
  return t.permute(layout.order).clone().permute(back);
}

struct Problem {
  Tensor x;
  Plain rows{0, 0};  // the same, [pixels, bands]
  Tensor shift, valid;
  Plain used{0, 0};  // shifted, zero where not valid

  Problem(const Layout& layout, DType dtype, bool shifted, bool masked, uint64_t seed) {
    const Shape shape = layout.shape;
    const int64_t n = shape[shape.rank() - 1], m = shape.numel() / n;
    test::Numbers next(seed);
    Values values(at(m * n)), centre(at(n));
    for (double& v : values) v = static_cast<double>(next() % 997) / (is_float(dtype) ? 512 : 1);
    for (double& v : centre) v = static_cast<double>(next() % 64) / 8;
    for_pixel(dtype, "test", [&]<class T>() {
      Tensor t = stored<T>(values, shape);
      for (int64_t i = 0; i < m * n; ++i)
        values[at(i)] = static_cast<double>(static_cast<T*>(t.data())[i]);
      rows = Plain(m, n, values);
      used = rows;
      if (shifted) {
        shift = Tensor::from(centre, {n}, Device::cpu());
        for (int64_t i = 0; i < m * n; ++i) used.v[at(i)] -= centre[at(i % n)];
      }
      if (masked) {
        Shape leading;
        for (int d = 0; d + 1 < shape.rank(); ++d) leading.push_back(shape[d]);
        valid = Tensor::empty(leading, DType::bool_, Device::cpu());
        for (int64_t r = 0; r < m; ++r) {
          const bool counts = next() % 4 != 0;
          static_cast<bool*>(valid.data())[r] = counts;
          for (int64_t j = 0; !counts && j < n; ++j) {
            used(r, j) = 0;
            if constexpr (!std::is_integral_v<T>)
              static_cast<T*>(t.data())[r * n + j] = std::numeric_limits<T>::quiet_NaN();
          }
        }
      }
      x = laid_out(t, layout);
    });
  }
  SpectralParams params() const {
    return {.shift = test::view_or_none(shift), .valid = test::view_or_none(valid)};
  }
};

Values column_sums(const Plain& x) {
  Values sums(at(x.cols));
  for (int64_t i = 0; i < x.rows * x.cols; ++i) sums[at(i % x.cols)] += x.v[at(i)];
  return sums;
}

class Spectral : public testing::TestWithParam<const Backend*> {
 protected:
  static Stream& stream() { return current_stream(Device::cpu()); }
  static void gram(View x, View g, View sums = {}, const SpectralParams& p = {}) {
    GetParam()->linalg->gram(stream(), x, g, sums, p);
  }
  static void project(View x, View basis, View y, const SpectralParams& p = {}) {
    GetParam()->linalg->project(stream(), x, basis, y, p);
  }
  static Tensor empty(const Shape& shape, DType dtype) {
    return Tensor::empty(shape, dtype, Device::cpu());
  }
  template <class Body>
  static void for_each_problem(Body&& body) {
    uint64_t seed = 1;
    for (const Layout& layout : layouts)
      for (const DType dtype : pixel_dtypes)
        for (const bool shifted : {false, true})
          for (const bool masked : {false, true}) {
            SCOPED_TRACE(concat(layout.name, " ", dtype, shifted ? " shifted" : "",
                                masked ? " masked" : ""));
            body(Problem(layout, dtype, shifted, masked, seed++));
          }
  }
};

TEST_P(Spectral, GramOfEveryDtypeAndInterleave) {
  for_each_problem([](const Problem& p) {
    const int64_t n = p.used.cols;
    const Tensor g = empty({n, n}, DType::f64), sums = empty({n}, DType::f64);
    gram(p.x.view(), g.view(), sums.view(), p.params());
    const Plain wanted = test::transpose(p.used) * p.used;
    test::expect_close(g, wanted.v, test::Tolerance{1e-13, 1e-11});
    test::expect_close(sums, column_sums(p.used), test::Tolerance{1e-13, 1e-11});
    const Plain got(n, n, to_doubles(g));
    EXPECT_EQ(got.v, test::transpose(got).v);
    if (p.x.dtype() != DType::f32) return;
    const Tensor narrow = empty({n, n}, DType::f32);
    gram(p.x.view(), narrow.view(), {}, p.params());
    test::expect_close(narrow, wanted.v, test::Tolerance{0x1p-23, 1e-11});
  });
}

TEST_P(Spectral, ProjectsEveryDtypeAndInterleave) {
  for_each_problem([](const Problem& p) {
    const int64_t n = p.used.cols;
    for (const int64_t k : {int64_t{1}, int64_t{7}, n}) {
      const Tensor basis = test::uniform({n, k}, DType::f64, 7);
      const Plain wanted = p.used * Plain(n, k, to_doubles(basis));
      Shape shape;
      for (int d = 0; d + 1 < p.x.rank(); ++d) shape.push_back(p.x.size(d));
      const Tensor lengths = empty(shape, DType::f64);
      shape.push_back(k);
      for (const DType dtype : {DType::f32, DType::f64}) {
        const Tensor y = empty(shape, dtype);
        project(p.x.view(), basis.view(), y.view(), p.params());
        test::expect_close(y, wanted.v,
                           test::Tolerance{dtype == DType::f32 ? 0x1p-23 : 1e-14, 1e-12});
        Shape by_band{k};
        for (int d = 0; d + 1 < p.x.rank(); ++d) by_band.push_back(p.x.size(d));
        const Tensor image =
            empty(by_band, dtype).permute(p.x.rank() == 3 ? Shape{1, 2, 0} : Shape{1, 0});
        project(p.x.view(), basis.view(), image.view(), p.params());
        EXPECT_EQ(to_doubles(image.clone()), to_doubles(y));
      }
      project(p.x.view(), basis.view(), lengths.view(), p.params());
      test::Values squares(at(p.used.rows));
      for (int64_t i = 0; i < wanted.rows * k; ++i)
        squares[at(i / k)] += wanted.v[at(i)] * wanted.v[at(i)];
      test::expect_close(lengths, squares, test::Tolerance{1e-13, 1e-12});
    }
  });
}

__extension__ typedef __int128 Wide;

template <class T>
std::vector<int64_t> exact_gram(const std::vector<T>& x, int64_t n) {
  std::vector<int64_t> g;
  const int64_t m = static_cast<int64_t>(x.size()) / n;
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = 0; j < n; ++j) {
      Wide sum = 0;
      for (int64_t r = 0; r < m; ++r) sum += static_cast<Wide>(x[at(r * n + i)]) * x[at(r * n + j)];
      g.push_back(static_cast<int64_t>(sum));
    }
  return g;
}

TEST_P(Spectral, IntegersAreExactInAnyOrder) {
  const auto check = [&]<class T>() {
    const int64_t rows = 37, columns = 91, n = 19;
    test::Numbers next(5);
    std::vector<T> values(at(rows * columns * n));
    for (T& v : values) {  // among them the largest magnitudes there are
      const uint32_t bits = next();
      v = bits % 5 == 0   ? std::numeric_limits<T>::min()
          : bits % 5 == 1 ? std::numeric_limits<T>::max()
                          : static_cast<T>(bits >> 8);
    }
    const auto wanted = exact_gram(values, n);
    std::vector<int64_t> wanted_sums(at(n));
    for (size_t i = 0; i < values.size(); ++i) wanted_sums[i % at(n)] += values[i];
    const Tensor x = stored<T>(values, {rows, columns, n});
    for (const Shape& order : {Shape{0, 1, 2}, Shape{0, 2, 1}, Shape{2, 0, 1}, Shape{1, 2, 0}})
      for (const int threads : {1, 2, 5}) {
        const test::Threads limit(threads);
        const Tensor g = empty({n, n}, DType::i64), sums = empty({n}, DType::i64);
        const Tensor cube = laid_out(x, {"", {rows, columns, n}, order});
        gram(cube.view(), g.view(), sums.view());
        EXPECT_EQ(g.values<int64_t>(), wanted);
        EXPECT_EQ(sums.values<int64_t>(), wanted_sums);
        // slabs of image rows, the last first
        for (const int64_t first : {30, 7, 0}) {
          const int64_t last = first == 30 ? rows : first == 7 ? 30 : 7;
          gram(cube.narrow(0, first, last - first).view(), g.view(), sums.view(),
               {.accumulate = first != 30});
        }
        EXPECT_EQ(g.values<int64_t>(), wanted);
        EXPECT_EQ(sums.values<int64_t>(), wanted_sums);
        const Tensor wide = empty({n, n}, DType::f64);  // below 2^53 here, hence exact as well
        gram(cube.view(), wide.view());
        EXPECT_EQ(to_doubles(wide), Values(wanted.begin(), wanted.end()));
      }
  };
  check.operator()<int16_t>();
  check.operator()<uint16_t>();
}

TEST_P(Spectral, ExactBeyondDouble) {
  // 65535^2 times 2^22 pixels does not fit 53 bits when the last product is odd
  const int64_t m = (int64_t{1} << 22) + 1;
  const Tensor x = stored<uint16_t>(std::vector<uint16_t>(at(m), 65535), {m, 1});
  const Tensor g = empty({1, 1}, DType::i64);
  gram(x.view(), g.view());
  EXPECT_EQ(g.values<int64_t>()[0], int64_t{65535} * 65535 * m);
}

TEST_P(Spectral, SameBitsForAnyThreadCountAndSlabsAddUp) {
  const int64_t m = 9001, n = 45;
  for (const DType dtype : {DType::f32, DType::f64}) {
    const Tensor x = test::uniform({m, n}, dtype, 3);
    Values first;
    for (const int threads : {1, 2, 3, 7}) {
      const test::Threads limit(threads);
      const Tensor g = empty({n, n}, DType::f64), sums = empty({n}, DType::f64);
      gram(x.view(), g.view(), sums.view());
      Values all = to_doubles(g), tail = to_doubles(sums);
      all.insert(all.end(), tail.begin(), tail.end());
      if (first.empty()) first = all;
      EXPECT_EQ(all, first) << threads;
      for (int64_t begin = 0; begin < m; begin += 1000)
        gram(x.narrow(0, begin, std::min<int64_t>(1000, m - begin)).view(), g.view(), sums.view(),
             {.accumulate = begin > 0});
      all = to_doubles(g), tail = to_doubles(sums);
      all.insert(all.end(), tail.begin(), tail.end());
      test::expect_close(all, first, test::Tolerance{1e-13, 1e-11});
    }
  }
  const Tensor x = test::integers({50, 4}, DType::f32, 1), g = empty({4, 4}, DType::f32);
  gram(x.view(), g.view());
  const Values once = to_doubles(g);
  gram(x.view(), g.view(), {}, {.accumulate = true});
  for (size_t i = 0; i < once.size(); ++i) EXPECT_EQ(to_doubles(g)[i], 2 * once[i]);
}

TEST_P(Spectral, EmptyCubes) {
  const auto fives = [](const Shape& shape, DType dtype) {
    return test::from_doubles(Values(at(shape.numel()), 5), shape, dtype);
  };
  const Tensor g = fives({3, 3}, DType::f64), sums = fives({3}, DType::f64);
  gram(empty({0, 3}, DType::u16).view(), g.view(), sums.view(), {.accumulate = true});
  EXPECT_EQ(to_doubles(g), Values(9, 5));
  gram(empty({4, 0, 3}, DType::f32).view(), g.view(), sums.view());
  EXPECT_EQ(to_doubles(g), Values(9));
  EXPECT_EQ(to_doubles(sums), Values(3));
  EXPECT_NO_THROW(gram(empty({5, 0}, DType::f32).view(), empty({0, 0}, DType::f64).view()));
  const Tensor y = fives({4, 2}, DType::f32);
  project(empty({4, 0}, DType::f32).view(), empty({0, 2}, DType::f64).view(), y.view());
  EXPECT_EQ(to_doubles(y), Values(8));
  EXPECT_NO_THROW(project(empty({4, 3}, DType::f32).view(), empty({3, 0}, DType::f64).view(),
                          empty({4, 0}, DType::f32).view()));
}

TEST_P(Spectral, RejectsWhatDoesNotFit) {
  const Tensor x = empty({6, 3}, DType::u16), g = empty({3, 3}, DType::f64),
               exact = empty({3, 3}, DType::i64), three = empty({3}, DType::f64);
  const auto refused = [](const auto& call, const std::string& what) {
    try {
      call();
      ADD_FAILURE() << "accepted: " << what;
    } catch (const Error& e) {
      EXPECT_NE(std::string(e.what()).find(what), std::string::npos) << e.what();
    }
  };
  refused([&] { gram(empty({3}, DType::f32).view(), g.view()); }, "gram: x must be");
  refused([&] { gram(empty({6, 3}, DType::i32).view(), g.view()); }, "gram");
  refused([&] { gram(x.view(), empty({4, 4}, DType::f64).view()); }, "g [3, 3]");
  refused([&] { gram(x.view(), empty({3, 3}, DType::f32).view()); }, "g f32");
  refused([&] { gram(empty({6, 3}, DType::f32).view(), exact.view()); }, "g i64");
  refused([&] { gram(x.view(), exact.view(), three.view()); }, "sums must be contiguous i64");
  refused([&] { gram(x.view(), exact.view(), {}, {.shift = three.view()}); }, "no shift");
  refused([&] { gram(x.view(), g.view(), {}, {.shift = empty({3}, DType::f32).view()}); }, "shift");
  refused([&] { gram(x.view(), g.view(), {}, {.valid = empty({3}, DType::bool_).view()}); },
          "valid must be contiguous bool [6]");
  refused([&] { gram(x.view(), g.transpose(0, 1).narrow(0, 0, 2).view()); }, "g [3, 3]");
  const Tensor basis = empty({3, 2}, DType::f64), y = empty({6, 2}, DType::f32);
  refused([&] { project(x.view(), empty({2, 3}, DType::f64).view(), y.view()); }, "basis [3, k]");
  refused([&] { project(x.view(), empty({3, 2}, DType::f32).view(), y.view()); }, "basis [3, k]");
  refused(
      [&] {
        project(x.view(), basis.view(), empty({6, 3}, DType::f32).view());
      },
      "expected y f32 or f64 [6, 2]");
  refused(
      [&] {
        project(x.view(), basis.view(), empty({6, 2}, DType::f16).view());
      },
      "expected y f32 or f64");
  refused([&] { project(x.view(), basis.view(), y.view(), {.accumulate = true}); }, "accumulate");
  refused([&] { project(x.view(), basis.view(), empty({6}, DType::f32).view()); },
          "squared lengths [6] must be contiguous f64");
  refused([&] { project(x.view(), basis.view(), empty({5}, DType::f64).view()); },
          "or [6] for squared lengths, got f64 [5]");
}

INSTANTIATE_TEST_SUITE_P(Levels, Spectral, test::cpu_levels(), test::level_name);

}  // namespace
}  // namespace tessera::kernels
