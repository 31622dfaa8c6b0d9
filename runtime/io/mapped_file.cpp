#include "tessera/runtime/io/mapped_file.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "tessera/runtime/error.hpp"

namespace tessera {
namespace {

struct Descriptor {
  int number;
  ~Descriptor() {
    if (number >= 0) close(number);
  }
};

[[noreturn]] void fail(const std::string& path, std::string_view what, int code) {
  throw Error(ErrorKind::io, concat(path, ": ", what, ": ", std::strerror(code)));
}

}  // namespace

std::shared_ptr<const MappedFile> MappedFile::open(const std::string& path) {
  // Without O_NONBLOCK, opening a named pipe would wait for a writer.
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)};
  if (file.number < 0) fail(path, "cannot open", errno);
  struct stat status {};
  if (fstat(file.number, &status) != 0) fail(path, "cannot examine", errno);
  if (S_ISDIR(status.st_mode)) fail(path, "cannot read", EISDIR);
  if (!S_ISREG(status.st_mode)) throw Error(ErrorKind::io, concat(path, ": not a regular file"));
  const auto size = static_cast<size_t>(status.st_size);
  std::span<std::byte> bytes;
  if (size > 0) {
    void* data = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, file.number, 0);
    if (data == MAP_FAILED) fail(path, "cannot map", errno);
    bytes = {static_cast<std::byte*>(data), size};
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(bytes));
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) munmap(bytes_.data(), bytes_.size());
}

}  // namespace tessera
