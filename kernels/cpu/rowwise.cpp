#include "tessera/kernels/cpu/rowwise.hpp"

#include "tessera/kernels/cpu/backend.hpp"

namespace tessera::kernels::cpu {
namespace {

std::string describe(const View& v) { return concat(v.dtype, " ", v.dims()); }

// True when the operand is there to be checked.
bool check_presence(std::string_view operation, const Operand& o) {
  TS_CHECK(o.may_be_absent || given(o.view), operation, ": ", o.name, " is missing");
  TS_CHECK(o.view.contiguous(), operation, ": ", o.name, " ", describe(o.view),
           " must be contiguous");
  return given(o.view);
}

}  // namespace

void check_alike(std::string_view operation, std::initializer_list<Operand> operands) {
  const Operand& first = *operands.begin();
  if (!is_float(first.view.dtype)) unsupported_dtype(operation, first.view.dtype);
  for (const Operand& o : operands)
    if (check_presence(operation, o))
      TS_CHECK(o.view.dtype == first.view.dtype && o.view.dims() == first.view.dims(), operation,
               ": ", o.name, " is ", describe(o.view), ", expected ", describe(first.view), " as ",
               first.name);
}

void check_operands(std::string_view operation, const Shape& shape, DType one, DType other,
                    std::initializer_list<Operand> operands) {
  for (const Operand& o : operands)
    if (check_presence(operation, o))
      TS_CHECK((o.view.dtype == one || o.view.dtype == other) && o.view.dims() == shape, operation,
               ": ", o.name, " is ", describe(o.view), ", expected ", one, " ", shape,
               one == other ? "" : concat(" or ", other));
}

const RowwiseKernels rowwise_kernels{
    .softmax = softmax,
    .log_softmax = log_softmax,
    .softmax_gradient = softmax_gradient,
    .log_softmax_gradient = log_softmax_gradient,
    .layer_norm = layer_norm,
    .layer_norm_gradient = layer_norm_gradient,
    .rms_norm = rms_norm,
    .rms_norm_gradient = rms_norm_gradient,
    .batch_statistics = batch_statistics,
    .batch_norm = batch_norm,
    .batch_norm_gradient = batch_norm_gradient,
    .batch_statistics_tangent = batch_statistics_tangent,
    .batch_norm_tangent = batch_norm_tangent,
    .batch_norm_gradient_tangent = batch_norm_gradient_tangent,
    .group_norm = group_norm,
    .group_norm_gradient = group_norm_gradient,
    .cross_entropy = cross_entropy,
    .cross_entropy_gradient = cross_entropy_gradient,
    .binary_cross_entropy = binary_cross_entropy,
    .binary_cross_entropy_gradient = binary_cross_entropy_gradient,
};

}  // namespace tessera::kernels::cpu
