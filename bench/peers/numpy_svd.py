"""numpy: economy SVD of tall f32 matrices, by LAPACK's gesdd and by the eigenvalues of the Gram matrix.

`gram eigh f64` is the same method as ours, in f64 after a conversion; `gram eigh f32` sums in f32 and loses
singular values below 3e-4 of the largest. OpenBLAS's threads follow OPENBLAS_NUM_THREADS, which is set here.
"""

import os
import sys

if __name__ == "__main__":  # before numpy loads its BLAS
    for i, word in enumerate(sys.argv[:-1]):
        if word == "--threads":
            os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = sys.argv[i + 1]

import numpy as np  # noqa: E402
import scipy  # noqa: E402

import graphs  # noqa: E402
from common import Report, arguments  # noqa: E402

SIZES = ((10000, 100), (21025, 200), (100000, 100), (300000, 200))


def by_gram(x, dtype):
    a = x.astype(dtype, copy=False)
    values, v = np.linalg.eigh(a.T @ a)
    sigma = np.sqrt(np.maximum(values[::-1], 0))
    v = v[:, ::-1]
    return a @ (v / sigma), sigma, v


def basis(x):
    a = x.astype(np.float64)
    return np.linalg.eigh(a.T @ a)


def check(x, u, s, v, bound):
    residual = np.linalg.norm(x - (u * s) @ v.T) / np.linalg.norm(x)
    assert residual < bound, residual


def main():
    args = arguments(__doc__)
    out = Report("numpy", {"numpy": np.__version__, "scipy": scipy.__version__}, args.threads, args)
    for m, n in SIZES:
        x = graphs.values(1, m * n).reshape(m, n).astype(np.float32)
        case = f"{m}x{n}"
        check(x, *by_gram(x, np.float64), 1e-6)
        out.add("svd/economy", case, lambda: by_gram(x, np.float64), variant="gram eigh f64")
        out.add("svd/economy", case, lambda: by_gram(x, np.float32), variant="gram eigh f32")
        out.add("svd/economy", case, lambda: np.linalg.svd(x, full_matrices=False), variant="gesdd")
        out.add("svd/basis", case, lambda: basis(x), variant="gram eigh f64")
    out.save()


if __name__ == "__main__":
    main()
