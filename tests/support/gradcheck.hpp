#pragma once

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/kernels/copy.hpp"
#include "tessera/tests/support/close.hpp"

/// Checks of derivatives against each other and against central differences. All in f64, in one
/// random direction, on functions from several Vars to several Vars.
namespace tessera::test {

using autograd::Fn;
using autograd::Inputs;
using autograd::MultiFn;
using autograd::Var;
using autograd::Vars;

/// Empty, or why the device cannot run it: tests of what needs a family that a device lacks are
/// skipped.
inline std::string missing_kernel(const std::function<void()>& run) {
  try {
    run();
  } catch (const Error& error) {
    const std::string text = error.what();
    if (error.kind() == ErrorKind::unsupported &&
        text.find("is not available on") != std::string::npos)
      return text;
    throw;
  }
  return {};
}

inline Vars random_like(Inputs x, uint64_t seed) {
  Vars v;
  for (const Var& t : x) v.emplace_back(uniform(t.shape(), t.dtype(), seed++).to(t.device()));
  return v;
}

/// The same values with gaps between elements and the axes stored in reverse order.
inline Var scattered(const Var& x) {
  Shape shape = x.shape();
  Axes reversed;
  for (int i = x.rank() - 1; i >= 0; --i) reversed.push_back(i);
  std::reverse(shape.begin(), shape.end());
  if (shape.rank() == 0) return x;
  Shape roomy = shape;
  roomy[0] = 2 * roomy[0] + 1;
  const Tensor memory = autograd::full(roomy, NAN, x.dtype(), x.device());
  const Tensor view = memory.narrow(0, 1, shape[0], 2).permute(reversed);
  kernels::copy(current_stream(x.device()), x.value().view(), view.view());
  return view;
}

/// The first element along the first axis, repeated there by a stride of 0.
inline Var repeated(const Var& x) {
  if (x.rank() == 0) return x;
  return x.value().narrow(0, 0, 1).broadcast_to(x.shape());
}

inline double dot(Inputs a, Inputs b) {
  double total = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const std::vector<double> x = to_doubles(a[i].value()), y = to_doubles(b[i].value());
    for (size_t k = 0; k < x.size(); ++k) total += x[k] * y[k];
  }
  return total;
}

/// x + h v on plain numbers.
inline Vars moved(Inputs x, double h, Inputs v) {
  Vars y;
  for (size_t i = 0; i < x.size(); ++i) {
    std::vector<double> at = to_doubles(x[i].value());
    const std::vector<double> direction = to_doubles(v[i].value());
    for (size_t k = 0; k < at.size(); ++k) at[k] += h * direction[k];
    y.emplace_back(from_doubles(at, x[i].shape(), x[i].dtype()));
  }
  return y;
}

/// (f(x + h v) - f(x - h v)) / 2h by a fourth-order formula.
inline std::vector<std::vector<double>> difference(const MultiFn& f, Inputs x, Inputs v,
                                                   double h = 2e-4) {
  const Vars a = f(moved(x, h, v)), b = f(moved(x, -h, v));
  const Vars c = f(moved(x, 2 * h, v)), d = f(moved(x, -2 * h, v));
  std::vector<std::vector<double>> result;
  for (size_t k = 0; k < a.size(); ++k) {
    const auto near_plus = to_doubles(a[k].value()), near_minus = to_doubles(b[k].value());
    const auto far_plus = to_doubles(c[k].value()), far_minus = to_doubles(d[k].value());
    std::vector<double> slope(near_plus.size());
    for (size_t i = 0; i < slope.size(); ++i)
      slope[i] = (8 * (near_plus[i] - near_minus[i]) - (far_plus[i] - far_minus[i])) / (12 * h);
    result.push_back(std::move(slope));
  }
  return result;
}

inline void expect_all_close(Inputs got, Inputs wanted, double tolerance, const std::string& what) {
  ASSERT_EQ(got.size(), wanted.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].shape(), wanted[i].shape()) << what << ", number " << i;
    expect_close(to_doubles(got[i].value()), to_doubles(wanted[i].value()), tolerance,
                 what + ", number " + std::to_string(i));
  }
}

inline void expect_difference(const MultiFn& f, Inputs x, Inputs v, Inputs derivative,
                              double tolerance, const std::string& what) {
  const auto slopes = difference(f, x, v);
  ASSERT_EQ(slopes.size(), derivative.size()) << what;
  for (size_t k = 0; k < slopes.size(); ++k)
    expect_close(to_doubles(derivative[k].value()), slopes[k], tolerance,
                 what + " against differences, number " + std::to_string(k));
}

/// A scalar whose Hessian has the curvature of f and that of what follows it: sum of w y (1 + y /
/// 2) over all outputs y, with fixed random w.
inline Fn scalar_of(MultiFn f, uint64_t seed = 71) {
  return [f = std::move(f), seed](Inputs x) {
    Var total;
    uint64_t s = seed;
    for (const Var& y : f(x)) {
      const Tensor w = autograd::convert(uniform(y.shape(), DType::f64, s++), y.dtype());
      total = autograd::add_or_empty(total, autograd::sum(w.to(y.device()) * y * (1.0 + 0.5 * y)));
    }
    return total;
  };
}

}  // namespace tessera::test
