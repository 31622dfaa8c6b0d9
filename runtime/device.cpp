#include "tessera/runtime/device.hpp"

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <mutex>

#include "tessera/runtime/driver.hpp"
#include "tessera/runtime/error.hpp"

namespace tessera {
namespace {

constexpr size_t huge_page = size_t{2} << 20;

class CpuDriver final : public Driver {
 public:
  int device_count() const override { return 1; }

  DeviceInfo describe(int) const override {
    DeviceInfo info{Device::cpu(), "CPU", "", 0};
    std::ifstream cpuinfo("/proc/cpuinfo");
    for (std::string line; std::getline(cpuinfo, line);) {
      if (line.rfind("model name", 0) == 0) {
        info.name = line.substr(line.find(':') + 2);
        break;
      }
    }
    info.memory_bytes = sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGE_SIZE);
    return info;
  }

  void* allocate(size_t bytes, int, void*) override {
    // Large blocks ask for huge pages: gathers from them miss the address cache less often.
    const size_t alignment = bytes >= 2 * huge_page ? huge_page : 256;
    const size_t rounded = (bytes + alignment - 1) / alignment * alignment;
    void* data = rounded < bytes ? nullptr : std::aligned_alloc(alignment, rounded);
    if (!data)
      throw Error(ErrorKind::out_of_memory, concat("cpu: cannot allocate ", bytes, " bytes"));
    if (alignment == huge_page) madvise(data, rounded, MADV_HUGEPAGE);  // a hint: may fail
    return data;
  }
  void deallocate(void* data, size_t, int, void*) noexcept override { std::free(data); }
  void* allocate_pinned(size_t bytes, int) override { return allocate(bytes, 0, nullptr); }
  void deallocate_pinned(void* data, int) noexcept override { std::free(data); }

  void* create_queue(int) override { return nullptr; }
  void destroy_queue(void*) noexcept override {}
  void synchronize(void*) override {}
  void* record(void*) override { return nullptr; }
  void wait(void*, void*) override {}
  void synchronize_event(void*) override {}
  void destroy_event(void*) noexcept override {}

  void copy_to_host(void* dst, const void* src, size_t bytes, void*) override {
    std::memcpy(dst, src, bytes);
  }
  void copy_from_host(void* dst, const void* src, size_t bytes, void*) override {
    std::memcpy(dst, src, bytes);
  }
  void copy_on_device(void* dst, const void* src, size_t bytes, void*) override {
    std::memcpy(dst, src, bytes);
  }
  void clear(void* data, size_t bytes, void*) override { std::memset(data, 0, bytes); }
};

std::string core_folder() {
  Dl_info info{};
  if (dladdr(reinterpret_cast<const void*>(&load_module), &info) && info.dli_fname)
    return std::filesystem::path(info.dli_fname).parent_path().string();
  return ".";
}

}  // namespace

const Module* load_module(const std::string& name, std::string& reason) {
  struct Loaded {
    const Module* module;
    std::string reason;
  };
  static std::mutex mutex;
  static auto& loaded = *new std::map<std::string, Loaded>;
  std::lock_guard lock(mutex);
  if (const auto it = loaded.find(name); it != loaded.end()) {
    reason = it->second.reason;
    return it->second.module;
  }
  Loaded& slot = loaded[name];
  slot.module = nullptr;
  const std::string folder = core_folder();
  const std::string file = "lib" + name + ".so";
  std::string path = folder + "/tessera/" + file;  // installed beside the core in lib/tessera
  if (!std::filesystem::exists(path)) path = folder + "/" + file;
  if (!std::filesystem::exists(path)) {
    slot.reason = concat("this build has no ", file);
  } else if (void* handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL); !handle) {
    slot.reason = dlerror();
  } else {
    using Entry = const Module* (*)();
    const auto entry = reinterpret_cast<Entry>(dlsym(handle, "tessera_module"));
    try {
      const Module* module = entry ? entry() : nullptr;
      if (!module)
        slot.reason = concat(path, " offers no tessera_module or declined to start");
      else if (module->abi != module_abi)
        slot.reason =
            concat(path, " was built for module interface ", module->abi, ", not ", module_abi);
      else
        slot.module = module;
    } catch (const std::exception& error) {
      slot.reason = concat(path, " does not start: ", error.what());
    }
  }
  reason = slot.reason;
  return slot.module;
}

const Module* device_module(Device::Type type, std::string& reason) {
  if (type == Device::Type::simt) {
    const char* wanted = std::getenv("TESSERA_SIMT");
    const bool checked = wanted && std::string_view(wanted) == "checked";
    return load_module(checked ? "tessera_simt_checked" : "tessera_simt", reason);
  }
  if (type != Device::Type::cuda) return nullptr;
  static const std::string missing = [] {
    const void* libcuda = dlopen("libcuda.so.1", RTLD_LAZY | RTLD_LOCAL);
    return libcuda ? std::string() : std::string(dlerror());
  }();
  if (!missing.empty()) {
    reason = concat("no NVIDIA driver on this machine (", missing, ")");
    return nullptr;
  }
  return load_module("tessera_cuda", reason);
}

Driver& driver(Device::Type type) {
  static auto& cpu = *new CpuDriver;  // outlives every object with static storage that holds memory
  if (type == Device::Type::cpu) return cpu;
  std::string reason;
  const Module* module = device_module(type, reason);
  if (!module || !module->driver)
    throw Error(ErrorKind::unsupported,
                concat("device ", to_string(Device{type, 0}), " is not available: ", reason));
  return *module->driver;
}

std::string to_string(Device device) {
  switch (device.type) {
    case Device::Type::cpu:
      return "cpu";
    case Device::Type::cuda:
      return concat("cuda:", device.index);
    case Device::Type::simt:
      return "simt";
  }
  return "unknown device";
}

Device parse_device(std::string_view text) {
  if (text == "cpu") return Device::cpu();
  if (text == "simt") return Device::simt();
  if (text == "cuda") return Device::cuda(0);
  if (text == "auto") return available(Device::cuda(0)) ? Device::cuda(0) : Device::cpu();
  int index = -1;
  if (text.starts_with("cuda:")) {
    const auto result = std::from_chars(text.data() + 5, text.data() + text.size(), index);
    if (result.ec != std::errc() || result.ptr != text.data() + text.size()) index = -1;
  }
  TS_CHECK(index >= 0, "unknown device '", text, "': expected auto, cpu, cuda:N or simt");
  return Device::cuda(index);
}

bool available(Device device, std::string* reason) {
  std::string why;
  bool ok = device == Device::cpu();
  if (!ok && device.type != Device::Type::cpu) {
    const Module* module = device_module(device.type, why);
    const int count = module && module->driver ? module->driver->device_count() : 0;
    ok = device.index >= 0 && device.index < count;
    if (!ok && why.empty() && module && module->driver) why = module->driver->why_fewer();
    if (!ok && why.empty()) why = concat("there are ", count, " such devices");
  } else if (!ok) {
    why = "there is one cpu, cpu:0";
  }
  if (!ok && reason) *reason = why;
  return ok;
}

DeviceInfo describe(Device device) { return driver(device.type).describe(device.index); }

std::vector<Device> available_devices() {
  std::vector<Device> devices{Device::cpu()};
  for (const Device::Type type : {Device::Type::cuda, Device::Type::simt})
    for (int i = 0; available(Device{type, i}); ++i) devices.push_back({type, i});
  return devices;
}

}  // namespace tessera
