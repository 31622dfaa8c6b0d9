// EigenSR end to end: trainings that can stop, what they gain, the tasks, bad input.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <sstream>
#include <streambuf>

#include "tessera/algorithms/eigensr/experiment.hpp"
#include "tessera/algorithms/eigensr/experiment_learning.hpp"
#include "tessera/algorithms/eigensr/experiment_weights.hpp"
#include "tessera/algorithms/eigensr/quality.hpp"
#include "tessera/runtime/interrupt.hpp"
#include "tessera/runtime/io/envi.hpp"
#include "tessera/runtime/io/npy.hpp"
#include "tessera/runtime/io/png.hpp"
#include "tessera/runtime/io/safetensors.hpp"
#include "tessera/tests/support/files.hpp"

namespace tessera::algorithms::eigensr {
namespace {

using test::expect_error;

const std::string own_folder = TESSERA_SOURCE_DIR "/algorithms/eigensr/";

/// Where a progress writes; asks for a stop once a text was written.
class StopAt final : public std::stringbuf {
 public:
  explicit StopAt(std::string text) : text_(std::move(text)) {}

 private:
  std::streamsize xsputn(const char* s, std::streamsize n) override {
    seen_.append(s, static_cast<size_t>(n));
    if (!text_.empty() && seen_.find(text_) != std::string::npos) {
      text_.clear();
      request_stop();
    }
    return n;
  }
  std::string text_, seen_;
};

class EigensrExperiment : public testing::Test {
 protected:
  EigensrExperiment() { clear_stop_request(); }
  ~EigensrExperiment() override { clear_stop_request(); }

  static Config smoke() {
    Config config;
    load_config(config, own_folder + "config.smoke.json");
    return config;
  }
  /// Runs in a folder of its own below the test's.
  Report run_in(const std::string& out, const Config& config, const std::string& data = "",
                bool resume = false, const std::string& stop_at = "",
                Device device = Device::cpu()) {
    StopAt buffer(stop_at);
    std::ostream stream(&buffer);
    Progress progress(stream, 0);
    Context context;
    context.device = device;
    context.seed = 3;
    context.data = data;
    context.resume = resume;
    context.progress = &progress;
    if (!out.empty()) {
      context.out = folder / out;
      std::filesystem::create_directories(context.out);
    }
    return run(config, context);
  }
  static double mean(const Report& report, const std::string& name) {
    for (const Metric& m : report.metrics)
      if (m.name == name) return m.runs.at(0);
    ADD_FAILURE() << "no metric " << name;
    return test::nan;
  }

