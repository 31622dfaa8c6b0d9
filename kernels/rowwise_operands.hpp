#pragma once

#include <algorithm>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>

#include "tessera/kernels/rowwise.hpp"
#include "tessera/runtime/error.hpp"
#include "tessera/runtime/host_device.hpp"

/// Operands of the row-wise family, checked against the contract of the family's header.
namespace tessera::kernels {

struct Operand {
  const char* name;
  View view;
  bool may_be_absent = false;
};
inline constexpr bool optional = true;
inline bool given(const View& v) { return v.data != nullptr || v.rank > 0; }

constexpr DType compute_dtype(DType dtype) { return is_half(dtype) ? DType::f32 : dtype; }

/// True when the operand is there to be checked.
inline bool check_presence(std::string_view operation, const Operand& o) {
  TS_CHECK(o.may_be_absent || given(o.view), operation, ": ", o.name, " is missing");
  TS_CHECK(o.view.contiguous(), operation, ": ", o.name, " ", o.view.dtype, " ", o.view.dims(),
           " must be contiguous");
  return given(o.view);
}

/// Throws unless the operands are contiguous and have the first one's shape and floating dtype.
inline void check_alike(std::string_view operation, std::initializer_list<Operand> operands) {
  const Operand& first = *operands.begin();
  if (!is_float(first.view.dtype)) unsupported_dtype(operation, first.view.dtype);
  for (const Operand& o : operands)
    if (check_presence(operation, o))
      TS_CHECK(o.view.dtype == first.view.dtype && o.view.dims() == first.view.dims(), operation,
               ": ", o.name, " is ", o.view.dtype, " ", o.view.dims(), ", expected ",
               first.view.dtype, " ", first.view.dims(), " as ", first.name);
}

/// Throws unless the operands are contiguous, have `shape`, and are of one of two dtypes.
inline void check_operands(std::string_view operation, const Shape& shape, DType one, DType other,
                           std::initializer_list<Operand> operands) {
  for (const Operand& o : operands)
    if (check_presence(operation, o))
      TS_CHECK((o.view.dtype == one || o.view.dtype == other) && o.view.dims() == shape, operation,
               ": ", o.name, " is ", o.view.dtype, " ", o.view.dims(), ", expected ", one, " ",
               shape, one == other ? "" : concat(" or ", other));
}

// --- softmax ---

struct RowExtents {
  int64_t rows, n;
};
/// The operands of softmax and its gradient: alike, of at least one axis.
inline RowExtents check_rows(std::string_view operation, std::initializer_list<Operand> operands) {
  check_alike(operation, operands);
  const View& x = operands.begin()->view;
  TS_CHECK(x.rank >= 1, operation, ": a scalar has no rows");
  RowExtents e{1, x.shape[x.rank - 1]};
  for (int i = 0; i + 1 < x.rank; ++i) e.rows *= x.shape[i];
  return e;
}

// --- normalisations whose statistics belong to a contiguous run of one sample ---

/// Layer norm and rms norm are the case of one group and no inner extent.
struct NormExtents {
  int64_t samples, groups, channels, inner;
  Shape statistics;

  int64_t per_group() const { return channels / groups; }
  int64_t run() const { return per_group() * inner; }  // elements that share statistics
  int64_t runs() const { return samples * groups; }
};
inline NormExtents layer_norm_extents(std::string_view operation, const View& x) {
  TS_CHECK(x.rank >= 1, operation, ": a scalar has no rows");
  const Shape rows(std::span<const int64_t>(x.shape, static_cast<size_t>(x.rank - 1)));
  return {rows.numel(), 1, x.shape[x.rank - 1], 1, rows};
}
inline NormExtents group_norm_extents(std::string_view operation, const View& x, int64_t groups) {
  TS_CHECK(x.rank >= 2, operation, ": x ", x.dims(),
           " must have at least the axes sample and channel");
  TS_CHECK(groups >= 1 && x.shape[1] % groups == 0, operation, ": ", groups,
           " groups do not divide the channels of x ", x.dims());
  int64_t inner = 1;
  for (int i = 2; i < x.rank; ++i) inner *= x.shape[i];
  return {x.shape[0], groups, x.shape[1], inner, {x.shape[0], groups}};
}

inline void check_norm(std::string_view operation, const NormExtents& e, const View& x,
                       const View& gamma, const View& beta, const View& y, const View& mean,
                       const View& rstd) {
  check_alike(operation, {{"x", x}, {"y", y}});
  const DType wide = compute_dtype(x.dtype);
  check_operands(operation, {e.channels}, x.dtype, wide,
                 {{"gamma", gamma, optional}, {"beta", beta, optional}});
  check_operands(operation, e.statistics, wide, wide,
                 {{"mean", mean, optional}, {"rstd", rstd, optional}});
}
/// `centred` is false for rms norm, which has no mean.
inline void check_norm_gradient(std::string_view operation, bool centred, const NormExtents& e,
                                const View& x, const View& gamma, const View& mean,
                                const View& rstd, const View& gy, const View& gx,
                                const View& ggamma, const View& gbeta) {
  check_alike(operation, {{"x", x}, {"gy", gy}, {"gx", gx, optional}});
  const DType wide = compute_dtype(x.dtype);
  check_operands(
      operation, {e.channels}, x.dtype, wide,
      {{"gamma", gamma, optional}, {"ggamma", ggamma, optional}, {"gbeta", gbeta, optional}});
  check_operands(operation, e.statistics, wide, wide, {{"mean", mean, !centred}, {"rstd", rstd}});
}

// --- batch norm ---

struct BatchExtents {
  int64_t samples, channels, inner;

