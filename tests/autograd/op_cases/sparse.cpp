// Sparse products, edges, segments.
#include "tessera/tests/autograd/op_cases.hpp"

namespace tessera::test {

using namespace autograd;

namespace {

// 5 rows, 4 columns: an empty row (2), an empty column (1), entries out of order.
SparseMatrix rectangle(const Var& like) {
  const Tensor row_ptr = Tensor::from({0, 2, 3, 3, 6, 7}, {6}, like.device());
  const Tensor col = Tensor::from({3, 0, 2, 2, 0, 3, 0}, {7}, like.device());
  return SparseMatrix(CsrMatrix::from_parts(5, 4, row_ptr, col, constant(like, {7}, 5)));
}
// A symmetric graph of 4 nodes that says so.
SparseMatrix triangle_graph(const Var& like) {
  const Tensor row_ptr = Tensor::from({0, 2, 4, 6, 6}, {5}, like.device());
  const Tensor col = Tensor::from({1, 2, 0, 2, 0, 1}, {6}, like.device());
  CsrMatrix m = CsrMatrix::from_parts(4, 4, row_ptr, col, constant(like, {6}, 5, 0.5, 0.5));
  m.symmetric = true;
  return SparseMatrix(m);
}

// Patterns with factors of their rows and columns in place of values.
SparseMatrix scaled_rectangle(const Var& like) {
  const Tensor row_ptr = Tensor::from({0, 2, 3, 3, 6, 7}, {6}, like.device());
  const Tensor col = Tensor::from({3, 0, 2, 2, 0, 3, 0}, {7}, like.device());
  return SparseMatrix(CsrMatrix::from_parts(5, 4, row_ptr, col))
      .scaled(Tensor::from({0.5, 2.0, -1.0, 1.5, 0.25}, {5}, like.device()),
              Tensor::from({1.0, -0.5, 2.0, 0.75}, {4}, like.device()));
}
SparseMatrix scaled_triangle(const Var& like, bool alike) {
  const Tensor row_ptr = Tensor::from({0, 2, 4, 6, 6}, {5}, like.device());
  const Tensor col = Tensor::from({1, 2, 0, 2, 0, 1}, {6}, like.device());
  CsrMatrix m = CsrMatrix::from_parts(4, 4, row_ptr, col);
  m.symmetric = true;
  const Tensor rows = Tensor::from({0.5, 2.0, -1.0, 1.5}, {4}, like.device());
  return SparseMatrix(m).scaled(rows, alike ? rows : Tensor());
}

// Six nodes of four different kinds; one without features.
SimilarityGraph similar_nodes(const Var& like, const SimilarityOptions& options, int turn = 0) {
  const std::vector<double> counts[] = {{1, 2}, {2, 1}, {1, 2}, {0, 0}, {0, 3}, {2, 1}};
  std::vector<double> features;
  for (int i = 0; i < 6; ++i) {
    const auto& row = counts[(i + turn) % 6];
    features.insert(features.end(), row.begin(), row.end());
  }
  return SimilarityGraph(from_doubles(features, {6, 2}, DType::f64), options, like.device());
}
SimilarityGraph scaled_similar_nodes(const Var& like) {
  return similar_nodes(like, {.least = 0.85})
      .scaled(Tensor::from({0.5, 2.0, -1.0, 1.5, 0.25, 1.0}, {6}, like.device()),
              Tensor::from({1.0, -0.5, 2.0, 0.75, 1.0, 0.5}, {6}, like.device()));
}

}  // namespace

void add_sparse_cases(OpCases& cases) {
  cases.product_case("spmm", {{{4, 3}}}, [](Inputs x) { return spmm(rectangle(x[0]), x[0]); });
  cases.product_case("spmm/symmetric", {{{4, 3}}},
                     [](Inputs x) { return spmm(triangle_graph(x[0]), x[0]); });
  cases.product_case("spmm/transposed", {{{5, 3}}},
                     [](Inputs x) { return spmm(rectangle(x[0]).transposed(), x[0]); });
  cases.product_case("spmm/scaled", {{{4, 3}}},
                     [](Inputs x) { return spmm(scaled_rectangle(x[0]), x[0]); });
  cases.product_case("spmm/scaled_transposed", {{{5, 3}}},
                     [](Inputs x) { return spmm(scaled_rectangle(x[0]).transposed(), x[0]); });
  cases.product_case("spmm/scaled_symmetric", {{{4, 3}}},
                     [](Inputs x) { return spmm(scaled_triangle(x[0], true), x[0]); });
  cases.product_case("spmm/scaled_rows", {{{4, 2, 3}}},
                     [](Inputs x) { return spmm(scaled_triangle(x[0], false), x[0]); });
  cases.product_case("spmm/heads", {{{4, 2, 3}}},
                     [](Inputs x) { return spmm(rectangle(x[0]), x[0]); });
  cases.product_case("spmm/values", {{{7}}, {{4, 3}}},
                     [](Inputs x) { return spmm(rectangle(x[0]), x[0], x[1]); });
  cases.product_case("spmm/values_heads", {{{7, 2}}, {{4, 2, 3}}},
                     [](Inputs x) { return spmm(rectangle(x[0]), x[0], x[1]); });
  cases.product_case("spmm/values_transposed", {{{7}}, {{5, 3}}},
                     [](Inputs x) { return spmm(rectangle(x[0]).transposed(), x[0], x[1]); });
  cases.product_case("spmm/shared_values", {{{7}}, {{4, 2, 3}}},
                     [](Inputs x) { return spmm(rectangle(x[0]), x[0], x[1]); });
  cases.product_case("spmm/similarity", {{{6, 3}}},
                     [](Inputs x) { return spmm(similar_nodes(x[0], {.least = 0.85}), x[0]); });
  cases.product_case("spmm/similarity_scaled", {{{6, 2, 3}}},
                     [](Inputs x) { return spmm(scaled_similar_nodes(x[0]), x[0]); });
  cases.product_case("spmm/similarity_random", {{{6, 3}}}, [](Inputs x) {
    return spmm(
        similar_nodes(x[0], {.least = 0.5, .diagonal = 1, .keep = 0.6, .rng = {3, 0}}).symmetric(),
        x[0]);
  });
  cases.product_case("spmm/similarity_of_runs", {{{6, 2, 3}}}, [](Inputs x) {
    const SimilarityGraph runs[] = {
        similar_nodes(x[0], {.least = 0.85}).random_walk(),
        similar_nodes(x[0], {.least = 0.1, .below = 0.9, .diagonal = 0.5}, 2)};
    return spmm(runs, x[0]);
  });
  cases.product_case("sddmm", {{{5, 3}}, {{4, 3}}},
                     [](Inputs x) { return sddmm(rectangle(x[0]), x[0], x[1]); });
  cases.product_case("sddmm/heads", {{{5, 2, 3}}, {{4, 2, 3}}},
                     [](Inputs x) { return sddmm(rectangle(x[0]), x[0], x[1]); });
  cases.product_case("edge_add", {{{5}}, {{4}}},
                     [](Inputs x) { return edge_add(rectangle(x[0]), x[0], x[1]); });
  cases.product_case("edge_add/heads", {{{5, 2}}, {{4, 2}}},
                     [](Inputs x) { return edge_add(rectangle(x[0]), x[0], x[1]); });
  cases.product_case("edge_softmax", {{{7}}},
                     [](Inputs x) { return edge_softmax(rectangle(x[0]), x[0]); });
  cases.product_case("edge_softmax/heads", {{{7, 2}}},
                     [](Inputs x) { return edge_softmax(rectangle(x[0]), x[0]); });
  const auto attention = [&](const std::string& name, std::vector<OpCase::Input> inputs,
                             SparseMatrix (*pattern)(const Var&), EdgeAttentionOptions options) {
    cases.add_case({.name = "edge_attention" + name,
                    .inputs = std::move(inputs),
                    .fn = one([=](Inputs x) {
                      return edge_attention(pattern(x[0]), x[0], x[1], x[2], options);
                    }),
                    .half_error = 24,
                    .label = "edge_attention"});
  };
  attention("", {{{5, 2}}, {{4, 2}}, {{4, 2, 3}}}, rectangle, {});
  attention("/dropout", {{{4, 4}}, {{4, 4}}, {{4, 4, 2}}}, triangle_graph,
            {.slope = 0.1, .dropout = 0.4, .rng = {7, 3}});
  cases.product_case("aggregate_max", {{{4, 3}}},
                     [](Inputs x) { return aggregate_max(rectangle(x[0]), x[0]); });
  const auto offsets = [](const Var& x) { return Tensor::from({0, 2, 2, 5, 6}, {5}, x.device()); };
  cases.product_case("segment_sum", {{{6, 3}}},
                     [=](Inputs x) { return segment_sum(x[0], offsets(x[0])); });
  cases.product_case("segment_mean", {{{6, 3}}},
                     [=](Inputs x) { return segment_mean(x[0], offsets(x[0])); });
  cases.back().label = "segment_sum";
  cases.product_case("segment_max", {{{6, 3}}},
                     [=](Inputs x) { return segment_max(x[0], offsets(x[0])); });
  cases.back().label = "take_along";
  cases.product_case("segment_expand", {{{4, 3}}},
                     [=](Inputs x) { return segment_expand(x[0], offsets(x[0]), 6); });
}

}  // namespace tessera::test
