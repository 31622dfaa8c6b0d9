#include "tessera/runtime/quantized.hpp"

#include "tessera/runtime/error.hpp"

namespace tessera {

void QuantizedTensor::validate() const {
  TS_CHECK(codes.defined() && scales.defined(), "quantized tensor: codes and scales are required");
  TS_CHECK(scheme.bits >= 2 && scheme.bits <= 8, "quantized tensor: 2 to 8 bits, got ",
           scheme.bits);
  TS_CHECK(!scheme.packed || scheme.bits <= 4,
           "quantized tensor: packed codes have at most 4 bits, got ", scheme.bits);
  TS_CHECK(codes.dtype() == code_dtype(), "quantized tensor: codes must be ", code_dtype(),
           ", got ", codes.dtype());
  TS_CHECK(shape.rank() >= 1, "quantized tensor: a shape of rank 1 or more expected, got ", shape);
  Shape stored = shape;
  if (scheme.packed) stored[shape.rank() - 1] = (shape.back() + 1) / 2;
  TS_CHECK(codes.shape() == stored, "quantized tensor: codes of shape ", stored, " expected, got ",
           codes.shape());
  const auto check_blocks = [&](const char* name, const Tensor& t) {
    TS_CHECK(t.dtype() == DType::f32, "quantized tensor: ", name, " must be f32, got ", t.dtype());
    TS_CHECK(t.device() == codes.device(), "quantized tensor: ", name, " on ", t.device(),
             ", codes on ", codes.device());
    bool fits = t.rank() == shape.rank();
    for (int i = 0; fits && i < shape.rank(); ++i)
      fits = t.shape()[i] > 0 ? shape[i] % t.shape()[i] == 0 : shape[i] == 0;
    TS_CHECK(fits, "quantized tensor: extents of ", name, " ", t.shape(), " must divide those of ",
             shape);
  };
  check_blocks("scales", scales);
  if (zeros.defined()) {
    check_blocks("zeros", zeros);
    TS_CHECK(zeros.shape() == scales.shape(), "quantized tensor: zeros ", zeros.shape(),
             " and scales ", scales.shape(), " differ in shape");
  }
}

int64_t QuantizedTensor::bytes() const {
  const auto of = [](const Tensor& t) {
    return t.defined() ? t.numel() * static_cast<int64_t>(size_of(t.dtype())) : 0;
  };
  return of(codes) + of(scales) + of(zeros);
}

std::string to_string(const QuantizedTensor& t) {
  Shape block = t.shape;
  for (int i = 0; i < block.rank(); ++i)
    if (t.scales.defined() && t.scales.rank() == block.rank() && t.scales.shape()[i] > 0)
      block[i] /= t.scales.shape()[i];
  return concat(t.scheme.is_signed ? "int" : "uint", t.scheme.bits, " ", t.shape, " in blocks of ",
                block, " on ", t.codes.device());
}

}  // namespace tessera
