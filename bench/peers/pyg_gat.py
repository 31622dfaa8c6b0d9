"""PyTorch Geometric: one GATConv of 8 heads x 64 on a graph, forward and gradients of all parameters."""

import numpy as np
import torch
import torch_geometric
from torch_geometric.nn import GATConv

from common import arguments
from torch_common import peak_bytes, report


def main():
    args = arguments(__doc__, data=True)
    out = report(args, "pyg", {"torch_geometric": torch_geometric.__version__})
    data = np.load(args.data)
    x = torch.from_numpy(data["x"].astype(np.float32))
    edges = torch.from_numpy(np.concatenate([data["edges"], data["edges"][::-1]], 1).astype(np.int64))
    layer = GATConv(x.shape[1], 64, heads=8, concat=False)
    seed = torch.randn(len(x), 64)

    def run():
        layer.zero_grad()
        layer(x, edges).backward(seed)

    out.add("graph/gat_fwd_bwd", "tolokers 8x64", run, variant="edge_index", peak=peak_bytes)
    out.save()


if __name__ == "__main__":
    main()
