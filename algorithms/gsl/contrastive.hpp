#pragma once

#include "tessera/algorithms/gsl/learning.hpp"

/// Node embeddings without labels, by contrast of two damaged views of a graph (Zhu et al. 2020,
/// "Deep Graph Contrastive Representation Learning", GRACE).
namespace tessera::algorithms::gsl {

struct ContrastiveOptions {
  int64_t hidden = 64;  // of both layers, and the embedding's width
  int64_t epochs = 200;
  double learning_rate = 0.001;
  double weight_decay = 1e-5;
  double temperature = 0.5;
  double edge_drop1 = 0.2, edge_drop2 = 0.4;
  double feature_drop1 = 0.3, feature_drop2 = 0.4;
  int64_t batch = 1024;

  static void visit(auto& self, auto&& f) {
    f("hidden", self.hidden, "width of the embedding", Bounds::at_least(1));
    f("epochs", self.epochs, "full-batch Adam steps", Bounds::at_least(1));
    f("lr", self.learning_rate, "learning rate", Bounds::at_least(0));
    f("weight_decay", self.weight_decay, "L2 penalty", Bounds::at_least(0));
    f("temperature", self.temperature, "of the contrast", Bounds::at_least(1e-3));
    f("edge_drop1", self.edge_drop1, "of the first view", Bounds::up_to_below(0, 1));
    f("edge_drop2", self.edge_drop2, "of the second view", Bounds::up_to_below(0, 1));
    f("feature_drop1", self.feature_drop1, "columns masked, first view", Bounds::up_to_below(0, 1));
    f("feature_drop2", self.feature_drop2, "columns masked, second view",
      Bounds::up_to_below(0, 1));
    f("batch", self.batch, "nodes contrasted with each other in an epoch", Bounds::at_least(2));
  }
};

/// Embeddings f32 [nodes, hidden]: relu(A_s relu(A_s X W0) W1) after training with the mean over a
/// batch of nodes i, both ways round, of
///
///   -log exp(c(u_i, v_i)) / (sum_j exp(c(u_i, v_j)) + sum_{j != i} exp(c(u_i, u_j)))
///
/// c the cosine over the temperature, u and v what a perceptron of one hidden layer (elu) makes of
/// the embeddings of two views. A view masks columns of X and drops entries of A, scaled up by the
/// share that stays. Batches are drawn anew in every epoch, so that no N x N matrix arises.
Tensor contrastive_embedding(const Problem& problem, const ContrastiveOptions& options,
                             const Rng& rng);

}  // namespace tessera::algorithms::gsl
