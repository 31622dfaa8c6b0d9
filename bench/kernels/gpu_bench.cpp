// Kernels on a GPU against the toolkit's (variant `vendor`) and against a copy (`floor`), on random
// data that rotates through more memory than the second-level cache holds.
//
// Without a GPU the list is empty; TESSERA_BENCH_DEVICE=simt runs every case once in small on the
// interpreter, which proves the checks and times nothing of interest.
#include <cmath>
#include <cstdlib>
#include <memory>
#include <string>

#include "tessera/bench/support/bench.hpp"
#include "tessera/bench/support/graphs.hpp"
#include "tessera/kernels/attention.hpp"
#include "tessera/kernels/conv.hpp"
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/elementwise.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/linalg.hpp"
#include "tessera/kernels/optimizer.hpp"
#include "tessera/kernels/qgemm.hpp"
#include "tessera/kernels/random.hpp"
#include "tessera/kernels/reduce.hpp"
#include "tessera/kernels/rowwise.hpp"
#include "tessera/kernels/sort.hpp"
#include "tessera/kernels/spmm.hpp"

namespace tessera {
namespace {

using bench::Work;

Device device() {
  static const Device chosen = [] {
    const char* text = std::getenv("TESSERA_BENCH_DEVICE");
    return parse_device(text ? text : "cuda:0");
  }();
  return chosen;
}
bool small() { return device().type == Device::Type::simt; }
Stream& stream() { return current_stream(device()); }

/// An extent; on the interpreter one that finishes.
int64_t extent(int64_t n, int64_t in_small) { return small() ? std::min(n, in_small) : n; }

Tensor uniform(const Shape& shape, DType dtype) {
  static Rng rng(1);
  const Tensor t = Tensor::empty(shape, dtype, device());
  kernels::uniform(stream(), rng.take(shape.numel()), -1, 1, t.view());
  return t;
}
Tensor empty(const Shape& shape, DType dtype) { return Tensor::empty(shape, dtype, device()); }
Tensor codes(const Shape& shape) {
  Tensor t = Tensor::empty(shape, DType::i8, Device::cpu());
  uint64_t i = 0;
  for (int8_t& v : t.host_mutable<int8_t>()) v = static_cast<int8_t>(bench::splitmix64(7, i++));
  return t.to(device());
}

std::vector<double> numbers(const Tensor& t) {
  return for_float(t.dtype(), "numbers", [&]<class T>() {
    std::vector<double> out;
    for (const T x : t.values<T>())
      out.push_back(static_cast<double>(static_cast<compute_t<T>>(x)));
    return out;
  });
}
Tensor cast(const Tensor& t, DType dtype) {
  const Tensor out = Tensor::empty(t.shape(), dtype, t.device());
  kernels::copy(current_stream(t.device()), t.view(), out.view());
  return out;
}

double bytes_of(std::initializer_list<Tensor> tensors) {
  double sum = 0;
  for (const Tensor& t : tensors) sum += static_cast<double>(t.numel() * size_of(t.dtype()));
  return sum;
}

/// Calls of work(0), work(1), ... in turn, each on operands of its own.
class Turns {
 public:
  /// As many operands of `bytes` as are twice the largest second-level cache.
  explicit Turns(double bytes)
      : count_(small() ? 1
                       : std::clamp<size_t>(static_cast<size_t>(std::ceil(128e6 / bytes)), 1, 64)) {
  }
  size_t count() const { return count_; }
  size_t next() { return turn_++ % count_; }

