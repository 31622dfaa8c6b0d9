#include "tessera/runtime/quantized.hpp"

namespace tessera {

void QuantizedTensor::validate() const {
  TS_CHECK(scheme.bits >= 2 && scheme.bits <= 8, "QuantizedTensor: ", scheme.bits, " bits; expected 2 to 8");
  TS_CHECK(rows >= 0 && columns >= 0 && scheme.group >= 0, "QuantizedTensor: ", rows, " x ", columns,
           " in groups of ", scheme.group);
  const int64_t stored = scheme.packed() ? (columns + 1) / 2 : columns;
  const auto check = [&](const char* member, const Tensor& t, DType dtype, const Shape& shape) {
    TS_CHECK(t.defined() && t.dtype() == dtype && t.shape() == shape && t.contiguous() &&
                 t.device() == codes.device(),
             "QuantizedTensor: ", member, " must be contiguous ", dtype, " ", shape, " on the device of the codes, is ",
             t);
  };
  check("codes", codes, scheme.packed() ? DType::u8 : DType::i8, {rows, stored});
  check("scales", scales, DType::f32, {rows, groups()});
  if (zeros.defined()) check("zeros", zeros, DType::i32, {rows, groups()});
}

QuantizedTensor QuantizedTensor::to(Device device) const {
  QuantizedTensor moved = *this;
  moved.codes = codes.to(device);
  moved.scales = scales.to(device);
  if (zeros.defined()) moved.zeros = zeros.to(device);
  return moved;
}

size_t QuantizedTensor::bytes() const {
  const auto of = [](const Tensor& t) {
    return t.defined() ? static_cast<size_t>(t.numel()) * size_of(t.dtype()) : 0;
  };
  return of(codes) + of(scales) + of(zeros);
}

std::string to_string(const QuantizedTensor& t) {
  return concat(t.scheme.bits, "-bit ", t.rows, " x ", t.columns, ", ",
                t.scheme.group ? concat("groups of ", t.scheme.group) : std::string("whole rows"), ", on ",
                t.device());
}

}  // namespace tessera
