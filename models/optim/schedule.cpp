#include "tessera/models/optim/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "tessera/runtime/error.hpp"

namespace tessera::models {

Schedule constant_schedule() {
  return [](int64_t) { return 1.0; };
}

Schedule step_schedule(std::vector<int64_t> milestones, double factor) {
  return [milestones = std::move(milestones), factor](int64_t step) {
    double scale = 1.0;
    for (int64_t m : milestones)
      if (step >= m) scale *= factor;
    return scale;
  };
}

Schedule with_warmup(int64_t warmup, Schedule rest) {
  TS_CHECK(warmup >= 0, "with_warmup: ", warmup, " steps");
  return [warmup, rest = std::move(rest)](int64_t step) {
    if (step < warmup) return static_cast<double>(step + 1) / static_cast<double>(warmup);
    return rest(step - warmup);
  };
}

namespace {
double progress(int64_t step, int64_t total) {
  return total <= 0 ? 1.0 : std::min(1.0, static_cast<double>(step) / static_cast<double>(total));
}
}  // namespace

Schedule cosine_schedule(int64_t total, double floor) {
  return [total, floor](int64_t step) {
    return floor + (1.0 - floor) * 0.5 * (1.0 + std::cos(std::numbers::pi * progress(step, total)));
  };
}

Schedule linear_schedule(int64_t total, double floor) {
  return [total, floor](int64_t step) { return 1.0 - (1.0 - floor) * progress(step, total); };
}

Schedule inverse_square_root_schedule(int64_t warmup) {
  TS_CHECK(warmup > 0, "inverse_square_root_schedule: warmup must be positive, is ", warmup);
  return [warmup](int64_t step) {
    const double t = static_cast<double>(step + 1), w = static_cast<double>(warmup);
    return std::min(std::sqrt(w / t), t / w);
  };
}

}  // namespace tessera::models
