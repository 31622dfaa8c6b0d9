#include "tessera/models/module.hpp"

namespace tessera::models {
namespace {

std::string first_few(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < names.size() && i < 8; ++i) out += (i ? ", " : "") + names[i];
  if (names.size() > 8) out += concat(", ... (", names.size(), " in all)");
  return out;
}

}  // namespace

void throw_missing(const std::string& path, const NamedTensors& given) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : given) names.push_back(name);
  throw Error(ErrorKind::invalid_argument,
              concat("load_state: there is no '", path, "'; given are: ", first_few(names)));
}

void throw_unexpected(const std::vector<std::string>& unexpected, size_t expected) {
  throw Error(ErrorKind::invalid_argument,
              concat("load_state: the model has ", expected,
                     " entries and none of these: ", first_few(unexpected)));
}

}  // namespace tessera::models
