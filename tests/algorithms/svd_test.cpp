#include <gtest/gtest.h>

#include <algorithm>
#include <numbers>
#include <sstream>

#include "tessera/algorithms/picture.hpp"
#include "tessera/algorithms/svd/experiment.hpp"
#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/linalg.hpp"
#include "tessera/models/data/cube_rows.hpp"
#include "tessera/runtime/io/envi.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/matrices.hpp"

namespace tessera::algorithms::svd {
namespace {

class SvdExperiment : public testing::Test {
 protected:
  SvdExperiment() : progress_(text_, 0) {
    context_.device = Device::cpu();
    context_.progress = &progress_;
    load_config(config_, folder() + "config.smoke.json");
  }
  static std::string folder() { return TESSERA_SOURCE_DIR "/algorithms/svd/"; }
  static double metric(const Report& report, const std::string& name) {
    for (const Metric& m : report.metrics)
      if (m.name == name) return m.runs.at(0);
    ADD_FAILURE() << "no metric " << name;
    return 0;
  }

  std::ostringstream text_;
  Progress progress_;
  Context context_;
  Config config_;
  test::TemporaryFolder out_;
};

TEST_F(SvdExperiment, ConfigHoldsTheDefaults) {
  Config config;
  load_config(config, folder() + "config.json");
  EXPECT_EQ(to_string(config_json(config)), to_string(config_json(Config{})));
}

TEST_F(SvdExperiment, BuiltInSceneLeavesItsFiles) {
  context_.out = out_ / "";
  config_.repeats = 2;
  const Report report = run(config_, context_);
  EXPECT_EQ(metric(report, "rank"), 16);
  EXPECT_EQ(metric(report, "pixels"), 720);
  EXPECT_LT(metric(report, "residual"), 1e-6);
  EXPECT_LT(metric(report, "orthogonality"), 1e-5);
  EXPECT_EQ(report.metrics.at(0).runs.size(), 2u);
  const auto basis = load_npz(out_ / "basis.npz");
  EXPECT_EQ(basis.at("v").shape(), (Shape{16, 16}));
  const auto sigma = basis.at("sigma").values<double>();
  const EnviImage images = load_envi(out_ / "eigenimages.img");
  ASSERT_EQ(images.values.shape(), (Shape{30, 24, 3}));
  // A v has the singular value as its length
  for (int64_t i = 0; i < 3; ++i) {
    double squares = 0;
    for (const float x : images.values.select(2, i).values<float>())
      squares += static_cast<double>(x) * static_cast<double>(x);
    EXPECT_NEAR(std::sqrt(squares) / sigma[static_cast<size_t>(i)], 1, 1e-6);
  }
}

TEST_F(SvdExperiment, SlabsOfAFileGiveTheSame) {
  const models::Cube cube = models::synthetic_cube(config_.scene, Rng(3));
  for (const Interleave interleave : {Interleave::bsq, Interleave::bil, Interleave::bip}) {
    save_envi(out_ / "x.img", cube.values, {.interleave = interleave});
    context_.data = out_ / "x.img.hdr";
    config_.slab = 0;
    const Report whole = run(config_, context_);
    config_.slab = 7;
    const Report slabs = run(config_, context_);
    for (const char* name : {"pixels", "rank", "passes", "condition", "within .97"})
      EXPECT_NEAR(metric(slabs, name), metric(whole, name), 1e-9 * metric(whole, name)) << name;
    EXPECT_LT(metric(slabs, "residual"), 1e-6);
    EXPECT_LT(metric(slabs, "orthogonality"), 1e-5);
  }
}

TEST_F(SvdExperiment, MethodsAndSettings) {
  config_.rank = 4;
  config_.centred = true;
  const Report gram = run(config_, context_);
  for (const auto method : {models::SvdMethod::cholesky_qr, models::SvdMethod::randomized}) {
    config_.method = method;
    const Report report = run(config_, context_);
    EXPECT_EQ(metric(report, "triples"), 4);
    EXPECT_NEAR(metric(report, "condition") / metric(gram, "condition"), 1, 1e-3);
    EXPECT_NEAR(metric(report, "residual") / metric(gram, "residual"), 1, 1e-3);
  }
  config_.left = false;
  for (const Metric& m : run(config_, context_).metrics) EXPECT_NE(m.name, "residual");
}

TEST_F(SvdExperiment, SaysWhatIsWrong) {
  config_.slab = 4;
  test::expect_error([&] { run(config_, context_); }, {"slab", "--data"},
                     ErrorKind::invalid_argument);
  config_.slab = 0;
  context_.data = out_ / "";
  test::expect_error([&] { run(config_, context_); }, {"a folder"});
  context_.data = out_ / "absent.mat";
  test::expect_error([&] { run(config_, context_); }, {"absent.mat"});
  const Tensor nothing =
      test::from_doubles(std::vector<double>(12, test::nan), {2, 2, 3}, DType::f32);
  save_npy(out_ / "nan.npy", nothing);
  context_.data = out_ / "nan.npy";
  test::expect_error([&] { run(config_, context_); }, {"nan.npy", "no pixel"});
  config_.slab = 1;
  test::expect_error([&] { run(config_, context_); }, {"nan.npy", "no pixel"},
                     ErrorKind::invalid_argument);
}

TEST_F(SvdExperiment, ZerosAndDeadBands) {
  save_npy(out_ / "zero.npy", Tensor::zeros({4, 5, 3}, DType::u16, Device::cpu()));
  context_.data = out_ / "zero.npy";
  context_.out = out_ / "";
  const Report report = run(config_, context_);
  EXPECT_EQ(metric(report, "rank"), 0);
  EXPECT_EQ(metric(report, "residual"), 0);
}

TEST(SvdScenes, SubspacesOfARealScene) {
  const std::string scene = test::shared_data("hsi/ad/abu-urban-1.mat");
  if (scene.empty()) GTEST_SKIP() << "no hsi/ad/abu-urban-1.mat in TESSERA_DATA";
  const Tensor x = autograd::contiguous(models::load_cube(scene).values.narrow(0, 0, 20));
  const int64_t bands = x.size(2);
  const models::SpectralSvd svd = models::spectral_svd(x);
  // Jacobi's method on the matrix itself
  const autograd::SvdResult reference =
      autograd::svd(autograd::convert(x, DType::f64).reshape({-1, bands}));
  const auto sigma = reference.s.value().values<double>();
  EXPECT_GT(sigma.front() / sigma.back(), 1e4);  // half the digits of a Gram matrix in f32
  const auto matrix = [](const Tensor& t) {
    return test::Plain(t.size(0), t.size(1), test::to_doubles(t));
  };
  for (const int64_t k : {int64_t{4}, int64_t{16}, bands / 2}) {
    const double angle = test::subspace_angle(matrix(reference.v.value()), matrix(svd.v), k);
    EXPECT_LT(angle, 1e-5 * std::numbers::pi / 180) << k;
    const auto at = static_cast<size_t>(k - 1);
    EXPECT_NEAR(svd.sigma[at] / sigma[at], 1, 1e-9) << k;
  }
  EXPECT_NEAR(svd.sigma.back() / sigma.back(), 1, 1e-6);
}

TEST(SvdScenes, DeadBandsOfARealScene) {
  const std::string scene = test::shared_data("hsi/sr/aviris_90x90x224.mat");
  if (scene.empty()) GTEST_SKIP() << "no hsi/sr/aviris_90x90x224.mat in TESSERA_DATA";
  const models::Cube cube = models::load_cube(scene);
  const models::SpectralSvd svd = models::spectral_svd(cube.values);
  EXPECT_EQ(svd.rank, 224 - std::ssize(models::constant_bands(cube)));
  EXPECT_LT(models::relative_residual(cube.values, svd), 1e-6);
  EXPECT_LT(models::orthogonality_error(svd.u), 1e-5);
}

TEST(LinePicture, FollowsTheCurve) {
  const Tensor picture = line_picture({"", {0, 1, 2}, {0, 2, 2}}, 21, 41);
  EXPECT_EQ(picture.shape(), (Shape{21, 41, 3}));
  const auto red = [&](int64_t row, int64_t column) {
    return picture.host<uint8_t>()[static_cast<size_t>((row * 41 + column) * 3)];
  };
  EXPECT_EQ(red(20, 0), 72);   // 0 at the bottom
  EXPECT_EQ(red(0, 30), 72);   // 2 at the top
  EXPECT_EQ(red(10, 10), 72);  // half way up after half of the first piece
  EXPECT_EQ(red(10, 40), 210);
  EXPECT_EQ(red(5, 40), 255);
  EXPECT_THROW(line_picture({"", {0}, {1}}, 21, 41), Error);
}

}  // namespace
}  // namespace tessera::algorithms::svd
