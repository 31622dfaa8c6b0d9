// Every record of op_cases.hpp on every device: values and derivatives of first and second order
// next to the host's.
#include <gtest/gtest.h>

#include "tessera/tests/autograd/op_cases.hpp"
#include "tessera/tests/support/gradcheck.hpp"

namespace tessera::test {
namespace {

using namespace autograd;

struct DeviceCase {
  OpCase op;
  Device device;
};

std::string device_case_name(const testing::TestParamInfo<DeviceCase>& info) {
  std::string name = to_string(info.param.device) + "_" + test_name(info.param.op);
  std::replace(name.begin(), name.end(), ':', '_');
  return name;
}
void PrintTo(const DeviceCase& c, std::ostream* out) {
  *out << to_string(c.device) << " " << c.op.name;
}

/// Every record for each device; one for a device that is absent, whose tests are then skipped.
std::vector<DeviceCase> device_cases() {
  std::vector<DeviceCase> list;
  for (Device device : {Device::cuda(), Device::simt()})
    for (const OpCase& op : op_cases()) {
      list.push_back({op, device});
      if (!available(device)) break;
    }
  return list;
}

class OpOnDevice : public testing::TestWithParam<DeviceCase> {
 protected:
  void SetUp() override {
    std::string reason;
    if (!available(device(), &reason)) GTEST_SKIP() << to_string(device()) << ": " << reason;
  }
  static const OpCase& op() { return GetParam().op; }
  static Device device() { return GetParam().device; }
  static Vars on_device(Inputs x) {
    Vars y;
    for (const Var& t : x) y.emplace_back(t.value().to(device()));
    return y;
  }

  /// Inputs, directions and cotangents of an op.
  struct Point {
    Vars x, v, u;

    template <class F>
    Point map(F f) const {
      Point p;
      for (const auto& [from, to] : {std::pair(&x, &p.x), std::pair(&v, &p.v), std::pair(&u, &p.u)})
        for (const Var& t : *from) to->push_back(f(t.value()));
      return p;
    }
    Point on(Device device) const {
      return map([&](const Tensor& t) { return t.to(device); });
    }
    Point in(DType dtype) const {
      return map([&](const Tensor& t) { return convert(t, dtype); });
    }
  };
  static Point point(const Vars& x) { return {x, random_like(x, 5), random_like(op().fn(x), 9)}; }

  struct Tolerances {
    double value, first, second;
  };
  /// Everything at a point on the device next to the same on the host in `dtype`, both laid out in
  /// memory as `layout` does it.
  static void expect_as_on_the_host(
      const Point& on_host, DType dtype, const Tolerances& allowed,
      Var (*layout)(const Var&) = [](const Var& t) { return t; }) {
    const Point here = on_host.on(device()).map(layout), there = on_host.in(dtype).map(layout);
    const MultiFn& fn = op().fn;
    const auto [y, jv] = jvp(fn, here.x, here.v);
    const auto [host_y, host_jv] = jvp(fn, there.x, there.v);
    for (const Var& t : y) {
      EXPECT_EQ(t.device(), device());
      EXPECT_EQ(t.dtype(), on_host.u[0].dtype());
    }
    expect_all_close(y, host_y, allowed.value, "value");
    expect_all_close(jv, host_jv, allowed.first, "jvp");
    auto [again, pullback] = vjp(fn, here.x);
    expect_all_close(again, y, 0, "value in forward and reverse mode");
    const Vars gradients = pullback(here.u);
    for (size_t i = 0; i < gradients.size(); ++i) {
      EXPECT_EQ(gradients[i].device(), device());
      EXPECT_EQ(gradients[i].dtype(), on_host.x[i].dtype());
    }
    expect_all_close(gradients, vjp(fn, there.x).second(there.u), allowed.first, "gradient");
    expect_all_close(hvp(scalar_of(fn), here.x, here.v), hvp(scalar_of(fn), there.x, there.v),
                     allowed.second, "Hessian product");
  }
  static constexpr Tolerances doubles{1e-13, 1e-12, 1e-10};
};

TEST_P(OpOnDevice, DoublePrecision) {
  expect_as_on_the_host(point(make_inputs(op(), 1, DType::f64)), DType::f64, doubles);
}

TEST_P(OpOnDevice, SinglePrecision) {
  const double allowed = 64 * op().half_error * roundoff(DType::f32);
  expect_as_on_the_host(point(make_inputs(op(), 1, DType::f32)), DType::f64,
                        {allowed, 4 * allowed, 16 * allowed});
}

TEST_P(OpOnDevice, Halves) {
  for (DType dtype : {DType::f16, DType::bf16}) {
    SCOPED_TRACE(to_string(dtype));
    const Vars x = make_inputs(op(), 1, dtype);
    if (!op().halves) {
      EXPECT_THROW(op().fn(on_device(x)), Error);
      continue;
    }
    const double allowed = 2 * op().half_error * roundoff(dtype);
    expect_as_on_the_host(point(x), DType::f32, {allowed, 2 * allowed, 4 * allowed});
  }
}

TEST_P(OpOnDevice, StridedInputs) {
  expect_as_on_the_host(point(make_inputs(op(), 1, DType::f64)), DType::f64, doubles, scattered);
}

TEST_P(OpOnDevice, RepeatedInputs) {
  if (!op().halves) GTEST_SKIP() << "equal rows are singular";
  expect_as_on_the_host(point(make_inputs(op(), 1, DType::f64)), DType::f64, doubles, repeated);
}

TEST_P(OpOnDevice, EmptyInputs) {
  if (op().empty.empty()) GTEST_SKIP() << "no empty inputs in its record";
  Vars x;
  for (const Shape& shape : op().empty)
    x.emplace_back(Tensor::zeros(shape, DType::f64, Device::cpu()));
  expect_as_on_the_host(point(x), DType::f64, doubles);
}

INSTANTIATE_TEST_SUITE_P(Ops, OpOnDevice, testing::ValuesIn(device_cases()), device_case_name);

}  // namespace
}  // namespace tessera::test
