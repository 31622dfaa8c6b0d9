// Matrix products by cuBLASLt. Its matrices run along columns in memory, so a row-major C is C' to
// it, and C' = B' A'.
#include <cublasLt.h>

#include <map>
#include <memory>
#include <tuple>

#include "tessera/kernels/cuda/data_type.hpp"
#include "tessera/kernels/cuda/vendor.hpp"
#include "tessera/kernels/gemm_operands.hpp"
#include "tessera/runtime/cuda/check.hpp"
#include "tessera/runtime/cuda/library.hpp"

namespace tessera::kernels::cuda {
namespace {

struct Functions {
  tessera::cuda::Library library{"libcublasLt.so." TESSERA_CUDA_MAJOR};
#define TS_ENTRY(name) decltype(&::name) name = TS_FUNCTION(library, name)
  TS_ENTRY(cublasLtCreate);
  TS_ENTRY(cublasLtDestroy);
  TS_ENTRY(cublasLtGetStatusString);
  TS_ENTRY(cublasLtMatmul);
  TS_ENTRY(cublasLtMatmulAlgoGetHeuristic);
  TS_ENTRY(cublasLtMatmulDescCreate);
  TS_ENTRY(cublasLtMatmulDescDestroy);
  TS_ENTRY(cublasLtMatmulDescSetAttribute);
  TS_ENTRY(cublasLtMatmulPreferenceCreate);
  TS_ENTRY(cublasLtMatmulPreferenceDestroy);
  TS_ENTRY(cublasLtMatmulPreferenceSetAttribute);
  TS_ENTRY(cublasLtMatrixLayoutCreate);
  TS_ENTRY(cublasLtMatrixLayoutDestroy);
  TS_ENTRY(cublasLtMatrixLayoutSetAttribute);
#undef TS_ENTRY

  void check(cublasStatus_t status, const char* call) const {
    if (status == CUBLAS_STATUS_SUCCESS) return;
    throw Error(status == CUBLAS_STATUS_NOT_SUPPORTED ? ErrorKind::unsupported : ErrorKind::device,
                concat("gemm: ", call, ": ", cublasLtGetStatusString(status)));
  }
};

const Functions& lt() {
  static const Functions functions;
  return functions;
}

/// An object of the library with the function that destroys it.
template <class Pointer>
using Owned = std::unique_ptr<std::remove_pointer_t<Pointer>, cublasStatus_t (*)(Pointer)>;

/// A stream's handle, and the algorithms that the library chose for products seen before.
struct Handle {
  explicit Handle(Stream&) { lt().check(lt().cublasLtCreate(&handle), "cublasLtCreate"); }
  ~Handle() { (void)lt().cublasLtDestroy(handle); }
  Handle(const Handle&) = delete;
  Handle& operator=(const Handle&) = delete;

  static constexpr size_t workspace_bytes = size_t{32} << 20;

