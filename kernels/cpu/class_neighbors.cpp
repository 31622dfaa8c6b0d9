// Neighbours on a line, among the own class and among all. Elements of a class rise, and with them,
// nearly, the ends of their neighbourhoods: each end is searched for outwards from the last one.
#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/sort.hpp"
#include "tessera/kernels/sort_operands.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t block_elements = 1 << 13;

/// The first i in [0, n] from which on `past` holds (n where nowhere), by steps that double from
/// `hint` in [0, n] and then by halves.
template <class Past>
int64_t first_past(int64_t n, int64_t hint, Past&& past) {
  int64_t low = hint, high = hint, step = 1;  // not past below low, past from high on
  if (hint < n && !past(hint)) {
    do {
      low = high + 1;
      high = std::min(n, high + step);
      step *= 2;
    } while (high < n && !past(high));
  } else {
    while (low > 0 && past(low - 1)) {
      high = low - 1;
      low = std::max<int64_t>(0, low - step);
      step *= 2;
    }
  }
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (past(middle))
      high = middle;
    else
      low = middle + 1;
  }
  return low;
}

/// The elements [first, last) of one row.
template <class T>
void count_row(const T* sorted, const T* grouped, int64_t n, const int64_t* offsets, int64_t first,
               int64_t last, int64_t k, int32_t* counts) {
  int64_t c = 0, low = 0, high = 0;
  for (int64_t p = first; p < last; ++p) {
    while (p >= offsets[c + 1]) ++c;
    const int64_t begin = offsets[c], end = offsets[c + 1];
    if (end - begin == 1) {
      counts[p] = 0;
      continue;
    }
    const T z = grouped[p],
            r = next_below(kth_distance(grouped, begin, end, p, std::min(k, end - begin - 1)));
    low = first_past(n, low, [&](int64_t i) { return z - sorted[i] <= r; });
    high = first_past(n, std::max(low, high), [&](int64_t i) { return sorted[i] - z > r; });
    counts[p] = static_cast<int32_t>(high - low);
  }
}

}  // namespace

void class_neighbors(Stream&, View sorted, View grouped, View offsets, View counts,
                     const ClassNeighborParams& params) {
  check_class_neighbors(sorted, grouped, offsets, counts, params);
  const int64_t rows = sorted.shape[0], n = sorted.shape[1], classes = offsets.shape[0] - 1;
  const int64_t* const cut = offsets.as<int64_t>();
  for (int64_t c = 0; c <= classes; ++c)
    TS_CHECK(cut[c] >= (c == 0 ? 0 : cut[c - 1]) && (c > 0 || cut[0] == 0) &&
                 (c < classes || cut[c] == n),
             "class_neighbors: offset ", c, " is ", cut[c], "; offsets must rise from 0 to ", n);
  const auto count = [&]<class T>() {
    const int64_t pieces = (n + block_elements - 1) / block_elements;
    parallel_blocks(rows * pieces, [&](int64_t block) {
      const int64_t row = block / pieces, first = block % pieces * block_elements;
      count_row(sorted.as<T>() + row * n, grouped.as<T>() + row * n, n, cut, first,
                std::min(n, first + block_elements), params.k, counts.as<int32_t>() + row * n);
    });
  };
  if (sorted.dtype == DType::f32)
    count.template operator()<float>();
  else if (sorted.dtype == DType::f64)
    count.template operator()<double>();
  else
    unsupported_dtype("class_neighbors", sorted.dtype);
}

}  // namespace tessera::kernels::cpu
