#include <memory>
#include <optional>

#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/trace.hpp"
#include "tessera/bench/support/bench.hpp"

// What one operation costs beside its arithmetic: a sum of two vectors of ten floats, as a plain
// eager operation, and recorded on a tape.

namespace tessera {
namespace {

using autograd::Var;

Tensor numbers() {
  return Tensor::from({1.f, 2.f, 3.f, 4.f, 5.f, 6.f, 7.f, 8.f, 9.f, 10.f}, {10}, Device::cpu());
}

void check(const Var& sum) {
  for (int i = 0; i < 10; ++i)
    TS_CHECK(sum.value().host<float>()[static_cast<size_t>(i)] == static_cast<float>(2 * (i + 1)),
             "add: wrong sum");
}

bench::Work plain() {
  const Var a = numbers(), b = numbers();
  return {.run = [=] { const Var sum = a + b; }, .check = [=] { check(a + b); }};
}

// A tape that starts anew after some operations, so that freeing what was recorded is paid for too.
struct Recording {
  static constexpr int operations = 64;
  Var a = numbers(), b = numbers(), boxed;
  std::unique_ptr<autograd::Tape> tape;
  std::optional<autograd::TapeTrace> trace;
  int left = 0;

  Var add() {
    if (left-- == 0) {
      trace.reset();
      tape = std::make_unique<autograd::Tape>();
      trace.emplace(*tape);
      boxed = trace->push(a);
      left = operations - 1;
    }
    return boxed + b;
  }
};

bench::Work taped() {
  const auto recording = std::make_shared<Recording>();
  return {.run = [=] { const Var sum = recording->add(); },
          .check = [=] { check(recording->add()); }};
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  bench::add({.name = "eager/add10", .size = "10", .prepare = plain});
  bench::add({.name = "eager/add10_tape", .size = "10", .prepare = taped});
  return bench::main(argc, argv);
}
