// One-sided Jacobi on a matrix in the shared memory of a cluster: up to 448 rows of doubles.
//
// Each of the eight blocks holds two groups of rows. In a turn it makes all rows of the one
// orthogonal to all of the other, without a word to its neighbours; then the groups move on as the
// players of a tournament do, and after 15 turns each has met all others and is back at its place.
// Before the first turn of a sweep the rows of a group play among themselves. All rows meet once in
// a sweep, in the same order on every GPU.
#include "tessera/kernels/cuda/jacobi.cuh"
#include "tessera/kernels/cuda/ptx_async.cuh"

namespace tessera::kernels::cuda {
namespace {

constexpr uint32_t most_threads = 512;
constexpr uint32_t blocks = 8, group_count = 2 * blocks, turns = group_count - 1;
constexpr int piece = 16;  // elements of a group that a thread moves between two barriers
constexpr size_t most_shared_bytes = 226 * 1024;

template <class T>
size_t groups_bytes(int64_t n) {
  return static_cast<size_t>(2 * ceil_divide(n, group_count) * held_stride(n)) * sizeof(T);
}

/// The groups that a block holds, one after the other, in `slot` rows each.
template <class T>
struct Held {
  Matrix<T> rows;  // of both
  int64_t n, slot;
  uint32_t block;

  /// Which group is in that place at a turn: the last of all stays, the others move on by one.
  TS_DEVICE uint32_t group(uint32_t place, uint32_t turn) const {
    if (place == 0) return block == 0 ? turns : (turn + block) % turns;
    return (turn + turns - block) % turns;
  }
  TS_DEVICE int64_t first_row(uint32_t place, uint32_t turn) const {
    return group(place, turn) * slot;
  }
  /// The place in `rows` of row i of a group, or -1 where the matrix has no such row.
  TS_DEVICE int64_t at(uint32_t place, uint32_t turn, int64_t i) const {
    return i < slot && first_row(place, turn) + i < n ? place * slot + i : -1;
  }

  /// Takes over the groups of the next turn from the neighbours: those of the first places from the
  /// block above, of the second ones from the block below. All that comes from a place in a group
  /// and goes there is read before any of it is written.
  TS_DEVICE void move_on() const {
    const int64_t each = slot * rows.stride;
    T* const one = rows.data;
    T* const two = one + each;
    const T* const to_one = block + 1 < blocks ? map_shared(one, block + 1) : two;
    const T* const to_two = block > 0 ? map_shared(two, block - 1) : map_shared(one, 1);
    sync_cluster();
    for (int64_t first = 0; first < each; first += piece * block_size().x) {
      T ones[piece], twos[piece];
      const auto for_mine = [&](auto&& body) {
#pragma unroll
        for (int k = 0; k < piece; ++k) {
          const int64_t i = first + k * block_size().x + thread_index().x;
          if (i < each) body(i, ones[k], twos[k]);
        }
      };
      for_mine([&](int64_t i, T& of_one, T& of_two) {
        if (block > 0) of_one = to_one[i];
        of_two = to_two[i];
      });
      sync_cluster();
      for_mine([&](int64_t i, T& of_one, T& of_two) {
        if (block > 0) one[i] = of_one;
        two[i] = of_two;
      });
    }
    sync_block();
  }
};

template <class T>
__global__ void __launch_bounds__(most_threads, 1) rotate_groups(Matrices<T> xs, int32_t* status) {
  struct Shared {
    int32_t turned;
  };
  Shared& shared = static_shared<Shared>();
  const int64_t b = block_index().y;
  if (status[b] != 0) return;  // as all blocks of the cluster do
  const Matrix<T> x = xs[b];
  const int64_t n = x.rows, slot = (n + group_count - 1) / group_count;
  const Held<T> held{{&dynamic_shared<T>(), 2 * slot, n, held_stride(n)}, n, slot, cluster_rank()};
  const auto for_held = [&](auto&& body) {  // of turn 0
    for (int64_t i = warp_index(); i < 2 * slot; i += block_size().x / warp_size) {
      const auto place = static_cast<uint32_t>(i / slot);
      const int64_t row = held.first_row(place, 0) + i % slot;
      for (int64_t j = lane_index(); row < n && j < n; j += warp_size)
        body(held.rows[i][j], x[row][j]);
    }
  };
  for_held([](T& own, T& from) { own = from; });

  const T tolerance = std::numeric_limits<T>::epsilon() * std::sqrt(static_cast<T>(n));
  const auto my_team = static_cast<int64_t>(thread_index().x / team);
  const auto play = [&](int64_t p, int64_t q) {
    const bool both = p >= 0 && q >= 0;
    if (orthogonalize(held.rows, Matrix<T>{}, both ? p : -1, q, tolerance) &&
        lane_index() % team == 0)
      atomic_or(&shared.turned, 1);
  };
  bool turned = true;
  for (int sweep = 0; turned && sweep < most_sweeps; ++sweep) {
    sync_block();
    if (thread_index().x == 0) shared.turned = 0;
    sync_block();
    // within the groups: pairs of the first, then of the second
    const int64_t players = slot + slot % 2, others = players - 1, pairs = players / 2;
    for (int64_t round = 0; round < others; ++round) {
      for (int64_t first = 0; first < 2 * pairs; first += block_size().x / team) {
        const int64_t pair = first + my_team, k = pair % pairs;
        const auto place = static_cast<uint32_t>(pair / pairs);
        const int64_t one = k == 0 ? others : (round + k) % others,
                      two = (round + others - k) % others;
        const bool plays = place < 2;
        play(plays ? held.at(place, 0, one < two ? one : two) : -1,
             plays ? held.at(place, 0, one < two ? two : one) : -1);
      }
      sync_block();
    }
    for (uint32_t turn = 0; turn < turns; ++turn) {
      for (int64_t round = 0; round < slot; ++round) {
        for (int64_t first = 0; first < slot; first += block_size().x / team) {
          const int64_t i = first + my_team;
          play(held.at(0, turn, i), i < slot ? held.at(1, turn, (i + round) % slot) : -1);
        }
        sync_block();
      }
      held.move_on();
    }
    sync_cluster();
    turned = false;
    for (uint32_t other = 0; other < blocks; ++other)
      turned = turned || *map_shared(&shared.turned, other) != 0;
    sync_cluster();
  }
  if (turned && held.block == 0 && thread_index().x == 0) status[b] = -1;
  for_held([](T& own, T& to) { to = own; });
}

}  // namespace

template <class T>
bool rotate_in_clusters(Stream& stream, const Matrices<T>& x, int32_t* status) {
  const size_t bytes = groups_bytes<T>(x.first.rows);
  if (!has_warpgroups(stream) || bytes > most_shared_bytes) return false;
  // a team for each pair of a round
  const auto pairs = static_cast<uint32_t>(ceil_divide(x.first.rows, group_count));
  const uint32_t threads =
      std::min((pairs * team + warp_size - 1) / warp_size * warp_size, most_threads);
  launch(stream,
         {.name = "jacobi cluster",
          .grid = {blocks, static_cast<uint32_t>(x.count)},
          .block = {threads},
          .shared_bytes = bytes,
          .cluster = {blocks}},
         rotate_groups<T>, x, status);
  return true;
}
template bool rotate_in_clusters(Stream&, const Matrices<float>&, int32_t*);
template bool rotate_in_clusters(Stream&, const Matrices<double>&, int32_t*);

}  // namespace tessera::kernels::cuda
