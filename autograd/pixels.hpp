#pragma once

#include "tessera/runtime/tensor.hpp"

/// The passes over the pixels of a cube that spectral methods are made of: the kernels of
/// kernels/linalg.hpp on plain tensors, nothing differentiable. x is [pixels, bands] or [rows,
/// columns, bands], of any strides, f64 f32 f16 bf16 i16 or u16; products and sums are made in f64.
namespace tessera::autograd {

/// What is done to pixels before they are used.
struct PixelParams {
  Tensor shift{};      // f64 [bands]: subtracted from every pixel; undefined: nothing is
  Tensor valid{};      // bool, x's leading extents: those that count; undefined: all
  bool upper = false;  // project: basis is upper triangular, what is below is not read
};

/// g [bands, bands] and sums [bands], where defined, += (x - shift)' (x - shift) and the column
/// sums of x - shift; contiguous f64, or i64 with x i16 or u16 and no shift: exact.
void add_gram(const Tensor& x, const Tensor& g, const Tensor& sums, const PixelParams& params = {});

/// y [.., k] = (x - shift) basis; basis f64 [bands, k]; y f32 or f64, x's leading extents, any
/// strides. Pixels that are not valid become 0. A contiguous f64 y of x's leading extents alone
/// gets the squared lengths of these rows.
void project(const Tensor& x, const Tensor& basis, const Tensor& y, const PixelParams& params = {});

}  // namespace tessera::autograd
