#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera {

class Allocator;

/// The work of a stream, recorded once and replayed as a whole: on a GPU one launch of a CUDA graph
/// takes the place of all its launches. A replay does the same work on the same memory with the
/// same numbers, but for what it reads from memory that was changed in between.
///
/// Memory allocated while recording belongs to the recording and to the tensors made then, which
/// hold their values after each replay until the next. Memory from before must stay allocated.
class Recording {
 public:
  /// Records what `body` queues on `stream`, the calling thread's current one of its device; none
  /// of it is done. Throws what `body` throws, when `body` moves values between host and device or
  /// waits for the device, and an `unsupported` Error where a device cannot record (cpu).
  Recording(Stream& stream, const std::function<void()>& body);
  ~Recording();  // waits for replays that are under way
  Recording(const Recording&) = delete;
  Recording& operator=(const Recording&) = delete;

  /// For code that is being recorded (`Stream::recording`): `refresh` is called at the start of
  /// every replay, to bring what changes from one to the next into memory that the work reads, a
  /// tensor from before or a `lasting` one. All others are written at their time in the work.
  void at_replay(std::function<void()> refresh) { refreshes_.push_back(std::move(refresh)); }
  /// An uninitialised tensor whose memory no recorded work gets for anything else.
  Tensor lasting(const Shape& shape, DType dtype) const;

  /// Queues the work on the stream, after the refreshes in their order.
  void replay();

 private:
  Stream& stream_;
  std::shared_ptr<Allocator> lasting_, memory_;  // the latter reuses blocks of the former
  void* recorded_ = nullptr;
  std::vector<std::function<void()>> refreshes_;
};

}  // namespace tessera
