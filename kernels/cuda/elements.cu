#include "tessera/kernels/cuda/elements.cuh"

#include <array>

namespace tessera::kernels::cuda {
namespace {

constexpr int64_t size_limit = int64_t{1} << 31;

using Pointers = std::array<char*, Elements::max_operands>;
using Sizes = std::array<int64_t, Elements::max_operands>;

/// Whether every operand can be walked in packs along the nearest dimension.
bool packs_fit(const StridedSpace& space, const Pointers& data, const Sizes& sizes, int pack) {
  const int nearest = space.rank - 1;
  if (space.rank == 0 || (space.rank > 1 && space.extent[nearest] % pack != 0)) return false;
  for (int k = 0; k < space.operands; ++k) {
    const int64_t* stride = space.stride[k];
    if (stride[nearest] == 0 && k + 1 < space.operands) continue;
    if (stride[nearest] != 1 || !aligned(data[k], static_cast<size_t>(pack * sizes[k])))
      return false;
    for (int d = 0; d < nearest; ++d)
      if (stride[d] % pack != 0) return false;
  }
  return true;
}

Elements make_elements(const StridedSpace& space, const Pointers& data, const Sizes& sizes,
                       int pack) {
  Elements e{};
  std::copy_n(data.begin(), space.operands, e.data);
  e.size = static_cast<uint32_t>(space.size());
  e.packed = packs_fit(space, data, sizes, pack);
  e.rank = std::max(space.rank, 1);
  for (int d = 0; d < space.rank; ++d) {
    const int from = space.rank - 1 - d;
    const int64_t step = e.packed && d == 0 ? pack : 1;
    e.extent[d] = Divisor(ceil_divide(space.extent[from], step));
    for (int k = 0; k < space.operands; ++k) e.stride[k][d] = space.stride[k][from] * step;
  }
  return e;
}

/// Halves the largest dimension until launches are small enough.
void cut(StridedSpace space, const Pointers& data, const Sizes& sizes, int pack,
         std::vector<Elements>& parts) {
  if (space.size() < size_limit) {
    parts.push_back(make_elements(space, data, sizes, pack));
    return;
  }
  const auto d = std::max_element(space.extent, space.extent + space.rank) - space.extent;
  const int64_t whole = space.extent[d], half = whole / 2 / pack * pack;
  space.extent[d] = half;
  cut(space, data, sizes, pack, parts);
  Pointers rest = data;
  for (size_t k = 0; k < static_cast<size_t>(space.operands); ++k)
    rest[k] += half * space.stride[k][d] * sizes[k];
  space.extent[d] = whole - half;
  cut(space, rest, sizes, pack, parts);
}

}  // namespace

std::vector<Elements> cut_elements(std::span<const View> inputs, const View& output, int pack) {
  std::vector<Elements> parts;
  if (output.numel() == 0) return parts;
  Pointers data{};
  Sizes sizes{};
  const auto set = [&](size_t k, const View& x) {
    data[k] = x.as<char>();
    sizes[k] = static_cast<int64_t>(size_of(x.dtype));
  };
  for (size_t k = 0; k < inputs.size(); ++k) set(k, inputs[k]);
  set(inputs.size(), output);
  cut(StridedSpace(inputs, output), data, sizes, pack, parts);
  return parts;
}

}  // namespace tessera::kernels::cuda
