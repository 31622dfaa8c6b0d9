#pragma once

#include "tessera/kernels/cuda/faults.cuh"
#include "tessera/kernels/cuda/launch.cuh"
#include "tessera/kernels/spmm_operands.hpp"

/// What the files of the spmm family share. spmm.cu holds the sums, edges.cu what works on entries,
/// edge_attention.cu attention in one pass, aggregate.cu the choice of extremes, similarity.cu
/// graphs that are not stored, grouping.cu the transpose; the table is at the end of spmm.cu.
namespace tessera::kernels::cuda {

void sddmm(Stream&, const CsrView& a, View x, View z, View scores, double alpha);
void edge_add(Stream&, const CsrView& a, View x, View z, View scores);
void edge_softmax(Stream&, const CsrView& a, View x, View y);
void edge_softmax_gradient(Stream&, const CsrView& a, View y, View dy, View dx);
void edge_attention(Stream&, const CsrView& a, View target, View source, View x, View y, View lse,
                    const EdgeAttentionParams&);
void edge_attention_gradient(Stream&, const CsrView& a, const CsrView& transposed, View permutation,
                             View target, View source, View x, View y, View lse, View gy,
                             View gtarget, View gsource, View gx, const EdgeAttentionParams&);
void aggregate_extreme(Stream&, ExtremeOp, const CsrView& a, View x, View y, View index);
void aggregate_gather(Stream&, const CsrView& a, View x, View index, View y);
void aggregate_scatter(Stream&, const CsrView& transposed, View permutation, View y, View index,
                       View x);
void similarity_spmm(Stream&, View features, View norms, View x, View y, const SimilarityParams&);
/// The extremes of segments, whose rows may be permuted; index is i64 and names rows of x.
void segment_extreme(Stream&, SegmentOp, const CsrView& segments, View x, View y, View index);

/// Groups positions by key (0 <= key < groups): order[start[g] .. start[g + 1]) are the positions
/// of key g, rising. keys, order: i32 [count], start: i32 [groups + 1], all on the device.
void group_positions(Stream& stream, const int32_t* keys, int64_t count, int64_t groups,
                     int32_t* start, int32_t* order);

inline constexpr uint32_t block_threads = 256;

/// Rows longer than this are sums of the sums of their segments, in order.
inline constexpr int32_t segment_entries = 1024;

/// A row of more than segment_entries entries and the numbers of its segments.
struct LongRow {
  int32_t row, first_segment, segments;
};
struct Segment {
  int32_t begin, end, row;
};
/// The long rows of a pattern, in whatever order they were found.
struct LongRows {
  int32_t* count;  // [2]: of rows, of segments
  LongRow* rows;
  Segment* segments;
};
/// The segments that rows of more than segment_entries entries can have, at most.
constexpr int64_t most_segments(int64_t nnz) { return nnz / segment_entries * 2 + 1; }
/// The longest row is on the device; looking for long ones costs little beside that many entries.
constexpr bool worth_cutting(int64_t nnz) { return nnz >= 32 * segment_entries; }

/// Finds the long rows on the device, in memory of its own.
class LongRowList {
 public:
  LongRowList(Stream& stream, const int32_t* row_ptr, int64_t rows, int64_t nnz);
  LongRows found() const {
    return {counts_.as<int32_t>(), rows_.as<LongRow>(), segments_.as<Segment>()};
  }

 private:
  Scratch counts_, rows_, segments_;
};

/// The lanes that work on one row of `columns` packs: a power of two up to a warp.
constexpr uint32_t lanes_for(int64_t columns) {
  uint32_t lanes = 1;
  while (lanes < warp_size && lanes < columns) lanes *= 2;
  return lanes;
}

/// The row that entry `entry` belongs to, by bisection of row_ptr [rows + 1]: empty rows are
/// skipped.
TS_DEVICE int64_t row_of_entry(const int32_t* row_ptr, int64_t rows, int64_t entry) {
  int64_t low = 0, high = rows;  // row_ptr[low] <= entry < row_ptr[high]
  while (high - low > 1) {
    const int64_t middle = (low + high) / 2;
    if (row_ptr[middle] <= entry)
      low = middle;
    else
      high = middle;
  }
  return low;
}

}  // namespace tessera::kernels::cuda
