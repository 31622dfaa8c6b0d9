// How kernels of a training step that are in no other file fall on memory: random numbers,
// normalisation, losses, indexing along an axis.
#include "tessera/kernels/indexing.hpp"
#include "tessera/kernels/optimizer.hpp"
#include "tessera/kernels/random.hpp"
#include "tessera/kernels/reduce.hpp"
#include "tessera/kernels/rowwise.hpp"
#include "tessera/tests/simt/traffic.hpp"

namespace tessera::kernels {
namespace {

using test::Pinned;
using test::Traffic;

const Pinned pinned{
    // rowwise_*.cu: what a row or block has for itself is a part of a sector: statistics, the logit
    // of its target, its share of a sum
    {"f32 rms norm gradient, rms_norm_gradient", {1.013}},
    {"f16 rms norm gradient, rms_norm_gradient", {1.019}},
    {"f32 cross entropy, cross_entropy", {1.002}},
    {"f16 cross entropy, cross_entropy", {1.003}},
    {"f32 binary cross entropy, binary_cross_entropy", {1.008}},
    {"f16 binary cross entropy, binary_cross_entropy", {1.015}},
    // grouping.cu, radix_sort.cu
    {"along rows, put_along", {1.05}},
    {"along rows, find_starts", {1.617}},
    {"along rows, sort count_digits", {1.176}},
    {"along rows, sort move_items", {1.045, 1.099}},
    {"added along rows, find_starts", {1.617}},
    {"added along rows, sort count_digits", {1.176}},
    {"added along rows, sort move_items", {1.045, 1.099}},
    {"added along rows, spmm sum_rows", {1.042}},
    // indexing.cu: tiles end with counts of their own
    {"nonzero, nonzero count_tile", {1.05}},
};

constexpr int64_t n = 256;

class TrainingTraffic : public Traffic {};

TEST_F(TrainingTraffic, RandomNumbers) {
  for (DType dtype : {DType::f32, DType::f16}) {
    const Tensor x = numbers({n, n}, dtype), y = empty({n, n}, dtype);
    const RngState rng{1, 0};
    expect_ideal(
        concat(dtype, " random"),
        [&](Stream& s) {
          uniform(s, rng, 0, 1, y.view());
          normal(s, rng, 0, 1, y.view());
          rademacher(s, rng, 1, y.view());
          bernoulli(s, rng, 0.5, y.view());
          dropout(s, rng, 0.5, x.view(), y.view());
        },
        pinned);
  }
}

TEST_F(TrainingTraffic, Norms) {
  for (DType dtype : {DType::f32, DType::f16}) {
    const Tensor x = numbers({n, n}, dtype), y = empty({n, n}, dtype), gx = empty({n, n}, dtype),
                 gamma = numbers({n}, DType::f32), beta = numbers({n}, DType::f32),
                 rstd = empty({n}, DType::f32), ggamma = empty({n}, DType::f32);
    expect_ideal(
        concat(dtype, " rms norm"),
        [&](Stream& s) { rms_norm(s, x.view(), gamma.view(), 1e-5, y.view(), rstd.view()); },
        pinned);
    expect_ideal(
        concat(dtype, " rms norm gradient"),
        [&](Stream& s) {
          rms_norm_gradient(s, x.view(), gamma.view(), rstd.view(), y.view(), gx.view(),
                            ggamma.view());
        },
        pinned);
    const Tensor image = numbers({4, 32, 16, 16}, dtype), out = empty(image.shape(), dtype),
                 channel = numbers({32}, DType::f32), gchannel = empty({32}, DType::f32),
                 gbeta = empty({32}, DType::f32), mean = empty({4, 8}, DType::f32),
                 deviation = empty({4, 8}, DType::f32);
    expect_ideal(
        concat(dtype, " group norm"),
        [&](Stream& s) {
          group_norm(s, image.view(), 8, channel.view(), channel.view(), 1e-5, out.view(),
                     mean.view(), deviation.view());
        },
        pinned);
    expect_ideal(
        concat(dtype, " group norm gradient"),
        [&](Stream& s) {
          group_norm_gradient(s, image.view(), 8, channel.view(), mean.view(), deviation.view(),
                              image.view(), out.view(), gchannel.view(), gbeta.view());
        },
        pinned);
    expect_ideal(
        concat(dtype, " log softmax"),
        [&](Stream& s) {
          log_softmax(s, x.view(), y.view());
          log_softmax_gradient(s, y.view(), x.view(), gx.view());
        },
        pinned);
  }
}

TEST_F(TrainingTraffic, Losses) {
  for (DType dtype : {DType::f32, DType::f16}) {
    std::vector<int64_t> labels;
    for (int64_t i = 0; i < n; ++i) labels.push_back(i * 37 % n);
    const Tensor logits = numbers({n, n}, dtype), glogits = empty({n, n}, dtype),
                 target = Tensor::from(labels, {n}, Device::simt()), loss = empty({}, DType::f32),
                 lse = empty({n}, DType::f32), gloss = numbers({}, DType::f32);
    expect_ideal(
        concat(dtype, " cross entropy"),
        [&](Stream& s) {
          cross_entropy(s, logits.view(), target.view(), {}, {}, loss.view(), lse.view());
          cross_entropy_gradient(s, logits.view(), target.view(), {}, {}, lse.view(), gloss.view(),
                                 glogits.view());
        },
        pinned);
    const Tensor truth = numbers({n, n}, dtype);
    expect_ideal(
        concat(dtype, " binary cross entropy"),
        [&](Stream& s) {
          binary_cross_entropy(s, logits.view(), truth.view(), {}, LossReduction::mean,
                               loss.view());
          binary_cross_entropy_gradient(s, logits.view(), truth.view(), {}, LossReduction::mean,
                                        gloss.view(), glogits.view());
        },
        pinned);
  }
}

TEST_F(TrainingTraffic, AlongAnAxis) {
  std::vector<int64_t> shuffled;
  for (int64_t i = 0; i < n * 64; ++i) shuffled.push_back(i / 64 * 37 % n);
  const Tensor index = Tensor::from(shuffled, {n, 64}, Device::simt());
  const Tensor x = numbers({n, 64}, DType::f32), y = empty({n, 64}, DType::f32);
  expect_ideal(
      "along rows",
      [&](Stream& s) {
        take_along(s, x.view(), 0, index.view(), y.view());
        put_along(s, x.view(), 0, index.view(), y.view());
      },
      pinned);
  expect_ideal(
      "added along rows", [&](Stream& s) { add_along(s, x.view(), 0, index.view(), y.view()); },
      pinned);
  const Tensor mask = test::integers({1 << 13}, DType::u8, 1, 1).to(Device::simt()),
               place = empty({1 << 13}, DType::i64), count = empty({1}, DType::i64);
  View flags = mask.view();
  flags.dtype = DType::bool_;
  expect_ideal(
      "nonzero", [&](Stream& s) { nonzero(s, flags, place.view(), count.view()); }, pinned);
  const View views[] = {x.view(), y.view()};
  const Tensor finite = empty({}, DType::bool_);
  expect_ideal(
      "all finite", [&](Stream& s) { all_finite(s, views, finite.view()); }, pinned);
}

}  // namespace
}  // namespace tessera::kernels
