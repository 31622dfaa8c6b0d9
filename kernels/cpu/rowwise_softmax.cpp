#include "tessera/kernels/cpu/rowwise.hpp"

namespace tessera::kernels::cpu {
namespace {

// Longer rows go through exp twice instead of keeping the row's exponentials: they would leave the
// first-level cache.
constexpr int64_t buffered_row = 4096;

struct RowShape : RowExtents {
  // Calls body(offset of a row, store) for every row of `out`.
  template <class Body>
  void each(const View& out, int operands, Body&& body) const {
    if (n == 0) return;
    with_store(out, n, operands, [&](auto store) {
      parallel_for(rows, std::max<int64_t>(1, row_grain / n), [&](int64_t begin, int64_t end) {
        for (int64_t r = begin; r < end; ++r) body(r * n, store);
        store.finish();
      });
    });
  }
};

template <class T, class Store, class C = compute_t<T>>
void softmax_short(const T* x, T* y, int64_t n, Store store) {
  alignas(vector_bytes) C exponentials[buffered_row];
  C* e = exponentials;
  if constexpr (std::is_same_v<T, C> && std::is_same_v<Store, CachedStore>) e = y;
  const Vec<C> top = row_max<C>(n, [&](auto at) { return read(x, at); });
  const C sum = row_sum<C>(n, [&](auto at) {
    const Vec<C> v = exp(read(x, at) - top);
    write(e, at, v);
    return v;
  });
  const Vec<C> scale = C{1} / sum;
  row_each<C>(n, [&](auto at) { store(y, at, read(static_cast<const C*>(e), at) * scale); });
}

template <class T, class Store, class C = compute_t<T>>
void softmax_long(const T* x, T* y, int64_t n, Store store) {
  const auto [top, sum, shifted] = log_sum_exp(x, n);
  const Vec<C> scale = C{1} / sum;
  row_each<C>(n, [&, top = Vec<C>(top)](auto at) { store(y, at, exp(read(x, at) - top) * scale); });
}

}  // namespace

void softmax(Stream&, View x, View y) {
  const RowShape shape{check_rows("softmax", {{"x", x}, {"y", y}})};
  for_float(x.dtype, "softmax", [&]<class T>() {
    shape.each(y, 2, [&, n = shape.n](int64_t at, auto store) {
      const T* from = x.as<T>() + at;
      T* to = y.as<T>() + at;
      n <= buffered_row ? softmax_short(from, to, n, store) : softmax_long(from, to, n, store);
    });
  });
}

void log_softmax(Stream&, View x, View y) {
  const RowShape shape{check_rows("log_softmax", {{"x", x}, {"y", y}})};
  for_float(x.dtype, "log_softmax", [&]<class T>() {
    using C = compute_t<T>;
    shape.each(y, 2, [&, n = shape.n](int64_t at, auto store) {
      const T* from = x.as<T>() + at;
      T* to = y.as<T>() + at;
      const auto [top, sum, shifted] = log_sum_exp(from, n);
      const Vec<C> reference = top, log_sum = std::log(sum);
      row_each<C>(n, [=](auto i) { store(to, i, (read(from, i) - reference) - log_sum); });
    });
  });
}

void softmax_gradient(Stream&, View y, View gy, View gx) {
  const RowShape shape{check_rows("softmax_gradient", {{"y", y}, {"gy", gy}, {"gx", gx}})};
  for_float(y.dtype, "softmax_gradient", [&]<class T>() {
    using C = compute_t<T>;
    shape.each(gx, 3, [&, n = shape.n](int64_t at, auto store) {
      const T *p = y.as<T>() + at, *g = gy.as<T>() + at;
      T* to = gx.as<T>() + at;
      const Vec<C> dot = row_sum<C>(n, [=](auto i) { return read(g, i) * read(p, i); });
      row_each<C>(n, [=](auto i) { store(to, i, read(p, i) * (read(g, i) - dot)); });
    });
  });
}

void log_softmax_gradient(Stream&, View y, View gy, View gx) {
  const RowShape shape{check_rows("log_softmax_gradient", {{"y", y}, {"gy", gy}, {"gx", gx}})};
  for_float(y.dtype, "log_softmax_gradient", [&]<class T>() {
    using C = compute_t<T>;
    shape.each(gx, 3, [&, n = shape.n](int64_t at, auto store) {
      const T *log_p = y.as<T>() + at, *g = gy.as<T>() + at;
      T* to = gx.as<T>() + at;
      const Vec<C> sum = row_sum<C>(n, [=](auto i) { return read(g, i); });
      row_each<C>(n, [=](auto i) { store(to, i, read(g, i) - exp(read(log_p, i)) * sum); });
    });
  });
}

}  // namespace tessera::kernels::cpu
