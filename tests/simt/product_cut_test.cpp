#include <gtest/gtest.h>

#include <string>

#include "tessera/kernels/cuda/gemm_block.cuh"

namespace tessera::kernels::cuda {
namespace {

TEST(ProductCut, NamesTheOperationThatIsTooLarge) {
  const int64_t huge = int64_t{1} << 30;
  try {
    const ProductCut cut("conv_weight_gradient", huge, huge, 3, 1, 64);
    ADD_FAILURE() << cut.blocks() << " blocks";
  } catch (const Error& error) {
    EXPECT_EQ(error.kind(), ErrorKind::invalid_argument);
    EXPECT_NE(std::string(error.what()).find("conv_weight_gradient: 3 products of 1073741824 x "),
              std::string::npos)
        << error.what();
  }
}

TEST(ProductCut, PartsCoverTheDepthOnce) {
  for (const int64_t depth : {1, 7, 8, 100, 4096})
    for (const int64_t extent : {1, 64, 200, 5000}) {
      const ProductCut cut("gemm", extent, extent, 2, depth, 64);
      EXPECT_EQ(cut.size, 2 * extent * extent);
      const int64_t tiles = cut.row_tiles * cut.column_tiles;
      ASSERT_EQ(cut.blocks(), tiles * cut.parts * 2);
      for (int64_t batch = 0; batch < 2; ++batch) {
        int64_t next = 0;
        for (int64_t part = 0; part < cut.parts; ++part) {
          const BlockPlace place(cut, (batch * cut.parts + part) * tiles);
          EXPECT_EQ(place.batch, batch);
          EXPECT_EQ(place.part, part);
          EXPECT_EQ(place.begin, next);
          EXPECT_GT(place.count, 0);
          next += place.count;
        }
        EXPECT_EQ(next, depth);
      }
    }
}

}  // namespace
}  // namespace tessera::kernels::cuda
