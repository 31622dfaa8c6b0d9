#pragma once

#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/linalg_operands.hpp"
#include "tessera/kernels/sort_operands.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/error.hpp"

/// The toolkit's libraries behind the `vendor` variants: cuBLASLt, cuSPARSE, cuSOLVER, Thrust.
/// Operands as the families' headers say, and checked. What a library has no call for is an
/// `unsupported` Error; so is everything on the interpreter, which runs without the toolkit.
namespace tessera::kernels::cuda {

#if defined(TESSERA_CUDA_LIBRARIES)
/// Not: row bias; activations but relu and gelu_tanh.
void vendor_gemm(Stream& stream, const View& a, const View& b, const View& c,
                 const GemmParams& params);
/// Not: absent values, values per head, means, scales.
void vendor_spmm(Stream& stream, const CsrView& a, const View& x, const View& y,
                 const SpmmParams& params);

/// Linear algebra on batches that are not empty, statuses 0 before. All is queued, though cuSOLVER
/// itself waits for the stream within some of its spectral routines.
bool has_vendor_linalg();  // whether the libraries can be loaded
void vendor_cholesky(Stream& stream, const MatrixBatch& batch, const View& a, const View& l,
                     int32_t* status);
void vendor_triangular_solve(Stream& stream, const MatrixBatch& batch, const View& a, const View& b,
                             const View& x, const TriangularParams& triangle);
void vendor_solve(Stream& stream, const MatrixBatch& batch, const View& a, const View& b,
                  const View& x, int32_t* status);
void vendor_qr(Stream& stream, const MatrixBatch& batch, const View& a, const View& q,
               const View& r);
void vendor_eigh(Stream& stream, const MatrixBatch& batch, const View& a, const View& w,
                 const View& v, int32_t* status);
void vendor_svd(Stream& stream, const MatrixBatch& batch, const View& a, const View& u,
                const View& s, const View& vt, int32_t* status);

/// x of fewer than 2^31 elements, offsets rising from 0 to their number.
void vendor_sort(Stream& stream, const View& x, const View& y, const View& index, bool descending);
void vendor_segmented_sort(Stream& stream, const View& x, const View& offsets, const View& y,
                           const View& index, bool descending);
void vendor_scan(Stream& stream, const View& x, const View& y, bool exclusive);
void vendor_unique(Stream& stream, const View& x, const View& values, const View& inverse,
                   const View& counts, const View& count);
#else
inline void vendor_gemm(Stream& stream, const View&, const View&, const View&, const GemmParams&) {
  throw Error(ErrorKind::unsupported, concat("gemm: no vendor variant on ", stream.device()));
}
inline void vendor_spmm(Stream& stream, const CsrView&, const View&, const View&,
                        const SpmmParams&) {
  throw Error(ErrorKind::unsupported, concat("spmm: no vendor variant on ", stream.device()));
}

inline bool has_vendor_linalg() { return false; }
[[noreturn]] inline void no_vendor_linalg(const Stream& stream, const MatrixBatch& batch) {
  throw Error(ErrorKind::unsupported,
              concat(batch.operation(), ": no vendor variant on ", stream.device()));
}
inline void vendor_cholesky(Stream& stream, const MatrixBatch& batch, const View&, const View&,
                            int32_t*) {
  no_vendor_linalg(stream, batch);
}
inline void vendor_triangular_solve(Stream& stream, const MatrixBatch& batch, const View&,
                                    const View&, const View&, const TriangularParams&) {
  no_vendor_linalg(stream, batch);
}
inline void vendor_solve(Stream& stream, const MatrixBatch& batch, const View&, const View&,
                         const View&, int32_t*) {
  no_vendor_linalg(stream, batch);
}
inline void vendor_qr(Stream& stream, const MatrixBatch& batch, const View&, const View&,
                      const View&) {
  no_vendor_linalg(stream, batch);
}
inline void vendor_eigh(Stream& stream, const MatrixBatch& batch, const View&, const View&,
                        const View&, int32_t*) {
  no_vendor_linalg(stream, batch);
}
inline void vendor_svd(Stream& stream, const MatrixBatch& batch, const View&, const View&,
                       const View&, const View&, int32_t*) {
  no_vendor_linalg(stream, batch);
}

inline void vendor_sort(Stream& stream, const View&, const View&, const View&, bool) {
  refuse_vendor("sort", SortVariant::vendor, stream.device());
}
inline void vendor_segmented_sort(Stream& stream, const View&, const View&, const View&,
                                  const View&, bool) {
  refuse_vendor("segmented_sort", SortVariant::vendor, stream.device());
}
inline void vendor_scan(Stream& stream, const View&, const View&, bool) {
  refuse_vendor("scan", SortVariant::vendor, stream.device());
}
inline void vendor_unique(Stream& stream, const View&, const View&, const View&, const View&,
                          const View&) {
  refuse_vendor("unique", SortVariant::vendor, stream.device());
}
#endif

}  // namespace tessera::kernels::cuda
