#include "tessera/kernels/reduce.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <limits>

#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/layouts.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::expect_close;
using test::from_doubles;
using test::infinity;
using test::to_doubles;

constexpr ReduceOp number_ops[] = {
    ReduceOp::sum,     ReduceOp::product,        ReduceOp::maximum,
    ReduceOp::minimum, ReduceOp::sum_of_squares, ReduceOp::sum_of_abs};

// The definition, in long double, over row-major values.
std::vector<double> reference(ReduceOp op, const std::vector<double>& x, const Shape& from,
                              const Shape& to) {
  const bool extreme = op == ReduceOp::maximum || op == ReduceOp::minimum;
  const double start = op == ReduceOp::product || op == ReduceOp::all ? 1 : 0;
  std::vector<long double> y(static_cast<size_t>(to.numel()), start), count(y.size());
  const Shape dense = contiguous_strides(from), target = contiguous_strides(to);
  for (int64_t i = 0; i < from.numel(); ++i) {
    int64_t at = 0;
    for (int d = 0; d < from.rank(); ++d)
      if (to[d] == from[d]) at += i / dense[d] % from[d] * target[d];
    const long double v = x[static_cast<size_t>(i)];
    long double& out = y[static_cast<size_t>(at)];
    const bool first = count[static_cast<size_t>(at)]++ == 0;
    if (extreme && first) out = v;
    if (std::isnan(v) || std::isnan(out))
      out = NAN;
    else if (op == ReduceOp::maximum)
      out = std::max(out, v);
    else if (op == ReduceOp::minimum)
      out = std::min(out, v);
    else if (op == ReduceOp::product)
      out *= v;
    else if (op == ReduceOp::sum_of_squares)
      out += v * v;
    else if (op == ReduceOp::sum_of_abs)
      out += std::abs(v);
    else if (op == ReduceOp::any)
      out = out != 0 || v != 0;
    else if (op == ReduceOp::all)
      out = out != 0 && v != 0;
    else
      out += v;
  }
  if (op == ReduceOp::mean)
    for (size_t i = 0; i < y.size(); ++i) y[i] /= count[i];
  return {y.begin(), y.end()};
}

Shape reduced_shape(const Shape& shape, test::Numbers& next) {
  Shape out = shape;
  for (int64_t& n : out)
    if (next() % 2 == 0) n = 1;
  return out;
}

class FloatReduce : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, FloatReduce, test::targets(test::float_dtypes, &Backend::reduce),
                         test::target_name);

// Shapes beyond one run, one chunk, one tile of columns, in each position.
const Shape long_shapes[] = {{1},           {31},           {4097},       {140001},
                             {3, 70001},    {70001, 3},     {130, 1030},  {2, 1500, 70},
                             {20, 3500, 2}, {3, 70, 7, 64}, {1025, 1, 65}};

TEST_P(FloatReduce, LongSumsKeepTheirAccuracy) {
  test::Numbers next(21);
  for (const Shape& shape : long_shapes)
    for (ReduceOp op :
         {ReduceOp::sum, ReduceOp::mean, ReduceOp::sum_of_squares, ReduceOp::sum_of_abs}) {
      const Tensor x = test::uniform(shape, dtype(), 22);
      const Shape to = reduced_shape(shape, next);
      const Tensor y = empty(to);
      reduce(stream(), op, on_device(x).view(), y.view());
      const double terms = static_cast<double>(shape.numel()) / static_cast<double>(to.numel());
      test::Tolerance allowed = test::tolerance(dtype());
      allowed.atol *= op == ReduceOp::mean ? 1 : std::sqrt(terms);
      expect_close(y, reference(op, to_doubles(x), shape, to), allowed,
                   concat("op ", static_cast<int>(op), " from ", shape, " to ", to));
    }
}

