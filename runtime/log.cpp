#include "tessera/runtime/log.hpp"

#include <cstdio>
#include <cstdlib>
#include <string>

namespace tessera {
namespace {

constexpr std::string_view names[] = {"debug", "info", "warning", "error", "off"};

LogLevel threshold() {
  static const LogLevel level = [] {
    if (const char* text = std::getenv("TESSERA_LOG"))
      for (int i = 0; i < 5; ++i)
        if (names[i] == text) return static_cast<LogLevel>(i);
    return LogLevel::warning;
  }();
  return level;
}

}  // namespace

bool log_enabled(LogLevel level) { return level >= threshold() && level != LogLevel::off; }

void log(LogLevel level, std::string_view message) {
  if (!log_enabled(level)) return;
  std::string line("tessera ");
  line += names[static_cast<int>(level)];
  line += ": ";
  line += message;
  line += '\n';
  std::fwrite(line.data(), 1, line.size(), stderr);
}

}  // namespace tessera
