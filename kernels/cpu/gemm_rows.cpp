// Products with a few rows: every element of B meets so few of A that reading B is what they cost.
//
// Where B is contiguous along k, a result is a dot product of two vectors: one register of partial
// sums per result, several rows of B at a time. Where it is contiguous along n, the rows of B are
// added up, several at a time, into a piece of C that stays in the first-level cache. Either way
// the order of a sum depends on k alone.
#include "tessera/kernels/cpu/epilogue.hpp"
#include "tessera/kernels/cpu/gemm_product.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int64_t most_rows = 4;
constexpr int64_t dot_block = 64;  // results of a row that are finished at a time
template <class T>
constexpr int64_t sum_block = (16 << 10) / sizeof(T);  // the same where rows of B are added up
constexpr int rows_at_a_time = 8;                      // of B, where they are added up

/// How many rows of B meet `m` rows of A in registers.
constexpr int dot_columns(int m) { return m == 1 ? 8 : vector_bytes == 64 || m == 2 ? 4 : 2; }

/// out[i * dot_block + j] = sum of a[i, :] b[j, :] for i < rows, j < columns.
template <int rows, int columns, class E, class T>
[[gnu::always_inline]] inline void dots(const T* a, int64_t a_stride, const E* b, int64_t b_stride,
                                        int64_t k, T* out) {
  constexpr int64_t width = Vec<T>::width;
  Vec<T> sum[rows * columns];
  unrolled<rows * columns>([&](auto i) __attribute__((always_inline)) { sum[i] = Vec<T>(T(0)); });
  const auto step = [&](auto read) __attribute__((always_inline)) {
    Vec<T> y[columns];
    unrolled<columns>([&](auto j)
                          __attribute__((always_inline)) { y[j] = read(b + j * b_stride); });
    unrolled<rows>([&](auto i) __attribute__((always_inline)) {
      const Vec<T> x = read(a + i * a_stride);
      unrolled<columns>([&](auto j) __attribute__((always_inline)) {
        sum[i * columns + j] = fma(x, y[j], sum[i * columns + j]);
      });
    });
  };
  for (; k >= width; k -= width, a += width, b += width)
    step([](const auto* p) __attribute__((always_inline)) { return load(p); });
  if (k > 0) step([&](const auto* p) __attribute__((always_inline)) { return load(p, k); });
  unrolled<rows>([&](auto i) __attribute__((always_inline)) {
    unrolled<columns>([&](auto j) __attribute__((always_inline)) {
      out[i * dot_block + j] = horizontal_sum(sum[i * columns + j]);
    });
  });
}

/// The same for any number of columns.
template <int rows, int columns, class E, class T>
void dots(const T* a, int64_t a_stride, const E* b, int64_t b_stride, int64_t count, int64_t k,
          T* out) {
  for (; count >= columns; count -= columns, b += columns * b_stride, out += columns)
    dots<rows, columns>(a, a_stride, b, b_stride, k, out);
  if constexpr (columns > 1)
    if (count > 0) dots<rows, columns / 2>(a, a_stride, b, b_stride, count, k, out);
}

/// y[j] += sum over k of a[k] b[k, j], each y in the order of k.
template <int rows, class E, class T>
void add_rows(const T* a, const E* b, int64_t b_stride, int64_t k, int64_t n, T* y) {
  constexpr int64_t width = Vec<T>::width;
  for (; k >= rows; k -= rows, a += rows, b += rows * b_stride) {
    Vec<T> factor[rows];
    unrolled<rows>([&](auto i) __attribute__((always_inline)) { factor[i] = Vec<T>(a[i]); });
    const auto sum = [&](Vec<T> s, auto read) __attribute__((always_inline)) {
      unrolled<rows>([&](auto i) __attribute__((always_inline)) {
        s = fma(factor[i], read(b + i * b_stride), s);
      });
      return s;
    };
    const E* const first = b;
    int64_t j = 0;
    for (; j + width <= n; j += width, b += width)
      store(y + j,
            sum(
                load(y + j), [](const E* p) __attribute__((always_inline)) { return load(p); }));
    if (const int64_t rest = n - j; rest > 0)
      store(y + j,
            sum(
                load(y + j, rest), [&](const E* p)
                                       __attribute__((always_inline)) { return load(p, rest); }),
            rest);
    b = first;
  }
  if constexpr (rows > 1)
    if (k > 0) add_rows<1>(a, b, b_stride, k, n, y);
}

template <class E, class C>
class FewRows {
  using T = compute_t<C>;

 public:
  struct Plan {
    int threads;
    bool copy_a;  // as contiguous rows of T
    int64_t a_size;

