#pragma once

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "tessera/bench/support/bench.hpp"
#include "tessera/bench/support/graphs.hpp"
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/random.hpp"
#include "tessera/runtime/error.hpp"

/// Operands of the cases of gpu_bench.cpp, in turns, and how their results are looked at: on the
/// host, in doubles, against the formula, at places that a wrong tile or tail would hit.
namespace tessera::bench {

inline Device device() {
  static const Device chosen = [] {
    const char* text = std::getenv("TESSERA_BENCH_DEVICE");
    return parse_device(text ? text : "cuda:0");
  }();
  return chosen;
}
inline bool small() { return device().type == Device::Type::simt; }
inline Stream& stream() { return current_stream(device()); }

/// An extent; on the interpreter one that finishes.
inline int64_t extent(int64_t n, int64_t in_small) { return small() ? std::min(n, in_small) : n; }

inline Tensor uniform(const Shape& shape, DType dtype, double low = -1, double high = 1) {
  static Rng rng(1);
  const Tensor t = Tensor::empty(shape, dtype, device());
  kernels::uniform(stream(), rng.take(shape.numel()), low, high, t.view());
  return t;
}
inline Tensor empty(const Shape& shape, DType dtype) {
  return Tensor::empty(shape, dtype, device());
}
inline Tensor codes(const Shape& shape) {
  Tensor t = Tensor::empty(shape, DType::i8, Device::cpu());
  uint64_t i = 0;
  for (int8_t& v : t.host_mutable<int8_t>()) v = static_cast<int8_t>(splitmix64(7, i++));
  return t.to(device());
}
inline Tensor cast(const Tensor& t, DType dtype) {
  const Tensor out = Tensor::empty(t.shape(), dtype, t.device());
  kernels::copy(current_stream(t.device()), t.view(), out.view());
  return out;
}
inline double bytes_of(std::initializer_list<Tensor> tensors) {
  double sum = 0;
  for (const Tensor& t : tensors) sum += static_cast<double>(t.numel() * size_of(t.dtype()));
  return sum;
}

inline std::string text_of(const Shape& shape) {
  std::string text;
  for (int i = 0; i < shape.rank(); ++i) text += concat(i ? "x" : "", shape[i]);
  return text;
}

/// Adds a case unless one of its name is there, as happens to small forms of several sizes.
inline void add_once(Case measured) {
  static std::set<std::string> names;
  const std::string name =
      concat(measured.name, "/", measured.size, "/", measured.dtype, "/", measured.variant);
  if (names.insert(name).second) add(std::move(measured));
}

// ---------------------------------------------------------------- turns

/// A call on operands of its own, and what throws unless its result is right.
struct Call {
  std::function<void()> run, check;
};

/// Calls of as many operands of `bytes` as are twice the largest second-level cache, in turns;
/// make() gives one. The first is checked.
template <class Make>
Work rotating(double bytes, double flops, Make&& make) {
  const size_t count =
      small() ? 1 : std::clamp<size_t>(static_cast<size_t>(std::ceil(128e6 / bytes)), 1, 64);
  auto calls = std::make_shared<std::vector<Call>>();
  for (size_t i = 0; i < count; ++i) calls->push_back(make());
  auto turn = std::make_shared<size_t>(0);
  return {.run = [=] { (*calls)[(*turn)++ % calls->size()].run(); },
          .check = calls->front().check,
          .bytes = bytes,
          .flops = flops};
}

// ---------------------------------------------------------------- results

using Numbers = std::vector<double>;

/// The elements in row-major order.
inline Numbers numbers(const Tensor& t) {
  if (t.dtype() == DType::i8) {
    const auto values = t.values<int8_t>();
    return {values.begin(), values.end()};
  }
  return for_float(t.dtype(), "numbers", [&]<class T>() {
    Numbers out;
    for (const T x : t.values<T>())
      out.push_back(static_cast<double>(static_cast<compute_t<T>>(x)));
    return out;
  });
}
/// Row `i` of a matrix.
inline Numbers row(const Tensor& matrix, int64_t i) { return numbers(matrix.select(0, i)); }

/// The first, a middle and the last of n places.
inline std::vector<int64_t> places(int64_t n) {
  return n < 3 ? std::vector<int64_t>{n - 1} : std::vector<int64_t>{0, n / 2 + 1, n - 1};
}

inline double dot(const Numbers& a, const Numbers& b) {
  double sum = 0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

/// What rounding leaves of a result of this dtype whose inputs are exact, relative to its largest
/// elements; sums of many terms included.
inline double rounding(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return 1e-12;
    case DType::f32:
      return 3e-5;
    case DType::f16:
      return 2e-3;
    default:
      return 1e-2;
  }
}

/// Throws unless got[i] is wanted[i] to within `relative` times the largest magnitude wanted.
inline void expect_close(const std::string& what, const Numbers& got, const Numbers& wanted,
                         double relative) {
  TS_CHECK(got.size() == wanted.size(), what, ": ", got.size(), " numbers, expected ",
           wanted.size());
  double largest = 0;
  for (const double w : wanted) largest = std::max(largest, std::abs(w));
  for (size_t i = 0; i < got.size(); ++i)
    TS_CHECK(std::abs(got[i] - wanted[i]) <= relative * largest, "wrong result: ", what, " [", i,
             "] is ", got[i], ", expected ", wanted[i], " +- ", relative * largest);
}

/// The same for the ends and the middle of a long result y, element by element a function of the
/// inputs' elements.
template <class Formula>
void expect_elements(const std::string& what, const Tensor& y, const std::vector<Tensor>& inputs,
                     Formula&& formula) {
  const int64_t n = y.numel(), length = std::min<int64_t>(n, 300);
  for (const int64_t begin : {int64_t{0}, (n - length) / 2, n - length}) {
    const auto part = [&](const Tensor& t) {
      return numbers(t.reshape({n}).narrow(0, begin, length));
    };
    std::vector<Numbers> from;
    from.reserve(inputs.size());
    for (const Tensor& t : inputs) from.push_back(part(t));
    Numbers wanted;
    for (size_t i = 0; i < static_cast<size_t>(length); ++i) wanted.push_back(formula(from, i));
    expect_close(concat(what, " from ", begin), part(y), wanted, rounding(y.dtype()));
  }
}

// ---------------------------------------------------------------- the cases, a file for each

void add_products();
void add_graphs();
void add_gathers();
void add_elements();
void add_rows();
void add_order();
void add_networks();
void add_linalg();
void add_cubes();

}  // namespace tessera::bench
