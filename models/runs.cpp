#include "tessera/models/runs.hpp"

#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/random.hpp"

namespace tessera::models {

Var times(const Var& x, const Var& weight) {
  return weight.rank() == 3 ? autograd::matmul_interleaved(x, weight) : autograd::matmul(x, weight);
}

Var drop(const Var& x, double probability, ForwardContext& context) {
  if (!context.training || probability == 0) return x;
  const int64_t runs = std::max<int64_t>(context.runs, 1);
  TS_CHECK(context.runs == 0 || (x.rank() >= 2 && x.size(-2) == runs), "drop: ", x, " of ", runs,
           " runs, expected [.., ", runs, ", width]");
  return autograd::dropout(x, probability, context.rng.take(x.numel() / runs), runs);
}

}  // namespace tessera::models
