// The CUDA toolkit's own ways, each by itself: which of them is the peer to beat on this GPU, and
// what a launch costs alone and in a graph. cuSOLVER's matrices run along columns.
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cusolverDn.h>
#include <cusparse.h>

#include <cmath>
#include <memory>
#include <string>

#include "tessera/bench/kernels/gpu/operands.hpp"
#include "tessera/kernels/gemm.hpp"
#include "tessera/kernels/linalg.hpp"
#include "tessera/kernels/spmm.hpp"

namespace tessera::bench {
namespace {

template <class Status>
void check(Status status, const char* call) {
  TS_CHECK(static_cast<int>(status) == 0, call, ": status ", static_cast<int>(status));
}
cudaStream_t native() { return static_cast<cudaStream_t>(stream().native()); }
Tensor bytes(size_t count) {
  return empty({static_cast<int64_t>(std::max<size_t>(count, 1))}, DType::u8);
}

void add_variant(const std::string& name, const Shape& shape, const char* dtype,
                 const std::string& variant, const std::function<Work()>& prepare) {
  add_once({.name = name,
            .size = text_of(shape),
            .dtype = dtype,
            .variant = variant,
            .device = device(),
            .prepare = prepare});
}

// ---------------------------------------------------------------- cuSPARSE

cusparseHandle_t sparse() {
  static const cusparseHandle_t handle = [] {
    cusparseHandle_t created = nullptr;
    check(cusparseCreate(&created), "cusparseCreate");
    check(cusparseSetStream(created, native()), "cusparseSetStream");
    return created;
  }();
  return handle;
}

/// Products after the preprocessing of the algorithm, which is not timed.
Work sparse_product(const GraphSpec& spec, int64_t width, cusparseSpMMAlg_t algorithm) {
  const Graph graph = make_graph(spec);
  const Tensor row_ptr = graph.row_ptr.to(device()), col = graph.col.to(device()),
               values = graph.values.to(device()), x = uniform({graph.nodes, width}, DType::f32),
               y = empty({graph.nodes, width}, DType::f32), wanted = empty(y.shape(), DType::f32);
  const kernels::CsrView view{graph.nodes,
                              graph.nodes,
                              col.numel(),
                              static_cast<const int32_t*>(row_ptr.data()),
                              static_cast<const int32_t*>(col.data()),
                              values.view()};
  struct Descriptions {
    cusparseConstSpMatDescr_t a = nullptr;
    cusparseConstDnMatDescr_t x = nullptr;
    cusparseDnMatDescr_t y = nullptr;
    ~Descriptions() {
      (void)cusparseDestroySpMat(a), (void)cusparseDestroyDnMat(x), (void)cusparseDestroyDnMat(y);
    }
  };
  const auto d = std::make_shared<Descriptions>();
  check(cusparseCreateConstCsr(&d->a, graph.nodes, graph.nodes, col.numel(), row_ptr.data(),
                               col.data(), values.data(), CUSPARSE_INDEX_32I, CUSPARSE_INDEX_32I,
                               CUSPARSE_INDEX_BASE_ZERO, CUDA_R_32F),
        "cusparseCreateConstCsr");
  // ALG1 and ALG3 are for columns that run along memory
  const bool rows = algorithm == CUSPARSE_SPMM_CSR_ALG2;
  const cusparseOrder_t order = rows ? CUSPARSE_ORDER_ROW : CUSPARSE_ORDER_COL;
  const int64_t leading = rows ? width : graph.nodes;
  check(cusparseCreateConstDnMat(&d->x, graph.nodes, width, leading, x.data(), CUDA_R_32F, order),
        "cusparseCreateConstDnMat");
  check(cusparseCreateDnMat(&d->y, graph.nodes, width, leading, y.data(), CUDA_R_32F, order),
        "cusparseCreateDnMat");
  static const float one = 1, zero = 0;
  constexpr auto plain = CUSPARSE_OPERATION_NON_TRANSPOSE;
  size_t size = 0;
  check(cusparseSpMM_bufferSize(sparse(), plain, plain, &one, d->a, d->x, &zero, d->y, CUDA_R_32F,
                                algorithm, &size),
        "cusparseSpMM_bufferSize");
  const Tensor buffer = bytes(size);
  check(cusparseSpMM_preprocess(sparse(), plain, plain, &one, d->a, d->x, &zero, d->y, CUDA_R_32F,
                                algorithm, buffer.data()),
        "cusparseSpMM_preprocess");
  return {.run =
              [=] {
                check(cusparseSpMM(sparse(), plain, plain, &one, d->a, d->x, &zero, d->y,
                                   CUDA_R_32F, algorithm, buffer.data()),
                      "cusparseSpMM");
                (void)row_ptr, (void)col, (void)values;  // kept
              },
          .check =
              [=] {
                const auto as_rows = [&](const Tensor& t) {
                  return rows ? t : t.reshape({width, t.size(0)}).transpose(0, 1).clone();
                };
                const Tensor from = as_rows(x);
                kernels::spmm(stream(), view, from.view(), wanted.view());
                for (const int64_t i : places(y.size(0)))
                  expect_close(concat("row ", i), row(as_rows(y), i), row(wanted, i),
                               rounding(DType::f32));
              },
          .bytes = bytes_of({x, y, row_ptr, col, values}),
          .flops = 2.0 * static_cast<double>(col.numel() * width)};
}

void add_sparse() {
  const std::pair<const char*, cusparseSpMMAlg_t> algorithms[] = {
      {"cusparse_alg1", CUSPARSE_SPMM_CSR_ALG1},
      {"cusparse_alg2", CUSPARSE_SPMM_CSR_ALG2},
      {"cusparse_alg3", CUSPARSE_SPMM_CSR_ALG3}};
  for (const GraphSpec& spec : graph_specs)
    for (const int64_t width : {16, 64, 256})
      for (const auto& [variant, algorithm] : algorithms)
        add_variant(
            std::string("spmm/") + spec.name, {spec.nodes, spec.entries, width}, "f32", variant,
            [=, &spec, algorithm = algorithm] { return sparse_product(spec, width, algorithm); });
}

// ---------------------------------------------------------------- cuSOLVER

struct Solver {
  cusolverDnHandle_t handle = nullptr;
  cusolverDnParams_t params = nullptr;
  syevjInfo_t of_eigh = nullptr;
  gesvdjInfo_t of_svd = nullptr;

