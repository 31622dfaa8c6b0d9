#pragma once

#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/error.hpp"

/// The toolkit's libraries behind the `vendor` variants: cuBLASLt and cuSPARSE. Operands as the
/// families' headers say, and checked. What a library has no call for is an `unsupported` Error; so
/// is everything on the interpreter, which runs without the toolkit.
namespace tessera::kernels::cuda {

#if defined(TESSERA_CUDA_LIBRARIES)
/// Not: row bias; activations but relu and gelu_tanh.
void vendor_gemm(Stream& stream, const View& a, const View& b, const View& c,
                 const GemmParams& params);
/// Not: absent values, values per head, means, scales.
void vendor_spmm(Stream& stream, const CsrView& a, const View& x, const View& y,
                 const SpmmParams& params);
#else
inline void vendor_gemm(Stream& stream, const View&, const View&, const View&, const GemmParams&) {
  throw Error(ErrorKind::unsupported, concat("gemm: no vendor variant on ", stream.device()));
}
inline void vendor_spmm(Stream& stream, const CsrView&, const View&, const View&,
                        const SpmmParams&) {
  throw Error(ErrorKind::unsupported, concat("spmm: no vendor variant on ", stream.device()));
}
#endif

}  // namespace tessera::kernels::cuda
