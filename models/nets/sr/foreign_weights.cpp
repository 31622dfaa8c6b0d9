#include "tessera/models/nets/sr/foreign_weights.hpp"

#include "tessera/models/part.hpp"
#include "tessera/runtime/io/safetensors.hpp"

namespace tessera::models {
namespace {

bool is_low_rank(std::string_view path) { return path.find(".lora.") != path.npos; }

// The window's size says what a Swin layer's index is, whatever a file has.
bool is_index(std::string_view path) { return path.ends_with(".relative_position_index"); }

// Parts of SwinIR that are no part of its deep features; masks, which follow from sizes.
bool is_outside_swin(std::string_view name) {
  for (const std::string_view part :
       {"conv_first.", "conv_before_upsample.", "conv_up", "conv_hr.", "upsample.", "conv_last."})
    if (name.starts_with(part)) return true;
  return name.ends_with(".attn_mask") || is_index(name);
}

// What load_state is to see of a checkpoint, and the prefix of the body in it.
struct Foreign {
  NamedTensors& tensors;
  int64_t task;

  std::string prefix(const ConvBody&) const { return "body."; }
  std::string prefix(const TransformerBody&) const {
    tensors.erase("body.position_encoding.position_ids");
    const auto query = tensors.find("body.query_embed.weight");
    if (query != tensors.end() && query->second.rank() == 2) {
      const int64_t tasks = query->second.size(0);
      TS_CHECK(task >= 0 && task < tasks, "task ", task, " of the ", tasks,
               " of 'body.query_embed.weight'");
      query->second = query->second.narrow(0, task, 1);
    }
    return "body.";
  }
  std::string prefix(const SwinBody&) const {
    std::erase_if(tensors, [](const auto& entry) { return is_outside_swin(entry.first); });
    return "";
  }
};

template <class Load>
void from_file(const std::string& path, Load&& load) {
  NamedTensors tensors = read_safetensors(path).tensors;
  try {
    load(tensors);
  } catch (const Error& error) {
    throw Error(ErrorKind::io, concat(path, ": ", error.what()));
  }
}

}  // namespace

void load_foreign_body(GrayscaleSr& network, const std::string& path, int64_t task) {
  from_file(path, [&](NamedTensors& tensors) {
    std::visit(
        [&]<class Body>(Body& body) {
          const std::string prefix = Foreign{tensors, task}.prefix(body);
          Part<Body> imported{
              body, [](std::string_view name) { return !is_low_rank(name) && !is_index(name); }};
          load_state(imported, tensors, prefix);
          body = std::move(imported.whole);
        },
        network.body);
  });
}

void load_foreign_fine_tuning(GrayscaleSr& network, const std::string& path) {
  from_file(path, [&](const NamedTensors& tensors) {
    NamedTensors renamed;
    const std::string outer = "body.", both = "body.body.";
    for (const auto& [name, tensor] : tensors)
      renamed[name.starts_with(both) ? name.substr(outer.size()) : name] = tensor;
    Part<GrayscaleSr> imported{network, is_fine_tuned};
    load_state(imported, renamed);
    network = std::move(imported.whole);
  });
}

}  // namespace tessera::models
