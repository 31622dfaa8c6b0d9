#include "tessera/runtime/dtype.hpp"

namespace tessera {
namespace {
constexpr std::string_view names[dtype_count] = {"f32", "f64", "f16",  "bf16", "i64", "i32",
                                                 "i8",  "u8",  "bool", "i16",  "u16"};
}

std::string_view to_string(DType dtype) { return names[static_cast<int>(dtype)]; }

DType parse_dtype(std::string_view name) {
  for (int i = 0; i < dtype_count; ++i)
    if (names[i] == name) return static_cast<DType>(i);
  throw Error(ErrorKind::invalid_argument,
              concat("unknown dtype '", name,
                     "': expected f32, f64, f16, bf16, i64, i32, i16, i8, u16, u8 or bool"));
}

void unsupported_dtype(std::string_view operation, DType dtype) {
  throw Error(ErrorKind::unsupported, concat(operation, ": dtype ", dtype, " is not supported"));
}

}  // namespace tessera
