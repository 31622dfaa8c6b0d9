// Sparse products, and rows gathered from tables of several sizes.
#include "tessera/bench/kernels/gpu/operands.hpp"
#include "tessera/kernels/indexing.hpp"
#include "tessera/kernels/spmm.hpp"

namespace tessera::bench {
namespace {

struct DeviceGraph {
  Tensor row_ptr, col, values;
  int64_t nodes;
  kernels::CsrView view() const {
    return {nodes,
            nodes,
            col.numel(),
            static_cast<const int32_t*>(row_ptr.data()),
            static_cast<const int32_t*>(col.data()),
            values.view()};
  }
};

Work spmm(const GraphSpec& spec, int64_t width, DType dtype, kernels::SpmmVariant variant) {
  const Graph graph = make_graph(spec);
  const Tensor weights = cast(graph.values, dtype);
  const DeviceGraph g{graph.row_ptr.to(device()), graph.col.to(device()), weights.to(device()),
                      graph.nodes};
  const Tensor x = uniform({g.nodes, width}, dtype), y = empty({g.nodes, width}, dtype);
  const auto entries = static_cast<double>(g.col.numel());
  const auto check = [=] {
    const auto begins = graph.row_ptr.host<int32_t>(), columns = graph.col.host<int32_t>();
    const Numbers values = numbers(weights);
    int64_t longest = 0;
    for (int64_t i = 0; i < g.nodes; ++i)
      if (begins[i + 1] - begins[i] > begins[longest + 1] - begins[longest]) longest = i;
    std::vector<int64_t> rows = places(g.nodes);
    rows.push_back(longest);
    for (const int64_t i : rows) {
      Numbers wanted(static_cast<size_t>(width));
      for (int32_t e = begins[i]; e < begins[i + 1]; ++e) {
        const Numbers from = row(x, columns[e]);
        for (size_t c = 0; c < wanted.size(); ++c) wanted[c] += values[e] * from[c];
      }
      expect_close(concat("row ", i), row(y, i), wanted, rounding(dtype));
    }
  };
  return {
      .run = [=] { kernels::spmm(stream(), g.view(), x.view(), y.view(), {.variant = variant}); },
      .check = check,
      .bytes = bytes_of({x, y, g.row_ptr, g.col, g.values}),
      .flops = 2 * entries * static_cast<double>(width)};
}

/// Rows of `width` bytes from a table that lies in the second-level cache or does not fit there,
/// into a result that does.
Work gather(int64_t table_bytes, int64_t width_bytes) {
  const int64_t width = width_bytes / 4, rows = table_bytes / width_bytes,
                count = extent(int64_t{16} << 20, 1 << 14) / width_bytes;
  const Tensor x = uniform({rows, width}, DType::f32), y = empty({count, width}, DType::f32);
  Tensor index = Tensor::empty({count}, DType::i32, Device::cpu());
  uint64_t i = 0;
  for (int32_t& at : index.host_mutable<int32_t>())
    at = static_cast<int32_t>(splitmix64(3, i++) % static_cast<uint64_t>(rows));
  const Tensor on_device = index.to(device());
  return {.run = [=] { kernels::gather(stream(), x.view(), on_device.view(), y.view()); },
          .check =
              [=] {
                for (const int64_t k : places(count))
                  expect_close(concat("row ", k), row(y, k), row(x, index.host<int32_t>()[k]), 0);
              },
          .bytes = 2.0 * static_cast<double>(count * width_bytes)};
}

}  // namespace

void add_graphs() {
  for (const GraphSpec& spec : graph_specs)
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const int64_t width : {16, 64, 256})
        for (const auto variant : {kernels::SpmmVariant::automatic, kernels::SpmmVariant::vendor}) {
          const bool vendor = variant == kernels::SpmmVariant::vendor;
          if (small() && (vendor || width != 16 || spec.power_law)) continue;
          add({.name = std::string("spmm/") + spec.name,
               .size = concat(spec.nodes, "x", spec.entries, "x", width),
               .dtype = std::string(to_string(dtype)),
               .variant = vendor ? "vendor" : "",
               .device = device(),
               .prepare = [=, &spec] { return spmm(spec, width, dtype, variant); }});
        }
}

void add_gathers() {
  for (const int64_t megabytes : {16, 32, 60, 200})
    for (const int64_t width : {64, 128, 256, 512, 1024}) {
      const int64_t bytes = extent(megabytes * 1'000'000, 64 * 1024) / width * width;
      add_once({.name = "indexing/gather_rows",
                .size = concat(bytes / width, "x", width / 4),
                .device = device(),
                .prepare = [=] { return gather(bytes, width); }});
    }
}

}  // namespace tessera::bench
