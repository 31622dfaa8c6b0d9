#include "tessera/autograd/launch.hpp"

#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {

using kernels::BinaryOp;
using kernels::ReduceOp;
using kernels::UnaryOp;

namespace {

bool gives_bool(UnaryOp op) {
  return op == UnaryOp::is_finite || op == UnaryOp::is_nan || op == UnaryOp::logical_not;
}

bool gives_bool(BinaryOp op) { return op >= BinaryOp::equal && op <= BinaryOp::logical_xor; }

}  // namespace

kernels::CsrView view_of(const CsrMatrix& m, const Tensor& values) {
  return {m.rows,
          m.cols,
          m.nnz(),
          static_cast<const int32_t*>(m.row_ptr.data()),
          static_cast<const int32_t*>(m.col.data()),
          values.defined() ? values.view() : View()};
}

void check_same_device(std::string_view operation, const Tensor& a, const Tensor& b) {
  TS_CHECK(a.device() == b.device(), operation, ": operands on different devices: ", a, " and ", b);
}

void check_same(std::string_view operation, const Tensor& a, const Tensor& b) {
  check_same_device(operation, a, b);
  TS_CHECK(a.dtype() == b.dtype(), operation, ": operands of different dtypes: ", a, " and ", b,
           "; convert one with cast");
}

void check_floating(std::string_view operation, const Tensor& x) {
  TS_CHECK(is_float(x.dtype()), operation, ": operands must be floating, have ", x);
}

void check_rank(std::string_view operation, std::string_view what, const Tensor& x, int rank) {
  TS_CHECK(x.rank() == rank, operation, ": ", what, " must have ", rank, " dimensions, is ", x);
}

Tensor empty_like(const Tensor& x) { return Tensor::empty(x.shape(), x.dtype(), x.device()); }

Tensor unary(UnaryOp op, const Tensor& x, const kernels::UnaryParams& params) {
  Tensor y = Tensor::empty(x.shape(), gives_bool(op) ? DType::bool_ : x.dtype(), x.device());
  kernels::unary(current_stream(x.device()), op, x.view(), y.view(), params);
  return y;
}

Tensor binary(std::string_view operation, BinaryOp op, const Tensor& a, const Tensor& b) {
  check_same(operation, a, b);
  const DType dtype = gives_bool(op) ? DType::bool_ : a.dtype();
  Stream& stream = current_stream(a.device());
  if (a.shape() == b.shape()) {
    Tensor y = Tensor::empty(a.shape(), dtype, a.device());
    kernels::binary(stream, op, a.view(), b.view(), y.view());
    return y;
  }
  const Shape shape = broadcast_shapes(operation, a.shape(), b.shape());
  Tensor y = Tensor::empty(shape, dtype, a.device());
  kernels::binary(stream, op, a.broadcast_to(shape).view(), b.broadcast_to(shape).view(), y.view());
  return y;
}

Tensor select(std::string_view operation, const Tensor& condition, const Tensor& a,
              const Tensor& b) {
  check_same(operation, a, b);
  check_same_device(operation, condition, a);
  TS_CHECK(condition.dtype() == DType::bool_, operation, ": the condition must be bool, is ",
           condition);
  const Shape shape = broadcast_shapes(operation, broadcast_shapes(operation, a.shape(), b.shape()),
                                       condition.shape());
  Tensor y = Tensor::empty(shape, a.dtype(), a.device());
  kernels::select(current_stream(a.device()), condition.broadcast_to(shape).view(),
                  a.broadcast_to(shape).view(), b.broadcast_to(shape).view(), y.view());
  return y;
}

Tensor reduce(ReduceOp op, const Tensor& x, const Axes& axes, bool keep_axes) {
  Shape kept = x.shape();
  bool reduced[max_rank] = {};
  for (int64_t a : axes) {
    const int axis = normalize_axis("reduce", a, x.rank());
    reduced[axis] = true;
    kept[axis] = 1;
  }
  const DType dtype = op == ReduceOp::any || op == ReduceOp::all ? DType::bool_ : x.dtype();
  Tensor y = Tensor::empty(kept, dtype, x.device());
  kernels::reduce(current_stream(x.device()), op, x.view(), y.view());
  if (keep_axes) return y;
  Shape shape;
  for (int i = 0; i < x.rank(); ++i)
    if (!reduced[i]) shape.push_back(x.shape()[i]);
  return y.reshape(shape);
}

Tensor convert(const Tensor& x, DType dtype) {
  if (x.dtype() == dtype) return x;
  Tensor y = Tensor::empty(x.shape(), dtype, x.device());
  kernels::copy(current_stream(x.device()), x.view(), y.view());
  return y;
}

Tensor contiguous(const Tensor& x) {
  if (x.contiguous()) return x;
  Tensor y = empty_like(x);
  kernels::copy(current_stream(x.device()), x.view(), y.view());
  return y;
}

Tensor full(const Shape& shape, double value, DType dtype, Device device) {
  Tensor y = Tensor::empty(shape, dtype, device);
  kernels::fill(current_stream(device), value, y.view());
  return y;
}

}  // namespace tessera::autograd
