#pragma once

#include <functional>

#include "tessera/algorithms/eigensr/tiling.hpp"

/// Super-resolution of a hyperspectral image by a network that knows one channel, with EigenSR's
/// iterative spectral regularisation.
namespace tessera::algorithms::eigensr {

/// MATLAB's imresize(.., 'bicubic') of a cube f32 [rows, columns, bands] and of planes f32 [n,
/// rows, columns], antialiased where it shrinks.
Tensor resized_cube(const Tensor& cube, int64_t rows, int64_t columns);
Tensor resized_planes(const Tensor& planes, int64_t rows, int64_t columns);

/// Bicubic interpolation as an operator: what networks are compared with.
Upscaler bicubic(int64_t scale);

struct Regularisation {
  int64_t iterations = 5;  // T
  double beta = 0.8;       // weight of the newest estimate in the running average
  double rank = 0.5;       // eigenimages: a share of the bands, a number, 0: all

  static void visit(auto& self, auto&& f) {
    f("iterations", self.iterations, "T, passes with another orientation and a newer basis",
      Bounds::between(1, 1000));
    f("beta", self.beta, "weight of the newest estimate", Bounds::between(0, 1));
    f("rank", self.rank, "eigenimages: a share of the bands below 1, a number, or 0 for all",
      Bounds::at_least(0));
  }
};

/// Y of X [rows, columns, bands] f32, [scale rows, scale columns, bands]. With Z = X at first, then
/// for k = 1 .. T
///
///   V = spectral basis of Z,  E = X V_R,  E' = G_k^-1 upscale(G_k E),  Y = E' V_R',
///   Z = beta Y + (1 - beta) Z   (for k = 1, beta Y + (1 - beta) bicubic(X))
///
/// G_k is the (k mod 7)-th of dihedral_group; the result is Z, or Y when T = 1. `on_pass` is told
/// the number of passes done.
Tensor super_resolve(const Tensor& cube, int64_t scale, const Regularisation& options,
                     const Upscaler& upscale, const std::function<void(int64_t)>& on_pass = {});

}  // namespace tessera::algorithms::eigensr
