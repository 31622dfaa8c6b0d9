// How Gram matrices and projections of cubes fall on memory: each pixel read once, no waits for
// banks, and products on the tensor cores alone.
#include "tessera/kernels/linalg.hpp"
#include "tessera/tests/simt/traffic.hpp"

namespace tessera::kernels {
namespace {

using test::Pinned;
using test::Traffic;

const Pinned pinned{
    // gram_join.cu: an odd number of bands
    {"f32 [4, 64, 103] by pixel, gram join", {1.089}},
    {"u16 [4, 64, 103] by pixel, gram join", {1.089}},
    {"u16 [4, 64, 103] by pixel, exact, gram join", {1.122}},
    // project.cu: lines that begin within a sector
    {"f32 [4, 64, 103] by pixel, project, project", {1.143}},
    {"u16 [4, 64, 103] by pixel, project, project", {1.206}},
    {"u16 [4, 64, 200] by pixel, project, project", {1.113}},
};

class CubeTraffic : public Traffic {
 protected:
  static constexpr int64_t rows = 4, columns = 64;
  struct Case {
    std::string what;
    Tensor x;
    int64_t bands;
  };
  static Tensor pixels(const Shape& shape, DType dtype) {
    if (dtype != DType::u16) return numbers(shape, dtype);
    return Tensor::from(std::vector<uint16_t>(test::at(shape.numel()), 12345), shape,
                        Device::simt());
  }
  /// Interleaved by pixel, by line, by band; one block, and clusters of two to eight.
  static std::vector<Case> cases() {
    std::vector<Case> list;
    for (const DType dtype : {DType::f32, DType::f64, DType::u16})
      for (const int64_t n : {64, 103, 200, 400}) {
        if (dtype == DType::f64 && (n == 400 || n == 103)) continue;
        const std::string what = concat(dtype, " ", Shape{rows, columns, n});
        list.push_back({what + " by pixel", pixels({rows, columns, n}, dtype), n});
        if (n == 400 || n == 103) continue;
        list.push_back(
            {what + " by line", pixels({rows, n, columns}, dtype).permute({0, 2, 1}), n});
        list.push_back(
            {what + " by band", pixels({n, rows, columns}, dtype).permute({1, 2, 0}), n});
      }
    return list;
  }
  /// Each sector of the cube and of the partial triangles is touched once, by one block; the
  /// triangle costs `products` times 2 operations per pixel, and at most a tenth on top.
  template <class Run>
  static void expect_once(const std::string& what, const char* kernel, double products, Run&& run) {
    const auto counters = count(run);
    ASSERT_TRUE(counters.contains(kernel)) << what;
    const KernelCounters& c = counters.at(kernel);
    EXPECT_EQ(c.global_sectors, c.unique_sectors) << what;
    EXPECT_EQ(c.global_sectors, c.ideal_sectors) << what;
    const double ratio =
        static_cast<double>(c.tensor_operations) / (2.0 * rows * columns * products);
    EXPECT_GE(ratio, 1) << what;
    EXPECT_LE(ratio, 1.12) << what;
  }
};

TEST_F(CubeTraffic, GramReadsEachPixelOnce) {
  for (const auto& [what, x, n] : cases()) {
    const double triangle = static_cast<double>(n * (n + 8)) / 2;
    const Tensor g = empty({n, n}, DType::f64), sums = empty({n}, DType::f64);
    const auto run = [&](Stream& s) { gram(s, x.view(), g.view(), sums.view()); };
    expect_ideal(what, run, pinned);
    expect_once(what, "gram slabs", triangle, run);
    if (x.dtype() != DType::u16) continue;
    const Tensor exact = empty({n, n}, DType::i64);
    const auto run_exact = [&](Stream& s) { gram(s, x.view(), exact.view()); };
    expect_ideal(what + ", exact", run_exact, pinned);
    expect_once(what + ", exact", "gram bytes", 4 * triangle, run_exact);
  }
}

TEST_F(CubeTraffic, Project) {
  for (const auto& [what, x, n] : cases()) {
    const Tensor basis = numbers({n, 16}, DType::f64);
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Tensor y = empty({rows, columns, 16}, dtype),
                   images = empty({16, rows, columns}, dtype).permute({1, 2, 0});
      if (dtype == DType::f32)
        expect_ideal(
            what + ", project", [&](Stream& s) { project(s, x.view(), basis.view(), y.view()); },
            pinned);
      else
        expect_ideal(
            what + ", project",
            [&](Stream& s) { project(s, x.view(), basis.view(), images.view()); }, pinned);
    }
    const Tensor lengths = empty({rows, columns}, DType::f64);
    expect_ideal(
        what + ", project", [&](Stream& s) { project(s, x.view(), basis.view(), lengths.view()); },
        pinned);
  }
}

}  // namespace
}  // namespace tessera::kernels
