#pragma once

#include <cstddef>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// What a .safetensors file holds: an 8-byte little-endian header length, a JSON header
/// `{name: {dtype, shape, data_offsets}}` with optional `__metadata__`, then the tensors' bytes.
struct Safetensors {
  std::map<std::string, Tensor> tensors;
  std::map<std::string, std::string> metadata;
};

enum class FileAccess {
  copy,  // tensors own their memory
  map,  // tensors lie in the mapped file where they are aligned there and need no widening; writing
        // to such a tensor does not change the file, shortening the file while it is in use is not
        // allowed
};

/// All tensors of a file, on the CPU. Accepts what the format allows: headers of any length and
/// tensors at unaligned offsets. U32 and U64 widen to i64. Throws an `io` Error
/// that names the file, the tensor or the byte, and what was expected: truncated file, malformed
/// header, repeated names, unknown dtype, sizes and ranges that disagree, overlaps, gaps.
Safetensors read_safetensors(const std::string& path, FileAccess access = FileAccess::copy);
/// The same from memory; `name` stands for the file in errors.
Safetensors parse_safetensors(std::span<const std::byte> bytes, std::string_view name);

inline std::map<std::string, Tensor> load_safetensors(const std::string& path) {
  return read_safetensors(path).tensors;
}

/// Writes tensors of any device and strides, aligned to their element size, all or nothing: on an
/// error the old file stays (see AtomicFile).
void save_safetensors(const std::string& path, const std::map<std::string, Tensor>& tensors,
                      const std::map<std::string, std::string>& metadata = {});

}  // namespace tessera
