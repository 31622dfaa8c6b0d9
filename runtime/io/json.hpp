#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace tessera {

/// A JSON value. Objects keep the order of their members. Integers are int64_t where they fit,
/// uint64_t above that, double beyond both.
struct Json {
  using Array = std::vector<Json>;
  using Object = std::vector<std::pair<std::string, Json>>;

  using Value =
      std::variant<std::nullptr_t, bool, int64_t, uint64_t, double, std::string, Array, Object>;
  Value value;

  // Out of line: the variant's moves are large, and GCC 12 warns falsely where it inlines them.
  Json() noexcept;
  Json(Value initial) noexcept;
  Json(const Json& other);
  Json(Json&& other) noexcept;
  Json& operator=(Json other) noexcept;
  ~Json();

  template <class T>
  const T* get_if() const {
    return std::get_if<T>(&value);
  }
  template <class T>
  T* get_if() {
    return std::get_if<T>(&value);
  }
  /// The member `key` of an object; null when there is none or this is no object.
  const Json* find(std::string_view key) const;
  /// "null", "boolean", "integer", "number", "string", "array", "object"
  std::string_view type_name() const;
};

/// Parses UTF-8 text. Beyond the grammar it refuses repeated keys and nesting deeper than
/// `max_depth`. Errors are of kind `io` and name `name` and the byte.
Json parse_json(std::string_view text, std::string_view name, int max_depth = 64);

/// Compact for `indent` 0, else one member per line; doubles with the fewest digits that read back
/// the same. Throws invalid_argument for text that is not UTF-8 and numbers that are not finite.
std::string to_string(const Json& json, int indent = 0);

}  // namespace tessera
