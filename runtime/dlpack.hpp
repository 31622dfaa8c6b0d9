#pragma once

#include <cstddef>
#include <cstdint>

#include "tessera/runtime/tensor.hpp"

/// Exchange of tensors with other libraries in memory, without copies, by the DLPack interface: the
/// legacy structure of all versions below 1.0 and the versioned one. The structures are
/// bit-compatible with dlpack.h; pointers to its types may be cast to pointers to these.
namespace tessera::dlpack {

enum DeviceType : int32_t { device_cpu = 1, device_cuda = 2, device_cuda_host = 3 };
enum TypeCode : uint8_t {
  code_int = 0,
  code_uint = 1,
  code_float = 2,
  code_bfloat = 4,
  code_bool = 6
};

struct DLDevice {
  int32_t device_type;
  int32_t device_id;
};

struct DLDataType {
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
};

struct DLTensor {
  void* data;
  DLDevice device;
  int32_t ndim;
  DLDataType dtype;
  int64_t* shape;
  int64_t* strides;  // in elements; null: row-major
  uint64_t byte_offset;
};

struct DLManagedTensor {
  DLTensor dl_tensor;
  void* manager_ctx;
  void (*deleter)(DLManagedTensor* self);
};

struct DLPackVersion {
  uint32_t major;
  uint32_t minor;
};
inline constexpr DLPackVersion version{1, 1};
inline constexpr uint64_t flag_read_only = 1;

struct DLManagedTensorVersioned {
  DLPackVersion version;
  void* manager_ctx;
  void (*deleter)(DLManagedTensorVersioned* self);
  uint64_t flags;
  DLTensor dl_tensor;
};

static_assert(sizeof(DLDevice) == 8 && sizeof(DLDataType) == 4);
static_assert(sizeof(DLTensor) == 48 && offsetof(DLTensor, device) == 8 &&
              offsetof(DLTensor, ndim) == 16 && offsetof(DLTensor, dtype) == 20 &&
              offsetof(DLTensor, shape) == 24 && offsetof(DLTensor, strides) == 32 &&
              offsetof(DLTensor, byte_offset) == 40);
static_assert(sizeof(DLManagedTensor) == 64 && offsetof(DLManagedTensor, manager_ctx) == 48 &&
              offsetof(DLManagedTensor, deleter) == 56);
static_assert(sizeof(DLManagedTensorVersioned) == 80 &&
              offsetof(DLManagedTensorVersioned, manager_ctx) == 8 &&
              offsetof(DLManagedTensorVersioned, deleter) == 16 &&
              offsetof(DLManagedTensorVersioned, flags) == 24 &&
              offsetof(DLManagedTensorVersioned, dl_tensor) == 32);

}  // namespace tessera::dlpack

namespace tessera {

/// A new structure that shares the tensor's memory and strides and keeps the memory alive until its
/// deleter is called, once, by whoever takes it. The work queued so far on the device's current
/// stream is waited for. Tensors on the interpreter, and undefined ones, are refused.
dlpack::DLManagedTensor* to_dlpack(const Tensor& tensor);
/// A broadcast tensor, whose elements share memory, is marked read-only.
dlpack::DLManagedTensorVersioned* to_dlpack_versioned(const Tensor& tensor);

/// A tensor that shares the given memory; the deleter is called when its last reference goes. What
/// we cannot share on the host is copied: read-only memory, negative strides, elements that are not
/// aligned to their size. Takes the structure over in every case: the deleter is called too when
/// this throws, for another major version, dtypes without a DType (named in the message), vectors
/// (lanes), rank above 6, unknown devices, and shapes that cannot be.
Tensor from_dlpack(dlpack::DLManagedTensor* managed);
Tensor from_dlpack(dlpack::DLManagedTensorVersioned* managed);

}  // namespace tessera
