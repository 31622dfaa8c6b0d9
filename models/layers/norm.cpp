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
  if (weight.rank() == 2) {  // the channels of all runs side by side
    const Shape channels{weight.numel()};
    const BatchNorm flat{autograd::flatten(weight),
                         autograd::flatten(bias),
                         running_mean.reshape(channels),
                         running_var.reshape(channels),
                         momentum,
                         epsilon};
    autograd::BatchNormTail of_all = tail;
    if (of_all.residual.defined()) of_all.residual = autograd::flatten(of_all.residual, 1);
    return autograd::reshape(flat(autograd::flatten(x, 1), context, of_all), x.shape());
  }
  if (!context.training)
    return autograd::batch_norm_inference(x, weight, bias, running_mean, running_var, epsilon,
                                          tail);
  return autograd::batch_norm(x, weight, bias, running_mean, running_var,
                              {.epsilon = epsilon, .momentum = momentum}, tail);
}

InstanceNorm InstanceNorm::make(int64_t channels) {
  return {constant({channels}, 1.0), constant({channels}, 0.0)};
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
