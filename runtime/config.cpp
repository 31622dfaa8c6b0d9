#include "tessera/runtime/config.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <numeric>

#include "tessera/runtime/io/mapped_file.hpp"

namespace tessera {
namespace {

[[noreturn]] void fail_type(std::string_view expected, const Json& json) {
  std::string found = to_string(json);
  if (found.size() > 60) found = found.substr(0, 57) + "...";
  throw Error(ErrorKind::invalid_argument, concat("expected ", expected, ", found ", found));
}

[[noreturn]] void fail_text(std::string_view expected, std::string_view text) {
  throw Error(ErrorKind::invalid_argument, concat("expected ", expected, ", found '", text, "'"));
}

// Insertions, deletions, substitutions and swaps of neighbours that lead from `a` to `b`.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before, above(b.size() + 1), row(b.size() + 1);
  std::iota(above.begin(), above.end(), size_t{0});
  for (size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({above[j] + 1, row[j - 1] + 1, above[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before = above;
    above = row;
  }
  return above.back();
}

std::string suggestion(std::string_view text, std::span<const std::string_view> names) {
  const std::string_view nearest = nearest_name(text, names);
  return nearest.empty() ? "" : concat("; did you mean '", nearest, "'?");
}

std::string_view name_of(ConfigKind kind) {
  switch (kind) {
    case ConfigKind::boolean:
      return "true or false";
    case ConfigKind::integer:
      return "an integer";
    case ConfigKind::number:
      return "a number";
    case ConfigKind::text:
      return "text";
  }
  return "";
}

template <class T>
bool parse_all(std::string_view text, T& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

Json item_from_text(std::string_view text, ConfigKind kind) {
  int64_t integer;
  uint64_t large;
  double number;
  switch (kind) {
    case ConfigKind::text:
      return Json(std::string(text));
    case ConfigKind::boolean:
      if (text == "true" || text == "1") return Json(true);
      if (text == "false" || text == "0") return Json(false);
      break;
    case ConfigKind::integer:
    case ConfigKind::number:
      if (parse_all(text, integer)) return Json(integer);
      if (parse_all(text, large)) return Json(large);
      if (parse_all(text, number)) return detail::number_to_json(number);
      break;
  }
  fail_text(name_of(kind), text);
}

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

Json value_from_text(std::string_view text, const ConfigField& field) {
  if (!field.list) return item_from_text(text, field.kind);
  if (text.starts_with('[')) return parse_json(text, "the list");
  Json::Array items;
  while (!text.empty()) {
    const auto comma = std::min(text.find(','), text.size());
    items.push_back(item_from_text(trim(text.substr(0, comma)), field.kind));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  return Json(std::move(items));
}

const ConfigField& find_field(std::span<const ConfigField> fields, std::string_view key) {
  std::vector<std::string_view> keys;
  std::string members;
  for (const ConfigField& field : fields) {
    if (field.key == key) return field;
    keys.push_back(field.key);
    if (field.key.starts_with(concat(key, ".")))
      members += (members.empty() ? "" : ", ") + field.key;
  }
  if (!members.empty())
    throw Error(ErrorKind::invalid_argument,
                concat("'", key, "' is a group of settings: ", members));
  std::string hint = suggestion(key, keys);
  if (hint.empty()) {
    hint = "; the settings are ";
    for (size_t i = 0; i < keys.size(); ++i) hint += concat(i ? ", " : "", keys[i]);
  }
  throw Error(ErrorKind::invalid_argument, concat("unknown setting '", key, "'", hint));
}

void check_bounds(const ConfigField& field, const Json& value) {
  if (const auto* items = value.get_if<Json::Array>()) {
    for (const Json& item : *items) check_bounds(field, item);
  } else if (!field.bounds->holds(detail::number_from_json(value))) {
    fail_type(concat(name_of(field.kind), ", ", to_string(*field.bounds)), value);
  }
}

void set_field(const ConfigField& field, const Json& value) {
  try {
    field.set(value);
    if (field.bounds) check_bounds(field, value);
  } catch (const Error& error) {
    throw Error(error.kind(), concat(field.key, ": ", error.what()));
  }
}

void set_members(std::span<const ConfigField> fields, const std::string& prefix,
                 const Json::Object& object) {
  for (const auto& [name, value] : object) {
    const std::string key = prefix + name;
    if (const auto* group = value.get_if<Json::Object>())
      set_members(fields, key + ".", *group);
    else
      set_field(find_field(fields, key), value);
  }
}

}  // namespace

bool Bounds::holds(double value) const {
  return std::isfinite(value) && value >= low && (with_high ? value <= high : value < high);
}

std::string to_string(const Bounds& bounds) {
  if (std::isfinite(bounds.high))
    return concat("from ", bounds.low, bounds.with_high ? " to " : " to below ", bounds.high);
  return std::isfinite(bounds.low) ? concat("at least ", bounds.low) : "finite";
}

std::string_view nearest_name(std::string_view text, std::span<const std::string_view> names) {
  std::string_view best;
  size_t best_distance = std::max<size_t>(text.size() / 3, 1) + 1;
  for (const std::string_view name : names) {
    size_t distance = edit_distance(text, name);
    // The last part of a dotted key alone is nearly right.
    if (const auto dot = name.rfind('.'); dot != name.npos)
      distance = std::min(distance, edit_distance(text, name.substr(dot + 1)));
    if (distance < best_distance) {
      best = name;
      best_distance = distance;
    }
  }
  return best;
}

size_t find_name(std::string_view text, std::span<const std::string_view> names) {
  std::string all;
  for (size_t i = 0; i < names.size(); ++i) {
    if (names[i] == text) return i;
    all += concat(i ? ", " : "", names[i]);
  }
  throw Error(ErrorKind::invalid_argument,
              concat("expected one of ", all, ", found '", text, "'", suggestion(text, names)));
}

namespace detail {

// JSON has no infinity and no NaN: these are text.
Json number_to_json(double value) {
  return std::isfinite(value) ? Json(value) : Json(concat(value));
}

Json number_to_json(float value) {
  double shortest = value;  // the decimal that a float prints as, not its 17 digits as a double
  parse_all(concat(value), shortest);
  return number_to_json(shortest);
}

bool bool_from_json(const Json& json) {
  if (const auto* value = json.get_if<bool>()) return *value;
  fail_type(name_of(ConfigKind::boolean), json);
}

double number_from_json(const Json& json) {
  if (const auto* value = json.get_if<double>()) return *value;
  if (const auto* value = json.get_if<int64_t>()) return static_cast<double>(*value);
  if (const auto* value = json.get_if<uint64_t>()) return static_cast<double>(*value);
  double special;
  const auto* text = json.get_if<std::string>();
  if (text && parse_all(*text, special) && !std::isfinite(special)) return special;
  fail_type(name_of(ConfigKind::number), json);
}

uint64_t integer_from_json(const Json& json, int64_t low, uint64_t high) {
  const auto check = [&](bool inside) {
    if (!inside) fail_type(concat("an integer from ", low, " to ", high), json);
  };
  if (const auto* value = json.get_if<uint64_t>()) {
    check(*value <= high);
    return *value;
  }
  const auto* integer = json.get_if<int64_t>();
  const auto* number = json.get_if<double>();  // 1e5 is a fine way to write an integer
  const bool whole = number && std::abs(*number) <= 0x1p53 && *number == std::trunc(*number);
  if (!integer && !whole) fail_type(name_of(ConfigKind::integer), json);
  const int64_t value = integer ? *integer : static_cast<int64_t>(*number);
  check(value >= low && (value < 0 || static_cast<uint64_t>(value) <= high));
  return static_cast<uint64_t>(value);
}

const std::string& text_from_json(const Json& json) {
  if (const auto* value = json.get_if<std::string>()) return *value;
  fail_type(name_of(ConfigKind::text), json);
}

const Json::Array& list_from_json(const Json& json) {
  if (const auto* value = json.get_if<Json::Array>()) return *value;
  fail_type("a list", json);
}

void set_from_json(std::span<const ConfigField> fields, std::string_view text,
                   std::string_view name) {
  const Json json = parse_json(text, name);
  const auto* object = json.get_if<Json::Object>();
  if (!object)
    throw Error(ErrorKind::io, concat(name, ": expected a JSON object, found ", json.type_name()));
  try {
    set_members(fields, {}, *object);
  } catch (const Error& error) {
    throw Error(error.kind(), concat(name, ": ", error.what()));
  }
}

void set_from_file(std::span<const ConfigField> fields, const std::string& path) {
  const auto bytes = MappedFile::open(path);
  const auto* text = reinterpret_cast<const char*>(bytes->bytes().data());
  set_from_json(fields, {text, bytes->bytes().size()}, path);
}

void set_from_assignment(std::span<const ConfigField> fields, std::string_view assignment) {
  const auto equals = assignment.find('=');
  TS_CHECK(equals != assignment.npos && equals > 0, "expected key=value, found '", assignment, "'");
  const ConfigField& field = find_field(fields, trim(assignment.substr(0, equals)));
  Json value;
  try {
    value = value_from_text(assignment.substr(equals + 1), field);
  } catch (const Error& error) {
    throw Error(ErrorKind::invalid_argument, concat(field.key, ": ", error.what()));
  }
  set_field(field, value);
}

Json fields_to_json(std::span<const ConfigField> fields) {
  Json root(Json::Object{});
  for (const ConfigField& field : fields) {
    Json* group = &root;
    std::string_view rest = field.key;
    for (auto dot = rest.find('.'); dot != rest.npos; dot = rest.find('.')) {
      auto& members = *group->get_if<Json::Object>();
      const std::string_view name = rest.substr(0, dot);
      if (members.empty() || members.back().first != name)
        members.emplace_back(name, Json(Json::Object{}));
      group = &members.back().second;
      rest.remove_prefix(dot + 1);
    }
    group->get_if<Json::Object>()->emplace_back(rest, field.get());
  }
  return root;
}

std::string describe_fields(std::span<const ConfigField> fields) {
  std::vector<std::string> values;
  size_t key_width = 0, value_width = 0;
  for (const ConfigField& field : fields) {
    const Json json = field.get();
    const auto* text = json.get_if<std::string>();
    values.push_back(text ? *text : to_string(json));
    key_width = std::max(key_width, field.key.size());
    value_width = std::max(value_width, values.back().size());
  }
  std::string out;
  for (size_t i = 0; i < fields.size(); ++i) {
    std::string line =
        fields[i].key + std::string(key_width - fields[i].key.size(), ' ') + " = " + values[i];
    std::string help = fields[i].help;
    if (fields[i].bounds) help += concat(help.empty() ? "" : "; ", to_string(*fields[i].bounds));
    if (!help.empty()) line += std::string(value_width - values[i].size() + 2, ' ') + help;
    out += line + "\n";
  }
  return out;
}

std::string hash_fields(std::span<const ConfigField> fields) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : to_string(fields_to_json(fields)))
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  std::string digits(16, '0');
  for (int i = 15; i >= 0; --i, hash >>= 4)
    digits[static_cast<size_t>(i)] = "0123456789abcdef"[hash & 15];
  return digits;
}

std::string difference_of_fields(std::span<const ConfigField> a, std::span<const ConfigField> b) {
  std::string all;
  for (size_t i = 0; i < a.size(); ++i) {
    const std::string before = to_string(a[i].get()), after = to_string(b[i].get());
    if (before != after)
      all += concat(all.empty() ? "" : ", ", a[i].key, ": ", before, " -> ", after);
  }
  return all;
}

}  // namespace detail
}  // namespace tessera
