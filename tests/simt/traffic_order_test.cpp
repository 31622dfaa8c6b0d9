// How sorting, scans, counting and quantisation fall on memory.
#include "tessera/kernels/quantize.hpp"
#include "tessera/kernels/random.hpp"
#include "tessera/kernels/sort.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/tests/simt/traffic.hpp"

namespace tessera::kernels {
namespace {

using test::Pinned;
using test::Traffic;

const Pinned pinned{
    // radix_sort.cu, sort.cu: items go where their keys send them
    {"64 rows of 64, sort short rows", {1.496}},
    {"f32, sort count_digits", {1.176, 2.451}},
    {"f32, sort fetch_items", {2.737}},
    {"f32, sort move_items", {1.305, 1.766}},
    {"f64, sort count_digits", {1.412, 2.112}},
    {"f64, sort fetch_items", {1.997}},
    {"f64, sort move_items", {1.308, 1.446}},
    {"permutation, sort count_digits", {1.176, 2.711}},
    {"permutation, sort move_items", {1.376, 1.713}},
    {"u8, sort count_digits", {1.176}},
    {"u8, sort move_items", {1.045}},
    {"unique, sort count_digits", {1.059, 1.357}},
    {"unique, sort move_items", {1.077, 1.226}},
    {"unique, unique count_distinct", {1.010}},
    {"unique, unique mark_first", {1.083}},
    {"unique, unique write_distinct", {2.138}},
    // quantize.cu: sorted, then picked, an entry per thread
    {"f16, scales [1, 1], sort count_digits", {1.059, 2.990}},
    {"f16, scales [1, 1], sort fetch_items", {3.297}},
    {"f16, scales [1, 1], sort move_items", {1.147, 1.714}},
    {"f16, scales [64, 1], quantile_range pick", {6.000}},
    {"f16, scales [64, 1], sort short rows", {1.876}},
    {"f16, scales [64, 4], quantile_range pick", {6.000}},
    {"f32, scales [1, 1], sort count_digits", {1.059, 2.444}},
    {"f32, scales [1, 1], sort fetch_items", {3.298}},
    {"f32, scales [1, 1], sort move_items", {1.266, 1.766}},
    {"f32, scales [64, 1], quantile_range pick", {6.000}},
    {"f32, scales [64, 1], sort short rows", {1.875}},
    {"f32, scales [64, 4], quantile_range pick", {6.000}},
};

class SortTraffic : public Traffic {};

TEST_F(SortTraffic, LongRows) {
  for (DType dtype : {DType::u8, DType::f32, DType::f64}) {
    const Tensor x = numbers({1 << 14}, dtype), y = empty(x.shape(), dtype),
                 index = empty(x.shape(), DType::i32);
    expect_ideal(
        concat(dtype), [&](Stream& s) { sort(s, x.view(), y.view(), index.view()); }, pinned);
  }
}

TEST_F(SortTraffic, ShortRows) {
  const Tensor x = numbers({64, 64}, DType::f32), y = empty(x.shape(), DType::f32),
               index = empty(x.shape(), DType::i32);
  expect_ideal(
      "64 rows of 64", [&](Stream& s) { sort(s, x.view(), y.view(), index.view()); }, pinned);
}

TEST_F(SortTraffic, Scan) {
  for (DType dtype : {DType::i32, DType::f32, DType::f64})
    for (const Shape& shape : {Shape{1 << 14}, Shape{256, 256}}) {
      const Tensor x = numbers(shape, dtype), y = empty(shape, dtype);
      expect_ideal(
          concat(dtype, shape), [&](Stream& s) { scan(s, x.view(), y.view()); }, pinned);
    }
}

TEST_F(SortTraffic, Unique) {
  const Tensor x = test::integers({1 << 13}, DType::i32, 1, 50).to(Device::simt()),
               values = empty(x.shape(), DType::i32), inverse = empty(x.shape(), DType::i64),
               counts = empty(x.shape(), DType::i64), count = empty({1}, DType::i64);
  expect_ideal(
      "unique",
      [&](Stream& s) {
        unique(s, x.view(), values.view(), inverse.view(), counts.view(), count.view());
      },
      pinned);
}

TEST_F(SortTraffic, Permutation) {
  const Tensor y = empty({1 << 13}, DType::i64);
  expect_ideal(
      "permutation",
      [&](Stream& s) {
        permutation(s, {7, 0}, y.view());
      },
      pinned);
}

class QuantizeTraffic : public Traffic {};

TEST_F(QuantizeTraffic, EveryGrid) {
  for (DType dtype : {DType::f16, DType::f32})
    for (const Shape& grid : {Shape{1, 1}, Shape{64, 1}, Shape{64, 4}}) {
      const Tensor x = numbers({64, 128}, dtype), y = empty(x.shape(), dtype),
                   code = empty(x.shape(), DType::i8), inside = empty(x.shape(), DType::bool_),
                   slope = empty(x.shape(), dtype), low = empty(grid, DType::f32),
                   high = empty(grid, DType::f32), scale = empty(grid, DType::f32),
                   zero = empty(grid, DType::f32);
      const std::string what = concat(dtype, ", scales ", grid);
      expect_ideal(
          what,
          [&](Stream& s) {
            quantize_range(s, x.view(), low.view(), high.view());
            fit_range(s, low.view(), high.view(), scale.view(), zero.view(), {});
            quantize(s, x.view(), scale.view(), zero.view(), code.view(), {});
            dequantize(s, code.view(), scale.view(), zero.view(), y.view());
            fake_quantize(s, x.view(), scale.view(), zero.view(), y.view(), inside.view(),
                          slope.view(), {});
            quantile_range(s, x.view(), 0.99, low.view(), high.view());
          },
          pinned);
    }
}

TEST_F(QuantizeTraffic, PairsOfCodes) {
  const Tensor code = test::integers({64, 128}, DType::i8, 1).to(Device::simt()),
               bytes = empty({64, 64}, DType::u8);
  expect_ideal(
      "pack", [&](Stream& s) { pack_int4(s, code.view(), bytes.view()); }, pinned);
  expect_ideal(
      "unpack", [&](Stream& s) { unpack_int4(s, bytes.view(), code.view()); }, pinned);
}

}  // namespace
}  // namespace tessera::kernels
