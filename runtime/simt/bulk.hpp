#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "tessera/runtime/simt/async_unit.hpp"

/// What copies of bytes (async.cpp) and of boxes of tensors (tensor_box.cpp) share. `site`: the
/// caller's address, for reports; faults name the operation `name`.
namespace tessera::simt {

/// The block of the caller's cluster whose shared memory holds the bytes, or null.
Block* holder(const void* address, size_t bytes);
/// Faults where the bytes do not lie in the shared memory of the caller's block.
void check_own(const void* shared, size_t bytes, const char* name, const char* what,
               const void* site);
void check_aligned(const void* address, size_t alignment, const char* name, const char* what,
                   const void* site);

/// A piece of what is moved; from null come zeros.
struct Move {
  std::byte* to;
  const std::byte* from;
  size_t bytes;
};

/// Moves into shared memory of one or several blocks, each of whose barriers gets `bytes`. swizzle:
/// of a box of a tensor.
void load_pieces(void* shared, const std::vector<Move>& moves, uint32_t bytes, void* barrier,
                 uint32_t blocks, const char* name, const void* site,
                 std::optional<uint32_t> swizzle = {});
/// Moves out of shared memory, as part of the caller's open group.
void store_pieces(std::vector<Move> moves, BulkWrite write, const void* site);

}  // namespace tessera::simt
