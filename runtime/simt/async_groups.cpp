// What threads have started in groups and not waited for.
#include <cstring>
#include <utility>

#include "tessera/runtime/simt/async_unit.hpp"
#include "tessera/runtime/simt/trace.hpp"

namespace tessera::simt {

void AsyncUnit::add(Copies& copies, const Copy& copy) {
  constexpr uint64_t kept = 64;  // of those that are done
  if (copies.done - copies.first >= kept) {
    const auto begin = copies.list.begin();
    copies.list.erase(begin, begin + static_cast<std::ptrdiff_t>(copies.done - copies.first));
    copies.first = copies.done;
  }
  copies.list.push_back(copy);
  if (!interpreter_.schedule().lazy) copies.list.back().move();
}

void AsyncUnit::Copy::move() {
  if (std::exchange(moved, true)) return;
  if (source_bytes > 0) std::memcpy(shared, global, source_bytes);
  if (source_bytes < bytes) std::memset(shared + source_bytes, 0, bytes - source_bytes);
}

/// Does those before number `end`.
void AsyncUnit::Copies::perform(uint64_t end) {
  const bool by_issuer = tracing().access && &current() == issuer;
  for (; done < end; ++done) {
    Copy& c = list[done - first];
    if (by_issuer) tracing().end_access(c.shared, c.bytes, Access::write, c.mark, c.site);
    c.move();
  }
}

void AsyncUnit::Copies::wait(size_t groups) {
  if (group_end.size() <= groups) return;
  const size_t over = group_end.size() - groups;
  perform(group_end[over - 1]);
  group_end.erase(group_end.begin(), group_end.begin() + static_cast<std::ptrdiff_t>(over));
}

void AsyncUnit::add(Stores& stores, Store store) {
  if (!interpreter_.schedule().lazy) std::exchange(store.perform, nullptr)();
  stores.open.push_back(std::move(store));
}

void AsyncUnit::Stores::commit() { committed.push_back(std::exchange(open, {})); }

void AsyncUnit::Stores::wait(size_t groups) {
  for (; committed.size() > groups; committed.pop_front())
    for (const Store& store : committed.front()) {
      if (store.perform) store.perform();
      store.end();
    }
}

}  // namespace tessera::simt
