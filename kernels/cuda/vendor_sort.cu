// Sorting by Thrust and CUB, on a stream and without waiting for it. What the functions of
// thrust_sort.cuh give is proven on the host (tests/vendor); that they run on a GPU, by nothing
// yet. The 4 to 40 bytes that ptxas (13.0) reports as spilled are CUB's, with keys of 8 and 16
// bits.
#define THRUST_FORCE_32_BIT_OFFSET_TYPE  // halves the kernels that are compiled
#include <cub/device/device_radix_sort.cuh>
#include <list>

#include "tessera/kernels/cuda/thrust_sort.cuh"
#include "tessera/kernels/cuda/vendor.hpp"
#include "tessera/runtime/cuda/check.hpp"

namespace tessera::kernels::cuda {
namespace {

/// Thrust's temporary memory, from the stream's pool: a block that is given back serves the work
/// that is queued after it.
class PoolMemory {
 public:
  using value_type = char;

  explicit PoolMemory(Stream& stream) : stream_(stream) {}
  char* allocate(std::ptrdiff_t bytes) {
    return blocks_.emplace_back(static_cast<size_t>(bytes), stream_).as<char>();
  }
  void deallocate(char* block, size_t) {
    blocks_.remove_if([&](const Scratch& s) { return s.as<char>() == block; });
  }

 private:
  Stream& stream_;
  std::list<Scratch> blocks_;
};

using ThrustPolicy = decltype(thrust::cuda::par_nosync(std::declval<PoolMemory&>()).on(nullptr));

/// Where Thrust runs, and whose memory `sort_pairs` takes.
struct OnStream : ThrustPolicy {
  Stream& stream;
};

/// CUB's own function, in place of the generic one of thrust_sort.cuh: Thrust's compiles its
/// kernels a second time, for values of the type of the keys.
template <class Key>
void sort_pairs(const OnStream& on, Key* keys, int64_t n, uint32_t* positions) {
  const auto count = static_cast<size_t>(n);
  const Scratch other_keys = on.stream.scratch(count * sizeof(Key)),
                other_positions = on.stream.scratch(count * sizeof(uint32_t));
  cub::DoubleBuffer<Key> key(keys, other_keys.as<Key>());
  cub::DoubleBuffer<uint32_t> position(positions, other_positions.as<uint32_t>());
  const auto stream = static_cast<cudaStream_t>(on.stream.native());
  const auto sort = [&](void* temporary, size_t& bytes) {
    tessera::cuda::check(
        cub::DeviceRadixSort::SortPairs(temporary, bytes, key, position, static_cast<int>(n), 0,
                                        8 * static_cast<int>(sizeof(Key)), stream),
        "cub::DeviceRadixSort::SortPairs");
  };
  size_t bytes = 0;
  sort(nullptr, bytes);
  const Scratch temporary = on.stream.scratch(bytes);
  sort(temporary.as<void>(), bytes);
  const auto bring = [&](void* to, const void* from, size_t element) {
    if (from != to)
      tessera::cuda::check(
          cudaMemcpyAsync(to, from, count * element, cudaMemcpyDeviceToDevice, stream),
          "cudaMemcpyAsync");
  };
  bring(keys, key.Current(), sizeof(Key));
  bring(positions, position.Current(), sizeof(uint32_t));
}

/// body(policy); what Thrust throws becomes an Error.
template <class Body>
void on_stream(const char* operation, Stream& stream, Body&& body) {
  PoolMemory memory(stream);
  try {
    body(OnStream{thrust::cuda::par_nosync(memory).on(static_cast<cudaStream_t>(stream.native())),
                  stream});
  } catch (const thrust::system_error& error) {
    throw Error(ErrorKind::device,
                concat(operation, " by Thrust on ", stream.device(), ": ", error.what()));
  }
}

}  // namespace

void vendor_sort(Stream& stream, const View& x, const View& y, const View& index, bool descending) {
  on_stream("sort", stream,
            [&](const auto& policy) { by_thrust::sort(policy, stream, x, y, index, descending); });
}
void vendor_segmented_sort(Stream& stream, const View& x, const View& offsets, const View& y,
                           const View& index, bool descending) {
  on_stream("segmented_sort", stream, [&](const auto& policy) {
    by_thrust::segmented_sort(policy, stream, x, offsets, y, index, descending);
  });
}
void vendor_scan(Stream& stream, const View& x, const View& y, bool exclusive) {
  TS_CHECK(x.numel() < longest_sorted, "scan: ", x.numel(),
           " elements are more than the vendor variant takes");
  on_stream("scan", stream, [&](const auto& policy) { by_thrust::scan(policy, x, y, exclusive); });
}
void vendor_unique(Stream& stream, const View& x, const View& values, const View& inverse,
                   const View& counts, const View& count) {
  on_stream("unique", stream, [&](const auto& policy) {
    by_thrust::unique(policy, stream, x, values, inverse, counts, count);
  });
}

}  // namespace tessera::kernels::cuda
