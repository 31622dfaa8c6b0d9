#include "tessera/runtime/tensor.hpp"

#include <cstring>

#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/strides.hpp"

namespace tessera {
namespace {

int64_t span_of(const Shape& shape, const Shape& strides) {
  int64_t last = 0;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == 0) return 0;
    last += (shape[i] - 1) * strides[i];
  }
  return last + 1;
}

void copy_rows(const View& source, const View& destination, size_t element, int axis,
               const char* from, char* to) {
  const int64_t n = source.shape[axis];
  const int64_t ss = source.stride[axis] * static_cast<int64_t>(element);
  const int64_t ds = destination.stride[axis] * static_cast<int64_t>(element);
  if (axis + 1 < source.rank) {
    for (int64_t i = 0; i < n; ++i)
      copy_rows(source, destination, element, axis + 1, from + i * ss, to + i * ds);
    return;
  }
  if (ss == static_cast<int64_t>(element) && ds == ss) {
    std::memcpy(to, from, static_cast<size_t>(n) * element);
    return;
  }
  const auto strided = [&]<class Word>(Word) {
    for (int64_t i = 0; i < n; ++i) {
      Word word;
      std::memcpy(&word, from + i * ss, sizeof word);
      std::memcpy(to + i * ds, &word, sizeof word);
    }
  };
  switch (element) {
    case 1:
      return strided(uint8_t{});
    case 2:
      return strided(uint16_t{});
    case 4:
      return strided(uint32_t{});
    default:
      return strided(uint64_t{});
  }
}

}  // namespace

void copy_strided_host(const View& source, const View& destination) {
  if (source.numel() == 0) return;
  const size_t element = size_of(source.dtype);
  const auto* from = static_cast<const char*>(source.data);
  auto* to = static_cast<char*>(destination.data);
  if (source.contiguous() && destination.contiguous())
    std::memcpy(to, from, static_cast<size_t>(source.numel()) * element);
  else
    copy_rows(source, destination, element, 0, from, to);
}

Tensor Tensor::meta(const Shape& shape, DType dtype, Device device) {
  check_extents("tensor", shape);
  Tensor t;
  t.shape_ = shape;
  t.strides_ = contiguous_strides(shape);
  t.dtype_ = dtype;
  t.device_ = device;
  t.defined_ = true;
  return t;
}

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor t = meta(shape, dtype, device);
  t.storage_ = Storage::allocate(static_cast<size_t>(shape.numel()) * size_of(dtype), device);
  return t;
}

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  if (t.numel()) current_stream(device).clear(t.view().data, t.storage_->bytes());
  return t;
}

Tensor Tensor::from_bytes(const void* values, int64_t count, const Shape& shape, DType dtype,
                          Device device) {
  TS_CHECK(count == shape.numel(), "from: ", count, " values given for shape ", shape);
  Tensor t = empty(shape, dtype, device);
  if (count == 0) return t;
  Stream& stream = current_stream(device);
  stream.copy_from_host(t.data(), values, static_cast<size_t>(count) * size_of(dtype));
  stream.synchronize();
  return t;
}

Tensor Tensor::over(Storage::Ref storage, int64_t offset, const Shape& shape, const Shape& strides,
                    DType dtype) {
  TS_CHECK(shape.rank() == strides.rank(), "over: shape ", shape, " and strides ", strides,
           " differ in rank");
  Tensor t = meta(shape, dtype, storage->device());
  const auto elements = static_cast<int64_t>(storage->bytes() / size_of(dtype));
  int64_t rest = elements - offset;  // what lies behind the first element, itself included
  bool inside = offset >= 0 && (shape.numel() == 0 ? rest >= 0 : rest > 0);
  for (int i = 0; i < shape.rank() && inside && shape.numel() > 0; ++i) {
    int64_t step = 0;
    inside =
        strides[i] >= 0 && !__builtin_mul_overflow(shape[i] - 1, strides[i], &step) && step < rest;
    rest -= step;
  }
  TS_CHECK(inside, "over: shape ", shape, " with strides ", strides, " at offset ", offset,
           " leaves a storage of ", storage->bytes(), " bytes");
  t.strides_ = strides;
  t.offset_ = offset;
  t.storage_ = std::move(storage);
  return t;
}

int64_t Tensor::size(int axis) const { return shape_[normalize_axis("size", axis, rank())]; }

bool Tensor::contiguous() const {
  int64_t expected = 1;
  bool dense = true;
  for (int i = rank() - 1; i >= 0; --i) {
    dense = dense && (shape_[i] == 1 || strides_[i] == expected);
    expected *= shape_[i];
  }
  return dense || expected == 0;
}

