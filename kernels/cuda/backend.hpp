#pragma once

#include "tessera/kernels/backend.hpp"

namespace tessera::kernels::cuda {

/// The table of this folder's families, each defined in the file of its name.
extern const Backend cuda_backend;

}  // namespace tessera::kernels::cuda
