#pragma once

#include <string>

namespace tessera::cuda {

/// A shared library of the CUDA toolkit, opened when something first needs it: what is built with
/// CUDA works without the libraries that it never calls. Stays open.
class Library {
 public:
  /// Throws an `unsupported` Error that names the file and what the loader says.
  explicit Library(const char* file);

  /// The function of that name, of the type that the toolkit's header declares; throws where the
  /// library has none.
  template <class Function>
  Function* function(const char* name) const {
    return reinterpret_cast<Function*>(symbol(name));
  }

 private:
  void* symbol(const char* name) const;

  std::string file_;
  void* handle_;
};

}  // namespace tessera::cuda

/// Finds a function under the name by which its header declares it.
#define TS_FUNCTION(library, name) (library).function<decltype(::name)>(#name)
