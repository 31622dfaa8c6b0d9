#include "tessera/tests/conformance/conformance.hpp"

namespace tessera::conformance {

int schedule_count() { return 8; }
std::string use_schedule(int index) {
  const simt::Schedule schedule{.seed = static_cast<uint64_t>(index / 2), .lazy = index % 2 == 0};
  simt::set_schedule(schedule);
  return concat("seed ", schedule.seed, schedule.lazy ? ", lazy" : ", eager");
}
bool records() { return false; }

}  // namespace tessera::conformance
