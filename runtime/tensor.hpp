#pragma once

#include <span>
#include <string>
#include <vector>

#include "tessera/runtime/device.hpp"
#include "tessera/runtime/dtype.hpp"
#include "tessera/runtime/shape.hpp"
#include "tessera/runtime/storage.hpp"
#include "tessera/runtime/view.hpp"

namespace tessera {

/// A value handle on strided memory: dtype, shape, strides, and a share of a Storage. Copying a
/// Tensor aliases its memory; `clone` copies it. The runtime moves bytes and does no arithmetic on
/// them. A default-constructed Tensor is undefined. A Tensor made by `meta` has everything but
/// memory.
class Tensor {
 public:
  Tensor() = default;

  static Tensor empty(const Shape& shape, DType dtype, Device device);  // uninitialised
  static Tensor zeros(const Shape& shape, DType dtype, Device device);
  /// Copies host values (row-major, `values.size() == shape.numel()`) to a new tensor of
  /// dtype_of<T>.
  template <class T>
  static Tensor from(std::span<const T> values, const Shape& shape, Device device) {
    return from_bytes(values.data(), static_cast<int64_t>(values.size()), shape, dtype_of<T>,
                      device);
  }
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape, Device device) {
    return from(std::span<const T>(values), shape, device);
  }
  template <class T>
  static Tensor from(std::initializer_list<T> values, const Shape& shape, Device device) {
    return from(std::span<const T>(values.begin(), values.size()), shape, device);
  }
  /// A tensor over memory of a Storage: `offset`, `strides` in elements; the range must lie inside.
  static Tensor over(Storage::Ref storage, int64_t offset, const Shape& shape, const Shape& strides,
                     DType dtype);
  /// Shape, dtype and device without memory; what a tape keeps of values it need not save.
  static Tensor meta(const Shape& shape, DType dtype, Device device);

  bool defined() const { return defined_; }
  bool has_data() const { return static_cast<bool>(storage_); }
  const Shape& shape() const { return shape_; }
  int64_t size(int axis) const;  // axis may be negative
  int rank() const { return shape_.rank(); }
  int64_t numel() const { return shape_.numel(); }
  const Shape& strides() const { return strides_; }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  bool contiguous() const;
  /// True when no other handle shares this tensor's memory.
  bool unique() const { return storage_ && storage_->unique(); }
  bool same_storage(const Tensor& other) const { return storage_ && storage_ == other.storage_; }

  /// Views on the same memory. `reshape` copies when no view exists; one extent may be -1.
  Tensor reshape(const Shape& shape) const;
  Tensor permute(const Axes& axes) const;
  Tensor transpose(int a, int b) const;
  /// `length` elements of an axis from `start` on, every `step`-th one.
  Tensor narrow(int axis, int64_t start, int64_t length, int64_t step = 1) const;
  Tensor select(int axis, int64_t index) const;  // drops the axis
  Tensor broadcast_to(const Shape& shape) const;
  Tensor unsqueeze(int axis) const;
  Tensor squeeze(int axis) const;

  Tensor to(Device device) const;  // itself when already there
  Tensor clone() const;            // contiguous copy
  /// Copies `source` (same shape and dtype, any strides, any device) into this tensor's memory.
  void copy_from(const Tensor& source);

  /// The elements of a contiguous CPU tensor; throws unless device, layout and T match.
  template <class T>
  std::span<const T> host() const {
    check_host(dtype_of<T>);
    return {static_cast<const T*>(data()), static_cast<size_t>(numel())};
  }
  template <class T>
  std::span<T> host_mutable() {
    check_host(dtype_of<T>);
    return {static_cast<T*>(data()), static_cast<size_t>(numel())};
  }
  /// All elements in row-major order on the host, whatever the device and strides.
  template <class T>
  std::vector<T> values() const {
    const Tensor t = to(Device::cpu()).clone();
    const auto h = t.host<T>();
    return {h.begin(), h.end()};
  }
  /// The single element of a one-element tensor of any real dtype, converted to double;
  /// synchronises.
  double item() const;

  void* data() const;  // the first element
  const Storage::Ref& storage() const { return storage_; }
  View view() const;

 private:
  static Tensor from_bytes(const void* values, int64_t count, const Shape& shape, DType dtype,
                           Device device);
  void check_host(DType wanted) const;

  Storage::Ref storage_;
  int64_t offset_ = 0;
  Shape shape_;
  Shape strides_;
  DType dtype_ = DType::f32;
  Device device_;
  bool defined_ = false;
};

/// "f32 [2, 3] on cpu"
std::string to_string(const Tensor& tensor);

/// Copies between any two strided layouts of one dtype on the host.
void copy_strided_host(const View& source, const View& destination);

}  // namespace tessera
