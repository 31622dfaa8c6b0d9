#include "tessera/models/layers/norm.hpp"

#include "tessera/autograd/ops/shape.hpp"
#include "tessera/models/init.hpp"

namespace tessera::models {

BatchNorm BatchNorm::make(int64_t channels) {
  return {constant({channels}, 1.0), constant({channels}, 0.0), constant({channels}, 0.0),
          constant({channels}, 1.0)};
}

Var BatchNorm::operator()(const Var& x, const ForwardContext& context,
                          const autograd::BatchNormTail& tail) const {
  if (!context.training)
    return autograd::batch_norm_inference(x, weight, bias, running_mean, running_var, epsilon,
                                          tail);
  return autograd::batch_norm(x, weight, bias, running_mean, running_var,
                              {.epsilon = epsilon, .momentum = momentum}, tail);
}

LayerNorm LayerNorm::make(int64_t width, double epsilon) {
  return {constant({width}, 1.0), constant({width}, 0.0), epsilon};
}

Var LayerNorm::operator()(const Var& x) const {
  if (weight.rank() == 1) return autograd::layer_norm(x, weight, bias, epsilon);
  // The runs of a row are groups of its channels.
  const Var y = autograd::group_norm(autograd::flatten(x, 1), weight.size(0),
                                     autograd::flatten(weight), autograd::flatten(bias), epsilon);
  return autograd::reshape(y, x.shape());
}

}  // namespace tessera::models
