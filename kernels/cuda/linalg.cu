// What is reported of matrices that failed, and the table of the family.
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

namespace {

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
    .gram = own_gram,
    .project = own_project,
};

}  // namespace tessera::kernels::cuda
