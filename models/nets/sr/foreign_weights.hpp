#pragma once

#include <string>

#include "tessera/models/nets/sr/grayscale_sr.hpp"

/// Weights of other programs, in safetensors files under the names of their own checkpoints.
/// PyTorch writes them:
///
///   state = torch.load("IPT_sr2.pt")        # SwinIR: torch.load(..)["params"]
///   safetensors.torch.save_file({k: v.contiguous() for k, v in state.items()}, "ipt.safetensors")
///
/// All functions throw an `io` Error that names the file and a missing, an unexpected or a
/// misshapen entry, and then have changed nothing.
namespace tessera::models {

/// The body, by its kind, from the checkpoint of the network that it is the body of:
///
///   ConvBody         EDSR: "body.*"
///   TransformerBody  IPT: "body.*"; of `query_embed`, a row for each task, row `task`
///   SwinBody         SwinIR: "patch_embed.norm.*", "layers.*", "norm.*", "conv_after_body.*"
///
/// What else such a checkpoint holds (head, tail, masks) is left out. Low-rank updates that are
/// there stay.
void load_foreign_body(GrayscaleSr& network, const std::string& path, int64_t task = 0);

/// What EigenSR's fine-tuning saves: head, tail and low-rank updates, under "head.*", "tail.*" and
/// "body.body.*". The network must have updates where the file has.
void load_foreign_fine_tuning(GrayscaleSr& network, const std::string& path);

}  // namespace tessera::models
