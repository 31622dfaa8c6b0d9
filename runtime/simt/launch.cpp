// Grids over OS threads, the schedule, and source lines of reports.
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <mutex>
#include <numeric>
#include <thread>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/simt/interpreter.hpp"
#include "tessera/runtime/simt/trace.hpp"

namespace tessera::simt {
namespace {

Schedule initial_schedule() {
  Schedule s;
  if (const char* seed = std::getenv("TESSERA_SIMT_SEED"))
    s.seed = std::strtoull(seed, nullptr, 10);
  if (const char* lazy = std::getenv("TESSERA_SIMT_LAZY")) s.lazy = *lazy != '0';
  return s;
}

std::mutex schedule_mutex;
Schedule& shared_schedule() {
  static Schedule s = initial_schedule();
  return s;
}

Interpreter& own_interpreter() {
  static thread_local Interpreter interpreter;
  return interpreter;
}

/// OS threads that take part in a launch beside the one that calls it.
class Workers {
 public:
  Workers() {
    const unsigned count = std::min(16u, std::max(1u, std::thread::hardware_concurrency()));
    for (unsigned i = 1; i < count; ++i) threads_.emplace_back([this] { serve(); });
  }
  ~Workers() {
    {
      std::lock_guard lock(mutex_);
      ends_ = true;
    }
    work_.notify_all();
    for (std::thread& t : threads_) t.join();
  }

  /// Calls task(context) here and on every worker; returns when all are done.
  void run(void (*task)(void*), void* context) {
    std::lock_guard one_at_a_time(launch_mutex_);
    {
      std::lock_guard lock(mutex_);
      task_ = task;
      context_ = context;
      ++round_;
      busy_ = threads_.size();
    }
    work_.notify_all();
    task(context);
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
  }

 private:
  void serve() {
    uint64_t seen = 0;
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [&] { return ends_ || round_ != seen; });
      if (ends_) return;
      seen = round_;
      lock.unlock();
      task_(context_);
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  std::mutex launch_mutex_, mutex_;
  std::condition_variable work_, done_;
  void (*task_)(void*) = nullptr;
  void* context_ = nullptr;
  uint64_t round_ = 0;
  size_t busy_ = 0;
  bool ends_ = false;
  std::vector<std::thread> threads_;
};

/// The groups of blocks of one launch, handed out in the schedule's order.
struct Grid {
  const Launch& launch;
  Schedule schedule;
  uint64_t groups, blocks_per_group, stride, offset;
  std::atomic<uint64_t> next = 0;
  std::atomic<bool> failed = false;
  std::exception_ptr failure = nullptr;

  Grid(const Launch& l, const Schedule& s) : launch(l), schedule(s) {
    blocks_per_group = l.cooperative ? l.grid.count() : l.cluster.count();
    groups = l.grid.count() / blocks_per_group;
    stride = 1;
    offset = 0;
    if (s.seed) {
      stride = (s.seed * 0x9e3779b97f4a7c15u >> 33) % groups | 1;
      while (std::gcd(stride, groups) != 1) ++stride;
      offset = s.seed * 7919 % groups;
    }
  }

  void work() {
    for (uint64_t i; !failed && (i = next++) < groups;) {
      const uint64_t group = (i % groups * stride + offset) % groups;
      try {
        own_interpreter().run(launch, group * blocks_per_group,
                              static_cast<uint32_t>(blocks_per_group), schedule);
      } catch (...) {
        if (!failed.exchange(true)) failure = std::current_exception();
      }
    }
  }
};

void check(const Launch& l) {
  const auto refuse = [&](const auto&... parts) {
    throw Error(ErrorKind::device, concat("simt: cannot launch ", l.name, " with ", l.grid.count(),
                                          " blocks of ", l.block.count(), " threads: ", parts...));
  };
  if (l.block.count() < 1 || l.block.count() > max_block_threads || l.block.z > 64)
    refuse("a block has 1 to ", max_block_threads, " threads");
  if (l.grid.count() < 1 || l.grid.x > 0x7fffffffu || l.grid.y > 65535 || l.grid.z > 65535)
    refuse("a grid has 1 to 2^31 - 1 x 65535 x 65535 blocks");
  if (l.shared_bytes > max_shared_bytes)
    refuse(l.shared_bytes, " bytes of shared memory; a block has at most ", max_shared_bytes);
  if (l.cluster.count() < 1 || l.cluster.count() > 8 || l.grid.x % l.cluster.x != 0 ||
      l.grid.y % l.cluster.y != 0 || l.grid.z % l.cluster.z != 0)
    refuse("a cluster has 1 to 8 blocks and divides the grid");
  // Co-resident blocks of an H100: 132 multiprocessors of 2048 threads and 227 KiB of shared
  // memory.
  const uint64_t by_threads = 2048 / l.block.count();
  const uint64_t by_shared = l.shared_bytes ? max_shared_bytes / l.shared_bytes : 32;
  if (l.cooperative && l.grid.count() > 132 * std::min<uint64_t>({by_threads, by_shared, 32}))
    refuse("a cooperative grid must be resident as a whole");
}

}  // namespace

Schedule schedule() {
  std::lock_guard lock(schedule_mutex);
  return shared_schedule();
}
void set_schedule(const Schedule& s) {
  std::lock_guard lock(schedule_mutex);
  shared_schedule() = s;
}

void launch(const Launch& l) {
  check(l);
  Grid grid(l, schedule());
  if (tracing().begin_launch) {
    tracing().begin_launch(l);
    grid.work();
    tracing().end_launch();
  } else if (grid.groups == 1) {
    grid.work();
  } else {
    static Workers workers;
    workers.run([](void* g) { static_cast<Grid*>(g)->work(); }, &grid);
  }
  if (grid.failure) std::rethrow_exception(grid.failure);
}

std::string source_line(const void* site) {
  static std::mutex mutex;
  static auto& known = *new std::map<const void*, std::string>;
  if (!site) return "";
  std::lock_guard lock(mutex);
  if (const auto it = known.find(site); it != known.end()) return it->second;
  std::string& line = known[site];
  Dl_info info{};
  if (!dladdr(site, &info) || !info.dli_fname) return line;
  // A return address lies behind the call.
  const auto offset = static_cast<const char*>(site) - static_cast<const char*>(info.dli_fbase) - 1;
  char command[1024];
  std::snprintf(command, sizeof command, "addr2line -i -e '%s' 0x%lx 2>/dev/null", info.dli_fname,
                static_cast<unsigned long>(offset));
  FILE* pipe = popen(command, "r");
  if (!pipe) return line;
  // The innermost place first; the wrappers of device instructions are not what is asked for.
  for (char text[1024]; std::fgets(text, sizeof text, pipe);) {
    std::string place = text;
    place.erase(std::find(place.begin(), place.end(), '\n'), place.end());
    if (const size_t more = place.find(" (discriminator"); more != place.npos) place.erase(more);
    const bool wrapper =
        place.find("/kernels/cuda/ptx") != place.npos || place.find("/simt/") != place.npos;
    if (place.starts_with("??") || (wrapper && place.find("/tests/") == place.npos)) continue;
    line = place.substr(place.rfind('/') + 1);
    break;
  }
  pclose(pipe);
  return line;
}

}  // namespace tessera::simt
