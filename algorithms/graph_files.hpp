#pragma once

#include <string>
#include <vector>

namespace tessera::algorithms {

/// The graph files that `data` means: itself where it is a file; of a folder every .npz archive
/// with edges or labels, in the order of names. Archives that have neither are no graphs: a line
/// for each is added to `notes`. Throws when a folder has no graph.
std::vector<std::string> graph_files(const std::string& data, std::vector<std::string>& notes);

}  // namespace tessera::algorithms