 private:
  size_t count_, turn_ = 0;
};

/// Work whose operands make(): a function of nothing that runs once.
template <class Make>
Work rotating(double bytes, double flops, Make&& make) {
  auto turns = std::make_shared<Turns>(bytes);
  auto works = std::make_shared<std::vector<std::function<void()>>>();
  for (size_t i = 0; i < turns->count(); ++i) works->push_back(make());
  return {.run = [=] { (*works)[turns->next()](); }, .bytes = bytes, .flops = flops};
}

void expect_near(const char* what, double got, double wanted, double allowed) {
  TS_CHECK(std::abs(got - wanted) <= allowed, what, ": ", got, ", expected ", wanted);
}

// ---------------------------------------------------------------- products

Work gemm(int64_t m, int64_t n, int64_t k, bool a_transposed, bool b_transposed, DType dtype,
          kernels::GemmVariant variant) {
  const auto operand = [&](int64_t rows, int64_t columns, bool transposed) {
    return transposed ? uniform({columns, rows}, dtype).transpose(0, 1)
                      : uniform({rows, columns}, dtype);
  };
  const double size = static_cast<double>(size_of(dtype)),
               bytes = size * static_cast<double>(m * k + k * n + m * n);
  struct Operands {
    Tensor a, b, c;
  };
  auto first = std::make_shared<Operands>();
  Work work = rotating(bytes, 2.0 * static_cast<double>(m) * static_cast<double>(n * k), [&] {
    const Operands o{operand(m, k, a_transposed), operand(k, n, b_transposed),
                     empty({m, n}, dtype)};
    if (!first->c.defined()) *first = o;
    return [=] {
      kernels::gemm(stream(), o.a.view(), o.b.view(), o.c.view(),
                    {.deterministic = false, .variant = variant});
    };
  });
  work.check = [=] {
    const auto a = numbers(first->a.narrow(0, m / 2, 1)), b = numbers(first->b.narrow(1, n - 1, 1));
    double sum = 0;
    for (size_t l = 0; l < a.size(); ++l) sum += a[l] * b[l];
    const double got = numbers(first->c.narrow(0, m / 2, 1).narrow(1, n - 1, 1))[0];
    const double unit = dtype == DType::f64 ? 1e-13 : dtype == DType::f32 ? 1e-5 : 2e-2;
    expect_near("gemm", got, sum, unit * (1 + std::sqrt(static_cast<double>(k))));
  };
  return work;
}

Work qgemm(int64_t m, int64_t n, int64_t k) {
  const double bytes = static_cast<double>(m * k + k * n + 2 * m * n);
  return rotating(bytes, 2.0 * static_cast<double>(m) * static_cast<double>(n * k), [&] {
    const Tensor a = codes({m, k}), b = codes({n, k}), y = empty({m, n}, DType::bf16),
                 a_scale = uniform({m, 1}, DType::f32), b_scale = uniform({n, 1}, DType::f32);
    return [=] {
      kernels::qgemm_scaled(stream(), {.codes = a.view(), .scale = a_scale.view()},
                            {.codes = b.view(), .scale = b_scale.view()}, y.view());
    };
  });
}

void add_products() {
  const auto add = [](const char* name, int64_t m, int64_t n, int64_t k, bool ta, bool tb,
                      DType dtype) {
    m = extent(m, 160), n = extent(n, 144), k = extent(k, 96);
    for (const auto variant : {kernels::GemmVariant::own, kernels::GemmVariant::vendor}) {
      const bool vendor = variant == kernels::GemmVariant::vendor;
      if (vendor && small()) continue;
      bench::add({.name = name,
                  .size = concat(m, "x", n, "x", k),
                  .dtype = std::string(to_string(dtype)),
                  .variant = vendor ? "vendor" : "",
                  .device = device(),
                  .prepare = [=] { return gemm(m, n, k, ta, tb, dtype, variant); }});
    }
  };
  for (const DType dtype : {DType::bf16, DType::f16})
    for (const int64_t n : {1024, 2048, 4096, 8192}) add("gemm/nn", n, n, n, false, false, dtype);
  add("gemm/nt", 4096, 4096, 4096, false, true, DType::bf16);
  add("gemm/tn", 4096, 4096, 4096, true, false, DType::bf16);
  add("gemm/tt", 4096, 4096, 4096, true, true, DType::bf16);
  add("gemm/nt", 2048, 4096, 8192, false, true, DType::bf16);
  add("gemm/nt", 16, 28672, 8192, false, true, DType::bf16);
  add("gemm/nn", 4096, 4096, 4096, false, false, DType::f32);
  add("gemm/nn", 4096, 4096, 4096, false, false, DType::f64);
  const int64_t codes_of[][3] = {
      {4096, 4096, 4096}, {8192, 8192, 8192}, {2048, 4096, 8192}, {16, 28672, 8192}};
  for (const auto& [rows, columns, depth] : codes_of) {
    const int64_t m = extent(rows, 80), n = extent(columns, 96), k = extent(depth, 128);
    bench::add({.name = "qgemm/w8a8",
                .size = concat(m, "x", n, "x", k),
                .dtype = "i8",
                .device = device(),
                .prepare = [=] { return qgemm(m, n, k); }});
  }
}

// ---------------------------------------------------------------- graphs

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

Work spmm(const bench::GraphSpec& spec, int64_t width, DType dtype, kernels::SpmmVariant variant) {
  const bench::Graph graph = bench::make_graph(spec);
  const DeviceGraph g{graph.row_ptr.to(device()), graph.col.to(device()),
                      cast(graph.values, dtype).to(device()), graph.nodes};
  const Tensor x = uniform({g.nodes, width}, dtype), y = empty({g.nodes, width}, dtype);
  const auto entries = static_cast<double>(g.col.numel());
  return {
      .run = [=] { kernels::spmm(stream(), g.view(), x.view(), y.view(), {.variant = variant}); },
      .bytes = bytes_of({x, y, g.row_ptr, g.col, g.values}),
      .flops = 2 * entries * static_cast<double>(width)};
}

void add_graphs() {
  for (const bench::GraphSpec& spec : bench::graph_specs)
    for (const DType dtype : {DType::f32, DType::bf16})
      for (const int64_t width : {16, 64, 256})
        for (const auto variant : {kernels::SpmmVariant::automatic, kernels::SpmmVariant::vendor}) {
          const bool vendor = variant == kernels::SpmmVariant::vendor;
          if (small() && (vendor || width != 16 || spec.power_law)) continue;
          bench::add({.name = std::string("spmm/") + spec.name,
                      .size = concat(spec.nodes, "x", spec.entries, "x", width),
                      .dtype = std::string(to_string(dtype)),
                      .variant = vendor ? "vendor" : "",
                      .device = device(),
                      .prepare = [=, &spec] { return spmm(spec, width, dtype, variant); }});
        }
}

// ---------------------------------------------------------------- what memory bounds

/// A case of a kernel that memory bounds, and its floor: a copy that moves as many bytes.
void add_streaming(const char* name, const Shape& shape, DType dtype,
                   const std::function<std::function<void()>()>& make, double bytes) {
  std::string size;
  for (int i = 0; i < shape.rank(); ++i) size += concat(i ? "x" : "", shape[i]);
  const auto add = [&](const char* variant, const std::function<std::function<void()>()>& what) {
    bench::add({.name = name,
                .size = size,
                .dtype = std::string(to_string(dtype)),
                .variant = variant,
                .device = device(),
                .prepare = [=] { return rotating(bytes, 0, what); }});
  };
  add("", make);
  add(bench::floor, [=] {
    const Shape half{static_cast<int64_t>(bytes / 8)};
    const Tensor x = uniform(half, DType::f32), y = empty(half, DType::f32);
    return [=] { kernels::copy(stream(), x.view(), y.view()); };
  });
}

void add_elements() {
  const int64_t n = extent(int64_t{1} << 27, 4096);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Shape shape{n};
    const double bytes = static_cast<double>(n * static_cast<int64_t>(size_of(dtype)));
    add_streaming(
        "copy/contiguous", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = empty(shape, dtype);
          return [=] { kernels::copy(stream(), x.view(), y.view()); };
        },
        2 * bytes);
    add_streaming(
        "elementwise/add", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = uniform(shape, dtype),
                       z = empty(shape, dtype);
          return [=] {
            kernels::binary(stream(), kernels::BinaryOp::add, x.view(), y.view(), z.view());
          };
        },
        3 * bytes);
    add_streaming(
        "elementwise/gelu", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = empty(shape, dtype);
          return [=] { kernels::unary(stream(), kernels::UnaryOp::gelu, x.view(), y.view()); };
        },
        2 * bytes);
    add_streaming(
        "reduce/sum", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = empty({1}, dtype);
          return [=] { kernels::reduce(stream(), kernels::ReduceOp::sum, x.view(), y.view()); };
        },
        bytes);
  }
}

