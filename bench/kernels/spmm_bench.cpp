// Sparse products on the peers' graphs; outputs are allocated in the timed call, as peers do.
#include "tessera/kernels/spmm.hpp"

#include <cmath>
#include <memory>
#include <string>

#include "tessera/bench/support/bench.hpp"
#include "tessera/bench/support/graphs.hpp"

namespace tessera {
namespace {

using bench::Graph;
using bench::Work;

Stream& stream() { return current_stream(Device::cpu()); }

const Graph& graph(const bench::GraphSpec& spec) {
  static std::unique_ptr<Graph> graphs[std::size(bench::graph_specs)];
  std::unique_ptr<Graph>& slot = graphs[&spec - bench::graph_specs];
  if (!slot) slot = std::make_unique<Graph>(bench::make_graph(spec));
  return *slot;
}

/// Compares some rows with sums in double.
void check_rows(const Graph& g, const Tensor& x, const Tensor& y, bool weighted) {
  const auto row_ptr = g.row_ptr.host<int32_t>(), col = g.col.host<int32_t>();
  const auto from = x.host<float>(), to = y.host<float>(), values = g.values.host<float>();
  const int64_t width = x.size(1);
  for (int64_t i = 0; i < g.nodes; i += 97)
    for (int64_t j = 0; j < width; j += 13) {
      double sum = 0, magnitude = 0;
      for (int64_t e = row_ptr[static_cast<size_t>(i)]; e < row_ptr[static_cast<size_t>(i + 1)];
           ++e) {
        const double term = (weighted ? values[static_cast<size_t>(e)] : 1.0f) *
                            from[static_cast<size_t>(col[static_cast<size_t>(e)] * width + j)];
        sum += term;
        magnitude += std::abs(term);
      }
      const double got = to[static_cast<size_t>(i * width + j)];
      TS_CHECK(std::abs(got - sum) <= 1e-5 * magnitude + 1e-6, "spmm: row ", i, ", column ", j,
               " is ", got, ", expected ", sum);
    }
}

Work spmm(const bench::GraphSpec& spec, int64_t width, bool weighted) {
  const Graph& g = graph(spec);
  const Tensor x = bench::values(3, {g.nodes, width});
  const auto run = [=, &g] {
    const Tensor y = Tensor::empty({g.nodes, width}, DType::f32, Device::cpu());
    kernels::spmm(stream(), g.view(weighted), x.view(), y.view());
    return y;
  };
  const auto dense = static_cast<double>(g.nodes * width),
             entries = static_cast<double>(g.col.numel());
  return {.run = run,
          .check = [=, &g] { check_rows(g, x, run(), weighted); },
          .bytes = 8 * dense + (weighted ? 8 : 4) * entries,
          .flops = 2 * entries * static_cast<double>(width)};
}

Work sddmm(const bench::GraphSpec& spec, int64_t width) {
  const Graph& g = graph(spec);
  const Tensor x = bench::values(3, {g.nodes, width}), z = bench::values(4, {g.nodes, width});
  return {.run =
              [=, &g] {
                const Tensor scores = Tensor::empty(g.col.shape(), DType::f32, Device::cpu());
                kernels::sddmm(stream(), g.view(), x.view(), z.view(), scores.view());
              },
          .flops = 2 * static_cast<double>(g.col.numel() * width)};
}

Work edge_softmax(const bench::GraphSpec& spec, int64_t heads) {
  const Graph& g = graph(spec);
  const Tensor x =
      bench::values(5, heads == 1 ? Shape{g.col.numel()} : Shape{g.col.numel(), heads});
  return {.run =
              [=, &g] {
                const Tensor y = Tensor::empty(x.shape(), DType::f32, Device::cpu());
                kernels::edge_softmax(stream(), g.view(), x.view(), y.view());
              },
          .bytes = 8 * static_cast<double>(x.numel())};
}

Work transpose(const bench::GraphSpec& spec) {
  const Graph& g = graph(spec);
  const auto ints = [](int64_t n) { return Tensor::empty({n}, DType::i32, Device::cpu()); };
  return {.run = [=, &g] {
    const Tensor row_ptr = ints(g.nodes + 1), col = ints(g.col.numel()),
                 order = ints(g.col.numel());
    kernels::csr_transpose(stream(), g.view(), row_ptr.view(), col.view(), order.view());
  }};
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  for (const bench::GraphSpec& spec : bench::graph_specs) {
    const std::string of = std::string("/") + spec.name;
    const std::string size = std::to_string(spec.nodes) + "x" + std::to_string(spec.entries);
    for (const int64_t width : {16, 64, 256}) {
      const std::string wide = size + "x" + std::to_string(width);
      const auto add = [&](const char* variant, bool weighted) {
        bench::add({.name = "spmm" + of, .size = wide, .variant = variant, .prepare = [=, &spec] {
                      return spmm(spec, width, weighted);
                    }});
      };
      add("", true);
      add("no values", false);
      bench::add({.name = "sddmm" + of, .size = wide, .prepare = [=, &spec] {
                    return sddmm(spec, width);
                  }});
    }
    for (const int64_t heads : {1, 8})
      bench::add({.name = "edge_softmax" + of,
                  .size = size + "x" + std::to_string(heads),
                  .prepare = [=, &spec] { return edge_softmax(spec, heads); }});
    bench::add({.name = "csr_transpose" + of, .size = size, .prepare = [&spec] {
                  return transpose(spec);
                }});
  }
  return bench::main(argc, argv);
}
