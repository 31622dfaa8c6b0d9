#pragma once

#include "tessera/kernels/cuda/spectral.cuh"

namespace tessera::kernels::cuda {

/// y = (pixels of the cube - shift) basis; the cube was made with y. `upper`: of SpectralParams;
/// `clusters`: as launch_gram.
void launch_project(Stream&, const Cube&, const View& basis, const View& y, bool upper,
                    bool clusters);

}  // namespace tessera::kernels::cuda
