// Views, reductions, gather and scatter.
#include "tessera/tests/autograd/op_cases.hpp"

namespace tessera::test {

using namespace autograd;

void add_shape_cases(OpCases& cases) {
  // ---- shapes

  const auto view_case = [&](std::string name, std::function<Var(const Var&)> fn,
                             std::string label = {}) {
    cases.add_case({.name = name,
                    .inputs = {{{3, 4, 5}}},
                    .fn = one([fn](Inputs x) { return fn(x[0]); }),
                    .half_error = 1,
                    .label = label});
  };
  view_case("reshape", [](const Var& x) { return reshape(x, {6, -1}); });
  view_case("permute", [](const Var& x) { return permute(x, {2, 0, 1}); });
  view_case(
      "transpose", [](const Var& x) { return transpose(x, 0, -1); }, "permute");
  view_case(
      "squeeze",
      [](const Var& x) {
        return squeeze(reshape(x, {12, 1, 5}), 1);
      },
      "reshape");
  view_case(
      "unsqueeze", [](const Var& x) { return unsqueeze(x, 1); }, "reshape");
  view_case(
      "flatten", [](const Var& x) { return flatten(x, 1); }, "reshape");
  view_case(
      "narrow", [](const Var& x) { return narrow(x, 1, 1, 2); }, "slice");
  view_case("slice", [](const Var& x) { return slice(x, -1, 1, 5, 3); });
  view_case(
      "select", [](const Var& x) { return select(x, 1, 2); }, "slice");
  view_case("pad", [](const Var& x) { return pad(x, {0, 2, 1}, {3, 0, 1}); });
  view_case("flip", [](const Var& x) { return flip(x, 1); });
  view_case("broadcast_to", [](const Var& x) { return broadcast_to(x, {2, 3, 4, 5}); });
  view_case(
      "broadcast_to/axis",
      [](const Var& x) {
        return broadcast_to(narrow(x, 1, 0, 1), {3, 7, 5});
      },
      "slice");
  cases.add_case({.name = "split",
                  .inputs = {{{3, 7}}},
                  .fn =
                      [](Inputs x) {
                        const int64_t sizes[] = {2, 4, 1};
                        return split(x[0], 1, sizes);
                      },
                  .label = "slice"});
  cases.add_case({.name = "split/equal",
                  .inputs = {{{6, 2}}},
                  .fn = [](Inputs x) { return split(x[0], 0, 3); },
                  .label = "slice"});
  cases.add_case({.name = "concat",
                  .inputs = {{{3, 2}}, {{3, 5}}, {{3, 1}}},
                  .fn = one([](Inputs x) { return concat(x, 1); }),
                  .empty = {{0, 2}, {0, 5}, {0, 1}}});
  cases.add_case({.name = "concat/six",
                  .inputs = {{{1, 3}}, {{2, 3}}, {{1, 3}}, {{1, 3}}, {{2, 3}}, {{1, 3}}},
                  .fn = one([](Inputs x) { return concat(x, 0); })});
  cases.add_case({.name = "stack",
                  .inputs = {{{3, 4}}, {{3, 4}}},
                  .fn = one([](Inputs x) { return stack(x, 1); }),
                  .label = "concat"});

  // ---- reductions

  const auto reduction_case = [&](std::string name, std::function<Var(const Var&)> fn,
                                  std::string label = {}, std::vector<Shape> empty = {}) {
    cases.add_case({.name = name,
                    .inputs = {{{3, 5, 4}}},
                    .fn = one([fn](Inputs x) { return fn(x[0]); }),
                    .half_error = 12,
                    .label = label,
                    .empty = empty});
  };
  reduction_case("sum", [](const Var& x) { return sum(x); }, {}, {{0, 5, 4}});
  reduction_case("sum/axes", [](const Var& x) { return sum(x, {0, 2}); }, {}, {{0, 5, 4}});
  reduction_case("sum/keep", [](const Var& x) { return sum(x, {-2}, true); });
  reduction_case(
      "sum_to",
      [](const Var& x) {
        return sum_to(x, {5, 1});
      },
      "sum");
  reduction_case("mean", [](const Var& x) { return mean(x); });
  reduction_case("mean/axes", [](const Var& x) { return mean(x, {1}, true); });
  reduction_case(
      "variance",
      [](const Var& x) {
        return variance(x, {0, 1}, false, 1);
      },
      "mean");
  reduction_case(
      "variance/all", [](const Var& x) { return variance(x); }, "mean");
  reduction_case(
      "max", [](const Var& x) { return max(x, 1); }, "take_along");
  reduction_case(
      "max/all", [](const Var& x) { return max(x); }, "reshape");
  reduction_case(
      "min", [](const Var& x) { return min(x, -1, true); }, "take_along");
  reduction_case(
      "norm", [](const Var& x) { return norm(x, {2}); }, "square");
  reduction_case(
      "norm/all", [](const Var& x) { return norm(x); }, "square");
  reduction_case(
      "logsumexp", [](const Var& x) { return logsumexp(x, 1); }, "subtract");
  reduction_case("cumulative_sum", [](const Var& x) { return cumulative_sum(x, 1); }, {},
                 {{0, 5, 4}});
  cases.add_case({.name = "inner_product",
                  .inputs = {{{4, 9}}, {{4, 9}}},
                  .fn = one([](Inputs x) { return inner_product(x[0], x[1]); }),
                  .half_error = 12,
                  .empty = {{0, 3}, {0, 3}}});

  // ---- indexing

  cases.add_case({.name = "gather_rows",
                  .inputs = {{{6, 3}}},
                  .fn = one([](Inputs x) {
                    return gather_rows(x[0], index(x[0], {1, 5, 1, 0, 3, 1}, {2, 3}));
                  })});
  cases.add_case({.name = "gather_rows/vector",
                  .inputs = {{{6}}},
                  .fn = one([](Inputs x) {
                    return gather_rows(x[0], index(x[0], {1, 5, 1}, {3}));
                  })});
  cases.add_case({.name = "scatter_add_rows",
                  .inputs = {{{2, 3, 4}}},
                  .fn = one([](Inputs x) {
                    return scatter_add_rows(x[0], index(x[0], {1, 5, 1, 0, 3, 1}, {2, 3}), 7);
                  })});
  cases.add_case({.name = "take_along",
                  .inputs = {{{4, 5}}},
                  .fn = one([](Inputs x) {
                    return take_along(x[0], index(x[0], {1, 0, 4, 4, 2, 2, 3, 0}, {4, 2}), 1);
                  })});
  cases.add_case(
      {.name = "scatter_add_along",
       .inputs = {{{4, 2}}},
       .fn = one([](Inputs x) {
         return scatter_add_along(x[0], index(x[0], {1, 0, 4, 4, 2, 2, 3, 0}, {4, 2}), 1, 5);
       })});
  cases.add_case({.name = "masked_fill",
                  .inputs = {{{5, 7}}},
                  .fn = one([](Inputs x) {
                    return masked_fill(x[0], mask(x[0], {5, 7}, 9), 2.5);
                  }),
                  .label = "where"});
  cases.add_case({.name = "top_k",
                  .inputs = {{{4, 9}}},
                  .fn = one([](Inputs x) { return top_k(x[0], 3).first; }),
                  .label = "take_along"});
}

}  // namespace tessera::test
