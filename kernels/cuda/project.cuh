#pragma once

#include "tessera/kernels/cuda/spectral.cuh"

namespace tessera::kernels::cuda {

/// y = (pixels of the cube - shift) basis; the cube was made with y. `upper`: of SpectralParams;
/// `clusters`: as launch_gram.
void launch_project(Stream&, const Cube&, const View& basis, const View& y, bool upper,
                    bool clusters);

/// y = the squared lengths of those rows, which are made some slices of x's first axis at a time:
/// as many as `room` doubles hold, so that they are read back from the second-level cache.
void launch_squared_lengths(Stream&, const View& x, const View& basis, const View& y,
                            const SpectralParams& params, bool clusters,
                            int64_t room = int64_t{1} << 21);

}  // namespace tessera::kernels::cuda
