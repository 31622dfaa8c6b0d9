#pragma once

#include <cmath>
#include <limits>

#include "tessera/kernels/random.hpp"

/// The operands of the random kernels, as every device sees them.
namespace tessera::kernels {

inline void check_random_output(const char* operation, const View& y) {
  TS_CHECK(y.contiguous(), operation, ": the output of shape ", y.dims(), " is not contiguous");
}

inline void check_dropout(const View& x, const View& y) {
  TS_CHECK(x.dims() == y.dims() && x.dtype == y.dtype, "dropout: from ", x.dtype, " ", x.dims(),
           " to ", y.dtype, " ", y.dims());
  TS_CHECK(x.contiguous() && y.contiguous(), "dropout: operands of shape ", x.dims(),
           " are not contiguous");
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