    Plan(const Product<E, C>& p, int on_threads)
        : threads(on_threads),
          copy_a(!std::is_same_v<E, T> || (p.a_column != 1 && p.k > 1)),
          a_size(copy_a ? p.m * p.k : 0) {}
    int64_t scratch_elements() const { return a_size; }
  };

  FewRows(const Product<E, C>& product, const Plan& plan, T* scratch)
      : p_(product), threads_(plan.threads) {
    if constexpr (std::is_same_v<E, T>) a_ = p_.a, a_stride_ = p_.a_row;
    if (!plan.copy_a) return;
    for (int64_t i = 0; i < p_.m; ++i)
      for (int64_t l = 0; l < p_.k; ++l)
        scratch[i * p_.k + l] = static_cast<T>(p_.a[i * p_.a_row + l * p_.a_column]);
    a_ = scratch;
    a_stride_ = p_.k;
  }

  void run() {
    const int64_t grain = (p_.n + threads_ - 1) / threads_;
    parallel_for(p_.n, threads_ > 1 ? std::max<int64_t>(grain / 2, 1) : p_.n,
                 [&](int64_t begin, int64_t end) {
                   p_.b_row == 1 ? multiply(begin, end) : add_up(begin, end);
                 });
  }

 private:
  void multiply(int64_t begin, int64_t end) {
    T sums[most_rows * dot_block];
    for (int64_t j = begin; j < end; j += dot_block) {
      const int64_t count = std::min(dot_block, end - j);
      const auto dot = [&]<int rows>() {
        dots<rows, dot_columns(rows)>(a_, a_stride_, p_.b + j * p_.b_column, p_.b_column, count,
                                      p_.k, sums);
      };
      p_.m == 1   ? dot.template operator()<1>()
      : p_.m == 2 ? dot.template operator()<2>()
      : p_.m == 3 ? dot.template operator()<3>()
                  : dot.template operator()<4>();
      for (int64_t i = 0; i < p_.m; ++i) finish(i, j, count, sums + i * dot_block);
    }
  }
  void add_up(int64_t begin, int64_t end) {
    T sums[sum_block<T>];
    for (int64_t j = begin; j < end; j += sum_block<T>) {
      const int64_t count = std::min(sum_block<T>, end - j);
      std::fill_n(sums, count, T(0));
      add_rows<rows_at_a_time>(a_, p_.b + j, p_.b_row, p_.k, count, sums);
      finish(0, j, count, sums);
    }
  }

  /// Results [j, j + n) of row i.
  void finish(int64_t i, int64_t j, int64_t n, T* sums) {
    if (p_.alpha != 1)
      for (int64_t q = 0; q < n; ++q) sums[q] *= p_.alpha;
    const T bias = p_.has_row_bias() ? T(p_.bias[i]) : T(0);
    const C* biases = p_.bias && !p_.has_row_bias() ? p_.bias + j : nullptr;
    C* c = p_.c + i * p_.c_row + j * p_.c_column;
    if (p_.c_column == 1) return finish_row(sums, n, bias, biases, p_.beta, p_.activation, c);
    C line[dot_block];
    for (int64_t q = 0; q < n; q += dot_block, c += dot_block * p_.c_column) {
      const int64_t count = std::min(dot_block, n - q);
      if (p_.beta != 0)
        for (int64_t l = 0; l < count; ++l) line[l] = c[l * p_.c_column];
      finish_row(sums + q, count, bias, biases ? biases + q : nullptr, p_.beta, p_.activation,
                 line);
      for (int64_t l = 0; l < count; ++l) c[l * p_.c_column] = line[l];
    }
  }

  const Product<E, C>& p_;
  const int threads_;
  const T* a_ = nullptr;
  int64_t a_stride_ = 0;
};

}  // namespace

template <class E, class C>
void few_rows_gemm(Stream& s, const Product<E, C>& p, const Batch& batch) {
  run_batch<FewRows<E, C>>(s, p, batch);
}
template void few_rows_gemm(Stream&, const Product<float, float>&, const Batch&);
template void few_rows_gemm(Stream&, const Product<double, double>&, const Batch&);
template void few_rows_gemm(Stream&, const Product<f16, f16>&, const Batch&);
template void few_rows_gemm(Stream&, const Product<bf16, bf16>&, const Batch&);
template void few_rows_gemm(Stream&, const Product<f16, float>&, const Batch&);
template void few_rows_gemm(Stream&, const Product<bf16, float>&, const Batch&);

}  // namespace tessera::kernels::cpu
