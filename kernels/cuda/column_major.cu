// What stands between row-major operands and libraries that know matrices by columns. Floor of
// each: its operands once. Blocks share out pieces of all matrices, so that one large matrix keeps
// a GPU busy as well as many small ones.
#include "tessera/kernels/cuda/column_major.hpp"

#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/linalg.cuh"

namespace tessera::kernels::cuda {
namespace {

template <class T>
Matrices<T> of(const DenseMatrices<T>& m) {
  return dense_matrices(m.data, m.count, m.rows, m.cols);
}

/// The bits of a magnitude, which are ordered as magnitudes are; infinities and NaN come last.
template <class T>
using MagnitudeBits = std::conditional_t<sizeof(T) == 4, int32_t, int64_t>;

constexpr int64_t piece = 4096;  // elements that a block looks at in one turn

template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    largest_magnitudes(Matrices<T> matrices, bool lower, MagnitudeBits<T>* largest) {
  using Bits = MagnitudeBits<T>;
  struct Shared {
    Bits warps[warp_size];
  };
  const int64_t cols = matrices.first.cols, size = matrices.first.rows * cols,
                pieces = (size + piece - 1) / piece;
  for (int64_t turn = block_index().x; turn < matrices.count * pieces; turn += grid_size().x) {
    const int64_t b = turn / pieces, begin = turn % pieces * piece,
                  end = size - begin < piece ? size : begin + piece;
    const T* const data = matrices[b].data;
    Bits most = 0;
    for (int64_t at = begin + thread_index().x; at < end; at += linalg_threads)
      if (!lower || at % cols <= at / cols)
        most = Maximum{}(most, bit_cast<Bits>(static_cast<T>(std::fabs(data[at]))));
    most = block_reduce(most, Maximum{}, static_shared<Shared>().warps);
    if (thread_index().x == 0) atomic_max(&largest[b], most);
  }
}

constexpr uint32_t copy_tile = 32;

template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    copy_tiles(Matrices<T> from, Matrices<T> to, bool transposed, const MagnitudeBits<T>* largest,
               T* factors, int32_t* status) {
  struct Shared {
    T tile[copy_tile][copy_tile + 1];
  };
  Shared& shared = static_shared<Shared>();
  const int64_t down = (from.first.rows + copy_tile - 1) / copy_tile,
                across = (from.first.cols + copy_tile - 1) / copy_tile;
  for (int64_t turn = block_index().x; turn < from.count * down * across; turn += grid_size().x) {
    const int64_t b = turn / across / down, row = turn / across % down * copy_tile,
                  col = turn % across * copy_tile;
    const Matrix<T> a = from[b], out = to[b];
    const T most = bit_cast<T>(largest[b]);
    const bool finite = most <= std::numeric_limits<T>::max(),
               unit = !finite || (factors && most == 0);
    const T factor = factors ? near_one(most) : T{1};
    if (row == 0 && col == 0 && thread_index().x == 0) {
      if (!finite) status[b] = -1;
      if (factors) factors[b] = unit ? std::numeric_limits<T>::infinity() : factor;
    }
    for (uint32_t i = warp_index(); i < copy_tile; i += linalg_warps) {
      const int64_t r = row + i, c = col + lane_index();
      if (r < a.rows && c < a.cols)
        shared.tile[i][lane_index()] = unit ? (r == c ? T{1} : T{0}) : a[r][c] * factor;
    }
    sync_block();
    for (uint32_t i = warp_index(); i < copy_tile; i += linalg_warps) {
      const int64_t r = (transposed ? col : row) + i, c = (transposed ? row : col) + lane_index();
      if (r < out.rows && c < out.cols)
        out[r][c] = transposed ? shared.tile[lane_index()][i] : shared.tile[i][lane_index()];
    }
    sync_block();
  }
}

template <class T>
__global__ void __launch_bounds__(linalg_threads, 2) sign_each(Signing<T> s) {
  const int64_t warps = element_step() / warp_size, lane = lane_index();
  for (int64_t at = first_element() / warp_size; at < s.count * s.vectors; at += warps) {
    const int64_t b = at / s.vectors, i = at % s.vectors;
    const auto begin = [&](const auto& v) { return v.data + b * v.step + i * v.between; };
    const T sign = sign_of(begin(s.left), s.length, s.left.along);
    sync_warp();  // all have seen the components that now may change
    for (int64_t j = lane; j < s.length; j += warp_size)
      begin(s.to_left)[j * s.to_left.along] = sign * begin(s.left)[j * s.left.along];
    for (int64_t j = lane; s.right.data && j < s.right_length; j += warp_size)
      begin(s.to_right)[j * s.to_right.along] = sign * begin(s.right)[j * s.right.along];
  }
}

template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    write_upper(Matrices<T> columns, Matrices<T> rs, int64_t width, T* signs) {
  const int64_t k = rs.first.rows, n = rs.first.cols, m = columns.first.cols, p = m < n ? m : n;
  const auto sign = [&](const Matrix<T>& at, int64_t i) {
    return i < p && at[i][i] < 0 ? T{-1} : T{1};
  };
  for (int64_t at = first_element(); at < rs.count * k * n; at += element_step()) {
    const int64_t b = at / n / k, i = at / n % k, j = at % n;
    rs[b][i][j] = j < i ? T{0} : sign(columns[b], i) * columns[b][j][i];
  }
  for (int64_t at = first_element(); at < rs.count * width; at += element_step())
    signs[at] = sign(columns[at / width], at % width);
}

template <class T>
__global__ void __launch_bounds__(linalg_threads, 2) clear_upper(Matrices<T> matrices) {
  const int64_t n = matrices.first.cols;
  for (int64_t at = first_element(); at < matrices.count * n * n; at += element_step())
    if (at % n > at / n % n) matrices.first.data[at] = 0;
}

/// A block per matrix.
template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    look_at_pivots(Matrices<T> matrices, const int32_t* info, int32_t* status) {
  struct Shared {
    int64_t warps[warp_size];
  };
  const Matrix<T> l = matrices[block_index().x];
  int64_t first = l.rows;
  for (int64_t i = thread_index().x; i < l.rows; i += linalg_threads)
    if (first == l.rows && !positive_and_finite(l[i][i])) first = i;
  first = block_reduce(first, Minimum{}, static_shared<Shared>().warps);
  if (thread_index().x != 0) return;
  const int32_t found = info[block_index().x];
  status[block_index().x] = found != 0       ? found
                            : first < l.rows ? static_cast<int32_t>(first + 1)
                                             : 0;
}

__global__ void __launch_bounds__(linalg_threads, 2)
    merge_infos(const int32_t* info, int64_t count, bool spectral, int32_t* status) {
  for (int64_t b = first_element(); b < count; b += element_step())
    if (status[b] == 0 && info[b] != 0) status[b] = spectral ? -1 : info[b];
}

template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    write_pointers(T* data, int64_t step, int64_t count, T** to) {
  for (int64_t b = first_element(); b < count; b += element_step()) to[b] = data + b * step;
}

/// A launch in which each thread takes one of n elements, or several.
LaunchShape each_of(const char* name, int64_t n) {
  return {name, {blocks_for(n, linalg_threads)}, {linalg_threads}};
}

}  // namespace

template <class T>
void copy_finite(Stream& stream, const Copying<T>& c, int32_t* status) {
  using Bits = MagnitudeBits<T>;
  const int64_t count = c.a.count, size = c.a.rows * c.a.cols;
  const Scratch largest = stream.scratch(static_cast<size_t>(count) * sizeof(Bits));
  copy_kernels.fill(
      stream, 0, {largest.as<Bits>(), sizeof(T) == 4 ? DType::i32 : DType::i64, 1, {count}, {1}});
  launch(stream,
         {"linalg largest_magnitudes",
          {blocks_for(count * ceil_divide(size, piece), 1)},
          {linalg_threads}},
         largest_magnitudes<T>, of(c.a), c.lower, largest.as<Bits>());
  const int64_t tiles = count * ceil_divide(c.a.rows, copy_tile) * ceil_divide(c.a.cols, copy_tile);
  launch(stream, {"linalg copy_tiles", {blocks_for(tiles, 1)}, {linalg_threads}}, copy_tiles<T>,
         of(c.a), of(c.to), c.transposed, largest.as<Bits>(), c.factors, status);
}

template <class T>
void sign_vectors(Stream& stream, const Signing<T>& s) {
  launch(stream, each_of("linalg sign_vectors", s.count * s.vectors * warp_size), sign_each<T>, s);
}

template <class T>
void take_upper(Stream& stream, const DenseMatrices<T>& at, const DenseMatrices<T>& r,
                int64_t columns, T* signs) {
  launch(stream, each_of("qr take_upper", r.count * std::max(r.rows * r.cols, columns)),
         write_upper<T>, of(at), of(r), columns, signs);
}

template <class T>
void finish_cholesky(Stream& stream, const DenseMatrices<T>& l, const int32_t* info,
                     int32_t* status) {
  launch(stream, each_of("cholesky clear_upper", l.count * l.rows * l.cols), clear_upper<T>, of(l));
  launch(stream, {"cholesky pivots", {static_cast<uint32_t>(l.count)}, {linalg_threads}},
         look_at_pivots<T>, of(l), info, status);
}

void merge_info(Stream& stream, const int32_t* info, int64_t count, bool spectral,
                int32_t* status) {
  launch(stream, each_of("linalg merge_info", count), merge_infos, info, count, spectral, status);
}

template <class T>
void list_pointers(Stream& stream, T* data, int64_t step, int64_t count, T** to) {
  launch(stream, each_of("linalg pointers", count), write_pointers<T>, data, step, count, to);
}

template void copy_finite(Stream&, const Copying<float>&, int32_t*);
template void copy_finite(Stream&, const Copying<double>&, int32_t*);
template void sign_vectors(Stream&, const Signing<float>&);
template void sign_vectors(Stream&, const Signing<double>&);
template void take_upper(Stream&, const DenseMatrices<float>&, const DenseMatrices<float>&, int64_t,
                         float*);
template void take_upper(Stream&, const DenseMatrices<double>&, const DenseMatrices<double>&,
                         int64_t, double*);
template void finish_cholesky(Stream&, const DenseMatrices<float>&, const int32_t*, int32_t*);
template void finish_cholesky(Stream&, const DenseMatrices<double>&, const int32_t*, int32_t*);
template void list_pointers(Stream&, float*, int64_t, int64_t, float**);
template void list_pointers(Stream&, double*, int64_t, int64_t, double**);

}  // namespace tessera::kernels::cuda
