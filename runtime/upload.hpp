#pragma once

#include <memory>

#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera {

/// Brings host tensors to a device through pinned memory and a stream of its own, so that they
/// travel while the device computes. One thread at a time.
class Uploader {
 public:
  explicit Uploader(Device device);
  ~Uploader();  // waits for what is under way
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  /// Starts to copy `host` (on the cpu, contiguous) and returns at once. The copy comes after all
  /// work queued so far on the current stream, which the memory is allocated on, and overlaps with
  /// what is queued later. `host` may be changed or freed after the call.
  Tensor start(const Tensor& host);
  /// Later work of the current stream comes after the copies started so far.
  void wait();

 private:
  struct Staging;

  Device device_;
  std::unique_ptr<Stream> stream_;
  std::unique_ptr<Staging[]> staging_;
  int next_ = 0;
  Event arrived_;
};

}  // namespace tessera
