#include "tessera/kernels/cpu/rowwise.hpp"
#include "tessera/kernels/functors.hpp"

namespace tessera::kernels::cpu {
namespace {

/// How often each row of the logits counts.
class Counted {
 public:
  Counted(std::string_view operation, Stream& s, const View& rows, int64_t n) : rows_(rows), n_(n) {
    if (!given(rows)) return;
    times_.emplace(static_cast<size_t>(n) * sizeof(int32_t), s);
    int32_t* times = times_->as<int32_t>();
    if (rows.dtype == DType::bool_) {
      for (int64_t r = 0; r < n; ++r) times[r] = rows.as<const bool>()[r];
      return;
    }
    std::fill_n(times, n, 0);
    for_index(rows.dtype, operation, [&]<class I>() {
      for (int64_t i = 0; i < rows.shape[0]; ++i) {
        const int64_t r = rows.as<const I>()[i];
        TS_CHECK(r >= 0 && r < n, operation, ": row number ", i, " is ", r, ", outside [0, ", n,
                 ")");
        ++times[r];
      }
    });
  }

  int64_t times(int64_t row) const { return times_ ? times_->as<const int32_t>()[row] : 1; }
  bool everything() const { return !times_; }
  bool list() const { return given(rows_) && rows_.dtype != DType::bool_; }
  /// The first extent of an unreduced loss.
  int64_t entries() const { return list() ? rows_.shape[0] : n_; }
  /// Calls body(entry, row) for the entries of an unreduced loss.
  template <class Body>
  void each_entry(Body&& body) const {
    if (!list()) {
      for (int64_t r = 0; r < n_; ++r) body(r, r);
    } else {
      for_index(rows_.dtype, "rows", [&]<class I>() {
        for (int64_t i = 0; i < rows_.shape[0]; ++i)
          body(i, static_cast<int64_t>(rows_.as<const I>()[i]));
      });
    }
  }

 private:
  View rows_;
  int64_t n_;
  std::optional<Scratch> times_;
};

// Calls body(row) for rows of `size` elements in fixed blocks handed out to threads as they become
// free: rows that do not count cost nothing and may lie together.
template <class Body>
void each_row(int64_t rows, int64_t size, Body&& body) {
  const Blocks blocks(rows, std::max<int64_t>(1, row_grain / std::max<int64_t>(1, size)), rows);
  parallel_blocks(blocks.count, [&](int64_t b) {
    for (int64_t r = blocks.begin(b); r < blocks.end(b); ++r) body(r);
  });
}

// --- cross entropy ---

/// What the rows of one call share. w and t' as in the contract; weight sums are per row.
template <class T>
struct CrossEntropy {
  using C = compute_t<T>;
  View logits, target;
  int64_t rows, classes;
  CrossEntropyParams params;
  Counted counted;
  bool labels;  // the target is labels, not probabilities
  std::optional<Parameter<C>> weights_memory;
  const C* weights = nullptr;   // null: ones
  C keep, spread, all_weights;  // 1 - smoothing, smoothing / classes, sum of w

  CrossEntropy(std::string_view operation, Stream& s, const View& x, const View& t,
               const LossSelection& selection, const CrossEntropyParams& p)
      : logits(x),
        target(t),
        rows(x.shape[0]),
        classes(x.shape[1]),
        params(p),
        counted(operation, s, selection.rows, rows),
        labels(!is_float(t.dtype)) {
    keep = static_cast<C>(1 - p.label_smoothing);
    spread = classes > 0 ? static_cast<C>(p.label_smoothing / static_cast<double>(classes)) : C{0};
    all_weights = static_cast<C>(classes);
    if (given(selection.class_weights)) {
      weights_memory.emplace(s, selection.class_weights, classes, C{1});
      weights = weights_memory->data();
      all_weights = row_sum<C>(classes, [&](auto at) { return read(weights, at); });
    }
  }

  C weight(int64_t label) const { return weights ? weights[label] : C{1}; }
  const T* row(int64_t r) const { return logits.as<const T>() + r * classes; }
  const T* probabilities(int64_t r) const { return target.as<const T>() + r * classes; }

  // The row's label, or -1 where it does not count: outside `rows`, or ignored.
  int64_t label(std::string_view operation, int64_t r) const {
    if (counted.times(r) == 0) return -1;
    const int64_t y =
        target.dtype == DType::i32 ? target.as<const int32_t>()[r] : target.as<const int64_t>()[r];
    if (y == params.ignore_index) return -1;
    TS_CHECK(y >= 0 && y < classes, operation, ": label of row ", r, " is ", y, ", outside [0, ",
             classes, "), and is not the ignore index ", params.ignore_index);
    return y;
  }

