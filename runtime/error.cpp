#include "tessera/runtime/error.hpp"

namespace tessera {

Error::Error(ErrorKind kind, const std::string& message, std::source_location where)
    : std::runtime_error(message), kind_(kind), where_(where) {}

Error::~Error() = default;

}  // namespace tessera