void add_rows() {
  const int64_t rows = extent(16384, 16), width = extent(4096, 256);
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const Shape shape{rows, width};
    const double bytes = static_cast<double>(shape.numel() * static_cast<int64_t>(size_of(dtype)));
    add_streaming(
        "rowwise/softmax", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = empty(shape, dtype);
          return [=] { kernels::softmax(stream(), x.view(), y.view()); };
        },
        2 * bytes);
    add_streaming(
        "rowwise/layer_norm", shape, dtype,
        [=] {
          const Tensor x = uniform(shape, dtype), y = empty(shape, dtype),
                       gamma = uniform({width}, dtype), beta = uniform({width}, dtype);
          return [=] {
            kernels::layer_norm(stream(), x.view(), gamma.view(), beta.view(), 1e-5, y.view());
          };
        },
        2 * bytes);
  }
}

// ---------------------------------------------------------------- images, sequences, order

Work conv(int64_t batch, int64_t channels, int64_t pixels, DType dtype, const char* which) {
  const Shape image{batch, channels, pixels, pixels}, filters{channels, channels, 3, 3};
  const double bytes =
      2 * static_cast<double>(image.numel() * static_cast<int64_t>(size_of(dtype)));
  const double flops = 18.0 * static_cast<double>(image.numel() * channels);
  const std::string pass = which;
  return rotating(bytes, flops, [&] {
    const Tensor x = uniform(image, dtype), weight = uniform(filters, dtype),
                 y = uniform(image, dtype), dweight = empty(filters, dtype);
    return [=] {
      const kernels::ConvParams p{.padding = {1, 1}};
      if (pass == "forward")
        kernels::conv_forward(stream(), x.view(), weight.view(), {}, y.view(), p);
      else if (pass == "data")
        kernels::conv_data_gradient(stream(), y.view(), weight.view(), x.view(), p);
      else
        kernels::conv_weight_gradient(stream(), x.view(), y.view(), dweight.view(), {}, p);
    };
  });
}