  // What `mean` divides by.
  double total() const {
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) {
      if (!labels)
        sum += static_cast<double>(counted.times(r));
      else if (const int64_t y = label("cross_entropy", r); y >= 0)
        sum += static_cast<double>(counted.times(r)) * static_cast<double>(weight(y));
    }
    return sum;
  }

  // w_c t'_c at one place of a row of probabilities.
  template <class At>
  Vec<C> weighted_target(const T* t, At at) const {
    const Vec<C> smoothed = fma(Vec<C>(keep), read(t, at), Vec<C>(spread));
    return weights ? smoothed * read(weights, at) : smoothed;
  }

  C loss_of_label(int64_t r, int64_t y, C& lse) const {
    const T* x = row(r);
    const auto e = spread == 0 ? log_sum_exp(x, classes) : log_sum_exp<true>(x, classes, weights);
    const C log_sum = std::log(e.sum);
    lse = e.top + log_sum;
    const C of_label = keep * weight(y) * ((e.top - static_cast<C>(x[y])) + log_sum);
    return spread == 0 ? of_label : of_label + spread * (all_weights * log_sum - e.shifted);
  }
  C loss_of_probabilities(int64_t r, C& lse) const {
    const T *x = row(r), *t = probabilities(r);
    const auto e = log_sum_exp(x, classes);
    const C log_sum = std::log(e.sum);
    lse = e.top + log_sum;
    return row_sum<C>(classes, [&, top = Vec<C>(e.top), ls = Vec<C>(log_sum)](auto at) {
      const Vec<C> wt = weighted_target(t, at);
      const Vec<C> cost = (top - read(x, at)) + ls;  // infinite for a class that cannot be
      return where(wt == Vec<C>(C{0}), wt, wt * cost);
    });
  }

  // g * (p_c * sum(w t') - w_c t'_c)
  template <class Store>
  void gradient_of_label(int64_t r, int64_t y, C lse, C g, T* to, Store store) const {
    const T* x = row(r);
    const C slope = g * (keep * weight(y) + spread * all_weights);
    const C offset = g * spread;
    const C at_label =
        slope * std::exp(static_cast<C>(x[y]) - lse) - (g * keep + offset) * weight(y);
    const Vec<C> vslope = slope, voffset = offset, vlse = lse;
    row_each<C>(classes, [&](auto at) {
      const Vec<C> spread_out = weights ? voffset * read(weights, at) : voffset;
      store(to, at, exp(read(x, at) - vlse) * vslope - spread_out);
    });
    to[y] = static_cast<T>(at_label);
  }
  template <class Store>
  void gradient_of_probabilities(int64_t r, C lse, C g, T* to, Store store) const {
    const T *x = row(r), *t = probabilities(r);
    const C sum = row_sum<C>(classes, [&](auto at) { return weighted_target(t, at); });
    const Vec<C> vsum = sum, vg = g, vlse = lse;
    row_each<C>(classes, [&](auto at) {
      store(to, at, vg * (exp(read(x, at) - vlse) * vsum - weighted_target(t, at)));
    });
  }
};

double element(const View& v, int64_t i) {
  return for_float(v.dtype, "loss",
                   [&]<class T>() { return static_cast<double>(v.as<const T>()[i]); });
}

/// The factor of each row's gradient, in scratch of the compute type.
template <class C>
void row_factors(const Counted& counted, int64_t rows, LossReduction reduction, double total,
                 const View& gloss, C* factor) {
  if (reduction == LossReduction::none) {
    std::fill_n(factor, rows, C{0});
    counted.each_entry(
        [&](int64_t i, int64_t r) { factor[r] += static_cast<C>(element(gloss, i)); });
  } else {
    const double g = element(gloss, 0) / (reduction == LossReduction::mean ? total : 1);
    for (int64_t r = 0; r < rows; ++r)
      factor[r] = static_cast<C>(g * static_cast<double>(counted.times(r)));
  }
}

}  // namespace

