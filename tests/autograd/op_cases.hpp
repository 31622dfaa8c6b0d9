#pragma once

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/tests/support/values.hpp"

/// One record per differentiable operation (and per way of calling it that takes other code), in
/// op_cases/*.cpp. op_suite_test.cpp runs every check on every record, op_device_test.cpp runs
/// every record on every device, so a new op is tested by adding one; a structure test fails when a
/// function of autograd/ops.hpp has none.
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
  std::function<Vars(Inputs)> fn;  // its constants are on the device of the first input

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

/// The name of a record as part of a test's name.
inline std::string test_name(const OpCase& c) {
  std::string name = c.name;
  std::replace_if(
      name.begin(), name.end(), [](char letter) { return !std::isalnum(letter); }, '_');
  return name;
}

/// Inputs of a record on the host, different for each seed.
inline Vars make_inputs(const OpCase& c, uint64_t seed, DType dtype) {
  Vars inputs;
  for (const OpCase::Input& in : c.inputs) {
    std::vector<double> values = to_doubles(uniform(in.shape, DType::f64, seed++ * 977 + 13));
    for (double& x : values) x = in.low + (in.high - in.low) * (x + 1) / 2;
    inputs.emplace_back(from_doubles(values, in.shape, dtype));
  }
  return inputs;
}

/// Whether an error about the record's function says so.
inline bool names(const std::string& error, const OpCase& c) {
  return error.find(c.function()) != std::string::npos ||
         (!c.label.empty() && error.find(c.label) != std::string::npos);
}

// ---- what records are made of

inline std::function<Vars(Inputs)> one(std::function<Var(Inputs)> fn) {
  return [fn = std::move(fn)](Inputs x) { return Vars{fn(x)}; };
}

inline Tensor index(const Var& like, std::initializer_list<int64_t> values, const Shape& shape) {
  return Tensor::from(values, shape, like.device());
}
inline Tensor host_mask(const Shape& shape, uint64_t seed) {
  Numbers next(seed);
  Tensor t = Tensor::empty(shape, DType::bool_, Device::cpu());
  for (bool& b : t.host_mutable<bool>()) b = next() % 3 != 0;
  return t;
}
inline Tensor mask(const Var& like, const Shape& shape, uint64_t seed) {
  return host_mask(shape, seed).to(like.device());
}
inline Tensor constant(const Var& like, const Shape& shape, uint64_t seed, double low = -1,
                       double high = 1) {
  const Tensor t = uniform(shape, DType::f64, seed);
  const Tensor scaled = autograd::affine(t, (high - low) / 2, (high + low) / 2).value();
  return (is_float(like.dtype()) ? autograd::convert(scaled, like.dtype()) : scaled)
      .to(like.device());
}

class OpCases {
 public:
  void add_case(OpCase c) { list_.push_back(std::move(c)); }
  void unary_case(std::string name, std::function<Var(const Var&)> fn, double low = -2,
                  double high = 2) {
    add_case({.name = std::move(name),
              .inputs = {{{5, 7}, low, high}},
              .fn = one([fn = std::move(fn)](Inputs x) { return fn(x[0]); }),
              .empty = {{0, 7}}});
  }
  void product_case(std::string name, std::vector<OpCase::Input> inputs,
                    std::function<Var(Inputs)> fn, std::vector<Shape> empty = {}) {
    add_case({.name = std::move(name),
              .inputs = std::move(inputs),
              .fn = one(std::move(fn)),
              .half_error = 12,
              .empty = std::move(empty)});
  }
  /// The record that was added last.
  OpCase& back() { return list_.back(); }
  const std::vector<OpCase>& list() const { return list_; }

 private:
  std::vector<OpCase> list_;
};

void add_elementwise_cases(OpCases&);
void add_shape_cases(OpCases&);
void add_product_cases(OpCases&);
void add_rows_cases(OpCases&);
void add_sparse_cases(OpCases&);
void add_linalg_cases(OpCases&);

inline std::vector<OpCase> op_cases() {
  OpCases cases;
  for (auto add : {add_elementwise_cases, add_shape_cases, add_product_cases, add_rows_cases,
                   add_sparse_cases, add_linalg_cases})
    add(cases);
  return cases.list();
}

}  // namespace tessera::test
