#pragma once

#include <string_view>

#include "tessera/algorithms/gsl/contrastive.hpp"
#include "tessera/algorithms/gsl/views.hpp"

/// What structures are built from.
namespace tessera::algorithms::gsl {

enum class Base : uint8_t {
  x,    // the features
  ax,   // A_s X
  mlp,  // hidden activations of an MLP trained on the labels of the training nodes
  gcn,  // the same of a GCN
  gcl,  // embeddings by contrast, which see no labels
};
std::string_view to_string(Base base);
void parse(std::string_view text, Base& base);

/// f32 [nodes, width] on the problem's device: one for all splits, or of trained bases one for each
/// of them, from the epoch that is best on validation nodes. Networks that are trained have two
/// layers.
std::vector<Tensor> make_bases(Base base, const Problem& problem,
                               std::span<const models::Split> splits,
                               const LearningOptions& learning,
                               const ContrastiveOptions& contrastive, std::span<const Rng> rngs);

/// Accuracies of one network for each split and, where asked, the representation and the logits of
/// every node in each: those of the best epoch. Side by side where `splits` are more than one. `x`
/// stands for the problem's features.
struct Trained {
  std::vector<Scores> scores;
  std::vector<Tensor> representations, logits;
};
Trained train_network(const Problem& problem, const models::NodeFeatures& x, const Views& views,
                      Backbone backbone, Fusion fusion, double weight,
                      std::span<const models::Split> splits, const LearningOptions& learning,
                      std::span<const Rng> rngs, bool with_representations = false);

}  // namespace tessera::algorithms::gsl
