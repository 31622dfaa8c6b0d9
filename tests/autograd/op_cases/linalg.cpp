// Factorisations and what is solved with them.
#include "tessera/tests/autograd/op_cases.hpp"

namespace tessera::test {

using namespace autograd;

namespace {

// Well conditioned and positive definite, as a function of any square matrix.
Var positive_definite(const Var& x) {
  const Var squares = gram(x);
  const int64_t n = x.size(-1);
  Values half_identity(at(n * n));
  for (int64_t i = 0; i < n; ++i) half_identity[at(i * n + i)] = 0.5;
  return squares + Var(from_doubles(half_identity, {n, n}, x.dtype()).to(x.device()));
}

}  // namespace

void add_linalg_cases(OpCases& cases) {
  const auto linalg_case = [&](std::string name, std::vector<OpCase::Input> inputs,
                               std::function<Vars(Inputs)> fn, std::string label = {}) {
    cases.add_case({.name = name,
                    .inputs = std::move(inputs),
                    .fn = std::move(fn),
                    .halves = false,
                    .label = label});
  };
  const auto spd = [](Inputs x) { return positive_definite(x[0]); };
  linalg_case("cholesky", {{{4, 4}}}, one([=](Inputs x) { return cholesky(spd(x)); }), "gram");
  linalg_case("cholesky/batched", {{{2, 3, 3}}}, one([=](Inputs x) { return cholesky(spd(x)); }),
              "gram");
  const auto triangular_case = [&](std::string name, TriangularSolveParams p) {
    linalg_case("triangular_solve" + name, {{{4, 4}, 0.5, 1.5}, {{4, 3}}},
                one([p](Inputs x) { return triangular_solve(x[0], x[1], p); }));
  };
  triangular_case("", {});
  triangular_case("/upper_unit", {.upper = true, .unit_diagonal = true});
  triangular_case("/transposed", {.transposed = true});
  triangular_case("/upper_transposed", {.upper = true, .transposed = true});
  linalg_case("solve", {{{4, 4}}, {{4, 3}}},
              one([=](Inputs x) { return solve(positive_definite(x[0]), x[1]); }), "gram");
  linalg_case("inverse", {{{3, 3}}}, one([=](Inputs x) { return inverse(spd(x)); }), "gram");
  linalg_case("logdet", {{{2, 3, 3}}}, one([=](Inputs x) { return logdet(spd(x)); }), "gram");
  cases.product_case("gram", {{{5, 3}}}, [](Inputs x) { return gram(x[0]); });
  linalg_case("qr", {{{5, 3}}}, [](Inputs x) {
    const QrResult f = qr(x[0]);
    return Vars{f.q, f.r};
  });
  linalg_case("eigh", {{{4, 4}}}, [](Inputs x) {
    const EighResult f = eigh(x[0]);
    return Vars{f.values, f.vectors};
  });
  linalg_case("svd", {{{5, 3}}}, [](Inputs x) {
    const SvdResult f = svd(x[0]);
    return Vars{f.u, f.s, f.v};
  });
  linalg_case("svd/wide", {{{3, 4}}}, [](Inputs x) {
    const SvdResult f = svd(x[0]);
    return Vars{f.u, f.s, f.v};
  });
}

}  // namespace tessera::test
