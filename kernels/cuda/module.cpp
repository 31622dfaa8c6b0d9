// Entry of the shared library that holds the kernels of this folder: tessera_cuda as nvcc compiles
// them, tessera_simt for the interpreter.
#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/runtime/driver.hpp"

extern "C" const tessera::Module* tessera_module() {
  static const tessera::Module module{tessera::module_abi, &tessera::module_driver(),
                                      &tessera::kernels::cuda::cuda_backend};
  return &module;
}
