#include "tessera/runtime/io/json.hpp"

#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "tessera/runtime/error.hpp"

namespace tessera {
namespace {

// Receives the events of nlohmann's parser, which itself does not recurse.
class TreeBuilder {
 public:
  TreeBuilder(std::string_view name, int max_depth) : name_(name), max_depth_(max_depth) {}

  Json take() { return std::move(root_); }

  bool null() { return add(Json()); }
  bool boolean(bool value) { return add(Json(value)); }
  bool number_integer(int64_t value) { return add(Json(value)); }
  bool number_unsigned(uint64_t value) {
    return value <= INT64_MAX ? add(Json(static_cast<int64_t>(value))) : add(Json(value));
  }
  bool number_float(double value, const std::string&) { return add(Json(value)); }
  bool string(std::string& value) { return add(Json(std::move(value))); }
  bool binary(nlohmann::json::binary_t&) { return false; }
  bool start_object(size_t) { return open(Json(Json::Object{})); }
  bool start_array(size_t) { return open(Json(Json::Array{})); }
  bool end_object() { return close(); }
  bool end_array() { return close(); }
  bool key(std::string& key) {
    if (!open_.back().keys.insert(key).second)
      throw Error(ErrorKind::io, concat(name_, ": JSON: the key \"", key, "\" is repeated"));
    key_ = std::move(key);
    return true;
  }
  bool parse_error(size_t byte, const std::string&, const nlohmann::json::exception& error) {
    std::string_view reason = error.what();
    if (const auto end = reason.find("] "); end != reason.npos) reason.remove_prefix(end + 2);
    throw Error(ErrorKind::io, concat(name_, ": JSON, byte ", byte, ": ", reason));
  }

 private:
  struct Open {
    Json* value;
    std::unordered_set<std::string> keys;
  };

  Json* place(Json&& value) {
    if (open_.empty()) return &(root_ = std::move(value));
    if (auto* array = open_.back().value->get_if<Json::Array>())
      return &array->emplace_back(std::move(value));
    auto& object = *open_.back().value->get_if<Json::Object>();
    return &object.emplace_back(std::move(key_), std::move(value)).second;
  }
  bool add(Json&& value) { return place(std::move(value)), true; }
  bool open(Json&& value) {
    if (static_cast<int>(open_.size()) >= max_depth_)
      throw Error(ErrorKind::io,
                  concat(name_, ": JSON nested deeper than ", max_depth_, " levels"));
    open_.push_back({place(std::move(value)), {}});
    return true;
  }
  bool close() { return open_.pop_back(), true; }

  std::string_view name_;
  int max_depth_;
  Json root_;
  std::vector<Open> open_;  // pointers stay valid: only the innermost container grows
  std::string key_;
};

void append_string(std::string& out, const std::string& text) {
  try {
    out += nlohmann::json(text).dump();
  } catch (const nlohmann::json::type_error&) {
    throw Error(ErrorKind::invalid_argument, "JSON: a string is not valid UTF-8");
  }
}

void append_line(std::string& out, int indent, int level) {
  if (indent > 0)
    out.append("\n").append(static_cast<size_t>(indent) * static_cast<size_t>(level), ' ');
}

void append_json(std::string& out, const Json& json, int indent, int level) {
  const auto items = [&](char begin, char end, const auto& range, const auto& append_item) {
    out += begin;
    bool first = true;
    for (const auto& item : range) {
      if (!std::exchange(first, false)) out += ',';
      append_line(out, indent, level + 1);
      append_item(item);
    }
    if (!range.empty()) append_line(out, indent, level);
    out += end;
  };
  std::visit(
      [&]<class T>(const T& value) {
        if constexpr (std::is_same_v<T, std::nullptr_t>) {
          out += "null";
        } else if constexpr (std::is_same_v<T, std::string>) {
          append_string(out, value);
        } else if constexpr (std::is_same_v<T, Json::Array>) {
          items('[', ']', value,
                [&](const Json& item) { append_json(out, item, indent, level + 1); });
        } else if constexpr (std::is_same_v<T, Json::Object>) {
          items('{', '}', value, [&](const auto& member) {
            append_string(out, member.first);
            out += indent > 0 ? ": " : ":";
            append_json(out, member.second, indent, level + 1);
          });
        } else {
          if constexpr (std::is_same_v<T, double>) {
            TS_CHECK(std::isfinite(value), "JSON has no way to write the number ", value);
          }
          detail::append(out, value);
        }
      },
      json.value);
}

}  // namespace

Json::Json() noexcept : value(nullptr) {}
Json::Json(Value initial) noexcept : value(std::move(initial)) {}
Json::Json(const Json& other) = default;
Json::Json(Json&& other) noexcept = default;
Json& Json::operator=(Json other) noexcept {
  value.swap(other.value);
  return *this;
}
Json::~Json() = default;

const Json* Json::find(std::string_view key) const {
  if (const auto* object = get_if<Object>())
    for (const auto& [name, member] : *object)
      if (name == key) return &member;
  return nullptr;
}

std::string_view Json::type_name() const {
  constexpr std::string_view names[] = {"null",   "boolean", "integer", "integer",
                                        "number", "string",  "array",   "object"};
  return names[value.index()];
}

Json parse_json(std::string_view text, std::string_view name, int max_depth) {
  TreeBuilder builder(name, max_depth);
  nlohmann::json::sax_parse(text.begin(), text.end(), &builder);
  return builder.take();
}

std::string to_string(const Json& json, int indent) {
  std::string out;
  append_json(out, json, indent, 0);
  return out;
}

}  // namespace tessera