  const test::TemporaryFolder folder;
};

PatchDataset pictures() {
  return {{channel_planes(test::integers({20, 20, 3}, DType::u8, 1, 255))}, 2, 8, 4};
}

TEST_F(EigensrExperiment, AFrozenBodyStaysAsItWas) {
  Rng rng(1);
  const Network before = make_network({.plain = false, .channels = 4, .blocks = 1}, 2, 0, rng);
  Training training = start(before, Trained::fine, {.batch = 4, .patch = 8}, 3);
  ASSERT_TRUE(train(training, pictures(), 3, {.batch = 4, .patch = 8}, Rng(2)));
  const auto old = models::state(before), now = models::state(training.network());
  ASSERT_EQ(old.size(), now.size());
  int changed = 0, kept = 0;
  for (const auto& [path, tensor] : now) {
    const bool same = test::to_doubles(tensor) == test::to_doubles(old.at(path));
    if (path.starts_with("body."))
      EXPECT_TRUE(same) << path;
    else
      changed += !same;
    kept += same;
  }
  EXPECT_GT(changed, 10);  // of head and tail
  EXPECT_GT(kept, 5);      // what the body has
}

TEST_F(EigensrExperiment, TheBestNetworkIsKept) {
  Rng rng(1);
  const TrainingOptions options{.batch = 4, .patch = 8, .validate_every = 2};
  Training training =
      start(make_network({.channels = 4, .blocks = 1}, 2, 0, rng), Trained::all, options, 8);
  std::vector<models::NamedTensors> states;
  TrainingHooks hooks;
  hooks.validate = [&](const Network& network) {
    states.push_back(models::state(models::clone(network)));
    return states.size() == 3 ? 2.0 : 1.0;  // after six of eight steps
  };
  ASSERT_TRUE(train(training, pictures(), 8, options, Rng(2), hooks));
  ASSERT_EQ(states.size(), 4u);
  for (const auto& [path, tensor] : models::state(training.result())) {
    EXPECT_EQ(test::to_doubles(tensor), test::to_doubles(states[2].at(path))) << path;
    EXPECT_NE(test::to_doubles(tensor), test::to_doubles(states[3].at(path))) << path;
  }
}

TEST_F(EigensrExperiment, ConfigIsTheDefault) {
  Config config;
  load_config(config, own_folder + "config.json");
  EXPECT_EQ(to_string(config_json(config)), to_string(config_json(Config{})));
}

TEST_F(EigensrExperiment, ReportsAndFiles) {
  const Report report = run_in("a", smoke());
  for (const char* method : {"bicubic", "eigen T=1", "eigen T=2", "rgb T=1", "rgb+eigen T=2"})
    for (const char* name : {"psnr ", "ssim ", "sam "}) mean(report, concat(name, method));
  ASSERT_EQ(report.tables.size(), 1u);
  EXPECT_EQ(report.tables[0].rows.size(), 7u);
  EXPECT_EQ(parse_csv(to_csv(report.tables[0]), "quality").values, report.tables[0].values);
  EXPECT_EQ(report.plots.size(), 2u);
  for (const char* name : {"rgb.safetensors", "eigen.safetensors", "rgb+eigen.safetensors",
                           "checkpoint.safetensors", "leaves-0/estimate.img.hdr"})
    EXPECT_TRUE(std::filesystem::exists(folder / concat("a/", name))) << name;
  if (png_available()) {
    EXPECT_EQ(load_png(folder / "a/leaves-0/panels.png").size(1), 3 * 288 + 2 * 8);
    EXPECT_GT(load_png(folder / "a/leaves-0/error.png").size(1), 2 * 288);
  }
  // the cube is the estimate that was judged last
  Config config = smoke();
  const Scenes scenes = load_scenes("", config.data, config.scale, Rng(3).split(1'000'000));
  const Tensor estimate = load_envi(folder / "a/leaves-0/estimate.img").values;
  EXPECT_NEAR(quality(scenes.test[0].reference, estimate, 2).psnr,
              mean(report, "psnr rgb+eigen T=2"), 1e-9);
}

TEST_F(EigensrExperiment, StoppedAndResumedIsNeverStopped) {
  Config config = smoke();
  config.data.validation.clear();
  const Report whole = run_in("whole", config);
  for (const std::string stop_at :
       {"training on rgb  ", "training on rgb+eigen  ", "training on eigen  "}) {
    std::filesystem::remove_all(folder / "parts");
    run_in("parts", config, "", false, stop_at);
    EXPECT_TRUE(stop_requested()) << stop_at;
    clear_stop_request();
    const Report resumed = run_in("parts", config, "", true);
    ASSERT_EQ(resumed.metrics.size(), whole.metrics.size());
    for (size_t i = 0; i < whole.metrics.size(); ++i)
      EXPECT_EQ(resumed.metrics[i].runs, whole.metrics[i].runs) << stop_at << whole.metrics[i].name;
    for (const char* name : {"rgb.safetensors", "eigen.safetensors", "rgb+eigen.safetensors"})
      EXPECT_EQ(test::read_bytes(folder / concat("whole/", name)),
                test::read_bytes(folder / concat("parts/", name)))
          << name;
    EXPECT_EQ(to_svg(whole.plots), to_svg(resumed.plots));
  }
  config.training.learning_rate = 0.5;
  expect_error([&] { run_in("parts", config, "", true); }, {"another config", "lr"},
               ErrorKind::invalid_argument);
}

// The CUDA kernels, recorded and replayed, train the same networks but for rounding.
TEST_F(EigensrExperiment, OnTheInterpreter) {
  std::string reason;
  if (!available(Device::simt(), &reason)) GTEST_SKIP() << reason;
  const Report host = run_in("", smoke()),
               device = run_in("", smoke(), "", false, "", Device::simt());
  ASSERT_EQ(host.metrics.size(), device.metrics.size());
  for (const Metric& m : host.metrics)
    EXPECT_NEAR(mean(device, m.name), m.runs[0], 1e-3 * std::abs(m.runs[0])) << m.name;
}

// Every network gains on a scene that it has not seen.
TEST_F(EigensrExperiment, TrainedNetworksBeatBicubic) {
  Config config = smoke();
  config.rgb_steps = config.fine_steps = 150;
  config.eigen_steps = 300;
  config.regularisation.rank = 0;  // six materials, six bands
  config.training.patch = 16;
  config.training.batch = 8;
  config.data.leaves.rows = config.data.leaves.columns = 64;
  config.data.scenes = 2;
  config.data.pictures = 3;
  config.network.channels = 16;
  const Report report = run_in("", config);
  const double bicubic = mean(report, "psnr bicubic");
  for (const char* method : {"eigen T=1", "rgb T=1", "rgb+eigen T=1", "rgb+eigen T=2"}) {
    EXPECT_GT(mean(report, concat("psnr ", method)), bicubic + 0.4) << method;
    EXPECT_GT(mean(report, concat("ssim ", method)), mean(report, "ssim bicubic")) << method;
    EXPECT_LT(mean(report, concat("sam ", method)), mean(report, "sam bicubic")) << method;
  }
}

TEST_F(EigensrExperiment, FoldersAndSingleFiles) {
  const auto scene = [&](uint64_t seed) {
    return leaves_scene({.rows = 33, .columns = 34, .bands = 5}, Rng(seed));
  };
  std::filesystem::create_directories(folder / "cubes");
  for (const char* name : {"a", "b", "c"})
    save_npy(folder / concat("cubes/", name, ".npy"), scene(static_cast<uint64_t>(name[0])));
  test::write_bytes(folder / "cubes/d.npy", "no array");
  Config config = smoke();
  config.data.test = {"b"};
  config.data.validation = {"c"};
  config.training.validate_every = 2;
  const Report report = run_in("out", config, folder / "cubes");
  EXPECT_EQ(report.tables[0].rows[0], "b: bicubic");
  ASSERT_EQ(report.notes.size(), 1u);
  EXPECT_NE(report.notes[0].find("d.npy"), std::string::npos);
  const EnviImage image = load_envi(folder / "out/b/estimate.img");
  EXPECT_EQ(image.values.shape(), (Shape{32, 34, 5}));
  config.data.test = {"x"};
  expect_error([&] { run_in("", config, folder / "cubes"); }, {"no scene 'x'"},
               ErrorKind::invalid_argument);
  // left half to train on, right half for the test
  config = smoke();
  const Report one = run_in("", config, folder / "cubes/a.npy");
  EXPECT_EQ(one.tables[0].rows[0], "a-right: bicubic");
  config.data.rgb = folder / "cubes";
  expect_error([&] { run_in("", config); }, {"cubes", "no .png"});
  config.data.rgb = folder / "nowhere";
  expect_error([&] { run_in("", config); }, {"nowhere"});
}

TEST_F(EigensrExperiment, DegradeInferAndMeasure) {
  run_in("trained", smoke());
  const Tensor cube = leaves_scene({.rows = 36, .columns = 28, .bands = 5}, Rng(9));
  save_npy(folder / "cube.npy", cube);
  Config config;
  config.task = Task::degrade;
  run_in("small", config, folder / "cube.npy");
  const std::string small = folder / "small/cube.d2.img";
  EXPECT_EQ(load_envi(small).values.shape(), (Shape{18, 14, 5}));

  config = smoke();
  config.task = Task::infer;
  config.weights = folder / "trained/rgb+eigen.safetensors";
  run_in("large", config, small);
  const std::string large = folder / "large/cube.d2.x2.img";
  EXPECT_EQ(load_envi(large).values.shape(), cube.shape());

  config.task = Task::metrics;
  config.reference = folder / "cube.npy";
  const Report report = run_in("", config, large);
  EXPECT_NEAR(mean(report, "psnr"), quality(cube, load_envi(large).values, 2).psnr, 1e-9);

  // the same network can start another training
  config = smoke();
  config.weights = folder / "trained/rgb.safetensors";
  config.stages = {Stage::rgb_eigen};
  const Report fine = run_in("", config);
  EXPECT_EQ(fine.tables[0].rows.size(), 3u);
  ++config.network.blocks;
  expect_error([&] { run_in("", config); }, {"another network", "blocks"},
               ErrorKind::invalid_argument);
}

// A frozen transformer with low-rank updates, and windows: trained, stored, loaded, resumed.
TEST_F(EigensrExperiment, EveryBody) {
  const Tensor cube = leaves_scene({.rows = 14, .columns = 16, .bands = 5}, Rng(9));
  save_npy(folder / "cube.npy", cube);
  for (const Body body : {Body::transformer, Body::swin}) {
    Config config = smoke();
    config.network = {.body = body,
                      .channels = 2,
                      .size = 12,
                      .layers = 1,
                      .window = 4,
                      .groups = 1,
                      .depth = 2,
                      .heads = 2};
    config.training.patch = config.tiling.tile = 12;
    config.tiling.step = 9;
    config.freeze_body = true;
    config.low_rank = 2;
    config.stages = {Stage::rgb, Stage::rgb_eigen};
    const std::string name(to_string(body)), other = name + "2";
    const Report report = run_in(name, config);
    run_in(other, config, "", false, "training on rgb+eigen  ");
    clear_stop_request();
    const Report resumed = run_in(other, config, "", true);
    EXPECT_EQ(mean(report, "psnr rgb+eigen T=2"), mean(resumed, "psnr rgb+eigen T=2"));
    const auto pictures = load_safetensors(folder / (name + "/rgb.safetensors")),
               fine = load_safetensors(folder / (name + "/rgb+eigen.safetensors"));
    for (const auto& [path, tensor] : pictures) {
      if (!path.starts_with("body.")) continue;
      EXPECT_EQ(test::to_doubles(tensor), test::to_doubles(fine.at(path))) << path;
    }
    EXPECT_EQ(fine.size() > pictures.size(), body == Body::transformer);

    config.task = Task::infer;
    config.weights = folder / (name + "/rgb+eigen.safetensors");
    run_in(name + "3", config, folder / "cube.npy");
    const StoredNetwork stored = load_network(config.weights);
    const Tensor wanted =
        super_resolve(cube, 2, config.regularisation, upscaler_of(stored.network, config));
    EXPECT_EQ(load_envi(folder / (name + "3/cube.x2.img")).values.values<float>(),
              wanted.values<float>());
    config.tiling.tile = 13;
    expect_error([&] { run_in("", config, folder / "cube.npy"); }, {"tile is 13"},
                 ErrorKind::invalid_argument);
  }
}

TEST_F(EigensrExperiment, BadInput) {
  const ErrorKind invalid = ErrorKind::invalid_argument;
  Config config = smoke();
  config.scale = 3;
  expect_error([&] { run_in("", config); }, {"scale 3"}, invalid);
  config = smoke();
  config.training.validate_every = 5;
  expect_error([&] { run_in("", config); }, {"validate_every is 5 with 0 scenes"}, invalid);
  config = smoke();
  config.task = Task::infer;
  expect_error([&] { run_in("", config); }, {"weights"}, invalid);
  test::write_bytes(folder / "w.safetensors", "x");
  config.weights = folder / "w.safetensors";
  expect_error([&] { run_in("", config); }, {"w.safetensors"});
  save_safetensors(folder / "w.safetensors",
                   {{"a", Tensor::zeros({1}, DType::f32, Device::cpu())}});
  expect_error([&] { run_in("", config); }, {"w.safetensors", "not written by"});
  config.task = Task::degrade;
  expect_error([&] { run_in("", config); }, {"degrade", "--data"}, invalid);
  config.task = Task::metrics;
  expect_error([&] { run_in("", config); }, {"reference"}, invalid);

  config = smoke();
  expect_error([&] { run_in("", config, folder / "absent.mat"); }, {"absent.mat"});
  const Tensor tiny = Tensor::zeros({1, 30, 3}, DType::f32, Device::cpu());
  save_npy(folder / "tiny.npy", tiny);
  expect_error([&] { run_in("", config, folder / "tiny.npy"); }, {"tiny", "1 x 15", "scale 2"},
               invalid);
  save_npy(folder / "dead.npy", Tensor::zeros({20, 40, 3}, DType::f32, Device::cpu()));
  expect_error([&] { run_in("", config, folder / "dead.npy"); }, {"dead-left", "every number"},
               invalid);
  Config measure = smoke();
  measure.task = Task::metrics;
  measure.reference = folder / "dead.npy";
  expect_error([&] { run_in("", measure, folder / "tiny.npy"); },
               {"tiny.npy", "dead.npy", "[20, 40, 3]", "[1, 30, 3]"}, invalid);
  // a pixel that is no number, a band without light: told, and done
  Tensor cube = leaves_scene({.rows = 20, .columns = 40, .bands = 4}, Rng(1));
  for (int64_t p = 0; p < 800; ++p) cube.host_mutable<float>()[static_cast<size_t>(4 * p + 2)] = 0;
  cube.host_mutable<float>()[5] = NAN;
  save_npy(folder / "holes.npy", cube);
  const Report report = run_in("", config, folder / "holes.npy");
  ASSERT_EQ(report.notes.size(), 2u);
  EXPECT_NE(report.notes[0].find("1 of 800 pixels"), std::string::npos);
  EXPECT_NE(report.notes[1].find("1 of 4 bands"), std::string::npos);
  for (const Metric& m : report.metrics) EXPECT_TRUE(std::isfinite(m.runs[0])) << m.name;
}

}  // namespace
}  // namespace tessera::algorithms::eigensr
