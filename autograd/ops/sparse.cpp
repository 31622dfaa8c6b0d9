#include "tessera/autograd/ops/sparse.hpp"

#include <mutex>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/autograd/ops/indexing.hpp"
#include "tessera/autograd/ops/reduction.hpp"
#include "tessera/autograd/ops/shape.hpp"
#include "tessera/kernels/spmm.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {

struct SparseMatrix::Data {
  CsrMatrix matrix, transpose;
  Tensor permutation, inverse;
  std::once_flag transposed;

  void make_transpose() {
    std::call_once(transposed, [this] {
      CsrTranspose result = matrix.transpose();
      const std::vector<int32_t> to = result.permutation.values<int32_t>();
      std::vector<int32_t> from(to.size());
      for (size_t i = 0; i < to.size(); ++i)
        from[static_cast<size_t>(to[i])] = static_cast<int32_t>(i);
      inverse = Tensor::from(from, {static_cast<int64_t>(from.size())}, matrix.device());
      permutation = result.permutation.to(matrix.device());
      transpose = result.matrix.to(matrix.device());
    });
  }
};

SparseMatrix::SparseMatrix(CsrMatrix matrix) : data_(std::make_shared<Data>()) {
  data_->matrix = std::move(matrix);
}

const CsrMatrix& SparseMatrix::matrix() const {
  return flipped_ ? data_->transpose : data_->matrix;
}

SparseMatrix SparseMatrix::transposed() const {
  data_->make_transpose();
  SparseMatrix t = exchanged_scales(*this);
  t.flipped_ = !flipped_;
  return t;
}

SparseMatrix exchanged_scales(const SparseMatrix& a) {
  SparseMatrix exchanged = a;
  std::swap(exchanged.row_scale_, exchanged.column_scale_);
  return exchanged;
}

SparseMatrix SparseMatrix::scaled(const Tensor& rows, const Tensor& columns) const {
  TS_CHECK(!matrix().values.defined() && !has_scales(), "scaled: ", matrix(),
           " has values or factors of its own");
  const auto scale = [&](const Tensor& given, int64_t extent) -> Scale {
    if (!given.defined()) return {};
    TS_CHECK(
        given.dtype() == DType::f64 && given.shape() == Shape{extent} && given.device() == device(),
        "scaled: factors ", given, " for ", matrix(), ", expected f64 [", extent, "]");
    return {contiguous(given), convert(given, DType::f32)};
  };
  SparseMatrix result = *this;
  result.row_scale_ = scale(rows, this->rows());
  result.column_scale_ = scale(columns, this->columns());
  return result;
}

bool SparseMatrix::symmetric() const {
  if (!matrix().symmetric || row_scale_.defined() != column_scale_.defined()) return false;
  return !has_scales() || row_scale_.wide.data() == column_scale_.wide.data();
}

const Tensor& SparseMatrix::permutation() const {
  data_->make_transpose();
  return flipped_ ? data_->inverse : data_->permutation;
}

