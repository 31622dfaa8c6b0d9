// Quantisation and what chooses its grid. Floor: what is read and what is written, once; elements
// go in packs of 128 bits of x wherever a pack lies within one row of scales. Ranges are reduced by
// teams of threads, one entry each, or slices of it where there are few entries. Quantiles come
// from sorting each entry's elements, 20 bytes per element and byte of the key. A thread picks
// those of an entry from sectors of its own, where the ideal is eight entries to a sector; once per
// entry.
#include "tessera/kernels/quantize.hpp"

#include "tessera/kernels/cuda/backend.hpp"
#include "tessera/kernels/cuda/elements.cuh"
#include "tessera/kernels/cuda/faults.cuh"
#include "tessera/kernels/cuda/warp.cuh"
#include "tessera/kernels/functors.hpp"
#include "tessera/kernels/quantize_operands.hpp"
#include "tessera/kernels/sort.hpp"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t threads = element_threads;

template <int n>
LaunchShape over(const char* name, int64_t elements) {
  return {name, {blocks_for(ceil_divide(elements, n), threads)}, {threads}};
}

// ---------------------------------------------------------------- elements on a grid

/// Which scale serves which element; zero may be absent.
struct Grid {
  ScaleBlocks blocks;
  const float *scales, *zeros;
  int64_t size;  // elements

  Grid(const ScaleBlocks& b, const View& x, const View& scale, const View& zero)
      : blocks(b), scales(scale.as<float>()), zeros(zero.as<float>()), size(x.numel()) {}
};

/// The scales, or zeros, of a pack of n elements.
template <class C, int n>
struct GridValues {
  C value[n];

  TS_DEVICE GridValues(const float* from, int64_t at, int64_t stride, uint32_t count) {
    if (stride == 0 || n == 1) {
      const C one = from ? static_cast<C>(from[at]) : C{0};
#pragma unroll
      for (int i = 0; i < n; ++i) value[i] = one;
      return;
    }
    constexpr int wide = n < 4 ? n : 4;
#pragma unroll
    for (int i = 0; i < n; i += wide) {
      const auto left = count > static_cast<uint32_t>(i) ? count - i : 0u;
      const Pack<float, wide> part =
          from ? load_pack<float, wide>(from + at + i, left) : Pack<float, wide>{};
#pragma unroll
      for (int j = 0; j < wide; ++j) value[i + j] = static_cast<C>(part.lane[j]);
    }
  }
};

/// Calls body(at, count, scales, zeros) for all packs of n elements; `count` of them exist.
template <class C, int n, class Body>
TS_DEVICE void for_packs(const Grid& grid, Body&& body) {
  const ScaleBlocks& b = grid.blocks;
  const int64_t inner = b.inner(), stride = b.inner_scale_stride();
  for (int64_t i = first_element(); i * n < grid.size; i += element_step()) {
    const int64_t at = i * n, row = b.rank == 1 ? 0 : at / inner,
                  scale_at = b.scale_offset(row) + (at - row * inner) * stride,
                  left = grid.size - at;
    const uint32_t count = left < n ? static_cast<uint32_t>(left) : n;
    body(at, count, GridValues<C, n>(grid.scales, scale_at, stride, count),
         GridValues<C, n>(grid.zeros, scale_at, stride, count));
  }
}

/// round(x / scale) + zero before and after clamping; NaN counts as 0.
template <class C>
struct Rounded {
  C free, clamped;

  TS_DEVICE Rounded(C x, C scale, C zero, CodeRange range) {
    const C ratio = x / scale;
    free = functors::round(ratio == ratio ? ratio : C{0}) + zero;
    const C lowest = static_cast<C>(range.lowest), highest = static_cast<C>(range.highest);
    clamped = free > lowest ? free : lowest;
    clamped = clamped < highest ? clamped : highest;
  }
};

template <class T, class Code, int n>
__global__ void __launch_bounds__(threads, 2)
    quantize_packs(Grid grid, const T* x, Code* code, CodeRange range) {
  using C = compute_t<T>;
  for_packs<C, n>(grid, [&](int64_t at, uint32_t count, const auto& scale, const auto& zero) {
    const Pack<T, n> from = load_pack<T, n>(x + at, count);
    Pack<Code, n> to;
#pragma unroll
    for (int i = 0; i < n; ++i)
      to.lane[i] = static_cast<Code>(static_cast<int32_t>(
          Rounded<C>(widen(from.lane[i]), scale.value[i], zero.value[i], range).clamped));
    store_pack(to, code + at, count);
  });
}

