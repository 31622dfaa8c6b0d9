#pragma once

#include <library_types.h>

#include "tessera/runtime/dtype.hpp"

namespace tessera::kernels::cuda {

/// What the toolkit's libraries call a floating dtype.
constexpr cudaDataType_t data_type_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return CUDA_R_64F;
    case DType::f32:
      return CUDA_R_32F;
    case DType::f16:
      return CUDA_R_16F;
    default:
      return CUDA_R_16BF;
  }
}

}  // namespace tessera::kernels::cuda
