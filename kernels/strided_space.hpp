#pragma once

#include <algorithm>
#include <cstdlib>
#include <span>

#include "tessera/runtime/view.hpp"

namespace tessera::kernels {

/// The elements of operands of one shape: extents and strides after dropping extents of 1, ordering
/// dimensions by the output's strides, the smallest last, and merging those that are one dimension
/// in every operand. The output is the last operand.
struct StridedSpace {
  static constexpr int max_operands = 4;

  int operands;
  int rank = 0;
  int64_t extent[max_rank] = {};
  int64_t stride[max_operands][max_rank] = {};

  StridedSpace(std::span<const View> inputs, const View& output)
      : operands(static_cast<int>(inputs.size()) + 1) {
    const auto view = [&](int k) -> const View& { return k + 1 < operands ? inputs[k] : output; };
    for (int d = 0; d < output.rank; ++d) {
      if (output.shape[d] == 1) continue;
      int at = rank++;  // insertion sort
      for (; at > 0 && std::abs(stride[operands - 1][at - 1]) < std::abs(output.stride[d]); --at)
        move(at - 1, at);
      extent[at] = output.shape[d];
      for (int k = 0; k < operands; ++k) stride[k][at] = view(k).stride[d];
    }
    merge();
  }

  int64_t size() const {
    int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= extent[d];
    return n;
  }

 protected:
  void move(int from, int to) {
    extent[to] = extent[from];
    for (int k = 0; k < operands; ++k) stride[k][to] = stride[k][from];
  }

 private:
  bool one_dimension(int outer, int inner) const {
    for (int k = 0; k < operands; ++k)
      if (stride[k][outer] != stride[k][inner] * extent[inner]) return false;
    return true;
  }
  void merge() {
    int kept = 0;
    for (int d = 1; d < rank; ++d) {
      if (one_dimension(kept, d)) {
        const int64_t both = extent[kept] * extent[d];
        move(d, kept);
        extent[kept] = both;
      } else {
        move(d, ++kept);
      }
    }
    rank = std::min(rank, kept + 1);
  }
};

}  // namespace tessera::kernels