template <class T, class Code, int n>
__global__ void __launch_bounds__(threads, 2) dequantize_packs(Grid grid, const Code* code, T* x) {
  using C = compute_t<T>;
  for_packs<C, n>(grid, [&](int64_t at, uint32_t count, const auto& scale, const auto& zero) {
    const Pack<Code, n> from = load_pack<Code, n>(code + at, count);
    Pack<T, n> to;
#pragma unroll
    for (int i = 0; i < n; ++i)
      to.lane[i] = narrow<T>((static_cast<C>(from.lane[i]) - zero.value[i]) * scale.value[i]);
    store_pack(to, x + at, count);
  });
}

template <class T, int n>
__global__ void __launch_bounds__(threads, 2)
    fake_quantize_packs(Grid grid, const T* x, T* y, bool* inside, T* slope, CodeRange range) {
  using C = compute_t<T>;
  for_packs<C, n>(grid, [&](int64_t at, uint32_t count, const auto& scale, const auto& zero) {
    const Pack<T, n> from = load_pack<T, n>(x + at, count);
    Pack<T, n> value, derivative;
    Pack<bool, n> kept;
#pragma unroll
    for (int i = 0; i < n; ++i) {
      const C v = widen(from.lane[i]), s = scale.value[i], z = zero.value[i];
      const Rounded<C> r(v, s, z, range);
      const C distance = r.clamped - z;
      kept.lane[i] = r.free == r.clamped;
      derivative.lane[i] = narrow<T>(kept.lane[i] ? distance - v / s : distance);
      value.lane[i] = narrow<T>(distance * s);
    }
    store_pack(value, y + at, count);
    if (inside) store_pack(kept, inside + at, count);
    if (slope) store_pack(derivative, slope + at, count);
  });
}

/// Calls body.operator()<n>() with as many elements as fit 16 bytes of T, or one where packs of the
/// operands would cross rows or not be aligned.
template <class T, class Body>
void for_pack(const ScaleBlocks& blocks, std::initializer_list<View> operands, Body&& body) {
  constexpr int n = vector_length<T>;
  bool packs = blocks.rank == 1 || blocks.inner() % n == 0;
  for (const View& v : operands)
    packs = packs && aligned(v.data, std::min<size_t>(16, n * size_of(v.dtype)));
  if (packs)
    body.template operator()<n>();
  else
    body.template operator()<1>();
}

void quantize(Stream& stream, View x, View scale, View zero, View code, CodeRange range) {
  const Grid grid(check_quantize(x, scale, zero, code, range), x, scale, zero);
  if (grid.size == 0) return;
  for_float(x.dtype, "quantize", [&]<class T>() {
    for_code("quantize", code.dtype, [&]<class Code>() {
      for_pack<T>(grid.blocks, {x, code, scale, zero}, [&]<int n>() {
        launch(stream, over<n>("quantize", grid.size), quantize_packs<T, Code, n>, grid, x.as<T>(),
               code.as<Code>(), range);
      });
    });
  });
}

void dequantize(Stream& stream, View code, View scale, View zero, View x) {
  const Grid grid(check_dequantize(code, scale, zero, x), x, scale, zero);
  for_float(x.dtype, "dequantize", [&]<class T>() {
    for_code("dequantize", code.dtype, [&]<class Code>() {
      if (grid.size == 0) return;
      for_pack<T>(grid.blocks, {x, code, scale, zero}, [&]<int n>() {
        launch(stream, over<n>("dequantize", grid.size), dequantize_packs<T, Code, n>, grid,
               code.as<Code>(), x.as<T>());
      });
    });
  });
}

void fake_quantize(Stream& stream, View x, View scale, View zero, View y, View inside, View slope,
                   CodeRange range) {
  const Grid grid(check_fake_quantize(x, scale, zero, y, inside, slope, range), x, scale, zero);
  if (grid.size == 0) return;
  for_float(x.dtype, "fake_quantize", [&]<class T>() {
    for_pack<T>(grid.blocks, {x, y, inside, slope, scale, zero}, [&]<int n>() {
      launch(stream, over<n>("fake_quantize", grid.size), fake_quantize_packs<T, n>, grid,
             x.as<T>(), y.as<T>(), inside.as<bool>(), slope.as<T>(), range);
    });
  });
}

// ---------------------------------------------------------------- ranges

struct alignas(8) Extremes {
  float low, high;

  TS_DEVICE void add(const Extremes& other) {
    low = Minimum{}(low, other.low);
    high = Maximum{}(high, other.high);
  }
};
constexpr float unbounded = std::numeric_limits<float>::infinity();

