"""The task of train/gcn_cora, the same for every peer: see README.md."""

import torch
import torch.nn.functional as F

EPOCHS = 200


def optimizer_of(first, second):
    """Adam 0.01; the L2 term is on the first layer only, as in the reference implementation."""
    return torch.optim.Adam([{"params": first, "weight_decay": 5e-4}, {"params": second}], lr=0.01)


def train(make_model, x, adjacency, labels, mask):
    """A whole training from fresh weights: what is timed."""
    model = make_model()
    optimizer = optimizer_of(model.first.parameters(), model.second.parameters())
    model.train()
    for _ in range(EPOCHS):
        optimizer.zero_grad()
        F.cross_entropy(model(x, adjacency)[mask], labels[mask]).backward()
        optimizer.step()
    return model


@torch.no_grad()
def accuracy(model, x, adjacency, labels, mask):
    model.eval()
    return (model(x, adjacency).argmax(1) == labels)[mask].float().mean().item()


def add(out, variant, make_model, x, adjacency, graph):
    """Times trainings; the note tells that the peer does learn."""
    if not out.wants("train/gcn_cora", variant):
        return
    labels, train_mask, test_mask = map(torch.from_numpy, (graph.labels, graph.train, graph.test))
    run = lambda: train(make_model, x, adjacency, labels, train_mask)
    reached = accuracy(run(), x, adjacency, labels, test_mask)
    out.add("train/gcn_cora", str(EPOCHS), run, variant=variant,
            notes=f"test accuracy {reached:.3f}; no evaluation inside the timing")