TEST_P(FloatReduce, ExtremesAreExactAndCarryNan) {
  test::Numbers next(23);
  for (const Shape& shape : long_shapes)
    for (ReduceOp op : {ReduceOp::maximum, ReduceOp::minimum}) {
      Tensor x = test::uniform(shape, dtype(), 24);
      std::vector<double> values = to_doubles(x);
      values[values.size() / 2] = NAN;
      values[values.size() / 3] = -infinity;
      x = from_doubles(values, shape, dtype());
      const Shape to = reduced_shape(shape, next);
      const Tensor y = empty(to);
      reduce(stream(), op, on_device(x).view(), y.view());
      expect_close(y, reference(op, values, shape, to), test::Tolerance{},
                   concat("from ", shape, " to ", to));
    }
}

TEST_P(FloatReduce, BitsDoNotDependOnThreads) {
  test::Numbers next(25);
  for (const Shape& shape : long_shapes)
    for (int round = 0; round < 4; ++round) {
      const Tensor x = test::uniform(shape, dtype(), 26);
      const Shape to = reduced_shape(shape, next);
      const Tensor one = empty(to), two = empty(to);
      for (const auto& [threads, y] : {std::pair{1, one}, std::pair{2, two}}) {
        const test::Threads scope(threads);
        reduce(stream(), ReduceOp::sum, on_device(x).view(), y.view());
      }
      EXPECT_EQ(to_doubles(one), to_doubles(two)) << to_string(shape) << " to " << to_string(to);
    }
}

TEST_P(FloatReduce, Dot) {
  for (int64_t n : {0, 1, 15, 4096, 4097, 100003}) {
    const Tensor a = test::uniform({n}, dtype(), 27), b = test::uniform({n}, dtype(), 28);
    const std::vector<double> x = to_doubles(a), z = to_doubles(b);
    long double wanted = 0;
    for (size_t i = 0; i < x.size(); ++i) wanted += static_cast<long double>(x[i]) * z[i];
    const Tensor y = empty({}, DType::f64);
    double results[2];
    for (int threads : {1, 2}) {
      const test::Threads scope(threads);
      dot(stream(), on_device(a).view(), on_device(b).view(), y.view());
      results[threads - 1] = y.item();
    }
    EXPECT_EQ(results[0], results[1]);
    const double unit = dtype() == DType::f64 ? 1e-15 : 1e-7;
    EXPECT_NEAR(results[0], static_cast<double>(wanted),
                unit * (1 + std::sqrt(static_cast<double>(n))))
        << n;
  }
}

constexpr DType number_dtypes[] = {DType::f32, DType::f64, DType::f16, DType::bf16,
                                   DType::i64, DType::i32, DType::i8,  DType::u8};

class Reduce : public test::TargetTest {
 protected:
  // -1, 0 and 1: products stay what every dtype holds
  static test::Layout operand(const Shape& shape, test::Numbers& next) {
    return test::random_layout(shape, dtype(), device(), next, true, 1);
  }
  static double wrapped(double v) {
    if (dtype() == DType::i8) return static_cast<int8_t>(static_cast<int64_t>(v));
    if (dtype() == DType::u8) return static_cast<uint8_t>(static_cast<int64_t>(v));
    return v;
  }
};
INSTANTIATE_TEST_SUITE_P(Targets, Reduce, test::targets(number_dtypes, &Backend::reduce),
                         test::target_name);

TEST_P(Reduce, AnyAxesOfAnyStrides) {
  test::Numbers next(31);
  for (int round = 0; round < 250; ++round) {
    const Shape shape = test::random_shape(next);
    const test::Layout x = operand(shape, next);
    const Shape to = reduced_shape(shape, next);
    const ReduceOp op = number_ops[next() % std::size(number_ops)];
    const std::string what =
        concat("round ", round, " op ", static_cast<int>(op), " from ", shape, " to ", to);
    const Tensor y = empty(to);
    if (shape.numel() == 0 && to.numel() > 0 &&
        (op == ReduceOp::maximum || op == ReduceOp::minimum)) {
      EXPECT_THROW(reduce(stream(), op, x.view.view(), y.view()), Error) << what;
      continue;
    }
    reduce(stream(), op, x.view.view(), y.view());
    std::vector<double> wanted = reference(op, to_doubles(x.view), shape, to);
    for (double& v : wanted) v = wrapped(v);
    // beyond 256 and 2048 not every integer is a bf16, f16
    expect_close(y, wanted, is_half(dtype()) ? test::tolerance(dtype()) : test::Tolerance{}, what);
  }
}

