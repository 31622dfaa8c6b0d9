// Copies into shared memory and what waits for them.
#include "tessera/kernels/cuda/ptx_async.cuh"
#include "tessera/tests/conformance/conformance.hpp"

namespace tessera::conformance {
namespace {

std::vector<uint32_t> some_words(size_t count, uint64_t seed) {
  Bits next(seed);
  std::vector<uint32_t> words(count);
  for (uint32_t& w : words) w = next();
  return words;
}

// ---------------------------------------------------------------- copy_async

// Each thread copies `bytes`, the first source[i] of them, in a ring of two groups.
template <uint32_t bytes>
__global__ void copy_groups(const std::byte* in, const uint32_t* source, std::byte* out,
                            int rounds) {
  std::byte* ring = dynamic_shared<std::byte[2 * 32 * 16]>();
  const uint32_t me = thread_index().x;
  const auto place = [&](int round) { return ring + (round % 2 * 32 + me) * 16; };
  const auto start = [&](int round) {
    if (round < rounds)
      copy_async<bytes>(place(round), in + (round * 32 + me) * 16, source[round * 32 + me]);
    commit_copies();
  };
  start(0);
  for (int round = 0; round < rounds; ++round) {
    start(round + 1);
    wait_copies<1>();
    for (uint32_t b = 0; b < bytes; ++b) out[(round * 32 + me) * 16 + b] = place(round)[b];
  }
}

template <uint32_t bytes>
void check_copy_groups() {
  constexpr int rounds = 5;
  const std::vector<uint32_t> in = some_words(rounds * 32 * 4, bytes);
  std::vector<uint32_t> source(rounds * 32);
  Bits next(9);
  for (uint32_t& s : source) s = next.below(bytes + 1);
  std::vector<uint32_t> wanted(rounds * 32 * 4, 0);
  auto* const to = reinterpret_cast<std::byte*>(wanted.data());
  const auto* const from = reinterpret_cast<const std::byte*>(in.data());
  for (size_t i = 0; i < source.size(); ++i) std::memcpy(to + i * 16, from + i * 16, source[i]);
  for_schedules([&] {
    const Buffer<uint32_t> data(in), sizes(source), out(in.size());
    launch(stream(), {"copy_groups", {1}, {32}, 2 * 32 * 16}, copy_groups<bytes>,
           reinterpret_cast<const std::byte*>(data.data()), sizes.data(),
           reinterpret_cast<std::byte*>(out.data()), rounds);
    EXPECT_EQ(out.values(), wanted);
  });
  check_recorded(concat("copy_async_", bytes), wanted);
}

TEST(Async, CopiesInGroups) {
  check_copy_groups<4>();
  check_copy_groups<8>();
  check_copy_groups<16>();
}

struct Exchange {
  uint32_t words[128];
  Mbarrier full;
};

// All threads copy, all wait for the barrier that counts their copies, then read another's word.
__global__ void copy_to_barrier(const uint32_t* in, uint32_t* out) {
  Exchange& s = dynamic_shared<Exchange>();
  const uint32_t me = thread_index().x;
  if (me == 0) init_mbarrier(s.full, 128);
  sync_block();
  copy_async<4>(&s.words[me], in + me);
  arrive_after_copies(s.full);
  wait_mbarrier(s.full, 0);
  out[me] = s.words[127 - me];
}

TEST(Async, BarrierCountsCopies) {
  const std::vector<uint32_t> in = some_words(128, 3);
  std::vector<uint32_t> wanted(in.rbegin(), in.rend());
  for_schedules([&] {
    const Buffer<uint32_t> data(in), out(128);
    launch(stream(), {"copy_to_barrier", {1}, {128}, sizeof(Exchange)}, copy_to_barrier,
           data.data(), out.data());
    EXPECT_EQ(out.values(), wanted);
  });
}

// ---------------------------------------------------------------- bulk copies

constexpr int stages = 3;
constexpr uint32_t stage_words = 256;
struct alignas(128) Ring {
  uint32_t words[stages][stage_words];
  Mbarrier full[stages], empty[stages];
};

// Warp 0 loads, four warps consume: each adds the words of its lane column; sums leave by a bulk
// store.
__global__ void producer_and_consumers(const uint32_t* in, uint32_t* out, int count) {
  Ring& ring = dynamic_shared<Ring>();
  const uint32_t warp = warp_index(), lane = lane_index();
  if (thread_index().x == 0)
    for (int s = 0; s < stages; ++s) {
      init_mbarrier(ring.full[s], 1);
      init_mbarrier(ring.empty[s], 4);
    }
  fence_mbarrier_init();
  sync_block();
  if (warp == 0) {
    if (lane == 0)
      for (int i = 0; i < count; ++i) {
        const int s = i % stages;
        wait_mbarrier(ring.empty[s], (i / stages + 1) % 2);
        arrive_and_expect(ring.full[s], sizeof ring.words[s]);
        bulk_load(ring.words[s], in + i * stage_words, sizeof ring.words[s], ring.full[s]);
      }
  } else {
    uint32_t sums[2] = {};
    for (int i = 0; i < count; ++i) {
      const int s = i % stages;
      wait_mbarrier(ring.full[s], i / stages % 2);
      for (uint32_t k = 0; k < 2; ++k) sums[k] += ring.words[s][(warp - 1) * 64 + k * 32 + lane];
      sync_warp();
      if (lane == 0) arrive_mbarrier(ring.empty[s]);
    }
    sync_barrier(1, 128);  // nobody reads the ring any more
    for (uint32_t k = 0; k < 2; ++k) ring.words[0][(warp - 1) * 64 + k * 32 + lane] = sums[k];
    fence_async_proxy();
    sync_barrier(1, 128);
    if (thread_index().x == 32) {
      bulk_store(out, ring.words[0], sizeof ring.words[0]);
      commit_bulk();
      wait_bulk<0>();
    }
  }
}

TEST(Async, ProducerAndConsumers) {
  constexpr int count = 11;
  const std::vector<uint32_t> in = some_words(count * stage_words, 5);
  std::vector<uint32_t> wanted(stage_words, 0);
  for (size_t i = 0; i < in.size(); ++i) wanted[i % stage_words] += in[i];
  for_schedules([&] {
    const Buffer<uint32_t> data(in), out(stage_words);
    launch(stream(), {"producer_and_consumers", {1}, {160}, sizeof(Ring)}, producer_and_consumers,
           data.data(), out.data(), count);
    EXPECT_EQ(out.values(), wanted);
  });
}

template <class T>
struct alignas(128) Addends {
  T values[64];
};
template <class T>
__global__ void add_bulk(const T* in, T* out) {
  Addends<T>& s = dynamic_shared<Addends<T>>();
  s.values[thread_index().x] = in[thread_index().x];
  fence_async_proxy();
  sync_block();
  if (thread_index().x == 0) {
    bulk_add(out, s.values, sizeof s.values);
    commit_bulk();
    wait_bulk<0, false>();
  }
}

template <class T>
void check_add_bulk() {
  std::vector<T> in(64), wanted(64);
  for (size_t i = 0; i < 64; ++i) {
    in[i] = static_cast<T>(static_cast<float>(i) / 8);
    wanted[i] = static_cast<T>(static_cast<float>(in[i]) * 4 + 1);  // four blocks; exact
  }
  for_schedules([&] {
    const Buffer<T> data(in), out(64, static_cast<T>(1.0f));
    launch(stream(), {"add_bulk", {4}, {64}, sizeof(Addends<T>)}, add_bulk<T>, data.data(),
           out.data());
    const std::vector<T> got = out.values();
    for (size_t i = 0; i < 64; ++i)
      EXPECT_EQ(static_cast<float>(got[i]), static_cast<float>(wanted[i])) << i;
  });
}

TEST(Async, BulkAdds) {
  check_add_bulk<float>();
  check_add_bulk<f16>();
  check_add_bulk<bf16>();
  check_add_bulk<int32_t>();
}

// ---------------------------------------------------------------- clusters

struct alignas(128) Shared {
  uint32_t words[64], sent[64];
  Mbarrier received, answered;
};

// Block 0 loads half of the words for all blocks of the cluster, block 1 the other half; then each
// sends what it has to its right neighbour, and reads a word of its left one.
__global__ void exchange(const uint32_t* in, uint32_t* out) {
  Shared& s = dynamic_shared<Shared>();
  const uint32_t me = thread_index().x, block = cluster_rank(), blocks = cluster_size();
  if (me == 0) {
    init_mbarrier(s.received, 1);
    init_mbarrier(s.answered, 1);
    fence_mbarrier_init();
  }
  sync_cluster();
  if (me == 0) {
    arrive_and_expect(s.received, sizeof s.words);
    if (block < 2)
      bulk_load(s.words + 32 * block, in + 32 * block, 128, s.received,
                static_cast<uint16_t>((1u << blocks) - 1));
  }
  wait_mbarrier(s.received, 0);
  const uint32_t mine = s.words[me] + block;
  sync_block();
  s.words[me] = mine;
  fence_async_proxy();
  sync_block();
  if (me == 0) {
    arrive_and_expect(s.answered, sizeof s.sent);
    bulk_send(s.sent, s.words, sizeof s.words, s.answered, (block + 1) % blocks);
  }
  wait_mbarrier(s.answered, 0);
  const uint32_t left = map_shared(s.words, (block + blocks - 1) % blocks)[63 - me];
  out[block_index().x * 64 + me] = s.sent[me] * 3 + left;
  sync_cluster();
}

TEST(Async, Clusters) {
  const std::vector<uint32_t> in = some_words(64, 6);
  for (const uint32_t blocks : {2u, 4u, 8u}) {
    std::vector<uint32_t> wanted(2 * blocks * 64);
    for (size_t i = 0; i < wanted.size(); ++i) {
      const auto block = static_cast<uint32_t>(i / 64 % blocks),
                 left = (block + blocks - 1) % blocks;
      wanted[i] = (in[i % 64] + left) * 3 + in[63 - i % 64] + left;
    }
    for_schedules([&] {
      const Buffer<uint32_t> data(in), out(wanted.size());
      launch(stream(),
             {.name = "exchange",
              .grid = {2 * blocks},
              .block = {64},
              .shared_bytes = sizeof(Shared),
              .cluster = {blocks}},
             exchange, data.data(), out.data());
      EXPECT_EQ(out.values(), wanted) << blocks;
    });
  }
}

// ---------------------------------------------------------------- boxes of tensors

constexpr uint32_t box_limit = 8192;
struct alignas(1024) Box {
  std::byte bytes[box_limit];
  Mbarrier full;
};

/// Where a box begins.
struct Pack4 {
  int32_t value[4];
};

// A box to shared memory and from there to `out`, byte by byte, and by a tensor store to `copy`.
template <int rank>
__global__ void move_box(const __grid_constant__ TensorMap from,
                         const __grid_constant__ TensorMap to, Pack4 start, uint32_t bytes,
                         std::byte* out) {
  Box& box = dynamic_shared<Box>();
  int32_t at[rank];
  for (int d = 0; d < rank; ++d) at[d] = start.value[d];
  if (thread_index().x == 0) {
    init_mbarrier(box.full, 1);
    fence_mbarrier_init();
    arrive_and_expect(box.full, bytes);
    tensor_load<rank>(box.bytes, from, at, box.full);
  }
  sync_block();
  wait_mbarrier(box.full, 0);
  for (uint32_t b = thread_index().x; b < bytes; b += block_size().x) out[b] = box.bytes[b];
  if (thread_index().x == 0) {
    tensor_store<rank>(to, at, box.bytes);
    commit_bulk();
    wait_bulk<0>();
  }
}

struct BoxCase {
  DType dtype;
  std::vector<int64_t> extent;  // innermost first
  std::vector<uint32_t> box;
  std::vector<int32_t> start;
  Swizzle swizzle;
};

template <int rank>
void check_box(const BoxCase& c) {
  const auto element = static_cast<int64_t>(size_of(c.dtype));
  TensorShape shape{.dtype = c.dtype,
                    .data = nullptr,
                    .rank = rank,
                    .extent = {},
                    .stride = {},
                    .box = {},
                    .swizzle = c.swizzle};
  int64_t pitch = (c.extent[0] * element + 15) / 16 * 16, total = pitch;
  uint32_t bytes = static_cast<uint32_t>(element);
  Pack4 start{};
  for (int d = 0; d < rank; ++d) {
    shape.extent[d] = c.extent[static_cast<size_t>(d)];
    shape.box[d] = c.box[static_cast<size_t>(d)];
    start.value[d] = c.start[static_cast<size_t>(d)];
    bytes *= shape.box[d];
    if (d > 0) {
      shape.stride[d - 1] = pitch;
      pitch *= shape.extent[d];
      total = pitch;
    }
  }
  const std::vector<uint32_t> words = some_words(static_cast<size_t>(total / 4), 8);
  const auto* const in = reinterpret_cast<const std::byte*>(words.data());
  std::vector<std::byte> wanted(bytes);
  std::vector<uint32_t> copied(words.size(), 0);
  // Element by element, by the definition of the swizzle: bits 4.. of the address XOR bits 7.. .
  const uint32_t mask = (1u << static_cast<uint32_t>(c.swizzle)) - 1;
  for (uint32_t b = 0; b < bytes; ++b) {
    uint32_t rest = b / static_cast<uint32_t>(element);
    int64_t at = b % element;
    bool inside = true;
    for (int d = 0; d < rank; ++d) {
      const int64_t i = start.value[d] + rest % shape.box[d];
      rest /= shape.box[d];
      inside = inside && i >= 0 && i < shape.extent[d];
      at += i * (d == 0 ? element : shape.stride[d - 1]);
    }
    const uint32_t place = b ^ (b >> 7 & mask) << 4;
    wanted[place] = inside ? in[at] : std::byte{0};
    if (inside) reinterpret_cast<std::byte*>(copied.data())[at] = in[at];
  }
  for_schedules([&] {
    const Buffer<uint32_t> data(words), target(words.size(), 0u);
    const Buffer<std::byte> out(bytes);
    TensorShape to = shape;
    shape.data = data.data();
    to.data = target.data();
    launch(stream(), {"move_box", {1}, {64}, sizeof(Box)}, move_box<rank>,
           make_tensor_map("test", shape), make_tensor_map("test", to), start, bytes, out.data());
    EXPECT_EQ(out.values(), wanted);
    EXPECT_EQ(target.values(), copied);
  });
}

TEST(Async, TensorBoxes) {
  using S = Swizzle;
  for (const S s : {S::none, S::span32, S::span64, S::span128}) {
    const uint32_t row = s == S::none ? 64 : 16u << static_cast<uint32_t>(s);
    const uint32_t halves = row / 2, floats = row / 4;
    check_box<2>({DType::f16, {200, 40}, {halves, 16}, {64, 8}, s});
    check_box<2>({DType::f16, {200, 40}, {halves, 16}, {-3, -5}, s});
    check_box<2>({DType::f32, {61, 30}, {floats, 24}, {50, 20}, s});
    check_box<2>({DType::u8, {100, 9}, {row, 16}, {90, -2}, s});
    check_box<3>({DType::bf16, {40, 7, 5}, {halves, 4, 3}, {16, 5, 3}, s});
    check_box<4>({DType::f32, {19, 4, 3, 3}, {floats, 3, 2, 2}, {-1, 2, -1, 2}, s});
  }
}

TEST(Async, TensorMapsTheHardwareCannotCopy) {
  const Buffer<float> data(256);
  const auto message = [&](auto change) {
    TensorShape t{.dtype = DType::f32,
                  .data = data.data(),
                  .rank = 2,
                  .extent = {16, 16},
                  .stride = {64},
                  .box = {8, 8},
                  .swizzle = Swizzle::span32};
    change(t);
    try {
      make_tensor_map("a kernel", t);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  EXPECT_EQ(message([](TensorShape&) {}), "");
  const auto says = [&](const char* part, auto change) {
    const std::string text = message(change);
    EXPECT_NE(text.find(part), text.npos) << part << " in: " << text;
    EXPECT_EQ(text.find("a kernel"), 0u);
  };
  says("no multiple of 16", [&](TensorShape& t) { t.data = data.data() + 1; });
  says("rows of 12 bytes", [](TensorShape& t) { t.box[0] = 3; });
  says("more than the 32", [](TensorShape& t) { t.box[0] = 16; });
  says("stride of 60", [](TensorShape& t) { t.stride[0] = 60; });
  says("boxes of extent 257", [](TensorShape& t) { t.box[1] = 257; });
  says("of 6 dimensions", [](TensorShape& t) { t.rank = 6; });
  says("of extent 0", [](TensorShape& t) { t.extent[1] = 0; });
}

}  // namespace
}  // namespace tessera::conformance
