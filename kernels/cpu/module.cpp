// Entry of a shared library that holds the CPU kernels compiled for one instruction set level.
#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/runtime/driver.hpp"

extern "C" const tessera::Module* tessera_module() {
  static const tessera::Module module{tessera::module_abi, nullptr,
                                      &tessera::kernels::cpu::cpu_backend};
  return &module;
}
