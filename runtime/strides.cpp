#include "tessera/runtime/strides.hpp"

namespace tessera {

// They exist when every run of old axes that a new axis spans is laid out without gaps.
std::optional<Shape> reshaped_strides(const Shape& shape, const Shape& strides,
                                      const Shape& wanted) {
  Shape result = contiguous_strides(wanted);
  if (shape.numel() == 0) return result;
  Shape old_dims = {}, old_strides = {};
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == 1) continue;
    old_dims.push_back(shape[i]);
    old_strides.push_back(strides[i]);
  }
  int old = 0;
  for (int i = 0; i < wanted.rank();) {
    if (wanted[i] == 1) {
      ++i;
      continue;
    }
    int64_t have = old_dims[old], want = wanted[i];
    int old_end = old + 1, new_end = i + 1;
    while (have != want) {
      if (have < want)
        have *= old_dims[old_end++];
      else
        want *= wanted[new_end++];
    }
    for (int k = old + 1; k < old_end && k < max_rank; ++k)
      if (old_strides[k - 1] != old_dims[k] * old_strides[k]) return std::nullopt;
    int64_t stride = old_strides[old_end - 1];
    for (int k = new_end - 1; k >= i; --k) {
      result[k] = stride;
      stride *= wanted[k];
    }
    old = old_end;
    i = new_end;
  }
  return result;
}

}  // namespace tessera
