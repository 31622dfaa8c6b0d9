#pragma once

namespace tessera::kernels {

/// OpenMP ends the program when the system refuses it a thread.
inline constexpr int most_cpu_threads = 1024;

/// Threads that the CPU kernels, and the BLAS behind them, use when called from this thread: all
/// processors, or OMP_NUM_THREADS, until set to at least 1 and at most `most_cpu_threads`.
int cpu_threads();
void set_cpu_threads(int count);

}  // namespace tessera::kernels
