// INTERIM: until models' resize is merged
#include <cmath>
#include <vector>
#include "tessera/algorithms/eigensr/super_resolution.hpp"
#include "tessera/autograd/launch.hpp"
namespace tessera::algorithms::eigensr {
namespace {
struct Row {
  int64_t first;
  std::vector<double> w;
};
std::vector<Row> rows_of(int64_t in, int64_t out) {
  const double scale = double(out) / double(in), k = std::min(1.0, scale), support = 4 / k;
  const auto cubic = [](double x) {
    x = std::abs(x);
    return x <= 1   ? 1.5 * x * x * x - 2.5 * x * x + 1
           : x <= 2 ? -.5 * x * x * x + 2.5 * x * x - 4 * x + 2
                    : 0;
  };
  std::vector<Row> rows;
  for (int64_t i = 0; i < out; ++i) {
    const double u = (double(i) + .5) / scale - .5;
    const auto left = int64_t(std::floor(u - support / 2));
    Row row{left, {}};
    double sum = 0;
    for (int64_t j = left; j <= left + int64_t(std::ceil(support)) + 1; ++j) {
      row.w.push_back(cubic((u - double(j)) * k));
      sum += row.w.back();
    }
    for (double& w : row.w) w /= sum;
    rows.push_back(row);
  }
  return rows;
}
int64_t symmetric(int64_t i, int64_t n) {
  i = ((i % (2 * n)) + 2 * n) % (2 * n);
  return i < n ? i : 2 * n - 1 - i;
}
// [outer, in, inner]
std::vector<double> along(const std::vector<double>& x, int64_t outer, int64_t in, int64_t inner,
                          int64_t out) {
  std::vector<double> y(size_t(outer * out * inner));
  const auto rows = rows_of(in, out);
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < out; ++i)
      for (size_t j = 0; j < rows[size_t(i)].w.size(); ++j) {
        const double w = rows[size_t(i)].w[j];
        if (w == 0) continue;
        const double* from =
            x.data() + (o * in + symmetric(rows[size_t(i)].first + int64_t(j), in)) * inner;
        double* to = y.data() + (o * out + i) * inner;
        for (int64_t k = 0; k < inner; ++k) to[k] += w * from[k];
      }
  return y;
}
Tensor both(const Tensor& t, int64_t outer, int64_t r, int64_t c, int64_t inner, int64_t R,
            int64_t C, const Shape& shape) {
  const auto h = t.host<float>();
  std::vector<double> x(h.begin(), h.end());
  x = along(x, outer, r, c * inner, R);
  x = along(x, outer * R, c, inner, C);
  std::vector<float> y(x.begin(), x.end());
  return Tensor::from(y, shape, Device::cpu());
}
}  // namespace
Tensor resized_cube(const Tensor& x, int64_t R, int64_t C) {
  return both(x, 1, x.size(0), x.size(1), x.size(2), R, C, {R, C, x.size(2)});
}
Tensor resized_planes(const Tensor& x, int64_t R, int64_t C) {
  return both(x, x.size(0), x.size(1), x.size(2), 1, R, C, {x.size(0), R, C});
}
}  // namespace tessera::algorithms::eigensr