TEST_P(Reduce, ArgmaxAndArgminTakeTheFirst) {
  test::Numbers next(32);
  for (int round = 0; round < 100; ++round) {
    const Shape shape = test::random_shape(next);
    if (shape.rank() == 0 || shape.numel() == 0) continue;
    const test::Layout x = operand(shape, next);
    const int axis = static_cast<int>(next() % static_cast<uint32_t>(shape.rank()));
    Shape to = shape;
    to[axis] = 1;
    const Tensor largest = empty(to, DType::i64), smallest = empty(to, DType::i64);
    argmax(stream(), x.view.view(), axis, largest.view());
    argmin(stream(), x.view.view(), axis, smallest.view());
    const std::vector<double> v = to_doubles(x.view);
    const int64_t inner = contiguous_strides(shape)[axis], n = shape[axis];
    std::vector<double> wanted_max, wanted_min;
    for (int64_t line = 0; line < to.numel(); ++line) {
      const int64_t base = line / inner * inner * n + line % inner;
      int64_t high = 0, low = 0;
      for (int64_t i = 1; i < n; ++i) {
        const auto at = [&](int64_t k) { return v[static_cast<size_t>(base + k * inner)]; };
        if (at(i) > at(high)) high = i;
        if (at(i) < at(low)) low = i;
      }
      wanted_max.push_back(static_cast<double>(high));
      wanted_min.push_back(static_cast<double>(low));
    }
    EXPECT_EQ(to_doubles(largest), wanted_max) << "round " << round;
    EXPECT_EQ(to_doubles(smallest), wanted_min) << "round " << round;
  }
}

TEST_P(Reduce, CumulativeSum) {
  test::Numbers next(33);
  for (int round = 0; round < 100; ++round) {
    const Shape shape = test::random_shape(next);
    if (shape.rank() == 0) continue;
    const test::Layout x = operand(shape, next);
    const int axis = static_cast<int>(next() % static_cast<uint32_t>(shape.rank()));
    const Tensor y = empty(shape);
    cumulative_sum(stream(), x.view.view(), axis, y.view());
    std::vector<double> wanted = to_doubles(x.view);
    const int64_t inner = contiguous_strides(shape)[axis], n = shape[axis];
    for (int64_t i = 0; i < shape.numel(); ++i)
      if (i / inner % n > 0)
        wanted[static_cast<size_t>(i)] += wanted[static_cast<size_t>(i - inner)];
    for (double& v : wanted) v = wrapped(v);
    expect_close(y, wanted, test::Tolerance{},
                 concat("round ", round, " shape ", shape, " axis ", axis));
  }
}

class ReduceDevice : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, ReduceDevice, test::targets(test::any_dtype, &Backend::reduce),
                         test::target_name);

TEST_P(ReduceDevice, AnyAndAll) {
  Stream& s = stream();
  test::Numbers next(34);
  for (int round = 0; round < 100; ++round) {
    const Shape shape = test::random_shape(next), to = reduced_shape(shape, next);
    const test::Layout x = test::random_layout(shape, DType::bool_, device(), next, true, 1);
    for (ReduceOp op : {ReduceOp::any, ReduceOp::all}) {
      const Tensor y = Tensor::empty(to, DType::bool_, device());
      reduce(s, op, x.view.view(), y.view());
      expect_close(y, reference(op, to_doubles(x.view), shape, to), test::Tolerance{},
                   concat("round ", round));
    }
  }
}

