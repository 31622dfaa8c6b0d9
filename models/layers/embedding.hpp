#pragma once

#include "tessera/models/module.hpp"

namespace tessera::models {

/// Rows of a table. weight [entries, width]; ids of any shape, i64 or i32 in [0, entries).
struct Embedding {
  Var weight;

  /// Standard normal times `stddev`.
  static Embedding make(int64_t entries, int64_t width, Rng& rng, double stddev = 1.0);
  Var operator()(const Tensor& ids) const;  // [ids..., width]

  static void visit(auto& self, auto&& f) { f("weight", self.weight); }
};

}  // namespace tessera::models