namespace {

// Kernels take dense operands whose dimensions behind the first are contiguous.
Tensor dense(const Tensor& x) {
  int64_t expected = 1;
  for (int i = x.rank() - 1; i > 0; --i) {
    if (x.shape()[i] != 1 && x.strides()[i] != expected) return contiguous(x);
    expected *= x.shape()[i];
  }
  return x;
}

// A dense operand of a pattern: [rows, width] or, with entry values per head, [rows, heads, width].
void check_dense(std::string_view name, const SparseMatrix& a, const Tensor& x, int64_t rows) {
  TS_CHECK(x.device() == a.device(), name, ": ", a.matrix(), " with ", x);
  TS_CHECK((x.rank() == 2 || x.rank() == 3) && x.size(0) == rows, name, ": ", x, " with ",
           a.matrix(), "; expected [", rows, ", width] or [", rows, ", heads, width]");
}

void check_entries(std::string_view name, const SparseMatrix& a, const Tensor& values) {
  TS_CHECK(values.device() == a.device() && (values.rank() == 1 || values.rank() == 2) &&
               values.size(0) == a.entries(),
           name, ": entry values ", values, " for ", a.matrix());
}

Tensor with_rows(const Tensor& x, int64_t rows) {
  Shape shape = x.shape();
  shape[0] = rows;
  return Tensor::empty(shape, x.dtype(), x.device());
}

// ---- products

struct ConstantSpmm final : LinearOp {
  SparseMatrix a;
  explicit ConstantSpmm(const SparseMatrix& matrix) : a(matrix) {}
  std::string_view name() const override { return "spmm"; }
  Tensor eval(const Tensor& x) const override {
    check_dense(name(), a, x, a.columns());
    const Tensor& stored = a.matrix().values;
    const Tensor values = stored.defined() ? contiguous(convert(stored, x.dtype())) : stored;
    const Tensor y = with_rows(x, a.rows());
    const Tensor rows = a.row_scale(x.dtype()), columns = a.column_scale(x.dtype());
    kernels::spmm(current_stream(x.device()), view_of(a.matrix(), values), dense(x).view(),
                  y.view(), {.row_scale = view_or_none(rows), .col_scale = view_or_none(columns)});
    return y;
  }
  Var transpose(const Var& gy, const Var&) const override {
    if (a.symmetric()) return apply_op(shared_from_this(), gy);
    return spmm(a.matrix().symmetric ? exchanged_scales(a) : a.transposed(), gy);
  }
};

// Entry values in the order of the transpose.
Var transposed_values(const SparseMatrix& a, const Var& values) {
  return gather_rows(values, a.permutation());
}

// (values, x) -> A x, and its transpose in the values, (x, z) -> x z' at the entries: each the
// other's gradient.
struct ValueSpmm final : BilinearOp {
  SparseMatrix a;
  explicit ValueSpmm(const SparseMatrix& pattern) : a(pattern) {}
  std::string_view name() const override { return "spmm"; }
  Tensor eval(const Tensor& values, const Tensor& x) const override {
    check_same(name(), values, x);
    check_entries(name(), a, values);
    check_dense(name(), a, x, a.columns());
    TS_CHECK(!a.has_scales(), "spmm: entry values for ", a.matrix(), ", which has factors");
    TS_CHECK(values.rank() == 1 || (x.rank() == 3 && x.size(1) == values.size(1)),
             "spmm: entry values ", values, " with ", x, " differ in heads");
    const Tensor y = with_rows(x, a.rows()), ordered = contiguous(values);
    kernels::spmm(current_stream(x.device()), view_of(a.matrix(), ordered), dense(x).view(),
                  y.view());
    return y;
  }
  Var transpose_left(const Var& gy, const Var& values, const Var& x) const override {
    const Var scores = sddmm(a, gy, x);
    return scores.rank() > values.rank() ? sum(scores, {1}) : scores;  // one value for all heads
  }
  Var transpose_right(const Var& gy, const Var& values, const Var&) const override {
    return spmm(a.transposed(), transposed_values(a, values), gy);
  }
};

struct Sddmm final : BilinearOp {
  SparseMatrix a;
  explicit Sddmm(const SparseMatrix& pattern) : a(pattern) {}
  std::string_view name() const override { return "sddmm"; }
  Tensor eval(const Tensor& x, const Tensor& z) const override {
    check_same(name(), x, z);
    check_dense(name(), a, x, a.rows());
    check_dense(name(), a, z, a.columns());
    TS_CHECK(x.rank() == z.rank() && x.size(1) == z.size(1) && x.size(-1) == z.size(-1),
             "sddmm: ", x, " with ", z);
    Shape shape{a.entries()};
    if (x.rank() == 3) shape.push_back(x.size(1));
    const Tensor scores = Tensor::empty(shape, x.dtype(), x.device());
    kernels::sddmm(current_stream(x.device()), view_of(a.matrix()), dense(x).view(),
                   dense(z).view(), scores.view());
    return scores;
  }
  Var transpose_left(const Var& g, const Var&, const Var& z) const override {
    return spmm(a, g, z);
  }
  Var transpose_right(const Var& g, const Var& x, const Var&) const override {
    return spmm(a.transposed(), transposed_values(a, g), x);
  }
};

// ---- segments

void check_offsets(std::string_view name, const Tensor& offsets) {
  TS_CHECK(offsets.rank() == 1 && offsets.size(0) >= 1 &&
               (offsets.dtype() == DType::i32 || offsets.dtype() == DType::i64),
           name, ": offsets must be i32 or i64 [segments + 1], are ", offsets);
}

// Row s of the result is the sum of x[permutation[offsets[s]]], x[permutation[offsets[s] + 1]],
// ...; without a permutation of x[offsets[s]], ...
struct Segments {
  Tensor offsets, permutation;
  int64_t count() const { return offsets.size(0) - 1; }
};

struct SegmentExpand final : LinearOp {
  Segments segments;
  int64_t rows;
  SegmentExpand(Segments s, int64_t n) : segments(std::move(s)), rows(n) {}
  std::string_view name() const override { return "segment_expand"; }
  Tensor eval(const Tensor& y) const override;
  Var transpose(const Var& gx, const Var&) const override;
};

struct SegmentSum final : LinearOp {
  Segments segments;
  explicit SegmentSum(Segments s) : segments(std::move(s)) {}
  std::string_view name() const override { return "segment_sum"; }
  Tensor eval(const Tensor& x) const override {
    check_rank(name(), "x", x, 2);
    check_same_device(name(), x, segments.offsets);
    const Tensor y = with_rows(x, segments.count());
    kernels::segment_reduce(current_stream(x.device()), kernels::SegmentOp::sum, dense(x).view(),
                            segments.offsets.view(),
                            segments.permutation.defined() ? segments.permutation.view() : View(),
                            y.view());
    return y;
  }
  Var transpose(const Var& gy, const Var& x) const override {
    return apply_op(std::make_shared<SegmentExpand>(segments, x.size(0)), gy);
  }
};

Tensor SegmentExpand::eval(const Tensor& y) const {
  check_rank(name(), "x", y, 2);
  check_same_device(name(), y, segments.offsets);
  TS_CHECK(y.size(0) == segments.count(), "segment_expand: ", y, " for ", segments.count(),
           " segments");
  const Tensor x = full({rows, y.size(1)}, 0.0, y.dtype(), y.device());
  kernels::segment_expand(current_stream(y.device()), dense(y).view(), segments.offsets.view(),
                          segments.permutation.defined() ? segments.permutation.view() : View(),
                          x.view());
  return x;
}

Var SegmentExpand::transpose(const Var& gx, const Var&) const {
  return apply_op(std::make_shared<SegmentSum>(segments), gx);
}

Var as_columns(const Var& x) { return x.rank() == 1 ? unsqueeze(x, 1) : x; }

// Sums of entry values over each row of the pattern, and back to every entry.
Var row_sums(const SparseMatrix& a, const Var& entries) {
  const Var sums =
      apply_op(std::make_shared<SegmentSum>(Segments{a.matrix().row_ptr, {}}), as_columns(entries));
  return entries.rank() == 1 ? squeeze(sums, 1) : sums;
}

Var to_entries(const SparseMatrix& a, const Var& rows) {
  const Var entries = segment_expand(as_columns(rows), a.matrix().row_ptr, a.entries());
  return rows.rank() == 1 ? squeeze(entries, 1) : entries;
}

// ---- entries

// Linear in both operands together.
struct EdgeAdd final : Op {
  SparseMatrix a;
  explicit EdgeAdd(const SparseMatrix& pattern) : a(pattern) {}
  std::string_view name() const override { return "edge_add"; }
  void eval(Values x, Outputs y) const override {
    check_same(name(), x[0], x[1]);
    const bool fits = (x[0].rank() == 1 || x[0].rank() == 2) && x[0].rank() == x[1].rank() &&
                      x[0].size(0) == a.rows() && x[1].size(0) == a.columns() &&
                      (x[0].rank() == 1 || x[0].size(1) == x[1].size(1));
    TS_CHECK(fits, "edge_add: ", x[0], " and ", x[1], " on ", a.matrix());
    const Tensor scores = with_rows(x[0], a.entries());
    kernels::edge_add(current_stream(scores.device()), view_of(a.matrix()), contiguous(x[0]).view(),
                      contiguous(x[1]).view(), scores.view());
    y[0] = scores;
  }
  void jvp(Inputs, Inputs, Inputs dx, Outputs dy) const override {
    if (dx[0].defined() && dx[1].defined())
      dy[0] = edge_add(a, dx[0], dx[1]);
    else if (dx[0].defined())
      dy[0] = to_entries(a, dx[0]);
    else
      dy[0] = gather_rows(dx[1], a.matrix().col);
  }
  void vjp(Inputs, Inputs, Inputs gy, std::span<const bool> wanted, Outputs gx) const override {
    if (wanted[0]) gx[0] = row_sums(a, gy[0]);
    if (wanted[1]) {
      const Segments columns{a.transposed().matrix().row_ptr, a.permutation()};
      const Var sums = apply_op(std::make_shared<SegmentSum>(columns), as_columns(gy[0]));
      gx[1] = gy[0].rank() == 1 ? squeeze(sums, 1) : sums;
    }
  }
  Saved saves() const override { return Saved::nothing(); }
};

// (y, g) -> y * (g - sum(g * y)) over each row: the symmetric Jacobian of the softmax times g.
struct EdgeSoftmaxGradient final : Op {
  SparseMatrix a;
  explicit EdgeSoftmaxGradient(const SparseMatrix& pattern) : a(pattern) {}
  std::string_view name() const override { return "edge_softmax_gradient"; }
  void eval(Values x, Outputs result) const override {
    const Tensor y = contiguous(x[0]), gx = empty_like(y);
    kernels::edge_softmax_gradient(current_stream(y.device()), view_of(a.matrix()), y.view(),
                                   contiguous(x[1]).view(), gx.view());
    result[0] = gx;
  }
  void decompose(Inputs x, Outputs result) const override {
    result[0] = x[0] * (x[1] - to_entries(a, row_sums(a, x[1] * x[0])));
  }
  Saved saves() const override { return Saved::only_inputs(); }
};

struct EdgeSoftmax final : Op {
  SparseMatrix a;
  explicit EdgeSoftmax(const SparseMatrix& pattern) : a(pattern) {}
  std::string_view name() const override { return "edge_softmax"; }
  void eval(Values x, Outputs y) const override {
    check_entries(name(), a, x[0]);
    const Tensor result = empty_like(x[0]);
    kernels::edge_softmax(current_stream(result.device()), view_of(a.matrix()),
                          contiguous(x[0]).view(), result.view());
    y[0] = result;
  }
  void jvp(Inputs, Inputs y, Inputs dx, Outputs dy) const override {
    dy[0] = apply_op(std::make_shared<EdgeSoftmaxGradient>(a), y[0], dx[0]);
  }
  void vjp(Inputs, Inputs y, Inputs gy, std::span<const bool>, Outputs gx) const override {
    gx[0] = apply_op(std::make_shared<EdgeSoftmaxGradient>(a), y[0], gy[0]);
  }
  Saved saves() const override { return Saved::only_outputs(); }
};

// ---- largest neighbour

// y[i, j] = x[col[index[i, j]], j], and its transpose.
struct AggregateGather final : LinearOp {
  SparseMatrix a;
  Tensor index;
  AggregateGather(const SparseMatrix& pattern, Tensor i) : a(pattern), index(std::move(i)) {}
  std::string_view name() const override { return "aggregate_gather"; }
  Tensor eval(const Tensor& x) const override {
    const Tensor y = Tensor::empty(index.shape(), x.dtype(), x.device());
    kernels::aggregate_gather(current_stream(x.device()), view_of(a.matrix()), dense(x).view(),
                              index.view(), y.view());
    return y;
  }
  Var transpose(const Var& gy, const Var&) const override;
};

struct AggregateScatter final : LinearOp {
  SparseMatrix a;
  Tensor index;
  AggregateScatter(const SparseMatrix& pattern, Tensor i) : a(pattern), index(std::move(i)) {}
  std::string_view name() const override { return "aggregate_scatter"; }
  Tensor eval(const Tensor& y) const override {
    const Tensor x = with_rows(y, a.columns());
    kernels::aggregate_scatter(current_stream(y.device()), view_of(a.transposed().matrix()),
                               a.permutation().view(), dense(y).view(), index.view(), x.view());
    return x;
  }
  Var transpose(const Var& gx, const Var&) const override {
    return apply_op(std::make_shared<AggregateGather>(a, index), gx);
  }
};

Var AggregateGather::transpose(const Var& gy, const Var&) const {
  return apply_op(std::make_shared<AggregateScatter>(a, index), gy);
}

// The second output, the chosen entries, is all that derivatives need.
struct AggregateMax final : Op {
  SparseMatrix a;
  explicit AggregateMax(const SparseMatrix& pattern) : a(pattern) {}
  std::string_view name() const override { return "aggregate_max"; }
  int outputs() const override { return 2; }
  void eval(Values x, Outputs out) const override {
    check_rank(name(), "x", x[0], 2);
    check_dense(name(), a, x[0], a.columns());
    const Tensor y = with_rows(x[0], a.rows());
    const Tensor index = Tensor::empty(y.shape(), DType::i32, y.device());
    kernels::aggregate_extreme(current_stream(y.device()), kernels::ExtremeOp::maximum,
                               view_of(a.matrix()), dense(x[0]).view(), y.view(), index.view());
    out[0] = y;
    out[1] = index;
  }
  void jvp(Inputs, Inputs y, Inputs dx, Outputs dy) const override {
    dy[0] = apply_op(std::make_shared<AggregateGather>(a, y[1].value()), dx[0]);
  }
  void vjp(Inputs, Inputs y, Inputs gy, std::span<const bool>, Outputs gx) const override {
    gx[0] = apply_op(std::make_shared<AggregateScatter>(a, y[1].value()), gy[0]);
  }
  Saved saves() const override { return {0, 0b10}; }
};

}  // namespace

