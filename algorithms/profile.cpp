#include "tessera/algorithms/profile.hpp"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <functional>

#include "tessera/kernels/attention.hpp"
#include "tessera/kernels/conv.hpp"
#include "tessera/kernels/copy.hpp"
#include "tessera/kernels/elementwise.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/qgemm.hpp"
#include "tessera/kernels/quantize.hpp"
#include "tessera/kernels/rowwise.hpp"
#include "tessera/kernels/sort.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/config.hpp"
#include "tessera/runtime/csr.hpp"
#include "tessera/runtime/rng.hpp"
#include "tessera/runtime/stream.hpp"
#include "tessera/runtime/tensor.hpp"

namespace tessera::algorithms {
namespace {

/// What a GPU sustains: of a copy of its memory, and of multiplications and additions. Measured for
/// the H200's memory and halves, else 0.8 to 0.9 of the datasheet.
struct Gpu {
  std::string_view name;
  double memory, halves, bytes, floats, doubles;  // floats: as three products of tf32
};
constexpr Gpu gpus[] = {{"h200", 4.3e12, 790e12, 1580e12, 133e12, 60e12},
                        {"h100", 3.0e12, 790e12, 1580e12, 133e12, 60e12},
                        {"a100", 1.8e12, 250e12, 500e12, 41e12, 17e12}};

double rate(const Gpu& gpu, DType dtype) {
  if (dtype == DType::f64) return gpu.doubles;
  if (dtype == DType::f32) return gpu.floats;
  return is_half(dtype) ? gpu.halves : gpu.bytes;
}

struct Work {
  std::function<void(Stream&)> run;
  double bytes, operations;
};
using Sizes = std::vector<int64_t>;

struct Kernel {
  std::string_view name, sizes;
  size_t count;  // of sizes
  DType dtype;
  Work (*prepare)(const Sizes&, DType);
};

Tensor zeros(const Shape& shape, DType dtype) {
  return Tensor::zeros(shape, dtype, Device::simt());
}
double traffic(std::initializer_list<Tensor> tensors) {
  double bytes = 0;
  for (const Tensor& t : tensors) bytes += static_cast<double>(t.numel() * size_of(t.dtype()));
  return bytes;
}
double product(const Sizes& s) {
  return 2.0 * static_cast<double>(s[0]) * static_cast<double>(s[1]) * static_cast<double>(s[2]);
}

Work copy_work(const Sizes& s, DType dtype) {
  const Tensor x = zeros({s[0]}, dtype), y = zeros({s[0]}, dtype);
  return {[=](Stream& stream) { kernels::copy(stream, x.view(), y.view()); }, traffic({x, y}), 0};
}
Work add_work(const Sizes& s, DType dtype) {
  const Tensor x = zeros({s[0]}, dtype), y = zeros({s[0]}, dtype), z = zeros({s[0]}, dtype);
  return {[=](Stream& stream) {
            kernels::binary(stream, kernels::BinaryOp::add, x.view(), y.view(), z.view());
          },
          traffic({x, y, z}), static_cast<double>(s[0])};
}
Work gemm_work(const Sizes& s, DType dtype) {
  const Tensor a = zeros({s[0], s[2]}, dtype), b = zeros({s[2], s[1]}, dtype),
               c = zeros({s[0], s[1]}, dtype);
  return {[=](Stream& stream) { kernels::gemm(stream, a.view(), b.view(), c.view()); },
          traffic({a, b, c}), product(s)};
}
Work qgemm_work(const Sizes& s, DType) {
  const Tensor a = zeros({s[0], s[2]}, DType::i8), b = zeros({s[1], s[2]}, DType::i8),
               c = zeros({s[0], s[1]}, DType::i32);
  return {[=](Stream& stream) { kernels::qgemm(stream, a.view(), b.view(), c.view()); },
          traffic({a, b, c}), product(s)};
}
/// Filters of 3 x 3.
Work conv_work(const Sizes& s, DType dtype) {
  const Tensor x = zeros({s[0], s[1], s[2], s[3]}, dtype), w = zeros({s[4], s[1], 3, 3}, dtype),
               y = zeros({s[0], s[4], s[2], s[3]}, dtype);
  return {[=](Stream& stream) {
            kernels::conv_forward(stream, x.view(), w.view(), {}, y.view(), {.padding = {1, 1}});
          },
          traffic({x, w, y}), 2.0 * static_cast<double>(y.numel()) * 9 * static_cast<double>(s[1])};
}
Work attention_work(const Sizes& s, DType dtype) {
  const Tensor q = zeros({s[0], s[1], s[2]}, dtype), k = zeros(q.shape(), dtype),
               v = zeros(q.shape(), dtype), y = zeros(q.shape(), dtype);
  return {[=](Stream& stream) {
            kernels::attention(stream, q.view(), k.view(), v.view(), {}, {}, y.view());
          },
          traffic({q, k, v, y}), 4.0 * static_cast<double>(q.numel()) * static_cast<double>(s[1])};
}
Work softmax_work(const Sizes& s, DType dtype) {
  const Tensor x = zeros({s[0], s[1]}, dtype), y = zeros({s[0], s[1]}, dtype);
  return {[=](Stream& stream) { kernels::softmax(stream, x.view(), y.view()); }, traffic({x, y}),
          0};
}
Work layer_norm_work(const Sizes& s, DType dtype) {
  const Tensor x = zeros({s[0], s[1]}, dtype), y = zeros({s[0], s[1]}, dtype),
               gamma = zeros({s[1]}, dtype), beta = zeros({s[1]}, dtype);
  return {[=](Stream& stream) {
            kernels::layer_norm(stream, x.view(), gamma.view(), beta.view(), 1e-5, y.view());
          },
          traffic({x, y, gamma, beta}), 0};
}
Work cross_entropy_work(const Sizes& s, DType dtype) {
  const Tensor logits = zeros({s[0], s[1]}, dtype), labels = zeros({s[0]}, DType::i64),
               loss = zeros({}, dtype);
  return {[=](Stream& stream) {
            kernels::cross_entropy(stream, logits.view(), labels.view(), {}, {}, loss.view());
          },
          traffic({logits, labels, loss}), 0};
}
Work quantize_work(const Sizes& s, DType dtype) {
  const Tensor x = zeros({s[0], s[1]}, dtype), code = zeros({s[0], s[1]}, DType::i8),
               scale = zeros({s[0], 1}, DType::f32);
  return {[=](Stream& stream) {
            kernels::quantize(stream, x.view(), scale.view(), {}, code.view(), {});
          },
          traffic({x, code, scale}), static_cast<double>(x.numel())};
}
Work sort_work(const Sizes& s, DType dtype) {
  const Tensor x = zeros({s[0]}, dtype), y = zeros({s[0]}, dtype),
               index = zeros({s[0]}, DType::i32);
  return {[=](Stream& stream) { kernels::sort(stream, x.view(), y.view(), index.view()); },
          traffic({x, y, index}), 0};
}
Work spmm_work(const Sizes& s, DType dtype) {
  std::vector<int64_t> row(static_cast<size_t>(s[1])), col(row.size());
  Rng rng(1);
  const auto nodes = static_cast<uint64_t>(s[0]);
  for (size_t i = 0; i < row.size(); ++i) {
    row[i] = static_cast<int64_t>(rng.below(nodes));
    col[i] = static_cast<int64_t>(rng.below(nodes));
  }
  const CsrMatrix a = CsrMatrix::from_edges(s[0], s[0], row, col);
  const Tensor row_ptr = a.row_ptr.to(Device::simt()), cols = a.col.to(Device::simt()),
               x = zeros({s[0], s[2]}, dtype), y = zeros({s[0], s[2]}, dtype);
  const int64_t entries = a.nnz();
  return {[=](Stream& stream) {
            kernels::spmm(stream,
                          {x.size(0), x.size(0), entries, row_ptr.view().as<int32_t>(),
                           cols.view().as<int32_t>()},
                          x.view(), y.view());
          },
          traffic({row_ptr, cols, x, y}),
          2.0 * static_cast<double>(entries) * static_cast<double>(s[2])};
}

constexpr Kernel kernel_list[] = {
    {"copy", "N", 1, DType::f32, copy_work},
    {"add", "N", 1, DType::f32, add_work},
    {"gemm", "M N K", 3, DType::f16, gemm_work},
    {"qgemm", "M N K", 3, DType::i8, qgemm_work},
    {"conv", "IMAGES CHANNELS HEIGHT WIDTH FILTERS", 5, DType::f16, conv_work},
    {"attention", "HEADS TOKENS DIM", 3, DType::f16, attention_work},
    {"softmax", "ROWS COLUMNS", 2, DType::f32, softmax_work},
    {"layer_norm", "ROWS COLUMNS", 2, DType::f32, layer_norm_work},
    {"cross_entropy", "ROWS CLASSES", 2, DType::f32, cross_entropy_work},
    {"quantize", "ROWS COLUMNS", 2, DType::f32, quantize_work},
    {"sort", "N", 1, DType::f32, sort_work},
    {"spmm", "ROWS ENTRIES WIDTH", 3, DType::f32, spmm_work},
};

template <class List>
const auto& named(const List& list, std::string_view what, std::string_view name) {
  std::vector<std::string_view> names;
  for (const auto& item : list) names.push_back(item.name);
  try {
    return list[find_name(name, names)];
  } catch (const Error& error) {
    throw Error(ErrorKind::invalid_argument, concat(what, ": ", error.what()));
  }
}

std::string ratio(uint64_t part, uint64_t whole) {
  if (whole == 0) return "-";
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", static_cast<double>(part) / static_cast<double>(whole));
  return text;
}
std::string significant(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", value);
  return text;
}

double mean_of_warps(const KernelCounters& c) {
  return c.warps == 0 ? 0
                      : static_cast<double>(c.global_requests + c.shared_requests) /
                            static_cast<double>(c.warps);
}

}  // namespace

std::string profile_kernels() {
  size_t names = 0, sizes = 0;
  for (const Kernel& k : kernel_list) {
    names = std::max(names, k.name.size());
    sizes = std::max(sizes, k.sizes.size());
  }
  std::string all;
  for (const Kernel& k : kernel_list)
    all += concat("  ", k.name, std::string(names + 2 - k.name.size(), ' '), k.sizes,
                  std::string(sizes + 2 - k.sizes.size(), ' '), k.dtype, "\n");
  return all;
}

Profile profile(const ProfileRequest& request) {
  const Kernel& kernel = named(kernel_list, "kernel", request.kernel);
  const Gpu& gpu = named(gpus, "--gpu", request.gpu);
  DType dtype = kernel.dtype;
  if (!request.dtype.empty()) dtype = parse_dtype(request.dtype);
  TS_CHECK(kernel.dtype == DType::i8 ? dtype == DType::i8 : is_float(dtype), kernel.name,
           ": --dtype ", dtype, " does not fit");
  TS_CHECK(request.sizes.size() == kernel.count, kernel.name, ": expected sizes ", kernel.sizes,
           ", found ", request.sizes.size(), " numbers");
  for (const int64_t size : request.sizes)
    TS_CHECK(size > 0, kernel.name, ": sizes must be at least 1, found ", size);

  setenv("TESSERA_SIMT", "checked", 1);  // before the interpreter is loaded
  std::string reason;
  if (!available(Device::simt(), &reason)) throw Error(ErrorKind::unsupported, reason);
  const Work work = kernel.prepare(request.sizes, dtype);
  TS_CHECK(work.operations <= 1e11 && work.bytes <= 1e10, kernel.name, ": tracing ",
           significant(work.operations), " operations on ", significant(work.bytes),
           " bytes would take hours; choose smaller sizes");
  Driver& interpreter = driver(Device::Type::simt);
  interpreter.take_counters();
  Stream& stream = current_stream(Device::simt());
  work.run(stream);
  stream.synchronize();
  Profile result{.request = request,
                 .bytes = work.bytes,
                 .operations = work.operations,
                 .memory_seconds = work.bytes / gpu.memory,
                 .arithmetic_seconds = work.operations / rate(gpu, dtype),
                 .kernels = interpreter.take_counters()};
  result.request.dtype = to_string(dtype);
  TS_CHECK(!result.kernels.empty(),
           "profile: the interpreter was loaded before, in the build that counts nothing");
  return result;
}

std::string profile_table(const Profile& p) {
  std::string out = p.request.kernel;
  for (const int64_t size : p.request.sizes) out += concat(" ", size);
  out += concat(" ", p.request.dtype, "\n\n");
  const auto line = [&](std::string_view what, const auto& value) {
    out += concat(what, std::string(34 - what.size(), ' '));
    for (const KernelCounters& c : p.kernels) {
      const std::string text = value(c);
      out += std::string(text.size() < 24 ? 24 - text.size() : 1, ' ') + text;
    }
    out += "\n";
  };
  const auto number = [&](std::string_view what, uint64_t KernelCounters::*member) {
    line(what, [member](const KernelCounters& c) { return std::to_string(c.*member); });
  };
  line("kernel", [](const KernelCounters& c) { return c.kernel; });
  number("launches", &KernelCounters::launches);
  number("requests of global memory", &KernelCounters::global_requests);
  number("sectors", &KernelCounters::global_sectors);
  line("  over ideal",
       [](const KernelCounters& c) { return ratio(c.global_sectors, c.ideal_sectors); });
  number("  unique", &KernelCounters::unique_sectors);
  line("  per request",
       [](const KernelCounters& c) { return ratio(c.global_sectors, c.global_requests); });
  number("requests of shared memory", &KernelCounters::shared_requests);
  number("wavefronts", &KernelCounters::shared_wavefronts);
  line("  over ideal",
       [](const KernelCounters& c) { return ratio(c.shared_wavefronts, c.ideal_wavefronts); });
  number("tensor operations", &KernelCounters::tensor_operations);
  line("busiest warp over mean", [](const KernelCounters& c) {
    const double mean = mean_of_warps(c);
    return mean == 0 ? "-" : significant(static_cast<double>(c.busiest_warp) / mean);
  });
  number("waits at block barriers", &KernelCounters::barriers);

  double touched = 0;
  for (const KernelCounters& c : p.kernels) touched += 32.0 * static_cast<double>(c.unique_sectors);
  const double seconds = std::max(p.memory_seconds, p.arithmetic_seconds);
  out += concat("\nfloor on ", p.request.gpu, ": ", significant(seconds * 1e6), " us, of ",
                p.memory_seconds >= p.arithmetic_seconds ? "memory" : "arithmetic", " (",
                significant(p.bytes), " bytes ", significant(p.memory_seconds * 1e6), " us, ",
                significant(p.operations), " operations ", significant(p.arithmetic_seconds * 1e6),
                " us); the kernels touch ", significant(touched / p.bytes), " times these bytes\n");
  return out;
}

Json profile_json(const Profile& p) {
  Json::Array sizes, kernels;
  for (const int64_t size : p.request.sizes) sizes.push_back(Json(size));
  const auto count = [](uint64_t value) { return Json(static_cast<int64_t>(value)); };
  for (const KernelCounters& c : p.kernels)
    kernels.push_back(Json(Json::Object{{"kernel", Json(c.kernel)},
                                        {"launches", count(c.launches)},
                                        {"global_requests", count(c.global_requests)},
                                        {"global_sectors", count(c.global_sectors)},
                                        {"ideal_sectors", count(c.ideal_sectors)},
                                        {"unique_sectors", count(c.unique_sectors)},
                                        {"global_bytes", count(c.global_bytes)},
                                        {"shared_requests", count(c.shared_requests)},
                                        {"shared_wavefronts", count(c.shared_wavefronts)},
                                        {"ideal_wavefronts", count(c.ideal_wavefronts)},
                                        {"tensor_operations", count(c.tensor_operations)},
                                        {"busiest_warp", count(c.busiest_warp)},
                                        {"mean_warp", Json(mean_of_warps(c))},
                                        {"barriers", count(c.barriers)}}));
  return Json(Json::Object{{"kernel", Json(p.request.kernel)},
                           {"sizes", Json(std::move(sizes))},
                           {"dtype", Json(p.request.dtype)},
                           {"gpu", Json(p.request.gpu)},
                           {"bytes", Json(p.bytes)},
                           {"operations", Json(p.operations)},
                           {"memory_seconds", Json(p.memory_seconds)},
                           {"arithmetic_seconds", Json(p.arithmetic_seconds)},
                           {"kernels", Json(std::move(kernels))}});
}

}  // namespace tessera::algorithms
