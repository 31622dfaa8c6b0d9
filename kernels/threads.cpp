#include "tessera/kernels/threads.hpp"

#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera::kernels {

int cpu_threads() { return cpu::max_threads(); }

void set_cpu_threads(int count) {
  TS_CHECK(count >= 1 && count <= most_cpu_threads, "set_cpu_threads: ", count,
           " threads; expected from 1 to ", most_cpu_threads);
  cpu::set_max_threads(count);
}

}  // namespace tessera::kernels
