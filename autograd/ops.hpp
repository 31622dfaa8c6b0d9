#pragma once

/// Every differentiable operation.
#include "tessera/autograd/ops/activation.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/attention.hpp"
#include "tessera/autograd/ops/conv.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/linalg.hpp"
#include "tessera/autograd/ops/loss.hpp"
#include "tessera/autograd/ops/math.hpp"
#include "tessera/autograd/ops/matmul.hpp"
#include "tessera/autograd/ops/normalization.hpp"
#include "tessera/autograd/ops/pool.hpp"
#include "tessera/autograd/ops/quantized.hpp"
#include "tessera/autograd/ops/random.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/autograd/ops/sparse.hpp"
