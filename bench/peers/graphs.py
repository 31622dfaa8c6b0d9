"""Deterministic inputs of the sparse benchmarks, and the reader of .npz graphs.

README.md ("Generated inputs") specifies the generator; the C++ benchmarks implement the same.
"""

import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def splitmix64(seed, start, count):
    """Outputs number start .. start + count - 1 of the generator seeded with `seed`."""
    steps = np.arange(start + 1, start + count + 1, dtype=np.uint64)
    z = np.uint64(seed) + steps * GOLDEN
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def values(seed, count):
    """float32 in [-1, 1), exact."""
    return ((splitmix64(seed, 0, count) >> np.uint64(40)) * 2.0**-23 - 1.0).astype(np.float32)


def uniform_node(bits, nodes):
    return bits % np.uint64(nodes)


def power_law_node(bits, nodes):
    """Rank floor(nodes u^3) has a degree like rank^(-2/3); a multiplication scatters the hubs."""
    u = (bits >> np.uint64(11)) * 2.0**-53
    rank = (u * u * u * nodes).astype(np.uint64)
    return rank * np.uint64(48271) % np.uint64(nodes)


def distinct_entries(seed, nodes, entries, node_of):
    """The first `entries` distinct keys row * nodes + col of the stream of pairs, ascending."""
    drawn = entries
    while True:
        bits = splitmix64(seed, 0, 2 * drawn)
        keys = node_of(bits[0::2], nodes) * np.uint64(nodes) + node_of(bits[1::2], nodes)
        unique, first = np.unique(keys, return_index=True)
        if len(unique) >= entries:
            return np.sort(unique[np.argsort(first)[:entries]])
        drawn += drawn // 4


def csr(seed, nodes, entries, node_of):
    """(row_ptr int32, col int32, values float32) with sorted columns."""
    keys = distinct_entries(seed, nodes, entries, node_of)
    rows, cols = keys // np.uint64(nodes), keys % np.uint64(nodes)
    row_ptr = np.searchsorted(rows, np.arange(nodes + 1, dtype=np.uint64)).astype(np.int32)
    return row_ptr, cols.astype(np.int32), values(seed + 1, entries)


# name -> (seed, nodes, entries, node_of)
GRAPHS = {
    "uniform": (1, 20_000, 200_000, uniform_node),
    "powerlaw": (2, 200_000, 1_100_000, power_law_node),
}
WIDTHS = (16, 64, 256)


def spmm_cases():
    """(name, case, nodes, csr, dense [nodes, width]) of every SpMM benchmark."""
    for graph, (seed, nodes, entries, node_of) in GRAPHS.items():
        matrix = csr(seed, nodes, entries, node_of)
        for width in WIDTHS:
            dense = values(3, nodes * width).reshape(nodes, width)
            yield f"spmm/{graph}", f"{nodes}x{entries}x{width}", nodes, matrix, dense


class Citation:
    """A graph file with dense row-normalised features and both directions of every edge."""

    def __init__(self, path):
        data = np.load(path)
        nodes, features = data["x_shape"]
        counts = np.diff(data["x_indptr"])
        x = np.zeros((nodes, features), np.float32)
        x[np.repeat(np.arange(nodes), counts), data["x_indices"]] = 1
        self.x = x / np.maximum(x.sum(1, keepdims=True), 1)
        self.edges = np.concatenate([data["edges"], data["edges"][::-1]], 1).astype(np.int64)
        self.labels = data["labels"].astype(np.int64)
        self.classes = int(self.labels.max()) + 1
        self.train = data["public_train_masks"][0]
        self.test = data["public_test_masks"][0]

    def normalised(self):
        """rows, cols, values of D^-1/2 (A + I) D^-1/2, in coordinate form."""
        loops = np.arange(len(self.labels))
        rows, cols = np.concatenate([self.edges, np.stack([loops, loops])], 1)
        scale = 1 / np.sqrt(np.bincount(rows))
        return rows, cols, (scale[rows] * scale[cols]).astype(np.float32)


def fnv1a64(data):
    h = 0xCBF29CE484222325
    for byte in data:
        h = ((h ^ byte) * 0x100000001B3) & ((1 << 64) - 1)
    return h


if __name__ == "__main__":
    # The fingerprints listed in README.md.
    for name, (seed, nodes, entries, node_of) in GRAPHS.items():
        row_ptr, col, _ = csr(seed, nodes, entries, node_of)
        print(f"{name}: row_ptr {fnv1a64(row_ptr.tobytes()):016x} col {fnv1a64(col.tobytes()):016x}"
              f" longest row {np.diff(row_ptr).max()} empty rows {(np.diff(row_ptr) == 0).sum()}")
