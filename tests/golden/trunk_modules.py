"""References of the residual trunk's modules of GFS, and of GFS itself: as graph_networks.py does, on its graph."""

import numpy as np
import torch
import torch.nn.functional as F

from graph_networks import (CLASSES, FEATURES, HEADS, HIDDEN, NODES, Graph, edge_softmax, feed_forward,
                            heads_first, layer_norm, lin, linear, norm, start_of)
from training import gradients, numpy_of, small_graph
from values import integers, uniform

SELECTED = [0, 2, 5]  # the features that GFS's trunk with edges sees


# ---- blocks: specifications and functions of (parameters, graph, prefix, normalised x) -> what is added to x

def dot_attention(p, a, b, h):
    q, k, v = (heads_first(linear(p, f"{b}.dot.{part}", h), HEADS) for part in ("query", "key", "value"))
    scores = q @ k.transpose(1, 2) / (HIDDEN // HEADS) ** 0.5
    return (edge_softmax(a, scores) @ v).transpose(0, 1).reshape(h.shape)


def gt(p, g, b, h):
    return linear(p, f"{b}.output", dot_attention(p, g.looped, b, h))


def gt_specs(b):
    specs = lin(f"{b}.output", HIDDEN, HIDDEN)
    for part in ("query", "key", "value"):
        specs |= lin(f"{b}.dot.{part}", HIDDEN, HIDDEN)
    return specs


def sgc(p, g, b, h):
    return g.symmetric(g.looped) @ h


def appnp(p, g, b, h):
    start = linear(p, f"{b}.value", h)
    y = start
    for _ in range(2):
        y = 0.9 * g.symmetric(g.looped) @ y + 0.1 * start
    return y


def acm(p, g, b, h):
    low = g.symmetric(g.looped) @ h
    parts = [torch.relu(x @ p[f"{b}.acm.{c}"]) for c, x in (("low", low), ("high", h - low), ("full", h))]
    scores = torch.cat([x @ p[f"{b}.acm.{c}_vector"] for c, x in zip(("low", "high", "full"), parts)], -1)
    weights = torch.softmax(torch.sigmoid(scores) @ p[f"{b}.acm.mix"] / 3, -1)
    return 3 * sum(weights[:, i:i + 1] * x for i, x in enumerate(parts))


def acm_specs(b):
    specs = {f"{b}.acm.{c}": (HIDDEN, HIDDEN) for c in ("low", "high", "full")}
    specs |= {f"{b}.acm.{c}_vector": (HIDDEN, 1) for c in ("low", "high", "full")}
    return specs | {f"{b}.acm.mix": (3, 3)}


def fagcn(p, g, b, h):
    gates = torch.tanh(linear(p, f"{b}.gate.self", h) + linear(p, f"{b}.gate.neighbour", h).T)
    return (g.symmetric(g.looped) * gates) @ h


def sage(p, g, b, h):
    joined = torch.cat([h, g.random_walk(g.looped) @ h], -1)
    return linear(p, f"{b}.feed_forward.second", F.gelu(linear(p, f"{b}.feed_forward.first", joined)))


def resnet(p, g, b, h):
    return linear(p, f"{b}.feed_forward.second", F.gelu(linear(p, f"{b}.feed_forward.first", h)))


BLOCKS = {
    "gt": (gt_specs, gt),
    "sgc": (lambda b: {}, sgc),
    "appnp": (lambda b: lin(f"{b}.value", HIDDEN, HIDDEN), appnp),
    "acm_gcn": (acm_specs, acm),
    "fagcn": (lambda b: lin(f"{b}.gate.self", HIDDEN, 1) | lin(f"{b}.gate.neighbour", HIDDEN, 1, False), fagcn),
    "sage": (lambda b: feed_forward(f"{b}.feed_forward", 2 * HIDDEN), sage),
    "resnet": (lambda b: feed_forward(f"{b}.feed_forward", HIDDEN), resnet),
}


def blocks(prefix, module, count):
    """Specifications of `count` blocks with the last norm, and their function of x."""
    specs_of, added = BLOCKS[module]
    specs = norm(f"{prefix}norm", HIDDEN)
    for i in range(count):
        specs |= norm(f"{prefix}blocks.{i}.norm", HIDDEN) | specs_of(f"{prefix}blocks.{i}")

    def forward(p, g, x):
        for i in range(count):
            b = f"{prefix}blocks.{i}"
            x = x + added(p, g, b, layer_norm(p, f"{b}.norm", x))
        return layer_norm(p, f"{prefix}norm", x)

    return specs, forward


def trunk(module):
    specs, inner = blocks("", module, 2)

    def forward(p, g, x):
        return linear(p, "output", inner(p, g, F.gelu(linear(p, "input", x))))

    return specs | lin("input", FEATURES, HIDDEN) | lin("output", HIDDEN, CLASSES), forward


def gfs(module):
    """All rows of the first weights have values, but each trunk multiplies by its own features alone."""
    with_graph, gnn = blocks("gnn.", module, 2)
    without, mlp = blocks("mlp.", "resnet", 3)

    def forward(p, g, x):
        rest = [f for f in range(FEATURES) if f not in SELECTED]
        a = x[:, SELECTED] @ p["gnn_input.weight"][SELECTED] + p["gnn_input.bias"]
        b = x[:, rest] @ p["mlp_input.weight"][rest] + p["mlp_input.bias"]
        return linear(p, "output", torch.cat([gnn(p, g, F.gelu(a)), mlp(p, g, F.gelu(b))], -1))

    specs = with_graph | without | lin("gnn_input", FEATURES, HIDDEN) | lin("mlp_input", FEATURES, HIDDEN)
    return specs | lin("output", 2 * HIDDEN, CLASSES), forward


NETWORKS = {f"trunk_{m}": trunk(m) for m in BLOCKS if m != "resnet"} | {
    f"gfs_{m}": gfs(m) for m in ("gt", "fagcn")}


def tensors():
    graph, x = Graph(small_graph(NODES)), uniform("x", (NODES, FEATURES))
    labels, mask = integers("labels", (NODES,), CLASSES), integers("mask", (NODES,), 2) == 0
    chosen, target = torch.from_numpy(mask), torch.from_numpy(labels)
    out = {"selected": np.array(SELECTED)}
    for name, (specs, forward) in NETWORKS.items():
        params = {}
        for path, shape in specs.items():
            offset, scale = start_of(path)
            values = uniform(path, shape, scale, offset)
            params[path] = torch.tensor(values, dtype=torch.float64).requires_grad_()
            out[f"{name}.init.{path}"] = np.array([offset, scale])
        logits = forward(params, graph, torch.tensor(x))
        loss = F.cross_entropy(logits[chosen], target[chosen])
        out[f"{name}.logits"], out[f"{name}.loss"] = logits.detach().numpy(), np.array(loss.item())
        out.update(numpy_of(f"{name}.grad", gradients(loss, params)))
    return out
