"""scipy: CSR times dense (one thread whatever is asked)."""

import numpy as np
import scipy
import scipy.sparse

import graphs
from common import Report, arguments


def main():
    args = arguments(__doc__)
    out = Report("scipy", {"scipy": scipy.__version__, "numpy": np.__version__}, 1, args)
    for name, case, nodes, (row_ptr, col, values), dense in graphs.spmm_cases():
        matrix = scipy.sparse.csr_matrix((values, col, row_ptr), (nodes, nodes))
        out.add(name, case, lambda: matrix @ dense, variant="csr")
    out.save()


if __name__ == "__main__":
    main()
