#pragma once

#include <cstddef>
#include <cstdint>

namespace tessera::simt {

struct MemoryRange {
  uintptr_t begin = 0, end = 0;
  bool holds(uintptr_t address, size_t bytes) const {
    return address >= begin && address + bytes <= end;
  }
};

/// The registered device memory that `address` lies in.
bool find_device_memory(uintptr_t address, MemoryRange& range);

}  // namespace tessera::simt