Tensor Tensor::reshape(const Shape& wanted) const {
  Shape shape = wanted;
  int unknown = -1;
  for (int i = 0; i < shape.rank(); ++i) {
    if (shape[i] == -1) {
      TS_CHECK(unknown < 0, "reshape: more than one -1 in ", wanted);
      unknown = i;
      shape[i] = 1;
    }
  }
  check_extents("reshape", shape);
  const int64_t known = shape.numel();
  if (unknown >= 0) {
    TS_CHECK(known > 0 && numel() % known == 0, "reshape: ", shape_, " does not fit ", wanted);
    shape[unknown] = numel() / known;
  }
  TS_CHECK(shape.numel() == numel(), "reshape: ", shape_, " has ", numel(), " elements, ", wanted,
           " has ", shape.numel());
  if (shape == shape_) return *this;
  if (!has_data()) return meta(shape, dtype_, device_);

  const auto strides = reshaped_strides(shape_, strides_, shape);
  if (!strides) return clone().reshape(shape);
  Tensor t = *this;
  t.shape_ = shape;
  t.strides_ = *strides;
  return t;
}

Tensor Tensor::permute(const Axes& axes) const {
  TS_CHECK(axes.rank() == rank(), "permute: axes ", axes, " for shape ", shape_);
  Tensor t = *this;
  unsigned seen = 0;
  for (int i = 0; i < rank(); ++i) {
    const int axis = normalize_axis("permute", axes[i], rank());
    seen |= 1u << axis;
    t.shape_[i] = shape_[axis];
    t.strides_[i] = strides_[axis];
  }
  TS_CHECK(seen == (1u << rank()) - 1, "permute: axes ", axes, " repeat an axis");
  return t;
}

Tensor Tensor::transpose(int a, int b) const {
  a = normalize_axis("transpose", a, rank());
  b = normalize_axis("transpose", b, rank());
  Tensor t = *this;
  std::swap(t.shape_[a], t.shape_[b]);
  std::swap(t.strides_[a], t.strides_[b]);
  return t;
}

Tensor Tensor::narrow(int axis, int64_t start, int64_t length, int64_t step) const {
  axis = normalize_axis("narrow", axis, rank());
  const int64_t behind = start >= 0 ? shape_[axis] - start : -1;  // elements from `start` on
  TS_CHECK(length >= 0 && step >= 1 && behind >= 0 &&
               (length == 0 || length - 1 <= (behind - 1) / step) && (length == 0 || behind > 0),
           "narrow: ", length, " elements from ", start, " by ", step, " leave dimension ", axis,
           " of ", shape_);
  Tensor t = *this;
  t.offset_ += start * strides_[axis];
  t.shape_[axis] = length;
  if (length > 1) t.strides_[axis] *= step;
  return t;
}

Tensor Tensor::select(int axis, int64_t index) const {
  axis = normalize_axis("select", axis, rank());
  return narrow(axis, index, 1).squeeze(axis);
}

Tensor Tensor::broadcast_to(const Shape& shape) const {
  if (shape == shape_) return *this;
  TS_CHECK(shape.rank() >= rank(), "broadcast_to: ", shape_, " does not broadcast to ", shape);
  check_extents("broadcast_to", shape);
  Tensor t = *this;
  t.shape_ = shape;
  t.strides_ = Shape::filled(shape.rank(), 0);
  const int lead = shape.rank() - rank();
  for (int i = 0; i < rank(); ++i) {
    TS_CHECK(shape_[i] == shape[lead + i] || shape_[i] == 1, "broadcast_to: ", shape_,
             " does not broadcast to ", shape);
    t.strides_[lead + i] = shape_[i] == shape[lead + i] ? strides_[i] : 0;
  }
  return t;
}

Tensor Tensor::unsqueeze(int axis) const {
  axis = normalize_axis("unsqueeze", axis, rank() + 1);
  Tensor t = *this;
  t.shape_ = {};
  t.strides_ = {};
  for (int i = 0; i <= rank(); ++i) {
    if (i == axis) {
      t.shape_.push_back(1);
      t.strides_.push_back(1);
    }
    if (i == rank()) break;
    t.shape_.push_back(shape_[i]);
    t.strides_.push_back(strides_[i]);
  }
  return t;
}

