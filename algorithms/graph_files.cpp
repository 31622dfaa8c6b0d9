#include "tessera/algorithms/graph_files.hpp"

#include <algorithm>
#include <filesystem>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/io/npy.hpp"

namespace tessera::algorithms {

std::vector<std::string> graph_files(const std::string& data, std::vector<std::string>& notes) {
  if (!std::filesystem::is_directory(data)) return {data};
  std::vector<std::string> archives, graphs;
  for (const auto& entry : std::filesystem::directory_iterator(data))
    if (entry.path().extension() == ".npz") archives.push_back(entry.path().string());
  std::sort(archives.begin(), archives.end());
  for (const std::string& path : archives) {
    const Npz archive(path);
    if (archive.contains("edges") || archive.contains("labels"))
      graphs.push_back(path);
    else
      notes.push_back(concat(path, ": no graph, it has neither 'edges' nor 'labels'"));
  }
  if (graphs.empty())
    throw Error(ErrorKind::io,
                concat(data, ": no .npz file here has 'edges' and 'labels' of a graph"));
  return graphs;
}

}  // namespace tessera::algorithms
