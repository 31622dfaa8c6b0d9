#include "tessera/bench/support/bench.hpp"

#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <regex>
#include <string_view>
#include <vector>

#include "tessera/bench/support/report.hpp"
#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::bench {
namespace {

using Clock = std::chrono::steady_clock;

/// The clock and the loop cost some 50 ns, waiting for a GPU some 10 us.
double shortest_sample(Device device) { return device.type == Device::Type::cuda ? 2e-3 : 200e-6; }
constexpr int64_t fewest_samples = 5;

std::vector<Case>& cases() {
  static std::vector<Case> list;
  return list;
}

std::string full_name(const Case& c) {
  std::string name = concat(c.name, "/", c.size, "/", c.dtype, "/", c.device);
  if (!c.variant.empty()) name += "/" + c.variant;
  return name;
}

/// Seconds of `count` calls, the device's work included.
double seconds_of(const Work& work, Stream& stream, int64_t count) {
  const auto start = Clock::now();
  for (int64_t i = 0; i < count; ++i) work.run();
  stream.synchronize();
  return std::chrono::duration<double>(Clock::now() - start).count();
}

int64_t peak_bytes_of(const Work& work, Stream& stream) {
  const auto tracking =
      std::make_shared<TrackingAllocator>(current_allocator(stream.device().type));
  const AllocatorScope scope(stream.device().type, tracking);
  work.run();
  stream.synchronize();
  return tracking->peak_bytes();
}

/// Work that has been prepared and checked, kept while Google Benchmark tries iteration counts.
struct Prepared {
  const Case* owner;
  Work work;
  int64_t peak_bytes;
  int64_t group;  // calls per sample
};

Prepared prepare(const Case& c, Stream& stream) {
  Prepared ready{&c, c.prepare(), 0, 1};
  ready.work.run();
  stream.synchronize();
  if (ready.work.check) ready.work.check();
  ready.peak_bytes = peak_bytes_of(ready.work, stream);
  double once = seconds_of(ready.work, stream, 1);
  const double shortest = shortest_sample(c.device);
  if (once < shortest) once = seconds_of(ready.work, stream, 10) / 10;
  ready.group = std::max<int64_t>(1, std::llround(std::ceil(shortest / std::max(once, 1e-9))));
  return ready;
}

double quantile(const std::vector<double>& ordered, double fraction) {
  const double at = fraction * static_cast<double>(ordered.size() - 1);
  const auto below = static_cast<size_t>(at);
  const size_t above = std::min(below + 1, ordered.size() - 1);
  return ordered[below] + (at - static_cast<double>(below)) * (ordered[above] - ordered[below]);
}

Result summary(const Case& c, const Prepared& ready, std::vector<double> samples) {
  std::sort(samples.begin(), samples.end());
  return {.name = c.name,
          .size = c.size,
          .variant = c.variant,
          .device = to_string(c.device),
          .dtype = c.dtype,
          .median = quantile(samples, 0.5),
          .p10 = quantile(samples, 0.1),
          .p90 = quantile(samples, 0.9),
          .samples = static_cast<int64_t>(samples.size()),
          .peak_bytes = ready.peak_bytes,
          .bytes = ready.work.bytes,
          .flops = ready.work.flops};
}

/// The body of one registered benchmark. Google Benchmark calls it with growing iteration counts
/// until the minimum time is reached; the last call's samples are the result.
void measure(benchmark::State& state, const Case& c, std::unique_ptr<Prepared>& prepared,
             Result& result) {
  Stream& stream = current_stream(c.device);
  if (!prepared || prepared->owner != &c) {
    prepared.reset();  // the previous case's memory, before this one asks for its own
    try {
      prepared = std::make_unique<Prepared>(prepare(c, stream));
    } catch (const std::exception& error) {
      state.SkipWithError(error.what());
      return;
    }
  }
  std::vector<double> samples;
  const auto sample = [&] {
    const double group = static_cast<double>(prepared->group);
    samples.push_back(seconds_of(prepared->work, stream, prepared->group) / group);
  };
  while (state.KeepRunning()) {
    sample();
    state.SetIterationTime(samples.back() * static_cast<double>(prepared->group));
  }
  while (static_cast<int64_t>(samples.size()) < fewest_samples) sample();
  result = summary(c, *prepared, std::move(samples));
}

/// Says what runs while it runs; the table comes at the end.
class Reporter final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const Run& run : runs) {
      if (run.error_occurred) {
        failed = true;
        std::fprintf(stderr, "%s: %s\n", run.benchmark_name().c_str(), run.error_message.c_str());
      } else {
        std::fprintf(stderr, "%s\n", run.benchmark_name().c_str());
      }
    }
  }
  bool failed = false;
};

struct Options {
  std::string pattern, out, peers = TESSERA_SOURCE_DIR "/bench/results";
  double min_time = 1.0;
  bool list = false;
};

Options parse(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string_view argument = argv[i];
    const auto value = [&]() -> std::string {
      TS_CHECK(i + 1 < argc, argument, " needs a value");
      return argv[++i];
    };
    if (argument == "--out")
      options.out = value();
    else if (argument == "--peers")
      options.peers = value();
    else if (argument == "--min-time")
      options.min_time = std::stod(value());
    else if (argument == "--list")
      options.list = true;
    else {
      TS_CHECK(!argument.starts_with('-'), "unknown option ", argument);
      options.pattern = argument;
    }
  }
  return options;
}

}  // namespace

void add(Case measured) { cases().push_back(std::move(measured)); }

int main(int argc, char** argv) try {
  const Options options = parse(argc, argv);
  if (options.list) {
    for (const Case& c : cases()) std::printf("%s\n", full_name(c).c_str());
    return 0;
  }
  std::unique_ptr<Prepared> prepared;
  std::vector<Result> results(cases().size());
  size_t selected = 0;
  const std::regex pattern(options.pattern);
  for (size_t i = 0; i < cases().size(); ++i) {
    const Case& c = cases()[i];
    if (!std::regex_search(full_name(c), pattern)) continue;
    const auto body = [&c, &prepared, &result = results[i]](benchmark::State& state) {
      measure(state, c, prepared, result);
    };
    benchmark::RegisterBenchmark(full_name(c).c_str(), body)
        ->UseManualTime()
        ->MinTime(std::max(options.min_time, 1e-9));
    ++selected;
  }
  if (selected == 0) return 0;
  Reporter reporter;
  benchmark::RunSpecifiedBenchmarks(&reporter, ".");
  prepared.reset();

  std::erase_if(results, [](const Result& r) { return r.samples == 0; });
  if (results.empty()) return reporter.failed ? 1 : 0;
  const Report report{"tessera", std::move(results)};
  std::fputs(table(report, read_peers(options.peers)).c_str(), stdout);
  if (!options.out.empty()) write(report, options.out);
  return reporter.failed ? 1 : 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s: %s\n", argv[0], error.what());
  return 2;
}

}  // namespace tessera::bench
