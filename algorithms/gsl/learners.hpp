#pragma once

#include <string_view>

#include "tessera/algorithms/gsl/learning.hpp"

/// Networks that learn their graph's structure while they are trained, by the methods' own recipes
/// as far as they fit sparse graphs: nowhere is there a matrix of all pairs of nodes. Every
/// function trains one network for one split; `task` are the settings of its GCN.
namespace tessera::algorithms::gsl {

enum class Learner : uint8_t { grcn, idgl, slaps, gen, gaug, nodeformer };
std::string_view to_string(Learner learner);
void parse(std::string_view text, Learner& learner);

struct Learned {
  Scores scores;
  /// Of the structure that was learned, at the best epoch: the share of the weight between nodes of
  /// one class, self-loops aside. NaN where structure has no edges of its own.
  double homophily = 0;
};

/// GRCN (Yu et al. 2020): e_i, the unit rows of A_s (tanh(A_s (X * d1)) * d2) with trained vectors
/// d1 and d2; each node chooses the k others of largest e_i . e_j, W holds those where positive; a
/// GCN on A + W + W' + I, normalised symmetrically.
struct GrcnOptions {
  TaskOptions task{.hidden = 32, .epochs = 300, .learning_rate = 0.005, .weight_decay = 5e-3};
  double graph_learning_rate = 0.001;
  int64_t k = 100;

  static void visit(auto& self, auto&& f) {
    f("task", self.task);
    f("graph_lr", self.graph_learning_rate, "learning rate of the structure", Bounds::at_least(0));
    f("k", self.k, "nodes that a node chooses", Bounds::at_least(1));
  }
};
Learned grcn(const Problem& problem, const models::Split& split, const GrcnOptions& options,
             const Rng& rng);

/// IDGL with anchors (Chen et al. 2020): R_is, the mean over heads h of cos(w_h * x_i, w_h * x_s)
/// where above `threshold`, for s of a random set of nodes drawn once; a GCN that propagates by
/// skip A_s + (1 - skip) P with P = D^-1 R L^-1 R', D and L the row and column sums of R. R is made
/// of X first, then again and again of the GCN's hidden layer, where P is update P_t + (1 - update)
/// P_1, until |R_t - R_t-1|^2 < tolerance |R_1|^2. The loss is that of the first structure and the
/// mean of the others, each cross-entropy + smoothness tr(X' (D - R L^-1 R') X) / n^2.
struct IdglOptions {
  TaskOptions task{.hidden = 16, .epochs = 300};
  int64_t anchors = 300;
  int64_t heads = 4;
  double threshold = 0;
  double skip = 0.8, update = 0.1;
  double smoothness = 0.2;
  int64_t iterations = 10;
  double tolerance = 4e-5;

  static void visit(auto& self, auto&& f) {
    f("task", self.task);
    f("anchors", self.anchors, "nodes that likeness is measured to", Bounds::at_least(1));
    f("heads", self.heads, "weighted cosines", Bounds::at_least(1));
    f("threshold", self.threshold, "below it a likeness counts as 0", Bounds::between(0, 1));
    f("skip", self.skip, "share of A", Bounds::between(0, 1));
    f("update", self.update, "share of the newest structure", Bounds::between(0, 1));
    f("smoothness", self.smoothness, "weight of that loss", Bounds::at_least(0));
    f("iterations", self.iterations, "structures at most", Bounds::at_least(1));
    f("tolerance", self.tolerance, "of the change that ends them", Bounds::at_least(0));
  }
};
Learned idgl(const Problem& problem, const models::Split& split, const IdglOptions& options,
             const Rng& rng);

/// SLAPS (Fatemi et al. 2021) with its diagonal generator: z_i = relu(x_i * d1) * d2, which starts
/// as x; each node chooses the k others of largest cosine, W = relu(cosine); the graph (W + W') / 2
/// + I, normalised symmetrically, with dropout. Beside the GCN of the task a second one restores
/// features of which a share was masked; its loss, times `denoising`, is added. 0/1 features: of
/// the ones 1 in `mask` and zeros as many times `zeros`, binary cross-entropy; others: of all
/// entries 1 in `mask`, squared error. A is not used.
struct SlapsOptions {
  TaskOptions task{.hidden = 32, .epochs = 2000};
  int64_t k = 20;
  double graph_learning_rate = 0.01;
  double graph_dropout = 0.25;
  int64_t denoising_hidden = 512;
  double denoising = 10;
  double mask = 10, zeros = 5;

