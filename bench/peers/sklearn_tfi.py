"""scikit-learn: mutual_info_classif on aggregated features, as bench/algorithms/tfi_bench.cpp measures them."""

import numpy as np
import scipy.sparse
import sklearn
from sklearn.feature_selection import mutual_info_classif

from common import Report, arguments

COLUMNS = 256


def aggregated(path):
    """f64 [train, COLUMNS] of evenly spaced columns, over the training nodes of split 0, and their labels."""
    data = np.load(path)
    nodes, features = (int(n) for n in data["x_shape"])
    x = scipy.sparse.csr_matrix((np.ones(len(data["x_indices"])), data["x_indices"], data["x_indptr"]),
                                (nodes, features))
    count, total = nodes * features, x.sum()
    mean = total / count
    deviation = np.sqrt((total * (1 - mean) ** 2 + (count - total) * mean ** 2) / (count - 1))
    u, v = data["edges"].astype(np.int64)
    a = scipy.sparse.coo_matrix((np.ones(2 * len(u)), (np.r_[u, v], np.r_[v, u])), (nodes, nodes)).tocsr()
    degree = np.asarray(a.sum(1)).ravel()
    rows = np.repeat(np.arange(nodes), np.diff(a.indptr))
    a.data = 1 / (np.sqrt(degree[rows] * degree[a.indices]) + 1e-7)
    chosen = np.arange(COLUMNS) * features // COLUMNS
    z = (a @ x[:, chosen]).toarray() - np.asarray(a.sum(1)) * mean
    train = data["train_masks"][0].astype(bool)
    return np.ascontiguousarray((z / deviation)[train]), data["labels"][train]


def main():
    args = arguments(__doc__, data=True)
    z, labels = aggregated(args.data)
    out = Report("sklearn", {"sklearn": sklearn.__version__, "numpy": np.__version__}, args.threads, args)
    scores = mutual_info_classif(z[:, :4], labels, random_state=0)  # loads what is loaded late
    out.add("information/ross", f"{z.shape[0]}x{z.shape[1]}", dtype="f64", notes=f"mean of 4 columns {scores.mean():.5f}",
            fn=lambda: mutual_info_classif(z, labels, random_state=0, n_jobs=args.threads))
    out.save()


if __name__ == "__main__":
    main()
