#include "tessera/kernels/cpu/reduce.hpp"
#include "tessera/kernels/cpu/vector.hpp"
#include "tessera/kernels/reduce_operands.hpp"

namespace tessera::kernels::cpu {

void dot(Stream& stream, View x0, View x1, View y) {
  check_dot(x0, x1, y);
  const int64_t n = x0.numel(), runs = divide_up(n, run_elements);
  for_float(x0.dtype, "dot", [&]<class S>() {
    // Four chains of 64 terms in each lane, however wide the vectors are.
    constexpr int64_t piece = std::min(run_elements, int64_t{4 * 64} * Vec<compute_t<S>>::width);
    const auto run = [&](int64_t at) {
      const int64_t end = std::min((at + 1) * run_elements, n);
      double sum = 0;
      for (int64_t i = at * run_elements; i < end; i += piece)
        sum += dot(x0.as<const S>() + i, x1.as<const S>() + i, std::min(piece, end - i));
      return sum;
    };
    double sum = 0;
    if (n <= reduce_grain) {
      for (int64_t r = 0; r < runs; ++r) sum += run(r);
    } else {
      const Scratch scratch = stream.scratch(static_cast<size_t>(runs) * sizeof(double));
      double* partial = scratch.as<double>();
      for_tasks(runs, run_elements, [&](int64_t r) { partial[r] = run(r); });
      for (int64_t r = 0; r < runs; ++r) sum += partial[r];
    }
    *y.as<double>() = sum;
  });
}

}  // namespace tessera::kernels::cpu
