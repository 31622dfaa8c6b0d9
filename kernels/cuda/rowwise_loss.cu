// Cross-entropy and its gradient. Floor: the logits of the rows that count once (and
// probabilities), the gradient once. Rows are dealt with as in rowwise_softmax.cu; the cost of a
// label without smoothing needs one look at the row, other costs look a second time, at registers
// as far as they hold it. Binary cross-entropy is a thread per element. Sums: each block adds up
// its rows, whose number follows from the sizes, and one block adds up the blocks. A list of rows
// is grouped by row, so that what a row named twice receives is added in the order of the list.
// A row's target logit and partial sum are parts of a sector: up to 1.015 of the ideal, 256 wide.
#include "tessera/kernels/cuda/exponentials.cuh"
#include "tessera/kernels/cuda/rowwise.cuh"
#include "tessera/kernels/cuda/spmm.cuh"

namespace tessera::kernels::cuda {
namespace {

// ---------------------------------------------------------------- the rows that count

struct CountedRows {
  const bool* mask;           // one of mask and list, or neither
  const int32_t* entry_rows;  // a list's rows, or `rows` for numbers that are out of range
  const int32_t* start;       // [rows + 1], where a row's entries begin
  const int32_t* entries;     // grouped by row
  int64_t rows;

  TS_DEVICE int32_t times(int64_t row) const {
    if (start) return start[row + 1] - start[row];
    return mask ? mask[row] : 1;
  }
  /// The row of an entry of an unreduced loss.
  TS_DEVICE int64_t row_of(int64_t entry) const { return start ? entry_rows[entry] : entry; }
  /// The sum of values[entry, column] over the entries of a row.
  template <class T>
  TS_DEVICE compute_t<T> gather(const Parameter<T>& values, int64_t row, int64_t width,
                                int64_t column) const {
    if (!start) return values[row * width + column];
    compute_t<T> sum = 0;
    for (int32_t k = start[row]; k < start[row + 1]; ++k)
      sum += values[entries[k] * width + column];
    return sum;
  }
};

template <class I>
__global__ void __launch_bounds__(row_threads)
    check_rows_of_entries(const I* list, int64_t entries, int64_t rows, int32_t* keys,
                          Finding* finding, int32_t call) {
  for (int64_t i = first_element(); i < entries; i += element_step()) {
    const int64_t row = list[i];
    const bool fits = row >= 0 && row < rows;
    if (!fits) report(finding, call, i, row, 0, rows);
    keys[i] = static_cast<int32_t>(fits ? row : rows);
  }
}

LaunchShape over(const char* name, int64_t n) {
  return {name, {blocks_for(n, row_threads)}, {row_threads}};
}

class Selection {
 public:
  Selection(const char* name, Stream& stream, const View& rows, int64_t n, int64_t entries)
      : keys_(stream.scratch(bytes_if(list(rows), entries))),
        start_(stream.scratch(bytes_if(list(rows), n + 2))),
        order_(stream.scratch(bytes_if(list(rows), entries))) {
    device_ = {};
    device_.rows = n;
    if (!list(rows)) {
      device_.mask = rows.as<const bool>();
      return;
    }
    TS_CHECK(n < INT32_MAX - 1 && entries < INT32_MAX, name, ": ", entries, " of ", n,
             " rows are more than 32-bit indices can address");
    Faults& faults = stream.resource<Faults>();
    for_index(rows.dtype, name, [&]<class I>() {
      launch(stream, over(name, entries), check_rows_of_entries<I>, rows.as<I>(), entries, n,
             keys_.as<int32_t>(), faults.finding(), faults.expect(concat(name, ": row number")));
    });
    faults.launched();
    group_positions(stream, keys_.as<int32_t>(), entries, n + 1, start_.as<int32_t>(),
                    order_.as<int32_t>());
    device_.entry_rows = keys_.as<int32_t>();
    device_.start = start_.as<int32_t>();
    device_.entries = order_.as<int32_t>();
  }
  const CountedRows& on_device() const { return device_; }

