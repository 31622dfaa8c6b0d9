#include "tessera/runtime/upload.hpp"

#include <cstring>
#include <utility>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/storage.hpp"

namespace tessera {
namespace {

constexpr int places = 4;  // copies under way before the host waits for the oldest

}  // namespace

struct Uploader::Staging {
  void* data = nullptr;
  size_t bytes = 0;
  Event read;  // the last copy from here
};

Uploader::Uploader(Device device)
    : device_(device),
      stream_(std::make_unique<Stream>(device)),
      staging_(std::make_unique<Staging[]>(places)) {}

Uploader::~Uploader() {
  try {
    stream_->synchronize();
  } catch (const Error&) {  // whoever waited for the tensors has heard of it
  }
  for (int i = 0; i < places; ++i)
    if (staging_[i].data) stream_->driver().deallocate_pinned(staging_[i].data, device_.index);
}

Tensor Uploader::start(const Tensor& host) {
  TS_CHECK(host.device() == Device::cpu() && host.contiguous(),
           "upload: wanted a contiguous tensor on cpu, have ", host);
  const Tensor tensor = Tensor::empty(host.shape(), host.dtype(), device_);
  const size_t bytes = static_cast<size_t>(host.numel()) * size_of(host.dtype());
  if (bytes == 0) return tensor;
  Staging& place = staging_[std::exchange(next_, (next_ + 1) % places)];
  place.read.synchronize();
  if (place.bytes < bytes) {
    void* const grown = stream_->driver().allocate_pinned(bytes, device_.index);
    if (place.data) stream_->driver().deallocate_pinned(place.data, device_.index);
    place.data = grown;
    place.bytes = bytes;
  }
  std::memcpy(place.data, host.data(), bytes);
  stream_->wait(current_stream(device_).record());
  stream_->copy_from_host(tensor.data(), place.data, bytes);
  tensor.storage()->filled_by(*stream_);
  arrived_ = place.read = stream_->record();
  return tensor;
}

void Uploader::wait() { current_stream(device_).wait(arrived_); }

}  // namespace tessera
