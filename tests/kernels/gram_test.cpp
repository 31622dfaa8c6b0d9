#include <gtest/gtest.h>

#include "tessera/kernels/linalg.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/matrices.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::at;
using test::expect_close;
using test::from_doubles;
using test::Plain;
using test::to_doubles;
using test::uniform;
using test::Values;

class Gram : public test::TargetTest {};
constexpr DType gram_dtypes[] = {DType::f32, DType::f64};
INSTANTIATE_TEST_SUITE_P(Targets, Gram, test::targets(gram_dtypes, &Backend::linalg),
                         test::target_name);

TEST_P(Gram, SumsInDoubleAndSubtractsTheShift) {
  for (const Shape& shape : {Shape{1, 1}, Shape{5, 9}, Shape{10000, 7}, Shape{300, 130}}) {
    const int64_t m = shape[0], n = shape[1];
    Values values = to_doubles(uniform(shape, dtype(), 1));
    for (double& x : values)
      x += 1000;  // without the shift nothing of the variance would survive in f32
    const Tensor x = on_device(from_doubles(values, shape, dtype())),
                 shift = on_device(from_doubles(Values(at(n), 1000), {n}, DType::f64));
    const Tensor g = empty({n, n}, DType::f64);
    gram(stream(), x.view(), g.view(), {}, {.shift = shift.view()});
    Plain centred(m, n, to_doubles(x));
    for (double& v : centred.v) v -= 1000;
    const Plain wanted = transpose(centred) * centred;
    expect_close(g, wanted.v, test::Tolerance{1e-12, 1e-12 * static_cast<double>(m)});
    const Plain got(n, n, to_doubles(g));
    EXPECT_EQ(got.v, transpose(got).v);
    const Tensor narrow = empty({n, n});
    gram(stream(), x.view(), narrow.view(), {}, {.shift = shift.view()});
    expect_close(narrow, wanted.v,
                 test::Tolerance{test::roundoff(dtype()) * 2, 1e-12 * static_cast<double>(m)});
  }
}

}  // namespace
}  // namespace tessera::kernels
