#include "tessera/runtime/simt/traffic.hpp"

#include <algorithm>
#include <utility>

namespace tessera::simt {

std::vector<uintptr_t> Traffic::Request::addresses() const {
  std::vector<uintptr_t> all;
  for (uint32_t lane = 0; lane < warp_size; ++lane)
    if (lanes >> lane & 1) all.push_back(address[lane]);
  return all;
}

void Traffic::request(const SiteOfWarp& from, uint32_t lane, uintptr_t address, size_t bytes,
                      bool shared) {
  Requests& r = requests_[from];
  const uint32_t k = r.next[lane]++;
  if (bytes == 0) return;
  if (r.list.size() <= k) r.list.resize(k + 1);
  r.list[k].address[lane] = address;
  r.list[k].lanes |= 1u << lane;
  r.list[k].bytes = static_cast<uint32_t>(bytes);
  r.list[k].shared = shared;
}

void Traffic::move(KernelCounters& c, const void* warp, uintptr_t address, size_t bytes) {
  ++c.global_requests;
  c.busiest_warp = std::max(c.busiest_warp, ++moves_[warp]);
  for (uintptr_t s = address / 32; s <= (address + bytes - 1) / 32; ++s) sectors_.insert(s);
  c.global_sectors += (address + bytes - 1) / 32 - address / 32 + 1;
  c.ideal_sectors += (bytes + 31) / 32;
  c.global_bytes += bytes;
}

void Traffic::end_group(KernelCounters& c) {
  std::unordered_map<const void*, uint64_t> of_warps = std::exchange(moves_, {});
  for (const auto& [key, requests] : requests_)
    for (const Request& r : requests.list) {
      if (r.lanes == 0) continue;  // copies of nothing
      r.shared ? count_shared(r, c) : count_global(r, c);
      c.busiest_warp = std::max(c.busiest_warp, ++of_warps[key.warp]);
    }
  c.warps += of_warps.size();
  requests_.clear();
}

void Traffic::end_launch(KernelCounters& c) {
  c.unique_sectors += sectors_.size();
  sectors_.clear();
  requests_.clear();
  moves_.clear();
}

// Lanes whose words lie in one bank of 32 take turns; wide accesses go by halves or quarters of the
// warp.
void Traffic::count_shared(const Request& r, KernelCounters& c) {
  const uint32_t lanes_per_part = r.bytes <= 4 ? 32 : r.bytes == 8 ? 16 : 8;
  ++c.shared_requests;
  for (uint32_t first = 0; first < warp_size; first += lanes_per_part) {
    std::vector<uintptr_t> words;
    for (uint32_t lane = first; lane < first + lanes_per_part; ++lane)
      if (r.lanes >> lane & 1)
        for (uintptr_t a = r.address[lane] / 4; a <= (r.address[lane] + r.bytes - 1) / 4; ++a)
          words.push_back(a);
    std::sort(words.begin(), words.end());
    words.erase(std::unique(words.begin(), words.end()), words.end());
    uint32_t banks[32] = {};
    uint32_t most = 0;
    for (const uintptr_t w : words) most = std::max(most, ++banks[w % 32]);
    c.shared_wavefronts += most;
    c.ideal_wavefronts += (words.size() + 31) / 32;
  }
}

void Traffic::count_global(const Request& r, KernelCounters& c) {
  const std::vector<uintptr_t> addresses = r.addresses();
  std::vector<uintptr_t> sectors, bytes;
  for (const uintptr_t a : addresses) {
    for (uintptr_t s = a / 32; s <= (a + r.bytes - 1) / 32; ++s) sectors.push_back(s);
    bytes.push_back(a);
  }
  std::sort(sectors.begin(), sectors.end());
  std::sort(bytes.begin(), bytes.end());
  const auto unique = [](std::vector<uintptr_t>& v) {
    return static_cast<uint64_t>(std::unique(v.begin(), v.end()) - v.begin());
  };
  ++c.global_requests;
  sectors_.insert(sectors.begin(), sectors.end());
  c.global_sectors += unique(sectors);
  c.ideal_sectors += (unique(bytes) * r.bytes + 31) / 32;
  c.global_bytes += addresses.size() * r.bytes;
}

}  // namespace tessera::simt
