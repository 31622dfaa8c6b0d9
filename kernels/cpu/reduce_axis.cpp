#include "tessera/kernels/cpu/reduce.hpp"
#include "tessera/kernels/reduce_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

/// Calls body(offsets in x of the first elements of `count` lines, offset in y of the first line,
/// count) for groups of lines along `axis`; the lines of a group are neighbours in y, which is
/// contiguous with extent `y_extent` along the axis.
constexpr int64_t line_group = 64;
template <class Body>
void for_lines(const View& x, int axis, int64_t y_extent, Body&& body) {
  int64_t outer = 1, inner = 1;
  for (int d = 0; d < axis; ++d) outer *= x.shape[d];
  for (int d = axis + 1; d < x.rank; ++d) inner *= x.shape[d];
  const int64_t groups = divide_up(inner, line_group);
  for_tasks(outer * groups, x.shape[axis] * std::min(inner, line_group), [&](int64_t t) {
    int64_t base = 0;
    for (int64_t d = axis - 1, rest = t / groups; d >= 0; rest /= x.shape[d--])
      base += rest % x.shape[d] * x.stride[d];
    const int64_t first = t % groups * line_group, count = std::min(line_group, inner - first);
    int64_t offsets[line_group];
    for (int64_t i = 0; i < count; ++i) {
      offsets[i] = base;
      for (int64_t d = x.rank - 1, rest = first + i; d > axis; rest /= x.shape[d--])
        offsets[i] += rest % x.shape[d] * x.stride[d];
    }
    body(offsets, t / groups * y_extent * inner + first, count);
  });
}

template <class Better>
void arg_extreme(const char* operation, const View& x, int axis, const View& y, Better better) {
  check_arg_extreme(operation, x, axis, y);
  if (y.numel() == 0) return;
  const int64_t n = x.shape[axis], stride = x.stride[axis];
  for_computed(x.dtype, operation, [&]<class S>() {
    using T = compute_t<S>;
    for_lines(x, axis, 1, [&](const int64_t* offsets, int64_t at, int64_t count) {
      T best[line_group];
      int64_t* index = y.as<int64_t>() + at;
      const S* from = x.as<const S>();
      for (int64_t l = 0; l < count; ++l) best[l] = from[offsets[l]], index[l] = 0;
      for (int64_t i = 1; i < n; ++i)
        for (int64_t l = 0; l < count; ++l) {
          const T value = from[offsets[l] + i * stride];
          if (better(value, best[l]) || (functors::is_nan(value) && !functors::is_nan(best[l])))
            best[l] = value, index[l] = i;
        }
    });
  });
}

}  // namespace

void argmax(Stream&, View x, int axis, View y) {
  arg_extreme("argmax", x, axis, y, [](auto a, auto b) { return a > b; });
}
void argmin(Stream&, View x, int axis, View y) {
  arg_extreme("argmin", x, axis, y, [](auto a, auto b) { return a < b; });
}

void cumulative_sum(Stream&, View x, int axis, View y) {
  check_cumulative_sum(x, axis, y);
  if (x.numel() == 0) return;
  int64_t inner = 1;
  for (int d = axis + 1; d < x.rank; ++d) inner *= x.shape[d];
  const int64_t n = x.shape[axis], stride = x.stride[axis];
  for_computed(x.dtype, "cumulative_sum", [&]<class S>() {
    using W = Wide<S>;
    for_lines(x, axis, n, [&](const int64_t* offsets, int64_t at, int64_t count) {
      W sum[line_group] = {};
      const S* from = x.as<const S>();
      S* to = y.as<S>() + at;
      for (int64_t i = 0; i < n; ++i)
        for (int64_t l = 0; l < count; ++l) {
          sum[l] = functors::add(sum[l], static_cast<W>(from[offsets[l] + i * stride]));
          to[i * inner + l] = static_cast<S>(static_cast<compute_t<S>>(sum[l]));
        }
    });
  });
}

}  // namespace tessera::kernels::cpu
