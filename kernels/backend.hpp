#pragma once

#include <string_view>

#include "tessera/runtime/device.hpp"

namespace tessera::kernels {

struct ElementwiseKernels;
struct CopyKernels;
struct ReduceKernels;
struct RowwiseKernels;
struct IndexingKernels;
struct GemmKernels;
struct QuantizeKernels;
struct QgemmKernels;
struct SpmmKernels;
struct LinalgKernels;
struct ConvKernels;
struct PoolKernels;
struct AttentionKernels;
struct SortKernels;
struct RandomKernels;
struct OptimizerKernels;

/// The kernels of one device: a table of functions per family. A family that a device does not have
/// is null, and so is a single function inside a table.
struct Backend {
  std::string_view name;  // "cpu x86-64-v4", "cuda sm_90a", ...
  const ElementwiseKernels* elementwise = nullptr;
  const CopyKernels* copy = nullptr;
  const ReduceKernels* reduce = nullptr;
  const RowwiseKernels* rowwise = nullptr;
  const IndexingKernels* indexing = nullptr;
  const GemmKernels* gemm = nullptr;
  const QuantizeKernels* quantize = nullptr;
  const QgemmKernels* qgemm = nullptr;
  const SpmmKernels* spmm = nullptr;
  const LinalgKernels* linalg = nullptr;
  const ConvKernels* conv = nullptr;
  const PoolKernels* pool = nullptr;
  const AttentionKernels* attention = nullptr;
  const SortKernels* sort = nullptr;
  const RandomKernels* random = nullptr;
  const OptimizerKernels* optimizer = nullptr;
};

/// The table of a device. On the CPU this is the build for the best instruction set level that both
/// this installation and this processor have (TESSERA_CPU=baseline|x86-64-v3|x86-64-v4 chooses
/// another). Throws where the device is not available.
const Backend& backend(Device device);

[[noreturn]] void not_available(std::string_view operation, Device device);

/// Calls `table->*slot` of `device`, or throws "<operation> is not available on <device>".
template <class Table, class Function, class... Args>
decltype(auto) call(std::string_view operation, Device device, const Table* Backend::*family,
                    Function Table::*slot, Args&&... args) {
  const Table* table = backend(device).*family;
  if (!table || !(table->*slot)) not_available(operation, device);
  return (table->*slot)(static_cast<Args&&>(args)...);
}

}  // namespace tessera::kernels
