// Anomaly detection on an image of 100 x 100 pixels and 205 bands: global RX, and the separation
// training of an autoencoder (205-64-16-64-205, 300 steps on the whole image, six masks of 1 %), as
// bench/peers/spectral_rx.py and torch_separation.py do them on the same numbers.
#include <cmath>
#include <memory>

#include "tessera/algorithms/bigset/bigset.hpp"
#include "tessera/bench/support/bench.hpp"
#include "tessera/bench/support/graphs.hpp"

using namespace tessera;
using namespace tessera::algorithms;

namespace {

constexpr int64_t rows = 100, columns = 100, bands = 205;

bench::Work detection(const bigset::Options& options) {
  models::Cube cube;
  cube.values = bench::values(1, {rows, columns, bands});
  struct State {
    bigset::Scene scene;
    bigset::Detection found;
  };
  const auto state = std::make_shared<State>(State{bigset::make_scene(cube, false), {}});
  return {.run = [=] { state->found = detect(state->scene, options, Device::cpu(), Rng(0)); },
          .check =
              [=] {
                double sum = 0;
                for (const double score : state->found.scores) sum += score;
                TS_CHECK(sum > 0, "scores add up to ", sum);
                const double mean = sum / (rows * columns), n = rows * columns;
                if (options.detector == bigset::Detector::grx)  // of any image with a covariance
                  TS_CHECK(std::abs(mean / (bands * (n - 1) / n) - 1) < 1e-9, "mean score ", mean);
                else
                  TS_CHECK(state->found.history.loss.back() < state->found.history.loss.front(),
                           "the loss did not fall");
              }};
}

}  // namespace

int main(int argc, char** argv) {
  const std::string size = concat(rows, "x", columns, "x", bands);
  bench::add({.name = "bigset/grx", .size = size, .dtype = "f64", .prepare = [] {
                bigset::Options options;
                options.detector = bigset::Detector::grx;
                return detection(options);
              }});
  bench::add({.name = "bigset/separation", .size = size, .prepare = [] {
                bigset::Options options;
                options.share = 0.01;
                return detection(options);
              }});
  return bench::main(argc, argv);
}
