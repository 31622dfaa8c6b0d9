"""Spectral Python: global RX of an image, as bench/algorithms/bigset_bench.cpp measures it."""

import numpy as np
import spectral

import graphs
from common import Report, arguments

ROWS, COLUMNS, BANDS = 100, 100, 205


def main():
    args = arguments(__doc__)
    out = Report("spectral", {"spectral": spectral.__version__, "numpy": np.__version__}, args.threads, args)
    cube = graphs.values(1, ROWS * COLUMNS * BANDS).reshape(ROWS, COLUMNS, BANDS).astype(np.float64)
    out.add("bigset/grx", f"{ROWS}x{COLUMNS}x{BANDS}", lambda: spectral.rx(cube), dtype="f64")
    out.save()


if __name__ == "__main__":
    main()
