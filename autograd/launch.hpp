#pragma once

#include "tessera/kernels/elementwise.hpp"
#include "tessera/kernels/reduce.hpp"
#include "tessera/runtime/csr.hpp"
#include "tessera/runtime/tensor.hpp"

/// What op evaluations share: check shapes, allocate the output, launch one kernel on the current
/// stream of the operands' device. Plain tensors in and out, nothing differentiable.
namespace tessera::kernels {
struct CsrView;
}

namespace tessera::autograd {

/// Throws naming `operation` unless both are on one device (and of one dtype).
void check_same_device(std::string_view operation, const Tensor& a, const Tensor& b);
void check_same(std::string_view operation, const Tensor& a, const Tensor& b);
/// Throws unless x is floating; unless x has the given number of dimensions.
void check_floating(std::string_view operation, const Tensor& x);
void check_rank(std::string_view operation, std::string_view what, const Tensor& x, int rank);

/// Runs `work`; an Error of a kernel or a tensor, which know of no op, gets `operation` in front.
template <class Work>
void named(std::string_view operation, Work&& work) {
  try {
    work();
  } catch (const Error& error) {
    const std::string_view text = error.what();
    if (text.find(operation) != text.npos) throw;
    throw Error(error.kind(), tessera::concat(operation, ": ", text), error.where());
  }
}

/// In which halves are computed: f32; any other dtype is itself.
inline DType compute_dtype(DType dtype) { return is_half(dtype) ? DType::f32 : dtype; }

/// How optional operands of kernels are given: the default View for an undefined tensor.
inline View view_or_none(const Tensor& t) { return t.defined() ? t.view() : View(); }

/// The pattern of m, with `values` for its entries where they are defined.
kernels::CsrView view_of(const CsrMatrix& m, const Tensor& values = {});

Tensor empty_like(const Tensor& x);  // contiguous, uninitialised
Tensor unary(kernels::UnaryOp op, const Tensor& x, const kernels::UnaryParams& params = {});
/// Broadcasts; comparisons and logical operations give bool. Errors name `operation`.
Tensor binary(std::string_view operation, kernels::BinaryOp op, const Tensor& a, const Tensor& b);
Tensor select(std::string_view operation, const Tensor& condition, const Tensor& a,
              const Tensor& b);
/// `axes` are removed, or kept with extent 1.
Tensor reduce(kernels::ReduceOp op, const Tensor& x, const Axes& axes, bool keep_axes);
Tensor convert(const Tensor& x, DType dtype);
/// x itself when its elements lie in row-major order, else a copy that does.
Tensor contiguous(const Tensor& x);
Tensor full(const Shape& shape, double value, DType dtype, Device device);

}  // namespace tessera::autograd
