#include "tessera/runtime/io/atomic_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "tessera/runtime/error.hpp"

namespace tessera {
namespace {

std::filesystem::path folder_of(const std::string& path) {
  const auto folder = std::filesystem::path(path).parent_path();
  return folder.empty() ? "." : folder;
}

}  // namespace

AtomicFile::AtomicFile(std::string path) : path_(std::move(path)) {
  // A name of its own, not the target's with a suffix: that could exceed the longest name allowed.
  static std::atomic<int> counter{0};
  do {
    temporary_ =
        (folder_of(path_) / concat(".tessera-", getpid(), "-", counter++, ".tmp")).string();
    descriptor_ = open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);
  if (descriptor_ < 0) {
    const int code = errno;
    throw Error(ErrorKind::io,
                concat(path_, ": cannot write in this folder: ", std::strerror(code)));
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ >= 0) close(descriptor_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

void AtomicFile::fail(std::string_view what, int code) {
  throw Error(ErrorKind::io,
              concat(path_, ": ", what, ": ", std::strerror(code), "; nothing was changed"));
}

void AtomicFile::write(const void* data, size_t bytes) {
  const auto* from = static_cast<const char*>(data);
  while (bytes > 0) {
    const ssize_t done = ::write(descriptor_, from, std::min(bytes, size_t{1} << 30));
    if (done < 0 && errno == EINTR) continue;
    if (done < 0) fail("cannot write", errno);
    from += done;
    bytes -= static_cast<size_t>(done);
  }
}

void AtomicFile::commit() {
  if (fsync(descriptor_) != 0) fail("cannot flush to the disk", errno);
  if (close(std::exchange(descriptor_, -1)) != 0) fail("cannot close", errno);
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) fail("cannot rename", errno);
  temporary_.clear();
  // The new name itself reaches the disk with the folder. The file is in place already, so a folder
  // that cannot be flushed (some network file systems) is no error.
  const int folder = open(folder_of(path_).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) return;
  fsync(folder);
  close(folder);
}

void write_file(const std::string& path, std::string_view content) {
  AtomicFile file(path);
  file.write(content);
  file.commit();
}

}  // namespace tessera
