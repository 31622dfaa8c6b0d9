// Kernels on a GPU against the toolkit's (variant `vendor`) and against a copy (`floor`), on random
// data that rotates through more memory than the second-level cache holds.
//
// Without a GPU the list is empty; TESSERA_BENCH_DEVICE=simt runs every case once in small on the
// interpreter, which proves the checks and times nothing of interest.
#include <cstdio>
#include <cstdlib>
#include <string>

#include "tessera/bench/kernels/gpu/operands.hpp"

int main(int argc, char** argv) {
  using namespace tessera;
  if (std::string why; available(bench::device(), &why)) {
    bench::add_products();
    bench::add_graphs();
    bench::add_gathers();
    bench::add_elements();
    bench::add_rows();
    bench::add_order();
    bench::add_networks();
    bench::add_linalg();
    bench::add_cubes();
  } else if (std::getenv("TESSERA_BENCH_DEVICE")) {
    std::fprintf(stderr, "%s: %s\n", argv[0], why.c_str());
    return 2;
  }
  return bench::main(argc, argv);
}