/// A team of threads per slice of an entry; the block's teams take the next numbers of slices.
/// Slices of entries that are neighbours in x go to neighbouring threads.
struct Teams {
  uint32_t team;   // a power of two
  bool neighbors;  // entries, not elements of an entry, lie next to each other
  int64_t size;    // packs of an entry
  int64_t slices;  // of an entry
  int64_t jobs;    // slices of all entries
};

template <class T, int n>
__global__ void __launch_bounds__(threads)
    find_extremes(ScaleBlocks blocks, Teams teams, const T* x, Extremes* results) {
  struct Shared {
    float low[threads], high[threads];
  };
  Shared& shared = static_shared<Shared>();
  const auto of = [&](uint32_t t) { return Extremes{shared.low[t], shared.high[t]}; };
  const uint32_t thread = thread_index().x, count = threads / teams.team,
                 member = teams.neighbors ? thread / count : thread % teams.team,
                 team = teams.neighbors ? thread % count : thread / teams.team,
                 step = teams.neighbors ? count : 1;  // from one member of a team to the next
  for (int64_t first = int64_t{block_index().x} * count; first < teams.jobs;
       first += int64_t{grid_size().x} * count) {
    const int64_t job = first + team;
    Extremes own{unbounded, -unbounded};
    if (job < teams.jobs) {
      // slices of one entry are far apart, so that neighbouring jobs are neighbouring entries
      const int64_t entry = job % blocks.entries, slice = job / blocks.entries,
                    end = teams.size * (slice + 1) / teams.slices, base = blocks.first_of(entry);
      for (int64_t k = teams.size * slice / teams.slices + member; k < end; k += teams.team) {
        const int64_t at = base + blocks.offset_in_entry(k * n);
        const int64_t left = blocks.rank == 1 ? blocks.inner() - at : n;
        const Pack<T, n> pack = load_pack<T, n>(x + at, left < n ? static_cast<uint32_t>(left) : n);
#pragma unroll
        for (int i = 0; i < n; ++i)
          if (i < left) {
            const auto v = static_cast<float>(widen(pack.lane[i]));
            own.add({v, v});
          }
      }
    }
    shared.low[thread] = own.low, shared.high[thread] = own.high;
    for (uint32_t half = teams.team / 2; half > 0; half /= 2) {
      sync_block();
      if (member >= half) continue;
      own.add(of(thread + half * step));
      shared.low[thread] = own.low, shared.high[thread] = own.high;
    }
    if (member == 0 && job < teams.jobs) store_vector(results + job, own);
    sync_block();
  }
}

/// results [slices, entries] to low and high.
__global__ void __launch_bounds__(threads) join_extremes(const Extremes* results, int64_t entries,
                                                         int64_t slices, float* low, float* high) {
  for (int64_t entry = first_element(); entry < entries; entry += element_step()) {
    Extremes all = load_vector(results + entry);
    for (int64_t slice = 1; slice < slices; ++slice)
      all.add(load_vector(results + slice * entries + entry));
    low[entry] = all.low;
    high[entry] = all.high;
  }
}

void range(Stream& stream, View x, View low, View high) {
  const ScaleBlocks blocks = check_range("quantize_range", x, low, high);
  const int64_t entries = blocks.entries;
  if (entries == 0) return;
  for_float(x.dtype, "quantize_range", [&]<class T>() {
    const auto with = [&]<int n>() {
      Teams teams{.team = 1,
                  .neighbors = blocks.inner_scale_stride() != 0,
                  .size = ceil_divide(x.numel() / entries, n),
                  .slices = 1,
                  .jobs = entries};
      while (teams.team < (teams.neighbors ? threads / warp_size : threads) &&
             teams.team < teams.size)
        teams.team *= 2;
      // enough jobs for all of a GPU, but 16 steps for each thread
      const int64_t blocks_of_one = ceil_divide(entries, threads / teams.team);
      teams.slices = std::clamp<int64_t>(teams.size / (16 * teams.team), 1,
                                         std::max<int64_t>(1, 1024 / blocks_of_one));
      teams.jobs = entries * teams.slices;
      const Scratch results = stream.scratch(static_cast<size_t>(teams.jobs) * sizeof(Extremes));
      launch(stream, {"quantize_range", {blocks_for(teams.jobs, threads / teams.team)}, {threads}},
             find_extremes<T, n>, blocks, teams, x.as<T>(), results.as<Extremes>());
      launch(stream, over<1>("quantize_range join", entries), join_extremes, results.as<Extremes>(),
             entries, teams.slices, low.as<float>(), high.as<float>());
    };
    if (blocks.inner_scale_stride() == 0)
      for_pack<T>(blocks, {x}, with);
    else
      with.template operator()<1>();
  });
}