  static void visit(auto& self, auto&& f) {
    f("task", self.task);
    f("k", self.k, "nodes that a node chooses", Bounds::at_least(1));
    f("graph_lr", self.graph_learning_rate, "of the structure and the denoising network",
      Bounds::at_least(0));
    f("graph_dropout", self.graph_dropout, "of edge weights", Bounds::up_to_below(0, 1));
    f("denoising_hidden", self.denoising_hidden, "width of that network", Bounds::at_least(1));
    f("denoising", self.denoising, "weight of its loss", Bounds::at_least(0));
    f("mask", self.mask, "one in so many features is masked", Bounds::at_least(1));
    f("zeros", self.zeros, "masked zeros for every masked one", Bounds::at_least(0));
  }
};
Learned slaps(const Problem& problem, const models::Split& split, const SlapsOptions& options,
              const Rng& rng);

/// GEN (Wang et al. 2021): a GCN is trained; the k nearest neighbours by cosine in X, in its hidden
/// layer and in its outputs, and A, are taken as noisy observations of one graph of a stochastic
/// block model with the predicted (of training nodes the known) classes, whose edges' probabilities
/// follow by expectation maximisation; those above `threshold` are the next graph, on which the GCN
/// is trained further; `iterations` times. See `block_posterior`.
struct GenOptions {
  TaskOptions task{.hidden = 16, .epochs = 200};
  int64_t k = 9;
  double threshold = 0.5;
  int64_t iterations = 50;
  double tolerance = 0.01;

  static void visit(auto& self, auto&& f) {
    f("task", self.task);
    f("k", self.k, "neighbours in each observation", Bounds::at_least(1));
    f("threshold", self.threshold, "of an edge's probability", Bounds::between(0, 1));
    f("iterations", self.iterations, "graphs", Bounds::at_least(1));
    f("tolerance", self.tolerance, "of probabilities, where maximisation ends",
      Bounds::at_least(1e-12));
  }
};
Learned gen(const Problem& problem, const models::Split& split, const GenOptions& options,
            const Rng& rng);

/// GAug-O (Zhao et al. 2021): a graph autoencoder scores pairs, M = relu(z_i . z_j) over the
/// largest of them; edges are drawn with probability alpha M + (1 - alpha) A by a relaxed Bernoulli
/// variable (straight through), the GCN is trained on the drawn graph and judged on A. Pairs are
/// those of A and the `candidates` nearest of every node in the pretrained embedding; the original
/// scores all. The loss adds `edge` times the cross-entropy of A on those pairs, positives weighted
/// as the rest.
struct GaugOptions {
  TaskOptions task{.hidden = 128, .epochs = 200};
  int64_t embedding_hidden = 128, embedding = 32;
  int64_t candidates = 20;
  double alpha = 1;
  double temperature = 1.2;
  double edge = 0.8;
  int64_t pretrain_edges = 160, pretrain_nodes = 30;

  static void visit(auto& self, auto&& f) {
    f("task", self.task);
    f("embedding_hidden", self.embedding_hidden, "of the autoencoder", Bounds::at_least(1));
    f("embedding", self.embedding, "of the autoencoder", Bounds::at_least(1));
    f("candidates", self.candidates, "pairs of a node beside A", Bounds::at_least(1));
    f("alpha", self.alpha, "share of the scores in probabilities", Bounds::between(0, 1));
    f("temperature", self.temperature, "of relaxed samples", Bounds::at_least(1e-3));
    f("edge", self.edge, "weight of the loss of edges", Bounds::at_least(0));
    f("pretrain_edges", self.pretrain_edges, "epochs", Bounds::at_least(0));
    f("pretrain_nodes", self.pretrain_nodes, "epochs", Bounds::at_least(0));
  }
};
Learned gaug(const Problem& problem, const models::Split& split, const GaugOptions& options,
             const Rng& rng);

/// NodeFormer (Wu et al. 2022): attention of every node to all nodes by positive random features of
/// the softmax kernel, keys multiplied with exp(Gumbel noise / tau) in training, mean of `samples`;
/// A_s times the values is added with a trained gate. Layers are residual and normalised. The loss
/// takes off `edge` times the mean over A's edges (i, j) of log p_ij / d_i, p_ij the attention.
struct NodeformerOptions {
  TaskOptions task{.hidden = 32, .dropout = 0.2, .epochs = 300, .weight_decay = 5e-3};
  int64_t layers = 2;
  int64_t features = 30;  // random ones
  int64_t samples = 10;
  double tau = 0.25;
  double edge = 1;

  static void visit(auto& self, auto&& f) {
    f("task", self.task);
    f("layers", self.layers, "of attention", Bounds::at_least(1));
    f("features", self.features, "random ones of the kernel", Bounds::at_least(1));
    f("samples", self.samples, "of Gumbel noise", Bounds::at_least(1));
    f("tau", self.tau, "temperature", Bounds::at_least(1e-2));
    f("edge", self.edge, "weight of the loss of edges", Bounds::at_least(0));
  }
};
Learned nodeformer(const Problem& problem, const models::Split& split,
                   const NodeformerOptions& options, const Rng& rng);

}  // namespace tessera::algorithms::gsl
