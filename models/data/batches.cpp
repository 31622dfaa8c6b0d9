#include "tessera/models/data/batches.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

#include "tessera/runtime/error.hpp"

namespace tessera::models {

Batches::Batches(const Dataset& dataset, int64_t size, Rng rng, BatchOptions options)
    : dataset_(&dataset), size_(size), rng_(rng), options_(options) {
  const int64_t examples = dataset.size();
  TS_CHECK(size > 0, "Batches: a batch of ", size, " examples");
  TS_CHECK(examples > 0, "Batches: the data set is empty");
  TS_CHECK(!options.drop_last || size <= examples, "Batches: no batch of ", size, " in ", examples,
           " examples when smaller ones are dropped");
  per_epoch_ = options.drop_last ? examples / size : (examples + size - 1) / size;
}

const std::vector<int64_t>& Batches::order(int64_t epoch) const {
  if (order_epoch_ == epoch) return order_;
  order_.resize(static_cast<size_t>(dataset_->size()));
  std::iota(order_.begin(), order_.end(), int64_t{0});
  if (options_.shuffle) {
    Rng rng = rng_.split(static_cast<uint64_t>(epoch));
    shuffle(order_.begin(), order_.end(), rng);
  }
  order_epoch_ = epoch;
  return order_;
}

std::vector<int64_t> Batches::indices(int64_t step) const {
  TS_CHECK(step >= 0, "Batches: step ", step, " is negative");
  const auto& all = order(epoch(step));
  const int64_t first = step % per_epoch_ * size_;
  const int64_t last = std::min(first + size_, static_cast<int64_t>(all.size()));
  return {all.begin() + first, all.begin() + last};
}

Sample Batches::at(int64_t step) const {
  // Each example's numbers belong to (epoch, example), whichever batch it comes in.
  const Rng rng = rng_.split(static_cast<uint64_t>(epoch(step)));
  std::vector<Sample> samples;
  for (const int64_t index : indices(step))
    samples.push_back(dataset_->get(index, rng.split(static_cast<uint64_t>(index))));
  return stack(samples);
}

Sample stack(const std::vector<Sample>& samples) {
  TS_CHECK(!samples.empty(), "stack: no samples");
  const Sample& first = samples.front();
  Sample out;
  for (size_t k = 0; k < first.size(); ++k) {
    Shape shape{static_cast<int64_t>(samples.size())};
    for (const int64_t extent : first[k].shape()) shape.push_back(extent);
    Tensor batch = Tensor::empty(shape, first[k].dtype(), Device::cpu());
    for (size_t i = 0; i < samples.size(); ++i) {
      TS_CHECK(samples[i].size() == first.size(), "stack: sample 0 has ", first.size(),
               " tensors, sample ", i, " has ", samples[i].size());
      const Tensor& t = samples[i][k];
      TS_CHECK(t.shape() == first[k].shape() && t.dtype() == first[k].dtype(), "stack: tensor ", k,
               " is ", first[k], " in sample 0 but ", t, " in sample ", i);
      batch.select(0, static_cast<int64_t>(i)).copy_from(t);
    }
    out.push_back(std::move(batch));
  }
  return out;
}

PrefetchLoader::PrefetchLoader(Batches batches, int64_t position, int64_t ahead)
    : batches_(std::move(batches)), position_(position), ahead_(static_cast<size_t>(ahead)) {
  TS_CHECK(position >= 0 && ahead > 0, "PrefetchLoader: position ", position, ", ", ahead,
           " batches ahead");
  worker_ =
      std::thread(&PrefetchLoader::work, this, position, current_allocator(Device::Type::cpu));
}

PrefetchLoader::~PrefetchLoader() {
  {
    std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  worker_.join();
}

void PrefetchLoader::work(int64_t step, std::shared_ptr<Allocator> allocator) {
  const AllocatorScope scope(Device::Type::cpu, std::move(allocator));
  try {
    for (;; ++step) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return stop_ || ready_.size() < ahead_; });
        if (stop_) return;
      }
      Sample batch = batches_.at(step);
      {
        std::lock_guard lock(mutex_);
        ready_.push_back(std::move(batch));
      }
      changed_.notify_all();
    }
  } catch (...) {
    std::lock_guard lock(mutex_);
    failure_ = std::current_exception();
  }
  changed_.notify_all();
}

Sample PrefetchLoader::next() {
  Sample batch;
  {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return !ready_.empty() || failure_; });
    if (ready_.empty()) std::rethrow_exception(failure_);
    batch = std::move(ready_.front());
    ready_.pop_front();
    ++position_;
  }
  changed_.notify_all();
  return batch;
}

DeviceLoader::DeviceLoader(PrefetchLoader& batches, Device device)
    : batches_(&batches), uploader_(device), position_(batches.position()) {}

void DeviceLoader::start() {
  try {
    for (const Tensor& t : batches_->next()) travelling_.push_back(uploader_.start(t));
  } catch (...) {
    failure_ = std::current_exception();
  }
}

Sample DeviceLoader::next() {
  if (travelling_.empty() && !failure_) start();
  if (failure_) std::rethrow_exception(failure_);
  uploader_.wait();
  ++position_;
  Sample batch = std::exchange(travelling_, {});
  start();
  return batch;
}

}  // namespace tessera::models
