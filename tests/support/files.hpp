#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <string>
#include <vector>

#include "tessera/tests/support/values.hpp"

/// Files for tests, and what errors say about them.
namespace tessera::test {

/// A folder of its own for one test, removed with it.
class TemporaryFolder {
 public:
  TemporaryFolder() {
    static int counter = 0;
    path_ =
        std::filesystem::temp_directory_path() / concat("tessera-test-", getpid(), "-", counter++);
    std::filesystem::create_directories(path_);
  }
  ~TemporaryFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  std::vector<std::string> names() const {
    std::vector<std::string> out;
    for (const auto& entry : std::filesystem::directory_iterator(path_))
      out.push_back(entry.path().filename().string());
    return out;
  }

 private:
  std::filesystem::path path_;
};

inline std::string golden(const std::string& name) {
  return std::string(TESSERA_GOLDEN_DIR "/") + name;
}

/// The path of a file or folder among data sets that are too large to be part of the sources:
/// inside TESSERA_DATA, or shared/data in or beside the source tree. "" when it is not there.
inline std::string shared_data(const std::string& name) {
  const char* const chosen = std::getenv("TESSERA_DATA");
  for (const std::string& folder :
       {std::string(chosen ? chosen : ""), std::string(TESSERA_SOURCE_DIR "/shared/data"),
        std::string(TESSERA_SOURCE_DIR "/../shared/data")})
    if (!folder.empty() && std::filesystem::exists(folder + "/" + name)) return folder + "/" + name;
  return {};
}

inline std::vector<std::byte> read_bytes(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  EXPECT_TRUE(in) << path;
  const std::string text{std::istreambuf_iterator<char>(in), {}};
  const auto* data = reinterpret_cast<const std::byte*>(text.data());
  return {data, data + text.size()};
}

inline void write_bytes(const std::string& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

/// Element i of the sample files: i - 3 in signed and floating types, i in unsigned ones, (i odd)
/// in bool.
inline std::vector<double> sample_values(int64_t count, char kind) {
  std::vector<double> out;
  for (int64_t i = 0; i < count; ++i)
    out.push_back(static_cast<double>(kind == 'u' ? i : kind == 'b' ? i % 2 : i - 3));
  return out;
}

/// The message of the Error that `body` throws; fails the test when it throws none, or one of
/// another kind.
inline std::string error_of(const std::function<void()>& body, ErrorKind kind = ErrorKind::io) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.kind()), static_cast<int>(kind)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no Error was thrown";
  return {};
}

inline void expect_error(const std::function<void()>& body, const std::vector<std::string>& parts,
                         ErrorKind kind = ErrorKind::io) {
  const std::string message = error_of(body, kind);
  for (const std::string& part : parts)
    EXPECT_NE(message.find(part), std::string::npos) << "expected '" << part << "' in: " << message;
}

}  // namespace tessera::test
