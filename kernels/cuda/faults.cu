#include "tessera/kernels/cuda/faults.cuh"

#include <utility>

namespace tessera::kernels::cuda {

Faults::Faults(Stream& stream)
    : stream_(stream),
      finding_(static_cast<Finding*>(
          stream.driver().allocate_pinned(sizeof(Finding), stream.device().index))) {
  *finding_ = {};
  stream.at_synchronize([this] { raise(); });
}

Faults::~Faults() { stream_.driver().deallocate_pinned(finding_, stream_.device().index); }

int32_t Faults::expect(std::string what) {
  return expect([what = std::move(what)](const Finding& found) {
    return concat(what, " ", found.at, " is ", found.value, ", outside [", found.low, ", ",
                  found.high, ")");
  });
}

int32_t Faults::expect(std::function<std::string(const Finding&)> message) {
  const int32_t call = calls_++ % remembered;
  message_[call] = std::move(message);
  return call;
}

void Faults::launched() {
  if (stream_.device().type == Device::Type::simt) raise();
}

void Faults::raise() {
  const Finding found = *finding_;
  if (!found.taken) return;
  *finding_ = {};
  throw Error(ErrorKind::invalid_argument, message_[found.call](found));
}

}  // namespace tessera::kernels::cuda
