// What exchange.py calls through ctypes: tensors of ours as DLPack structures, foreign structures
// as tensors of ours, and how much memory is live meanwhile.
#include <cstring>
#include <string>

#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/dlpack.hpp"

namespace {

using namespace tessera;

const std::shared_ptr<TrackingAllocator>& tracking() {
  static const auto allocator =
      std::make_shared<TrackingAllocator>(current_allocator(Device::Type::cpu));
  return allocator;
}

// What the last call that failed had to say.
std::string& failure() {
  static std::string text;
  return text;
}

template <class Body>
auto caught(Body&& body) -> decltype(body()) {
  failure().clear();
  try {
    return body();
  } catch (const std::exception& error) {
    failure() = error.what();
    return {};
  }
}

// 0, 1, 2, ... modulo 100 (modulo 2 in bool) in row-major order.
Tensor counted(const Shape& shape, DType dtype) {
  const AllocatorScope scope(Device::Type::cpu, tracking());
  Tensor t = Tensor::empty(shape, dtype, Device::cpu());
  for_any(dtype, [&]<class T>() {
    T* out = static_cast<T*>(t.data());
    for (int64_t i = 0; i < t.numel(); ++i) {
      if constexpr (is_half(dtype_of<T>))
        out[i] = T(static_cast<float>(i % 100));
      else
        out[i] = static_cast<T>(i % (dtype == DType::bool_ ? 2 : 100));
    }
  });
  return t;
}

}  // namespace

extern "C" {

int64_t live_bytes() { return tracking()->live_bytes(); }
const char* last_failure() { return failure().c_str(); }

/// A structure that holds counted numbers in [rows, cols]: as they are, or transposed, every second
/// column from the second on, or the first row repeated `rows` times.
void* exported(const char* dtype, int64_t rows, int64_t cols, const char* layout, bool versioned) {
  return caught([&]() -> void* {
    const std::string as = layout;
    Tensor t = counted({rows, cols}, parse_dtype(dtype));
    if (as == "transposed") t = t.transpose(0, 1);
    if (as == "strided")
      t = Tensor::over(t.storage(), t.numel() ? 1 : 0, {rows, cols / 2}, {cols, 2}, t.dtype());
    if (as == "repeated") t = t.narrow(0, 0, 1).broadcast_to({rows, cols});
    return versioned ? static_cast<void*>(to_dlpack_versioned(t)) : to_dlpack(t);
  });
}

/// Takes a structure over; null when it is refused.
void* imported(void* managed, bool versioned) {
  return caught([&]() -> void* {
    return new Tensor(versioned
                          ? from_dlpack(static_cast<dlpack::DLManagedTensorVersioned*>(managed))
                          : from_dlpack(static_cast<dlpack::DLManagedTensor*>(managed)));
  });
}
void release(void* tensor) { delete static_cast<Tensor*>(tensor); }
const void* data(const void* tensor) { return static_cast<const Tensor*>(tensor)->data(); }

/// "f32 [2, 3]", and the elements in row-major order as doubles.
const char* described(const void* tensor) {
  static std::string text;
  const auto& t = *static_cast<const Tensor*>(tensor);
  text = concat(t.dtype(), " ", t.shape());
  return text.c_str();
}
void elements(const void* tensor, double* out) {
  const auto& t = *static_cast<const Tensor*>(tensor);
  for_any(t.dtype(), [&]<class T>() {
    for (const T value : t.values<T>()) *out++ = static_cast<double>(value);
  });
}
}
