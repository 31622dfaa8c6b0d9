#pragma once

#include <charconv>
#include <concepts>
#include <source_location>
#include <stdexcept>
#include <string>
#include <string_view>

namespace tessera {

enum class ErrorKind {
  invalid_argument,  // the caller's shapes, dtypes, values or options
  unsupported,       // a combination that this build or device cannot do
  out_of_memory,
  device,     // a driver or vendor library reported a failure
  io,         // a file is missing, malformed, or cannot be written
  cancelled,  // the user interrupted the work
};

/// The one exception type of the library. The message names the operation with its shapes and
/// dtypes, or the file with the position, and says what was expected.
class Error : public std::runtime_error {
 public:
  Error(ErrorKind kind, const std::string& message,
        std::source_location where = std::source_location::current());
  ~Error() override;

  ErrorKind kind() const noexcept { return kind_; }
  const std::source_location& where() const noexcept { return where_; }

 private:
  ErrorKind kind_;
  std::source_location where_;
};

namespace detail {
inline void append(std::string& out, std::string_view part) { out += part; }
inline void append(std::string& out, const char* part) { out += part; }
inline void append(std::string& out, const std::string& part) { out += part; }
inline void append(std::string& out, char part) { out += part; }
inline void append(std::string& out, bool part) { out += part ? "true" : "false"; }

template <class T>
requires(std::integral<T> || std::floating_point<T>) void append(std::string& out, T part) {
  char text[48];
  const auto end = std::to_chars(text, text + sizeof text, part).ptr;
  out.append(text, end);
}

template <class T>
requires requires(const T& t) { std::string(to_string(t)); }
void append(std::string& out, const T& part) { out += to_string(part); }

template <class... Parts>
[[noreturn, gnu::cold, gnu::noinline]] void fail_check(std::source_location where,
                                                       const Parts&... parts) {
  std::string message;
  (append(message, parts), ...);
  throw Error(ErrorKind::invalid_argument, message, where);
}
}  // namespace detail

/// Joins text, numbers, and anything that has a `to_string`.
template <class... Parts>
std::string concat(const Parts&... parts) {
  std::string out;
  (detail::append(out, parts), ...);
  return out;
}

}  // namespace tessera

/// Throws an `invalid_argument` Error unless `condition` holds; the message is built only then.
#define TS_CHECK(condition, ...)                                                   \
  do {                                                                             \
    if (!(condition)) [[unlikely]]                                                 \
      ::tessera::detail::fail_check(std::source_location::current(), __VA_ARGS__); \
  } while (false)
