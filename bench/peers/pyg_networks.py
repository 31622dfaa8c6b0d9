"""PyTorch Geometric: whole trainings of GCN, GAT and ACM-GCN on one graph, 200 epochs."""

import pathlib

import numpy as np
import torch
import torch.nn.functional as F
import torch_geometric
from torch_geometric.nn import GATConv, GCNConv, SimpleConv

from common import arguments
from torch_common import report

EPOCHS = 200


class Gcn(torch.nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.first = GCNConv(features, 16, cached=True)
        self.second = GCNConv(16, classes, cached=True)

    def forward(self, x, edges):
        h = torch.relu(self.first(F.dropout(x, 0.5, self.training), edges))
        return self.second(F.dropout(h, 0.5, self.training), edges)


class Gat(torch.nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.first = GATConv(features, 8, heads=8, dropout=0.5)
        self.second = GATConv(64, classes, heads=8, concat=False, dropout=0.5)

    def forward(self, x, edges):
        h = F.elu(self.first(F.dropout(x, 0.5, self.training), edges))
        return self.second(F.dropout(h, 0.5, self.training), edges)


class AcmConv(torch.nn.Module):
    """PyG has no such layer: its mean over neighbours and the node itself, and the authors' mixing."""

    def __init__(self, n, m):
        super().__init__()
        self.weights = torch.nn.ModuleList(torch.nn.Linear(n, m, bias=False) for _ in range(3))
        self.vectors = torch.nn.ModuleList(torch.nn.Linear(m, 1, bias=False) for _ in range(3))
        self.mix = torch.nn.Linear(3, 3, bias=False)
        self.mean = SimpleConv(aggr="mean")

    def forward(self, x, edges):
        low, high, full = (w(x) for w in self.weights)
        parts = [torch.relu(self.mean(low, edges)), torch.relu(high - self.mean(high, edges)), torch.relu(full)]
        scores = torch.cat([v(p) for v, p in zip(self.vectors, parts)], 1)
        weights = torch.softmax(self.mix(torch.sigmoid(scores)) / 3, 1)
        return 3 * sum(weights[:, i:i + 1] * p for i, p in enumerate(parts))


class Acm(torch.nn.Module):
    def __init__(self, features, classes):
        super().__init__()
        self.first, self.second = AcmConv(features, 64), AcmConv(64, classes)

    def forward(self, x, edges):
        h = torch.relu(self.first(F.dropout(x, 0.5, self.training), edges))
        return self.second(F.dropout(h, 0.5, self.training), edges)


class Graph:
    def __init__(self, path):
        data = np.load(path)
        if "x" in data:
            x = data["x"].astype(np.float32)
        else:
            nodes, features = data["x_shape"]
            x = np.zeros((nodes, features), np.float32)
            x[np.repeat(np.arange(nodes), np.diff(data["x_indptr"])), data["x_indices"]] = 1
        self.x = torch.from_numpy(x / np.maximum(x.sum(1, keepdims=True), 1))
        edges = torch.from_numpy(np.concatenate([data["edges"], data["edges"][::-1]], 1).astype(np.int64))
        self.edges = torch_geometric.utils.coalesce(edges)
        self.looped = torch_geometric.utils.add_remaining_self_loops(self.edges)[0]
        self.labels = torch.from_numpy(data["labels"].astype(np.int64))
        masks = data["public_train_masks"] if "public_train_masks" in data else data["train_masks"]
        self.train = torch.from_numpy(masks[0].astype(bool))


def main():
    args = arguments(__doc__, data=True)
    out = report(args, "pyg", {"torch_geometric": torch_geometric.__version__})
    graph, name = Graph(args.data), pathlib.Path(args.data).stem
    features, classes = graph.x.shape[1], int(graph.labels.max()) + 1
    for label, make, edges in (("gcn", Gcn, graph.edges), ("gat", Gat, graph.edges),
                               ("acm_gcn", Acm, graph.looped)):
        def run():
            model = make(features, classes)
            optimizer = torch.optim.Adam([{"params": model.first.parameters(), "weight_decay": 5e-4},
                                          {"params": model.second.parameters()}], lr=0.01)
            model.train()
            for _ in range(EPOCHS):
                optimizer.zero_grad()
                F.cross_entropy(model(graph.x, edges)[graph.train], graph.labels[graph.train]).backward()
                optimizer.step()

        out.add(f"train/{label}_{name}", str(EPOCHS), run, variant="edge_index")
    out.save()


if __name__ == "__main__":
    main()
