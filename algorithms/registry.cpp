#include "tessera/algorithms/registry.hpp"

namespace tessera::algorithms {

std::span<const Algorithm> registry() {
  static const std::vector<Algorithm> list{};
  return list;
}

const Algorithm& find_algorithm(std::string_view name) {
  std::vector<std::string_view> names;
  for (const Algorithm& algorithm : registry()) names.push_back(algorithm.name);
  return registry()[find_name(name, names)];
}

}  // namespace tessera::algorithms