/// values [entries, size]: the elements of each entry, as floats.
template <class T>
__global__ void __launch_bounds__(threads)
    gather_entries(ScaleBlocks blocks, int64_t size, const T* x, float* values) {
  for (int64_t i = first_element(); i < blocks.entries * size; i += element_step()) {
    const int64_t entry = i / size;
    values[i] = static_cast<float>(
        widen(x[blocks.first_of(entry) + blocks.offset_in_entry(i - entry * size)]));
  }
}

/// The value at position q (size - 1) of the sorted values, interpolated between neighbours.
TS_DEVICE float quantile(const float* sorted, int64_t size, double q) {
  const double position = q * static_cast<double>(size - 1);
  const auto k = static_cast<int64_t>(position);
  const float below = sorted[k];
  if (k + 1 >= size) return below;
  const double difference = static_cast<double>(sorted[k + 1]) - static_cast<double>(below);
  return static_cast<float>(below + (position - static_cast<double>(k)) * difference);
}

__global__ void __launch_bounds__(threads)
    pick_quantiles(const float* sorted, int64_t entries, int64_t size, double fraction, float* low,
                   float* high) {
  for (int64_t entry = first_element(); entry < entries; entry += element_step()) {
    const float *values = sorted + entry * size, last = values[size - 1];
    const bool nan = last != last;  // NaN is sorted to the end
    low[entry] = nan ? last : quantile(values, size, 1 - fraction);
    high[entry] = nan ? last : quantile(values, size, fraction);
  }
}

void quantile_range(Stream& stream, View x, double fraction, View low, View high) {
  const ScaleBlocks blocks = check_quantile_range(x, fraction, low, high);
  const int64_t entries = blocks.entries, n = x.numel();
  if (entries == 0) return;
  const int64_t size = n / entries;
  const Scratch gathered = stream.scratch(static_cast<size_t>(n) * sizeof(float)),
                sorted = stream.scratch(static_cast<size_t>(n) * sizeof(float));
  for_float(x.dtype, "quantile_range", [&]<class T>() {
    launch(stream, over<1>("quantile_range gather", n), gather_entries<T>, blocks, size, x.as<T>(),
           gathered.as<float>());
  });
  const auto rows = [&](const Scratch& data) {
    return View{data.as<void>(), DType::f32, 2, {entries, size}, {size, 1}};
  };
  sort_kernels.sort(stream, rows(gathered), rows(sorted), {}, {});
  launch(stream, over<1>("quantile_range pick", entries), pick_quantiles, sorted.as<float>(),
         entries, size, fraction, low.as<float>(), high.as<float>());
}

__global__ void __launch_bounds__(threads)
    fit_entries(const float* low, const float* high, int64_t entries, CodeRange codes, float* scale,
                float* zero) {
  const auto lowest = static_cast<float>(codes.lowest), highest = static_cast<float>(codes.highest);
  for (int64_t i = first_element(); i < entries; i += element_step()) {
    const float l = 0 < low[i] ? 0 : low[i], h = high[i] < 0 ? 0 : high[i];
    float s = zero ? (h - l) / static_cast<float>(codes.highest - codes.lowest)
                   : (-l < h ? h : -l) / highest;
    if (s == 0) s = 1;
    scale[i] = s;
    if (!zero) continue;
    const float z = functors::round(lowest - l / s);
    zero[i] = z < lowest ? lowest : highest < z ? highest : z;
  }
}

void fit_range(Stream& stream, View low, View high, View scale, View zero, CodeRange codes) {
  check_fit_range(low, high, scale, zero, codes);
  const int64_t entries = low.numel();
  if (entries == 0) return;
  launch(stream, over<1>("fit_range", entries), fit_entries, low.as<float>(), high.as<float>(),
         entries, codes, scale.as<float>(), zero.as<float>());
}

// ---------------------------------------------------------------- packing

/// Rows of n codes to and from rows of `width` bytes, of which only the last of a row of odd length
/// has one code.
struct Packing {
  int64_t rows, n, width;
};

/// What a thread packs: `pairs` bytes, from `byte` on, and the codes in them, from `code` on.
template <int pairs>
struct PackingPart {
  int64_t byte, code;
  uint32_t codes;

  TS_DEVICE PackingPart(const Packing& p, int64_t number) : byte(number * pairs) {
    const int64_t row = byte / p.width, column = 2 * (byte - row * p.width);
    code = row * p.n + column;
    codes = p.n - column < 2 * pairs ? static_cast<uint32_t>(p.n - column) : 2 * pairs;
  }
};

