#pragma once

#include <cmath>
#include <limits>

#include "tessera/kernels/random.hpp"

/// The operands of the random kernels, as every device sees them.
namespace tessera::kernels {

inline void check_random_output(const char* operation, const View& y) {
  TS_CHECK(y.contiguous(), operation, ": the output of shape ", y.dims(), " is not contiguous");
}

inline void check_dropout(RngState rng, int64_t sequences, const View& x, const View& y) {
  TS_CHECK(x.dims() == y.dims() && x.dtype == y.dtype, "dropout: from ", x.dtype, " ", x.dims(),
           " to ", y.dtype, " ", y.dims());
  TS_CHECK(x.contiguous() && y.contiguous(), "dropout: operands of shape ", x.dims(),
           " are not contiguous");
  if (sequences == 1) return;
  TS_CHECK(x.rank >= 2 && x.shape[x.rank - 2] == sequences, "dropout: ", sequences,
           " sequences in ", x.dims(), ", expected [.., ", sequences, ", width]");
  TS_CHECK(rng.origin, "dropout: ", sequences, " sequences have no positions in memory");
}

inline void check_permutation(const View& y) {
  TS_CHECK(y.rank == 1 && y.contiguous(),
           "permutation: the output must be a contiguous vector, has shape ", y.dims());
  for_index(y.dtype, "permutation", [&]<class I>() {
    TS_CHECK(y.numel() <= std::numeric_limits<I>::max(), "permutation: ", y.numel(),
             " numbers do not fit ", y.dtype);
  });
}

/// word < probability * 2^32
struct Chance {
  bool possible;
  uint32_t last;  // the largest such word

  Chance(const char* operation, double probability) {
    TS_CHECK(probability >= 0 && probability <= 1, operation, ": probability ", probability,
             " is not in [0, 1]");
    const auto words = static_cast<uint64_t>(std::ceil(probability * 0x1p32));
    possible = words > 0;
    last = static_cast<uint32_t>(words - 1);
  }
  TS_HD bool operator()(uint32_t word) const { return possible & (word <= last); }
};

}  // namespace tessera::kernels