  using Key = std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t,
                         int64_t, int64_t, int, int, int, int, int>;
  cublasLtHandle_t handle = nullptr;
  std::map<Key, cublasLtMatmulAlgo_t> chosen;
};

cublasLtEpilogue_t epilogue_of(Activation activation, bool bias) {
  switch (activation) {
    case Activation::none:
      return bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
    case Activation::relu:
      return bias ? CUBLASLT_EPILOGUE_RELU_BIAS : CUBLASLT_EPILOGUE_RELU;
    case Activation::gelu_tanh:
      return bias ? CUBLASLT_EPILOGUE_GELU_BIAS : CUBLASLT_EPILOGUE_GELU;
    default:
      throw Error(ErrorKind::unsupported,
                  "gemm: cuBLASLt has no epilogue for activations but relu and gelu_tanh");
  }
}

/// A matrix of the library: `rows` x `columns`, columns `leading` elements apart.
Owned<cublasLtMatrixLayout_t> layout(cudaDataType_t type, int64_t rows, int64_t columns,
                                     int64_t leading, int32_t batches, int64_t batch_stride) {
  cublasLtMatrixLayout_t created = nullptr;
  lt().check(lt().cublasLtMatrixLayoutCreate(&created, type, static_cast<uint64_t>(rows),
                                             static_cast<uint64_t>(columns), leading),
             "cublasLtMatrixLayoutCreate");
  Owned<cublasLtMatrixLayout_t> owned(created, lt().cublasLtMatrixLayoutDestroy);
  lt().check(lt().cublasLtMatrixLayoutSetAttribute(created, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT,
                                                   &batches, sizeof batches),
             "the batch count");
  lt().check(
      lt().cublasLtMatrixLayoutSetAttribute(created, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET,
                                            &batch_stride, sizeof batch_stride),
      "the batch stride");
  return owned;
}

template <class E, class C>
void multiply(Stream& stream, const View& a, const View& b, const View& c,
              const GemmParams& params) {
  const BatchedProduct<E, C> operands = batched_product<E, C>(a, b, c, params);
  if (operands.empty()) return;
  const Batch& batch = operands.batch;
  const Product<E, C>& p = operands.product;
  if (p.has_row_bias())
    throw Error(ErrorKind::unsupported, "gemm: cuBLASLt adds biases of columns only");
  using T = compute_t<C>;
  const cudaDataType_t in = data_type_of(dtype_of<E>), out = data_type_of(dtype_of<C>);
  const bool b_along_n = p.b_column == 1, a_along_k = p.a_column == 1;
  const auto batches =
      static_cast<int32_t>(batch.rank > 0 ? batch.extent[batch.rank - 1] : int64_t{1});
  const auto stride = [&](const int64_t* strides) {
    return batch.rank > 0 ? strides[batch.rank - 1] : int64_t{0};
  };
  const int64_t b_leading = b_along_n ? p.b_row : p.b_column,
                a_leading = a_along_k ? p.a_row : p.a_column;
  const auto of_b = layout(in, b_along_n ? p.n : p.k, b_along_n ? p.k : p.n, b_leading, batches,
                           stride(batch.b)),
             of_a = layout(in, a_along_k ? p.k : p.m, a_along_k ? p.m : p.k, a_leading, batches,
                           stride(batch.a)),
             of_c = layout(out, p.n, p.m, p.c_row, batches, stride(batch.c));

  constexpr bool is_double = std::is_same_v<T, double>;
  cublasLtMatmulDesc_t created = nullptr;
  lt().check(
      lt().cublasLtMatmulDescCreate(&created, is_double ? CUBLAS_COMPUTE_64F : CUBLAS_COMPUTE_32F,
                                    is_double ? CUDA_R_64F : CUDA_R_32F),
      "cublasLtMatmulDescCreate");
  const Owned<cublasLtMatmulDesc_t> description(created, lt().cublasLtMatmulDescDestroy);
  const auto describe = [&](cublasLtMatmulDescAttributes_t attribute, const auto& value) {
    lt().check(
        lt().cublasLtMatmulDescSetAttribute(description.get(), attribute, &value, sizeof value),
        "cublasLtMatmulDescSetAttribute");
  };
  const cublasOperation_t first = b_along_n ? CUBLAS_OP_N : CUBLAS_OP_T,
                          second = a_along_k ? CUBLAS_OP_N : CUBLAS_OP_T;
  const cublasLtEpilogue_t epilogue = epilogue_of(p.activation, p.bias != nullptr);
  describe(CUBLASLT_MATMUL_DESC_TRANSA, first);
  describe(CUBLASLT_MATMUL_DESC_TRANSB, second);
  describe(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue);
  if (p.bias) {
    const void* bias = p.bias;
    describe(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
  }

  Handle& handle = stream.resource<Handle>();
  const Handle::Key key{p.m,
                        p.n,
                        p.k,
                        a_leading,
                        b_leading,
                        p.c_row,
                        batches,
                        stride(batch.a),
                        stride(batch.b),
                        stride(batch.c),
                        in,
                        out,
                        first,
                        second,
                        epilogue};
  auto chosen = handle.chosen.find(key);
  if (chosen == handle.chosen.end()) {
    cublasLtMatmulPreference_t wishes = nullptr;
    lt().check(lt().cublasLtMatmulPreferenceCreate(&wishes), "cublasLtMatmulPreferenceCreate");
    const Owned<cublasLtMatmulPreference_t> owned(wishes, lt().cublasLtMatmulPreferenceDestroy);
    lt().check(lt().cublasLtMatmulPreferenceSetAttribute(
                   wishes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &Handle::workspace_bytes,
                   sizeof Handle::workspace_bytes),
               "the size of the workspace");
    cublasLtMatmulHeuristicResult_t best{};
    int found = 0;
    lt().check(lt().cublasLtMatmulAlgoGetHeuristic(handle.handle, description.get(), of_b.get(),
                                                   of_a.get(), of_c.get(), of_c.get(), wishes, 1,
                                                   &best, &found),
               "cublasLtMatmulAlgoGetHeuristic");
    if (found == 0)
      throw Error(ErrorKind::unsupported, concat("gemm: cuBLASLt has no algorithm for ", a.dtype,
                                                 " ", a.dims(), " x ", b.dims()));
    chosen = handle.chosen.emplace(key, best.algo).first;
  }

  const Scratch workspace = stream.scratch(Handle::workspace_bytes);
  Batch outer = batch;
  outer.rank = std::max(batch.rank - 1, 0);
  const T alpha = p.alpha, beta = p.beta;
  for (int64_t i = 0; i < outer.size(); ++i) {
    const Product<E, C> q = outer.at(p, i);
    lt().check(lt().cublasLtMatmul(handle.handle, description.get(), &alpha, q.b, of_b.get(), q.a,
                                   of_a.get(), &beta, q.c, of_c.get(), q.c, of_c.get(),
                                   &chosen->second, workspace.as<void>(), workspace.bytes(),
                                   static_cast<cudaStream_t>(stream.native())),
               "cublasLtMatmul");
  }
}

}  // namespace

void vendor_gemm(Stream& stream, const View& a, const View& b, const View& c,
                 const GemmParams& params) {
  const tessera::cuda::DeviceScope scope(stream.device().index);
  for_float(a.dtype, "gemm", [&]<class E>() {
    if (c.dtype == a.dtype)
      multiply<E, E>(stream, a, b, c, params);
    else if constexpr (sizeof(E) == 2)
      multiply<E, float>(stream, a, b, c, params);
  });
}

}  // namespace tessera::kernels::cuda
