#pragma once

#include <cublas_v2.h>
#include <cusolverDn.h>

#include <limits>
#include <string>
#include <vector>

#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/column_major.hpp"
#include "tessera/kernels/cuda/data_type.hpp"
#include "tessera/kernels/elementwise.hpp"
#include "tessera/runtime/cuda/check.hpp"
#include "tessera/runtime/cuda/library.hpp"

/// cuSOLVER and cuBLAS as vendor_linalg.cpp calls them: their functions, handles, errors and
/// temporary memory.
namespace tessera::kernels::cuda::cusolver {

/// The functions of cuSOLVER and cuBLAS that the family uses. cuBLAS has the triangular solves and
/// batches of LU.
struct Functions {
  tessera::cuda::Library solver{concat("libcusolver.so.", CUSOLVER_VER_MAJOR).c_str()};
  tessera::cuda::Library blas{"libcublas.so." TESSERA_CUDA_MAJOR};
#define TS_ENTRY(library, name) decltype(&::name) name = TS_FUNCTION(library, name)
  TS_ENTRY(solver, cusolverDnCreate);
  TS_ENTRY(solver, cusolverDnDestroy);
  TS_ENTRY(solver, cusolverDnSetStream);
  TS_ENTRY(solver, cusolverDnCreateParams);
  TS_ENTRY(solver, cusolverDnDestroyParams);
  TS_ENTRY(solver, cusolverDnCreateGesvdjInfo);
  TS_ENTRY(solver, cusolverDnDestroyGesvdjInfo);
  TS_ENTRY(solver, cusolverDnXpotrf_bufferSize);
  TS_ENTRY(solver, cusolverDnXpotrf);
  TS_ENTRY(solver, cusolverDnSpotrfBatched);
  TS_ENTRY(solver, cusolverDnDpotrfBatched);
  TS_ENTRY(solver, cusolverDnXgetrf_bufferSize);
  TS_ENTRY(solver, cusolverDnXgetrf);
  TS_ENTRY(solver, cusolverDnXgetrs);
  TS_ENTRY(solver, cusolverDnXgeqrf_bufferSize);
  TS_ENTRY(solver, cusolverDnXgeqrf);
  TS_ENTRY(solver, cusolverDnSorgqr_bufferSize);
  TS_ENTRY(solver, cusolverDnDorgqr_bufferSize);
  TS_ENTRY(solver, cusolverDnSorgqr);
  TS_ENTRY(solver, cusolverDnDorgqr);
  TS_ENTRY(solver, cusolverDnXsyevd_bufferSize);
  TS_ENTRY(solver, cusolverDnXsyevd);
#if CUSOLVER_VERSION >= 11701
  TS_ENTRY(solver, cusolverDnXsyevBatched_bufferSize);
  TS_ENTRY(solver, cusolverDnXsyevBatched);
#endif
  TS_ENTRY(solver, cusolverDnXgesvd_bufferSize);
  TS_ENTRY(solver, cusolverDnXgesvd);
  TS_ENTRY(solver, cusolverDnSgesvdjBatched_bufferSize);
  TS_ENTRY(solver, cusolverDnDgesvdjBatched_bufferSize);
  TS_ENTRY(solver, cusolverDnSgesvdjBatched);
  TS_ENTRY(solver, cusolverDnDgesvdjBatched);
  TS_ENTRY(blas, cublasCreate_v2);
  TS_ENTRY(blas, cublasDestroy_v2);
  TS_ENTRY(blas, cublasSetStream_v2);
  TS_ENTRY(blas, cublasGetStatusString);
  TS_ENTRY(blas, cublasStrsm_v2);
  TS_ENTRY(blas, cublasDtrsm_v2);
  TS_ENTRY(blas, cublasStrsmBatched);
  TS_ENTRY(blas, cublasDtrsmBatched);
  TS_ENTRY(blas, cublasSgetrfBatched);
  TS_ENTRY(blas, cublasDgetrfBatched);
  TS_ENTRY(blas, cublasSgetrsBatched);
  TS_ENTRY(blas, cublasDgetrsBatched);
#undef TS_ENTRY
};

inline const Functions& lib() {
  static const Functions functions;
  return functions;
}

inline const char* name_of(cusolverStatus_t status) {
  switch (status) {
    case CUSOLVER_STATUS_NOT_INITIALIZED:
      return "not initialized";
    case CUSOLVER_STATUS_ALLOC_FAILED:
      return "allocation failed";
    case CUSOLVER_STATUS_INVALID_VALUE:
      return "invalid value";
    case CUSOLVER_STATUS_ARCH_MISMATCH:
      return "architecture mismatch";
    case CUSOLVER_STATUS_EXECUTION_FAILED:
      return "execution failed";
    case CUSOLVER_STATUS_INTERNAL_ERROR:
      return "internal error";
    case CUSOLVER_STATUS_NOT_SUPPORTED:
      return "not supported";
    default:
      return "failed";
  }
}

inline void check(cusolverStatus_t status, std::string_view operation, const char* call) {
  if (status == CUSOLVER_STATUS_SUCCESS) return;
  const ErrorKind kind = status == CUSOLVER_STATUS_NOT_SUPPORTED  ? ErrorKind::unsupported
                         : status == CUSOLVER_STATUS_ALLOC_FAILED ? ErrorKind::out_of_memory
                                                                  : ErrorKind::device;
  throw Error(kind, concat(operation, ": ", call, ": ", name_of(status), " (status ",
                           static_cast<int>(status), ")"));
}
inline void check(cublasStatus_t status, std::string_view operation, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  const ErrorKind kind = status == CUBLAS_STATUS_NOT_SUPPORTED  ? ErrorKind::unsupported
                         : status == CUBLAS_STATUS_ALLOC_FAILED ? ErrorKind::out_of_memory
                                                                : ErrorKind::device;
  throw Error(kind, concat(operation, ": ", call, ": ", lib().cublasGetStatusString(status)));
}

/// An object of a library, made by `create` and ended by `destroy`.
template <class Pointer, class Status>
struct Owned {
  Pointer value = nullptr;
  Status (*destroy)(Pointer);