void cross_entropy(Stream& s, View logits, View target, const LossSelection& selection,
                   const CrossEntropyParams& p, View loss, View lse) {
  check_cross_entropy("cross_entropy", logits, target, selection, p, "loss", loss,
                      {"lse", lse, optional});
  for_float(logits.dtype, "cross_entropy", [&]<class T>() {
    using C = compute_t<T>;
    const CrossEntropy<T> ce("cross_entropy", s, logits, target, selection, p);
    const Scratch scratch = s.scratch(static_cast<size_t>(ce.rows) * sizeof(C));
    C* cost = scratch.as<C>();
    each_row(ce.rows, ce.classes, [&](int64_t r) {
      C row_lse = 0;
      cost[r] = 0;
      if (!ce.labels) {
        if (ce.counted.times(r) > 0) cost[r] = ce.loss_of_probabilities(r, row_lse);
      } else if (const int64_t y = ce.label("cross_entropy", r); y >= 0) {
        cost[r] = ce.loss_of_label(r, y, row_lse);
      }
      if (lse.data) lse.as<C>()[r] = row_lse;
    });

    if (p.reduction == LossReduction::none) {
      for_float(loss.dtype, "cross_entropy", [&]<class L>() {
        ce.counted.each_entry(
            [&](int64_t i, int64_t r) { loss.as<L>()[i] = static_cast<L>(cost[r]); });
      });
      return;
    }
    double sum = 0;
    for (int64_t r = 0; r < ce.rows; ++r)
      if (const int64_t times = ce.counted.times(r))
        sum += static_cast<double>(times) * static_cast<double>(cost[r]);
    fill_from(loss,
              [&](int64_t) { return p.reduction == LossReduction::mean ? sum / ce.total() : sum; });
  });
}

void cross_entropy_gradient(Stream& s, View logits, View target, const LossSelection& selection,
                            const CrossEntropyParams& p, View lse, View gloss, View glogits) {
  check_cross_entropy("cross_entropy_gradient", logits, target, selection, p, "gloss", gloss,
                      {"lse", lse});
  check_alike("cross_entropy_gradient", {{"logits", logits}, {"glogits", glogits}});
  for_float(logits.dtype, "cross_entropy_gradient", [&]<class T>() {
    using C = compute_t<T>;
    const CrossEntropy<T> ce("cross_entropy_gradient", s, logits, target, selection, p);
    const Scratch scratch = s.scratch(static_cast<size_t>(ce.rows) * sizeof(C));
    C* factor = scratch.as<C>();
    row_factors(ce.counted, ce.rows, p.reduction,
                p.reduction == LossReduction::mean ? ce.total() : 1, gloss, factor);

    with_store(glogits, ce.classes, 2, [&](auto store) {
      each_row(ce.rows, ce.classes, [&](int64_t r) {
        T* to = glogits.as<T>() + r * ce.classes;
        const C row_lse = lse.as<const C>()[r];
        const int64_t y = ce.labels                 ? ce.label("cross_entropy_gradient", r)
                          : ce.counted.times(r) > 0 ? 0
                                                    : -1;
        if (y < 0) {
          std::fill_n(to, ce.classes, T{0.f});
        } else if (ce.labels) {
          ce.gradient_of_label(r, y, row_lse, factor[r], to, store);
        } else {
          ce.gradient_of_probabilities(r, row_lse, factor[r], to, store);
        }
        store.finish();
      });
    });
  });
}

// --- binary cross entropy ---

namespace {

template <class T>
struct BinaryCrossEntropy {
  using C = compute_t<T>;
  const T *logits, *target;
  int64_t rows, classes;
  Counted counted;
  Parameter<C> weights;
  Blocks blocks;  // of rows

  BinaryCrossEntropy(std::string_view operation, Stream& s, const View& x, const View& t,
                     const LossSelection& selection)
      : logits(x.as<const T>()),
        target(t.as<const T>()),
        rows(x.shape[0]),
        classes(x.rank == 2 ? x.shape[1] : 1),
        counted(operation, s, selection.rows, rows),
        weights(s, selection.class_weights, classes, C{1}),
        blocks(rows, std::max<int64_t>(1, row_grain / std::max<int64_t>(1, classes)), rows) {}

  // Calls body(offset, place, x, t, w) over the elements of a block of rows.
  template <class Body>
  void each_vector(int64_t block, Body&& body) const {
    const bool one_weight = classes == 1;  // then the whole block is one run
    const int64_t run = one_weight ? blocks.end(block) - blocks.begin(block) : classes;
    for (int64_t r = blocks.begin(block); r < blocks.end(block); r += one_weight ? run : 1) {
      const int64_t from = r * classes;
      row_each<C>(run, [&](auto at) {
        const Vec<C> w = one_weight ? Vec<C>(weights[0]) : read(weights.data(), at);
        body(from, at, read(logits + from, at), read(target + from, at), w);
      });
    }
  }
  double total() const {
    double sum = 0;
    for (int64_t r = 0; r < rows; ++r) sum += static_cast<double>(counted.times(r));
    return sum * static_cast<double>(classes);
  }
};

}  // namespace

