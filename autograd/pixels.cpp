#include "tessera/autograd/pixels.hpp"

#include "tessera/autograd/launch.hpp"
#include "tessera/kernels/linalg.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

Tensor dense_or_none(const Tensor& t) { return t.defined() ? contiguous(t) : t; }

}  // namespace

void add_gram(const Tensor& x, const Tensor& g, const Tensor& sums, const PixelParams& params) {
  check_same_device("gram", x, g);
  const Tensor shift = dense_or_none(params.shift), valid = dense_or_none(params.valid);
  kernels::gram(current_stream(x.device()), x.view(), g.view(), view_or_none(sums),
                {.shift = view_or_none(shift), .valid = view_or_none(valid), .accumulate = true});
}

void project(const Tensor& x, const Tensor& basis, const Tensor& y, const PixelParams& params) {
  check_same_device("project", x, basis);
  check_same_device("project", x, y);
  const Tensor dense = contiguous(basis), shift = dense_or_none(params.shift),
               valid = dense_or_none(params.valid);
  kernels::project(
      current_stream(x.device()), x.view(), dense.view(), y.view(),
      {.shift = view_or_none(shift), .valid = view_or_none(valid), .upper = params.upper});
}

}  // namespace tessera::autograd
