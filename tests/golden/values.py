"""Numbers that any language can regenerate: a hash of the stream's name and the element's index.

u(name, i) = (mix(fnv1a64(name) + (i + 1) * GOLDEN) >> 40) * 2^-23 - 1, a uniform value in [-1, 1).
It has 24 significant bits, so it is exact in float32 as well as in float64; scales are powers of two
to keep it so.
"""

import math

import numpy as np

GOLDEN = 0x9E3779B97F4A7C15
MASK = (1 << 64) - 1


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode():
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def mix(z):
    """The finaliser of splitmix64 on an array of uint64."""
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def hashes(name, count):
    steps = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(GOLDEN)
    return mix(np.uint64(fnv1a64(name)) + steps)


def uniform(name, shape, scale=1.0, offset=0.0):
    u = (hashes(name, math.prod(shape)) >> np.uint64(40)) * 2.0**-23 - 1.0
    return (offset + scale * u).reshape(shape)


def integers(name, shape, bound):
    return (hashes(name, math.prod(shape)) % np.uint64(bound)).astype(np.int64).reshape(shape)