  Owned(Status (*create)(Pointer*), Status (*end)(Pointer), const char* call) : destroy(end) {
    check(create(&value), "linalg", call);
  }
  ~Owned() { (void)destroy(value); }
  Owned(const Owned&) = delete;
  Owned& operator=(const Owned&) = delete;
};

/// A stream's handles, and the host memory that cuSOLVER works in.
struct Handle {
  explicit Handle(Stream& stream) {
    const auto native = static_cast<cudaStream_t>(stream.native());
    check(lib().cusolverDnSetStream(solver.value, native), "linalg", "cusolverDnSetStream");
    check(lib().cublasSetStream_v2(blas.value, native), "linalg", "cublasSetStream");
  }

  Owned<cusolverDnHandle_t, cusolverStatus_t> solver{lib().cusolverDnCreate,
                                                     lib().cusolverDnDestroy, "cusolverDnCreate"};
  Owned<cusolverDnParams_t, cusolverStatus_t> params{
      lib().cusolverDnCreateParams, lib().cusolverDnDestroyParams, "cusolverDnCreateParams"};
  Owned<gesvdjInfo_t, cusolverStatus_t> jacobi{lib().cusolverDnCreateGesvdjInfo,
                                               lib().cusolverDnDestroyGesvdjInfo,
                                               "cusolverDnCreateGesvdjInfo"};
  Owned<cublasHandle_t, cublasStatus_t> blas{lib().cublasCreate_v2, lib().cublasDestroy_v2,
                                             "cublasCreate"};
  std::vector<char> host;
};

/// The form of a function for T.
template <class T, class Single, class Double>
auto form(Single single, Double twice) {
  if constexpr (std::is_same_v<T, float>)
    return single;
  else
    return twice;
}

/// Calls on one batch: handles, errors and temporary memory.
template <class T>
struct Session {
  Stream& stream;
  const MatrixBatch& batch;
  tessera::cuda::DeviceScope scope{stream.device().index};
  int64_t count = batch.count();
  Handle& handle = stream.resource<Handle>();
  cusolverDnHandle_t solver = handle.solver.value;
  cusolverDnParams_t params = handle.params.value;
  cublasHandle_t blas = handle.blas.value;
  static constexpr cudaDataType type = data_type_of(dtype_of<T>);
  Scratch info = room<int32_t>(count);

  template <class U = T>
  Scratch room(int64_t elements) const {
    return stream.scratch(static_cast<size_t>(elements) * sizeof(U));
  }
  template <class Status>
  void check(Status status, const char* call) const {
    cusolver::check(status, batch.operation(), call);
  }
  int narrow(int64_t n) const {
    if (n > std::numeric_limits<int>::max())
      throw Error(ErrorKind::unsupported,
                  concat(batch.operation(), ": ", n, " is more than the library counts to"));
    return static_cast<int>(n);
  }
  /// The addresses of `count` arrays, `step` elements apart, in device memory.
  struct Pointers {
    Pointers(const Session& s, T* first, int64_t step) : memory(s.template room<T*>(s.count)) {
      list_pointers(s.stream, first, step, s.count, data);
    }
    Scratch memory;
    T** data = memory.as<T*>();
  };
  /// `size` fills in the bytes that call(device, bytes, host, bytes) works in.
  template <class Size, class Call>
  void work(const char* name, Size&& size, Call&& call) const {
    size_t on_device = 0, on_host = 0;
    check(size(&on_device, &on_host), name);
    const Scratch memory = stream.scratch(on_device);
    if (handle.host.size() < on_host) handle.host.resize(on_host);
    call(memory.as<void>(), on_device, static_cast<void*>(handle.host.data()), on_host);
  }
  DenseMatrices<T> matrices(const View& v) const {
    return {v.as<T>(), count, v.shape[v.rank - 2], v.shape[v.rank - 1]};
  }
  /// values [count, n] /= factors [count].
  void divide(const View& values, T* factors) const {
    const int64_t n = values.shape[values.rank - 1];
    const View all{values.data, dtype_of<T>, 2, {count, n}, {n, 1}};
    elementwise_kernels.binary(stream, BinaryOp::divide, all,
                               View{factors, dtype_of<T>, 2, {count, n}, {1, 0}}, all);
  }
};

}  // namespace tessera::kernels::cuda::cusolver
