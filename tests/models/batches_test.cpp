#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <string>
#include <vector>

#include "tessera/models/data/batches.hpp"
#include "tessera/tests/support/files.hpp"
#include "tessera/tests/support/watched_device.hpp"

namespace tessera::models {
namespace {

using test::expect_error;

const Device cpu = Device::cpu();

// Example i is {i, random number}; fails at one index, counts calls.
class Numbers final : public Dataset {
 public:
  explicit Numbers(int64_t size, int64_t bad = -1) : size_(size), bad_(bad) {}
  int64_t size() const override { return size_; }
  Sample get(int64_t index, Rng rng) const override {
    ++calls;
    if (index == bad_) throw Error(ErrorKind::io, concat("cannot read example ", index));
    return {Tensor::from<int64_t>({index}, {}, cpu),
            Tensor::from<double>({rng.uniform(), 2}, {2}, cpu)};
  }
  mutable std::atomic<int64_t> calls{0};

 private:
  int64_t size_, bad_;
};

TEST(Batches, EveryEpochIsAPermutationOfItsOwn) {
  const Numbers data(23);
  const Batches batches(data, 5, Rng(1));
  EXPECT_EQ(batches.per_epoch(), 5);
  std::vector<std::vector<int64_t>> epochs(3);
  for (int64_t step = 0; step < 15; ++step) {
    const Sample batch = batches.at(step);
    EXPECT_EQ(batch[0].shape(), Shape{step % 5 == 4 ? 3 : 5});
    EXPECT_EQ(batch[1].shape(), (Shape{step % 5 == 4 ? 3 : 5, 2}));
    EXPECT_EQ(batches.epoch(step), step / 5);
    for (const int64_t i : batch[0].values<int64_t>())
      epochs[static_cast<size_t>(step / 5)].push_back(i);
  }
  EXPECT_NE(epochs[0], epochs[1]);
  for (auto& epoch : epochs) {
    EXPECT_FALSE(std::is_sorted(epoch.begin(), epoch.end()));
    std::sort(epoch.begin(), epoch.end());
    for (int64_t i = 0; i < 23; ++i) EXPECT_EQ(epoch[static_cast<size_t>(i)], i);
  }
}

TEST(Batches, OptionsAndErrors) {
  const Numbers data(23);
  EXPECT_EQ(Batches(data, 5, Rng(1), {.drop_last = true}).per_epoch(), 4);
  EXPECT_EQ(Batches(data, 5, Rng(1), {.drop_last = true}).indices(3).size(), 5u);
  EXPECT_EQ(Batches(data, 5, Rng(1), {.shuffle = false}).indices(4),
            (std::vector<int64_t>{20, 21, 22}));
  EXPECT_EQ(Batches(data, 100, Rng(1)).per_epoch(), 1);
  const ErrorKind kind = ErrorKind::invalid_argument;
  expect_error([&] { Batches(data, 0, Rng(1)); }, {"0 examples"}, kind);
  expect_error([&] { Batches(Numbers(0), 4, Rng(1)); }, {"empty"}, kind);
  expect_error([&] { Batches(data, 24, Rng(1), {.drop_last = true}); }, {"24", "23"}, kind);
  expect_error([&] { Batches(data, 5, Rng(1)).at(-1); }, {"-1"}, kind);
  expect_error(
      [] {
        stack({{Tensor::zeros({2}, DType::f32, cpu)}, {Tensor::zeros({3}, DType::f32, cpu)}});
      },
      {"[2]", "[3]", "sample 1"}, kind);
  expect_error(
      [] {
        stack({{Tensor::zeros({2}, DType::f32, cpu)}, {}});
      },
      {"sample 1 has 0"}, kind);
}

TEST(PrefetchLoader, GivesTheSameBatchesAndResumesExactly) {
  const Numbers data(23);
  const Batches batches(data, 5, Rng(9));
  PrefetchLoader loader(batches);
  const auto expect_step = [&](const Sample& batch, int64_t step) {
    const Sample direct = batches.at(step);
    EXPECT_EQ(batch[0].values<int64_t>(), direct[0].values<int64_t>()) << step;
    EXPECT_EQ(batch[1].values<double>(), direct[1].values<double>()) << step;
  };
  for (int64_t step = 0; step < 12; ++step) {
    EXPECT_EQ(loader.position(), step);
    expect_step(loader.next(), step);
  }
  PrefetchLoader resumed(batches, loader.position());
  for (int64_t step = 12; step < 30; ++step) expect_step(resumed.next(), step);
}

TEST(PrefetchLoader, ThrowsAtTheBatchThatFailedAndEverAfter) {
  const Numbers data(20, 13);
  const Batches batches(data, 5, Rng(0), {.shuffle = false});
  PrefetchLoader loader(batches, 0, 8);
  EXPECT_NO_THROW(loader.next());
  EXPECT_NO_THROW(loader.next());
  for (int i = 0; i < 2; ++i) expect_error([&] { loader.next(); }, {"example 13"});
  EXPECT_EQ(loader.position(), 2);
}

TEST(PrefetchLoader, StopsWheneverItIsDestroyed) {
  const Numbers data(1000);
  for (int used = 0; used < 4; ++used) {
    data.calls = 0;
    {
      PrefetchLoader loader(Batches(data, 10, Rng(0)), 0, 2);
      for (int i = 0; i < used; ++i) loader.next();
    }
    EXPECT_LE(data.calls, (used + 3) * 10)
        << "no more than `ahead` finished batches and one in work";
  }
  const Numbers bad(10, 0);
  PrefetchLoader failed(Batches(bad, 10, Rng(0)));  // destroyed with its error never asked for
}

TEST(PrefetchLoader, HonoursTheMemoryLimitOfItsMaker) {
  const Numbers data(100000);
  const auto limit =
      std::make_shared<LimitAllocator>(std::make_shared<DriverAllocator>(), 64 << 10);
  const AllocatorScope scope(Device::Type::cpu, limit);
  PrefetchLoader loader(Batches(data, 50000, Rng(0)));
  expect_error([&] { loader.next(); }, {"memory limit"}, ErrorKind::out_of_memory);
}

class DeviceLoaders : public test::WatchedDevice {
 protected:
};

TEST_P(DeviceLoaders, GiveTheSameBatchesOnTheDevice) {
  const Numbers data(23);
  const Batches batches(data, 5, Rng(9));
  PrefetchLoader host(batches, 3);
  DeviceLoader loader(host, GetParam());
  for (int64_t step = 3; step < 14; ++step) {
    EXPECT_EQ(loader.position(), step);
    const Sample batch = loader.next(), direct = batches.at(step);
    ASSERT_EQ(batch.size(), 2u);
    EXPECT_EQ(batch[0].device(), GetParam());
    EXPECT_EQ(batch[0].values<int64_t>(), direct[0].values<int64_t>()) << step;
    EXPECT_EQ(batch[1].values<double>(), direct[1].values<double>()) << step;
  }
}

TEST_P(DeviceLoaders, ThrowAtTheBatchThatFailed) {
  const Numbers data(20, 13);
  PrefetchLoader host(Batches(data, 5, Rng(0), {.shuffle = false}));
  DeviceLoader loader(host, GetParam());
  EXPECT_NO_THROW(loader.next());
  EXPECT_NO_THROW(loader.next());
  for (int i = 0; i < 2; ++i) expect_error([&] { loader.next(); }, {"example 13"});
}

INSTANTIATE_TEST_SUITE_P(Devices, DeviceLoaders,
                         testing::Values(Device::cpu(), Device::cuda(), Device::simt()),
                         test::device_name);

}  // namespace
}  // namespace tessera::models
