// Economy singular value decompositions of tall matrices, and their two stages. Tensors are made
// before the timing; the numbers are those of bench/peers/numpy_svd.py.
#include <cmath>

#include "tessera/bench/support/bench.hpp"
#include "tessera/bench/support/graphs.hpp"
#include "tessera/models/spectral_svd.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera {
namespace {

using bench::Work;

struct Size {
  int64_t pixels, bands;
};
constexpr Size sizes[] = {{10000, 100}, {21025, 200}, {100000, 100}, {300000, 200}};

double gram_flops(const Size& s) {
  return static_cast<double>(s.pixels) * static_cast<double>(s.bands * s.bands);
}

Work economy(const Size& s) {
  const Tensor x = bench::values(1, {s.pixels, s.bands});
  const auto svd = std::make_shared<models::SpectralSvd>();
  return {.run = [=] { *svd = models::spectral_svd(x); },
          .check =
              [=] {
                const double residual = models::relative_residual(x, *svd),
                             error = models::orthogonality_error(svd->u);
                TS_CHECK(residual < 1e-6 && error < 1e-5, "residual ", residual, ", orthogonality ",
                         error);
              },
          .bytes = static_cast<double>(x.numel()) * 12,  // A twice, U once
          .flops = 3 * gram_flops(s)};
}
Work basis(const Size& s) {
  const Tensor x = bench::values(1, {s.pixels, s.bands});
  return {.run = [=] { models::spectral_basis(x); },
          .bytes = static_cast<double>(x.numel()) * 4,
          .flops = gram_flops(s)};
}
/// Of sensor numbers, summed exactly.
Work exact_basis(const Size& s) {
  const Tensor x = Tensor::empty({s.pixels, s.bands}, DType::u16, Device::cpu());
  const Tensor from = bench::values(1, {s.pixels, s.bands});
  for (int64_t i = 0; i < x.numel(); ++i)
    static_cast<uint16_t*>(x.data())[i] =
        static_cast<uint16_t>(32768 + 30000 * static_cast<const float*>(from.data())[i]);
  return {.run = [=] { models::spectral_basis(x); },
          .bytes = static_cast<double>(x.numel()) * 2,
          .flops = gram_flops(s)};
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  for (const Size& s : sizes) {
    const std::string size = std::to_string(s.pixels) + "x" + std::to_string(s.bands);
    bench::add({.name = "svd/economy", .size = size, .prepare = [&s] { return economy(s); }});
    bench::add({.name = "svd/basis", .size = size, .prepare = [&s] { return basis(s); }});
    bench::add({.name = "svd/basis", .size = size, .dtype = "u16", .prepare = [&s] {
                  return exact_basis(s);
                }});
  }
  return bench::main(argc, argv);
}
