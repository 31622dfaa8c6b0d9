// Sorting, searching and selection by index. Tensors are made before the timing.
#include "tessera/kernels/sort.hpp"

#include <string>

#include "tessera/bench/support/bench.hpp"
#include "tessera/bench/support/graphs.hpp"
#include "tessera/kernels/indexing.hpp"

namespace tessera {
namespace {

using bench::Work;

Stream& stream() { return current_stream(Device::cpu()); }
Tensor empty(const Shape& shape, DType dtype = DType::f32) {
  return Tensor::empty(shape, dtype, Device::cpu());
}
Tensor indices(int64_t count, int64_t limit) {
  Tensor t = empty({count}, DType::i64);
  uint64_t i = 0;
  for (int64_t& v : t.host_mutable<int64_t>())
    v = static_cast<int64_t>(bench::splitmix64(6, i++) % static_cast<uint64_t>(limit));
  return t;
}

Work sort(const Shape& shape) {
  const Tensor x = bench::values(1, shape), y = empty(shape), index = empty(shape, DType::i64);
  return {.run = [=] { kernels::sort(stream(), x.view(), y.view(), index.view()); },
          .check =
              [=] {
                kernels::sort(stream(), x.view(), y.view(), index.view());
                const auto v = y.host<float>();
                for (size_t i = 1; i < v.size(); ++i)
                  TS_CHECK(i % static_cast<size_t>(x.size(-1)) == 0 || v[i - 1] <= v[i],
                           "sort: element ", i, " is out of order");
              }};
}
Work unique(int64_t n) {
  const Tensor x = indices(n, n / 10), values = empty({n}, DType::i64),
               inverse = empty({n}, DType::i64);
  const Tensor count = empty({1}, DType::i64);
  return {.run = [=] {
    kernels::unique(stream(), x.view(), values.view(), inverse.view(), {}, count.view());
  }};
}
Work neighbors(int64_t n, int64_t d, int64_t k) {
  const Tensor x = bench::values(1, {n, d}), distance = empty({n, k}),
               index = empty({n, k}, DType::i64);
  return {.run =
              [=] {
                kernels::nearest_neighbors(stream(), x.view(), x.view(), distance.view(),
                                           index.view(), {.exclude_same_index = true});
              },
          .flops = 3 * static_cast<double>(n * n * d)};
}
Work top_k(int64_t rows, int64_t n, int64_t k) {
  const Tensor x = bench::values(1, {rows, n}), values = empty({rows, k}),
               index = empty({rows, k}, DType::i64);
  return {.run = [=] { kernels::top_k(stream(), x.view(), true, values.view(), index.view()); },
          .bytes = 4 * static_cast<double>(rows * n)};
}
Work gather(int64_t n, int64_t width, int64_t count) {
  const Tensor x = bench::values(1, {n, width}), index = indices(count, n),
               y = empty({count, width});
  return {.run = [=] { kernels::gather(stream(), x.view(), index.view(), y.view()); },
          .bytes = 8 * static_cast<double>(count * width)};
}
Work scatter_add(int64_t n, int64_t width, int64_t count) {
  const Tensor x = bench::values(1, {count, width}), index = indices(count, n);
  const Tensor y = Tensor::zeros({n, width}, DType::f32, Device::cpu());
  return {.run = [=] { kernels::scatter_add(stream(), x.view(), index.view(), y.view()); },
          .bytes = 4 * static_cast<double>((count + 2 * n) * width)};
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  const auto add = [](const char* name, const char* size, const char* dtype, auto prepare) {
    bench::add({.name = name, .size = size, .dtype = dtype, .prepare = prepare});
  };
  add("sort/argsort", "1000000", "f32", [] { return sort({1'000'000}); });
  add("sort/argsort", "4096x1024", "f32", [] { return sort({4096, 1024}); });
  add("sort/unique", "1000000", "i64", [] { return unique(1'000'000); });
  add("sort/nearest_neighbors", "5000x200x10", "f32", [] { return neighbors(5000, 200, 10); });
  add("indexing/top_k", "4096x1000x10", "f32", [] { return top_k(4096, 1000, 10); });
  add("indexing/top_k", "64x30000x500", "f32", [] { return top_k(64, 30000, 500); });
  add("indexing/gather", "30000x256x100000", "f32", [] { return gather(30000, 256, 100000); });
  add("indexing/scatter_add", "30000x256x100000", "f32",
      [] { return scatter_add(30000, 256, 100000); });
  return bench::main(argc, argv);
}