/// Rows of odd length begin anywhere, so pairs of codes are not one access.
template <class Code, int n>
TS_DEVICE Pack<Code, n> load_codes(const Code* from, uint32_t count) {
  if constexpr (n > 2) return load_pack<Code, n>(from, count);
  Pack<Code, n> codes{};
  for (uint32_t i = 0; i < count && i < n; ++i) codes.lane[i] = from[i];
  return codes;
}
template <class Code, int n>
TS_DEVICE void store_codes(const Pack<Code, n>& codes, Code* to, uint32_t count) {
  if constexpr (n > 2) return store_pack(codes, to, count);
  for (uint32_t i = 0; i < count && i < n; ++i) to[i] = codes.lane[i];
}

template <class Code, int pairs>
__global__ void __launch_bounds__(threads)
    pack_codes(Packing p, const Code* code, uint8_t* bytes, Finding* finding, int32_t call) {
  constexpr int lowest = std::is_signed_v<Code> ? -8 : 0, highest = lowest + 15;
  for (int64_t i = first_element(); i * pairs < p.rows * p.width; i += element_step()) {
    const PackingPart<pairs> part(p, i);
    const auto from = load_codes<Code, 2 * pairs>(code + part.code, part.codes);
#pragma unroll
    for (int j = 0; j < 2 * pairs; ++j)
      if (from.lane[j] < lowest || from.lane[j] > highest)
        report(finding, call, part.code + j, from.lane[j], lowest, highest + 1);
    Pack<uint8_t, pairs> to;
#pragma unroll
    for (int j = 0; j < pairs; ++j)
      to.lane[j] = pack_int4_pair(from.lane[2 * j], from.lane[2 * j + 1]);
    store_pack(to, bytes + part.byte, (part.codes + 1) / 2);
  }
}

template <class Code, int pairs>
__global__ void __launch_bounds__(threads)
    unpack_codes(Packing p, const uint8_t* bytes, Code* code) {
  for (int64_t i = first_element(); i * pairs < p.rows * p.width; i += element_step()) {
    const PackingPart<pairs> part(p, i);
    const auto from = load_pack<uint8_t, pairs>(bytes + part.byte, (part.codes + 1) / 2);
    Pack<Code, 2 * pairs> to;
#pragma unroll
    for (int j = 0; j < 2 * pairs; ++j)
      to.lane[j] =
          static_cast<Code>(std::is_signed_v<Code> ? kernels::unpack_int4(from.lane[j / 2], j & 1)
                                                   : unpack_uint4(from.lane[j / 2], j & 1));
    store_codes(to, code + part.code, part.codes);
  }
}

/// Calls body.operator()<pairs>(packing): eight bytes at a time where no row is odd.
template <class Body>
void for_packing(const View& code, const View& bytes, int64_t n, Body&& body) {
  const bool flat = n % 2 == 0;
  const Packing rows{code.numel() / n, n, (n + 1) / 2}, one{1, code.numel(), code.numel() / 2};
  if (flat && aligned(code.data, 16) && aligned(bytes.data, 8))
    body.template operator()<8>(one);
  else
    body.template operator()<1>(rows);
}

void pack_int4(Stream& stream, View code, View bytes) {
  const int64_t n = check_packing("pack_int4", code, bytes);
  if (code.numel() == 0) return;
  Faults& faults = stream.resource<Faults>();
  for_code("pack_int4", code.dtype, [&]<class Code>() {
    for_packing(code, bytes, n, [&]<int pairs>(const Packing& packing) {
      launch(stream, over<pairs>("pack_int4", bytes.numel()), pack_codes<Code, pairs>, packing,
             code.as<Code>(), bytes.as<uint8_t>(), faults.finding(),
             faults.expect("pack_int4: code"));
    });
  });
  faults.launched();
}

void unpack_int4(Stream& stream, View bytes, View code) {
  const int64_t n = check_packing("unpack_int4", code, bytes);
  if (code.numel() == 0) return;
  for_code("unpack_int4", code.dtype, [&]<class Code>() {
    for_packing(code, bytes, n, [&]<int pairs>(const Packing& packing) {
      launch(stream, over<pairs>("unpack_int4", bytes.numel()), unpack_codes<Code, pairs>, packing,
             bytes.as<uint8_t>(), code.as<Code>());
    });
  });
}

}  // namespace

extern const QuantizeKernels quantize_kernels{
    .quantize = quantize,
    .dequantize = dequantize,
    .fake_quantize = fake_quantize,
    .range = range,
    .quantile_range = quantile_range,
    .fit_range = fit_range,
    .pack_int4 = pack_int4,
    .unpack_int4 = unpack_int4,
};

}  // namespace tessera::kernels::cuda
