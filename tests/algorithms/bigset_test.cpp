// Separation training: its loss, its masks, its networks; the experiment.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <sstream>

#include "tessera/algorithms/bigset/experiment.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/transforms.hpp"
#include "tessera/models/nets/msnet.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/tests/algorithms/bigset_scene.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/golden.hpp"

namespace tessera::algorithms::bigset {
namespace {

using Doubles = std::vector<double>;

// ---- the whole of training, from the same initial weights (tests/golden/separation.py)

TEST(Separation, TrainsAsPyTorchDoes) {
  const test::Golden golden("separation");
  Scene scene;
  scene.rows = 9;
  scene.columns = 8;
  scene.valid.assign(72, 1);
  scene.spectra = golden.tensor("x", DType::f64);
  std::map<std::string, Tensor> initial;
  for (const char* layer : {"0", "1", "2", "3"})
    for (const char* member : {"weight", "bias"}) {
      const std::string path = concat("net.layers.", layer, ".", member);
      initial[path] = golden.tensor("init." + path, DType::f64);
    }
  for (const MaskKind kind : {MaskKind::none, MaskKind::binary, MaskKind::soft}) {
    Rng rng(0);
    auto model = models::cast(PixelAutoencoder::make(6, {5, 3}, rng), DType::f64);
    models::load_state(model, initial);
    models::Adam adam{.learning_rate = 0.01};
    Reconstruction network = reconstruction_by(model, adam, scene.spectra);
    const SeparationOptions options{
        .mask = kind, .periods = 3, .epochs = 15, .lambda = 1e-3, .share = 0.1};
    const SeparationHistory history = separate(scene, scene.spectra, network, options, {});
    const std::string name(to_string(kind));
    // a soft mask is rounded to single precision where it weighs the Laplacian
    const double tolerance = kind == MaskKind::soft ? 1e-7 : 1e-9;
    test::expect_golden(history.loss, golden.values("loss." + name), tolerance, name);
    Doubles residuals;
    for (const Doubles& of_period : history.residuals)
      residuals.insert(residuals.end(), of_period.begin(), of_period.end());
    test::expect_golden(residuals, golden.values("residuals." + name), tolerance, name);
  }
}

// ---- the loss

constexpr int laplacian[5][5] = {{-2, -4, -4, -4, -2},
                                 {-4, 0, 8, 0, -4},
                                 {-4, 8, 24, 8, -4},
                                 {-4, 0, 8, 0, -4},
                                 {-2, -4, -4, -4, -2}};

double naive_loss(const Scene& s, const Doubles& x, const Doubles& y, const Doubles& mask,
                  double lambda) {
  const int64_t bands = s.spectra.size(1);
  double background = 0, masked = 0, likeness = 0, roughness = 0;
  for (int64_t p = 0; p < s.pixels(); ++p) {
    const auto at = static_cast<size_t>(p);
    if (s.valid[at]) background += 1 - mask[at], masked += mask[at];
  }
  for (int64_t p = 0; p < s.pixels(); ++p)
    for (int64_t b = 0; b < bands; ++b) {
      const double m = mask[static_cast<size_t>(p)];
      const auto at = static_cast<size_t>(p * bands + b);
      if (s.valid[static_cast<size_t>(p)]) likeness += std::pow((1 - m) * (x[at] - y[at]), 2);
      double sum = 0;
      for (int64_t dr = -2; dr <= 2; ++dr)
        for (int64_t dc = -2; dc <= 2; ++dc)
          sum += laplacian[dr + 2][dc + 2] *
                 y[static_cast<size_t>((reflected(p / s.columns + dr, s.rows) * s.columns +
                                        reflected(p % s.columns + dc, s.columns)) *
                                           bands +
                                       b)];
      roughness += std::pow(m * sum, 2);
    }
  return (likeness / background + lambda * roughness / (masked + 1e-6)) /
         static_cast<double>(bands);
}

TEST(Separation, LossIsItsFormula) {
  const Scene scene = random_scene(7, 6, 3, 1, 4);
  const Tensor y = test::uniform({42, 3}, DType::f64, 2);
  Rng rng(3);
  for (const bool soft : {false, true})
    for (const double density : {0.0, 0.03, 0.4}) {
      Doubles mask(42);
      for (size_t p = 0; p < 42; ++p)
        if (scene.valid[p] && rng.uniform() < density) mask[p] = soft ? rng.uniform() : 1;
      SeparationLoss loss(scene, scene.spectra, 0.01);
      loss.set_mask(mask);
      const double wanted =
          naive_loss(scene, test::to_doubles(scene.spectra), test::to_doubles(y), mask, 0.01);
      // taps are held in f32
      EXPECT_NEAR(loss(models::Var(y)).item(), wanted, (soft ? 1e-6 : 1e-12) * std::abs(wanted))
          << density;
    }
}

TEST(Separation, GradientAgreesWithDifferences) {
  const Scene scene = random_scene(6, 7, 2, 4);
  SeparationLoss loss(scene, scene.spectra, 0.1);
  Doubles mask(42);
  mask[0] = mask[9] = mask[41] = 1;
  loss.set_mask(mask);
  const models::Var y(test::uniform({42, 2}, DType::f64, 5));
  const models::Var inputs[] = {y};
  const auto gradients =
      autograd::value_and_grad([&](autograd::Inputs v) { return loss(v[0]); }, inputs).gradients;
  const Doubles got = test::to_doubles(gradients[0].value());
  Doubles values = test::to_doubles(y.value());
  const auto at = [&](const Doubles& v) {
    return loss(models::Var(test::from_doubles(v, {42, 2}, DType::f64))).item();
  };
  for (size_t i = 0; i < values.size(); ++i) {
    Doubles up = values, down = values;
    up[i] += 1e-5, down[i] -= 1e-5;
    EXPECT_NEAR(got[i], (at(up) - at(down)) / 2e-5, 1e-6) << i;
  }
  // The loss is quadratic: its Hessian times v is the difference of gradients at v and at 0.
  const models::Var v(test::uniform({42, 2}, DType::f64, 6));
  const auto gradient_at = [&](const models::Var& x) {
    const models::Var point[] = {x};
    return autograd::value_and_grad([&](autograd::Inputs w) { return loss(w[0]); }, point)
        .gradients[0];
  };
  const models::Var zero(Tensor::zeros({42, 2}, DType::f64, Device::cpu()));
  const Doubles difference = test::to_doubles((gradient_at(v) - gradient_at(zero)).value());
  const models::Var direction[] = {v};
  const autograd::Fn of = [&](autograd::Inputs w) { return loss(w[0]); };
  for (const autograd::Vars& hv :
       {autograd::hvp(of, inputs, direction), autograd::hvp_reverse(of, inputs, direction)}) {
    const Doubles product = test::to_doubles(hv[0].value());
    for (size_t i = 0; i < product.size(); ++i) EXPECT_NEAR(product[i], difference[i], 1e-10) << i;
  }
}

TEST(Separation, ConstantImagesAreSmooth) {
  const Scene scene = random_scene(5, 5, 2, 6);
  SeparationLoss loss(scene, scene.spectra, 1e6);
  loss.set_mask(Doubles(25, 0.5));
  const Tensor constant = test::from_doubles(Doubles(50, 3.0), {25, 2}, DType::f64);
  EXPECT_NEAR(
      loss(models::Var(constant)).item(),
      naive_loss(scene, test::to_doubles(scene.spectra), Doubles(50, 3.0), Doubles(25, 0.5), 0),
      1e-12);
  EXPECT_THROW(loss.set_mask(Doubles(25, 1.0)), Error);
  EXPECT_THROW(SeparationLoss(random_scene(2, 9, 1, 1), {}, 1), Error);
}

TEST(Separation, Masks) {
  const Doubles residuals{5, 1, 9, 9, 100, 3, 9, 2};
  const std::vector<uint8_t> valid{1, 1, 1, 1, 0, 1, 1, 1};
  EXPECT_EQ(mask_of(residuals, valid, MaskKind::none, 0.5), Doubles(8));
  // floor(2.99) of seven, the first of equal ones
  EXPECT_EQ(mask_of(residuals, valid, MaskKind::binary, 0.4279), (Doubles{0, 0, 1, 1, 0, 0, 0, 0}));
  EXPECT_EQ(mask_of(residuals, valid, MaskKind::soft, 0), (Doubles{.5, 0, 1, 1, 0, .25, 1, .125}));
  EXPECT_EQ(mask_of(residuals, valid, MaskKind::otsu, 0), (Doubles{0, 0, 1, 1, 0, 0, 1, 0}));
  EXPECT_EQ(mask_of(Doubles(8, 2.0), valid, MaskKind::soft, 0), Doubles(8));
  EXPECT_EQ(mask_of(Doubles(8, 2.0), valid, MaskKind::binary, 0.5), Doubles(8));
}

// ---- networks

TEST(Networks, MsNetHasThePapersSize) {
  Rng rng(1);
  const auto net = models::MsNet::make(64, 16, 3, rng);
  int64_t numbers = 0;
  models::for_each_parameter(
      net, [&](const std::string&, const models::Var& p) { numbers += p.numel(); });
  // the `up` of the last scale, 64 * 64 + 64, leads nowhere
  EXPECT_EQ(numbers, 92976);
  const models::Vars outputs = net(models::Var(test::uniform({1, 64, 9, 7}, DType::f32, 1)));
  ASSERT_EQ(outputs.size(), 3u);
  for (const models::Var& d : outputs) EXPECT_EQ(d.shape(), (Shape{1, 64, 9, 7}));
  EXPECT_THROW(net(models::Var(test::uniform({1, 64, 3, 7}, DType::f32, 1))), Error);
}

// With one scale both of its losses are sums of squares over valid pixels.
TEST(Networks, MsNetIsNotAskedForPixelsWithoutData) {
  const Scene scene = random_scene(8, 7, 5, 3, 12);
  const auto valid = static_cast<double>(scene.valid_pixels());
  ASSERT_LT(valid, 50);
  Options o;
  o.detector = Detector::msnet;
  o.mask = MaskKind::none;
  o.normalisation = Normalisation::none;
  o.scales = 1, o.channels = 4, o.periods = 1, o.epochs = 1;
  const Detection found = detect(scene, o, Device::cpu(), Rng(9));

  Rng initial = Rng(9).split(0);
  const auto net = models::MsNet::make(5, 4, 1, initial);
  const Doubles x = test::to_doubles(scene.spectra);
  Doubles image(x.size());  // [bands, pixels]
  for (size_t p = 0; p < 56; ++p)
    for (size_t b = 0; b < 5; ++b) image[b * 56 + p] = x[p * 5 + b];
  const Doubles y = test::to_doubles(
      net(models::Var(test::from_doubles(image, {1, 5, 8, 7}, DType::f32)))[0].value());
  double squares = 0;
  for (size_t p = 0; p < 56; ++p)
    for (size_t b = 0; b < 5 && scene.valid[p]; ++b)
      squares += std::pow(y[b * 56 + p] - image[b * 56 + p], 2);
  EXPECT_NEAR(found.history.loss.at(0), squares * (1 / valid + 1 / 56.0) / 5, 1e-5);
}

TEST(Networks, SeparationTellsAnomaliesApart) {
  models::SyntheticCubeOptions options;
  options.rows = 28, options.columns = 24, options.bands = 16;
  const Scene scene = make_scene(models::synthetic_cube(options, Rng(5)), true);
  for (const Detector detector : {Detector::ae, Detector::msnet})
    for (const MaskKind mask : {MaskKind::binary, MaskKind::soft}) {
      Options o;
      o.detector = detector;
      o.mask = mask;
      o.periods = 2;
      o.epochs = detector == Detector::ae ? 60 : 15;
      const Detection found = detect(scene, o, Device::cpu(), Rng(1));
      EXPECT_LT(found.history.loss.back(), 0.7 * found.history.loss.front());
      // chance is .5; msnet has hardly begun
      EXPECT_GT(evaluate(found.scores, scene.truth, scene.valid).auc,
                detector == Detector::ae ? 0.9 : 0.75)
          << to_string(detector) << ", " << to_string(mask);
      const Detection again = detect(scene, o, Device::cpu(), Rng(1));
      EXPECT_EQ(found.scores, again.scores);
    }
}

TEST(BigsetExperiment, ConfigsAndReports) {
  const std::string folder = TESSERA_SOURCE_DIR "/algorithms/bigset/";
  Config config;
  load_config(config, folder + "config.json");
  EXPECT_EQ(to_string(config_json(config)), to_string(config_json(Config{})));
  load_config(config, folder + "config.smoke.json");
  std::ostringstream text;
  Progress progress(text, 0);
  Context context;
  context.device = Device::cpu();
  context.progress = &progress;
  const test::TemporaryFolder out;
  context.out = out / "";
  config.runs = 2;
  const Report report = run(config, context);
  ASSERT_FALSE(report.metrics.empty());
  EXPECT_EQ(report.metrics[0].name, "auc");
  EXPECT_EQ(report.metrics[0].runs.size(), 2u);
  const auto names = out.names();
  for (const char* name : {"scores.img", "scores.img.hdr"})
    EXPECT_NE(std::find(names.begin(), names.end(), name), names.end()) << name;
  context.data = out / "absent.mat";
  EXPECT_THROW(run(config, context), Error);
}

// A folder's table has the scenes that can be judged; the others do not end the run.
TEST(BigsetExperiment, FoldersWithScenesThatDoNotFit) {
  const test::TemporaryFolder folder;
  const auto save = [&](const std::string& name, int64_t rows, const Tensor& truth) {
    save_npz(folder / name,
             {{"image", test::uniform({rows, 9, 4}, DType::f64, 3)}, {"map", truth}});
  };
  Doubles some(81);
  some[40] = 1;
  const auto map = [](const Doubles& values) {
    return test::from_doubles(values, {std::ssize(values) / 9, 9}, DType::u8);
  };
  save("a_small.npz", 3, map(Doubles(some.begin() + 27, some.begin() + 54)));
  save("b_all.npz", 9, map(Doubles(81, 1)));
  save("c_none.npz", 9, map(Doubles(81)));
  save("d_good.npz", 9, map(some));
  Config config;
  config.detector = Detector::lrx;
  config.windows = {3, 7};
  std::ostringstream text;
  Progress progress(text, 0);
  Context context;
  context.device = Device::cpu();
  context.progress = &progress;
  context.data = folder / "";
  const Report report = run(config, context);
  EXPECT_EQ(report.tables.at(0).rows, std::vector<std::string>{"d_good"});
  ASSERT_EQ(report.notes.size(), 3u);
  EXPECT_NE(report.notes[0].find("a_small.npz: local_rx"), std::string::npos) << report.notes[0];
  EXPECT_NE(report.notes[1].find("81 anomalies"), std::string::npos) << report.notes[1];
  EXPECT_NE(report.notes[2].find("0 anomalies"), std::string::npos) << report.notes[2];

  context.data = folder / "b_all.npz";  // alone, it says so before any training
  config.detector = Detector::ae;
  test::expect_error([&] { run(config, context); }, {"b_all", "81 anomalies"},
                     ErrorKind::invalid_argument);
  EXPECT_EQ(text.str().find("ae on b_all"), std::string::npos);
}

}  // namespace
}  // namespace tessera::algorithms::bigset
