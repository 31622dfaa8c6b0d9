#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace tessera {

/// Writes a file so that whoever opens `path` finds the old content or the whole new one, never a
/// part: bytes go to a temporary file in the same folder, `commit` flushes it to the disk and
/// renames it. Without `commit`, or when anything fails, the old file stays as it was and the
/// temporary one is removed. Errors are of kind `io` and name the file and the system's reason.
class AtomicFile {
 public:
  explicit AtomicFile(std::string path);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  void commit();

 private:
  [[noreturn]] void fail(std::string_view what, int code);

  std::string path_, temporary_;
  int descriptor_ = -1;
};

/// The whole of `content` as the file `path`, all or nothing.
void write_file(const std::string& path, std::string_view content);

}  // namespace tessera
