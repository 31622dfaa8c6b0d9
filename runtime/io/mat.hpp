#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// The arrays of a MATLAB file, read when asked for. Files of level 5 (`save -v6`, `-v7`) of either
/// byte order are read here; those of `-v7.3`, which are HDF5, through libmatio where the build has
/// it. The file stays mapped as long as the object lives.
///
/// A tensor has MATLAB's dimensions in MATLAB's order (rows, columns, ...), contiguous, on the CPU,
/// whatever the file stores: double gives f64, single f32, logical bool, int8 i8, uint8 u8, int16
/// i16, uint16 u16, int32 i32, uint32, int64 and uint64 i64 (an error where a value does not fit).
///
/// Errors are of kind `io` and name the file, the byte or the variable, and what was expected.
class MatFile {
 public:
  struct Variable {
    std::string name;
    std::string type;  // MATLAB's class: "double", "uint16", "logical", "struct", ...
    Shape shape;       // empty for what cannot be loaded
    bool numeric;      // real and full: `load` can give it
  };

  explicit MatFile(const std::string& path);
  /// Level 5, from memory, which must outlive the object.
  MatFile(std::span<const std::byte> bytes, std::string_view name);
  ~MatFile();
  MatFile(MatFile&&) noexcept;
  MatFile& operator=(MatFile&&) noexcept;

  const std::vector<Variable>& variables() const;  // in the order of the file
  bool contains(std::string_view name) const;
  /// Throws an `io` Error that lists the variables there are when `name` is none of them, and one
  /// naming its class when it is not numeric.
  Tensor load(std::string_view name) const;

  /// Where the variables lie; one for each format.
  class Reader;

 private:
  std::unique_ptr<Reader> reader_;
};

/// False when files of -v7.3 are refused because this build has no libmatio.
bool mat73_available();

}  // namespace tessera
