// Sums of the partial triangles of a Gram matrix: each partial once, g once. A block has a tile of
// the triangle and writes it twice, the second time across shared memory. Where the number of bands
// is odd, lines of g begin within a sector: 1.09 to 1.12 of the ideal ones.
#include "tessera/kernels/cuda/gram.cuh"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t edge = 16, join_threads = edge * edge;

template <class T, class G>
__global__ void __launch_bounds__(join_threads, 4)
    join_triangles(GramPartials<T> from, int64_t ranges, int64_t n, G* g, bool accumulate) {
  struct Shared {
    T tile[edge][edge + 1];
  };
  Shared& shared = static_shared<Shared>();
  int64_t first_row = block_index().x, first_column = 0;  // tiles of the triangle, column by column
  while (first_row > first_column) first_row -= ++first_column;
  first_row *= edge;
  first_column *= edge;
  const uint32_t i = thread_index().x / edge, j = thread_index().x % edge;
  const int64_t row = first_row + i, column = first_column + j;
  T sum = 0;
  if (row < n && column < from.pitch)
#pragma unroll 4
    for (int64_t r = 0; r < ranges; ++r) sum += from.row(r, row)[column];
  shared.tile[i][j] = sum;
  sync_block();
  const auto put = [&](int64_t at_row, int64_t at_column, T value) {
    if (at_row >= n || at_column >= n) return;
    G& to = g[at_row * n + at_column];
    to = static_cast<G>(accumulate ? static_cast<T>(to) + value : value);
  };
  const T across = shared.tile[j][i];
  if (first_row == first_column) return put(row, column, i <= j ? sum : across);
  put(row, column, sum);
  put(first_column + i, first_row + j, across);
}

template <class T>
__global__ void __launch_bounds__(join_threads, 4)
    join_sums(GramPartials<T> from, int64_t ranges, int64_t n, T* sums, bool accumulate) {
  for (int64_t i = first_element(); i < n; i += element_step()) {
    T sum = 0;
    for (int64_t r = 0; r < ranges; ++r) sum += from.sums(r)[i];
    sums[i] = accumulate ? sums[i] + sum : sum;
  }
}

}  // namespace

template <class T>
void join_gram(Stream& stream, const GramPartials<T>& partials, int64_t ranges,
               const GramOut& out) {
  const int64_t n = out.g.shape[0], tiles = ceil_divide(n, edge);
  const auto join = [&]<class G>() {
    launch(stream, {"gram join", {static_cast<uint32_t>(tiles * (tiles + 1) / 2)}, {join_threads}},
           join_triangles<T, G>, partials, ranges, n, out.g.as<G>(), out.accumulate);
  };
  if (out.g.dtype == DType::f32)
    join.template operator()<float>();
  else
    join.template operator()<T>();
  if (out.sums)
    launch(stream, {"gram join sums", {blocks_for(n, join_threads)}, {join_threads}}, join_sums<T>,
           partials, ranges, n, out.sums.as<T>(), out.accumulate);
}
template void join_gram(Stream&, const GramPartials<double>&, int64_t, const GramOut&);
template void join_gram(Stream&, const GramPartials<int64_t>&, int64_t, const GramOut&);

}  // namespace tessera::kernels::cuda
