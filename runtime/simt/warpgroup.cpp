#include "tessera/runtime/simt/warpgroup.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "tessera/runtime/error.hpp"
#include "tessera/runtime/half.hpp"
#include "tessera/runtime/simt/async_unit.hpp"
#include "tessera/runtime/simt/levels.hpp"
#include "tessera/runtime/simt/trace.hpp"

namespace tessera::simt {
namespace {

constexpr uint32_t group_threads = 128, rows = 64, depth_bytes = 32, max_columns = 256;

AsyncUnit& unit() { return current().block->interpreter->async(); }

// ---------------------------------------------------------------- descriptors

/// A matrix as the hardware's descriptor has it, distances in bytes.
struct Matrix {
  uint32_t start, leading, stride, swizzle;  // swizzle: log2 of the span / 16 bytes
};

constexpr uint32_t swizzle_code[] = {0, 3, 2, 1};  // none, 32, 64, 128 bytes; its own inverse

Matrix decode(uint64_t descriptor, const char* name, const void* site) {
  const auto field = [&](int shift) {
    return static_cast<uint32_t>(descriptor >> shift & 0x3fff) << 4;
  };
  if (descriptor >> 49 & 7) fault(concat(name, ": descriptors with a base offset"), site);
  return {field(0), field(16), field(32), swizzle_code[descriptor >> 62]};
}

/// A matrix with a swizzle lies in patterns of eight spans, of which the hardware takes the row
/// from the address: what begins or goes on elsewhere is read in another order than it was written.
void check_pattern(const Matrix& m, uint32_t row_count, bool transposed, const char* name,
                   const void* site) {
  if (m.swizzle == 0) return;
  const uint32_t span = 16u << m.swizzle, pattern = 8 * span, within = m.start % span;
  const auto check = [&](const char* what, uint32_t bytes) {
    if (bytes % pattern != 0)
      fault(concat(name, ": ", what, " ", bytes, " is no multiple of the ", pattern,
                   " bytes of a pattern with swizzle ", span),
            site);
  };
  check("a matrix at", m.start - within);
  if (!transposed && within + depth_bytes > span)
    fault(concat(name, ": a step along the depth from byte ", within, " on leaves the span of ",
                 span, " bytes"),
          site);
  if (transposed || row_count > 8) check("the stride of", m.stride);
  if (transposed && row_count * 2 > span) check("the leading distance of", m.leading);
}

/// Where byte `b` of the depth of row `i` lies, when memory runs along the depth.
uint32_t along_depth(const Matrix& m, uint32_t i, uint32_t b) {
  const uint32_t span = 16u << m.swizzle;
  if (m.swizzle == 0) return m.start + i / 8 * m.stride + b / 16 * m.leading + i % 8 * 16 + b % 16;
  return m.start + i / 8 * m.stride + i % 8 * span + b;
}
/// Where row `i` of depth `k` lies, when memory runs along the rows; halves only.
uint32_t along_rows(const Matrix& m, uint32_t i, uint32_t k) {
  const uint32_t unit = i / 8, span = 16u << m.swizzle, units = 1u << m.swizzle;
  if (m.swizzle == 0) return m.start + unit * m.stride + k % 8 * 16 + k / 8 * m.leading + i % 8 * 2;
  return m.start + unit / units * m.leading + unit % units * 16 + k % 8 * span + k / 8 * m.stride +
         i % 8 * 2;
}
uint32_t swizzled(const Matrix& m, uint32_t address) {
  return address ^ (address >> 7 & ((1u << m.swizzle) - 1)) << 4;
}

/// Calls body(16 bytes of shared memory, row, byte of the depth) for all units of a matrix.
template <class Body>
void for_units(const Block& block, const Matrix& m, uint32_t row_count, bool transposed,
               const char* name, const void* site, Body&& body) {
  const auto place = [&](uint32_t address) {
    const uint32_t at = swizzled(m, address);
    if (at + 16 > block.shared_bytes)
      fault(concat(name, ": a descriptor leads to ", at, ", outside of shared memory"), site);
    return block.shared + at;
  };
  if (transposed) {
    for (uint32_t k = 0; k < depth_bytes / 2; ++k)
      for (uint32_t i = 0; i < row_count; i += 8) body(place(along_rows(m, i, k)), i, 2 * k);
  } else {
    for (uint32_t i = 0; i < row_count; ++i)
      for (uint32_t b = 0; b < depth_bytes; b += 16) body(place(along_depth(m, i, b)), i, b);
  }
}

// ---------------------------------------------------------------- a product in flight

uint32_t words_of(uint32_t n) { return n / 2; }

/// What a thread's result will be; its registers hold NaN meanwhile in a lazy schedule.
struct Pending {
  void* d;
  uint32_t words;
  uint64_t last;  // the last product that adds to it
  std::unique_ptr<uint32_t[]> value;
};

struct Operation {
  WarpgroupProduct product;
  const void* site;
  uint32_t arrived = 0;
  bool done = false, ended = false;
  const Thread* last = nullptr;  // to arrive; the operands are read in its name,
  uint32_t mark = 0;             // from then on
  void* d[group_threads];
  uint32_t a[group_threads][4];
};

struct Member {
  uint64_t issued = 0;
  bool fenced = false;
  std::deque<uint64_t> groups;  // products issued when each was committed
  std::vector<Pending> pending;
};

}  // namespace

/// The products of one warp group.
struct Warpgroup {
  uint64_t first = 0;  // the number of the operation in front
  std::deque<Operation> operations;
  Member members[group_threads];
  WaitList waiting;
};

namespace {

Warpgroup& own_group() {
  const Thread& thread = current();
  return unit().warpgroup(*thread.block, thread.rank / group_threads);
}

Pending& pending_of(Member& member, void* d) {
  return *std::find_if(member.pending.begin(), member.pending.end(),
                       [&](const Pending& p) { return p.d == d; });
}

template <class T>
struct Tile {
  T a[rows][depth_bytes];  // by elements of the depth
  T b[depth_bytes][max_columns];
  T d[rows][max_columns];
};

template <class T>
struct MultiplyTile {
  [[gnu::always_inline]] static inline void run(Tile<T>* tile, uint32_t n, uint32_t depth) {
    for (uint32_t i = 0; i < rows; ++i)
      for (uint32_t k = 0; k < depth; ++k) {
        const T a = tile->a[i][k];
        const T* const b = tile->b[k];
        T* const d = tile->d[i];
        for (uint32_t j = 0; j < n; ++j) d[j] += a * b[j];
      }
  }
};

template <class T>
T element(const std::byte* at, Element type) {
  switch (type) {
    case Element::f16: {
      f16 x;
      std::memcpy(&x, at, 2);
      return static_cast<T>(static_cast<float>(x));
    }
    case Element::bf16: {
      bf16 x;
      std::memcpy(&x, at, 2);
      return static_cast<T>(static_cast<float>(x));
    }
    case Element::tf32: {
      uint32_t bits;
      std::memcpy(&bits, at, 4);
      bits &= 0xffffe000u;
      float x;
      std::memcpy(&x, &bits, 4);
      return static_cast<T>(x);
    }
    case Element::s8:
      return static_cast<T>(static_cast<int8_t>(*at));
    case Element::u8:
      return static_cast<T>(static_cast<uint8_t>(*at));
  }
  return {};
}

uint32_t bytes_of(Element type) {
  return type == Element::tf32 ? 4 : type == Element::s8 || type == Element::u8 ? 1 : 2;
}

/// Row and column of word w of a thread's result.
uint32_t row_of(uint32_t thread, uint32_t word) {
  return thread / warp_size * 16 + thread % warp_size / 4 + word / 2 % 2 * 8;
}
uint32_t column_of(uint32_t thread, uint32_t word) {
  return word / 4 * 8 + thread % 4 * 2 + word % 2;
}

template <class T>
void multiply(Warpgroup& group, Operation& op, const Block& block) {
  // Not itself thread-local: this library's thread-local memory is scarce (interpreter.cpp).
  static thread_local const auto own_tile = std::make_unique<Tile<T>>();
  Tile<T>& tile = *own_tile;
  const WarpgroupProduct& p = op.product;
  const uint32_t size = bytes_of(p.a_element), depth = depth_bytes / size, words = words_of(p.n);
  // Units of 16 bytes run along the depth, or along the rows when transposed.
  const auto read = [&](uint64_t descriptor, uint32_t count, bool transposed, Element type,
                        auto&& put) {
    for_units(block, decode(descriptor, p.name, op.site), count, transposed, p.name, op.site,
              [&](const std::byte* from, uint32_t i, uint32_t b) {
                for (uint32_t e = 0; e < 16 / size; ++e) {
                  const T x = element<T>(from + e * size, type);
                  transposed ? put(i + e, b / size, x) : put(i, b / size + e, x);
                }
              });
  };
  if (p.a_registers) {
    for (uint32_t t = 0; t < group_threads; ++t)
      for (uint32_t w = 0; w < 4; ++w)
        for (uint32_t e = 0; e < 4 / size; ++e)
          tile.a[row_of(t, w % 2 * 2)][(t % 4 + w / 2 * 4) * (4 / size) + e] =
              element<T>(reinterpret_cast<const std::byte*>(&op.a[t][w]) + e * size, p.a_element);
  } else {
    read(p.a, rows, p.a_transposed, p.a_element,
         [&](uint32_t i, uint32_t k, T x) { tile.a[i][k] = x; });
  }
  read(p.b, p.n, p.b_transposed, p.b_element,
       [&](uint32_t j, uint32_t k, T x) { tile.b[k][j] = x; });
  uint32_t* values[group_threads];
  for (uint32_t t = 0; t < group_threads; ++t) {
    values[t] = pending_of(group.members[t], op.d[t]).value.get();
    for (uint32_t w = 0; w < words; ++w) {
      T& d = tile.d[row_of(t, w)][column_of(t, w)];
      if (p.accumulates)
        std::memcpy(&d, &values[t][w], 4);
      else
        d = 0;
    }
  }
  static const auto run = ForLevels<MultiplyTile<T>, Tile<T>*, uint32_t, uint32_t>::chosen();
  run(&tile, p.n, depth);
  for (uint32_t t = 0; t < group_threads; ++t)
    for (uint32_t w = 0; w < words; ++w)
      std::memcpy(&values[t][w], &tile.d[row_of(t, w)][column_of(t, w)], 4);
}

void perform(Warpgroup& group, Operation& op, const Block& block) {
  if (std::exchange(op.done, true)) return;
  if (op.product.a_element == Element::s8 || op.product.a_element == Element::u8)
    multiply<int32_t>(group, op, block);
  else
    multiply<float>(group, op, block);
}

bool same(const WarpgroupProduct& p, const WarpgroupProduct& q) {
  return p.a_element == q.a_element && p.b_element == q.b_element && p.n == q.n && p.b == q.b &&
         !p.a_registers == !q.a_registers && (p.a_registers || p.a == q.a) &&
         p.a_transposed == q.a_transposed && p.b_transposed == q.b_transposed &&
         p.accumulates == q.accumulates;
}

/// Calls body(matrix, rows, whether memory runs along these) for the operands in shared memory.
template <class Body>
void for_operands(const WarpgroupProduct& p, const void* site, Body&& body) {
  if (!p.a_registers) body(decode(p.a, p.name, site), rows, p.a_transposed);
  body(decode(p.b, p.name, site), p.n, p.b_transposed);
}

/// The product begins to read shared memory, past the caches of threads.
void see_operands(Operation& op, const Block& block) {
  if (!tracing().access) return;
  const WarpgroupProduct& p = op.product;
  for_operands(p, op.site, [&](const Matrix& m, uint32_t count, bool transposed) {
    std::vector<const std::byte*> units;
    for_units(block, m, count, transposed, p.name, op.site,
              [&](const std::byte* from, uint32_t, uint32_t) {
                units.push_back(from);
                tracing().check_layout(from, m.swizzle, op.site);
                tracing().access(from, 16, Access::proxy_read, op.site);
              });
    std::sort(units.begin(), units.end());
    if (std::adjacent_find(units.begin(), units.end()) != units.end())
      fault(concat(p.name, ": parts of an operand lie at one place, with leading distance ",
                   m.leading, " and stride ", m.stride),
            op.site);
  });
  op.mark = tracing().mark();
  if (tracing().operate)
    tracing().operate(uint64_t{2} * rows * p.n * (depth_bytes / bytes_of(p.a_element)));
}

/// The calling thread has waited for the product: nobody may have written to operands meanwhile.
void end_operands(Operation& op, const Block& block) {
  if (!tracing().access || op.last != &current() || std::exchange(op.ended, true)) return;
  const WarpgroupProduct& p = op.product;
  for_operands(p, op.site, [&](const Matrix& m, uint32_t count, bool transposed) {
    for_units(block, m, count, transposed, p.name, op.site,
              [&](const std::byte* from, uint32_t, uint32_t) {
                tracing().end_access(from, 16, Access::proxy_read, op.mark, op.site);
              });
  });
}

}  // namespace

bool has_unfinished_products(const Warpgroup& group) {
  for (const Member& m : group.members)
    if (!m.pending.empty()) return true;
  return false;
}

Warpgroup& AsyncUnit::warpgroup(const Block& block, uint32_t number) {
  auto& slot = warpgroups_[{&block, number}];
  if (!slot) slot = std::make_shared<Warpgroup>();
  return *slot;
}

void warpgroup_multiply(void* d, const WarpgroupProduct& product) {
  const void* const site = __builtin_return_address(0);
  const Thread& thread = current();
  const Block& block = *thread.block;
  const uint32_t me = thread.rank % group_threads;
  Warpgroup& group = own_group();
  Member& member = group.members[me];
  if ((thread.rank / group_threads + 1) * group_threads > block.launch->block.count())
    fault(concat(product.name, ": the block's last warps are not four"), site);
  if (product.n % 8 != 0 || product.n < 8 || product.n > max_columns)
    fault(concat(product.name, ": ", product.n, " columns are no multiple of 8 up to 256"), site);
  if (!member.fenced) fault(concat(product.name, ": no warpgroup_fence since the last wait"), site);

  const uint64_t number = member.issued++;
  if (number - group.first == group.operations.size()) {
    group.operations.emplace_back();
    group.operations.back().product = product;
    group.operations.back().site = site;
    for_operands(product, site, [&](const Matrix& m, uint32_t count, bool transposed) {
      check_pattern(m, count, transposed, product.name, site);
    });
  }
  Operation& op = group.operations[number - group.first];
  if (!same(op.product, product))
    fault(concat(product.name, ": threads of a warp group come with different operands"), site);
  if (product.a_registers) std::memcpy(op.a[me], product.a_registers, sizeof op.a[me]);
  op.d[me] = d;

  const bool lazy = unit().interpreter().schedule().lazy;
  const uint32_t words = words_of(product.n);
  const auto known = std::find_if(member.pending.begin(), member.pending.end(),
                                  [&](const Pending& p) { return p.d == d; });
  if (known == member.pending.end()) {
    Pending fresh{d, words, number, std::make_unique<uint32_t[]>(words)};
    std::memcpy(fresh.value.get(), d, words * 4);
    if (lazy) std::memset(d, 0xff, words * 4);
    member.pending.push_back(std::move(fresh));
    if (tracing().hold) tracing().hold(d, words * 4);
  } else {
    if (known->words != words)
      fault(concat(product.name, ": products of different widths into the same registers"), site);
    known->last = number;
  }

  if (++op.arrived < group_threads) return;
  op.last = &thread;
  see_operands(op, block);
  if (!lazy) {
    perform(group, op, block);
    for (uint32_t t = 0; t < group_threads; ++t)
      std::memcpy(op.d[t], pending_of(group.members[t], op.d[t]).value.get(), words * 4);
  }
  unit().interpreter().wake(group.waiting);
}

void warpgroup_fence() { own_group().members[current().rank % group_threads].fenced = true; }

void warpgroup_commit() {
  Member& member = own_group().members[current().rank % group_threads];
  member.groups.push_back(member.issued);
}

void warpgroup_wait(uint32_t groups) {
  const void* const site = __builtin_return_address(0);
  const Block& block = *current().block;
  Warpgroup& group = own_group();
  Member& member = group.members[current().rank % group_threads];
  member.fenced = false;
  uint64_t stop = 0;  // products before it must have ended
  while (member.groups.size() > groups) {
    stop = member.groups.front();
    member.groups.pop_front();
  }
  const auto complete = [&] {
    for (uint64_t i = group.first; i < stop; ++i)
      if (group.operations[i - group.first].arrived < group_threads) return false;
    return true;
  };
  while (!complete())
    unit().interpreter().wait_in(group.waiting, Wait::product, "warpgroup_wait", site);
  for (uint64_t i = group.first; i < stop; ++i) {
    perform(group, group.operations[i - group.first], block);
    end_operands(group.operations[i - group.first], block);
  }
  for (Pending& p : member.pending) {
    if (p.last >= stop) continue;
    std::memcpy(p.d, p.value.get(), p.words * 4);
    if (tracing().let_go) tracing().let_go(p.d);
  }
  std::erase_if(member.pending, [&](const Pending& p) { return p.last < stop; });

  // Operations that no thread has still to wait for.
  const auto needed = [&](uint64_t number) {
    for (const Member& m : group.members)
      for (const Pending& p : m.pending)
        if (p.last >= number) return true;
    return false;
  };
  while (!group.operations.empty() && group.operations.front().done && !needed(group.first)) {
    group.operations.pop_front();
    ++group.first;
  }
}

uint64_t matrix_descriptor(const void* shared, uint32_t leading_bytes, uint32_t stride_bytes,
                           uint32_t swizzle) {
  const void* const site = __builtin_return_address(0);
  const Block& block = *current().block;
  const auto offset = static_cast<const std::byte*>(shared) - block.shared;
  if (offset < 0 || static_cast<size_t>(offset) >= block.shared_bytes)
    fault("matrix_descriptor: a matrix that is not in the block's shared memory", site);
  if (offset % 16 != 0 || leading_bytes % 16 != 0 || stride_bytes % 16 != 0)
    fault("matrix_descriptor: address and distances must be multiples of 16 bytes", site);
  const auto field = [](uint64_t bytes) { return bytes >> 4 & 0x3fff; };
  return field(static_cast<uint64_t>(offset)) | field(leading_bytes) << 16 |
         field(stride_bytes) << 32 | uint64_t{swizzle_code[swizzle]} << 62;
}

}  // namespace tessera::simt
