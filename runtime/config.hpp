#pragma once

#include <concepts>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "tessera/runtime/device.hpp"
#include "tessera/runtime/dtype.hpp"
#include "tessera/runtime/io/json.hpp"

/// Settings are plain structs with defaults and one `visit` that names their members:
///
///     struct Options {
///       double lr = 0.01;
///       std::vector<int> hidden{16};
///       Model model = Model::gcn;
///       Adam adam;  // a struct with a visit of its own; its members have the keys adam.beta1, ...
///       static void visit(auto& self, auto&& f) {
///         f("lr", self.lr, "learning rate", Bounds::at_least(0));
///         f("hidden", self.hidden, "widths of the hidden layers", Bounds::at_least(1));
///         f("model", self.model, "mlp or gcn");
///         f("adam", self.adam);
///       }
///     };
///
/// A member is a bool, an integer, a floating-point number, a std::string, a vector of one of
/// these, another such struct, or any type with a text form: `to_string(value)` and `parse(text,
/// value)`, found in the type's namespace; `parse` throws when the text names no value. Enums get
/// theirs from a list of names through `parse_enum`. A number, or each of a vector, may have
/// Bounds.
namespace tessera {

template <class T>
concept ConfigStruct = std::is_class_v<T> && requires(T& t) {
  T::visit(t, [](auto&&...) {});
};

template <class T>
concept TextValue = requires(T& value, std::string_view text) {
  {std::string(to_string(value))};
  parse(text, value);
};

enum class ConfigKind : uint8_t { boolean, integer, number, text };

/// Which numbers a setting may hold. Infinities and NaN lie outside any.
struct Bounds {
  double low = -std::numeric_limits<double>::infinity();
  double high = std::numeric_limits<double>::infinity();
  bool with_high = true;

  static constexpr Bounds finite() { return {}; }
  static constexpr Bounds at_least(double low) { return {.low = low}; }
  static constexpr Bounds between(double low, double high) { return {low, high}; }
  static constexpr Bounds up_to_below(double low, double high) { return {low, high, false}; }

