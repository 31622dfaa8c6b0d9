#include "tessera/models/checkpoint.hpp"

#include <charconv>

#include "tessera/runtime/io/safetensors.hpp"

namespace tessera::models {
namespace {
constexpr std::string_view steps_key = "steps_done";
}

void Checkpoint::save(const std::string& path) const {
  auto with_steps = metadata;
  with_steps[std::string(steps_key)] = std::to_string(steps_done);
  save_safetensors(path, tensors, with_steps);
}

Checkpoint Checkpoint::load(const std::string& path) {
  Safetensors file = read_safetensors(path);
  Checkpoint c;
  const auto it = file.metadata.find(std::string(steps_key));
  const std::string text = it == file.metadata.end() ? "" : it->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), c.steps_done);
  if (error != std::errc() || end != text.data() + text.size() || c.steps_done < 0)
    throw Error(ErrorKind::io, concat(path, ": not a training checkpoint: metadata 'steps_done' is '", text, "'"));
  c.tensors = std::move(file.tensors);
  file.metadata.erase(std::string(steps_key));
  c.metadata = std::move(file.metadata);
  return c;
}

}  // namespace tessera::models
