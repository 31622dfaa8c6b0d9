#include "tessera/kernels/cuda/tensor_map.cuh"

#include <algorithm>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/shape.hpp"
#if defined(__CUDACC__)
#include <cuda.h>

#include "tessera/runtime/cuda/check.hpp"
#else
#include <cstring>

#include "tessera/runtime/simt/async.hpp"
#endif

namespace tessera::kernels::cuda {
namespace {

uint32_t span_bytes(Swizzle swizzle) { return 16u << static_cast<uint32_t>(swizzle); }

/// The limits of cuTensorMapEncodeTiled.
void check(const char* operation, const TensorShape& t) {
  const auto multiple_of_16 = [](uint64_t x) { return x % 16 == 0; };
  const auto bytes = static_cast<uint32_t>(size_of(t.dtype));
  TS_CHECK(t.rank >= 1 && t.rank <= 5, operation, ": a tensor map of ", t.rank, " dimensions");
  TS_CHECK(multiple_of_16(reinterpret_cast<uintptr_t>(t.data)), operation,
           ": the tensor of a tensor map begins at no multiple of 16 bytes");
  TS_CHECK(multiple_of_16(t.box[0] * bytes), operation, ": a tensor map whose boxes have rows of ",
           t.box[0] * bytes, " bytes, no multiple of 16");
  TS_CHECK(t.swizzle == Swizzle::none || t.box[0] * bytes <= span_bytes(t.swizzle), operation,
           ": a tensor map whose boxes have rows of ", t.box[0] * bytes, " bytes, more than the ",
           span_bytes(t.swizzle), " of their swizzle");
  for (int d = 0; d < t.rank; ++d) {
    TS_CHECK(t.extent[d] >= 1 && t.extent[d] <= int64_t{1} << 32, operation,
             ": a tensor map of extent ", t.extent[d]);
    TS_CHECK(t.box[d] >= 1 && t.box[d] <= 256, operation, ": a tensor map with boxes of extent ",
             t.box[d]);
    if (d > 0)
      TS_CHECK(multiple_of_16(static_cast<uint64_t>(t.stride[d - 1])) && t.stride[d - 1] >= 0 &&
                   t.stride[d - 1] < int64_t{1} << 40,
               operation, ": a tensor map with a stride of ", t.stride[d - 1], " bytes");
  }
}

#if defined(__CUDACC__)
CUtensorMapDataType type_of(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT32;
    case DType::f64:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT64;
    case DType::f16:
      return CU_TENSOR_MAP_DATA_TYPE_FLOAT16;
    case DType::bf16:
      return CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
    case DType::i32:
      return CU_TENSOR_MAP_DATA_TYPE_INT32;
    case DType::i64:
      return CU_TENSOR_MAP_DATA_TYPE_INT64;
    default:
      return CU_TENSOR_MAP_DATA_TYPE_UINT8;
  }
}

/// The driver's function, looked up at run time: the library loads where no driver is.
decltype(&cuTensorMapEncodeTiled) encoder() {
  static const auto function = [] {
    void* entry = nullptr;
    cudaDriverEntryPointQueryResult found{};
    TS_CUDA(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &entry, 12000,
                                             cudaEnableDefault, &found));
    if (!entry || found != cudaDriverEntryPointSuccess)
      throw Error(ErrorKind::unsupported,
                  "cuda: this driver has no tensor maps; it must support CUDA 12");
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(entry);
  }();
  return function;
}
#endif

}  // namespace

TensorMap make_tensor_map(const char* operation, const TensorShape& t) {
  check(operation, t);
  TensorMap map{};
#if defined(__CUDACC__)
  static_assert(sizeof(TensorMap) == sizeof(CUtensorMap));
  cuuint64_t extent[5], stride[4];
  cuuint32_t box[5], step[5];
  for (int d = 0; d < t.rank; ++d) {
    extent[d] = static_cast<cuuint64_t>(t.extent[d]);
    box[d] = t.box[d];
    step[d] = 1;
    if (d > 0) stride[d - 1] = static_cast<cuuint64_t>(t.stride[d - 1]);
  }
  constexpr CUtensorMapSwizzle swizzles[] = {CU_TENSOR_MAP_SWIZZLE_NONE, CU_TENSOR_MAP_SWIZZLE_32B,
                                             CU_TENSOR_MAP_SWIZZLE_64B, CU_TENSOR_MAP_SWIZZLE_128B};
  const CUresult status =
      encoder()(reinterpret_cast<CUtensorMap*>(&map), type_of(t.dtype),
                static_cast<cuuint32_t>(t.rank), const_cast<void*>(t.data), extent, stride, box,
                step, CU_TENSOR_MAP_INTERLEAVE_NONE, swizzles[static_cast<int>(t.swizzle)],
                CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw Error(ErrorKind::device, concat(operation, ": cuTensorMapEncodeTiled gives status ",
                                          static_cast<int>(status)));
#else
  simt::TensorBox fields{};
  fields.base = static_cast<std::byte*>(const_cast<void*>(t.data));
  fields.rank = static_cast<uint32_t>(t.rank);
  fields.element_bytes = static_cast<uint32_t>(size_of(t.dtype));
  fields.swizzle = static_cast<uint32_t>(t.swizzle);
  for (int d = 0; d < t.rank; ++d) {
    fields.extent[d] =
        static_cast<uint32_t>(std::min<int64_t>(t.extent[d], (int64_t{1} << 32) - 1));
    fields.box[d] = t.box[d];
    if (d > 0) fields.stride[d - 1] = static_cast<uint64_t>(t.stride[d - 1]);
  }
  std::memcpy(&map, &fields, sizeof fields);
#endif
  return map;
}

}  // namespace tessera::kernels::cuda
