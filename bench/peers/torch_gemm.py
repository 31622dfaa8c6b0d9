"""PyTorch: matrix products, through the BLAS it was built with."""

import torch

from common import arguments
from torch_common import report


def main():
    args = arguments(__doc__)
    out = report(args)
    for m, n, k in ((1024, 1024, 1024), (2048, 2048, 512), (512, 512, 512)):
        a, b, c = torch.randn(m, k), torch.randn(k, n), torch.empty(m, n)
        out.add("gemm/nn", f"{m}x{n}x{k}", lambda: torch.mm(a, b, out=c), notes="m x n x k")
    out.save()


if __name__ == "__main__":
    main()
