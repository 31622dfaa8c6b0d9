#pragma once

#include "tessera/autograd/op.hpp"

/// Reading and writing by index. Indices are i32 or i64 tensors, constant for differentiation; one
/// outside its range throws.
namespace tessera::autograd {

/// y[i..., :] = x[rows[i...], :]. x: [n, ...], rows: any shape; y: rows' shape, then x's without
/// its first axis. The lookup of embeddings.
Var gather_rows(const Var& x, const Tensor& rows);
/// The transpose: y [count, ...] with y[rows[i...], :] = sum of the x[i..., :] of equal rows, 0
/// where none is.
Var scatter_add_rows(const Var& x, const Tensor& rows, int64_t count);

/// y[.., i, ..] = x[.., index[.., i, ..], ..] along `axis`; index: x's shape but for that axis.
Var take_along(const Var& x, const Tensor& index, int axis);
/// The transpose: adds x into zeros of extent `count` along `axis`.
Var scatter_add_along(const Var& x, const Tensor& index, int axis, int64_t count);

/// value where `mask` (bool, broadcasts) holds, else x.
Var masked_fill(const Var& x, const Tensor& mask, double value);

/// The k largest along the last axis in descending order, and where they were (i64).
std::pair<Var, Tensor> top_k(const Var& x, int64_t k);

/// [..., classes] with 1 at each label and 0 elsewhere.
Tensor one_hot(const Tensor& labels, int64_t classes, DType dtype);

}  // namespace tessera::autograd
