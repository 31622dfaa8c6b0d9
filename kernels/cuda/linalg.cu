// Gram matrices, what is reported of matrices that failed, and the table of the family. Floor of a
// Gram matrix: x once, and 2 m n^2 / 2 operations in f64. A block takes a tile of the lower
// triangle and a slab of rows; slabs are added up in order. The sum of slabs reads the lower
// triangle for both, so its upper half comes across rows: 1.8 to 2.3 of the ideal sectors.
#include "tessera/kernels/cuda/linalg.cuh"

#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/vendor.hpp"

namespace tessera::kernels::cuda {

// ---------------------------------------------------------------- statuses

namespace {

/// Reports the first matrix whose status is not 0. One block.
__global__ void __launch_bounds__(linalg_threads, 2)
    report_first(const int32_t* status, int64_t count, Finding* finding, int32_t call) {
  struct Shared {
    int64_t warps[warp_size];
  };
  int64_t first = count;
  for (int64_t b = thread_index().x; b < count; b += linalg_threads)
    if (status[b] != 0 && first == count) first = b;
  first = block_reduce(first, Minimum{}, static_shared<Shared>().warps);
  if (thread_index().x == 0 && first < count) report(finding, call, first, status[first], 0, 1);
}

}  // namespace

Statuses::Statuses(Stream& stream, const MatrixBatch& batch, const LinalgParams& params)
    : stream_(stream),
      operation_(batch.operation()),
      count_(batch.count()),
      own_(params.status ? 0 : static_cast<size_t>(batch.count()) * sizeof(int32_t), stream),
      data_(params.status ? params.status.as<int32_t>() : own_.as<int32_t>()),
      reports_(!params.status) {
  batch.check_status(params);
  if (count_ > 0) copy_kernels.fill(stream, 0, View{data_, DType::i32, 1, {count_}, {1}});
}

void Statuses::finish(Complaint complaint) {
  if (!reports_ || count_ == 0) return;
  Faults& faults = stream_.resource<Faults>();
  const int32_t call = faults.expect([operation = operation_, complaint](const Finding& found) {
    return concat(operation, ": matrix ", found.at, " ",
                  complaint(static_cast<int32_t>(found.value)));
  });
  launch(stream_, {"linalg report_first", {1}, {linalg_threads}}, report_first, data_, count_,
         faults.finding(), call);
  faults.launched();
}

// ---------------------------------------------------------------- Gram matrices

namespace {

constexpr uint32_t gram_tile = 32, gram_rows = 32, gram_each = gram_tile / linalg_warps;

/// Tile (i, j) of the lower triangle by number, rows of tiles one after the other.
struct TriangleTile {
  int64_t i = 0, j;
  TS_DEVICE explicit TriangleTile(int64_t number) : j(number) {
    while (j > i) j -= ++i;
  }
};

/// partial [slabs, n, n], lower triangle: sums over the rows of a slab.
template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    gram_slabs(const T* x, const double* shift, int64_t m, int64_t n, int64_t slab,
               double* partial) {
  struct Shared {
    double left[gram_rows][gram_tile + 1], right[gram_rows][gram_tile + 1];
  };
  Shared& shared = static_shared<Shared>();
  const TriangleTile tile(block_index().x);
  const uint32_t lane = lane_index(), warp = warp_index();
  const int64_t begin = block_index().y * slab, end = m - begin < slab ? m : begin + slab;
  const auto load = [&](double(*to)[gram_tile + 1], int64_t first, int64_t column) {
    for (uint32_t r = warp; r < gram_rows; r += linalg_warps) {
      const int64_t row = first + r, c = column + lane;
      to[r][lane] =
          row < end && c < n ? static_cast<double>(x[row * n + c]) - (shift ? shift[c] : 0.0) : 0.0;
    }
  };
  double sums[gram_each] = {};
  for (int64_t first = begin; first < end; first += gram_rows) {
    load(shared.left, first, tile.i * gram_tile);
    load(shared.right, first, tile.j * gram_tile);
    sync_block();
#pragma unroll 8
    for (uint32_t r = 0; r < gram_rows; ++r) {
      const double right = shared.right[r][lane];
#pragma unroll
      for (uint32_t k = 0; k < gram_each; ++k)
        sums[k] = std::fma(shared.left[r][warp + k * linalg_warps], right, sums[k]);
    }
    sync_block();
  }
#pragma unroll
  for (uint32_t k = 0; k < gram_each; ++k) {
    const int64_t i = tile.i * gram_tile + warp + k * linalg_warps, j = tile.j * gram_tile + lane;
    if (i < n && j <= i) partial[(block_index().y * n + i) * n + j] = sums[k];
  }
}

/// One triangle for both, so that g is symmetric to the last bit.
template <class T>
__global__ void __launch_bounds__(linalg_threads, 2)
    join_slabs(const double* partial, int64_t n, int64_t slabs, T* g) {
  for (int64_t at = first_element(); at < n * n; at += element_step()) {
    const int64_t i = at / n, j = at % n, lower = i >= j ? at : j * n + i;
    double sum = 0;
    for (int64_t s = 0; s < slabs; ++s) sum += partial[s * n * n + lower];
    g[at] = static_cast<T>(sum);
  }
}

void gram(Stream& stream, View x, View g, View sums, const SpectralParams& params) {
  check_gram(x, g, sums, params);
  if (x.rank != 2 || !x.contiguous() || sums || params.valid || params.accumulate ||
      g.dtype == DType::i64)
    throw Error(
        ErrorKind::unsupported,
        concat("gram: on CUDA only contiguous [pixels, bands] without column sums, mask or ",
               "accumulation, got x ", x.dtype, " ", x.dims(), ", g ", g.dtype));
  const View shift = params.shift;
  const int64_t m = x.shape[0], n = x.shape[1];
  if (n == 0) return;
  const int64_t edge = ceil_divide(n, gram_tile), tiles = edge * (edge + 1) / 2;
  const int64_t wanted = std::clamp<int64_t>(m / 256, 1, std::max<int64_t>(1, 1024 / tiles));
  const int64_t slab = ceil_divide(std::max<int64_t>(1, m), wanted), slabs = ceil_divide(m, slab);
  const Scratch partial = stream.scratch(static_cast<size_t>(slabs * n * n) * sizeof(double));
  for_real(x.dtype, "gram", [&]<class T>() {
    if (slabs > 0)
      launch(stream,
             {"gram slabs",
              {static_cast<uint32_t>(tiles), static_cast<uint32_t>(slabs)},
              {linalg_threads}},
             gram_slabs<T>, x.as<T>(), shift.as<double>(), m, n, slab, partial.as<double>());
  });
  for_real(g.dtype, "gram", [&]<class T>() {
    launch(stream, {"gram join", {blocks_for(n * n, linalg_threads)}, {linalg_threads}},
           join_slabs<T>, partial.as<double>(), n, slabs, g.as<T>());
  });
}

void project(Stream&, View x, View basis, View y, const SpectralParams& params) {
  check_project(x, basis, y, params);
  throw Error(ErrorKind::unsupported, concat("project: not on CUDA, got x ", x.dtype));
}

// ---------------------------------------------------------------- variants

bool uses_vendor(const LinalgParams& params, int64_t n) {
  if (params.variant != LinalgVariant::automatic) return params.variant == LinalgVariant::vendor;
  return choose_linalg(n, params.deterministic, true) == LinalgVariant::vendor &&
         has_vendor_linalg();
}

void cholesky(Stream& stream, View a, View l, const LinalgParams& params) {
  const MatrixBatch batch = check_cholesky(a, l);
  Statuses statuses(stream, batch, params);
  const bool vendor = uses_vendor(params, batch.rows());
  if (l.numel() == 0) return;
  (vendor ? vendor_cholesky : own_cholesky)(stream, batch, a, l, statuses.data());
  statuses.finish(cholesky_complaint);
}

void triangular_solve(Stream& stream, View a, View b, View x, const TriangularParams& triangle,
                      const LinalgParams& params) {
  const MatrixBatch batch = check_right_sides("triangular_solve", a, b, x);
  const Statuses statuses(stream, batch, params);
  const bool vendor = uses_vendor(params, batch.rows());
  if (x.numel() == 0) return;
  (vendor ? vendor_triangular_solve : own_triangular_solve)(stream, batch, a, b, x, triangle);
}

void solve(Stream& stream, View a, View b, View x, const LinalgParams& params) {
  const MatrixBatch batch = check_right_sides("solve", a, b, x);
  Statuses statuses(stream, batch, params);
  const bool vendor = uses_vendor(params, batch.rows());
  if (a.numel() == 0) return;
  (vendor && x.numel() > 0 ? vendor_solve : own_solve)(stream, batch, a, b, x, statuses.data());
  statuses.finish(solve_complaint);
}

void qr(Stream& stream, View a, View q, View r, const LinalgParams& params) {
  const MatrixBatch batch = check_qr(a, q, r);
  const Statuses statuses(stream, batch, params);
  if (uses_vendor(params, std::min(batch.rows(), batch.cols())) && a.numel() > 0)
    return vendor_qr(stream, batch, a, q, r);
  for_real(a.dtype, "qr", [&]<class T>() {
    own_qr(stream, matrices_of<T>(batch, a), matrices_of<T>(batch, q), matrices_of<T>(batch, r));
  });
}

void eigh(Stream& stream, View a, View w, View v, const LinalgParams& params) {
  const MatrixBatch batch = check_eigh(a, w, v);
  Statuses statuses(stream, batch, params);
  const bool vendor = uses_vendor(params, batch.rows());
  if (a.numel() == 0) return;
  (vendor ? vendor_eigh : own_eigh)(stream, batch, a, w, v, statuses.data());
  statuses.finish(spectral_complaint);
}

void svd(Stream& stream, View a, View u, View s, View vt, const LinalgParams& params) {
  const MatrixBatch batch = check_svd(a, u, s, vt);
  Statuses statuses(stream, batch, params);
  const bool vendor = uses_vendor(params, std::min(batch.rows(), batch.cols()));
  if (a.numel() == 0) return;
  (vendor ? vendor_svd : own_svd)(stream, batch, a, u, s, vt, statuses.data());
  statuses.finish(spectral_complaint);
}

}  // namespace

extern const LinalgKernels linalg_kernels{
    .cholesky = cholesky,
    .triangular_solve = triangular_solve,
    .solve = solve,
    .qr = qr,
    .eigh = eigh,
    .svd = svd,
    .gram = gram,
    .project = project,
};

}  // namespace tessera::kernels::cuda
