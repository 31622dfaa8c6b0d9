#pragma once

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/tests/support/values.hpp"

/// One record per differentiable operation (and per way of calling it that takes other code). The
/// generic suite tests/autograd/op_suite_test.cpp runs every check on every record, so a new op is
/// tested by adding one here; a structure test fails when a function of autograd/ops.hpp has none.
namespace tessera::test {

using autograd::Inputs;
using autograd::Var;
using autograd::Vars;

struct OpCase {
  struct Input {
    Shape shape;
    double low = -1, high = 1;  // values are uniform between
  };

  std::string name;  // the function of ops.hpp; what follows a '/' tells variants apart
  std::vector<Input> inputs;
  std::function<Vars(Inputs)> fn;

  bool surrogate = false;  // derivatives that are not those of the function: no central differences
  bool halves = true;      // f16 and bf16 are supported
  double half_error =
      4;           // how many roundings of an intermediate of order 1 half precision may cost
  int orders = 3;  // derivatives that exist
  std::string label = {};         // errors may also name this op, of which the function is made
  bool shares_dtype = true;       // inputs of different dtypes are an error
  std::vector<Shape> empty = {};  // input shapes without elements that the op accepts

  std::string function() const { return name.substr(0, name.find('/')); }
};
inline void PrintTo(const OpCase& c, std::ostream* out) { *out << c.name; }

/// Inputs of a record, different for each seed.
inline Vars make_inputs(const OpCase& c, uint64_t seed, DType dtype) {
  Vars inputs;
  for (const OpCase::Input& in : c.inputs) {
    std::vector<double> values = to_doubles(uniform(in.shape, DType::f64, seed++ * 977 + 13));
    for (double& x : values) x = in.low + (in.high - in.low) * (x + 1) / 2;
    inputs.emplace_back(from_doubles(values, in.shape, dtype));
  }
  return inputs;
}

namespace detail {

inline std::function<Vars(Inputs)> one(std::function<Var(Inputs)> fn) {
  return [fn = std::move(fn)](Inputs x) { return Vars{fn(x)}; };
}

inline Tensor index(std::initializer_list<int64_t> values, const Shape& shape) {
  return Tensor::from(values, shape, Device::cpu());
}
inline Tensor mask(const Shape& shape, uint64_t seed) {
  Numbers next(seed);
  Tensor t = Tensor::empty(shape, DType::bool_, Device::cpu());
  for (bool& b : t.host_mutable<bool>()) b = next() % 3 != 0;
  return t;
}
inline Tensor constant(const Var& like, const Shape& shape, uint64_t seed, double low = -1,
                       double high = 1) {
  const Tensor t = uniform(shape, DType::f64, seed);
  const Tensor scaled = autograd::affine(t, (high - low) / 2, (high + low) / 2).value();
  return is_float(like.dtype()) ? autograd::convert(scaled, like.dtype()) : scaled;
}
// Well conditioned and positive definite, as a function of any square matrix.
inline Var positive_definite(const Var& x) {
  const Var squares = autograd::gram(x);
  const int64_t n = x.size(-1);
  std::vector<double> half_identity(static_cast<size_t>(n * n));
  for (int64_t i = 0; i < n; ++i) half_identity[static_cast<size_t>(i * n + i)] = 0.5;
  return squares + Var(from_doubles(half_identity, {n, n}, x.dtype()));
}

// 5 rows, 4 columns: an empty row (2), an empty column (1), entries out of order.
inline autograd::SparseMatrix rectangle(const Var& like) {
  const Tensor row_ptr = Tensor::from({0, 2, 3, 3, 6, 7}, {6}, Device::cpu());
  const Tensor col = Tensor::from({3, 0, 2, 2, 0, 3, 0}, {7}, Device::cpu());
  return autograd::SparseMatrix(CsrMatrix::from_parts(5, 4, row_ptr, col, constant(like, {7}, 5)));
}
// A symmetric graph of 4 nodes that says so.
inline autograd::SparseMatrix triangle_graph(const Var& like) {
  const Tensor row_ptr = Tensor::from({0, 2, 4, 6, 6}, {5}, Device::cpu());
  const Tensor col = Tensor::from({1, 2, 0, 2, 0, 1}, {6}, Device::cpu());
  CsrMatrix m = CsrMatrix::from_parts(4, 4, row_ptr, col, constant(like, {6}, 5, 0.5, 0.5));
  m.symmetric = true;
  return autograd::SparseMatrix(m);
}

}  // namespace detail

inline std::vector<OpCase> op_cases() {
  using namespace autograd;
  using detail::constant;
  using detail::index;
  using detail::one;
  std::vector<OpCase> list;
  const auto add_case = [&](OpCase c) { list.push_back(std::move(c)); };

  // ---- arithmetic
  // --------------------------------------------------------------------------------
  const auto binary_case = [&](std::string name, Var (*fn)(const Var&, const Var&), double low = -1,
                               double high = 1) {
    const auto call = one([fn](Inputs x) { return fn(x[0], x[1]); });
    add_case({.name = name,
              .inputs = {{{5, 7}, low, high}, {{5, 7}, low, high}},
              .fn = call,
              .empty = {{0, 7}, {0, 7}}});
    add_case({.name = name + "/broadcast",
              .inputs = {{{3, 1, 5}, low, high}, {{7, 1}, low, high}},
              .fn = call,
              .empty = {{3, 1, 0}, {7, 1}}});
    add_case(
        {.name = name + "/scalar", .inputs = {{{}, low, high}, {{3, 11}, low, high}}, .fn = call});
    add_case({.name = name + "/same",
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

  const auto unary_case = [&](std::string name, std::function<Var(const Var&)> fn, double low = -2,
                              double high = 2) {
    add_case({.name = name,
              .inputs = {{{5, 7}, low, high}},
              .fn = one([fn](Inputs x) { return fn(x[0]); }),
              .empty = {{0, 7}}});
  };
  unary_case("affine", [](const Var& x) { return affine(x, -1.5, 0.25); });
  unary_case("affine/scale", [](const Var& x) { return affine(x, 3.0, 0.0); });
  list.back().label = "scale";
  unary_case("negative", negative);
  unary_case("square", square);
  unary_case("reciprocal", reciprocal, 0.5, 2);
  unary_case(
      "power/half", [](const Var& x) { return power(x, 1.5); }, 0.5, 2);
  unary_case("power/cube", [](const Var& x) { return power(x, 3.0); });
  unary_case("abs", [](const Var& x) { return abs(x); });
  unary_case("clamp", [](const Var& x) { return clamp(x, -0.7, 0.9); });
  unary_case("cast", [](const Var& x) {
    return cast(cast(x, x.dtype() == DType::f64 ? DType::f64 : DType::f32), x.dtype());
  });
  list.back().shares_dtype = false;
  add_case({.name = "where",
            .inputs = {{{5, 7}}, {{7}}},
            .fn = one([](Inputs x) {
              return where(detail::mask({5, 7}, 3), x[0], x[1]);
            })});
  add_case({.name = "where/condition",
            .inputs = {{{}}, {{3, 1}}},
            .fn = one([](Inputs x) {
              return where(detail::mask({2, 3, 5}, 4), x[0], x[1]);
            })});

  // ---- elementary functions and activations
  // ------------------------------------------------------
  unary_case("exp", [](const Var& x) { return exp(x); });
  unary_case("expm1", [](const Var& x) { return expm1(x); });
  unary_case(
      "log", [](const Var& x) { return log(x); }, 0.3, 3);
  unary_case(
      "log1p", [](const Var& x) { return log1p(x); }, -0.5, 3);
  unary_case(
      "sqrt", [](const Var& x) { return sqrt(x); }, 0.3, 3);
  unary_case("rsqrt", rsqrt, 0.5, 3);
  unary_case(
      "sin", [](const Var& x) { return sin(x); }, -4, 4);
  unary_case(
      "cos", [](const Var& x) { return cos(x); }, -4, 4);
  unary_case("tanh", [](const Var& x) { return tanh(x); });
  unary_case("erf", [](const Var& x) { return erf(x); });
  unary_case("sigmoid", sigmoid, -4, 4);
  unary_case("softplus", softplus, -4, 4);
  unary_case("relu", relu);
  unary_case("relu_gradient",
             [](const Var& g) { return relu_gradient(g, constant(g, g.shape(), 3)); });
  unary_case("leaky_relu", [](const Var& x) { return leaky_relu(x, 0.1); });
  unary_case("elu", [](const Var& x) { return elu(x, 0.8); });
  unary_case("gelu", gelu, -3, 3);
  unary_case("gelu_tanh", gelu_tanh, -3, 3);
  unary_case("silu", silu, -4, 4);

  // ---- shapes
  // ------------------------------------------------------------------------------------
  const auto view_case = [&](std::string name, std::function<Var(const Var&)> fn,
                             std::string label = {}) {
    add_case({.name = name,
              .inputs = {{{3, 4, 5}}},
              .fn = one([fn](Inputs x) { return fn(x[0]); }),
              .half_error = 1,
              .label = label});
  };
  view_case("reshape", [](const Var& x) { return reshape(x, {6, -1}); });
  view_case("permute", [](const Var& x) { return permute(x, {2, 0, 1}); });
  view_case(
      "transpose", [](const Var& x) { return transpose(x, 0, -1); }, "permute");
  view_case(
      "squeeze",
      [](const Var& x) {
        return squeeze(reshape(x, {12, 1, 5}), 1);
      },
      "reshape");
  view_case(
      "unsqueeze", [](const Var& x) { return unsqueeze(x, 1); }, "reshape");
  view_case(
      "flatten", [](const Var& x) { return flatten(x, 1); }, "reshape");
  view_case(
      "narrow", [](const Var& x) { return narrow(x, 1, 1, 2); }, "slice");
  view_case("slice", [](const Var& x) { return slice(x, -1, 1, 5, 3); });
  view_case(
      "select", [](const Var& x) { return select(x, 1, 2); }, "slice");
  view_case("pad", [](const Var& x) { return pad(x, {0, 2, 1}, {3, 0, 1}); });
  view_case("flip", [](const Var& x) { return flip(x, 1); });
  view_case("broadcast_to", [](const Var& x) { return broadcast_to(x, {2, 3, 4, 5}); });
  view_case(
      "broadcast_to/axis",
      [](const Var& x) {
        return broadcast_to(narrow(x, 1, 0, 1), {3, 7, 5});
      },
      "slice");
  add_case({.name = "split",
            .inputs = {{{3, 7}}},
            .fn =
                [](Inputs x) {
                  const int64_t sizes[] = {2, 4, 1};
                  return split(x[0], 1, sizes);
                },
            .label = "slice"});
  add_case({.name = "split/equal",
            .inputs = {{{6, 2}}},
            .fn = [](Inputs x) { return split(x[0], 0, 3); },
            .label = "slice"});
  add_case({.name = "concat",
            .inputs = {{{3, 2}}, {{3, 5}}, {{3, 1}}},
            .fn = one([](Inputs x) { return concat(x, 1); }),
            .empty = {{0, 2}, {0, 5}, {0, 1}}});
  add_case({.name = "concat/six",
            .inputs = {{{1, 3}}, {{2, 3}}, {{1, 3}}, {{1, 3}}, {{2, 3}}, {{1, 3}}},
            .fn = one([](Inputs x) { return concat(x, 0); })});
  add_case({.name = "stack",
            .inputs = {{{3, 4}}, {{3, 4}}},
            .fn = one([](Inputs x) { return stack(x, 1); }),
            .label = "concat"});

  // ---- reductions
  // --------------------------------------------------------------------------------
  const auto reduction_case = [&](std::string name, std::function<Var(const Var&)> fn,
                                  std::string label = {}, std::vector<Shape> empty = {}) {
    add_case({.name = name,
              .inputs = {{{3, 5, 4}}},
              .fn = one([fn](Inputs x) { return fn(x[0]); }),
              .half_error = 12,
              .label = label,
              .empty = empty});
  };
  reduction_case("sum", [](const Var& x) { return sum(x); }, {}, {{0, 5, 4}});
  reduction_case("sum/axes", [](const Var& x) { return sum(x, {0, 2}); }, {}, {{0, 5, 4}});
  reduction_case("sum/keep", [](const Var& x) { return sum(x, {-2}, true); });
  reduction_case(
      "sum_to",
      [](const Var& x) {
        return sum_to(x, {5, 1});
      },
      "sum");
  reduction_case("mean", [](const Var& x) { return mean(x); });
  reduction_case("mean/axes", [](const Var& x) { return mean(x, {1}, true); });
  reduction_case(
      "variance",
      [](const Var& x) {
        return variance(x, {0, 1}, false, 1);
      },
      "mean");
  reduction_case(
      "variance/all", [](const Var& x) { return variance(x); }, "mean");
  reduction_case(
      "max", [](const Var& x) { return max(x, 1); }, "take_along");
  reduction_case(
      "max/all", [](const Var& x) { return max(x); }, "reshape");
  reduction_case(
      "min", [](const Var& x) { return min(x, -1, true); }, "take_along");
  reduction_case(
      "norm", [](const Var& x) { return norm(x, {2}); }, "square");
  reduction_case(
      "norm/all", [](const Var& x) { return norm(x); }, "square");
  reduction_case(
      "logsumexp", [](const Var& x) { return logsumexp(x, 1); }, "subtract");
  reduction_case("cumulative_sum", [](const Var& x) { return cumulative_sum(x, 1); }, {},
                 {{0, 5, 4}});
  add_case({.name = "inner_product",
            .inputs = {{{4, 9}}, {{4, 9}}},
            .fn = one([](Inputs x) { return inner_product(x[0], x[1]); }),
            .half_error = 12,
            .empty = {{0, 3}, {0, 3}}});

  // ---- indexing
  // ----------------------------------------------------------------------------------
  add_case({.name = "gather_rows",
            .inputs = {{{6, 3}}},
            .fn = one([](Inputs x) {
              return gather_rows(x[0], index({1, 5, 1, 0, 3, 1}, {2, 3}));
            })});
  add_case({.name = "gather_rows/vector",
            .inputs = {{{6}}},
            .fn = one([](Inputs x) {
              return gather_rows(x[0], index({1, 5, 1}, {3}));
            })});
  add_case({.name = "scatter_add_rows",
            .inputs = {{{2, 3, 4}}},
            .fn = one([](Inputs x) {
              return scatter_add_rows(x[0], index({1, 5, 1, 0, 3, 1}, {2, 3}), 7);
            })});
  add_case({.name = "take_along",
            .inputs = {{{4, 5}}},
            .fn = one([](Inputs x) {
              return take_along(x[0], index({1, 0, 4, 4, 2, 2, 3, 0}, {4, 2}), 1);
            })});
  add_case({.name = "scatter_add_along",
            .inputs = {{{4, 2}}},
            .fn = one([](Inputs x) {
              return scatter_add_along(x[0], index({1, 0, 4, 4, 2, 2, 3, 0}, {4, 2}), 1, 5);
            })});
  add_case({.name = "masked_fill",
            .inputs = {{{5, 7}}},
            .fn = one([](Inputs x) {
              return masked_fill(x[0], detail::mask({5, 7}, 9), 2.5);
            }),
            .label = "where"});
  add_case({.name = "top_k",
            .inputs = {{{4, 9}}},
            .fn = one([](Inputs x) { return top_k(x[0], 3).first; }),
            .label = "take_along"});

  // ---- products
  // ----------------------------------------------------------------------------------
  const auto product_case = [&](std::string name, std::vector<OpCase::Input> inputs,
                                std::function<Var(Inputs)> fn, std::vector<Shape> empty = {}) {
    add_case({.name = name,
              .inputs = std::move(inputs),
              .fn = one(std::move(fn)),
              .half_error = 12,
              .empty = std::move(empty)});
  };
  const auto times = [](Inputs x) { return matmul(x[0], x[1]); };
  product_case("matmul", {{{5, 7}}, {{7, 3}}}, times, {{0, 7}, {7, 3}});
  product_case("matmul/inner", {{{5, 1}}, {{1, 3}}}, times, {{5, 0}, {0, 3}});
  product_case("matmul/transposed", {{{7, 5}}, {{3, 7}}}, [](Inputs x) {
    return matmul(permute(x[0], {1, 0}), permute(x[1], {1, 0}));
  });
  list.back().label = "permute";
  product_case("matmul/batched", {{{2, 3, 4}}, {{2, 4, 5}}}, times);
  product_case("matmul/shared_right", {{{2, 3, 4}}, {{4, 5}}}, times);
  product_case("matmul/shared_left", {{{3, 4}}, {{2, 4, 5}}}, times);
  product_case("matmul/broadcast", {{{2, 1, 3, 4}}, {{3, 4, 2}}}, times);
  product_case("linear", {{{5, 7}}, {{3, 7}}, {{3}}},
               [](Inputs x) { return linear(x[0], x[1], x[2]); }, {{0, 7}, {3, 7}, {3}});
  product_case("linear/tokens", {{{2, 3, 4}}, {{5, 4}}, {{5}}},
               [](Inputs x) { return linear(x[0], x[1], x[2]); });
  product_case("linear/no_bias", {{{5, 7}}, {{3, 7}}}, [](Inputs x) { return linear(x[0], x[1]); });

  // ---- convolution and pooling
  // -------------------------------------------------------------------
  const auto conv_case = [&](std::string name, Shape x, Shape w, bool bias, Conv2dParams p) {
    std::vector<OpCase::Input> inputs{{x}, {w}};
    if (bias) inputs.push_back({{w[0]}});
    product_case("conv2d/" + name, inputs,
                 [p](Inputs in) { return conv2d(in[0], in[1], in.size() > 2 ? in[2] : Var(), p); });
  };
  conv_case("3x3", {2, 3, 5, 4}, {4, 3, 3, 3}, true, {.padding = {1, 1}});
  conv_case("stride", {1, 2, 6, 5}, {3, 2, 3, 3}, false, {.stride = {2, 2}, .padding = {1, 1}});
  conv_case("1x1", {2, 3, 3, 2}, {4, 3, 1, 1}, false, {});
  conv_case("oblong", {1, 2, 7, 6}, {2, 2, 5, 3}, true,
            {.stride = {1, 2}, .padding = {2, 1}, .dilation = {1, 2}});
  conv_case("depthwise", {2, 3, 5, 4}, {3, 1, 3, 3}, true, {.padding = {1, 1}, .groups = 3});
  conv_case("groups", {1, 4, 4, 5}, {6, 2, 3, 3}, false, {.groups = 2});
  product_case("conv2d_transposed", {{{2, 3, 3, 4}}, {{3, 2, 3, 3}}, {{2}}}, [](Inputs x) {
    return conv2d_transposed(x[0], x[1], x[2], {.stride = {2, 2}, .padding = {1, 1}}, {1, 0});
  });
  list.back().label = "conv2d_data_gradient";
  product_case("patch_embed", {{{2, 3, 4, 6}}, {{5, 3, 2, 2}}, {{5}}},
               [](Inputs x) { return patch_embed(x[0], x[1], x[2]); });
  list.back().label = "conv2d";
  const auto image_case = [&](std::string name, std::function<Var(const Var&)> fn,
                              std::string label = {}) {
    add_case({.name = name,
              .inputs = {{{2, 3, 7, 6}}},
              .fn = one([fn](Inputs x) { return fn(x[0]); }),
              .half_error = 8,
              .label = label});
  };
  image_case("max_pool2d", [](const Var& x) { return max_pool2d(x); });
  image_case("max_pool2d/padded", [](const Var& x) {
    return max_pool2d(x, {.window = {3, 3}, .stride = {2, 2}, .padding = {1, 1}});
  });
  image_case("average_pool2d", [](const Var& x) {
    return average_pool2d(x, {.window = {3, 2}, .stride = {2, 2}, .padding = {1, 0}});
  });
  image_case("adaptive_average_pool2d",
             [](const Var& x) { return adaptive_average_pool2d(x, 3, 4); });
  image_case(
      "global_average_pool", [](const Var& x) { return global_average_pool(x); },
      "adaptive_average_pool2d");
  image_case("resample2d/bilinear", [](const Var& x) { return resample2d(x, 5, 9); });
  image_case("resample2d/nearest",
             [](const Var& x) { return resample2d(x, 14, 4, {.mode = ResampleMode::nearest}); });
  image_case("resample2d/bicubic",
             [](const Var& x) { return resample2d(x, 9, 8, {.mode = ResampleMode::bicubic}); });

  // ---- rows
  // --------------------------------------------------------------------------------------
  const auto row_case = [&](std::string name, std::function<Var(const Var&)> fn,
                            Shape empty = {0, 7}) {
    add_case({.name = name,
              .inputs = {{{5, 7}, -2, 2}},
              .fn = one([fn](Inputs x) { return fn(x[0]); }),
              .half_error = 12,
              .empty = {empty}});
  };
  row_case("softmax", [](const Var& x) { return softmax(x); });
  row_case("softmax/axis", [](const Var& x) { return softmax(x, 0); }, {5, 0});
  list.back().label = "permute";
  row_case("log_softmax", [](const Var& x) { return log_softmax(x); });
  row_case("log_softmax/axis", [](const Var& x) { return log_softmax(x, 0); }, {5, 0});
  list.back().label = "permute";
  const auto norm_case = [&](std::string name, std::vector<OpCase::Input> inputs,
                             std::function<Var(Inputs)> fn, std::string label = {}) {
    add_case({.name = name,
              .inputs = std::move(inputs),
              .fn = one(std::move(fn)),
              .half_error = 24,
              .label = label,
              .shares_dtype = false});
  };
  norm_case("layer_norm", {{{5, 7}, -2, 2}, {{7}}, {{7}}},
            [](Inputs x) { return layer_norm(x[0], x[1], x[2]); });
  norm_case("layer_norm/plain", {{{2, 3, 5}, -2, 2}}, [](Inputs x) { return layer_norm(x[0]); });
  norm_case("layer_norm/beta", {{{5, 7}, -2, 2}, {{7}}},
            [](Inputs x) { return layer_norm(x[0], Var(), x[1]); });
  norm_case("rms_norm", {{{5, 7}, -2, 2}, {{7}}}, [](Inputs x) { return rms_norm(x[0], x[1]); });
  norm_case("rms_norm/plain", {{{5, 7}, -2, 2}}, [](Inputs x) { return rms_norm(x[0]); });
  norm_case("batch_norm", {{{4, 3, 2, 3}, -2, 2}, {{3}}, {{3}}},
            [](Inputs x) { return batch_norm(x[0], x[1], x[2]); });
  norm_case("batch_norm/rows", {{{9, 5}, -2, 2}, {{5}}, {{5}}},
            [](Inputs x) { return batch_norm(x[0], x[1], x[2]); });
  norm_case("batch_norm/plain", {{{4, 3, 2, 3}, -2, 2}}, [](Inputs x) { return batch_norm(x[0]); });
  norm_case("batch_norm/relu", {{{4, 3, 2, 3}, -2, 2}, {{3}}, {{3}}},
            [](Inputs x) { return batch_norm(x[0], x[1], x[2], {}, {}, {}, {.relu = true}); });
  const std::vector<OpCase::Input> with_residual{
      {{4, 3, 2, 3}, -2, 2}, {{3}}, {{3}}, {{4, 3, 2, 3}}};
  norm_case("batch_norm/residual", with_residual,
            [](Inputs x) { return batch_norm(x[0], x[1], x[2], {}, {}, {}, {.residual = x[3]}); });
  norm_case("batch_norm/relu of a sum", with_residual, [](Inputs x) {
    return batch_norm(x[0], x[1], x[2], {}, {}, {}, {.relu = true, .residual = x[3]});
  });
  // What reads a batch norm's result reads one that was computed again.
  norm_case("batch_norm/squared", with_residual, [](Inputs x) {
    const Var y = batch_norm(x[0], x[1], x[2], {}, {}, {}, {.relu = true, .residual = x[3]});
    return y * batch_norm(square(y), {}, x[2], {}, {}, {}, {.relu = true, .residual = y});
  });
  norm_case("batch_norm_inference", {{{4, 3, 2, 3}, -2, 2}, {{3}}, {{3}}}, [](Inputs x) {
    return batch_norm_inference(x[0], x[1], x[2], constant(x[0], {3}, 1),
                                constant(x[0], {3}, 2, 0.5, 2));
  });
  norm_case("batch_norm_inference/relu of a sum", with_residual, [](Inputs x) {
    return batch_norm_inference(x[0], x[1], x[2], constant(x[0], {3}, 1),
                                constant(x[0], {3}, 2, 0.5, 2), 1e-5,
                                {.relu = true, .residual = x[3]});
  });
  norm_case("group_norm", {{{2, 6, 3, 2}, -2, 2}, {{6}}, {{6}}},
            [](Inputs x) { return group_norm(x[0], 3, x[1], x[2]); });
  norm_case(
      "instance_norm", {{{2, 3, 4, 3}, -2, 2}, {{3}}, {{3}}},
      [](Inputs x) { return instance_norm(x[0], x[1], x[2]); }, "group_norm");

  // ---- losses
  // ------------------------------------------------------------------------------------
  const auto loss_case = [&](std::string name, std::function<Var(const Var&)> fn,
                             std::string label = {}) {
    add_case({.name = name,
              .inputs = {{{6, 5}, -2, 2}},
              .fn = one([fn](Inputs x) { return fn(x[0]); }),
              .half_error = 24,
              .label = label});
  };
  const auto labels = [] { return index({1, 0, 4, 2, 2, 3}, {6}); };
  const auto ignoring = [] { return index({1, -100, 4, 2, -100, 3}, {6}); };
  const auto cross_entropy_case = [&](std::string name, std::function<Tensor(const Var&)> target,
                                      std::function<CrossEntropyOptions(const Var&)> options) {
    loss_case("cross_entropy" + name,
              [=](const Var& x) { return cross_entropy(x, target(x), options(x)); });
  };
  const auto plain = [](CrossEntropyOptions o) { return [o](const Var&) { return o; }; };
  const auto hard = [=](const Var&) { return labels(); };
  cross_entropy_case("", hard, plain({}));
  cross_entropy_case("/smooth_sum", hard,
                     plain({.label_smoothing = 0.1, .reduction = LossReduction::sum}));
  cross_entropy_case(
      "/ignore", [=](const Var&) { return ignoring(); }, plain({.label_smoothing = 0.2}));
  cross_entropy_case("/none", hard, plain({.reduction = LossReduction::none}));
  cross_entropy_case("/weights", hard, [](const Var& x) {
    return CrossEntropyOptions{.label_smoothing = 0.1,
                               .class_weights = constant(x, {5}, 7, 0.5, 2)};
  });
  cross_entropy_case("/mask", hard,
                     [](const Var&) { return CrossEntropyOptions{.rows = detail::mask({6}, 11)}; });
  cross_entropy_case("/rows", hard, [](const Var&) {
    return CrossEntropyOptions{.rows = index({3, 0, 3}, {3})};
  });
  cross_entropy_case("/rows_none", hard, [](const Var&) {
    return CrossEntropyOptions{.reduction = LossReduction::none, .rows = index({3, 0, 3}, {3})};
  });
  cross_entropy_case(
      "/probabilities",
      [](const Var& x) {
        return softmax(constant(x, {6, 5}, 21)).value();
      },
      plain({.label_smoothing = 0.1}));
  const auto bce_case = [&](std::string name,
                            std::function<BinaryCrossEntropyOptions(const Var&)> options) {
    loss_case(
        "binary_cross_entropy_with_logits" + name,
        [=](const Var& x) {
          return binary_cross_entropy_with_logits(x, constant(x, {6, 5}, 31, 0, 1), options(x));
        },
        "binary_cross_entropy");
  };
  bce_case("", [](const Var&) { return BinaryCrossEntropyOptions{}; });
  bce_case("/weights_sum", [](const Var& x) {
    return BinaryCrossEntropyOptions{.reduction = LossReduction::sum,
                                     .positive_weights = constant(x, {5}, 8, 0.5, 2)};
  });
  bce_case("/rows", [](const Var&) {
    return BinaryCrossEntropyOptions{.rows = index({3, 0, 3}, {3})};
  });
  bce_case("/mask_none", [](const Var&) {
    return BinaryCrossEntropyOptions{.reduction = LossReduction::none,
                                     .rows = detail::mask({6}, 11)};
  });
  loss_case(
      "nll_loss", [=](const Var& x) { return nll_loss(x, labels()); }, "take_along");
  const auto pair_case = [&](std::string name, std::function<Var(const Var&, const Var&)> fn) {
    add_case({.name = name,
              .inputs = {{{4, 5}, -2, 2}, {{4, 5}, -2, 2}},
              .fn = one([fn](Inputs x) { return fn(x[0], x[1]); }),
              .half_error = 24});
  };
  pair_case("mse_loss", [](const Var& x, const Var& t) { return mse_loss(x, t); });
  pair_case("l1_loss",
            [](const Var& x, const Var& t) { return l1_loss(x, t, LossReduction::sum); });
  pair_case("huber_loss",
            [](const Var& x, const Var& t) { return huber_loss(x, t, 0.6, LossReduction::none); });
  pair_case("kl_divergence", [](const Var& x, const Var& t) {
    return kl_divergence(log_softmax(x), log_softmax(t));
  });
  list.back().label = "log_softmax";

  // ---- attention
  // ---------------------------------------------------------------------------------
  const auto attention_case = [&](std::string name, bool bias,
                                  std::function<AttentionOptions(const Var&)> options) {
    std::vector<OpCase::Input> inputs{{{2, 3, 5, 4}}, {{2, 3, 6, 4}}, {{2, 3, 6, 2}}};
    if (bias) inputs.push_back({{3, 1, 6}});
    add_case({.name = "scaled_dot_product_attention" + name,
              .inputs = inputs,
              .fn = one([=](Inputs x) {
                return scaled_dot_product_attention(x[0], x[1], x[2], x.size() > 3 ? x[3] : Var(),
                                                    options(x[0]));
              }),
              .half_error = 24,
              .label = "attention"});
  };
  attention_case("", false, [](const Var&) { return AttentionOptions{}; });
  attention_case("/bias", true, [](const Var&) { return AttentionOptions{.scale = 0.7}; });
  attention_case("/causal", false, [](const Var&) { return AttentionOptions{.causal = true}; });
  attention_case("/mask", true, [](const Var&) {
    Tensor hides_all_from_one = detail::mask({2, 1, 5, 6}, 17);
    for (size_t j = 0; j < 6; ++j) hides_all_from_one.host_mutable<bool>()[12 + j] = false;
    return AttentionOptions{.mask = hides_all_from_one};
  });
  attention_case("/lengths_dropout", false, [](const Var&) {
    return AttentionOptions{
        .key_lengths = index({6, 4, 1, 0, 5, 3}, {2, 3}), .dropout = 0.25, .rng = {9, 4}};
  });

  // ---- sparse
  // ------------------------------------------------------------------------------------
  product_case("spmm", {{{4, 3}}}, [](Inputs x) { return spmm(detail::rectangle(x[0]), x[0]); });
  product_case("spmm/symmetric", {{{4, 3}}},
               [](Inputs x) { return spmm(detail::triangle_graph(x[0]), x[0]); });
  product_case("spmm/transposed", {{{5, 3}}},
               [](Inputs x) { return spmm(detail::rectangle(x[0]).transposed(), x[0]); });
  product_case("spmm/heads", {{{4, 2, 3}}},
               [](Inputs x) { return spmm(detail::rectangle(x[0]), x[0]); });
  product_case("spmm/values", {{{7}}, {{4, 3}}},
               [](Inputs x) { return spmm(detail::rectangle(x[0]), x[0], x[1]); });
  product_case("spmm/values_heads", {{{7, 2}}, {{4, 2, 3}}},
               [](Inputs x) { return spmm(detail::rectangle(x[0]), x[0], x[1]); });
  product_case("spmm/values_transposed", {{{7}}, {{5, 3}}},
               [](Inputs x) { return spmm(detail::rectangle(x[0]).transposed(), x[0], x[1]); });
  product_case("spmm/shared_values", {{{7}}, {{4, 2, 3}}},
               [](Inputs x) { return spmm(detail::rectangle(x[0]), x[0], x[1]); });
  product_case("sddmm", {{{5, 3}}, {{4, 3}}},
               [](Inputs x) { return sddmm(detail::rectangle(x[0]), x[0], x[1]); });
  product_case("sddmm/heads", {{{5, 2, 3}}, {{4, 2, 3}}},
               [](Inputs x) { return sddmm(detail::rectangle(x[0]), x[0], x[1]); });
  product_case("edge_add", {{{5}}, {{4}}},
               [](Inputs x) { return edge_add(detail::rectangle(x[0]), x[0], x[1]); });
  product_case("edge_add/heads", {{{5, 2}}, {{4, 2}}},
               [](Inputs x) { return edge_add(detail::rectangle(x[0]), x[0], x[1]); });
  product_case("edge_softmax", {{{7}}},
               [](Inputs x) { return edge_softmax(detail::rectangle(x[0]), x[0]); });
  product_case("edge_softmax/heads", {{{7, 2}}},
               [](Inputs x) { return edge_softmax(detail::rectangle(x[0]), x[0]); });
  product_case("aggregate_max", {{{4, 3}}},
               [](Inputs x) { return aggregate_max(detail::rectangle(x[0]), x[0]); });
  const auto offsets = [] { return Tensor::from({0, 2, 2, 5, 6}, {5}, Device::cpu()); };
  product_case("segment_sum", {{{6, 3}}}, [=](Inputs x) { return segment_sum(x[0], offsets()); });
  product_case("segment_mean", {{{6, 3}}}, [=](Inputs x) { return segment_mean(x[0], offsets()); });
  list.back().label = "segment_sum";
  product_case("segment_max", {{{6, 3}}}, [=](Inputs x) { return segment_max(x[0], offsets()); });
  list.back().label = "take_along";
  product_case("segment_expand", {{{4, 3}}},
               [=](Inputs x) { return segment_expand(x[0], offsets(), 6); });

  // ---- quantised
  // ---------------------------------------------------------------------------------
  unary_case("straight_through", [](const Var& x) {
    return straight_through("straight_through", x,
                            [](const Tensor& t) { return unary(kernels::UnaryOp::floor, t); });
  });
  unary_case("round_straight_through", round_straight_through);
  unary_case("sign_straight_through", [](const Var& x) { return sign_straight_through(x, 1.1); });
  for (OpCase& c : list)
    if (c.name.ends_with("straight_through")) c.surrogate = true;
  add_case(
      {.name = "fake_quantize",
       .inputs = {{{4, 6}, -2, 2}, {{4, 2}, 0.2, 0.4}},
       .fn = one([](Inputs x) { return fake_quantize(x[0], x[1], code_range(3, true), {}, 0.5); }),
       .surrogate = true,
       .half_error = 24,
       .shares_dtype = false});
  product_case("quantized_linear", {{{2, 3, 8}}, {{5}}}, [](Inputs x) {
    Tensor codes = Tensor::empty({5, 8}, DType::i8, Device::cpu());
    int8_t next = -20;
    for (int8_t& c : codes.host_mutable<int8_t>())
      c = static_cast<int8_t>(next = static_cast<int8_t>(next + 1));
    const QuantizedTensor w{codes, full({5, 1}, 0.03, DType::f32, Device::cpu()), {}, {}, {5, 8}};
    return quantized_linear(x[0], w, x[1]);
  });
  list.back().half_error = 24;
  list.back().label = "add";

  // ---- random
  // ------------------------------------------------------------------------------------
  unary_case("dropout", [](const Var& x) { return dropout(x, 0.3, {5, 2}); });
  unary_case("gaussian_noise", [](const Var& x) { return gaussian_noise(x, 0.5, {5, 2}); });
  list.back().label = "add";

  // ---- linear algebra
  // ----------------------------------------------------------------------------
  const auto linalg_case = [&](std::string name, std::vector<OpCase::Input> inputs,
                               std::function<Vars(Inputs)> fn, std::string label = {}) {
    add_case({.name = name,
              .inputs = std::move(inputs),
              .fn = std::move(fn),
              .halves = false,
              .label = label});
  };
  const auto spd = [](Inputs x) { return detail::positive_definite(x[0]); };
  linalg_case("cholesky", {{{4, 4}}}, one([=](Inputs x) { return cholesky(spd(x)); }), "gram");
  linalg_case("cholesky/batched", {{{2, 3, 3}}}, one([=](Inputs x) { return cholesky(spd(x)); }),
              "gram");
  const auto triangular_case = [&](std::string name, TriangularSolveParams p) {
    linalg_case("triangular_solve" + name, {{{4, 4}, 0.5, 1.5}, {{4, 3}}},
                one([p](Inputs x) { return triangular_solve(x[0], x[1], p); }));
  };
  triangular_case("", {});
  triangular_case("/upper_unit", {.upper = true, .unit_diagonal = true});
  triangular_case("/transposed", {.transposed = true});
  triangular_case("/upper_transposed", {.upper = true, .transposed = true});
  linalg_case("solve", {{{4, 4}}, {{4, 3}}},
              one([=](Inputs x) { return solve(detail::positive_definite(x[0]), x[1]); }), "gram");
  linalg_case("inverse", {{{3, 3}}}, one([=](Inputs x) { return inverse(spd(x)); }), "gram");
  linalg_case("logdet", {{{2, 3, 3}}}, one([=](Inputs x) { return logdet(spd(x)); }), "gram");
  product_case("gram", {{{5, 3}}}, [](Inputs x) { return gram(x[0]); });
  linalg_case("qr", {{{5, 3}}}, [](Inputs x) {
    const QrResult f = qr(x[0]);
    return Vars{f.q, f.r};
  });
  linalg_case("eigh", {{{4, 4}}}, [](Inputs x) {
    const EighResult f = eigh(x[0]);
    return Vars{f.values, f.vectors};
  });
  linalg_case("svd", {{{5, 3}}}, [](Inputs x) {
    const SvdResult f = svd(x[0]);
    return Vars{f.u, f.s, f.v};
  });
  linalg_case("svd/wide", {{{3, 4}}}, [](Inputs x) {
    const SvdResult f = svd(x[0]);
    return Vars{f.u, f.s, f.v};
  });
  return list;
}

}  // namespace tessera::test
