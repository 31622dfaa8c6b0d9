#include "tessera/kernels/backend.hpp"

#include <cstdlib>
#include <string>

#include "tessera/kernels/cpu/backend.hpp"
#include "tessera/runtime/driver.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/log.hpp"

namespace tessera::kernels {
namespace {

bool processor_has(std::string_view level) {
#if defined(__x86_64__)
  if (level == "x86-64-v4")
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
           __builtin_cpu_supports("fma");
  if (level == "x86-64-v3")
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("bmi2");
#endif
  return level == "baseline";
}

const Backend& choose_cpu_backend() {
  const char* wanted = std::getenv("TESSERA_CPU");
  if (wanted && std::string_view(wanted) == "baseline") return cpu::cpu_backend;
  for (const std::string level : {"x86-64-v4", "x86-64-v3"}) {
    if (wanted && level != wanted) continue;
    if (!processor_has(level)) continue;
    std::string reason;
    if (const Module* module = load_module("tessera_cpu_" + level, reason)) return *module->backend;
    log_debug(concat("kernels for ", level, " not used: ", reason));
  }
  if (wanted)
    throw Error(ErrorKind::unsupported,
                concat("TESSERA_CPU=", wanted,
                       ": this build or processor has no such level; expected "
                       "baseline, x86-64-v3 or x86-64-v4"));
  return cpu::cpu_backend;
}

const Backend& module_backend(Device device) {
  std::string reason;
  const Module* module = device_module(device.type, reason);
  if (!module || !module->backend)
    throw Error(ErrorKind::unsupported, concat("device ", device, " is not available: ", reason));
  return *module->backend;
}

}  // namespace

const Backend& backend(Device device) {
  if (device.type == Device::Type::cpu) [[likely]] {
    static const Backend& cpu = choose_cpu_backend();
    return cpu;
  }
  return module_backend(device);
}

void not_available(std::string_view operation, Device device) {
  throw Error(ErrorKind::unsupported, concat(operation, " is not available on ", device));
}

}  // namespace tessera::kernels