void binary_cross_entropy(Stream& s, View logits, View target, const LossSelection& selection,
                          LossReduction reduction, View loss) {
  check_binary_cross_entropy("binary_cross_entropy", logits, target, selection, reduction, "loss",
                             loss);
  for_float(logits.dtype, "binary_cross_entropy", [&]<class T>() {
    using C = compute_t<T>;
    const BinaryCrossEntropy<T> ce("binary_cross_entropy", s, logits, target, selection);
    const Scratch scratch = s.scratch(static_cast<size_t>(ce.rows * ce.classes) * sizeof(C));
    const Scratch sums_scratch = s.scratch(static_cast<size_t>(ce.blocks.count) * sizeof(double));
    C* cost = scratch.as<C>();
    double* sums = sums_scratch.as<double>();
    parallel_blocks(ce.blocks.count, [&](int64_t b) {
      ce.each_vector(b, [&](int64_t from, auto at, Vec<C> x, Vec<C> t, Vec<C> w) {
        write(cost + from, at, functors::binary_cross_entropy(x, t, w));
      });
      sums[b] = 0;
      for (int64_t r = ce.blocks.begin(b); r < ce.blocks.end(b); ++r)
        if (const int64_t times = ce.counted.times(r))
          for (int64_t c = 0; c < ce.classes; ++c)
            sums[b] += static_cast<double>(times) * static_cast<double>(cost[r * ce.classes + c]);
    });
    if (reduction == LossReduction::none) {
      for_float(loss.dtype, "binary_cross_entropy", [&]<class L>() {
        ce.counted.each_entry([&](int64_t i, int64_t r) {
          const bool counts = ce.counted.times(r) > 0;
          for (int64_t c = 0; c < ce.classes; ++c)
            loss.as<L>()[i * ce.classes + c] =
                static_cast<L>(counts ? cost[r * ce.classes + c] : C{0});
        });
      });
      return;
    }
    double sum = 0;
    for (int64_t b = 0; b < ce.blocks.count; ++b) sum += sums[b];
    fill_from(loss,
              [&](int64_t) { return reduction == LossReduction::mean ? sum / ce.total() : sum; });
  });
}

void binary_cross_entropy_gradient(Stream& s, View logits, View target,
                                   const LossSelection& selection, LossReduction reduction,
                                   View gloss, View glogits) {
  check_binary_cross_entropy("binary_cross_entropy_gradient", logits, target, selection, reduction,
                             "gloss", gloss);
  check_alike("binary_cross_entropy_gradient", {{"logits", logits}, {"glogits", glogits}});
  for_float(logits.dtype, "binary_cross_entropy_gradient", [&]<class T>() {
    using C = compute_t<T>;
    const BinaryCrossEntropy<T> ce("binary_cross_entropy_gradient", s, logits, target, selection);
    const Scratch scratch = s.scratch(static_cast<size_t>(ce.rows * ce.classes) * sizeof(C));
    C* factor = scratch.as<C>();  // of each element; 0 where it does not count
    if (reduction == LossReduction::none) {
      std::fill_n(factor, ce.rows * ce.classes, C{0});
      ce.counted.each_entry([&](int64_t i, int64_t r) {
        if (ce.counted.times(r) == 0) return;
        for (int64_t c = 0; c < ce.classes; ++c)
          factor[r * ce.classes + c] += static_cast<C>(element(gloss, i * ce.classes + c));
      });
    } else {
      const double g = element(gloss, 0) / (reduction == LossReduction::mean ? ce.total() : 1);
      for (int64_t r = 0; r < ce.rows; ++r) {
        const int64_t times = ce.counted.times(r);
        std::fill_n(factor + r * ce.classes, ce.classes,
                    times ? static_cast<C>(g * static_cast<double>(times)) : C{0});
      }
    }
    parallel_blocks(ce.blocks.count, [&](int64_t b) {
      ce.each_vector(b, [&](int64_t from, auto at, Vec<C> x, Vec<C> t, Vec<C> w) {
        const Vec<C> f = read(static_cast<const C*>(factor + from), at);
        write(glogits.as<T>() + from, at,
              where(f == Vec<C>(C{0}), f, f * functors::binary_cross_entropy_derivative(x, t, w)));
      });
    });
  });
}

}  // namespace tessera::kernels::cpu
