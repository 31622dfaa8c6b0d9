#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tessera {

/// Where memory lives and kernels run: the host, a CUDA GPU, or the interpreter that stands in for
/// one.
struct Device {
  enum class Type : uint8_t { cpu, cuda, simt };
  Type type = Type::cpu;
  int index = 0;

  static constexpr Device cpu() { return {Type::cpu, 0}; }
  static constexpr Device cuda(int index = 0) { return {Type::cuda, index}; }
  static constexpr Device simt() { return {Type::simt, 0}; }

  friend constexpr bool operator==(Device, Device) = default;
};
inline constexpr int device_type_count = 3;

/// "cpu", "cuda:0", "simt"
std::string to_string(Device device);

/// Accepts "auto" (cuda:0 where it works, else cpu), "cpu", "cuda", "cuda:N", "simt"; throws
/// otherwise.
Device parse_device(std::string_view text);

/// True when tensors can be made on `device`; otherwise fills `reason` with why not.
bool available(Device device, std::string* reason = nullptr);

struct DeviceInfo {
  Device device;
  std::string name;    // "AMD EPYC 9654", "NVIDIA H200", ...
  std::string detail;  // instruction set level or compute capability
  int64_t memory_bytes = 0;
};
DeviceInfo describe(Device device);
std::vector<Device> available_devices();

}  // namespace tessera
