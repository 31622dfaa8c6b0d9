#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tessera/runtime/driver.hpp"
#include "tessera/runtime/io/json.hpp"

/// `tessera profile`: what a kernel does to memory and tensor cores, counted by the interpreter,
/// and the time that a GPU cannot be faster than.
namespace tessera::algorithms {

struct ProfileRequest {
  std::string kernel;
  std::vector<int64_t> sizes;
  std::string dtype;  // "" for the kernel's usual one
  std::string gpu = "h200";
};

struct Profile {
  ProfileRequest request;
  double bytes = 0, operations = 0;                   // that the operands ask for at least
  double memory_seconds = 0, arithmetic_seconds = 0;  // of the GPU for them
  std::vector<KernelCounters> kernels;                // in order of names
};

/// One line for each kernel that can be profiled: name, sizes, usual dtype.
std::string profile_kernels();

/// Runs the kernel once on the traced interpreter. Throws invalid_argument for unknown names and
/// wrong sizes, unsupported where the interpreter, or its traced build, is absent.
Profile profile(const ProfileRequest& request);

std::string profile_table(const Profile& profile);
Json profile_json(const Profile& profile);

}  // namespace tessera::algorithms
