#include "tessera/kernels/cpu/tiles.hpp"

#include <algorithm>
#include <cstring>

#include "tessera/kernels/cpu/parallel.hpp"
#include "tessera/kernels/cpu/simd.hpp"
#include "tessera/kernels/strided_space.hpp"

namespace tessera::kernels::cpu {
namespace {

constexpr int max_operands = StridedSpace::max_operands;
constexpr int64_t tile_elements = 1024;              // at most; a buffer takes 8 KiB
constexpr int64_t strip_elements = 128;              // what is made and then streamed at a time
constexpr int64_t thread_grain = 32768;              // elements worth a thread
constexpr int64_t stream_bytes = int64_t{16} << 20;  // outputs from here on bypass the caches
constexpr int64_t line = 64;

// --- between strided memory and a buffer ---

struct Block {
  int64_t rows, cols, row_stride, col_stride;  // strides in elements of the memory side
};

template <class S>
void load_row(const S* from, int64_t n, compute_t<S>* to) {
  if constexpr (std::is_same_v<S, compute_t<S>>) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(S));
  } else {
    constexpr int width = Vec<float>::width;
    int64_t i = 0;
    for (; i + width <= n; i += width) store(to + i, load(from + i));
    if (i < n) store(to + i, load(from + i, n - i), n - i);
  }
}

template <class S>
void store_row(const compute_t<S>* from, int64_t n, S* to) {
  if constexpr (std::is_same_v<S, compute_t<S>>) {
    std::memcpy(to, from, static_cast<size_t>(n) * sizeof(S));
  } else {
    constexpr int width = Vec<float>::width;
    int64_t i = 0;
    for (; i + width <= n; i += width) store(to + i, load(from + i));
    if (i < n) store(to + i, load(from + i, n - i), n - i);
  }
}

/// Calls body(memory offset, buffer index) for each element, along the smaller memory stride first.
template <class Body>
void for_each(const Block& b, Body&& body) {
  if (std::abs(b.row_stride) < std::abs(b.col_stride) && b.row_stride != 0) {
    for (int64_t c = 0; c < b.cols; ++c)
      for (int64_t r = 0; r < b.rows; ++r)
        body(r * b.row_stride + c * b.col_stride, r * b.cols + c);
  } else {
    for (int64_t r = 0; r < b.rows; ++r)
      for (int64_t c = 0; c < b.cols; ++c)
        body(r * b.row_stride + c * b.col_stride, r * b.cols + c);
  }
}

template <class S>
void gather(const void* memory, const Block& b, void* buffer) {
  const S* from = static_cast<const S*>(memory);
  auto* to = static_cast<compute_t<S>*>(buffer);
  if (b.col_stride == 1) {
    if (b.row_stride == b.cols) return load_row(from, b.rows * b.cols, to);
    for (int64_t r = 0; r < b.rows; ++r) load_row(from + r * b.row_stride, b.cols, to + r * b.cols);
  } else if (b.col_stride == 0) {
    for (int64_t r = 0; r < b.rows; ++r)
      std::fill_n(to + r * b.cols, b.cols, static_cast<compute_t<S>>(from[r * b.row_stride]));
  } else {
    for_each(b, [&](int64_t at, int64_t i) { to[i] = static_cast<compute_t<S>>(from[at]); });
  }
}

template <class S>
void scatter(const void* buffer, const Block& b, void* memory) {
  const auto* from = static_cast<const compute_t<S>*>(buffer);
  S* to = static_cast<S*>(memory);
  if (b.col_stride == 1) {
    if (b.row_stride == b.cols) return store_row(from, b.rows * b.cols, to);
    for (int64_t r = 0; r < b.rows; ++r)
      store_row(from + r * b.cols, b.cols, to + r * b.row_stride);
  } else {
    for_each(b, [&](int64_t at, int64_t i) { to[at] = static_cast<S>(from[i]); });
  }
}

/// How elements of one operand look in memory and in a buffer, and what moves them.
struct Movers {
  int64_t memory_size, buffer_size;
  void (*gather)(const void*, const Block&, void*);
  void (*scatter)(const void*, const Block&, void*);
};

template <class S>
constexpr Movers movers_of{sizeof(S), sizeof(compute_t<S>), gather<S>, scatter<S>};

const Movers& choose_movers(DType dtype, Halves halves) {
  if (is_half(dtype) && halves == Halves::widened)
    return dtype == DType::f16 ? movers_of<f16> : movers_of<bf16>;
  return for_bits(dtype, []<class S>() -> const Movers& { return movers_of<S>; });
}

/// Past the caches, where the memory begins on a line.
void stream_out(const void* buffer, int64_t bytes, void* memory) {
  const char* from = static_cast<const char*>(buffer);
  char* to = static_cast<char*>(memory);
  int64_t at = 0;
  if (reinterpret_cast<uintptr_t>(memory) % line == 0)
    for (; at + vector_bytes <= bytes; at += vector_bytes) stream(to + at, from + at);
  std::memcpy(to + at, from + at, static_cast<size_t>(bytes - at));
}

