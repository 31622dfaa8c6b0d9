// Arithmetic, elementary functions, activations, noise.
#include "tessera/tests/autograd/op_cases.hpp"

namespace tessera::test {

using namespace autograd;

void add_elementwise_cases(OpCases& cases) {
  // ---- arithmetic

  const auto binary_case = [&](std::string name, Var (*fn)(const Var&, const Var&), double low = -1,
                               double high = 1) {
    const auto call = one([fn](Inputs x) { return fn(x[0], x[1]); });
    cases.add_case({.name = name,
                    .inputs = {{{5, 7}, low, high}, {{5, 7}, low, high}},
                    .fn = call,
                    .empty = {{0, 7}, {0, 7}}});
    cases.add_case({.name = name + "/broadcast",
                    .inputs = {{{3, 1, 5}, low, high}, {{7, 1}, low, high}},
                    .fn = call,
                    .empty = {{3, 1, 0}, {7, 1}}});
    cases.add_case(
        {.name = name + "/scalar", .inputs = {{{}, low, high}, {{3, 11}, low, high}}, .fn = call});
    cases.add_case({.name = name + "/same",
                    .inputs = {{{9}, low, high}},
                    .fn = one([fn](Inputs x) { return fn(x[0], x[0]); }),
                    .surrogate = name == "maximum" || name == "minimum"});
  };
  binary_case("add", add);
  binary_case("subtract", subtract);
  binary_case("multiply", multiply);
  binary_case("divide", divide, 0.5, 2);
  binary_case("maximum", maximum);
  binary_case("minimum", minimum);
  binary_case("power", power, 0.3, 2);

  cases.unary_case("affine", [](const Var& x) { return affine(x, -1.5, 0.25); });
  cases.unary_case("affine/scale", [](const Var& x) { return affine(x, 3.0, 0.0); });
  cases.back().label = "scale";
  cases.unary_case("negative", negative);
  cases.unary_case("square", square);
  cases.unary_case("reciprocal", reciprocal, 0.5, 2);
  cases.unary_case(
      "power/half", [](const Var& x) { return power(x, 1.5); }, 0.5, 2);
  cases.unary_case("power/cube", [](const Var& x) { return power(x, 3.0); });
  cases.unary_case("abs", [](const Var& x) { return abs(x); });
  cases.unary_case("clamp", [](const Var& x) { return clamp(x, -0.7, 0.9); });
  cases.unary_case("cast", [](const Var& x) {
    return cast(cast(x, x.dtype() == DType::f64 ? DType::f64 : DType::f32), x.dtype());
  });
  cases.back().shares_dtype = false;
  cases.add_case({.name = "where",
                  .inputs = {{{5, 7}}, {{7}}},
                  .fn = one([](Inputs x) {
                    return where(mask(x[0], {5, 7}, 3), x[0], x[1]);
                  })});
  cases.add_case({.name = "where/condition",
                  .inputs = {{{}}, {{3, 1}}},
                  .fn = one([](Inputs x) {
                    return where(mask(x[0], {2, 3, 5}, 4), x[0], x[1]);
                  })});

  // ---- elementary functions and activations

  cases.unary_case("exp", [](const Var& x) { return exp(x); });
  cases.unary_case("expm1", [](const Var& x) { return expm1(x); });
  cases.unary_case(
      "log", [](const Var& x) { return log(x); }, 0.3, 3);
  cases.unary_case(
      "log1p", [](const Var& x) { return log1p(x); }, -0.5, 3);
  cases.unary_case(
      "sqrt", [](const Var& x) { return sqrt(x); }, 0.3, 3);
  cases.unary_case("rsqrt", rsqrt, 0.5, 3);
  cases.unary_case(
      "sin", [](const Var& x) { return sin(x); }, -4, 4);
  cases.unary_case(
      "cos", [](const Var& x) { return cos(x); }, -4, 4);
  cases.unary_case("tanh", [](const Var& x) { return tanh(x); });
  cases.unary_case("erf", [](const Var& x) { return erf(x); });
  cases.unary_case("sigmoid", sigmoid, -4, 4);
  cases.unary_case("softplus", softplus, -4, 4);
  cases.unary_case("relu", relu);
  cases.unary_case("relu_gradient",
                   [](const Var& g) { return relu_gradient(g, constant(g, g.shape(), 3)); });
  cases.unary_case("leaky_relu", [](const Var& x) { return leaky_relu(x, 0.1); });
  cases.unary_case("elu", [](const Var& x) { return elu(x, 0.8); });
  cases.unary_case("gelu", gelu, -3, 3);
  cases.unary_case("gelu_tanh", gelu_tanh, -3, 3);
  cases.unary_case("silu", silu, -4, 4);

  // ---- random

  cases.unary_case("dropout", [](const Var& x) { return dropout(x, 0.3, {5, 2}); });
  cases.unary_case("gaussian_noise", [](const Var& x) { return gaussian_noise(x, 0.5, {5, 2}); });
  cases.back().label = "add";
}

}  // namespace tessera::test
