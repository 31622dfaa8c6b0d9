#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "tessera/models/data/dataset.hpp"
#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/upload.hpp"

namespace tessera::models {

struct BatchOptions {
  bool shuffle = true;
  bool drop_last = false;  // leave out an epoch's last batch when it is smaller than the others
};

/// The endless sequence of batches of a data set: each epoch passes over all examples, in an order
/// of its own. Batch number `step` depends on (data set, size, seed, step) alone, so a run that
/// resumes at a step continues as if it had never stopped, augmentation included. The data set must
/// outlive the object.
class Batches {
 public:
  Batches(const Dataset& dataset, int64_t size, Rng rng, BatchOptions options = {});

  int64_t per_epoch() const { return per_epoch_; }
  int64_t epoch(int64_t step) const { return step / per_epoch_; }
  /// The numbers of the examples in a batch.
  std::vector<int64_t> indices(int64_t step) const;
  /// The examples stacked along a new first dimension; throws when their shapes or dtypes differ.
  Sample at(int64_t step) const;

 private:
  const std::vector<int64_t>& order(int64_t epoch) const;

  const Dataset* dataset_;
  int64_t size_, per_epoch_;
  Rng rng_;
  BatchOptions options_;
  mutable int64_t order_epoch_ = -1;
  mutable std::vector<int64_t> order_;
};

/// Stacks equal samples along a new first dimension.
Sample stack(const std::vector<Sample>& samples);

/// Prepares the next batches on a thread of its own. What the data set throws there, `next` throws
/// here, at the batch concerned and ever after. The destructor waits for at most the batch in work.
class PrefetchLoader {
 public:
  /// Starts with batch number `position`; holds at most `ahead` finished batches.
  explicit PrefetchLoader(Batches batches, int64_t position = 0, int64_t ahead = 2);
  ~PrefetchLoader();
  PrefetchLoader(const PrefetchLoader&) = delete;
  PrefetchLoader& operator=(const PrefetchLoader&) = delete;

  Sample next();
  /// The number of the batch that `next` will give: save it, and start another loader there to
  /// resume.
  int64_t position() const { return position_; }

 private:
  void work(int64_t step, std::shared_ptr<Allocator> allocator);

  Batches batches_;
  int64_t position_;
  const size_t ahead_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Sample> ready_;
  std::exception_ptr failure_;
  bool stop_ = false;
  std::thread worker_;
};

/// The batches of a loader on a device: while the device works on one, the next travels (Uploader).
class DeviceLoader {
 public:
  /// `batches` must outlive this and is used by nobody else meanwhile.
  DeviceLoader(PrefetchLoader& batches, Device device);

  /// For use on the calling thread's current stream of the device. Throws what `batches` throws.
  Sample next();
  /// The number of the batch that `next` will give.
  int64_t position() const { return position_; }

 private:
  void start();

  PrefetchLoader* batches_;
  Uploader uploader_;
  int64_t position_;
  Sample travelling_;
  std::exception_ptr failure_;
};

}  // namespace tessera::models
