#include "tessera/kernels/attention.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <memory>

#include "tessera/runtime/allocator.hpp"
#include "tessera/runtime/io/safetensors.hpp"
#include "tessera/tests/support/close.hpp"
#include "tessera/tests/support/target.hpp"

namespace tessera::kernels {
namespace {

using test::at;
using test::compute_dtype;
using test::expect_close;
using test::from_doubles;
using test::infinity;
using test::Threads;
using test::to_doubles;
using test::tolerance;
using test::Values;

// One call. Undefined tensors are left out; bias and mask broadcast to [..., queries, keys].
struct Case {
  Shape leading;
  int64_t queries, keys, dim, value_dim;
  Tensor bias = {}, mask = {}, key_lengths = {};
  AttentionParams params = {};

  Shape with(int64_t a, int64_t b) const {
    Shape s = leading;
    s.push_back(a), s.push_back(b);
    return s;
  }
};

struct Inputs {
  Tensor q, k, v, gy;
};
struct Result {
  Tensor y, lse, gq, gk, gv, gbias;
};

// The definition, step by step in double; gradients by the textbook formulas.
std::map<std::string, Values> reference(const Case& c, const Inputs& in) {
  const int64_t heads = c.leading.numel(), n = c.queries, m = c.keys;
  const Values q = to_doubles(in.q), k = to_doubles(in.k), v = to_doubles(in.v),
               gy = to_doubles(in.gy);
  const auto expanded = [&](const Tensor& t) {
    return t.defined() ? to_doubles(t.broadcast_to(c.with(n, m)).clone()) : Values();
  };
  const Values bias = expanded(c.bias), mask = expanded(c.mask);
  const Values lengths = c.key_lengths.defined()
                             ? to_doubles(c.key_lengths.broadcast_to(c.leading).clone())
                             : Values();
  std::map<std::string, Values> r;
  r["y"].resize(static_cast<size_t>(heads * n * c.value_dim));
  r["lse"].resize(static_cast<size_t>(heads * n));
  r["gq"].resize(q.size()), r["gk"].resize(k.size()), r["gv"].resize(v.size());
  r["gbias"].resize(static_cast<size_t>(heads * n * m));
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < n; ++i) {
      Values s(at(m)), kept(at(m), 1), dp(at(m));
      double sum = 0;
      for (int64_t j = 0; j < m; ++j) {
        for (int64_t d = 0; d < c.dim; ++d)
          s[at(j)] +=
              c.params.scale * q[at((h * n + i) * c.dim + d)] * k[at((h * m + j) * c.dim + d)];
        if (!bias.empty()) s[at(j)] += bias[at((h * n + i) * m + j)];
        if (!mask.empty() && mask[at((h * n + i) * m + j)] == 0) s[at(j)] = -infinity;
        if (!lengths.empty() && static_cast<double>(j) >= lengths[at(h)]) s[at(j)] = -infinity;
        if (c.params.causal && j - m > i - n) s[at(j)] = -infinity;
        sum += std::exp(s[at(j)]);
        if (c.params.dropout > 0) {
          const int64_t number = (h * n + i) * ((m + 3) / 4 * 4) + j;
          const auto block = Philox::generate(
              c.params.rng.seed, c.params.rng.offset + static_cast<uint64_t>(number / 4));
          kept[at(j)] =
              block.word[number % 4] < c.params.dropout * 0x1p32 ? 0 : 1 / (1 - c.params.dropout);
        }
      }
      r["lse"][at(h * n + i)] = std::log(sum);
      double delta = 0;
      for (int64_t j = 0; j < m; ++j) {
        s[at(j)] = sum > 0 ? std::exp(s[at(j)]) / sum : 0;
        for (int64_t d = 0; d < c.value_dim; ++d) {
          const double g = gy[at((h * n + i) * c.value_dim + d)],
                       x = v[at((h * m + j) * c.value_dim + d)];
          r["y"][at((h * n + i) * c.value_dim + d)] += s[at(j)] * kept[at(j)] * x;
          r["gv"][at((h * m + j) * c.value_dim + d)] += s[at(j)] * kept[at(j)] * g;
          dp[at(j)] += kept[at(j)] * g * x;
        }
        delta += s[at(j)] * dp[at(j)];
      }
      for (int64_t j = 0; j < m; ++j) {
        const double ds = s[at(j)] * (dp[at(j)] - delta);
        r["gbias"][at((h * n + i) * m + j)] = ds;
        for (int64_t d = 0; d < c.dim; ++d) {
          r["gq"][at((h * n + i) * c.dim + d)] +=
              c.params.scale * ds * k[at((h * m + j) * c.dim + d)];
          r["gk"][at((h * m + j) * c.dim + d)] +=
              c.params.scale * ds * q[at((h * n + i) * c.dim + d)];
        }
      }
    }
  return r;
}

class AttentionTest : public test::TargetTest {
 protected:
  static Inputs inputs(const Case& c, DType dtype, uint64_t seed) {
    return {test::uniform(c.with(c.queries, c.dim), dtype, seed),
            test::uniform(c.with(c.keys, c.dim), dtype, seed + 1),
            test::uniform(c.with(c.keys, c.value_dim), dtype, seed + 2),
            test::uniform(c.with(c.queries, c.value_dim), dtype, seed + 3)};
  }
  // gbias has the bias's own shape: a broadcast axis is summed.
  static Result run(const Case& c, const Inputs& in) {
    const DType dtype = in.q.dtype(), wide = compute_dtype(dtype);
    Shape lse_shape = c.leading;
    lse_shape.push_back(c.queries);
    Result r{empty(in.gy.shape(), dtype), empty(lse_shape, wide),     empty(in.q.shape(), dtype),
             empty(in.k.shape(), dtype),  empty(in.v.shape(), dtype), {}};
    AttentionMask mask;
    const Shape scores = c.with(c.queries, c.keys);
    const auto moved = [](const Tensor& t) { return t.defined() ? on_device(t) : t; };
    const Tensor q = moved(in.q), k = moved(in.k), v = moved(in.v), gy = moved(in.gy),
                 bias = moved(c.bias), sees = moved(c.mask), lengths = moved(c.key_lengths);
    View gbias;
    if (bias.defined()) {
      mask.bias = bias.broadcast_to(scores).view();
      r.gbias = empty(bias.shape(), wide);
      gbias = r.gbias.broadcast_to(scores).view();
    }
    if (sees.defined()) mask.mask = sees.broadcast_to(scores).view();
    if (lengths.defined()) mask.key_lengths = lengths.broadcast_to(c.leading).view();
    attention(stream(), q.view(), k.view(), v.view(), mask, c.params, r.y.view(), r.lse.view());
    attention_gradient(stream(), q.view(), k.view(), v.view(), mask, c.params, r.y.view(),
                       r.lse.view(), gy.view(), r.gq.view(), r.gk.view(), r.gv.view(), gbias);
    return r;
  }
  static void expect_match(const Case& c, uint64_t seed, const std::string& what) {
    const Inputs in = inputs(c, dtype(), seed);
    const Result r = run(c, in);
    std::map<std::string, Values> wanted = reference(c, in);
    const test::Tolerance once = tolerance(dtype()).times(4),
                          wide = tolerance(compute_dtype(dtype())).times(8);
    expect_close(r.y, wanted["y"], once, what + ": y");
    expect_close(r.lse, wanted["lse"], wide, what + ": lse");
    // y is an input of the gradient, rounded to the dtype
    const double rounding = is_half(dtype()) ? 4 * test::roundoff(dtype()) : once.atol;
    const test::Tolerance gradient{once.rtol * 2, std::max(once.atol * 4, rounding)};
    expect_close(r.gq, wanted["gq"], gradient, what + ": gq");
    expect_close(r.gk, wanted["gk"], gradient, what + ": gk");
    expect_close(r.gv, wanted["gv"], gradient, what + ": gv");
    if (!c.bias.defined()) return;
    const Values all = wanted["gbias"];
    Values summed(static_cast<size_t>(c.bias.numel()));
    std::vector<double> numbers(summed.size());
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = static_cast<double>(i);
    const Values owner = to_doubles(from_doubles(numbers, c.bias.shape(), DType::f64)
                                        .broadcast_to(c.with(c.queries, c.keys))
                                        .clone());
    for (size_t i = 0; i < all.size(); ++i) summed[static_cast<size_t>(owner[i])] += all[i];
    expect_close(r.gbias, summed, {gradient.rtol, gradient.atol * 8}, what + ": gbias");
  }
};

// Around every border: a vector, a tile of queries, a tile of keys, register tiles, padding of
// dims.
TEST_P(AttentionTest, MatchesTheDefinition) {
  uint64_t seed = 0;
  for (const Case& c :
       {Case{{2, 3}, 5, 7, 4, 6}, Case{{1}, 1, 1, 1, 1}, Case{{}, 3, 9, 8, 16},
        Case{{1, 2}, 64, 128, 16, 16}, Case{{1}, 65, 129, 17, 33}, Case{{2}, 197, 197, 64, 64},
        Case{{1}, 16, 300, 5, 3}, Case{{1, 1, 2, 1}, 130, 31, 48, 20}}) {
    for (const bool causal : {false, true}) {
      Case with = c;
      with.params = {.scale = 1.5 / std::sqrt(static_cast<double>(c.dim)), .causal = causal};
      expect_match(with, seed += 10,
                   concat(c.queries, " queries, ", c.keys, " keys, causal ", causal));
    }
  }
}

TEST_P(AttentionTest, Masks) {
  const auto bools = [](const Shape& shape, int seed) {
    Values v;
    test::Numbers next(static_cast<uint64_t>(seed));
    for (int64_t i = 0; i < shape.numel(); ++i) v.push_back(next() % 3 > 0);
    return from_doubles(v, shape, DType::bool_);
  };
  Case c{{2, 3}, 37, 150, 8, 8, {}, {}, {}, {.scale = 0.5}};
  uint64_t seed = 100;
  for (const Shape& shape :
       {Shape{2, 3, 37, 150}, Shape{2, 1, 1, 150}, Shape{1, 1, 37, 150}, Shape{1, 3, 37, 1}}) {
    Case biased = c, masked = c;
    biased.bias = test::uniform(shape, dtype(), seed);
    expect_match(biased, seed += 10, concat("bias ", shape));
    masked.mask = bools(shape, static_cast<int>(seed));
    expect_match(masked, seed += 10, concat("mask ", shape));
  }
  c.key_lengths = from_doubles({0, 1, 150, 129, 64, 7}, {2, 3}, DType::i64);
  expect_match(c, seed += 10, "lengths");
  c.key_lengths = from_doubles({3, 140}, {2, 1}, DType::i32);
  c.params.causal = true;
  c.bias = test::uniform({3, 37, 150}, compute_dtype(dtype()), seed).reshape({1, 3, 37, 150});
  c.mask = bools({2, 1, 1, 150}, 5);
  expect_match(c, seed + 10, "everything");
}

TEST_P(AttentionTest, Dropout) {
  Case c{{2, 2}, 21, 135, 8, 8, {}, {}, {}, {.scale = 0.5, .dropout = 0.3, .rng = {11, 77}}};
  expect_match(c, 300, "dropout");
  c.params.causal = true;
  c.bias = test::uniform({1, 2, 21, 135}, dtype(), 301);
  expect_match(c, 310, "dropout, causal, bias");
  EXPECT_EQ(attention_random_numbers(4, 21, 135), 4 * 21 * 136);

  const RngState origin{11, 70};
  const auto* bytes = reinterpret_cast<const uint8_t*>(&origin);
  const Tensor memory = on_device(Tensor::from(std::vector<uint8_t>(bytes, bytes + sizeof origin),
                                               {sizeof origin}, Device::cpu()));
  const Inputs in = inputs(c, dtype(), 310);
  const Result by_value = run(c, in);
  c.params.rng = {.offset = 7, .origin = memory.view().as<const RngState>()};
  const Result from_memory = run(c, in);
  EXPECT_EQ(to_doubles(by_value.y), to_doubles(from_memory.y));
  EXPECT_EQ(to_doubles(by_value.gq), to_doubles(from_memory.gq));
}

TEST_P(AttentionTest, QueriesThatSeeNothing) {
  // causal with more queries than keys: the first two see no key
  Case c{{1}, 5, 3, 4, 4, {}, {}, {}, {.causal = true}};
  const Inputs in = inputs(c, dtype(), 1);
  const Result r = run(c, in);
  const Values y = to_doubles(r.y), lse = to_doubles(r.lse), gq = to_doubles(r.gq);
  for (size_t i = 0; i < 8; ++i) {
    EXPECT_EQ(y[i], 0);
    EXPECT_EQ(gq[i], 0);
  }
  EXPECT_EQ(lse[0], -infinity);
  expect_match(c, 1, "more queries than keys");
  c.key_lengths = from_doubles({0}, {1}, DType::i64);
  expect_close(run(c, in).gk, Values(12, 0));
}

// q, k and v as slices of one buffer, gradients as slices of another.
TEST_P(AttentionTest, OneBufferForAll) {
  const int64_t batch = 2, tokens = 70, heads = 3, dim = 16;
  const Tensor packed = on_device(test::uniform({batch, tokens, 3, heads, dim}, dtype(), 7));
  const Tensor gradients = empty({batch, tokens, 3, heads, dim});
  const auto part = [](const Tensor& t, int64_t which) {
    return t.select(2, which).transpose(1, 2);
  };
  const Tensor y = empty({batch, tokens, heads, dim}),
               gy = on_device(test::uniform({batch, heads, tokens, dim}, dtype(), 8));
  const Tensor lse = empty({batch, heads, tokens}, compute_dtype(dtype()));
  const AttentionParams p{.scale = 0.25};
  const Tensor q = part(packed, 0), k = part(packed, 1), v = part(packed, 2),
               out = y.transpose(1, 2);
  attention(stream(), q.view(), k.view(), v.view(), {}, p, out.view(), lse.view());
  attention_gradient(stream(), q.view(), k.view(), v.view(), {}, p, out.view(), lse.view(),
                     gy.view(), part(gradients, 0).view(), part(gradients, 1).view(),
                     part(gradients, 2).view());
  Case c{{batch, heads}, tokens, tokens, dim, dim, {}, {}, {}, p};
  const Result r = run(c, {q.clone(), k.clone(), v.clone(), gy});
  EXPECT_EQ(to_doubles(out.clone()), to_doubles(r.y));
  EXPECT_EQ(to_doubles(part(gradients, 0).clone()), to_doubles(r.gq));
  EXPECT_EQ(to_doubles(part(gradients, 1).clone()), to_doubles(r.gk));
  EXPECT_EQ(to_doubles(part(gradients, 2).clone()), to_doubles(r.gv));
}

TEST_P(AttentionTest, SameBitsForAnyThreadCount) {
  Case c{{2, 3}, 90, 140, 16, 16, {}, {}, {}, {.scale = 0.3}};
  c.bias = test::uniform({1, 3, 90, 140}, dtype(), 1);
  const Inputs in = inputs(c, dtype(), 2);
  const auto bits = [&](int threads) {
    const Threads scope(threads);
    const Result r = run(c, in);
    Values all;
    for (const Tensor& t : {r.y, r.lse, r.gq, r.gk, r.gv, r.gbias})
      for (const double x : to_doubles(t)) all.push_back(x);
    return all;
  };
  const Values one = bits(1);
  EXPECT_EQ(bits(2), one);
  EXPECT_EQ(bits(3), one);
}

// Scratch full of NaN and red zones around every block.
TEST_P(AttentionTest, ReadsOnlyWhatItWrote) {
  if (device().type != Device::Type::cpu) GTEST_SKIP() << "the guard allocator is for host memory";
  const AllocatorScope scope(Device::Type::cpu,
                             std::make_shared<GuardAllocator>(std::make_shared<DriverAllocator>()));
  for (const Case& c : {Case{{2}, 37, 150, 5, 7}, Case{{1}, 3, 130, 17, 64}})
    expect_match(c, 500, "guarded");
}

TEST_P(AttentionTest, EmptyInput) {
  for (const Case& c : {Case{{0, 2}, 4, 5, 3, 3}, Case{{2}, 0, 5, 3, 3}, Case{{2}, 4, 0, 3, 3},
                        Case{{2}, 4, 5, 0, 3}, Case{{2}, 4, 5, 3, 0}})
    expect_match(c, 600, concat(c.with(c.queries, c.keys)));
}

TEST_P(AttentionTest, BadInput) {
  const Tensor q = empty({2, 4, 8}), k = empty({2, 5, 8}), v = empty({2, 5, 6}),
               y = empty({2, 4, 6});
  const auto call_with = [&](const Tensor& a, const Tensor& b, const Tensor& c,
                             const AttentionMask& m = {}, const AttentionParams& p = {}) {
    attention(stream(), a.view(), b.view(), c.view(), m, p, y.view());
  };
  EXPECT_THROW(call_with(q, empty({2, 5, 7}), v), Error);
  EXPECT_THROW(call_with(q, k, empty({2, 6, 6})), Error);
  EXPECT_THROW(call_with(q, empty({3, 5, 8}), v), Error);
  EXPECT_THROW(call_with(empty({8}), k, v), Error);
  EXPECT_THROW(call_with(q, empty({2, 8, 5}).transpose(1, 2), v), Error);
  EXPECT_THROW(call_with(empty({2, 4, 8}, DType::i32), k, v), Error);
  EXPECT_THROW(call_with(q, k, v, {.bias = empty({2, 4, 4}).view()}), Error);
  EXPECT_THROW(call_with(q, k, v, {.mask = empty({2, 4, 5}, DType::u8).view()}), Error);
  const Tensor lengths = on_device(from_doubles({6, 1}, {2}, DType::i64));
  EXPECT_THROW(call_with(q, k, v, {.key_lengths = lengths.view()}), Error);
  EXPECT_THROW(call_with(q, k, v, {}, {.dropout = 1}), Error);
  EXPECT_THROW(attention_gradient(stream(), q.view(), k.view(), v.view(), {}, {}, y.view(), View{},
                                  y.view(), q.view(), k.view(), v.view()),
               Error);
}

INSTANTIATE_TEST_SUITE_P(Targets, AttentionTest,
                         test::targets(test::float_dtypes, &Backend::attention), test::target_name);

TEST(AttentionGolden, MatchesPyTorch) {
  const auto golden = load_safetensors(TESSERA_GOLDEN_DIR "/ops.safetensors");
  Stream& s = current_stream(Device::cpu());
  for (const std::string name :
       {"attention", "attention_scale", "attention_causal", "attention_mask", "attention_bias"}) {
    const auto get = [&](const char* key) { return golden.at(name + "." + key); };
    const Tensor q = get("q"), k = get("k"), v = get("v"), gy = get("gy");
    const Shape scores{2, 3, q.size(2), k.size(2)};
    AttentionParams p{.scale = name == "attention_scale" ? 0.25 : 0.5,
                      .causal = name == "attention_causal"};
    AttentionMask mask;
    const auto f32 = [](const Shape& shape) {
      return Tensor::empty(shape, DType::f32, Device::cpu());
    };
    const Tensor y = f32(gy.shape()), lse = f32({2, 3, q.size(2)}), gq = f32(q.shape()),
                 gk = f32(k.shape()), gv = f32(v.shape()),
                 gbias = f32({1, 3, q.size(2), k.size(2)});
    View gbias_view;
    if (name == "attention_mask") mask.mask = get("mask").broadcast_to(scores).view();
    if (name == "attention_bias") {
      mask.bias = get("bias").broadcast_to(scores).view();
      gbias_view = gbias.broadcast_to(scores).view();
    }
    attention(s, q.view(), k.view(), v.view(), mask, p, y.view(), lse.view());
    attention_gradient(s, q.view(), k.view(), v.view(), mask, p, y.view(), lse.view(), gy.view(),
                       gq.view(), gk.view(), gv.view(), gbias_view);
    const test::Tolerance allowed = tolerance(DType::f32).times(4);
    expect_close(y, to_doubles(get("y")), allowed, name);
    expect_close(gq, to_doubles(get("gq")), allowed, name);
    expect_close(gk, to_doubles(get("gk")), allowed, name);
    expect_close(gv, to_doubles(get("gv")), allowed, name);
    if (gbias_view) expect_close(gbias, to_doubles(get("gbias")), allowed, name);
  }
}

}  // namespace
}  // namespace tessera::kernels
