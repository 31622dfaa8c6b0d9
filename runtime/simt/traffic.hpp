#pragma once

#include <cstddef>
#include <cstdint>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "tessera/runtime/driver.hpp"
#include "tessera/runtime/simt/interpreter.hpp"

/// How the accesses of warps fall on sectors of 32 bytes and on the 32 banks of shared memory.
namespace tessera::simt {

/// Where a warp makes requests, and after how many block barriers.
struct SiteOfWarp {
  const void* warp;
  const void* site;
  uint32_t barriers;
  bool operator==(const SiteOfWarp&) const = default;
};

/// The requests of blocks that run side by side, until they have ended.
class Traffic {
 public:
  /// A load or store of one lane. The k-th of each lane of a warp at one place in the code between
  /// two barriers make up its k-th request there; one of no bytes counts among the lane's, and
  /// touches nothing.
  void request(const SiteOfWarp& from, uint32_t lane, uintptr_t address, size_t bytes, bool shared);
  /// What an asynchronous copy that the warp has started moves from or to global memory.
  void move(KernelCounters& counters, const void* warp, uintptr_t address, size_t bytes);
  void end_group(KernelCounters& counters);
  void end_launch(KernelCounters& counters);

 private:
  struct Request {
    uintptr_t address[warp_size];
    uint32_t lanes = 0;  // that have one, as bits
    uint32_t bytes = 0;
    bool shared = false;

    std::vector<uintptr_t> addresses() const;
  };
  struct Requests {
    uint32_t next[warp_size] = {};
    std::vector<Request> list;
  };
  struct HashSite {
    size_t operator()(const SiteOfWarp& s) const {
      return (std::hash<const void*>()(s.warp) * 31 + std::hash<const void*>()(s.site)) * 31 +
             s.barriers;
    }
  };
  static void count_shared(const Request& request, KernelCounters& counters);
  void count_global(const Request& request, KernelCounters& counters);

  std::unordered_map<SiteOfWarp, Requests, HashSite> requests_;
  std::unordered_map<const void*, uint64_t> moves_;  // of each warp
  std::unordered_set<uintptr_t> sectors_;            // of global memory that the launch has touched
};

}  // namespace tessera::simt
