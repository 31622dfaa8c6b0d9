#pragma once

#include <algorithm>
#include <cstdint>
#include <unordered_set>
#include <vector>

#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/tensor.hpp"

/// The generated inputs of bench/peers/README.md, entry for entry.
namespace tessera::bench {

/// Output `i` of splitmix64 seeded with `seed`.
inline uint64_t splitmix64(uint64_t seed, uint64_t i) {
  uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15u;
  z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9u;
  z = (z ^ z >> 27) * 0x94D049BB133111EBu;
  return z ^ z >> 31;
}

inline Tensor values(uint64_t seed, const Shape& shape) {
  Tensor t = Tensor::empty(shape, DType::f32, Device::cpu());
  uint64_t i = 0;
  for (float& v : t.host_mutable<float>())
    v = static_cast<float>(static_cast<double>(splitmix64(seed, i++) >> 40) * 0x1p-23 - 1);
  return t;
}

struct GraphSpec {
  const char* name;
  uint64_t seed;
  int64_t nodes, entries;
  bool power_law;
  uint64_t fingerprint;  // 64-bit FNV-1a of the columns' bytes
};
inline constexpr GraphSpec graph_specs[] = {
    {"uniform", 1, 20'000, 200'000, false, 0xf4913c76d61a8030u},
    {"powerlaw", 2, 200'000, 1'100'000, true, 0xc6924b43bd8efcd9u},
};

struct Graph {
  int64_t nodes;
  Tensor row_ptr, col, values;
  kernels::CsrView view(bool weighted = true) const {
    return {nodes,
            nodes,
            col.numel(),
            static_cast<const int32_t*>(row_ptr.data()),
            static_cast<const int32_t*>(col.data()),
            weighted ? values.view() : View{}};
  }
};

/// Draws the graph and throws unless it is the peers'.
inline Graph make_graph(const GraphSpec& spec) {
  const auto nodes = static_cast<uint64_t>(spec.nodes);
  const auto node = [&](uint64_t bits) {
    if (!spec.power_law) return bits % nodes;
    const double u = static_cast<double>(bits >> 11) * 0x1p-53;
    return static_cast<uint64_t>(u * u * u * static_cast<double>(spec.nodes)) * 48271 % nodes;
  };
  std::unordered_set<uint64_t> seen;
  for (uint64_t j = 0; seen.size() < static_cast<size_t>(spec.entries); ++j)
    seen.insert(node(splitmix64(spec.seed, 2 * j)) * nodes +
                node(splitmix64(spec.seed, 2 * j + 1)));
  std::vector<uint64_t> keys(seen.begin(), seen.end());
  std::sort(keys.begin(), keys.end());

  std::vector<int32_t> row_ptr(nodes + 1), col;
  for (const uint64_t key : keys) {
    ++row_ptr[key / nodes + 1];
    col.push_back(static_cast<int32_t>(key % nodes));
  }
  for (uint64_t i = 0; i < nodes; ++i) row_ptr[i + 1] += row_ptr[i];
  uint64_t hash = 0xCBF29CE484222325u;
  const auto* bytes = reinterpret_cast<const unsigned char*>(col.data());
  for (size_t i = 0; i < col.size() * sizeof(int32_t); ++i)
    hash = (hash ^ bytes[i]) * 0x100000001B3u;
  TS_CHECK(hash == spec.fingerprint, "the graph ", spec.name, " is not the peers' graph");
  return {spec.nodes, Tensor::from(row_ptr, {spec.nodes + 1}, Device::cpu()),
          Tensor::from(col, {spec.entries}, Device::cpu()), values(spec.seed + 1, {spec.entries})};
}

}  // namespace tessera::bench
