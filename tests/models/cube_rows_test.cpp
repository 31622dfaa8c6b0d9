#include "tessera/models/data/cube_rows.hpp"

#include <gtest/gtest.h>

#include "tessera/models/data/cube.hpp"
#include "tessera/runtime/io/envi.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::models {
namespace {

using test::expect_error;
using test::TemporaryFolder;

TEST(CubeRows, GivesTheWholeInParts) {
  const TemporaryFolder folder;
  std::vector<double> numbers;
  for (int i = 0; i < 60; ++i) numbers.push_back(i / 4 == 4 ? -7 : i);  // a pixel without data
  const Tensor image = test::from_doubles(numbers, {5, 3, 4}, DType::i32);
  for (const Interleave interleave : {Interleave::bip, Interleave::bil, Interleave::bsq})
    for (const std::endian order : {std::endian::little, std::endian::big}) {
      EnviHeader header{.type = StoredType::i16, .interleave = interleave, .byte_order = order};
      header.ignore_value = -7;
      save_envi(folder / "x", image, header);
      const CubeRows rows(folder / "x.hdr");
      const Cube whole = load_cube(folder / "x");
      EXPECT_EQ(rows.rows(), 5);
      EXPECT_EQ(rows.columns(), 3);
      EXPECT_EQ(rows.bands(), 4);
      for (const int64_t first : {0, 1, 4}) {
        const int64_t count = std::min<int64_t>(2, 5 - first);
        const Tensor part = rows.values(first, count), valid = rows.valid(part);
        EXPECT_EQ(part.values<int16_t>(), whole.values.narrow(0, first, count).values<int16_t>());
        EXPECT_EQ(valid.defined(), first == 1 || first == 0);
        if (valid.defined()) {
          EXPECT_EQ(test::to_doubles(valid),
                    test::to_doubles(whole.valid.narrow(0, first, count).clone()));
        }
      }
      EXPECT_THROW(rows.values(4, 2), Error);
    }
  save_npy(folder / "a.npy", image);
  const CubeRows rows(folder / "a.npy");
  EXPECT_EQ(test::to_doubles(rows.values(1, 3)), test::to_doubles(image.narrow(0, 1, 3).clone()));
  EXPECT_THROW(rows.values(-1, 2), Error);
  save_npy(folder / "flat.npy", image.select(2, 0).clone());
  expect_error([&] { CubeRows(folder / "flat.npy"); }, {"flat.npy", "[5, 3]"});
  expect_error([&] { CubeRows(folder / "b.mat"); }, {"b.mat", "as a whole only"});
  std::filesystem::resize_file(folder / "x", 50);
  expect_error([&] { CubeRows(folder / "x"); }, {"x", "120 bytes", "50"});
  std::filesystem::resize_file(folder / "a.npy", 300);
  expect_error([&] { CubeRows(folder / "a.npy"); }, {"a.npy", "the array"});
  const Tensor nan = test::from_doubles({1, 2, test::nan, 4, 5, 6}, {3, 1, 2}, DType::f32);
  EXPECT_EQ(test::to_doubles(rows.valid(nan)), (std::vector<double>{1, 0, 1}));
}

}  // namespace
}  // namespace tessera::models