 private:
  static bool list(const View& rows) { return given(rows) && rows.dtype != DType::bool_; }
  static size_t bytes_if(bool wanted, int64_t n) {
    return wanted ? static_cast<size_t>(n) * sizeof(int32_t) : 0;
  }
  Scratch keys_, start_, order_;
  CountedRows device_;
};

// ---------------------------------------------------------------- sums over all rows

/// The costs of what counted, and what `mean` divides by.
using Totals = Values<double, 2>;

TS_DEVICE void put_block_totals(const Totals& of_thread, Totals* partial) {
  struct Shared {
    Totals warps[row_threads / warp_size];
  };
  const Totals total = block_reduce(of_thread, SumOfValues{}, static_shared<Shared>().warps);
  if (thread_index().x == 0) partial[block_index().x] = total;
}

/// By one block: `loss` gets the result, `divisor` what mean divides by; either may be absent.
template <class T>
__global__ void __launch_bounds__(row_threads)
    finish_totals(const Totals* partial, uint32_t blocks, bool mean, ParameterResult<T> loss,
                  double* divisor) {
  struct Shared {
    Totals warps[row_threads / warp_size];
  };
  Totals total{};
  for (uint32_t b = thread_index().x; b < blocks; b += row_threads)
    total = SumOfValues{}(total, partial[b]);
  total = block_reduce(total, SumOfValues{}, static_shared<Shared>().warps);
  if (thread_index().x > 0) return;
  loss.put(0, mean ? total.of[0] / total.of[1] : total.of[0]);
  if (divisor) *divisor = total.of[1];
}

/// Adds up what rows count for. `counts(row)` is a row's share of what mean divides by.
template <class Counts>
__global__ void __launch_bounds__(row_threads)
    count_rows(int64_t rows, Counts counts, Totals* partial) {
  Totals total{};
  for (int64_t row = first_element(); row < rows; row += element_step()) total.of[1] += counts(row);
  put_block_totals(total, partial);
}

/// What mean divides by, on the device.
template <class T, class Counts>
void sum_counts(Stream& stream, const char* name, int64_t rows, const Counts& counts,
                double* divisor) {
  const LaunchShape shape = over(name, rows);
  const Scratch partial = stream.scratch(shape.grid.x * sizeof(Totals));
  launch(stream, shape, count_rows<Counts>, rows, counts, partial.as<Totals>());
  launch(stream, {name, {1}, {row_threads}}, finish_totals<T>, partial.as<Totals>(), shape.grid.x,
         true, ParameterResult<T>(View{}), divisor);
}

/// The factor of a row's (or element's) gradient, from that of the loss.
template <class T>
struct LossGradient {
  using C = compute_t<T>;
  Parameter<T> gloss;
  const double* divisor;  // null: 1
  bool unreduced;

  TS_DEVICE C operator()(const CountedRows& counted, int64_t row, int64_t width,
                         int64_t column) const {
    if (unreduced) return counted.gather(gloss, row, width, column);
    const double g = gloss[0];
    return static_cast<C>((divisor ? g / *divisor : g) * counted.times(row));
  }
};

// ---------------------------------------------------------------- cross entropy

/// The operands of one call. w and t' as in the contract.
template <class T>
struct CrossEntropy {
  using C = compute_t<T>;
  Rows rows;
  const T* logits;
  const T* probabilities;  // one of the three
  const int32_t* labels32;
  const int64_t* labels64;
  int64_t ignore_index;
  Parameter<T> weights;
  C keep, spread;  // 1 - smoothing, smoothing / classes
  CountedRows counted;
  Finding* finding;
  int32_t call;

