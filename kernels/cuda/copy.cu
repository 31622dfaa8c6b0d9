// Copies, conversions and fills. Floor: x and y once. A copy between orders of dimensions goes
// through tiles in shared memory, so that both sides are touched in whole sectors; every other one
// reads and writes in the order of y, in packs where both are dense. Nothing is summed.
#include "tessera/kernels/copy.hpp"

#include <cstring>

#include "tessera/kernels/conversion.hpp"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/elements.cuh"
#include "tessera/kernels/elementwise_operands.hpp"

namespace tessera::kernels::cuda {
namespace {

template <class S, class D>
struct Convert {
  TS_DEVICE compute_t<D> operator()(compute_t<S> x) const {
    using From = compute_t<S>;
    if constexpr (is_half(dtype_of<D>) && wider_than_float<From>)
      return rounded_to_odd(x);
    else
      return converted<From, compute_t<D>>(x);
  }
};
template <class S, class D>
__global__ void __launch_bounds__(element_threads) convert_elements(Elements e) {
  map_elements<D, S>(e, Convert<S, D>{});
}

/// The bits as they are.
template <class U>
__global__ void __launch_bounds__(element_threads) copy_elements(Elements e) {
  map_elements<U, U>(e, [](U x) { return x; });
}

template <class U>
__global__ void __launch_bounds__(element_threads) fill_elements(Elements e, uint64_t bits) {
  map_elements<U>(e, [=] { return static_cast<U>(bits); });
}

// ---------------------------------------------------------------- transposes

/// Two dimensions that change places, and the others: columns are neighbours in y, rows in x.
struct Transpose {
  int64_t rows, columns, x_stride, y_stride;  // x_stride from column to column
  int64_t row_tiles, tiles;                   // of one plane
  Elements planes;                            // first elements, x and y
};

constexpr int64_t lanes = 32, lines = element_threads / lanes;
/// A side of a tile: at least a warp of elements and a sector of memory.
template <class U>
constexpr int64_t tile_side = sizeof(U) >= 4 ? 32 : 64;
/// Rows end in what makes them an odd number of banks, so that columns lie in different ones.
template <class U>
struct Tile {
  U at[tile_side<U>][tile_side<U> + (sizeof(U) < 4 ? 4 / sizeof(U) : 1)];
};

/// A block per tile: lanes run along x when it is read and along y when it is written.
template <class U>
__global__ void __launch_bounds__(element_threads) transpose_tiles(Transpose t) {
  constexpr int64_t side = tile_side<U>;
  Tile<U>& tile = static_shared<Tile<U>>();
  const int64_t lane = thread_index().x % lanes, line = thread_index().x / lanes;
  for (int64_t number = block_index().x; number < t.tiles * t.planes.size;
       number += grid_size().x) {
    const int64_t row = number % t.tiles % t.row_tiles * side,
                  column = number % t.tiles / t.row_tiles * side;
    const int64_t rows = t.rows - row < side ? t.rows - row : side,
                  columns = t.columns - column < side ? t.columns - column : side;
    int64_t at[2];
    t.planes.locate(static_cast<uint32_t>(number / t.tiles), at);
    const U* x = t.planes.as<const U>(0) + at[0] + row + column * t.x_stride;
    U* y = t.planes.as<U>(1) + at[1] + row * t.y_stride + column;
    for (int64_t c = line; c < columns; c += lines)
      for (int64_t r = lane; r < rows; r += lanes)
        tile.at[c][r] = load_streaming(x + c * t.x_stride + r);
    sync_block();
    for (int64_t r = line; r < rows; r += lines)
      for (int64_t c = lane; c < columns; c += lanes) y[r * t.y_stride + c] = tile.at[c][r];
    sync_block();
  }
}

/// The extents and strides of operand k without the dimensions `row` and `column`.
View without(const StridedSpace& space, int k, int row, int column, const View& operand) {
  View rest{.data = operand.data, .dtype = operand.dtype};
  for (int d = 0; d < space.rank; ++d) {
    if (d == row || d == column) continue;
    rest.shape[rest.rank] = space.extent[d];
    rest.stride[rest.rank++] = space.stride[k][d];
  }
  return rest;
}

/// False, and nothing done, where x is not nearest along another dimension than y is.
bool transpose(Stream& stream, const View& x, const View& y) {
  constexpr int64_t least = 16;  // extents from which a tile pays
  const StridedSpace space({&x, 1}, y);
  const int column = space.rank - 1;
  int row = 0;
  while (row < column && space.stride[0][row] != 1) ++row;
  if (row >= column || space.stride[0][column] == 0 || space.stride[1][column] != 1 ||
      space.extent[row] < least || space.extent[column] < least)
    return false;
  const View x_planes = without(space, 0, row, column, x),
             y_planes = without(space, 1, row, column, y);
  for_bits(y.dtype, [&]<class U>() {
    const int64_t row_tiles = ceil_divide(space.extent[row], tile_side<U>),
                  tiles = row_tiles * ceil_divide(space.extent[column], tile_side<U>);
    for (const Elements& planes : cut_elements({&x_planes, 1}, y_planes, 1)) {
      const Transpose t{space.extent[row],
                        space.extent[column],
                        space.stride[0][column],
                        space.stride[1][row],
                        row_tiles,
                        tiles,
                        planes};
      launch(stream, {"transpose", {blocks_for(tiles * planes.size, 1)}, {element_threads}},
             transpose_tiles<U>, t);
    }
  });
  return true;
}

// ---------------------------------------------------------------- the table

void copy(Stream& stream, View x, View y) {
  check_copy(x, y);
  if (y.numel() == 0) return;
  if (x.dtype != y.dtype)
    return for_any(x.dtype, [&]<class S>() {
      for_any(y.dtype, [&]<class D>() {
        if constexpr (!std::is_same_v<S, D>)
          launch_elements(stream, "convert", {&x, 1}, y, pack_length<S, D>, convert_elements<S, D>);
      });
    });
  if (transpose(stream, x, y)) return;
  for_bits(y.dtype, [&]<class U>() {
    launch_elements(stream, "copy", {&x, 1}, y, pack_length<U>, copy_elements<U>);
  });
}

void fill(Stream& stream, double value, View y) {
  uint64_t bits = 0;
  for_any(y.dtype, [&]<class D>() {
    compute_t<D> element;
    if constexpr (is_half(dtype_of<D>))
      element = rounded_to_odd(value);
    else
      element = converted<double, D>(value);
    const D stored = static_cast<D>(element);
    std::memcpy(&bits, &stored, sizeof stored);
  });
  for_bits(y.dtype, [&]<class U>() {
    launch_elements(stream, "fill", {}, y, pack_length<U>, fill_elements<U>, bits);
  });
}

}  // namespace

extern const CopyKernels copy_kernels{.copy = copy, .fill = fill};

}  // namespace tessera::kernels::cuda
