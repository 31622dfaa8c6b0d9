#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

namespace tessera {

/// A regular file's content as memory. The mapping is private: writing through it changes neither
/// the file nor another mapping. The file must not be shortened by others while it is mapped.
class MappedFile {
 public:
  /// Throws an `io` Error that names the file and the system's reason.
  static std::shared_ptr<const MappedFile> open(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  std::span<std::byte> bytes() const { return bytes_; }

 private:
  explicit MappedFile(std::span<std::byte> bytes) : bytes_(bytes) {}
  std::span<std::byte> bytes_;
};

}  // namespace tessera
