#include "tessera/kernels/elementwise.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

// Integers, bools and what is refused.

namespace tessera::kernels {
namespace {

using test::from_doubles;
using test::to_doubles;

class ElementwiseDevice : public test::TargetTest {};
INSTANTIATE_TEST_SUITE_P(Targets, ElementwiseDevice,
                         test::targets(test::any_dtype, &Backend::elementwise), test::target_name);

TEST_P(ElementwiseDevice, IntegersWrapAroundAndDivideSafely) {
  Stream& s = stream();
  const auto run = [&]<class T>(BinaryOp op, T a, T b) {
    const Tensor x = Tensor::from({a}, {1}, device()), z = Tensor::from({b}, {1}, device());
    const Tensor y = Tensor::empty({1}, dtype_of<T>, device());
    binary(s, op, x.view(), z.view(), y.view());
    return y.values<T>()[0];
  };
  const auto negated = [&]<class T>(T a) {
    const Tensor x = Tensor::from({a}, {1}, device());
    unary(s, UnaryOp::negative, x.view(), x.view());
    return x.values<T>()[0];
  };
  constexpr int32_t least = std::numeric_limits<int32_t>::min(),
                    most = std::numeric_limits<int32_t>::max();
  EXPECT_EQ(run(BinaryOp::add, most, 1), least);
  EXPECT_EQ(run(BinaryOp::multiply, least, -1), least);
  EXPECT_EQ(run(BinaryOp::divide, least, -1), least);
  EXPECT_EQ(run(BinaryOp::divide, 7, 0), 0);
  EXPECT_EQ(run(BinaryOp::divide, -7, 2), -3);
  EXPECT_EQ(run(BinaryOp::divide, std::numeric_limits<int64_t>::min(), int64_t{-1}),
            std::numeric_limits<int64_t>::min());
  EXPECT_EQ(run(BinaryOp::add, int8_t{127}, int8_t{1}), -128);
  EXPECT_EQ(run(BinaryOp::subtract, uint8_t{1}, uint8_t{2}), 255);
  EXPECT_EQ(run(BinaryOp::divide, uint8_t{200}, uint8_t{255}), 0);
  EXPECT_EQ(negated(least), least);
}

TEST_P(ElementwiseDevice, LogicAndComparisonsOfBool) {
  Stream& s = stream();
  const Tensor a = on_device(from_doubles({0, 0, 1, 1}, {4}, DType::bool_)),
               b = on_device(from_doubles({0, 1, 0, 1}, {4}, DType::bool_));
  const auto run = [&](BinaryOp op) {
    const Tensor y = Tensor::empty({4}, DType::bool_, device());
    binary(s, op, a.view(), b.view(), y.view());
    return to_doubles(y);
  };
  EXPECT_EQ(run(BinaryOp::logical_and), (std::vector<double>{0, 0, 0, 1}));
  EXPECT_EQ(run(BinaryOp::logical_or), (std::vector<double>{0, 1, 1, 1}));
  EXPECT_EQ(run(BinaryOp::logical_xor), (std::vector<double>{0, 1, 1, 0}));
  EXPECT_EQ(run(BinaryOp::equal), (std::vector<double>{1, 0, 0, 1}));
  EXPECT_EQ(run(BinaryOp::less), (std::vector<double>{0, 1, 0, 0}));
  const Tensor y = Tensor::empty({4}, DType::bool_, device());
  unary(s, UnaryOp::logical_not, a.view(), y.view());
  EXPECT_EQ(to_doubles(y), (std::vector<double>{1, 1, 0, 0}));
}

TEST_P(ElementwiseDevice, ErrorsNameShapesAndDtypes) {
  Stream& s = stream();
  const auto tensor = [](const Shape& shape, DType dtype) {
    return Tensor::zeros(shape, dtype, device());
  };
  const auto message = [](auto&& call) -> std::string {
    try {
      call();
    } catch (const Error& e) {
      return e.what();
    }
    return "no error";
  };
  const Tensor a = tensor({2, 3}, DType::f32), b = tensor({3, 2}, DType::f32),
               i = tensor({2, 3}, DType::i32), flag = tensor({2, 3}, DType::bool_);
  EXPECT_EQ(message([&] { binary(s, BinaryOp::add, a.view(), b.view(), a.view()); }),
            "binary: operand of shape [3, 2] for an output of shape [2, 3]");
  EXPECT_EQ(message([&] { binary(s, BinaryOp::add, a.view(), i.view(), a.view()); }),
            "binary: operands f32 and i32");
  EXPECT_EQ(message([&] { binary(s, BinaryOp::less, a.view(), a.view(), a.view()); }),
            "binary: output f32 for operands f32");
  EXPECT_EQ(message([&] { unary(s, UnaryOp::exp, a.view(), i.view()); }),
            "unary: output i32 for an operand f32");
  EXPECT_EQ(message([&] { select(s, a.view(), a.view(), a.view(), a.view()); }),
            "select: condition must be bool, is f32");
  EXPECT_EQ(message([&] { axpby(s, 1, a.view(), 1, i.view()); }), "axpby: x is f32, y is i32");
  EXPECT_THROW(unary(s, UnaryOp::exp, i.view(), i.view()), Error);
  EXPECT_THROW(unary(s, UnaryOp::negative, flag.view(), flag.view()), Error);
  EXPECT_THROW(unary(s, UnaryOp::logical_not, a.view(), flag.view()), Error);
  EXPECT_THROW(binary(s, BinaryOp::add, flag.view(), flag.view(), flag.view()), Error);
  EXPECT_THROW(binary(s, BinaryOp::logical_and, a.view(), a.view(), flag.view()), Error);
  EXPECT_THROW(axpby(s, 1, i.view(), 1, i.view()), Error);
}

}  // namespace
}  // namespace tessera::kernels