  /// The row's label, 0 with probabilities, or -1 where the row does not count.
  TS_DEVICE int64_t label(int64_t row) const {
    if (counted.times(row) == 0) return -1;
    if (probabilities) return 0;
    const int64_t y = labels32 ? labels32[row] : labels64[row];
    if (y == ignore_index) return -1;
    if (y >= 0 && y < rows.n) return y;
    report(finding, call, row, y, 0, rows.n);
    return -1;
  }
  /// A row's share of what mean divides by.
  TS_DEVICE double operator()(int64_t row) const {
    const int64_t y = label(row);
    return y < 0 ? 0 : counted.times(row) * static_cast<double>(probabilities ? C{1} : weights[y]);
  }
  /// w_c t'_c at lane i of a pack, whose second operand holds the probabilities.
  template <bool soft, class Packs>
  TS_DEVICE C weighted_target(int64_t y, uint32_t column, const Packs& p, int i) const {
    C t;
    if constexpr (soft)
      t = widen(p.of[1].lane[i]);
    else
      t = column + i == y ? C{1} : C{0};
    return functors::fma(keep, t, spread) * weights[column + i];
  }
  template <bool soft, int n>
  TS_DEVICE auto packs(const Row& row) const {
    if constexpr (soft)
      return RowPacks<T, n, 2>(row, logits, probabilities);
    else
      return RowPacks<T, n, 1>(row, logits);
  }
};

/// The row as far as it is read: not at all where it does not count.
TS_DEVICE Row counted_part(Row row, int64_t label) {
  if (label < 0) row.n = 0;
  return row;
}

template <class T, int n, bool soft>
__global__ void __launch_bounds__(row_threads, 2)
    cross_entropy_rows(CrossEntropy<T> p, compute_t<T>* cost, compute_t<T>* lse, Totals* partial) {
  using C = compute_t<T>;
  Totals totals{};
  for_rows(p.rows, [&](const Row& row) {
    const int64_t y = row.there ? p.label(row.number) : -1;
    const auto packs = p.template packs<soft, n>(counted_part(row, y));
    Exponentials<C> e;
    packs.each([&](uint32_t, const auto& x) { e.add(x.of[0]); });
    e = row.reduce(e, JoinExponentials{});
    const C log_sum = functors::log(e.sum);
    C of_row = 0;
    if (soft || p.spread != 0) {
      packs.each([&](uint32_t column, const auto& x) {
#pragma unroll
        for (int i = 0; i < n; ++i) {
          const C wt = p.template weighted_target<soft>(y, column, x, i);
          // infinite for a class that cannot be
          if (wt != 0) of_row += wt * ((e.top - widen(x.of[0].lane[i])) + log_sum);
        }
      });
      of_row = row.reduce(of_row, Sum{});
    } else if (y >= 0) {
      const C x = widen(p.logits[row.number * row.n + y]);
      of_row = p.keep * p.weights[y] * ((e.top - x) + log_sum);
    }
    if (!row.first()) return;
    if (cost) cost[row.number] = of_row;
    if (lse) lse[row.number] = y < 0 ? C{0} : e.top + log_sum;
    if (y < 0) return;
    totals.of[0] += p.counted.times(row.number) * static_cast<double>(of_row);
    totals.of[1] += p(row.number);
  });
  put_block_totals(totals, partial);
}

/// glogits = g * (p_c * sum(w t') - w_c t'_c)
template <class T, int n, bool soft>
__global__ void __launch_bounds__(row_threads, soft ? 1 : 2)
    cross_entropy_gradient_rows(CrossEntropy<T> p, bool weighted, LossGradient<T> gradient,
                                const compute_t<T>* lse, T* glogits) {
  using C = compute_t<T>;
  for_rows(p.rows, [&](const Row& row) {
    const int64_t y = row.there ? p.label(row.number) : -1;
    const auto packs = p.template packs<soft, n>(counted_part(row, y));
    T* const to = glogits + row.number * row.n;
    C sum = p.keep;
    if (soft || (weighted && p.spread != 0)) {
      sum = 0;
      packs.each([&](uint32_t column, const auto& x) {
#pragma unroll
        for (int i = 0; i < n; ++i) sum += p.template weighted_target<soft>(y, column, x, i);
      });
      sum = row.reduce(sum, Sum{});
    } else if (y >= 0) {
      sum = p.keep * p.weights[y] + p.spread * static_cast<C>(row.n);
    }
    if (y < 0) {
      for (uint32_t c = row.lane * n; c < row.n; c += row.group * n)
        store_values<n>(to + c, [](int) { return C{0}; });
      return;
    }
    const C g = gradient(p.counted, row.number, 1, 0), row_lse = lse[row.number];
    packs.each([&](uint32_t column, const auto& x) {
      store_values<n>(to + column, [&](int i) {
        return g * (functors::exp(widen(x.of[0].lane[i]) - row_lse) * sum -
                    p.template weighted_target<soft>(y, column, x, i));
      });
    });
  });
}

template <class T>
__global__ void __launch_bounds__(row_threads)
    costs_of_entries(int64_t entries, CountedRows counted, const compute_t<T>* cost,
                     ParameterResult<T> loss) {
  for (int64_t i = first_element(); i < entries; i += element_step()) {
    const int64_t row = counted.row_of(i);
    if (row < counted.rows) loss.put(i, cost[row]);
  }
}

/// Calls body<n, soft>(operands on the device) for the pack and the kind of target.
template <class T, class Body>
void for_cross_entropy(const char* name, Stream& stream, const View& logits, const View& target,
                       const LossSelection& selection, const CrossEntropyParams& params,
                       int64_t entries, const View& result, Body&& body) {
  using C = compute_t<T>;
  const int64_t rows = logits.shape[0], classes = logits.shape[1];
  const Selection selected(name, stream, selection.rows, rows, entries);
  Faults& faults = stream.resource<Faults>();
  const bool soft = is_float(target.dtype);
  for_pack<T>(classes, {logits, soft ? target : View{}, result}, [&]<int n>() {
    const CrossEntropy<T> p{
        rows_for<T, n>(name, rows, classes),
        logits.as<T>(),
        soft ? target.as<T>() : nullptr,
        target.dtype == DType::i32 ? target.as<int32_t>() : nullptr,
        target.dtype == DType::i64 ? target.as<int64_t>() : nullptr,
        params.ignore_index,
        Parameter<T>(selection.class_weights, 1),
        static_cast<C>(1 - params.label_smoothing),
        classes > 0 ? static_cast<C>(params.label_smoothing / static_cast<double>(classes)) : C{0},
        selected.on_device(),
        faults.finding(),
        faults.expect(concat(name, ": label of row"))};
    if (soft)
      body.template operator()<n, true>(p);
    else
      body.template operator()<n, false>(p);
  });
  faults.launched();
}

// ---------------------------------------------------------------- binary cross-entropy

template <class T>
struct BinaryCrossEntropy {
  using C = compute_t<T>;
  int64_t rows, classes;
  const T *logits, *target;
  Parameter<T> weights;
  CountedRows counted;