Tensor Tensor::squeeze(int axis) const {
  axis = normalize_axis("squeeze", axis, rank());
  TS_CHECK(shape_[axis] == 1, "squeeze: dimension ", axis, " of ", shape_, " is not 1");
  Tensor t = *this;
  t.shape_ = {};
  t.strides_ = {};
  for (int i = 0; i < rank(); ++i) {
    if (i == axis) continue;
    t.shape_.push_back(shape_[i]);
    t.strides_.push_back(strides_[i]);
  }
  return t;
}

Tensor Tensor::to(Device device) const {
  if (device == device_) return *this;
  if (!has_data()) return meta(shape_, dtype_, device);
  const bool to_host = device.type == Device::Type::cpu;
  TS_CHECK(to_host || device_.type == Device::Type::cpu, "to: no direct copy from ", device_,
           " to ", device, "; go through the cpu");
  // Bytes move whole: a strided view travels as the smallest contiguous tensor that holds its
  // elements.
  const Tensor source = to_host || contiguous() ? *this : clone();
  if (numel() == 0) return empty(shape_, dtype_, device);
  Stream& stream = current_stream(to_host ? device_ : device);
  const int64_t count = span_of(source.shape_, source.strides_);
  Tensor staged = empty({count}, dtype_, device);
  const size_t bytes = static_cast<size_t>(count) * size_of(dtype_);
  if (to_host)
    stream.copy_to_host(staged.data(), source.view().data, bytes);
  else
    stream.copy_from_host(staged.data(), source.data(), bytes);
  stream.synchronize();
  staged.shape_ = source.shape_;
  staged.strides_ = source.strides_;
  return staged;
}

Tensor Tensor::clone() const {
  if (device_.type == Device::Type::cpu) {
    Tensor t = empty(shape_, dtype_, device_);
    copy_strided_host(view(), t.view());
    return t;
  }
  if (!contiguous()) return to(Device::cpu()).clone().to(device_);
  Tensor t = empty(shape_, dtype_, device_);
  Stream& stream = current_stream(device_);
  stream.copy_on_device(t.view().data, view().data, static_cast<size_t>(numel()) * size_of(dtype_));
  return t;
}

void Tensor::copy_from(const Tensor& source) {
  TS_CHECK(source.shape_ == shape_ && source.dtype_ == dtype_, "copy_from: ", source, " into ",
           *this);
  if (numel() == 0) return;
  if (device_.type == Device::Type::cpu) {
    copy_strided_host(source.to(device_).view(), view());
    return;
  }
  TS_CHECK(contiguous(), "copy_from: the destination on ", device_, " must be contiguous");
  const Tensor dense = source.contiguous() ? source : source.clone();
  const size_t bytes = static_cast<size_t>(numel()) * size_of(dtype_);
  Stream& stream = current_stream(device_);
  if (dense.device_ == device_) {
    stream.copy_on_device(view().data, dense.view().data, bytes);
  } else {
    const Tensor host = dense.to(Device::cpu());
    stream.copy_from_host(view().data, host.data(), bytes);
    stream.synchronize();
  }
}

double Tensor::item() const {
  TS_CHECK(numel() == 1, "item: ", *this, " has not exactly one element");
  const Tensor t = to(Device::cpu());
  return for_any(dtype_, [&]<class T>() -> double {
    const T value = *static_cast<const T*>(t.data());
    if constexpr (std::is_same_v<T, f16> || std::is_same_v<T, bf16>)
      return static_cast<float>(value);
    else
      return static_cast<double>(value);
  });
}

void* Tensor::data() const {
  TS_CHECK(has_data() || !defined_, "the value of ", *this, " was not saved: it has no memory");
  TS_CHECK(defined_, "use of an undefined tensor");
  return static_cast<char*>(storage_->data()) + offset_ * static_cast<int64_t>(size_of(dtype_));
}

View Tensor::view() const {
  if (device_.type != Device::Type::cpu && storage_) storage_->use(current_stream(device_));
  View v;
  v.data = data();
  v.dtype = dtype_;
  v.rank = rank();
  for (int i = 0; i < rank(); ++i) {
    v.shape[i] = shape_[i];
    v.stride[i] = strides_[i];
  }
  return v;
}

void Tensor::check_host(DType wanted) const {
  TS_CHECK(device_.type == Device::Type::cpu && dtype_ == wanted && contiguous(),
           "host: wanted contiguous ", wanted, " on cpu, have ", contiguous() ? "" : "strided ",
           *this);
}

std::string to_string(const Tensor& t) {
  if (!t.defined()) return "undefined tensor";
  return concat(t.dtype(), " ", t.shape(), " on ", t.device());
}

}  // namespace tessera