  bool holds(double value) const;
};
/// "at least 1", "from 0 to below 1", "finite".
std::string to_string(const Bounds& bounds);

/// One setting with its type erased.
struct ConfigField {
  std::string key;  // dotted
  std::string help;
  std::optional<Bounds> bounds;
  ConfigKind kind;
  bool list;
  std::function<Json()> get;
  std::function<void(const Json&)> set;  // throws invalid_argument, without naming the key
};

/// The name of `names` that `text` was most likely meant to be, or "" when none is near.
std::string_view nearest_name(std::string_view text, std::span<const std::string_view> names);

/// The position of `text` in `names`; throws naming all of them and the nearest one.
size_t find_name(std::string_view text, std::span<const std::string_view> names);

/// `parse` for an enum whose values 0, 1, ... have these names.
template <class E>
void parse_enum(std::string_view text, std::span<const std::string_view> names, E& value) {
  value = static_cast<E>(find_name(text, names));
}

inline void parse(std::string_view text, DType& value) { value = parse_dtype(text); }
inline void parse(std::string_view text, Device& value) { value = parse_device(text); }

namespace detail {

Json number_to_json(double value);
Json number_to_json(float value);
bool bool_from_json(const Json& json);
double number_from_json(const Json& json);
/// An integer in [low, high], in two's complement.
uint64_t integer_from_json(const Json& json, int64_t low, uint64_t high);
const std::string& text_from_json(const Json& json);
const Json::Array& list_from_json(const Json& json);

template <class T>
inline constexpr bool is_vector = false;
template <class T>
inline constexpr bool is_vector<std::vector<T>> = true;

template <class T>
consteval ConfigKind config_kind() {
  if constexpr (std::same_as<T, bool>)
    return ConfigKind::boolean;
  else if constexpr (std::integral<T>)
    return ConfigKind::integer;
  else if constexpr (std::floating_point<T>)
    return ConfigKind::number;
  else
    return ConfigKind::text;
}

template <class T>
Json config_to_json(const T& value) {
  if constexpr (is_vector<T>) {
    Json::Array items;
    for (const auto& item : value) items.push_back(config_to_json<typename T::value_type>(item));
    return Json(std::move(items));
  } else if constexpr (std::same_as<T, bool> || std::same_as<T, std::string>) {
    return Json(value);
  } else if constexpr (std::unsigned_integral<T>) {
    return value <= uint64_t{INT64_MAX} ? Json(static_cast<int64_t>(value)) : Json(uint64_t{value});
  } else if constexpr (std::integral<T>) {
    return Json(int64_t{value});
  } else if constexpr (std::floating_point<T>) {
    return number_to_json(value);
  } else {
    static_assert(TextValue<T>, "a config member needs a visit, or to_string and parse");
    return Json(std::string(to_string(value)));
  }
}

template <class T>
void config_from_json(const Json& json, T& value) {
  if constexpr (is_vector<T>) {
    T items;
    for (const Json& item : list_from_json(json)) {
      typename T::value_type element{};
      config_from_json(item, element);
      items.push_back(std::move(element));
    }
    value = std::move(items);
  } else if constexpr (std::same_as<T, bool>) {
    value = bool_from_json(json);
  } else if constexpr (std::integral<T>) {
    using Limits = std::numeric_limits<T>;
    value = static_cast<T>(integer_from_json(json, std::is_signed_v<T> ? Limits::min() : 0,
                                             static_cast<uint64_t>(Limits::max())));
  } else if constexpr (std::floating_point<T>) {
    value = static_cast<T>(number_from_json(json));
  } else if constexpr (std::same_as<T, std::string>) {
    value = text_from_json(json);
  } else {
    parse(std::string_view(text_from_json(json)), value);
  }
}

template <class T>
ConfigField config_field(std::string key, T& value, std::string_view help,
                         const std::optional<Bounds>& bounds) {
  using Element = typename std::conditional_t<is_vector<T>, T, std::vector<T>>::value_type;
  return {std::move(key),
          std::string(help),
          bounds,
          config_kind<Element>(),
          is_vector<T>,
          [&value] { return config_to_json(value); },
          [&value](const Json& json) { config_from_json(json, value); }};
}

template <ConfigStruct C>
void append_fields(const std::string& prefix, C& config, std::vector<ConfigField>& out) {
  C::visit(config, [&]<class T>(std::string_view name, T& member, std::string_view help = {},
                                const std::optional<Bounds>& bounds = {}) {
    const std::string key = prefix + std::string(name);
    if constexpr (ConfigStruct<T>)
      append_fields(key + ".", member, out);
    else
      out.push_back(config_field(key, member, help, bounds));
  });
}

void set_from_json(std::span<const ConfigField> fields, std::string_view text,
                   std::string_view name);
void set_from_file(std::span<const ConfigField> fields, const std::string& path);
void set_from_assignment(std::span<const ConfigField> fields, std::string_view assignment);
Json fields_to_json(std::span<const ConfigField> fields);
std::string describe_fields(std::span<const ConfigField> fields);
std::string hash_fields(std::span<const ConfigField> fields);
std::string difference_of_fields(std::span<const ConfigField> a, std::span<const ConfigField> b);

template <ConfigStruct C, class Change>
void change_config(C& config, const Change& change) {
  C changed = config;  // an error half way leaves `config` as it was
  std::vector<ConfigField> fields;
  append_fields({}, changed, fields);
  change(fields);
  config = std::move(changed);
}

template <ConfigStruct C>
auto read_config(C config, auto read) {
  std::vector<ConfigField> fields;
  append_fields({}, config, fields);
  return read(fields);
}

}  // namespace detail

/// Sets the members that a JSON file names, objects being nested structs; the others keep their
/// values. Unknown and repeated keys and values of the wrong type are errors that name the file and
/// the key.
template <ConfigStruct C>
void load_config(C& config, const std::string& path) {
  detail::change_config(config, [&](const auto& fields) { detail::set_from_file(fields, path); });
}

/// The same from JSON text; `name` stands for the file in errors.
template <ConfigStruct C>
void parse_config(C& config, std::string_view json, std::string_view name) {
  detail::change_config(config,
                        [&](const auto& fields) { detail::set_from_json(fields, json, name); });
}

/// One override `key=value`, e.g. "adam.beta1=0.8", "hidden=64,64" or "hidden=[64, 64]".
template <ConfigStruct C>
void set_config(C& config, std::string_view assignment) {
  detail::change_config(
      config, [&](const auto& fields) { detail::set_from_assignment(fields, assignment); });
}

/// All settings as nested objects, in the order of `visit`.
template <ConfigStruct C>
Json config_json(const C& config) {
  return detail::read_config(config,
                             [](const auto& fields) { return detail::fields_to_json(fields); });
}

/// One line per setting: key, value, help and bounds.
template <ConfigStruct C>
std::string describe_config(const C& config) {
  return detail::read_config(config,
                             [](const auto& fields) { return detail::describe_fields(fields); });
}

/// Sixteen hexadecimal digits that identify the names and values of all settings (FNV-1a of their
/// JSON).
template <ConfigStruct C>
std::string config_hash(const C& config) {
  return detail::read_config(config,
                             [](const auto& fields) { return detail::hash_fields(fields); });
}

/// The settings in which b differs from a, "hidden: 16 -> 8, runs: 100 -> 10"; "" when none does.
template <ConfigStruct C>
std::string config_difference(const C& a, const C& b) {
  return detail::read_config(a, [&](const auto& of_a) {
    return detail::read_config(
        b, [&](const auto& of_b) { return detail::difference_of_fields(of_a, of_b); });
  });
}

}  // namespace tessera