// --- the common iteration space ---

/// The last two dimensions are the rows and columns that tiles are cut from.
struct Space : StridedSpace {
  Space(std::span<const View> inputs, const View& output) : StridedSpace(inputs, output) {
    bring_transposed_dimension_next_to_last();
    while (rank < 2) insert_front();
  }

  bool transposed() const {
    for (int k = 0; k + 1 < operands; ++k)
      if (nearer(k, rank - 2, rank - 1)) return true;
    return false;
  }

 private:
  void insert_front() {
    for (int d = rank++; d > 0; --d) move(d - 1, d);
    extent[0] = 1;
    for (int k = 0; k < operands; ++k) stride[k][0] = 0;
  }
  /// Whether operand k has neighbours along dimension a that are nearer than those along b.
  bool nearer(int k, int a, int b) const {
    return stride[k][a] != 0 && std::abs(stride[k][a]) < std::abs(stride[k][b]);
  }
  void bring_transposed_dimension_next_to_last() {
    for (int k = 0; k + 1 < operands; ++k)
      for (int d = 0; d + 2 < rank; ++d) {
        if (!nearer(k, d, rank - 1) || nearer(k, rank - 2, d)) continue;
        std::swap(extent[d], extent[rank - 2]);
        for (int j = 0; j < operands; ++j) std::swap(stride[j][d], stride[j][rank - 2]);
      }
  }
};

/// One call: the space cut into tiles of at most tile_elements elements.
class Job {
 public:
  Job(std::span<const View> inputs, const View& output, TileKernel kernel, const void* parameters,
      Halves halves, bool bypass_caches)
      : space_(inputs, output), kernel_(kernel), parameters_(parameters) {
    for (size_t k = 0; k < inputs.size(); ++k) set_operand(static_cast<int>(k), inputs[k], halves);
    set_operand(output_, output, halves);

    const int64_t* stride = space_.stride[output_];
    const int64_t rows = space_.extent[space_.rank - 2], cols = space_.extent[space_.rank - 1];
    if (space_.transposed()) {  // about square, so that lines of both sides are used whole
      tile_cols_ = std::min(cols, tile_elements / std::min<int64_t>(rows, 32));
      tile_rows_ = std::min(rows, tile_elements / std::min<int64_t>(cols, 32));
      if (tile_rows_ * tile_cols_ > tile_elements) tile_cols_ = tile_rows_ = 32;
    } else {
      tile_cols_ = std::min(cols, tile_elements);
      tile_rows_ = cols >= 128 ? 1 : std::min(rows, tile_elements / tile_cols_);
    }
    stream_ = bypass_caches && cols == output.numel() && stride[space_.rank - 1] == 1;
    if (stream_)  // the first tile ends, so that the others begin, on a cache line
      shift_ = static_cast<int64_t>(reinterpret_cast<uintptr_t>(data_[output_]) % line) /
               movers_[output_]->memory_size;
    row_tiles_ = (rows + tile_rows_ - 1) / tile_rows_;
    col_tiles_ = (cols + shift_ + tile_cols_ - 1) / tile_cols_;
    tiles_ = row_tiles_ * col_tiles_;
    for (int d = 0; d + 2 < space_.rank; ++d) tiles_ *= space_.extent[d];
  }

  void run() const {
    const int64_t grain = std::max<int64_t>(1, thread_grain / (tile_rows_ * tile_cols_));
    parallel_for(tiles_, grain, [this](int64_t begin, int64_t end) { run(begin, end); });
  }

 private:
  void set_operand(int k, const View& view, Halves halves) {
    data_[k] = view.as<char>();
    movers_[k] = &choose_movers(view.dtype, halves);
  }
  void run(int64_t begin, int64_t end) const;
  void stream_tile(const void* const* source, int64_t n, char* target) const;

  Space space_;
  int output_ = space_.operands - 1;
  char* data_[max_operands];
  const Movers* movers_[max_operands];
  TileKernel kernel_;
  const void* parameters_;
  bool stream_ = false;  // write past the caches
  int64_t tile_rows_, tile_cols_;
  int64_t shift_ = 0;  // by how much the first tile is shorter than the others
  int64_t row_tiles_, col_tiles_, tiles_;
};

/// One tile past the caches, in strips: while the lines of one drain, the next is computed.
void Job::stream_tile(const void* const* source, int64_t n, char* target) const {
  alignas(line) char computed[strip_elements * 8], narrowed[strip_elements * 2];
  const Movers& m = *movers_[output_];
  for (int64_t at = 0; at < n; at += strip_elements) {
    const int64_t count = std::min(strip_elements, n - at);
    const void* from[max_operands];
    for (int k = 0; k < output_; ++k)
      from[k] = static_cast<const char*>(source[k]) + at * movers_[k]->buffer_size;
    const void* result = from[0];
    if (kernel_) {
      kernel_(from, computed, count, parameters_);
      result = computed;
    }
    if (m.memory_size != m.buffer_size) {
      m.scatter(result, Block{1, count, count, 1}, narrowed);
      result = narrowed;
    }
    stream_out(result, count * m.memory_size, target + at * m.memory_size);
  }
}

