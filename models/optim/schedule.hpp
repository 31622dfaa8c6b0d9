#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace tessera::models {

/// A factor on the base learning rate as a function of the step, counted from 0.
using Schedule = std::function<double(int64_t step)>;

Schedule constant_schedule();
/// Multiplied by `factor` at each milestone reached.
Schedule step_schedule(std::vector<int64_t> milestones, double factor = 0.1);
/// Linear from 0 to 1 over `warmup` steps (step 0 gives 1 / warmup), then `rest` counted from the
/// warmup's end.
Schedule with_warmup(int64_t warmup, Schedule rest);
/// Half a cosine from 1 to `floor` over `total` steps; `floor` afterwards.
Schedule cosine_schedule(int64_t total, double floor = 0.0);
/// A straight line from 1 to `floor` over `total` steps; `floor` afterwards.
Schedule linear_schedule(int64_t total, double floor = 0.0);
/// Vaswani et al. (2017): min(step^-1/2, step * warmup^-3/2), scaled to reach 1 at the end of the
/// warmup.
Schedule inverse_square_root_schedule(int64_t warmup);

}  // namespace tessera::models
