#pragma once

/// Marks a function that runs on the host and, where the compiler is nvcc, on the device too.
#if defined(__CUDACC__)
#define TS_HD __host__ __device__
#else
#define TS_HD
#endif
