// Boxes of tensors: which bytes of a tensor a box holds, and where they lie in shared memory.
#include <algorithm>
#include <utility>
#include <vector>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/simt/bulk.hpp"

#define SITE __builtin_return_address(0)

namespace tessera::simt {
namespace {

/// Calls body(row, where it would begin in the tensor at coordinate 0 of the innermost dimension;
/// null outside of the tensor) for the rows of a box.
template <class Body>
void for_rows(const TensorBox& t, const int32_t* start, Body&& body) {
  uint32_t rows = 1;
  for (uint32_t d = 1; d < t.rank; ++d) rows *= t.box[d];
  for (uint32_t r = 0; r < rows; ++r) {
    std::byte* at = t.base;
    bool inside = true;
    for (uint32_t d = 1, rest = r; d < t.rank; rest /= t.box[d], ++d) {
      const int64_t i = int64_t{start[d]} + rest % t.box[d];
      inside = inside && i >= 0 && i < t.extent[d];
      if (inside) at += static_cast<uint64_t>(i) * t.stride[d - 1];
    }
    body(r, inside ? at : nullptr);
  }
}

/// The pieces of 16 bytes (or what of them lies inside) of a box in shared memory. The hardware
/// exchanges 16-byte units by bits of the shared address: with a span of 32, 64 or 128 bytes, the
/// lowest one, two or three bits of the unit's number by those of its 128-byte line.
std::vector<Move> pieces(const TensorBox& t, const int32_t* start, std::byte* shared,
                         bool fills_outside) {
  const Block& block = *holder(shared, 1);
  const uint32_t row_bytes = t.box[0] * t.element_bytes;
  const int64_t first = int64_t{start[0]} * t.element_bytes,
                extent = int64_t{t.extent[0]} * t.element_bytes;
  std::vector<Move> moves;
  for_rows(t, start, [&](uint32_t row, std::byte* at) {
    for (uint32_t b = 0; b < row_bytes; b += 16) {
      uint64_t address =
          static_cast<uint64_t>(shared - block.shared) + uint64_t{row} * row_bytes + b;
      address ^= (address >> 7 & ((1u << t.swizzle) - 1)) << 4;
      std::byte* const to = block.shared + address;
      const uint32_t unit_bytes = std::min(16u, row_bytes - b);
      const int64_t from = first + b;
      // The part of the unit that lies inside; elements do not straddle the edge.
      const int64_t low = at ? std::clamp<int64_t>(-from, 0, unit_bytes) : unit_bytes,
                    high = at ? std::clamp<int64_t>(extent - from, low, unit_bytes) : unit_bytes;
      const auto add = [&](int64_t begin, int64_t end, bool inside) {
        if (begin < end && (inside || fills_outside))
          moves.push_back(
              {to + begin, inside ? at + from + begin : nullptr, static_cast<size_t>(end - begin)});
      };
      add(0, low, false);
      add(low, high, true);
      add(high, unit_bytes, false);
    }
  });
  return moves;
}

const TensorBox& check_box(const void* map, const void* shared, const char* name,
                           const void* site) {
  const auto& t = *static_cast<const TensorBox*>(map);
  if (t.rank < 1 || t.rank > 5) fault(concat(name, ": not a tensor map"), site);
  check_aligned(map, 64, name, "the tensor map", site);
  check_aligned(shared, t.swizzle == 3 ? 1024 : 128, name, "the shared address", site);
  if (!holder(shared, 1))
    fault(concat(name, ": the box is not in the shared memory of the cluster"), site);
  return t;
}

uint32_t box_bytes(const TensorBox& t) {
  uint32_t bytes = t.element_bytes;
  for (uint32_t d = 0; d < t.rank; ++d) bytes *= t.box[d];
  return bytes;
}

}  // namespace

void tensor_load(void* shared, const void* map, const int32_t* start, void* barrier,
                 uint32_t blocks) {
  const TensorBox& t = check_box(map, shared, "tensor_load", SITE);
  load_pieces(shared, pieces(t, start, static_cast<std::byte*>(shared), true), box_bytes(t),
              barrier, blocks, "tensor_load", SITE, t.swizzle);
}

void tensor_store(const void* map, const int32_t* start, const void* shared, BulkWrite write) {
  const TensorBox& t = check_box(map, shared, "tensor_store", SITE);
  check_own(shared, box_bytes(t), "tensor_store", "the source", SITE);
  std::vector<Move> moves =
      pieces(t, start, static_cast<std::byte*>(const_cast<void*>(shared)), false);
  for (Move& m : moves) {
    std::byte* const in_tensor = const_cast<std::byte*>(m.from);
    m = {in_tensor, m.to, m.bytes};
  }
  store_pieces(std::move(moves), write, SITE);
}

}  // namespace tessera::simt
