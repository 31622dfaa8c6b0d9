// Mistakes with matrices that the interpreter must find.
#include "tessera/kernels/cuda/ptx_tensor.cuh"
#include "tessera/tests/simt/failure.hpp"

namespace tessera::kernels::cuda {
namespace {

struct alignas(16) Tile {
  uint16_t halves[64];
};

__global__ void odd_row(uint32_t* out) {
  uint32_t r[1];
  load_matrices(r, dynamic_shared<Tile>().halves + 4);
  out[lane_index()] = r[0];
}
__global__ void row_elsewhere(uint32_t* out) {
  uint32_t r[2];
  load_matrices(r, lane_index() == 9 ? static_cast<const void*>(out) : &dynamic_shared<Tile>());
  out[lane_index()] = r[0];
}
__global__ void half_a_warp(float* out) {
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (lane_index() < 16) mma_m16n8k16<f16>(d, a, b);
  out[lane_index()] = d[0];
}
__global__ void two_products(float* out) {
  float d[4] = {};
  const uint32_t a[4] = {}, b[2] = {};
  if (lane_index() < 16)
    mma_m16n8k16<f16>(d, a, b);
  else
    mma_m16n8k8_tf32(d, a, b);
  out[lane_index()] = d[0];
}

TEST(Tensor, ReportsMisuse) {
  std::vector<uint32_t> words(64);
  std::vector<float> sums(64);
  expect_contains(failure({"odd_row", {1}, {32}, sizeof(Tile)}, odd_row, words.data()),
                  {"load_matrices", "multiple of 16", "odd_row", "tensor_test.cpp:"});
  expect_contains(failure({"row_elsewhere", {1}, {32}, sizeof(Tile)}, row_elsewhere, words.data()),
                  {"load_matrices", "not in the block's shared memory", "thread (9, 0, 0)"});
  expect_contains(failure({"half_a_warp", {1}, {32}}, half_a_warp, sums.data()),
                  {"exit", "mma_m16n8k16"});
  expect_contains(failure({"two_products", {1}, {32}}, two_products, sums.data()),
                  {"mma_m16n8k16", "mma_m16n8k8_tf32"});
}

}  // namespace
}  // namespace tessera::kernels::cuda
