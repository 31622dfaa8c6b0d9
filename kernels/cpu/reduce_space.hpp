#pragma once

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "tessera/runtime/view.hpp"

namespace tessera::kernels::cpu {

struct ReduceAxis {
  int64_t extent, x, y;  // strides in x and y
  bool reduced;
};

/// The elements of a reduction of x to y: kept axes, reduced axes, and the innermost axis of
/// memory, which is one or the other. Neighbouring axes of one kind are merged where memory allows.
struct ReduceSpace {
  ReduceAxis kept[max_rank], reduced[max_rank];
  int kept_rank = 0, reduced_rank = 0;
  ReduceAxis inner{1, 1, 1, true};
  int64_t outputs = 1, runs = 1;  // products of the extents in `kept` and in `reduced`

  ReduceSpace(const View& x, const View& y) {
    ReduceAxis axes[max_rank];
    int rank = 0;
    for (int d = 0; d < x.rank; ++d) {
      if (x.shape[d] == 1) continue;
      const ReduceAxis axis{x.shape[d], x.stride[d], y.stride[d], y.shape[d] != x.shape[d]};
      int at = rank++;  // nearest elements last; what repeats the same memory comes first
      for (; at > 0 && distance(axes[at - 1]) < distance(axis); --at) axes[at] = axes[at - 1];
      axes[at] = axis;
    }
    int merged = 0;
    for (int d = 1; d < rank; ++d) {
      ReduceAxis& outer = axes[merged];
      const ReduceAxis& axis = axes[d];
      if (outer.reduced == axis.reduced && outer.x == axis.x * axis.extent &&
          (axis.reduced || outer.y == axis.y * axis.extent))
        outer = {outer.extent * axis.extent, axis.x, axis.y, axis.reduced};
      else
        axes[++merged] = axis;
    }
    rank = std::min(rank, merged + 1);
    if (rank > 0) inner = axes[--rank];
    for (int d = 0; d < rank; ++d) {
      if (axes[d].reduced) {
        runs *= axes[d].extent;
        reduced[reduced_rank++] = axes[d];
      } else {
        outputs *= axes[d].extent;
        kept[kept_rank++] = axes[d];
      }
    }
  }

  /// Offsets in x and y of element `index` of the kept axes, in x of element `index` of the reduced
  /// ones.
  int64_t kept_x(int64_t index) const { return offset(kept, kept_rank, index, &ReduceAxis::x); }
  int64_t kept_y(int64_t index) const { return offset(kept, kept_rank, index, &ReduceAxis::y); }
  int64_t reduced_x(int64_t index) const {
    return offset(reduced, reduced_rank, index, &ReduceAxis::x);
  }

 private:
  static int64_t distance(const ReduceAxis& a) {
    return a.x == 0 ? std::numeric_limits<int64_t>::max() : std::abs(a.x);
  }
  static int64_t offset(const ReduceAxis* axes, int rank, int64_t index,
                        int64_t ReduceAxis::*stride) {
    int64_t at = 0;
    for (int d = rank - 1; d > 0; --d) {
      at += index % axes[d].extent * (axes[d].*stride);
      index /= axes[d].extent;
    }
    return rank > 0 ? at + index * (axes[0].*stride) : 0;
  }
};

}  // namespace tessera::kernels::cpu