Work attention(int64_t batch, int64_t heads, int64_t tokens, int64_t dim, DType dtype) {
  const Shape shape{batch, heads, tokens, dim};
  const double bytes =
      4 * static_cast<double>(shape.numel() * static_cast<int64_t>(size_of(dtype)));
  return rotating(bytes, 4.0 * static_cast<double>(shape.numel() * tokens), [&] {
    const Tensor q = uniform(shape, dtype), k = uniform(shape, dtype), v = uniform(shape, dtype),
                 y = empty(shape, dtype);
    return [=] {
      kernels::attention(stream(), q.view(), k.view(), v.view(), {},
                         {.scale = 1 / std::sqrt(static_cast<double>(dim))}, y.view());
    };
  });
}

void add_networks() {
  for (const DType dtype : {DType::f32, DType::bf16}) {
    const int64_t sizes[][3] = {{256, 64, 32}, {256, 128, 16}, {256, 256, 8}};
    for (const auto& [b, c, p] : sizes) {
      const int64_t batch = extent(b, 1), channels = extent(c, 32), pixels = extent(p, 8);
      for (const char* which : {"forward", "data", "weight"})
        bench::add({.name = std::string("conv/3x3_") + which,
                    .size = concat(batch, "x", channels, "x", pixels, "x", pixels),
                    .dtype = std::string(to_string(dtype)),
                    .device = device(),
                    .prepare = [=] { return conv(batch, channels, pixels, dtype, which); }});
    }
    const int64_t batch = extent(8, 1), heads = extent(16, 1), tokens = extent(2048, 64);
    bench::add({.name = "attention/forward",
                .size = concat(batch, "x", heads, "x", tokens, "x", 64),
                .dtype = std::string(to_string(dtype)),
                .device = device(),
                .prepare = [=] { return attention(batch, heads, tokens, 64, dtype); }});
  }
  const int64_t n = extent(int64_t{1} << 24, 4096);
  add_streaming(
      "sort/sort", {n}, DType::f32,
      [=] {
        const Tensor x = uniform({n}, DType::f32), y = empty({n}, DType::f32);
        return [=] { kernels::sort(stream(), x.view(), y.view(), {}); };
      },
      8 * static_cast<double>(n));
  const int64_t matrices = extent(256, 2), order = extent(128, 16);
  add_streaming(
      "linalg/eigh", {matrices, order, order}, DType::f32,
      [=] {
        const Tensor x = uniform({matrices, order, order}, DType::f32),
                     w = empty({matrices, order}, DType::f32),
                     v = empty({matrices, order, order}, DType::f32);
        return [=] { kernels::eigh(stream(), x.view(), w.view(), v.view()); };
      },
      8 * static_cast<double>(matrices * order * order));
}

}  // namespace
}  // namespace tessera

int main(int argc, char** argv) {
  using namespace tessera;
  if (std::string why; available(device(), &why)) {
    add_products();
    add_graphs();
    add_elements();
    add_rows();
    add_networks();
  } else if (std::getenv("TESSERA_BENCH_DEVICE")) {
    std::fprintf(stderr, "%s: %s\n", argv[0], why.c_str());
    return 2;
  }
  return bench::main(argc, argv);
}
