// Products with sparse matrices by cuSPARSE.
#include <cusparse.h>

#include <memory>

#include "tessera/kernels/cuda/data_type.hpp"
#include "tessera/kernels/cuda/vendor.hpp"
#include "tessera/kernels/spmm_operands.hpp"
#include "tessera/runtime/cuda/check.hpp"
#include "tessera/runtime/cuda/library.hpp"

namespace tessera::kernels::cuda {
namespace {

struct Functions {
  tessera::cuda::Library library{"libcusparse.so.12"};
#define TS_ENTRY(name) decltype(&::name) name = TS_FUNCTION(library, name)
  TS_ENTRY(cusparseCreate);
  TS_ENTRY(cusparseDestroy);
  TS_ENTRY(cusparseSetStream);
  TS_ENTRY(cusparseGetErrorString);
  TS_ENTRY(cusparseCreateConstCsr);
  TS_ENTRY(cusparseDestroySpMat);
  TS_ENTRY(cusparseCreateConstDnMat);
  TS_ENTRY(cusparseCreateDnMat);
  TS_ENTRY(cusparseDestroyDnMat);
  TS_ENTRY(cusparseSpMM_bufferSize);
  TS_ENTRY(cusparseSpMM);
#undef TS_ENTRY

  void check(cusparseStatus_t status, const char* call) const {
    if (status == CUSPARSE_STATUS_SUCCESS) return;
    throw Error(
        status == CUSPARSE_STATUS_NOT_SUPPORTED ? ErrorKind::unsupported : ErrorKind::device,
        concat("spmm: ", call, ": ", cusparseGetErrorString(status)));
  }
};

const Functions& sparse() {
  static const Functions functions;
  return functions;
}

struct Handle {
  explicit Handle(Stream& stream) {
    sparse().check(sparse().cusparseCreate(&handle), "cusparseCreate");
    sparse().check(sparse().cusparseSetStream(handle, static_cast<cudaStream_t>(stream.native())),
                   "cusparseSetStream");
  }
  ~Handle() { (void)sparse().cusparseDestroy(handle); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  cusparseHandle_t handle = nullptr;
};

template <class Pointer>
using Owned = std::unique_ptr<std::remove_pointer_t<Pointer>, cusparseStatus_t (*)(Pointer)>;

}  // namespace

void vendor_spmm(Stream& stream, const CsrView& a, const View& x, const View& y,
                 const SpmmParams& params) {
  const tessera::cuda::DeviceScope scope(stream.device().index);
  const SpmmOperands o = check_spmm(a, x, y, params);
  if (!a.values || o.value_heads > 1 || params.mean || params.row_scale || params.col_scale)
    throw Error(ErrorKind::unsupported,
                "spmm: cuSPARSE multiplies by one stored value per entry and nothing else; this "
                "product has none, several, a mean or scales");
  const int64_t width = o.x.heads * o.x.width;
  if (a.rows == 0 || width == 0) return;
  const cudaDataType_t type = data_type_of(x.dtype),
                       sums = x.dtype == DType::f64 ? CUDA_R_64F : CUDA_R_32F;
  cusparseConstSpMatDescr_t matrix = nullptr;
  sparse().check(sparse().cusparseCreateConstCsr(
                     &matrix, a.rows, a.cols, a.nnz, a.row_ptr, a.col, a.values.data,
                     CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I, CUSPARSE_INDEX_BASE_ZERO, type),
                 "cusparseCreateConstCsr");
  const Owned<cusparseConstSpMatDescr_t> of_a(matrix, sparse().cusparseDestroySpMat);
  cusparseConstDnMatDescr_t from = nullptr;
  sparse().check(
      sparse().cusparseCreateConstDnMat(&from, a.cols, width, std::max(o.x.stride, width), x.data,
                                        type, CUSPARSE_ORDER_ROW),
      "cusparseCreateConstDnMat");
  const Owned<cusparseConstDnMatDescr_t> of_x(from, sparse().cusparseDestroyDnMat);
  cusparseDnMatDescr_t to = nullptr;
  sparse().check(sparse().cusparseCreateDnMat(&to, a.rows, width, std::max(o.y.stride, width),
                                              y.data, type, CUSPARSE_ORDER_ROW),
                 "cusparseCreateDnMat");
  const Owned<cusparseConstDnMatDescr_t> of_y(to, sparse().cusparseDestroyDnMat);

  const auto alpha_float = static_cast<float>(params.alpha);
  const auto beta_float = static_cast<float>(params.beta);
  const bool is_double = sums == CUDA_R_64F;
  const void* alpha = is_double ? static_cast<const void*>(&params.alpha) : &alpha_float;
  const void* beta = is_double ? static_cast<const void*>(&params.beta) : &beta_float;
  const cusparseHandle_t handle = stream.resource<Handle>().handle;
  constexpr cusparseOperation_t plain = CUSPARSE_OPERATION_NON_TRANSPOSE;
  constexpr cusparseSpMMAlg_t algorithm = CUSPARSE_SPMM_CSR_ALG2;  // for rows side by side
  size_t bytes = 0;
  sparse().check(sparse().cusparseSpMM_bufferSize(handle, plain, plain, alpha, matrix, from, beta,
                                                  to, sums, algorithm, &bytes),
                 "cusparseSpMM_bufferSize");
  const Scratch buffer = stream.scratch(bytes);
  sparse().check(sparse().cusparseSpMM(handle, plain, plain, alpha, matrix, from, beta, to, sums,
                                       algorithm, buffer.as<void>()),
                 "cusparseSpMM");
}

}  // namespace tessera::kernels::cuda
