"""PyTorch: two-layer GCN on Cora, 200 epochs, adjacency as a torch.sparse matrix."""

import torch
import torch.nn.functional as F
from torch import nn

import gcn_task
import graphs
from common import arguments
from torch_common import report

HIDDEN = 16


class Layer(nn.Module):
    def __init__(self, n, m):
        super().__init__()
        self.weight = nn.Parameter(nn.init.xavier_uniform_(torch.empty(n, m)))
        self.bias = nn.Parameter(torch.zeros(m))

    def forward(self, x, adjacency):
        return torch.sparse.mm(adjacency, torch.mm(x, self.weight)) + self.bias


class Gcn(nn.Module):
    """Dense features, dropout 0.5 before both layers."""

    def __init__(self, features, classes):
        super().__init__()
        self.first, self.second = Layer(features, HIDDEN), Layer(HIDDEN, classes)

    def drop_input(self, x):
        return F.dropout(x, 0.5, self.training)

    def forward(self, x, adjacency):
        h = torch.relu(self.first(self.drop_input(x), adjacency))
        return self.second(F.dropout(h, 0.5, self.training), adjacency)


class SparseInputGcn(Gcn):
    """Features as a sparse matrix: dropout touches the stored values only."""

    def drop_input(self, x):
        values = F.dropout(x.values(), 0.5, self.training)
        return torch.sparse_coo_tensor(x.indices(), values, x.shape, is_coalesced=True)


def main():
    args = arguments(__doc__, data=True)
    out = report(args)
    graph = graphs.Citation(args.data)
    x = torch.from_numpy(graph.x)
    rows, cols, values = graph.normalised()
    indices = torch.stack([torch.from_numpy(rows), torch.from_numpy(cols)])
    coo = torch.sparse_coo_tensor(indices, torch.from_numpy(values), (len(x), len(x))).coalesce()
    sizes = (x.shape[1], graph.classes)
    gcn_task.add(out, "coo", lambda: Gcn(*sizes), x, coo, graph)
    gcn_task.add(out, "csr", lambda: Gcn(*sizes), x, coo.to_sparse_csr(), graph)
    gcn_task.add(out, "coo, sparse features", lambda: SparseInputGcn(*sizes),
                 x.to_sparse_coo().coalesce(), coo, graph)
    out.save()


if __name__ == "__main__":
    main()