  TS_HD int64_t per_channel() const { return samples * inner; }
};
inline BatchExtents batch_extents(std::string_view operation, const View& x) {
  TS_CHECK(x.rank >= 2, operation, ": x ", x.dims(),
           " must have at least the axes sample and channel");
  BatchExtents e{x.shape[0], x.shape[1], 1};
  for (int i = 2; i < x.rank; ++i) e.inner *= x.shape[i];
  return e;
}

inline void check_map(std::string_view operation, const View& x, const BatchNormMap& map) {
  check_operands(operation, {x.shape[1]}, x.dtype, compute_dtype(x.dtype),
                 {{"mean", map.mean},
                  {"rstd", map.rstd},
                  {"gamma", map.gamma, optional},
                  {"beta", map.beta, optional}});
}

inline BatchExtents check_batch_statistics(const View& x, const View& mean, const View& rstd,
                                           const View& running_mean, const View& running_var) {
  const char* name = "batch_statistics";
  const BatchExtents e = batch_extents(name, x);
  const DType wide = compute_dtype(x.dtype);
  check_alike(name, {{"x", x}});
  check_operands(name, {e.channels}, wide, wide, {{"mean", mean}, {"rstd", rstd}});
  check_operands(
      name, {e.channels}, x.dtype, wide,
      {{"running_mean", running_mean, optional}, {"running_var", running_var, optional}});
  TS_CHECK(!running_var.data || e.channels == 0 || e.per_channel() != 1, name, ": x ", x.dims(),
           " has 1 value per channel; an unbiased variance needs at least 2");
  return e;
}

inline BatchExtents check_batch_norm(const View& x, const BatchNormMap& map, const View& residual,
                                     const View& y) {
  const BatchExtents e = batch_extents("batch_norm", x);
  check_alike("batch_norm", {{"x", x}, {"residual", residual, optional}, {"y", y}});
  check_map("batch_norm", x, map);
  return e;
}

inline BatchExtents check_batch_norm_gradient(const View& x, const BatchNormMap& map,
                                              const View& gy, const View& gx, const View& ggamma,
                                              const View& gbeta) {
  const char* name = "batch_norm_gradient";
  const BatchExtents e = batch_extents(name, x);
  check_alike(name, {{"x", x}, {"gy", gy}, {"gx", gx, optional}});
  check_map(name, x, map);
  check_operands(name, {e.channels}, x.dtype, compute_dtype(x.dtype),
                 {{"ggamma", ggamma, optional}, {"gbeta", gbeta, optional}});
  return e;
}

inline BatchExtents check_batch_statistics_tangent(const View& x, const View& mean,
                                                   const View& rstd, const View& dx,
                                                   const View& dmean, const View& drstd) {
  const char* name = "batch_statistics_tangent";
  const BatchExtents e = batch_extents(name, x);
  const DType wide = compute_dtype(x.dtype);
  check_alike(name, {{"x", x}, {"dx", dx}});
  check_map(name, x, {mean, rstd});
  check_operands(name, {e.channels}, wide, wide, {{"dmean", dmean}, {"drstd", drstd}});
  return e;
}

inline BatchExtents check_batch_norm_tangent(const View& x, const BatchNormMap& map, const View& y,
                                             const View& dx, const BatchNormMap& moves,
                                             const View& dresidual, const View& dy) {
  const char* name = "batch_norm_tangent";
  const BatchExtents e = batch_extents(name, x);
  check_alike(name, {{"x", x},
                     {"y", y, optional},
                     {"dx", dx, optional},
                     {"dresidual", dresidual, optional},
                     {"dy", dy}});
  check_map(name, x, map);
  check_operands(name, {e.channels}, x.dtype, compute_dtype(x.dtype),
                 {{"dmean", moves.mean, optional},
                  {"drstd", moves.rstd, optional},
                  {"dgamma", moves.gamma, optional},
                  {"dbeta", moves.beta, optional}});
  return e;
}

inline BatchExtents check_batch_norm_gradient_tangent(const View& x, const BatchNormMap& map,
                                                      const View& gy, const View& dx,
                                                      const View& dgamma, const View& dgy,
                                                      const View& dgx, const View& dggamma,
                                                      const View& dgbeta) {
  const char* name = "batch_norm_gradient_tangent";
  const BatchExtents e = batch_extents(name, x);
  check_alike(
      name,
      {{"x", x}, {"gy", gy}, {"dx", dx, optional}, {"dgy", dgy, optional}, {"dgx", dgx, optional}});
  check_map(name, x, map);
  check_operands(
      name, {e.channels}, x.dtype, compute_dtype(x.dtype),
      {{"dgamma", dgamma, optional}, {"dggamma", dggamma, optional}, {"dgbeta", dgbeta, optional}});
  return e;
}

// --- losses ---

/// The first extent of an unreduced loss of logits with n rows, when `rows` selects among them. The
/// numbers in `rows` are the device's to check.
inline int64_t check_selected_rows(std::string_view operation, const View& rows, int64_t n) {
  if (!given(rows)) return n;
  TS_CHECK(rows.rank == 1 && rows.contiguous(), operation, ": rows ", rows.dims(),
           " must be one contiguous axis");
  if (rows.dtype != DType::bool_) {
    for_index(rows.dtype, operation, []<class>() {});
    return rows.shape[0];
  }
  TS_CHECK(rows.shape[0] == n, operation, ": mask rows ", rows.dims(), " for ", n,
           " rows of logits");
  return n;
}

/// A reduced loss has one element of rank 0 or 1.
inline void check_loss(std::string_view operation, const char* name, const View& loss, DType dtype,
                       LossReduction reduction, const Shape& unreduced) {
  const bool single = reduction != LossReduction::none;
  check_operands(operation, single ? loss.dims() : unreduced, dtype, compute_dtype(dtype),
                 {{name, loss}});
  TS_CHECK(!single || loss.numel() == 1, operation, ": ", name, " ", loss.dims(),
           " must be one element");
}

/// `loss` is called `loss_name`. Returns the entries of an unreduced loss.
inline int64_t check_cross_entropy(std::string_view operation, const View& logits,
                                   const View& target, const LossSelection& selection,
                                   const CrossEntropyParams& p, const char* loss_name,
                                   const View& loss, const Operand& lse) {
  check_alike(operation, {{"logits", logits}});
  TS_CHECK(logits.rank == 2, operation, ": logits ", logits.dims(), " must be [rows, classes]");
  if (is_float(target.dtype))
    check_alike(operation, {{"logits", logits}, {"target", target}});
  else
    check_operands(operation, {logits.shape[0]}, DType::i64, DType::i32, {{"target", target}});
  const DType wide = compute_dtype(logits.dtype);
  check_operands(operation, {logits.shape[1]}, logits.dtype, wide,
                 {{"class_weights", selection.class_weights, optional}});
  TS_CHECK(p.label_smoothing >= 0 && p.label_smoothing <= 1, operation, ": label_smoothing ",
           p.label_smoothing, " is outside 0 to 1");
  const int64_t entries = check_selected_rows(operation, selection.rows, logits.shape[0]);
  check_loss(operation, loss_name, loss, logits.dtype, p.reduction, {entries});
  check_operands(operation, {logits.shape[0]}, wide, wide, {lse});
  return entries;
}

inline int64_t check_binary_cross_entropy(std::string_view operation, const View& logits,
                                          const View& target, const LossSelection& selection,
                                          LossReduction reduction, const char* loss_name,
                                          const View& loss) {
  check_alike(operation, {{"logits", logits}, {"target", target}});
  TS_CHECK(logits.rank == 1 || logits.rank == 2, operation, ": logits ", logits.dims(),
           " must be [rows] or [rows, classes]");
  check_operands(operation, {logits.rank == 2 ? logits.shape[1] : 1}, logits.dtype,
                 compute_dtype(logits.dtype),
                 {{"class_weights", selection.class_weights, optional}});
  const int64_t entries = check_selected_rows(operation, selection.rows, logits.shape[0]);
  Shape unreduced = logits.dims();
  unreduced[0] = entries;
  check_loss(operation, loss_name, loss, logits.dtype, reduction, unreduced);
  return entries;
}

}  // namespace tessera::kernels