TEST_P(ReduceDevice, NothingGivesTheIdentity) {
  Stream& s = stream();
  const Tensor x = Tensor::empty({0, 2}, DType::f32, device());
  const auto run = [&](ReduceOp op) {
    const Tensor y = Tensor::empty({1, 2}, DType::f32, device());
    reduce(s, op, x.view(), y.view());
    return to_doubles(y);
  };
  EXPECT_EQ(run(ReduceOp::sum), (std::vector<double>{0, 0}));
  EXPECT_EQ(run(ReduceOp::product), (std::vector<double>{1, 1}));
  EXPECT_TRUE(std::isnan(run(ReduceOp::mean)[1]));
  EXPECT_THROW(run(ReduceOp::maximum), Error);
  const Tensor none = Tensor::empty({0, 2}, DType::bool_, device());
  for (const ReduceOp op : {ReduceOp::any, ReduceOp::all}) {
    const Tensor y = Tensor::empty({1, 2}, DType::bool_, device());
    reduce(s, op, none.view(), y.view());
    const Tensor on_host = y.to(Device::cpu());
    for (int i = 0; i < 2; ++i)  // the byte itself, which is 0 or 1
      EXPECT_EQ(static_cast<const uint8_t*>(on_host.data())[i], op == ReduceOp::all ? 1 : 0);
  }
  const Tensor index = Tensor::empty({1, 2}, DType::i64, device());
  EXPECT_THROW(argmax(s, x.view(), 0, index.view()), Error);
}

TEST_P(ReduceDevice, NanIsTheExtremeForArgmaxAndArgmin) {
  Stream& s = stream();
  for (DType dtype : test::float_dtypes) {
    const Tensor x =
        on_device(from_doubles({1, NAN, 5, NAN, -infinity, infinity, 2, 2}, {2, 4}, dtype));
    const Tensor y = Tensor::empty({2, 1}, DType::i64, device());
    argmax(s, x.view(), 1, y.view());
    EXPECT_EQ(to_doubles(y), (std::vector<double>{1, 1}));
    argmin(s, x.view(), 1, y.view());
    EXPECT_EQ(to_doubles(y), (std::vector<double>{1, 0}));
  }
}

TEST_P(ReduceDevice, ErrorsNameShapesAndDtypes) {
  Stream& s = stream();
  const auto tensor = [](const Shape& shape, DType dtype) {
    return Tensor::zeros(shape, dtype, device());
  };
  const Tensor x = tensor({2, 3}, DType::f32), i = tensor({2, 3}, DType::i32),
               b = tensor({2, 3}, DType::bool_);
  const auto fails = [&](const Tensor& from, ReduceOp op, const Tensor& to) {
    EXPECT_THROW(reduce(s, op, from.view(), to.view()), Error);
  };
  fails(x, ReduceOp::sum, tensor({2, 2}, DType::f32));
  fails(x, ReduceOp::sum, tensor({2}, DType::f32));
  fails(x, ReduceOp::sum, tensor({2, 1}, DType::f64));
  fails(x, ReduceOp::any, tensor({2, 1}, DType::f32));
  fails(i, ReduceOp::mean, tensor({2, 1}, DType::i32));
  fails(b, ReduceOp::sum, tensor({2, 1}, DType::bool_));
  fails(x, ReduceOp::sum, tensor({4, 2}, DType::f32).narrow(0, 0, 2).narrow(1, 0, 1));
  EXPECT_THROW(argmax(s, x.view(), 2, tensor({2, 1}, DType::i64).view()), Error);
  EXPECT_THROW(argmax(s, x.view(), 1, tensor({2, 1}, DType::i32).view()), Error);
  EXPECT_THROW(argmax(s, x.view(), 1, tensor({1, 3}, DType::i64).view()), Error);
  EXPECT_THROW(cumulative_sum(s, x.view(), 0, tensor({3, 2}, DType::f32).view()), Error);
  EXPECT_THROW(cumulative_sum(s, b.view(), 0, b.view()), Error);
  EXPECT_THROW(dot(s, x.view(), i.view(), tensor({}, DType::f64).view()), Error);
  EXPECT_THROW(dot(s, x.view(), x.view(), tensor({}, DType::f32).view()), Error);
  EXPECT_THROW(
      dot(s, x.transpose(0, 1).view(), x.transpose(0, 1).view(), tensor({}, DType::f64).view()),
      Error);
  EXPECT_THROW(dot(s, i.view(), i.view(), tensor({}, DType::f64).view()), Error);
}

}  // namespace
}  // namespace tessera::kernels
