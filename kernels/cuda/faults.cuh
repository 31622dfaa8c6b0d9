#pragma once

#include <functional>
#include <string>

#include "tessera/kernels/cuda/launch.cuh"

/// What kernels find wrong in the values of their operands: an index out of range, offsets that
/// fall. A kernel cannot throw. It leaves the access out and writes down the first such finding of
/// a call; the Error is thrown at the stream's next synchronisation, or at once where launches run
/// to their end before they return.
namespace tessera::kernels::cuda {

/// One finding: `value` at position `at` of an operand, outside [low, high).
struct Finding {
  int32_t taken;
  int32_t call;  // whose: what Faults::expect returned
  int64_t at, value, low, high;
};

/// Notes the finding unless there is one already. Any thread may call it.
TS_DEVICE void report(Finding* finding, int32_t call, int64_t at, int64_t value, int64_t low,
                      int64_t high) {
  if (atomic_compare_exchange(&finding->taken, 0, 1) != 0) return;
  finding->call = call;
  finding->at = at;
  finding->value = value;
  finding->low = low;
  finding->high = high;
}

/// A stream's findings; `stream.resource<Faults>()`.
class Faults {
 public:
  explicit Faults(Stream& stream);
  ~Faults();
  Faults(const Faults&) = delete;
  Faults& operator=(const Faults&) = delete;

  Finding* finding() const { return finding_; }
  /// Announces a call whose kernel may report: `what` says the operation and operand, as in
  /// "gather: index". Throws first what an earlier call left, where launches are synchronous.
  int32_t expect(std::string what);
  /// As above, with a message of the caller's own.
  int32_t expect(std::function<std::string(const Finding&)> message);
  /// To be called after the launch: throws at once where launches run to their end.
  void launched();

 private:
  void raise();

  Stream& stream_;
  Finding* finding_;
  int32_t calls_ = 0;
  static constexpr int32_t remembered = 256;
  std::function<std::string(const Finding&)> message_[remembered];
};

}  // namespace tessera::kernels::cuda
