"""Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011) in numpy."""

import numpy as np

from values import hashes

M0, M1 = 0xD2511F53, 0xCD9E8D57
W0, W1 = 0x9E3779B9, 0xBB67AE85
LOW = 0xFFFFFFFF

# Counter, key and output of the authors' own test vectors (Random123, kat_vectors).
PUBLISHED = (
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((LOW, LOW, LOW, LOW), (LOW, LOW), (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    ((0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344), (0xA4093822, 0x299F31D0),
     (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1)),
)


def philox(counter, key):
    """counter [n, 4] and key [n, 2] of uint64 below 2^32 -> [n, 4]."""
    c0, c1, c2, c3 = (counter[:, i].copy() for i in range(4))
    k0, k1 = key[:, 0].copy(), key[:, 1].copy()
    low, half = np.uint64(LOW), np.uint64(32)
    for _ in range(10):
        p0, p1 = c0 * np.uint64(M0), c2 * np.uint64(M1)
        c0, c1, c2, c3 = (p1 >> half) ^ c1 ^ k0, p1 & low, (p0 >> half) ^ c3 ^ k1, p0 & low
        k0, k1 = (k0 + np.uint64(W0)) & low, (k1 + np.uint64(W1)) & low
    return np.stack([c0, c1, c2, c3], 1)


def tensors():
    random = (hashes("philox", 13 * 6) >> np.uint64(32)).reshape(13, 6)
    counter = np.concatenate([np.array([c for c, _, _ in PUBLISHED], np.uint64), random[:, :4]])
    key = np.concatenate([np.array([k for _, k, _ in PUBLISHED], np.uint64), random[:, 4:]])
    output = philox(counter, key)
    assert (output[:3] == np.array([o for _, _, o in PUBLISHED], np.uint64)).all()
    # int64 because the container's readers know no unsigned 32-bit type.
    return {name: a.astype(np.int64) for name, a in
            (("counter", counter), ("key", key), ("output", output))}
