#pragma once

#include <cstddef>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// One array in NumPy's .npy format, versions 1.0 to 3.0: magic, header length, a Python dict with
/// the element type, the order and the shape, then the elements. Any byte order and both storage
/// orders are read; the tensor is contiguous, on the CPU. uint32 and
/// uint64 widen to i64 (an error where a value does not fit). Throws an `io` Error that names the
/// file, the byte and what was expected; complex, text, object, date and structured arrays are
/// refused by name.
Tensor load_npy(const std::string& path);
/// The same from memory; `name` stands for the file in errors.
Tensor parse_npy(std::span<const std::byte> bytes, std::string_view name);

/// The same file read in parts, for arrays larger than memory.
class NpyFile {
 public:
  explicit NpyFile(const std::string& path);
  ~NpyFile();
  const Shape& shape() const;
  DType dtype() const;
  /// Elements first .. first + count of the first axis; in Fortran's order they are not together,
  /// which is an `unsupported` Error.
  Tensor rows(int64_t first, int64_t count) const;

 private:
  struct State;
  std::unique_ptr<const State> state_;
};

/// Writes version 1.0, all or nothing (see AtomicFile). Any device and strides; NumPy has no bf16,
/// so that is an `unsupported` Error.
void save_npy(const std::string& path, const Tensor& tensor);

/// The arrays of a .npz file, a ZIP archive of .npy members, read when asked for. The file stays
/// mapped as long as the object lives. Members that are not .npy files are left out.
class Npz {
 public:
  explicit Npz(const std::string& path);
  /// From memory, which must outlive the object.
  Npz(std::span<const std::byte> bytes, std::string_view name);
  ~Npz();
  Npz(Npz&&) noexcept;
  Npz& operator=(Npz&&) noexcept;

  std::vector<std::string> names() const;  // without .npy, in the order of the file
  bool contains(std::string_view name) const;
  /// Throws an `io` Error that lists the names there are when `name` is none of them.
  Tensor load(std::string_view name) const;
  std::map<std::string, Tensor> load_all() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

inline std::map<std::string, Tensor> load_npz(const std::string& path) {
  return Npz(path).load_all();
}

enum class NpzMethod { stored, deflated };

/// Writes all tensors, all or nothing. Equal tensors give equal bytes.
void save_npz(const std::string& path, const std::map<std::string, Tensor>& tensors,
              NpzMethod method = NpzMethod::stored);

}  // namespace tessera
