#pragma once

#include <functional>

#include "tessera/models/layers/graph/conv.hpp"

namespace tessera::models {

/// What an AcmConv makes of x W_L, x W_H and x W_I (of its `low`, `high`, `full`) on a graph of any
/// kind: `low_pass` multiplies by A_r. `structural` is relu(A W_S), undefined without a structure
/// channel.
Var mixed_channels(const AcmConv& conv, const std::function<Var(const Var&)>& low_pass,
                   const Var& to_low, const Var& to_high, const Var& to_full,
                   const Var& structural = {});

}  // namespace tessera::models
