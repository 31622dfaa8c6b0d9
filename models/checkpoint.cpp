#include "tessera/models/checkpoint.hpp"

#include <charconv>

#include "tessera/runtime/io/safetensors.hpp"

namespace tessera::models {
namespace {

const std::string steps_key = "steps_done", optimizer_steps_key = "optimizer_steps";

// Takes a count out of the metadata.
int64_t take_count(std::map<std::string, std::string>& metadata, const std::string& key,
                   const std::string& path) {
  const auto it = metadata.find(key);
  const std::string text = it == metadata.end() ? "" : it->second;
  int64_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0)
    throw Error(ErrorKind::io,
                concat(path, ": not a training checkpoint: metadata '", key, "' is '", text, "'"));
  metadata.erase(it);
  return value;
}

}  // namespace

void Checkpoint::save(const std::string& path) const {
  auto all = metadata;
  all[steps_key] = std::to_string(steps_done);
  all[optimizer_steps_key] = std::to_string(optimizer_steps);
  save_safetensors(path, tensors, all);
}

Checkpoint Checkpoint::load(const std::string& path) {
  Safetensors file = read_safetensors(path);
  Checkpoint c;
  c.steps_done = take_count(file.metadata, steps_key, path);
  c.optimizer_steps = take_count(file.metadata, optimizer_steps_key, path);
  c.tensors = std::move(file.tensors);
  c.metadata = std::move(file.metadata);
  return c;
}

}  // namespace tessera::models
