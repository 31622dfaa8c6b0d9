// Matrices of 8 x 8 halves between shared memory and registers.
#include "tessera/kernels/cuda/ptx_tensor.cuh"
#include "tessera/tests/conformance/conformance.hpp"

namespace tessera::conformance {
namespace {

// 32 rows of 8 halves, 24 halves apart; rows[i] says which of them lane i names.
constexpr int row_pitch = 24;
struct Rows {
  uint16_t halves[32 * row_pitch];
};

template <int count, bool transposed>
__global__ void load(const uint16_t* in, const uint32_t* rows, uint32_t* out) {
  Rows& shared = dynamic_shared<Rows>();
  const uint32_t lane = lane_index();
  for (int i = 0; i < row_pitch; ++i)
    shared.halves[lane * row_pitch + i] = in[lane * row_pitch + i];
  sync_warp();
  uint32_t r[count];
  const uint16_t* row = shared.halves + rows[lane] * row_pitch;
  if (transposed)
    load_matrices_transposed(r, row);
  else
    load_matrices(r, row);
  for (int i = 0; i < count; ++i) out[lane * count + i] = r[i];
}

template <int count, bool transposed>
__global__ void store(const uint32_t* in, const uint32_t* rows, uint16_t* out) {
  Rows& shared = dynamic_shared<Rows>();
  const uint32_t lane = lane_index();
  for (int i = 0; i < row_pitch; ++i) shared.halves[lane * row_pitch + i] = 0;
  sync_warp();
  uint32_t r[count];
  for (int i = 0; i < count; ++i) r[i] = in[lane * count + i];
  uint16_t* row = shared.halves + rows[lane] * row_pitch;
  if (transposed)
    store_matrices_transposed(row, r);
  else
    store_matrices(row, r);
  sync_warp();
  for (int i = 0; i < row_pitch; ++i)
    out[lane * row_pitch + i] = shared.halves[lane * row_pitch + i];
}

std::vector<uint32_t> some_rows(uint64_t seed) {
  Bits next(seed);
  std::vector<uint32_t> rows(32);
  for (uint32_t i = 0; i < 32; ++i) rows[i] = i;
  for (uint32_t i = 32; i > 1; --i) std::swap(rows[i - 1], rows[next.below(i)]);
  return rows;
}

// The half that lane `lane` holds in half `i` of register `matrix`.
size_t place(const std::vector<uint32_t>& rows, size_t matrix, size_t lane, size_t i,
             bool transposed) {
  const size_t row = transposed ? lane % 4 * 2 + i : lane / 4;
  const size_t column = transposed ? lane / 4 : lane % 4 * 2 + i;
  return rows[matrix * 8 + row] * row_pitch + column;
}

template <int count, bool transposed>
void check_load() {
  const std::vector<uint32_t> rows = some_rows(count);
  Bits next(11);
  std::vector<uint16_t> in(32 * row_pitch);
  for (uint16_t& x : in) x = static_cast<uint16_t>(next());
  const std::string name = concat("load_matrices_", count, transposed ? "_transposed" : "");
  for_schedules([&] {
    const Buffer<uint16_t> data(in);
    const Buffer<uint32_t> which(rows), out(32 * count);
    launch(stream(), {"load", {1}, {32}, sizeof(Rows)}, load<count, transposed>, data.data(),
           which.data(), out.data());
    const std::vector<uint32_t> got = out.values();
    for (size_t lane = 0; lane < 32; ++lane)
      for (size_t matrix = 0; matrix < count; ++matrix)
        for (size_t i = 0; i < 2; ++i)
          EXPECT_EQ(got[lane * count + matrix] >> (16 * i) & 0xffff,
                    in[place(rows, matrix, lane, i, transposed)])
              << name << " lane " << lane;
    check_recorded(name, got);
  });
}

template <int count, bool transposed>
void check_store() {
  const std::vector<uint32_t> rows = some_rows(count + 20);
  Bits next(12);
  std::vector<uint32_t> in(32 * count);
  for (uint32_t& x : in) x = next();
  const std::string name = concat("store_matrices_", count, transposed ? "_transposed" : "");
  for_schedules([&] {
    const Buffer<uint32_t> data(in), which(rows);
    const Buffer<uint16_t> out(32 * row_pitch);
    launch(stream(), {"store", {1}, {32}, sizeof(Rows)}, store<count, transposed>, data.data(),
           which.data(), out.data());
    std::vector<uint16_t> wanted(32 * row_pitch, 0);
    for (size_t lane = 0; lane < 32; ++lane)
      for (size_t matrix = 0; matrix < count; ++matrix)
        for (size_t i = 0; i < 2; ++i)
          wanted[place(rows, matrix, lane, i, transposed)] =
              static_cast<uint16_t>(in[lane * count + matrix] >> (16 * i));
    EXPECT_EQ(out.values(), wanted) << name;
    check_recorded(name, wanted);
  });
}

TEST(Matrices, Load) {
  check_load<1, false>();
  check_load<2, false>();
  check_load<4, false>();
}
TEST(Matrices, LoadTransposed) {
  check_load<1, true>();
  check_load<2, true>();
  check_load<4, true>();
}
TEST(Matrices, Store) {
  check_store<1, false>();
  check_store<2, false>();
  check_store<4, false>();
}
TEST(Matrices, StoreTransposed) {
  check_store<1, true>();
  check_store<2, true>();
  check_store<4, true>();
}

}  // namespace
}  // namespace tessera::conformance
