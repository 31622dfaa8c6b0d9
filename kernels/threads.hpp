#pragma once

namespace tessera::kernels {

/// Threads that the CPU kernels, and the BLAS behind them, use when called from this thread: all
/// processors, or OMP_NUM_THREADS, until set.
int cpu_threads();
void set_cpu_threads(int count);

}  // namespace tessera::kernels
