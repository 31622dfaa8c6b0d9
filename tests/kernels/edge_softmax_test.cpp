#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tessera/kernels/spmm.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/graphs.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::at;
using test::expect_close;
using test::from_doubles;
using test::Graph;
using test::hard_graphs;
using test::to_doubles;
using test::uniform;
using test::Values;

class EdgeSoftmaxTest : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, EdgeSoftmaxTest,
                         test::targets(test::float_dtypes, &Backend::spmm), test::target_name);

struct Softmax {
  Values y, dx;
};
Softmax reference(const CsrMatrix& pattern, int64_t heads, const Values& x, const Values& y_used,
                  const Values& dy) {
  Softmax r{Values(x.size()), Values(x.size())};
  const auto row_ptr = pattern.row_ptr.host<int32_t>();
  for (int64_t i = 0; i < pattern.rows; ++i)
    for (int64_t h = 0; h < heads; ++h) {
      const auto each = [&](const std::function<void(size_t)>& body) {
        for (int64_t e = row_ptr[at(i)]; e < row_ptr[at(i + 1)]; ++e) body(at(e * heads + h));
      };
      double top = -INFINITY, sum = 0, inner = 0;
      each([&](size_t k) { top = std::max(top, x[k]); });
      each([&](size_t k) { sum += std::exp(x[k] - top); });
      each([&](size_t k) { r.y[k] = std::exp(x[k] - top) / sum; });
      each([&](size_t k) { inner += dy[k] * y_used[k]; });
      each([&](size_t k) { r.dx[k] = y_used[k] * (dy[k] - inner); });
    }
  return r;
}

TEST_P(EdgeSoftmaxTest, ValueAndGradient) {
  for (const Graph& g : hard_graphs())
    for (const int64_t heads : {1, 2, 8, 19}) {
      const CsrMatrix a = g.matrix.to(device());
      const Shape shape = heads == 1 ? Shape{a.nnz()} : Shape{a.nnz(), heads};
      Tensor x = uniform(shape, dtype(), 1);
      Values large = to_doubles(x);
      for (double& v : large) v *= 30;  // exp alone would overflow in half
      x = from_doubles(large, shape, dtype());
      const Tensor dy = uniform(shape, dtype(), 2);
      const Tensor y = empty(shape), dx = on_device(dy).clone(), in_place = on_device(x).clone();
      edge_softmax(stream(), test::view(a), on_device(x).view(), y.view());
      edge_softmax(stream(), test::view(a), in_place.view(), in_place.view());
      edge_softmax_gradient(stream(), test::view(a), y.view(), dx.view(), dx.view());
      const Softmax wanted =
          reference(g.matrix, heads, to_doubles(x), to_doubles(y), to_doubles(dy));
      const std::string what = concat(g.name, ", ", heads, " heads");
      const test::Tolerance allowed = test::tolerance(dtype()).times(is_half(dtype()) ? 1 : 8);
      expect_close(y, wanted.y, allowed, what);
      expect_close(dx, wanted.dx, allowed, what);
      EXPECT_EQ(to_doubles(in_place), to_doubles(y)) << what;
    }
}

TEST(EdgeSoftmax, EveryInstructionSetLevelAgrees) {
  const CsrMatrix a = test::random_pattern(200, 150, 4000, 3, 1);
  for (const DType dtype : test::float_dtypes) {
    const Tensor x = uniform({a.nnz()}, dtype, 2), y = x.clone();
    const Values wanted =
        reference(a, 1, to_doubles(x), Values(at(a.nnz())), Values(at(a.nnz()))).y;
    for (const Backend* level : test::cpu_backends()) {
      level->spmm->edge_softmax(current_stream(Device::cpu()), test::view(a), x.view(), y.view());
      expect_close(y, wanted, test::tolerance(dtype).times(is_half(dtype) ? 1 : 8),
                   std::string(level->name));
    }
  }
}

}  // namespace
}  // namespace tessera::kernels
