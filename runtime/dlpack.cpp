#include "tessera/runtime/dlpack.hpp"

#include <algorithm>
#include <memory>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera {
namespace {

using namespace dlpack;

struct TypePair {
  DType dtype;
  DLDataType type;
};
constexpr TypePair types[] = {
    {DType::f32, {code_float, 32, 1}}, {DType::f64, {code_float, 64, 1}},
    {DType::f16, {code_float, 16, 1}}, {DType::bf16, {code_bfloat, 16, 1}},
    {DType::i64, {code_int, 64, 1}},   {DType::i32, {code_int, 32, 1}},
    {DType::i8, {code_int, 8, 1}},     {DType::u8, {code_uint, 8, 1}},
    {DType::bool_, {code_bool, 8, 1}}, {DType::i16, {code_int, 16, 1}},
    {DType::u16, {code_uint, 16, 1}}};

DLDataType to_type(DType dtype) {
  for (const TypePair& pair : types)
    if (pair.dtype == dtype) return pair.type;
  unsupported_dtype("to_dlpack", dtype);
}

DType from_type(DLDataType type) {
  for (const TypePair& pair : types)
    if (pair.type.code == type.code && pair.type.bits == type.bits && type.lanes == 1)
      return pair.dtype;
  constexpr std::string_view names[] = {"int",    "uint",    "float", "handle",
                                        "bfloat", "complex", "bool"};
  const std::string name = type.code < std::size(names) ? std::string(names[type.code])
                                                        : concat("type code ", type.code, ", ");
  throw Error(ErrorKind::unsupported,
              concat("from_dlpack: elements of ", name, type.bits,
                     type.lanes == 1 ? "" : concat(" x ", type.lanes), " are not supported"));
}

DLDevice to_device(Device device) {
  switch (device.type) {
    case Device::Type::cpu:
      return {device_cpu, 0};
    case Device::Type::cuda:
      return {device_cuda, device.index};
    default:
      throw Error(ErrorKind::unsupported,
                  concat("to_dlpack: other libraries do not know the device ", device));
  }
}

Device from_device(DLDevice device) {
  if (device.device_type == device_cpu || device.device_type == device_cuda_host)
    return Device::cpu();
  if (device.device_type == device_cuda) return Device::cuda(device.device_id);
  throw Error(ErrorKind::unsupported,
              concat("from_dlpack: DLPack device type ", device.device_type,
                     " is not supported; expected cpu (1), cuda (2) or cuda host (3)"));
}

// The exported structure with what it points to.
template <class Managed>
struct Export {
  Managed managed{};
  Tensor tensor;
  Shape shape, strides;
};

template <class Managed>
Managed* make_export(const Tensor& tensor) {
  TS_CHECK(tensor.defined() && tensor.has_data(), "to_dlpack: ", tensor, " has no memory");
  const DLDevice device = to_device(tensor.device());
  auto out = std::make_unique<Export<Managed>>();
  out->tensor = tensor;
  out->shape = tensor.shape();
  out->strides = tensor.strides();
  out->managed.dl_tensor = {tensor.numel() ? tensor.data() : nullptr,
                            device,
                            tensor.rank(),
                            to_type(tensor.dtype()),
                            out->shape.begin(),
                            out->strides.begin(),
                            0};
  out->managed.manager_ctx = out.get();
  out->managed.deleter = [](Managed* self) {
    delete static_cast<Export<Managed>*>(self->manager_ctx);
  };
  current_stream(tensor.device()).synchronize();
  return &out.release()->managed;
}

template <class Managed>
std::shared_ptr<Managed> own(Managed* managed) {
  TS_CHECK(managed, "from_dlpack: no tensor");
  return {managed, [](Managed* self) {
            if (self->deleter) self->deleter(self);
          }};
}

// The tensor's storage keeps `owner`.
template <class Managed>
Tensor import(const std::shared_ptr<Managed>& owner, bool read_only) {
  const DLTensor& source = owner->dl_tensor;
  TS_CHECK(source.ndim >= 0 && source.ndim <= max_rank, "from_dlpack: rank ", source.ndim,
           " is not in [0, ", max_rank, "]");
  TS_CHECK(source.ndim == 0 || source.shape, "from_dlpack: rank ", source.ndim, " without a shape");
  const Device device = from_device(source.device);
  const DType dtype = from_type(source.dtype);
  const auto element = static_cast<int64_t>(size_of(dtype));

  Shape shape = Shape::filled(source.ndim, 0);
  std::copy_n(source.shape, source.ndim, shape.begin());
  int64_t count = element;  // bytes, zeros not counted, so that no product of extents overflows
  for (const int64_t extent : shape) {
    TS_CHECK(extent >= 0, "from_dlpack: negative extent in shape ", shape);
    TS_CHECK(!__builtin_mul_overflow(count, std::max<int64_t>(extent, 1), &count),
             "from_dlpack: shape ", shape, " is beyond any memory");
  }
  Shape strides = contiguous_strides(shape);
  if (source.strides) std::copy_n(source.strides, source.ndim, strides.begin());

  if (shape.numel() == 0) return Tensor::empty(shape, dtype, device);
  TS_CHECK(source.data, "from_dlpack: shape ", shape, " without data");
  auto* data = static_cast<char*>(source.data) + source.byte_offset;
  constexpr int64_t most = INT64_MAX / 16;
  int64_t last = 0;  // the farthest element
  bool forward = true;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == 1) strides[i] = 1;  // of no meaning, and may be anything
    int64_t step = 0;
    forward = forward && strides[i] >= 0;
    TS_CHECK(!__builtin_mul_overflow(shape[i] - 1, strides[i], &step) &&
                 !__builtin_add_overflow(last, step, &last) && last < most && last > -most,
             "from_dlpack: strides ", strides, " of shape ", shape, " are beyond any memory");
  }
  if (!read_only && forward &&
      reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(element) == 0)
    return Tensor::over(
        Storage::adopt(data, static_cast<size_t>((last + 1) * element), device, [owner] {}), 0,
        shape, strides, dtype);

  if (device.type != Device::Type::cpu)
    throw Error(ErrorKind::unsupported,
                concat("from_dlpack: read-only, unaligned or backward memory on ", device,
                       " cannot be shared; copy it on the sender's side"));
  Tensor copy = Tensor::empty(shape, dtype, device);
  View from = copy.view();
  from.data = data;
  std::copy(strides.begin(), strides.end(), from.stride);
  copy_strided_host(from, copy.view());
  return copy;
}

}  // namespace

DLManagedTensor* to_dlpack(const Tensor& tensor) { return make_export<DLManagedTensor>(tensor); }

DLManagedTensorVersioned* to_dlpack_versioned(const Tensor& tensor) {
  auto* managed = make_export<DLManagedTensorVersioned>(tensor);
  managed->version = version;
  for (int i = 0; i < tensor.rank(); ++i)
    if (tensor.strides()[i] == 0 && tensor.shape()[i] > 1) managed->flags |= flag_read_only;
  return managed;
}

Tensor from_dlpack(DLManagedTensor* managed) { return import(own(managed), false); }

Tensor from_dlpack(DLManagedTensorVersioned* managed) {
  const auto owner = own(managed);
  if (owner->version.major != version.major)
    throw Error(ErrorKind::unsupported,
                concat("from_dlpack: DLPack version ", owner->version.major, ".",
                       owner->version.minor, " where 1.x is expected"));
  return import(owner, (owner->flags & flag_read_only) != 0);
}

}  // namespace tessera
