#include "tessera/autograd/trace.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <memory>

#include "tessera/autograd/launch.hpp"
#include "tessera/autograd/ops/arithmetic.hpp"
#include "tessera/kernels/elementwise.hpp"
#include "tessera/runtime/stream.hpp"

namespace tessera::autograd {
namespace {

thread_local std::vector<Trace*> traces;
std::atomic<uint64_t> next_trace_id{1};

// What one op handles at a time, on the stack up to a few.
template <class T>
class SmallArray {
 public:
  explicit SmallArray(size_t n)
      : size_(n),
        data_(n <= inline_size ? reinterpret_cast<T*>(inline_)
                               : static_cast<T*>(operator new(n * sizeof(T)))) {
    std::uninitialized_value_construct_n(data_, n);
  }
  ~SmallArray() {
    std::destroy_n(data_, size_);
    if (size_ > inline_size) operator delete(data_);
  }
  SmallArray(const SmallArray&) = delete;
  SmallArray& operator=(const SmallArray&) = delete;
  std::span<T> span() { return {data_, size_}; }
  T& operator[](size_t i) { return data_[i]; }

 private:
  static constexpr size_t inline_size = 4;
  size_t size_;
  T* data_;
  alignas(T) std::byte inline_[inline_size * sizeof(T)];
};

void evaluate(const Op& op, Inputs x, Outputs y) {
  for (const Var& v : x)
    TS_CHECK(is_float(v.dtype()), op.name(), ": operands must be floating, have ", v.value());
  named(op.name(), [&] { op.eval(Values(x), y); });
}

}  // namespace

std::string to_string(const Var& var) { return concat(var.traced() ? "traced " : "", var.value()); }

Trace::Trace() : level_(static_cast<int>(traces.size())), id_(next_trace_id++) {
  traces.push_back(this);
}

Trace::~Trace() { traces.pop_back(); }

Var Trace::box(Var inner, Var tangent, int slot) const {
  Tensor value = inner.value();
  return Var(std::move(value), std::make_shared<const Box>(
                                   Box{level_, id_, std::move(inner), std::move(tangent), slot}));
}

void apply_op(const OpRef& op, Inputs x, Outputs y) {
  int level = -1;
  const Var* owner = nullptr;
  for (size_t i = 0; i < x.size(); ++i) {
    const Var& v = x[i];
    TS_CHECK(v.defined() || (op->optional() >> i & 1u), op->name(), ": input ", i,
             " is an undefined Var");
    if (v.box() && v.box()->level > level) {
      level = v.box()->level;
      owner = &v;
    }
  }
  if (!owner) return evaluate(*op, x, y);
  TS_CHECK(static_cast<size_t>(level) < traces.size() &&
               traces[static_cast<size_t>(level)]->owns(*owner),
           op->name(),
           ": an input belongs to a transform that has ended (a traced Var leaked out of it)");
  traces[static_cast<size_t>(level)]->process(op, x, y);
}

// ---- forward mode
// --------------------------------------------------------------------------------

void JvpTrace::process(const OpRef& op, Inputs x, Outputs y) {
  SmallArray<Var> primals(x.size()), tangents(x.size()), dy(y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    primals[i] = primal(x[i]);
    tangents[i] = tangent(x[i]);
  }
  op->value_and_jvp(primals.span(), tangents.span(), y, dy.span());
  for (size_t k = 0; k < y.size(); ++k)
    if (dy[k].defined() && differentiable(y[k])) y[k] = box(std::move(y[k]), std::move(dy[k]), -1);
}

// ---- tape
// ----------------------------------------------------------------------------------------

void TapeTrace::process(const OpRef& op, Inputs x, Outputs y) {
  SmallArray<Var> inside(x.size());
  SmallArray<int> x_slots(x.size()), y_slots(y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    inside[i] = inner(x[i]);
    x_slots[i] = slot(x[i]);
  }
  apply_op(op, inside.span(), y);
  if (!any_differentiable(y)) return;
  tape_.record(op, inside.span(), x_slots.span(), y, y_slots.span());
  for (size_t k = 0; k < y.size(); ++k)
    if (y_slots[k] >= 0) y[k] = box(std::move(y[k]), Var(), y_slots[k]);
}

namespace {

Var shape_only(const Var& v) { return Var(Tensor::meta(v.shape(), v.dtype(), v.device())); }

bool names(uint32_t bits, size_t i) { return i < 32 && (bits >> i & 1u); }

}  // namespace

int Tape::add_slot() {
  slots_.push_back({.held = true});
  return slots() - 1;
}

bool Tape::computes_again(const Saved& saved, Inputs x, std::span<const int> x_slots) const {
  if (keep_ == Keep::all || !saved.again) return false;
  for (size_t i = 0; i < x.size(); ++i) {
    if (!x[i].defined()) continue;
    const Slot* slot = x_slots[i] < 0 ? nullptr : &slots_[static_cast<size_t>(x_slots[i])];
    if (names(saved.inputs, i) && slot && slot->again) return false;
    if (names(saved.again_reads, i) && !(slot && slot->held)) return false;
  }
  return true;
}

void Tape::record(const OpRef& op, Inputs x, std::span<const int> x_slots, Inputs y,
                  std::span<int> y_slots) {
  const Saved saved = op->saves();
  const bool again = computes_again(saved, x, x_slots);
  Node node{op, {}, {}, static_cast<int>(x.size()), {}};
  node.values.reserve(x.size() + y.size());
  node.slots.reserve(x.size() + y.size());
  const auto add = [&](const Var& v, int slot, bool whole) {
    const bool absent = whole && slot >= 0 && slots_[static_cast<size_t>(slot)].again;
    if (absent) node.absent.push_back(static_cast<int>(node.values.size()));
    if (whole && !absent && slot >= 0) slots_[static_cast<size_t>(slot)].held = true;
    node.values.push_back((whole && !absent) || !v.defined() ? v : shape_only(v));
    node.slots.push_back(slot);
  };
  for (size_t i = 0; i < x.size(); ++i)
    add(x[i], x_slots[i], names(saved.inputs, i) || (again && names(saved.again_reads, i)));
  for (size_t k = 0; k < y.size(); ++k) {
    y_slots[k] = -1;
    if (differentiable(y[k])) {
      y_slots[k] = slots();
      slots_.push_back(
          {.again = again && names(saved.again, k), .node = nodes_.size(), .output = k});
    }
    add(y[k], y_slots[k], names(saved.outputs, k));
  }
  nodes_.push_back(std::move(node));
}

const Var& Tape::computed_again(const Slot& slot) {
  Node& node = nodes_[slot.node];
  const auto inputs = static_cast<size_t>(node.inputs);
  Var& value = node.values[inputs + slot.output];
  if (!value.value().has_data()) {
    const Inputs values(node.values);
    value = node.op->again(values.first(inputs), values.subspan(inputs), slot.output);
  }
  return value;
}

void Tape::reverse(Vars& cotangents, bool keep) {
  for (size_t n = nodes_.size(); n-- > 0;) {
    Node& node = nodes_[n];
    const auto inputs = static_cast<size_t>(node.inputs), outputs = node.values.size() - inputs;
    SmallArray<Var> gy(outputs), gx(inputs);
    SmallArray<bool> wanted(inputs);
    bool reached = false;
    for (size_t k = 0; k < outputs; ++k) {
      const int slot = node.slots[inputs + k];
      if (slot < 0) continue;
      gy[k] = std::move(cotangents[static_cast<size_t>(slot)]);
      cotangents[static_cast<size_t>(slot)] = Var();
      reached = reached || gy[k].defined();
    }
    if (reached) {
      for (size_t i = 0; i < inputs; ++i) wanted[i] = node.slots[i] >= 0;
      for (const int i : node.absent) {
        const auto at = static_cast<size_t>(i);
        node.values[at] = computed_again(slots_[static_cast<size_t>(node.slots[at])]);
      }
      const Inputs values(node.values);
      node.op->vjp(values.first(inputs), values.subspan(inputs), gy.span(), wanted.span(),
                   gx.span());
      for (Var& g : gy.span()) g = Var();
      for (size_t i = 0; i < inputs; ++i) {
        if (!wanted[i] || !gx[i].defined()) continue;
        TS_CHECK(gx[i].shape() == node.values[i].shape(), node.op->name(),
                 ": the gradient of input ", i, " has shape ", gx[i].shape(), ", the input ",
                 node.values[i].shape());
        accumulate(cotangents[static_cast<size_t>(node.slots[i])], std::move(gx[i]));
      }
    }
    if (!keep) {
      nodes_.pop_back();
      continue;
    }
    for (size_t i = 0; i < node.slots.size(); ++i)
      if (node.slots[i] >= 0 && slots_[static_cast<size_t>(node.slots[i])].again)
        node.values[i] = shape_only(node.values[i]);
  }
}

void Tape::forward(Vars& tangents) const {
  for (const Node& node : nodes_) {
    const auto inputs = static_cast<size_t>(node.inputs), outputs = node.values.size() - inputs;
    SmallArray<Var> dx(inputs), dy(outputs);
    bool reached = false;
    for (size_t i = 0; i < inputs; ++i) {
      if (node.slots[i] < 0) continue;
      dx[i] = tangents[static_cast<size_t>(node.slots[i])];
      reached = reached || dx[i].defined();
    }
    if (!reached) continue;
    const Inputs values(node.values);
    node.op->jvp(values.first(inputs), values.subspan(inputs), dx.span(), dy.span());
    for (size_t k = 0; k < outputs; ++k)
      if (const int slot = node.slots[inputs + k]; slot >= 0)
        tangents[static_cast<size_t>(slot)] = std::move(dy[k]);
  }
}

}  // namespace tessera::autograd
