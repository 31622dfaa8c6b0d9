"""PyTorch: sparse times dense with COO and CSR matrices."""

import torch

import graphs
from common import arguments
from torch_common import report


def main():
    args = arguments(__doc__)
    out = report(args)
    for name, case, nodes, (row_ptr, col, values), dense in graphs.spmm_cases():
        x = torch.from_numpy(dense)
        matrix = torch.sparse_csr_tensor(*map(torch.from_numpy, (row_ptr, col, values)), (nodes, nodes))
        coo = matrix.to_sparse_coo().coalesce()
        y = torch.empty_like(x)
        out.add(name, case, lambda: torch.mm(matrix, x, out=y), variant="csr into")
        out.add(name, case, lambda: torch.sparse.mm(matrix, x), variant="csr")
        out.add(name, case, lambda: torch.sparse.mm(coo, x), variant="coo")
    out.save()


if __name__ == "__main__":
    main()