  Solver() {
    check(cusolverDnCreate(&handle), "cusolverDnCreate");
    check(cusolverDnSetStream(handle, native()), "cusolverDnSetStream");
    check(cusolverDnCreateParams(&params), "cusolverDnCreateParams");
    check(cusolverDnCreateSyevjInfo(&of_eigh), "cusolverDnCreateSyevjInfo");
    check(cusolverDnCreateGesvdjInfo(&of_svd), "cusolverDnCreateGesvdjInfo");
  }
};
const Solver& solver() {
  static const Solver made;
  return made;
}

constexpr cusolverEigMode_t vectors = CUSOLVER_EIG_MODE_VECTOR;
constexpr cublasFillMode_t upper = CUBLAS_FILL_MODE_UPPER;
constexpr cudaDataType real = CUDA_R_32F;

/// What a routine works in: its sizes, then memory of them.
struct Workspace {
  size_t on_device = 0, on_host = 0;
  Tensor device_memory = {};
  std::shared_ptr<std::vector<char>> host_memory = {};
  void allocate() {
    device_memory = bytes(on_device);
    host_memory = std::make_shared<std::vector<char>>(on_host + 1);
  }
};

/// The routine overwrites its matrices: each call first copies them.
Work overwriting(const Tensor& x, const Tensor& a, const std::function<void()>& routine,
                 const std::function<void()>& checks) {
  return {.run =
              [=] {
                kernels::copy(stream(), x.view(), a.view());
                routine();
              },
          .check = checks,
          .bytes = 2 * bytes_of({x})};
}

Work eigh(const std::string& routine, int64_t count, int64_t n) {
  const Tensor x = uniform({count, n, n}, DType::f32), a = empty(x.shape(), DType::f32),
               w = empty({count, n}, DType::f32), info = empty({count}, DType::i32),
               wanted = empty(w.shape(), DType::f32), v = empty(x.shape(), DType::f32);
  const Solver& s = solver();
  float *const of_a = static_cast<float*>(a.data()), *const of_w = static_cast<float*>(w.data());
  int* const of_info = static_cast<int*>(info.data());
  const int order = static_cast<int>(n);
  Workspace work;
  int elements = 0;
  std::function<void()> call;
  if (routine == "syevd") {
    check(cusolverDnXsyevd_bufferSize(s.handle, s.params, vectors, upper, n, real, of_a, n, real,
                                      of_w, real, &work.on_device, &work.on_host),
          "cusolverDnXsyevd_bufferSize");
    work.allocate();
    call = [=, &s] {
      check(cusolverDnXsyevd(s.handle, s.params, vectors, upper, n, real, of_a, n, real, of_w, real,
                             work.device_memory.data(), work.on_device, work.host_memory->data(),
                             work.on_host, of_info),
            "cusolverDnXsyevd");
    };
  } else if (routine == "syevj") {
    check(cusolverDnSsyevj_bufferSize(s.handle, vectors, upper, order, of_a, order, of_w, &elements,
                                      s.of_eigh),
          "cusolverDnSsyevj_bufferSize");
    work.on_device = static_cast<size_t>(elements) * sizeof(float);
    work.allocate();
    call = [=, &s] {
      check(cusolverDnSsyevj(s.handle, vectors, upper, order, of_a, order, of_w,
                             static_cast<float*>(work.device_memory.data()), elements, of_info,
                             s.of_eigh),
            "cusolverDnSsyevj");
    };
  } else {
    check(
        cusolverDnXsyevBatched_bufferSize(s.handle, s.params, vectors, upper, n, real, of_a, n,
                                          real, of_w, real, &work.on_device, &work.on_host, count),
        "cusolverDnXsyevBatched_bufferSize");
    work.allocate();
    call = [=, &s] {
      check(cusolverDnXsyevBatched(s.handle, s.params, vectors, upper, n, real, of_a, n, real, of_w,
                                   real, work.device_memory.data(), work.on_device,
                                   work.host_memory->data(), work.on_host, of_info, count),
            "cusolverDnXsyevBatched");
    };
  }
  return overwriting(
      x, a, [=] { call(), (void)w, (void)info; },
      [=] {
        kernels::eigh(stream(), x.view(), wanted.view(), v.view(),
                      {.variant = kernels::LinalgVariant::own});
        for (const int64_t b : places(count))
          expect_close(concat("eigenvalues of matrix ", b), row(w, b), row(wanted, b),
                       10 * rounding(DType::f32));
      });
}

/// Singular values and thin vectors of one m x n matrix, m >= n; gesvdr: the k largest.
Work svd(const std::string& routine, int64_t m, int64_t n) {
  const int64_t k = routine == "gesvdr" ? n / 2 : n;
  const Tensor x = uniform({n, m}, DType::f32), a = empty({n, m}, DType::f32),
               sigma = empty({n}, DType::f32), u = empty({n, m}, DType::f32),
               v = empty({n, n}, DType::f32), info = empty({1}, DType::i32);
  const Solver& s = solver();
  float *const of_a = static_cast<float*>(a.data()),
               *const of_s = static_cast<float*>(sigma.data()),
               *const of_u = static_cast<float*>(u.data()),
               *const of_v = static_cast<float*>(v.data());
  int* const of_info = static_cast<int*>(info.data());
  const int rows = static_cast<int>(m), columns = static_cast<int>(n);
  Workspace work;
  int elements = 0;
  std::function<void()> call;
  const auto in_elements = [&] {
    work.on_device = static_cast<size_t>(elements) * sizeof(float);
    work.allocate();
    return static_cast<float*>(work.device_memory.data());
  };
  if (routine == "gesvd") {
    check(cusolverDnXgesvd_bufferSize(s.handle, s.params, 'S', 'S', m, n, real, of_a, m, real, of_s,
                                      real, of_u, m, real, of_v, n, real, &work.on_device,
                                      &work.on_host),
          "cusolverDnXgesvd_bufferSize");
    work.allocate();
    call = [=, &s] {
      check(cusolverDnXgesvd(s.handle, s.params, 'S', 'S', m, n, real, of_a, m, real, of_s, real,
                             of_u, m, real, of_v, n, real, work.device_memory.data(),
                             work.on_device, work.host_memory->data(), work.on_host, of_info),
            "cusolverDnXgesvd");
    };
  } else if (routine == "gesvdj") {
    check(cusolverDnSgesvdj_bufferSize(s.handle, vectors, 1, rows, columns, of_a, rows, of_s, of_u,
                                       rows, of_v, columns, &elements, s.of_svd),
          "cusolverDnSgesvdj_bufferSize");
    float* const memory = in_elements();
    call = [=, &s] {
      check(cusolverDnSgesvdj(s.handle, vectors, 1, rows, columns, of_a, rows, of_s, of_u, rows,
                              of_v, columns, memory, elements, of_info, s.of_svd),
            "cusolverDnSgesvdj");
      (void)work;
    };
  } else if (routine == "gesvda") {
    check(cusolverDnSgesvdaStridedBatched_bufferSize(s.handle, vectors, columns, rows, columns,
                                                     of_a, rows, m * n, of_s, n, of_u, rows, m * n,
                                                     of_v, columns, n * n, &elements, 1),
          "cusolverDnSgesvdaStridedBatched_bufferSize");
    float* const memory = in_elements();
    call = [=, &s] {
      double residual = 0;
      check(cusolverDnSgesvdaStridedBatched(s.handle, vectors, columns, rows, columns, of_a, rows,
                                            m * n, of_s, n, of_u, rows, m * n, of_v, columns, n * n,
                                            memory, elements, of_info, &residual, 1),
            "cusolverDnSgesvdaStridedBatched");
      (void)work;
    };
  } else if (routine == "gesvdp") {
    check(cusolverDnXgesvdp_bufferSize(s.handle, s.params, vectors, 1, m, n, real, of_a, m, real,
                                       of_s, real, of_u, m, real, of_v, n, real, &work.on_device,
                                       &work.on_host),
          "cusolverDnXgesvdp_bufferSize");
    work.allocate();
    call = [=, &s] {
      double shift = 0;
      check(
          cusolverDnXgesvdp(s.handle, s.params, vectors, 1, m, n, real, of_a, m, real, of_s, real,
                            of_u, m, real, of_v, n, real, work.device_memory.data(), work.on_device,
                            work.host_memory->data(), work.on_host, of_info, &shift),
          "cusolverDnXgesvdp");
    };
  } else {
    check(cusolverDnXgesvdr_bufferSize(s.handle, s.params, 'S', 'S', m, n, k, n - k, 2, real, of_a,
                                       m, real, of_s, real, of_u, m, real, of_v, n, real,
                                       &work.on_device, &work.on_host),
          "cusolverDnXgesvdr_bufferSize");
    work.allocate();
    call = [=, &s] {
      check(cusolverDnXgesvdr(s.handle, s.params, 'S', 'S', m, n, k, n - k, 2, real, of_a, m, real,
                              of_s, real, of_u, m, real, of_v, n, real, work.device_memory.data(),
                              work.on_device, work.host_memory->data(), work.on_host, of_info),
            "cusolverDnXgesvdr");
    };
  }
  return overwriting(
      x, a, [=] { call(), (void)sigma, (void)u, (void)v, (void)info; },
      [=] {
        // squares of singular values are eigenvalues of the Gram matrix
        const Tensor wide = cast(x, DType::f64), gram = empty({n, n}, DType::f64),
                     w = empty({n}, DType::f64), q = empty({n, n}, DType::f64);
        kernels::gemm(stream(), wide.view(), wide.transpose(0, 1).view(), gram.view());
        kernels::eigh(stream(), gram.view(), w.view(), q.view(),
                      {.variant = kernels::LinalgVariant::own});
        Numbers wanted = numbers(w), got = numbers(sigma);
        std::reverse(wanted.begin(), wanted.end());
        for (double& x2 : wanted) x2 = std::sqrt(std::max(x2, 0.0));
        wanted.resize(static_cast<size_t>(k)), got.resize(wanted.size());
        // the randomized routine approximates, and a flat spectrum least of all
        expect_close("singular values", got, wanted,
                     routine == "gesvdr" ? 0.1 : 10 * rounding(DType::f32));
      });
}

void add_solvers() {
  for (const int64_t n : {64, 128, 256, 400}) {
    for (const char* routine : {"syevd", "syevj"})
      add_variant("linalg/eigh", {1, n, n}, "f32", routine, [=] { return eigh(routine, 1, n); });
    add_variant("linalg/eigh", {64, n, n}, "f32", "syev_batched",
                [=] { return eigh("syev_batched", 64, n); });
  }
  for (const char* routine : {"gesvd", "gesvdj", "gesvda", "gesvdp", "gesvdr"})
    add_variant("linalg/svd", {1, 21025, 200}, "f32", routine,
                [=] { return svd(routine, 21025, 200); });
}

// ---------------------------------------------------------------- cuBLASLt, codes to 32-bit sums

Work codes_product(int64_t m, int64_t n, int64_t k) {
  // c' = b a' by columns, b transposed: the layout that its kernels for codes want
  static const cublasLtHandle_t handle = [] {
    cublasLtHandle_t created = nullptr;
    check(cublasLtCreate(&created), "cublasLtCreate");
    return created;
  }();
  struct Plan {
    cublasLtMatmulDesc_t product = nullptr;
    cublasLtMatrixLayout_t a = nullptr, b = nullptr, c = nullptr;
    cublasLtMatmulHeuristicResult_t best{};
    ~Plan() {
      (void)cublasLtMatrixLayoutDestroy(a), (void)cublasLtMatrixLayoutDestroy(b),
          (void)cublasLtMatrixLayoutDestroy(c), (void)cublasLtMatmulDescDestroy(product);
    }
  };
  const auto plan = std::make_shared<Plan>();
  check(cublasLtMatmulDescCreate(&plan->product, CUBLAS_COMPUTE_32I, CUDA_R_32I),
        "cublasLtMatmulDescCreate");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  check(cublasLtMatmulDescSetAttribute(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                       sizeof transposed),
        "cublasLtMatmulDescSetAttribute");
  const auto layout = [](cublasLtMatrixLayout_t* to, cudaDataType type, int64_t down,
                         int64_t across) {
    check(cublasLtMatrixLayoutCreate(to, type, static_cast<uint64_t>(down),
                                     static_cast<uint64_t>(across), down),
          "cublasLtMatrixLayoutCreate");
  };
  layout(&plan->b, CUDA_R_8I, k, n), layout(&plan->a, CUDA_R_8I, k, m);
  layout(&plan->c, CUDA_R_32I, n, m);
  cublasLtMatmulPreference_t wishes = nullptr;
  check(cublasLtMatmulPreferenceCreate(&wishes), "cublasLtMatmulPreferenceCreate");
  const std::unique_ptr<void, void (*)(void*)> owned(wishes, [](void* p) {
    (void)cublasLtMatmulPreferenceDestroy(static_cast<cublasLtMatmulPreference_t>(p));
  });
  const size_t most = size_t{32} << 20;
  check(cublasLtMatmulPreferenceSetAttribute(wishes, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                             &most, sizeof most),
        "cublasLtMatmulPreferenceSetAttribute");
  int found = 0;
  check(cublasLtMatmulAlgoGetHeuristic(handle, plan->product, plan->b, plan->a, plan->c, plan->c,
                                       wishes, 1, &plan->best, &found),
        "cublasLtMatmulAlgoGetHeuristic");
  TS_CHECK(found > 0, "cuBLASLt has no algorithm for codes of ", m, "x", n, "x", k);
  const Tensor memory = bytes(most);
  return rotating(
      static_cast<double>(m * k + k * n + 4 * m * n),
      2.0 * static_cast<double>(m) * static_cast<double>(n * k), [&] {
        const Tensor a = codes({m, k}), b = codes({n, k}), c = empty({m, n}, DType::i32);
        const auto run = [=] {
          const int32_t one = 1, zero = 0;
          check(cublasLtMatmul(handle, plan->product, &one, b.data(), plan->b, a.data(), plan->a,
                               &zero, c.data(), plan->c, c.data(), plan->c, &plan->best.algo,
                               memory.data(), most, native()),
                "cublasLtMatmul");
        };
        const auto check_sums = [=] {
          for (const int64_t i : places(m))
            for (const int64_t j : places(n))
              expect_close(
                  concat("element ", i, ", ", j),
                  {static_cast<double>(c.narrow(0, i, 1).narrow(1, j, 1).values<int32_t>()[0])},
                  {dot(row(a, i), row(b, j))}, 0);
        };
        return Call{run, check_sums};
      });
}

void add_codes() {
  constexpr int64_t sizes[][3] = {{1024, 1024, 1024}, {2048, 2048, 2048}, {4096, 4096, 4096},
                                  {8192, 8192, 8192}, {2048, 4096, 8192}, {16, 4096, 4096},
                                  {16, 14336, 4096},  {16, 28672, 8192},  {64, 28672, 8192},
                                  {256, 28672, 8192}};
  for (const auto& [m, n, k] : sizes)
    add_variant("qgemm/w8a8", {m, n, k}, "i8", "cublaslt_s32",
                [m = m, n = n, k = k] { return codes_product(m, n, k); });
}

// ---------------------------------------------------------------- launches

/// So many kernels that do next to nothing, one after the other or as a graph.
Work launches(int64_t count, bool as_graph) {
  const Tensor x = uniform({64}, DType::f32), y = empty({64}, DType::f32);
  const auto all = [=] {
    for (int64_t i = 0; i < count; ++i) kernels::copy(stream(), x.view(), y.view());
  };
  const auto check_copy = [=] { expect_close("the copy", numbers(y), numbers(x), 0); };
  if (!as_graph) return {.run = all, .check = check_copy};
  all();  // what a first launch sets up is not captured
  stream().synchronize();
  cudaGraph_t graph = nullptr;
  check(cudaStreamBeginCapture(native(), cudaStreamCaptureModeThreadLocal),
        "cudaStreamBeginCapture");
  all();
  check(cudaStreamEndCapture(native(), &graph), "cudaStreamEndCapture");
  cudaGraphExec_t instance = nullptr;
  check(cudaGraphInstantiate(&instance, graph, 0), "cudaGraphInstantiate");
  check(cudaGraphDestroy(graph), "cudaGraphDestroy");
  const std::shared_ptr<CUgraphExec_st> owned(
      instance, [](cudaGraphExec_t made) { (void)cudaGraphExecDestroy(made); });
  kernels::fill(stream(), 0, y.view());
  return {.run = [=] { check(cudaGraphLaunch(owned.get(), native()), "cudaGraphLaunch"); },
          .check = check_copy};
}

}  // namespace
}  // namespace tessera::bench

int main(int argc, char** argv) {
  using namespace tessera::bench;
  if (tessera::available(device())) {
    add_sparse();
    add_solvers();
    add_codes();
    for (const bool as_graph : {false, true})
      add_variant("launch/copies", {100}, "f32", as_graph ? "graph" : "",
                  [=] { return launches(100, as_graph); });
  }
  return tessera::bench::main(argc, argv);
}
