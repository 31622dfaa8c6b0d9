// Kernels on the entries of a sparse matrix: scores from pairs of dense rows, and softmax over
// rows.
#include <limits>

#include "tessera/kernels/cpu/simd.hpp"
#include "tessera/kernels/cpu/simd_math.hpp"
#include "tessera/kernels/cpu/spmm.hpp"
#include "tessera/kernels/cpu/vector.hpp"

namespace tessera::kernels::cpu {
namespace {

/// The entries of one row as vectors. With one head the lanes are entries; with several they are
/// heads, `head` being the first, and the parts are entries.
struct RowParts {
  int64_t entries, heads, head;

  template <class C, class Body>
  void each(Body&& body) const {  // body(offset, lanes)
    constexpr int64_t width = Vec<C>::width;
    if (heads == 1) {
      for (int64_t e = 0; e < entries; e += width) body(e, std::min(width, entries - e));
    } else {
      for (int64_t e = 0; e < entries; ++e) body(e * heads + head, std::min(width, heads - head));
    }
  }
};

template <class S>
Vec<compute_t<S>> load_lanes(const S* p, int64_t n) {
  return n == Vec<compute_t<S>>::width ? load(p) : load(p, n);
}
template <class S>
void store_lanes(S* p, Vec<compute_t<S>> v, int64_t n) {
  if (n == Vec<compute_t<S>>::width)
    store(p, v);
  else
    store(p, v, n);
}
template <class C>
Vec<C> first_lanes(Vec<C> v, int64_t n, C otherwise) {
  if (n == Vec<C>::width) return v;
  Vec<C> lane;
  for (int i = 0; i < Vec<C>::width; ++i) lane.set(i, static_cast<C>(i));
  return where(lane < Vec<C>(static_cast<C>(n)), v, Vec<C>(otherwise));
}

template <class T>
void softmax_row(const T* x, T* y, const RowParts& parts) {
  using C = compute_t<T>;
  constexpr bool keeps_exp =
      std::is_same_v<T, C>;  // halves compute exp again rather than round twice
  constexpr C lowest = -std::numeric_limits<C>::infinity();
  Vec<C> top(lowest), sum(C{0});
  parts.template each<C>([&](int64_t at, int64_t n) {
    top = max(first_lanes(load_lanes(x + at, n), n, lowest), top);
  });
  if (parts.heads == 1) top = horizontal_max(top);
  parts.template each<C>([&](int64_t at, int64_t n) {
    const Vec<C> v = exp(load_lanes(x + at, n) - top);
    if constexpr (keeps_exp) store_lanes(y + at, v, n);
    sum += first_lanes(v, n, C{0});
  });
  if (parts.heads == 1) sum = horizontal_sum(sum);
  const Vec<C> factor = Vec<C>(C{1}) / sum;
  parts.template each<C>([&](int64_t at, int64_t n) {
    Vec<C> v;
    if constexpr (keeps_exp)
      v = load_lanes(y + at, n);
    else
      v = exp(load_lanes(x + at, n) - top);
    store_lanes(y + at, v * factor, n);
  });
}

template <class T>
void softmax_gradient_row(const T* y, const T* dy, T* dx, const RowParts& parts) {
  using C = compute_t<T>;
  Vec<C> sum(C{0});
  parts.template each<C>([&](int64_t at, int64_t n) {
    sum = fma(load_lanes(y + at, n), load_lanes(dy + at, n), sum);
  });
  if (parts.heads == 1) sum = horizontal_sum(sum);
  parts.template each<C>([&](int64_t at, int64_t n) {
    store_lanes(dx + at, load_lanes(y + at, n) * (load_lanes(dy + at, n) - sum), n);
  });
}

/// Calls body(offset of the row's first entry, parts) for every row and group of heads.
template <class C, class Body>
void for_row_parts(const CsrView& a, int64_t heads, int64_t cost, Body&& body) {
  for_balanced_rows(a, heads * cost, [&](int64_t first, int64_t last) {
    for (int64_t row = first; row < last; ++row)
      for (int64_t head = 0; head < heads; head += Vec<C>::width)
        body(a.row_ptr[row] * heads, RowParts{a.row_ptr[row + 1] - a.row_ptr[row], heads, head});
  });
}

}  // namespace

void sddmm(Stream&, const CsrView& a, View x, View z, View scores, double alpha) {
  const SddmmOperands operands = check_sddmm(a, x, z, scores);
  const DenseRows rows = operands.x, columns = operands.z;
  const int64_t heads = operands.heads;
  for_float(x.dtype, "sddmm", [&]<class T>() {
    using C = compute_t<T>;
    // some 64 lines of z on their way, so that narrow rows hide latency as well
    const int64_t line_elements = 64 / static_cast<int64_t>(sizeof(T)),
                  row_elements = heads * rows.width,
                  distance = std::clamp<int64_t>(
                      64 * line_elements / std::max<int64_t>(row_elements, 1), 4, 64);
    for_balanced_rows(a, row_elements, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i) {
        const T* x_row = x.as<T>() + i * rows.stride;
        for (int64_t e = a.row_ptr[i]; e < a.row_ptr[i + 1]; ++e) {
          const T* next = z.as<T>() + a.col[std::min(e + distance, a.nnz - 1)] * columns.stride;
          for (int64_t j = 0; j < row_elements; j += line_elements) __builtin_prefetch(next + j);
          const T* z_row = z.as<T>() + a.col[e] * columns.stride;
          for (int64_t h = 0; h < heads; ++h) {
            const C score = dot(x_row + h * rows.width, z_row + h * rows.width, rows.width);
            scores.as<T>()[e * heads + h] = static_cast<T>(static_cast<C>(alpha) * score);
          }
        }
      }
    });
  });
}

void edge_add(Stream&, const CsrView& a, View x, View z, View scores) {
  const int64_t heads = check_edge_add(a, x, z, scores);
  for_float(scores.dtype, "edge_add", [&]<class T>() {
    using C = compute_t<T>;
    for_balanced_rows(a, heads, [&](int64_t first, int64_t last) {
      for (int64_t i = first; i < last; ++i)
        for (int64_t e = a.row_ptr[i]; e < a.row_ptr[i + 1]; ++e)
          for (int64_t h = 0; h < heads; ++h)
            scores.as<T>()[e * heads + h] =
                static_cast<T>(static_cast<C>(x.as<T>()[i * heads + h]) +
                               static_cast<C>(z.as<T>()[a.col[e] * heads + h]));
    });
  });
}

void edge_softmax(Stream&, const CsrView& a, View x, View y) {
  const int64_t heads = same_heads("edge_softmax", a, "x", x, "y", y);
  for_float(x.dtype, "edge_softmax", [&]<class T>() {
    for_row_parts<compute_t<T>>(a, heads, 16, [&](int64_t at, const RowParts& parts) {
      softmax_row(x.as<T>() + at, y.as<T>() + at, parts);
    });
  });
}

void edge_softmax_gradient(Stream&, const CsrView& a, View y, View dy, View dx) {
  const int64_t heads = same_heads("edge_softmax_gradient", a, "y", y, "dy", dy);
  same_heads("edge_softmax_gradient", a, "y", y, "dx", dx);
  for_float(y.dtype, "edge_softmax_gradient", [&]<class T>() {
    for_row_parts<compute_t<T>>(a, heads, 4, [&](int64_t at, const RowParts& parts) {
      softmax_gradient_row(y.as<T>() + at, dy.as<T>() + at, dx.as<T>() + at, parts);
    });
  });
}

}  // namespace tessera::kernels::cpu
