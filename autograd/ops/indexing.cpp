#include "tessera/autograd/ops/indexing.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/kernels/indexing.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

void check_index(std::string_view name, const Tensor& index) {
  TS_CHECK(index.dtype() == DType::i32 || index.dtype() == DType::i64, name,
           ": indices must be i32 or i64, are ", index);
}

// x as rows: [first extent, product of the others].
Tensor as_rows(const Tensor& x, int leading_axes) {
  Shape shape{1, 1};
  for (int i = 0; i < x.rank(); ++i) shape[i < leading_axes ? 0 : 1] *= x.shape()[i];
  const Tensor rows = x.reshape(shape);
  return rows.strides()[1] == 1 || shape[1] == 1 ? rows : contiguous(rows);
}

struct ScatterAddRows final : LinearOp {
  Tensor rows;  // contiguous
  int64_t count;
  ScatterAddRows(Tensor r, int64_t n) : rows(std::move(r)), count(n) {}
  std::string_view name() const override { return "scatter_add_rows"; }
  Tensor eval(const Tensor& x) const override {
    check_same_device(name(), x, rows);
    const bool fits = x.rank() >= rows.rank() &&
                      std::equal(rows.shape().begin(), rows.shape().end(), x.shape().begin());
    TS_CHECK(fits, "scatter_add_rows: ", x, " for rows ", rows);
    Shape shape{count};
    for (int i = rows.rank(); i < x.rank(); ++i) shape.push_back(x.shape()[i]);
    const Tensor y = full(shape, 0.0, x.dtype(), x.device());
    kernels::scatter_add(current_stream(x.device()), as_rows(x, rows.rank()).view(),
                         rows.reshape({-1}).view(), as_rows(y, 1).view());
    return y;
  }
  Var transpose(const Var& gy, const Var&) const override { return gather_rows(gy, rows); }
};

struct GatherRows final : LinearOp {
  Tensor rows;  // contiguous
  explicit GatherRows(Tensor r) : rows(std::move(r)) {}
  std::string_view name() const override { return "gather_rows"; }
  Tensor eval(const Tensor& x) const override {
    check_same_device(name(), x, rows);
    TS_CHECK(x.rank() >= 1, "gather_rows: a scalar has no rows");
    Shape shape = rows.shape();
    for (int i = 1; i < x.rank(); ++i) shape.push_back(x.shape()[i]);
    const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
    kernels::gather(current_stream(x.device()), as_rows(x, 1).view(), rows.reshape({-1}).view(),
                    as_rows(y, rows.rank()).view());
    return y;
  }
  Var transpose(const Var& gy, const Var& x) const override {
    return apply_op(std::make_shared<ScatterAddRows>(rows, x.shape()[0]), gy);
  }
};

void check_along(std::string_view name, const Tensor& x, const Tensor& index, int axis) {
  check_same_device(name, x, index);
  bool fits = x.rank() == index.rank();
  for (int i = 0; fits && i < x.rank(); ++i) fits = i == axis || x.shape()[i] == index.shape()[i];
  TS_CHECK(fits, name, ": index ", index, " for ", x, " along axis ", axis);
}

struct ScatterAddAlong final : LinearOp {
  Tensor index;  // contiguous
  int axis;
  int64_t count;
  ScatterAddAlong(Tensor i, int a, int64_t n) : index(std::move(i)), axis(a), count(n) {}
  std::string_view name() const override { return "scatter_add_along"; }
  Tensor eval(const Tensor& x) const override {
    check_along(name(), x, index, axis);
    TS_CHECK(x.shape() == index.shape(), "scatter_add_along: ", x, " with index ", index);
    Shape shape = x.shape();
    shape[axis] = count;
    const Tensor y = full(shape, 0.0, x.dtype(), x.device());
    kernels::add_along(current_stream(x.device()), contiguous(x).view(), axis, index.view(),
                       y.view());
    return y;
  }
  Var transpose(const Var& gy, const Var&) const override { return take_along(gy, index, axis); }
};

struct TakeAlong final : LinearOp {
  Tensor index;  // contiguous
  int axis;
  TakeAlong(Tensor i, int a) : index(std::move(i)), axis(a) {}
  std::string_view name() const override { return "take_along"; }
  Tensor eval(const Tensor& x) const override {
    check_along(name(), x, index, axis);
    const Tensor y = Tensor::empty(index.shape(), x.dtype(), x.device());
    kernels::take_along(current_stream(x.device()), contiguous(x).view(), axis, index.view(),
                        y.view());
    return y;
  }
  Var transpose(const Var& gy, const Var& x) const override {
    return apply_op(std::make_shared<ScatterAddAlong>(index, axis, x.shape()[axis]), gy);
  }
};

}  // namespace

Var gather_rows(const Var& x, const Tensor& rows) {
  check_index("gather_rows", rows);
  return apply_op(std::make_shared<GatherRows>(contiguous(rows)), x);
}

Var scatter_add_rows(const Var& x, const Tensor& rows, int64_t count) {
  check_index("scatter_add_rows", rows);
  return apply_op(std::make_shared<ScatterAddRows>(contiguous(rows), count), x);
}

Var take_along(const Var& x, const Tensor& index, int axis) {
  check_index("take_along", index);
  axis = normalize_axis("take_along", axis, x.rank());
  return apply_op(std::make_shared<TakeAlong>(contiguous(index), axis), x);
}

Var scatter_add_along(const Var& x, const Tensor& index, int axis, int64_t count) {
  check_index("scatter_add_along", index);
  axis = normalize_axis("scatter_add_along", axis, x.rank());
  return apply_op(std::make_shared<ScatterAddAlong>(contiguous(index), axis, count), x);
}

Var masked_fill(const Var& x, const Tensor& mask, double value) {
  return where(mask, full({}, value, x.dtype(), x.device()), x);
}

std::pair<Var, Tensor> top_k(const Var& x, int64_t k) {
  check_floating("top_k", x.value());
  TS_CHECK(x.rank() >= 1 && k >= 0 && k <= x.size(-1), "top_k: ", k, " of ", x);
  Shape shape = x.shape();
  shape[x.rank() - 1] = k;
  const Tensor values = Tensor::empty(shape, x.dtype(), x.device());
  const Tensor index = Tensor::empty(shape, DType::i64, x.device());
  kernels::top_k(current_stream(x.device()), contiguous(x.value()).view(), true, values.view(),
                 index.view());
  // The kernel's values are plain numbers; a traced x needs them as a function of itself.
  return {x.traced() ? take_along(x, index, -1) : Var(values), index};
}

Tensor one_hot(const Tensor& labels, int64_t classes, DType dtype) {
  check_index("one_hot", labels);
  TS_CHECK(classes >= 1, "one_hot: ", classes, " classes");
  Shape shape = labels.shape();
  shape.push_back(classes);
  const Tensor y = Tensor::empty(shape, dtype, labels.device());
  kernels::one_hot(current_stream(labels.device()), contiguous(labels).view(), y.view());
  return y;
}

}  // namespace tessera::autograd
