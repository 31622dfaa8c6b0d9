#pragma once

#include <string>

#include "tessera/runtime/io/mat.hpp"

namespace tessera {

/// The variables of one file.
class MatFile::Reader {
 public:
  explicit Reader(std::string name) : name_(std::move(name)) {}
  virtual ~Reader();

  const std::string& name() const { return name_; }
  const std::vector<Variable>& variables() const { return variables_; }
  /// A numeric variable, by its position.
  virtual Tensor load(size_t index) const = 0;

 protected:
  std::vector<Variable> variables_;

 private:
  std::string name_;
};

/// Of an HDF5 file; an `unsupported` Error without libmatio.
std::unique_ptr<MatFile::Reader> open_mat73(const std::string& path);

}  // namespace tessera