Var spmm(const SparseMatrix& a, const Var& x) {
  if (!a.matrix().values.defined() || a.matrix().values.rank() == 1)
    return apply_op(std::make_shared<ConstantSpmm>(a), x);
  return spmm(a, Var(convert(a.matrix().values, x.dtype())), x);
}

Var spmm(const SparseMatrix& pattern, const Var& values, const Var& x) {
  return apply_op(std::make_shared<ValueSpmm>(pattern), values, x);
}

Var sddmm(const SparseMatrix& pattern, const Var& a, const Var& b) {
  return apply_op(std::make_shared<Sddmm>(pattern), a, b);
}

Var edge_add(const SparseMatrix& pattern, const Var& a, const Var& b) {
  return apply_op(std::make_shared<EdgeAdd>(pattern), a, b);
}

Var edge_softmax(const SparseMatrix& pattern, const Var& scores) {
  return apply_op(std::make_shared<EdgeSoftmax>(pattern), scores);
}

Var aggregate_max(const SparseMatrix& pattern, const Var& x) {
  Var y[2];
  apply_op(std::make_shared<AggregateMax>(pattern), Inputs(&x, 1), y);
  return std::move(y[0]);
}

Var segment_sum(const Var& x, const Tensor& offsets) {
  check_offsets("segment_sum", offsets);
  return apply_op(std::make_shared<SegmentSum>(Segments{contiguous(offsets), {}}), x);
}

