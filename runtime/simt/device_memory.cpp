// The ranges of memory that kernels may use, and the place where tracing registers itself.
#include <map>
#include <mutex>

#include "tessera/runtime/simt/memory.hpp"
#include "tessera/runtime/simt/trace.hpp"

namespace tessera::simt {
namespace {
std::mutex mutex;
std::map<uintptr_t, size_t>& ranges() {
  static auto& map = *new std::map<uintptr_t, size_t>;
  return map;
}
}  // namespace

void add_device_memory(const void* data, size_t bytes) {
  std::lock_guard lock(mutex);
  ranges()[reinterpret_cast<uintptr_t>(data)] = bytes;
}
void remove_device_memory(const void* data) {
  std::lock_guard lock(mutex);
  ranges().erase(reinterpret_cast<uintptr_t>(data));
}

bool find_device_memory(uintptr_t address, MemoryRange& range) {
  std::lock_guard lock(mutex);
  auto it = ranges().upper_bound(address);
  if (it == ranges().begin()) return false;
  --it;
  if (address >= it->first + it->second) return false;
  range = {it->first, it->first + it->second};
  return true;
}

Tracing& tracing() {
  static Tracing functions;
  return functions;
}

}  // namespace tessera::simt
