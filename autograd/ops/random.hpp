#pragma once

#include "tessera/autograd/op.hpp"
#include "tessera/runtime/rng.hpp"

/// Randomness by position: the numbers are a function of an RngState (see `Rng::take`), so a mask
/// is made again where it is needed, on any device, instead of stored.
namespace tessera::autograd {

/// x / (1 - probability) where kept, else 0; the same elements in every derivative. Reserve
/// x.numel() numbers. With `sequences` > 1, x [.., sequences, width] is dropped as each x[.., s,
/// ..] would be alone, from its own position rng.origin[s]; reserve x.numel() / sequences numbers.
Var dropout(const Var& x, double probability, RngState rng, int64_t sequences = 1);
/// x + deviation * n, n standard normal.
Var gaussian_noise(const Var& x, double deviation, RngState rng);

/// Fresh tensors.
Tensor uniform(const Shape& shape, double low, double high, RngState rng, DType dtype,
               Device device);
Tensor normal(const Shape& shape, double mean, double deviation, RngState rng, DType dtype,
              Device device);
/// +1 or -1 with equal chance, of x's shape, dtype and device: probes of trace estimates.
Tensor rademacher_like(const Var& x, RngState rng);

}  // namespace tessera::autograd
