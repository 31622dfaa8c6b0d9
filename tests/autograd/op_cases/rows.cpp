// Softmax, normalisation, losses.
#include "tessera/tests/autograd/op_cases.hpp"

namespace tessera::test {

using namespace autograd;

void add_rows_cases(OpCases& cases) {
  // ---- rows

  const auto row_case = [&](std::string name, std::function<Var(const Var&)> fn,
                            Shape empty = {0, 7}) {
    cases.add_case({.name = name,
                    .inputs = {{{5, 7}, -2, 2}},
                    .fn = one([fn](Inputs x) { return fn(x[0]); }),
                    .half_error = 12,
                    .empty = {empty}});
  };
  row_case("softmax", [](const Var& x) { return softmax(x); });
  row_case("softmax/axis", [](const Var& x) { return softmax(x, 0); }, {5, 0});
  cases.back().label = "permute";
  row_case("log_softmax", [](const Var& x) { return log_softmax(x); });
  row_case("log_softmax/axis", [](const Var& x) { return log_softmax(x, 0); }, {5, 0});
  cases.back().label = "permute";
  const auto norm_case = [&](std::string name, std::vector<OpCase::Input> inputs,
                             std::function<Var(Inputs)> fn, std::string label = {}) {
    cases.add_case({.name = name,
                    .inputs = std::move(inputs),
                    .fn = one(std::move(fn)),
                    .half_error = 24,
                    .label = label,
                    .shares_dtype = false});
  };
  norm_case("layer_norm", {{{5, 7}, -2, 2}, {{7}}, {{7}}},
            [](Inputs x) { return layer_norm(x[0], x[1], x[2]); });
  norm_case("layer_norm/plain", {{{2, 3, 5}, -2, 2}}, [](Inputs x) { return layer_norm(x[0]); });
  norm_case("layer_norm/beta", {{{5, 7}, -2, 2}, {{7}}},
            [](Inputs x) { return layer_norm(x[0], Var(), x[1]); });
  norm_case("rms_norm", {{{5, 7}, -2, 2}, {{7}}}, [](Inputs x) { return rms_norm(x[0], x[1]); });
  norm_case("rms_norm/plain", {{{5, 7}, -2, 2}}, [](Inputs x) { return rms_norm(x[0]); });
  norm_case("batch_norm", {{{4, 3, 2, 3}, -2, 2}, {{3}}, {{3}}},
            [](Inputs x) { return batch_norm(x[0], x[1], x[2]); });
  norm_case("batch_norm/rows", {{{9, 5}, -2, 2}, {{5}}, {{5}}},
            [](Inputs x) { return batch_norm(x[0], x[1], x[2]); });
  norm_case("batch_norm/plain", {{{4, 3, 2, 3}, -2, 2}}, [](Inputs x) { return batch_norm(x[0]); });
  norm_case("batch_norm/relu", {{{4, 3, 2, 3}, -2, 2}, {{3}}, {{3}}},
            [](Inputs x) { return batch_norm(x[0], x[1], x[2], {}, {}, {}, {.relu = true}); });
  const std::vector<OpCase::Input> with_residual{
      {{4, 3, 2, 3}, -2, 2}, {{3}}, {{3}}, {{4, 3, 2, 3}}};
  norm_case("batch_norm/residual", with_residual,
            [](Inputs x) { return batch_norm(x[0], x[1], x[2], {}, {}, {}, {.residual = x[3]}); });
  norm_case("batch_norm/relu of a sum", with_residual, [](Inputs x) {
    return batch_norm(x[0], x[1], x[2], {}, {}, {}, {.relu = true, .residual = x[3]});
  });
  // What reads a batch norm's result reads one that was computed again.
  norm_case("batch_norm/squared", with_residual, [](Inputs x) {
    const Var y = batch_norm(x[0], x[1], x[2], {}, {}, {}, {.relu = true, .residual = x[3]});
    return y * batch_norm(square(y), {}, x[2], {}, {}, {}, {.relu = true, .residual = y});
  });
  norm_case("batch_norm_inference", {{{4, 3, 2, 3}, -2, 2}, {{3}}, {{3}}}, [](Inputs x) {
    return batch_norm_inference(x[0], x[1], x[2], constant(x[0], {3}, 1),
                                constant(x[0], {3}, 2, 0.5, 2));
  });
  norm_case("batch_norm_inference/relu of a sum", with_residual, [](Inputs x) {
    return batch_norm_inference(x[0], x[1], x[2], constant(x[0], {3}, 1),
                                constant(x[0], {3}, 2, 0.5, 2), 1e-5,
                                {.relu = true, .residual = x[3]});
  });
  norm_case("group_norm", {{{2, 6, 3, 2}, -2, 2}, {{6}}, {{6}}},
            [](Inputs x) { return group_norm(x[0], 3, x[1], x[2]); });
  norm_case(
      "instance_norm", {{{2, 3, 4, 3}, -2, 2}, {{3}}, {{3}}},
      [](Inputs x) { return instance_norm(x[0], x[1], x[2]); }, "group_norm");

  // ---- losses

  const auto loss_case = [&](std::string name, std::function<Var(const Var&)> fn,
                             std::string label = {}) {
    cases.add_case({.name = name,
                    .inputs = {{{6, 5}, -2, 2}},
                    .fn = one([fn](Inputs x) { return fn(x[0]); }),
                    .half_error = 24,
                    .label = label});
  };
  const auto labels = [](const Var& x) { return index(x, {1, 0, 4, 2, 2, 3}, {6}); };
  const auto ignoring = [](const Var& x) { return index(x, {1, -100, 4, 2, -100, 3}, {6}); };
  const auto cross_entropy_case = [&](std::string name, std::function<Tensor(const Var&)> target,
                                      std::function<CrossEntropyOptions(const Var&)> options) {
    loss_case("cross_entropy" + name,
              [=](const Var& x) { return cross_entropy(x, target(x), options(x)); });
  };
  const auto plain = [](CrossEntropyOptions o) { return [o](const Var&) { return o; }; };
  cross_entropy_case("", labels, plain({}));
  cross_entropy_case("/smooth_sum", labels,
                     plain({.label_smoothing = 0.1, .reduction = LossReduction::sum}));
  cross_entropy_case("/ignore", ignoring, plain({.label_smoothing = 0.2}));
  cross_entropy_case("/none", labels, plain({.reduction = LossReduction::none}));
  cross_entropy_case("/weights", labels, [](const Var& x) {
    return CrossEntropyOptions{.label_smoothing = 0.1,
                               .class_weights = constant(x, {5}, 7, 0.5, 2)};
  });
  cross_entropy_case("/mask", labels,
                     [](const Var& x) { return CrossEntropyOptions{.rows = mask(x, {6}, 11)}; });
  cross_entropy_case("/rows", labels, [](const Var& x) {
    return CrossEntropyOptions{.rows = index(x, {3, 0, 3}, {3})};
  });
  cross_entropy_case("/rows_none", labels, [](const Var& x) {
    return CrossEntropyOptions{.reduction = LossReduction::none, .rows = index(x, {3, 0, 3}, {3})};
  });
  cross_entropy_case(
      "/probabilities",
      [](const Var& x) {
        return softmax(constant(x, {6, 5}, 21)).value();
      },
      plain({.label_smoothing = 0.1}));
  const auto bce_case = [&](std::string name,
                            std::function<BinaryCrossEntropyOptions(const Var&)> options) {
    loss_case(
        "binary_cross_entropy_with_logits" + name,
        [=](const Var& x) {
          return binary_cross_entropy_with_logits(x, constant(x, {6, 5}, 31, 0, 1), options(x));
        },
        "binary_cross_entropy");
  };
  bce_case("", [](const Var&) { return BinaryCrossEntropyOptions{}; });
  bce_case("/weights_sum", [](const Var& x) {
    return BinaryCrossEntropyOptions{.reduction = LossReduction::sum,
                                     .positive_weights = constant(x, {5}, 8, 0.5, 2)};
  });
  bce_case("/rows", [](const Var& x) {
    return BinaryCrossEntropyOptions{.rows = index(x, {3, 0, 3}, {3})};
  });
  bce_case("/mask_none", [](const Var& x) {
    return BinaryCrossEntropyOptions{.reduction = LossReduction::none, .rows = mask(x, {6}, 11)};
  });
  loss_case(
      "nll_loss", [=](const Var& x) { return nll_loss(x, labels(x)); }, "take_along");
  const auto pair_case = [&](std::string name, std::function<Var(const Var&, const Var&)> fn) {
    cases.add_case({.name = name,
                    .inputs = {{{4, 5}, -2, 2}, {{4, 5}, -2, 2}},
                    .fn = one([fn](Inputs x) { return fn(x[0], x[1]); }),
                    .half_error = 24});
  };
  pair_case("mse_loss", [](const Var& x, const Var& t) { return mse_loss(x, t); });
  pair_case("l1_loss",
            [](const Var& x, const Var& t) { return l1_loss(x, t, LossReduction::sum); });
  pair_case("huber_loss",
            [](const Var& x, const Var& t) { return huber_loss(x, t, 0.6, LossReduction::none); });
  pair_case("kl_divergence", [](const Var& x, const Var& t) {
    return kl_divergence(log_softmax(x), log_softmax(t));
  });
  cases.back().label = "log_softmax";
}

}  // namespace tessera::test
