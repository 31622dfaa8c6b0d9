#include "tessera/runtime/storage.hpp"

#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera {

Storage::Ref Storage::allocate(size_t bytes, Device device) {
  Stream& stream = current_stream(device);
  const std::shared_ptr<Allocator>& allocator = current_allocator(device.type);
  void* data = allocator->allocate(bytes, stream);
  auto* storage = new Storage;
  storage->data_ = data;
  storage->bytes_ = bytes;
  storage->device_ = device;
  storage->stream_ = &stream;
  storage->allocator_ = allocator;
  return Ref(storage);
}

Storage::Ref Storage::adopt(void* data, size_t bytes, Device device, std::function<void()> release) {
  auto* storage = new Storage;
  storage->data_ = data;
  storage->bytes_ = bytes;
  storage->device_ = device;
  storage->release_ = std::move(release);
  return Ref(storage);
}

void Storage::destroy(Storage* storage) noexcept {
  if (storage->allocator_)
    storage->allocator_->deallocate(storage->data_, storage->bytes_, *storage->stream_);
  else if (storage->release_)
    storage->release_();
  delete storage;
}

}  // namespace tessera
