#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "tessera/runtime/driver.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/tests/support/values.hpp"

/// How kernels fall on memory, counted by the traced interpreter: sectors of 32 bytes and passes
/// over the 32 banks of shared memory, next to the fewest that the same bytes need.
namespace tessera::test {

/// Of a kernel, over the ideal. A kernel that needs more says why in its file, and is pinned by
/// "what, kernel": its ratios hardly change. Where lanes leave a loop before others the counters no
/// longer know, up to the next barrier, which accesses belong together, and count more sectors than
/// there are.
struct Ratios {
  double sectors = 1, wavefronts = 1;
};
using Pinned = std::map<std::string, Ratios>;

class Traffic : public testing::Test {
 protected:
  static void SetUpTestSuite() { setenv("TESSERA_SIMT", "checked", 1); }

  /// Uniform in [-1, 1), on the device.
  static Tensor numbers(const Shape& shape, DType dtype, uint64_t seed = 1) {
    return uniform(shape, dtype, seed).to(Device::simt());
  }
  static Tensor empty(const Shape& shape, DType dtype) {
    return Tensor::empty(shape, dtype, Device::simt());
  }

  /// The counters of every kernel that `run(stream)` launches, by name.
  template <class Run>
  static std::map<std::string, KernelCounters> count(Run&& run) {
    Stream& stream = current_stream(Device::simt());
    stream.driver().take_counters();
    run(stream);
    stream.synchronize();
    std::map<std::string, KernelCounters> counters;
    for (const KernelCounters& c : stream.driver().take_counters()) counters[c.kernel] = c;
    EXPECT_FALSE(counters.empty()) << "no launches";
    return counters;
  }

  /// Every kernel that `run(stream)` launches touches as few sectors as its bytes need, and waits
  /// for banks in at most one pass of twenty, but for those that are pinned.
  template <class Run>
  static void expect_ideal(const std::string& what, Run&& run, const Pinned& pinned = {}) {
    const std::map<std::string, KernelCounters> counters = count(run);
    for (const auto& [kernel, c] : counters) {
      const std::string where = what + ", " + kernel;
      const auto found = pinned.find(where);
      const Ratios wanted = found == pinned.end() ? Ratios{} : found->second,
                   got{ratio(c.global_sectors, c.ideal_sectors),
                       ratio(c.shared_wavefronts, c.ideal_wavefronts)};
      EXPECT_NEAR(got.sectors, wanted.sectors, wanted.sectors > 1 ? 0.02 * wanted.sectors : 0)
          << where;
      if (wanted.wavefronts > 1)
        EXPECT_NEAR(got.wavefronts, wanted.wavefronts, 0.02 * wanted.wavefronts) << where;
      else
        EXPECT_LE(got.wavefronts, 1.05) << where;
    }
    for (const auto& [where, ratios] : pinned) {
      if (!where.starts_with(what + ", ") || where.find(", ", what.size() + 2) != where.npos)
        continue;
      EXPECT_TRUE(counters.contains(where.substr(what.size() + 2))) << "no launch of " << where;
    }
  }

 private:
  static double ratio(uint64_t counted, uint64_t ideal) {
    return ideal == 0 ? 1 : static_cast<double>(counted) / static_cast<double>(ideal);
  }
};

}  // namespace tessera::test
