#pragma once

#include "tessera/kernels/sort.hpp"

namespace tessera::kernels::cpu {

/// Members of the sort family with files of their own.
void nearest_neighbors(Stream&, View queries, View points, View distance, View index,
                       const NeighborParams&);  // neighbors.cpp
void class_neighbors(Stream&, View sorted, View grouped, View offsets, View counts,
                     const ClassNeighborParams&);  // class_neighbors.cpp

}  // namespace tessera::kernels::cpu
