"""PyTorch Geometric: two-layer GCN on Cora, 200 epochs, GCNConv(cached=True) on an edge_index."""

import torch
import torch.nn.functional as F
import torch_geometric
from torch_geometric.nn import GCNConv

import gcn_task
import graphs
from common import arguments
from torch_common import report

HIDDEN = 16


class Gcn(torch.nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.first = GCNConv(features, HIDDEN, cached=True)
        self.second = GCNConv(HIDDEN, classes, cached=True)

    def forward(self, x, edges):
        h = torch.relu(self.first(F.dropout(x, 0.5, self.training), edges))
        return self.second(F.dropout(h, 0.5, self.training), edges)


def main():
    args = arguments(__doc__, data=True)
    out = report(args, "pyg", {"torch_geometric": torch_geometric.__version__})
    graph = graphs.Citation(args.data)
    gcn_task.add(out, "edge_index", lambda: Gcn(graph.x.shape[1], graph.classes),
                 torch.from_numpy(graph.x), torch.from_numpy(graph.edges), graph)
    out.save()


if __name__ == "__main__":
    main()