void Job::run(int64_t begin, int64_t end) const {
  alignas(line) char buffer[max_operands][tile_elements * 8];
  const void* staged[max_operands] = {};  // what the inputs' buffers were gathered from
  int64_t staged_rows = 0, staged_cols = 0;

  const int row_axis = space_.rank - 2, col_axis = space_.rank - 1;
  int64_t index[max_rank] = {};
  int64_t col_tile = begin % col_tiles_, row_tile = begin / col_tiles_ % row_tiles_;
  int64_t rest = begin / col_tiles_ / row_tiles_;
  for (int d = row_axis - 1; d >= 0; --d) {
    index[d] = rest % space_.extent[d];
    rest /= space_.extent[d];
  }

  for (int64_t tile = begin; tile < end; ++tile) {
    const int64_t row = row_tile * tile_rows_;
    const int64_t col = std::max<int64_t>(0, col_tile * tile_cols_ - shift_);
    const int64_t rows = std::min(tile_rows_, space_.extent[row_axis] - row);
    const int64_t cols =
        std::min((col_tile + 1) * tile_cols_ - shift_, space_.extent[col_axis]) - col;
    const bool same_size = rows == staged_rows && cols == staged_cols;
    staged_rows = rows, staged_cols = cols;

    const auto memory = [&](int k) {
      const int64_t* stride = space_.stride[k];
      int64_t at = row * stride[row_axis] + col * stride[col_axis];
      for (int d = 0; d < row_axis; ++d) at += index[d] * stride[d];
      return data_[k] + at * movers_[k]->memory_size;
    };
    const auto block = [&](int k) {
      return Block{rows, cols, space_.stride[k][row_axis], space_.stride[k][col_axis]};
    };
    const auto usable_in_place = [&](int k) {
      return movers_[k]->memory_size == movers_[k]->buffer_size &&
             space_.stride[k][col_axis] == 1 && (rows == 1 || space_.stride[k][row_axis] == cols);
    };

    char* const target = memory(output_);
    const bool write_in_place = usable_in_place(output_) && !stream_;
    const void* source[max_operands] = {};
    for (int k = 0; k < output_; ++k) {
      char* const from = memory(k);
      if (usable_in_place(k)) {
        source[k] = from;
      } else if (!kernel_ && write_in_place) {  // a copy gathers straight into its output
        movers_[k]->gather(from, block(k), target);
        source[k] = target;
      } else {
        if (!same_size || staged[k] != from) movers_[k]->gather(from, block(k), buffer[k]);
        staged[k] = from;
        source[k] = buffer[k];
      }
    }

    if (stream_) {
      stream_tile(source, cols, target);
    } else {
      const void* result = source[0];
      if (kernel_) {
        char* const to = write_in_place ? target : buffer[output_];
        kernel_(source, to, rows * cols, parameters_);
        result = to;
      }
      if (result != target) movers_[output_]->scatter(result, block(output_), target);
    }

    if (++col_tile < col_tiles_) continue;
    col_tile = 0;
    if (++row_tile < row_tiles_) continue;
    row_tile = 0;
    for (int d = row_axis - 1; d >= 0 && ++index[d] == space_.extent[d]; --d) index[d] = 0;
  }
  if (stream_) stream_fence();
}

}  // namespace

void map_tiles(std::span<const View> inputs, const View& output, TileKernel kernel,
               const void* parameters, Halves halves, Bound bound) {
  const int64_t n = output.numel();
  if (n == 0) return;

  bool contiguous = output.contiguous(),
       converted = is_half(output.dtype) && halves == Halves::widened;
  bool in_place = false;
  for (const View& x : inputs) {
    contiguous = contiguous && x.contiguous();
    converted = converted || (is_half(x.dtype) && halves == Halves::widened);
    in_place = in_place || x.data == output.data;
  }
  const int64_t output_size = static_cast<int64_t>(size_of(output.dtype));
  const bool past_caches = bound == Bound::memory && n * output_size >= stream_bytes && !in_place;

  if (contiguous && !converted && !past_caches) {  // straight through, with no buffers
    const auto run = [&](int64_t begin, int64_t end) {
      const void* source[max_operands];
      for (size_t k = 0; k < inputs.size(); ++k)
        source[k] =
            inputs[k].as<const char>() + begin * static_cast<int64_t>(size_of(inputs[k].dtype));
      char* to = output.as<char>() + begin * output_size;
      if (kernel)
        kernel(source, to, end - begin, parameters);
      else
        std::memcpy(to, source[0], static_cast<size_t>((end - begin) * output_size));
    };
    parallel_for(n, thread_grain, run);
    return;
  }

  Job(inputs, output, kernel, parameters, halves, past_caches).run();
}

}  // namespace tessera::kernels::cpu
