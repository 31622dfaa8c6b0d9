#pragma once

#include "tessera/kernels/sort.hpp"

namespace tessera::kernels::cpu {

/// Member of the sort family with a file of its own, neighbors.cpp.
void nearest_neighbors(Stream&, View queries, View points, View distance, View index,
                       const NeighborParams&);

}  // namespace tessera::kernels::cpu
