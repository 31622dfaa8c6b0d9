#pragma once

#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/tensor.hpp"

/// Initial values. Numbers come from an explicit Rng on the host, so they do not depend on the
/// device; results are f32 on the CPU (`models::to` and `models::cast` move a whole model).
namespace tessera::models {

/// One standard normal number.
double normal(Rng& rng);

/// Uniform in (-bound, bound).
Tensor uniform(const Shape& shape, double bound, Rng& rng);
Tensor normal(const Shape& shape, double stddev, Rng& rng);
/// Normal cut at two standard deviations, as vision transformers start.
Tensor truncated_normal(const Shape& shape, double stddev, Rng& rng);
/// Glorot and Bengio (2010): uniform with bound gain * sqrt(6 / (fan_in + fan_out)).
Tensor glorot_uniform(const Shape& shape, int64_t fan_in, int64_t fan_out, Rng& rng,
                      double gain = 1.0);
/// He et al. (2015): normal with stddev sqrt(2 / fan).
Tensor he_normal(const Shape& shape, int64_t fan, Rng& rng);
/// Rows (or columns, whichever are fewer) orthonormal times `gain`; rank 2.
Tensor orthogonal(const Shape& shape, Rng& rng, double gain = 1.0);
Tensor constant(const Shape& shape, double value);

}  // namespace tessera::models