  TS_DEVICE int64_t row_of(int64_t element) const {
    return classes == 1 ? element : element / classes;
  }
  TS_DEVICE double operator()(int64_t row) const {
    return static_cast<double>(counted.times(row)) * static_cast<double>(classes);
  }
  TS_DEVICE C cost(int64_t row, int64_t column) const {
    const int64_t at = row * classes + column;
    return functors::binary_cross_entropy(widen(logits[at]), widen(target[at]), weights[column]);
  }
  TS_DEVICE C derivative(int64_t row, int64_t column) const {
    const int64_t at = row * classes + column;
    return functors::binary_cross_entropy_derivative(widen(logits[at]), widen(target[at]),
                                                     weights[column]);
  }
};

template <class T>
__global__ void __launch_bounds__(row_threads)
    sum_binary_costs(BinaryCrossEntropy<T> p, Totals* partial) {
  Totals totals{};
  for (int64_t i = first_element(); i < p.rows * p.classes; i += element_step()) {
    const int64_t row = p.row_of(i);
    const double times = p.counted.times(row);
    if (times == 0) continue;
    totals.of[0] += times * static_cast<double>(p.cost(row, i - row * p.classes));
    totals.of[1] += times;
  }
  put_block_totals(totals, partial);
}

template <class T>
__global__ void __launch_bounds__(row_threads)
    binary_costs_of_entries(BinaryCrossEntropy<T> p, int64_t entries, ParameterResult<T> loss) {
  for (int64_t i = first_element(); i < entries * p.classes; i += element_step()) {
    const int64_t entry = p.row_of(i), row = p.counted.row_of(entry);
    if (row < p.rows)
      loss.put(i, p.counted.times(row) > 0 ? p.cost(row, i - entry * p.classes) : 0);
  }
}

template <class T>
__global__ void __launch_bounds__(row_threads)
    binary_gradient(BinaryCrossEntropy<T> p, LossGradient<T> gradient, T* glogits) {
  using C = compute_t<T>;
  for (int64_t i = first_element(); i < p.rows * p.classes; i += element_step()) {
    const int64_t row = p.row_of(i), column = i - row * p.classes;
    const C f = p.counted.times(row) > 0 ? gradient(p.counted, row, p.classes, column) : C{0};
    glogits[i] = narrow<T>(f == 0 ? C{0} : f * p.derivative(row, column));
  }
}

template <class T>
BinaryCrossEntropy<T> binary_operands(const View& logits, const View& target,
                                      const LossSelection& selection, const Selection& selected) {
  return {logits.shape[0], logits.rank == 2 ? logits.shape[1] : 1,   logits.as<T>(),
          target.as<T>(),  Parameter<T>(selection.class_weights, 1), selected.on_device()};
}

}  // namespace

void cross_entropy(Stream& stream, View logits, View target, const LossSelection& selection,
                   const CrossEntropyParams& params, View loss, View lse) {
  const char* name = "cross_entropy";
  const int64_t entries = check_cross_entropy(name, logits, target, selection, params, "loss", loss,
                                              {"lse", lse, optional});
  const bool unreduced = params.reduction == LossReduction::none;
  for_float(logits.dtype, name, [&]<class T>() {
    using C = compute_t<T>;
    for_cross_entropy<T>(
        name, stream, logits, target, selection, params, entries, {},
        [&]<int n, bool soft>(const CrossEntropy<T>& p) {
          const LaunchShape shape = shape_for(name, p.rows);
          const Scratch partial = stream.scratch(shape.grid.x * sizeof(Totals)),
                        cost = stream.scratch(
                            unreduced ? static_cast<size_t>(p.rows.count) * sizeof(C) : 0);
          launch(stream, shape, cross_entropy_rows<T, n, soft>, p,
                 unreduced ? cost.as<C>() : nullptr, lse.as<C>(), partial.as<Totals>());
          if (unreduced)
            launch(stream, over(name, entries), costs_of_entries<T>, entries, p.counted,
                   cost.as<C>(), ParameterResult<T>(loss));
          else
            launch(stream, {name, {1}, {row_threads}}, finish_totals<T>, partial.as<Totals>(),
                   shape.grid.x, params.reduction == LossReduction::mean, ParameterResult<T>(loss),
                   nullptr);
        });
  });
}

void cross_entropy_gradient(Stream& stream, View logits, View target,
                            const LossSelection& selection, const CrossEntropyParams& params,
                            View lse, View gloss, View glogits) {
  const char* name = "cross_entropy_gradient";
  check_alike(name, {{"logits", logits}, {"glogits", glogits}});
  const int64_t entries =
      check_cross_entropy(name, logits, target, selection, params, "gloss", gloss, {"lse", lse});
  if (logits.numel() == 0) return;
  const bool mean = params.reduction == LossReduction::mean;
  const Scratch divisor = stream.scratch(sizeof(double));
  for_float(logits.dtype, name, [&]<class T>() {
    using C = compute_t<T>;
    for_cross_entropy<T>(
        name, stream, logits, target, selection, params, entries, glogits,
        [&]<int n, bool soft>(const CrossEntropy<T>& p) {
          if (mean) sum_counts<T>(stream, name, p.rows.count, p, divisor.as<double>());
          launch(stream, shape_for(name, p.rows), cross_entropy_gradient_rows<T, n, soft>, p,
                 given(selection.class_weights),
                 LossGradient<T>{Parameter<T>(gloss, 0), mean ? divisor.as<double>() : nullptr,
                                 params.reduction == LossReduction::none},
                 lse.as<C>(), glogits.as<T>());
        });
  });
}

void binary_cross_entropy(Stream& stream, View logits, View target, const LossSelection& selection,
                          LossReduction reduction, View loss) {
  const char* name = "binary_cross_entropy";
  const int64_t entries =
      check_binary_cross_entropy(name, logits, target, selection, reduction, "loss", loss);
  const Selection selected(name, stream, selection.rows, logits.shape[0], entries);
  for_float(logits.dtype, name, [&]<class T>() {
    const auto p = binary_operands<T>(logits, target, selection, selected);
    if (reduction == LossReduction::none) {
      launch(stream, over(name, loss.numel()), binary_costs_of_entries<T>, p, entries,
             ParameterResult<T>(loss));
      return;
    }
    const LaunchShape shape = over(name, logits.numel());
    const Scratch partial = stream.scratch(shape.grid.x * sizeof(Totals));
    launch(stream, shape, sum_binary_costs<T>, p, partial.as<Totals>());
    launch(stream, {name, {1}, {row_threads}}, finish_totals<T>, partial.as<Totals>(), shape.grid.x,
           reduction == LossReduction::mean, ParameterResult<T>(loss), nullptr);
  });
}

void binary_cross_entropy_gradient(Stream& stream, View logits, View target,
                                   const LossSelection& selection, LossReduction reduction,
                                   View gloss, View glogits) {
  const char* name = "binary_cross_entropy_gradient";
  check_alike(name, {{"logits", logits}, {"glogits", glogits}});
  const int64_t entries =
      check_binary_cross_entropy(name, logits, target, selection, reduction, "gloss", gloss);
  if (logits.numel() == 0) return;
  const Selection selected(name, stream, selection.rows, logits.shape[0], entries);
  const bool mean = reduction == LossReduction::mean;
  const Scratch divisor = stream.scratch(sizeof(double));
  for_float(logits.dtype, name, [&]<class T>() {
    const auto p = binary_operands<T>(logits, target, selection, selected);
    if (mean) sum_counts<T>(stream, name, p.rows, p, divisor.as<double>());
    launch(stream, over(name, logits.numel()), binary_gradient<T>, p,
           LossGradient<T>{Parameter<T>(gloss, 0), mean ? divisor.as<double>() : nullptr,
                           reduction == LossReduction::none},
           glogits.as<T>());
  });
}

}  // namespace tessera::kernels::cuda