Var segment_expand(const Var& x, const Tensor& offsets, int64_t rows) {
  check_offsets("segment_expand", offsets);
  return apply_op(std::make_shared<SegmentExpand>(Segments{contiguous(offsets), {}}, rows), x);
}

Var segment_mean(const Var& x, const Tensor& offsets) {
  check_offsets("segment_mean", offsets);
  check_floating("segment_mean", x.value());
  if (is_half(x.dtype()))  // sums and sizes may be beyond a half where means are not
    return cast(segment_mean(cast(x, DType::f32), offsets), x.dtype());
  const int64_t segments = offsets.size(0) - 1;
  const Tensor sizes = binary("segment_mean", kernels::BinaryOp::subtract,
                              offsets.narrow(0, 1, segments), offsets.narrow(0, 0, segments));
  const Tensor divisor = unary(kernels::UnaryOp::clamp, convert(sizes, x.dtype()), {1.0, 0x1p62});
  return segment_sum(x, offsets) / Var(divisor.unsqueeze(1));
}

Var segment_max(const Var& x, const Tensor& offsets) {
  check_offsets("segment_max", offsets);
  check_floating("segment_max", x.value());
  check_rank("segment_max", "x", x.value(), 2);
  check_same_device("segment_max", x.value(), offsets);
  const Tensor y = with_rows(x.value(), offsets.size(0) - 1);
  const Tensor index = Tensor::empty(y.shape(), DType::i64, y.device());
  named("segment_max", [&] {
    kernels::segment_reduce(current_stream(y.device()), kernels::SegmentOp::maximum,
                            dense(x.value()).view(), contiguous(offsets).view(), View(), y.view(),
                            index.view());
  });
  return x.traced() ? take_along(x, index, 0) : Var(y);  // index -1, of an empty segment, reads 0
}

}  // namespace tessera::autograd
