// eigh of matrices that GPUs keep in the shared memory of a cluster: as many rows as an imaging
// spectrometer has bands, batches, and matrices that cannot be done.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tessera/kernels/linalg.hpp"
#include "tessera/tests/support/matrices.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::at;
using test::distance;
using test::from_doubles;
using test::identity;
using test::orthonormal;
using test::Plain;
using test::scaled_columns;
using test::to_doubles;
using test::transpose;
using test::Values;

class Eigh : public test::TargetTest {
 protected:
  static Plain plain(const Tensor& t) { return {t.size(0), t.size(1), to_doubles(t)}; }
  /// A covariance matrix as scenes have them: eigenvalues over five decades, the last of rank 0.
  static Plain covariance(int64_t n, uint64_t seed) {
    const Plain q = orthonormal(n, n, seed);
    Values w = test::spectrum(n, 1e5);
    w.back() = 0;
    return scaled_columns(q, w) * transpose(q);
  }
  static void expect_spectrum(const Plain& a, const Tensor& w, const Tensor& v, double allowed) {
    const Values values = to_doubles(w);
    const Plain q = plain(v);
    EXPECT_TRUE(std::is_sorted(values.begin(), values.end()));
    EXPECT_LE(distance(transpose(q) * q, identity(q.cols)), allowed);
    EXPECT_LE(distance(a * q, scaled_columns(q, values)), allowed);
    for (int64_t j = 0; j < q.cols; ++j) {
      double most = 0;
      for (int64_t i = 0; i < q.rows; ++i)
        if (std::abs(q(i, j)) > std::abs(most)) most = q(i, j);
      EXPECT_GT(most, 0) << "column " << j;
    }
  }
  /// More than one block has.
  static int64_t rows_of_a_cluster() { return dtype() == DType::f64 ? 108 : 153; }
  static double allowed() { return 300 * test::roundoff(dtype()); }
};
constexpr DType real_dtypes[] = {DType::f32, DType::f64};
INSTANTIATE_TEST_SUITE_P(Targets, Eigh, test::targets(real_dtypes, &Backend::linalg),
                         test::target_name);

TEST_P(Eigh, OfAllBands) {
  const int64_t n = dtype() == DType::f64 ? 400 : rows_of_a_cluster();
  const Tensor a = on_device(from_doubles(covariance(n, 1).v, {n, n}, dtype())), w = empty({n}),
               v = empty({n, n});
  eigh(stream(), a.view(), w.view(), v.view());
  Plain lower = plain(a);
  for (int64_t i = 0; i < n; ++i)
    for (int64_t j = i + 1; j < n; ++j) lower(i, j) = lower(j, i);
  expect_spectrum(lower, w, v, allowed());
}

TEST_P(Eigh, BatchesMatchSingleMatrices) {
  const int64_t n = rows_of_a_cluster();
  Values both = covariance(n, 2).v;
  const Values second = covariance(n, 3).v;
  both.insert(both.end(), second.begin(), second.end());
  const Tensor a = on_device(from_doubles(both, {2, n, n}, dtype())), w = empty({2, n}),
               v = empty({2, n, n}), w_of_one = empty({n}), v_of_one = empty({n, n});
  eigh(stream(), a.view(), w.view(), v.view());
  for (int64_t b = 0; b < 2; ++b) {
    eigh(stream(), a.select(0, b).view(), w_of_one.view(), v_of_one.view());
    EXPECT_EQ(to_doubles(w.select(0, b)), to_doubles(w_of_one));
    EXPECT_EQ(to_doubles(v.select(0, b)), to_doubles(v_of_one));
  }
}

TEST_P(Eigh, NamesTheMatrixThatIsNotFinite) {
  const int64_t n = rows_of_a_cluster();
  Values both = covariance(n, 4).v, second = covariance(n, 5).v;
  second[at(n)] = test::nan;
  both.insert(both.end(), second.begin(), second.end());
  const Tensor a = on_device(from_doubles(both, {2, n, n}, dtype())), w = empty({2, n}),
               v = empty({2, n, n});
  try {
    eigh(stream(), a.view(), w.view(), v.view());
    stream().synchronize();
    ADD_FAILURE() << "no error";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("eigh: matrix 1 did not converge or is not finite"),
              std::string::npos)
        << error.what();
  }
}

}  // namespace
}  // namespace tessera::kernels
