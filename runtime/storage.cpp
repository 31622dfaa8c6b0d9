#include "tessera/runtime/storage.hpp"

#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera {

Storage::Ref Storage::allocate(size_t bytes, Device device) {
  Stream& stream = current_stream(device);
  const std::shared_ptr<Allocator>& allocator = current_allocator(device.type);
  Ref ref(new Storage);
  ref->data_ = allocator->allocate(bytes, stream);
  ref->bytes_ = bytes;
  ref->device_ = device;
  ref->stream_ = device.type == Device::Type::cpu ? nullptr : &stream;
  ref->allocator_ = allocator;
  return ref;
}

Storage::Ref Storage::adopt(void* data, size_t bytes, Device device,
                            std::function<void()> release) {
  Ref ref(new Storage);
  ref->data_ = data;
  ref->bytes_ = bytes;
  ref->device_ = device;
  ref->release_ = std::move(release);
  return ref;
}

void Storage::destroy(Storage* storage) noexcept {
  if (storage->allocator_)
    storage->allocator_->deallocate(
        storage->data_, storage->bytes_,
        storage->stream_ ? *storage->stream_ : current_stream(storage->device_));
  else if (storage->release_)
    storage->release_();
  delete storage;
}

}  // namespace tessera
