#include "tessera/runtime/cuda/library.hpp"

#include <dlfcn.h>

#include "tessera/runtime/error.hpp"

namespace tessera::cuda {

Library::Library(const char* file) : file_(file), handle_(dlopen(file, RTLD_NOW | RTLD_LOCAL)) {
  if (!handle_) throw Error(ErrorKind::unsupported, concat("cannot load ", file, ": ", dlerror()));
}

void* Library::symbol(const char* name) const {
  if (void* const found = dlsym(handle_, name)) return found;
  throw Error(ErrorKind::unsupported, concat(file_, " has no ", name));
}

}  // namespace tessera::cuda
