#pragma once

#include <string_view>

namespace tessera {

enum class LogLevel { debug, info, warning, error, off };

/// Lines on stderr at or above the level in the environment variable TESSERA_LOG (debug, info,
/// warning, error, off; warning by default). The libraries print nothing else.
void log(LogLevel level, std::string_view message);
bool log_enabled(LogLevel level);

inline void log_debug(std::string_view message) { log(LogLevel::debug, message); }
inline void log_info(std::string_view message) { log(LogLevel::info, message); }
inline void log_warning(std::string_view message) { log(LogLevel::warning, message); }

}  // namespace tessera
