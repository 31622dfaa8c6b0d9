"""References of the graph networks: logits, loss and gradients on one small graph, by dense formulas."""

import math

import numpy as np
import torch
import torch.nn.functional as F

from training import gradients, numpy_of, small_graph
from values import integers, uniform

NODES, FEATURES, HIDDEN, CLASSES, HEADS = 17, 6, 8, 3, 2


class Graph:
    """The dense matrices of a graph; isolated nodes have rows of zeros."""

    def __init__(self, edges):
        a = torch.zeros(NODES, NODES, dtype=torch.float64)
        a[edges[0], edges[1]] = a[edges[1], edges[0]] = 1
        self.plain, self.looped = a, a + torch.eye(NODES, dtype=torch.float64)
        two = ((a @ a) > 0).double()
        self.two = ((two - a - torch.eye(NODES, dtype=torch.float64)) > 0).double()

    @staticmethod
    def inverse(x, power):
        return torch.where(x > 0, x ** -power, torch.zeros_like(x))

    def symmetric(self, a):
        d = self.inverse(a.sum(1), 0.5)
        return d[:, None] * a * d[None, :]

    def random_walk(self, a):
        return self.inverse(a.sum(1), 1.0)[:, None] * a


def linear(p, name, x):
    y = x @ p[name + ".weight"]
    return y + p[name + ".bias"] if name + ".bias" in p else y


def layer_norm(p, name, x):
    return F.layer_norm(x, x.shape[-1:], p[name + ".weight"], p[name + ".bias"], 1e-5)


def edge_softmax(a, scores):
    """Over the entries of each row; a row without entries gives zeros. scores [heads, n, n]."""
    weights = torch.softmax(torch.where(a > 0, scores, -math.inf), -1)
    return torch.where(a.sum(1)[:, None] > 0, weights, torch.zeros_like(weights))


def heads_first(x, heads):
    return x.reshape(x.shape[0], heads, -1).transpose(0, 1)  # [heads, n, channels]


def attend(a, x, target, source, heads):
    scores = F.leaky_relu(target.T[:, :, None] + source.T[:, None, :], 0.2)
    return (edge_softmax(a, scores) @ heads_first(x, heads)).transpose(0, 1).reshape(x.shape)


# ---- specifications: {parameter: shape}; names beginning with a norm's are scales about 1

def lin(name, n, m, bias=True):
    return {f"{name}.weight": (n, m), **({f"{name}.bias": (m,)} if bias else {})}


def norm(name, n):
    return {f"{name}.weight": (n,), f"{name}.bias": (n,)}


def feed_forward(name, n):
    return lin(f"{name}.first", n, HIDDEN) | lin(f"{name}.second", HIDDEN, HIDDEN)


# ---- the residual trunk

def trunk_specs(module):
    specs = lin("input", FEATURES, HIDDEN)
    apart = module in ("sage", "gat_sep", "gt_sep")
    width = HIDDEN * (2 if apart else 1)
    for i in range(2):
        b = f"blocks.{i}"
        specs |= norm(f"{b}.norm", HIDDEN)
        if module.startswith("gat"):
            specs |= lin(f"{b}.value", HIDDEN, HIDDEN)
            specs |= lin(f"{b}.attention.source", HIDDEN, HEADS)
            specs |= lin(f"{b}.attention.target", HIDDEN, HEADS, False)
        if module.startswith("gt"):
            for part in ("query", "key", "value"):
                specs |= lin(f"{b}.dot.{part}", HIDDEN, HIDDEN)
            specs |= lin(f"{b}.output", width, HIDDEN) | norm(f"{b}.feed_forward_norm", HIDDEN)
            specs |= feed_forward(f"{b}.feed_forward", HIDDEN)
        else:
            specs |= feed_forward(f"{b}.feed_forward", width)
    return specs | norm("norm", HIDDEN) | lin("output", HIDDEN, CLASSES)


def trunk(module):
    apart = module in ("sage", "gat_sep", "gt_sep")

    def forward(p, g, x):
        a = g.plain if apart else g.looped

        def ffn(name, h):
            return linear(p, f"{name}.second", F.gelu(linear(p, f"{name}.first", h)))

        x = F.gelu(linear(p, "input", x))
        for i in range(2):
            b = f"blocks.{i}"
            h = layer_norm(p, f"{b}.norm", x)
            beside = lambda message: torch.cat([h, message], -1) if apart else message
            if module == "resnet":
                message = h
            elif module == "gcn":
                message = g.symmetric(a) @ h
            elif module == "sage":
                message = beside(g.random_walk(a) @ h)
            elif module.startswith("gat"):
                value = linear(p, f"{b}.value", h)
                message = beside(attend(a, value, linear(p, f"{b}.attention.target", value),
                                        linear(p, f"{b}.attention.source", value), HEADS))
            else:
                q, k, v = (heads_first(linear(p, f"{b}.dot.{part}", h), HEADS)
                           for part in ("query", "key", "value"))
                weights = edge_softmax(a, q @ k.transpose(1, 2) / math.sqrt(HIDDEN // HEADS))
                message = beside((weights @ v).transpose(0, 1).reshape(h.shape))
                x = x + linear(p, f"{b}.output", message)
                x = x + ffn(f"{b}.feed_forward", layer_norm(p, f"{b}.feed_forward_norm", x))
                continue
            x = x + ffn(f"{b}.feed_forward", message)
        return linear(p, "output", layer_norm(p, "norm", x))

    return trunk_specs(module), forward


# ---- the classical networks

def sgc(p, g, x):
    return torch.linalg.matrix_power(g.symmetric(g.looped), 2) @ linear(p, "linear", x)


def gat(p, g, x):
    for i in range(2):
        layer = f"layers.{i}"
        h = linear(p, f"{layer}.value", x if i == 0 else F.elu(x))
        score = lambda which: (h * p[f"{layer}.{which}"]).reshape(NODES, HEADS, -1).sum(-1)
        x = attend(g.looped, h, score("target"), score("source"), HEADS)
        x = x.reshape(NODES, HEADS, -1).mean(1) if i == 1 else x
        x = x + p[f"{layer}.bias"]
    return x


GAT = {}
for i, (n, m) in enumerate([(FEATURES, HIDDEN), (HEADS * HIDDEN, CLASSES)]):
    GAT |= lin(f"layers.{i}.value", n, HEADS * m, False)
    GAT |= {f"layers.{i}.target": (HEADS * m,), f"layers.{i}.source": (HEADS * m,),
            f"layers.{i}.bias": (CLASSES if i == 1 else HEADS * m,)}


def sage(p, g, x):
    for i in range(2):
        h = torch.relu(x) if i else x
        x = linear(p, f"layers.{i}.self", h) + g.random_walk(g.plain) @ linear(p, f"layers.{i}.neighbours", h)
    return x


SAGE = {}
for i, (n, m) in enumerate([(FEATURES, HIDDEN), (HIDDEN, CLASSES)]):
    SAGE |= lin(f"layers.{i}.self", n, m) | lin(f"layers.{i}.neighbours", n, m, False)


def mixhop(p, g, x):
    a = g.symmetric(g.looped)
    for i in range(2):
        x = torch.relu(torch.cat([torch.linalg.matrix_power(a, k) @ linear(p, f"layers.{i}.hops.{k}", x)
                                  for k in range(3)], -1))
    return linear(p, "output", x)


MIXHOP = {}
for i, n in enumerate([FEATURES, 3 * HIDDEN]):
    for k in range(3):
        MIXHOP |= lin(f"layers.{i}.hops.{k}", n, HIDDEN)
MIXHOP |= lin("output", 3 * HIDDEN, CLASSES)

MLP2 = lin("first", FEATURES, HIDDEN) | lin("second", HIDDEN, CLASSES)


def mlp2(p, x):
    return linear(p, "second", torch.relu(linear(p, "first", x)))


def appnp(p, g, x):
    a, start = g.symmetric(g.looped), mlp2(p, x)
    h = start
    for _ in range(4):
        h = 0.8 * a @ h + 0.2 * start
    return h


def gprgnn(p, g, x):
    a, h = g.symmetric(g.looped), mlp2(p, x)
    return sum(p["gamma"][k] * torch.linalg.matrix_power(a, k) @ h for k in range(5))


def gcnii(p, g, x):
    a, start = g.symmetric(g.looped), torch.relu(linear(p, "input", x))
    h = start
    for i in range(3):
        beta = math.log(0.5 / (i + 1) + 1)
        mixed = 0.9 * a @ h + 0.1 * start
        h = torch.relu(mixed @ ((1 - beta) * torch.eye(HIDDEN, dtype=torch.float64) + beta * p[f"layers.{i}.weight"]))
    return linear(p, "output", h)


GCNII = lin("input", FEATURES, HIDDEN) | lin("output", HIDDEN, CLASSES)
for i in range(3):
    GCNII |= lin(f"layers.{i}", HIDDEN, HIDDEN, False)


def h2gcn(p, g, x):
    rounds = [torch.relu(linear(p, "input", x))]
    for _ in range(2):
        rounds.append(torch.cat([g.symmetric(a) @ rounds[-1] for a in (g.plain, g.two)], -1))
    return linear(p, "output", torch.cat(rounds, -1))


H2GCN = lin("input", FEATURES, HIDDEN, False) | lin("output", 7 * HIDDEN, CLASSES)


def fagcn(p, g, x):
    start = torch.relu(linear(p, "input", x))
    h = start
    for i in range(2):
        gate = torch.tanh(linear(p, f"layers.{i}.self", h) + linear(p, f"layers.{i}.neighbour", h).T)
        h = 0.3 * start + (gate * g.symmetric(g.plain)) @ h
    return linear(p, "output", h)


FAGCN = lin("input", FEATURES, HIDDEN) | lin("output", HIDDEN, CLASSES)
for i in range(2):
    FAGCN |= lin(f"layers.{i}.self", HIDDEN, 1) | lin(f"layers.{i}.neighbour", HIDDEN, 1, False)


def acm_specs(structure, plus, residual):
    specs = {}
    for i, (n, m) in enumerate([(FEATURES, HIDDEN), (HIDDEN, CLASSES)]):
        channels = ["low", "high", "full"] + (["structure"] if structure else [])
        for c in channels:
            specs |= {f"layers.{i}.{c}": (NODES if c == "structure" else n, m),
                      f"layers.{i}.{c}_vector": (m, 1)}
            if plus:
                specs |= norm(f"layers.{i}.{c}_norm", m)
        specs[f"layers.{i}.mix"] = (len(channels), len(channels))
    if residual:
        specs |= lin("residual_first", FEATURES, HIDDEN) | lin("residual_second", HIDDEN, CLASSES)
    return specs


def acm(relu_first=False, plus=False, structure=False, residual=False):
    def layer(p, g, name, x):
        a = g.random_walk(g.looped)
        filters = {"low": lambda y: a @ y, "high": lambda y: y - a @ y, "full": lambda y: y}
        parts, scores = [], []
        for c, run in filters.items():
            y = x @ p[f"{name}.{c}"]
            parts.append(run(torch.relu(y)) if relu_first else torch.relu(run(y)))
        if structure:
            parts.append(torch.relu(g.plain @ p[f"{name}.structure"]))
        for c, part in zip(["low", "high", "full", "structure"], parts):
            seen = layer_norm(p, f"{name}.{c}_norm", part) if plus else part
            scores.append(seen @ p[f"{name}.{c}_vector"])
        count = len(parts)
        attention = torch.softmax(torch.sigmoid(torch.cat(scores, -1)) @ p[f"{name}.mix"] / count, -1)
        y = sum(attention[:, i:i + 1] * part for i, part in enumerate(parts))
        return y if structure else count * y

    def forward(p, g, x):
        y = layer(p, g, "layers.1", torch.relu(layer(p, g, "layers.0", x)))
        if residual:
            y = y + linear(p, "residual_second", torch.relu(linear(p, "residual_first", x)))
        return y

    return acm_specs(structure, plus, residual), forward


def linkx(p, g, x):
    of_graph, of_features = linear(p, "structure", g.plain), linear(p, "features", x)
    h = torch.relu(linear(p, "mix", torch.cat([of_graph, of_features], -1)) + of_graph + of_features)
    return linear(p, "head.1", torch.relu(linear(p, "head.0", h)))


LINKX = (lin("structure", NODES, HIDDEN) | lin("features", FEATURES, HIDDEN) | lin("mix", 2 * HIDDEN, HIDDEN) |
         lin("head.0", HIDDEN, HIDDEN) | lin("head.1", HIDDEN, CLASSES))

def proximity(a, radii):
    """struc2vec's weights exp(-f_k) for every radius, by expanded sequences and a full table."""
    n, a = NODES, a.numpy()
    degree = a.sum(1).astype(int)
    distance = np.full((n, n), -1)
    for i in range(n):
        distance[i, i], front = 0, [i]
        while front:
            front = sorted({j for u in front for j in np.flatnonzero(a[u]) if distance[i, j] < 0})
            distance[i, front] = distance[i].max() + 1

    def runs(i, k):
        values, counts = np.unique(degree[distance[i] == k], return_counts=True)
        return list(zip(values, counts))

    def warp(s, t):
        best = np.full((len(s) + 1, len(t) + 1), np.inf)
        best[0, 0] = 0
        for i, (d, c) in enumerate(s):
            for j, (e, m) in enumerate(t):
                cost = ((max(d, e) + 0.5) / (min(d, e) + 0.5) - 1) * max(c, m)
                best[i + 1, j + 1] = cost + min(best[i, j], best[i, j + 1], best[i + 1, j])
        return best[-1, -1]

    order = sorted(range(n), key=lambda i: (degree[i], i))
    wanted, pairs = min(n - 1, 2 * math.ceil(math.log2(n))), set()
    for at, u in enumerate(order):
        # nearest degrees first; on ties those before u in the order, closest first, then those after
        others = sorted((p for p in range(n) if p != at),
                        key=lambda p: (abs(degree[order[p]] - degree[u]), p > at, abs(p - at)))
        pairs |= {tuple(sorted((u, order[p]))) for p in others[:wanted]}
    out = []
    total = {p: 0.0 for p in pairs}
    for k in range(radii):
        w = torch.zeros(n, n, dtype=torch.float64)
        for u, v in list(total):
            if not runs(u, k) or not runs(v, k):
                del total[u, v]
                continue
            total[u, v] += warp(runs(u, k), runs(v, k))
            w[u, v] = w[v, u] = math.exp(-total[u, v])
        out.append((w > 0).double() * w)
    return out


def wrgat(p, g, x):
    relations = [g.plain] + proximity(g.plain, 2)
    for i in range(2):
        layer, h = f"layers.{i}", torch.relu(x) if i else x
        y = linear(p, f"{layer}.root", h)
        for r, weights in enumerate(relations):
            name = f"{layer}.relations.{r}"
            value = linear(p, f"{name}.value", h)
            score = lambda which: (value * p[f"{name}.{which}"]).reshape(NODES, HEADS, -1).sum(-1)
            scores = F.leaky_relu(score("target").T[:, :, None] + score("source").T[:, None, :], 0.2)
            message = (edge_softmax(weights, scores) * weights) @ heads_first(value, HEADS)
            message = message.transpose(0, 1)
            y = y + (message.mean(1) if i == 1 else message.reshape(NODES, -1))
        x = y
    return x


WRGAT = {}
for i, (n, m) in enumerate([(FEATURES, HIDDEN), (HEADS * HIDDEN, CLASSES)]):
    WRGAT |= lin(f"layers.{i}.root", n, CLASSES if i == 1 else HEADS * m)
    for r in range(3):
        name = f"layers.{i}.relations.{r}"
        WRGAT |= lin(f"{name}.value", n, HEADS * m, False)
        WRGAT |= {f"{name}.target": (HEADS * m,), f"{name}.source": (HEADS * m,)}


def glognn(p, g, x):
    """With the n x n inverse that the closed form avoids: s Z = (c H H' + I / s)... solved directly."""
    alpha, beta, gamma, delta = 3.0, 0.5, 0.3, 0.6
    s, c, a = 1 - gamma, 1 / 3.5, g.symmetric(g.looped)
    mixed = delta * linear(p, "features", x) + (1 - delta) * linear(p, "structure", g.plain)
    start = linear(p, "output", torch.relu(mixed))
    powers = sum(p["order_weights"][k] * torch.linalg.matrix_power(a, k + 1) for k in range(2))
    eye, h = torch.eye(NODES, dtype=torch.float64), start
    for _ in range(2):
        # Z = [s H H' + beta P - s gamma H0 H'] (s^2 H H' + (alpha + beta) I)^-1; next H = s Z H + gamma H0
        left = s * h @ h.T + beta * powers - s * gamma * start @ h.T
        h = s * left @ torch.linalg.solve(s * s * h @ h.T + eye / c, h) + gamma * start
    return h


GLOGNN = (lin("structure", NODES, HIDDEN) | lin("features", FEATURES, HIDDEN) | lin("output", HIDDEN, CLASSES) |
          {"order_weights": (2,)})


def hoggcn(p, g, x):
    a = g.looped
    rows, columns = torch.nonzero(a, as_tuple=True)  # entries in the order of rows
    mask = torch.zeros_like(a).index_put((rows, columns), p["mask"][:, 0])
    learned = edge_softmax(a, mask[None])[0]
    soft = learned @ torch.softmax(linear(p, "soft_second", torch.relu(linear(p, "soft_first", x))), -1)
    degrees = a * (0.4 * soft @ soft.T) + learned
    weights = degrees / degrees.sum(1, keepdim=True)
    for i in range(2):
        h = torch.relu(x) if i else x
        x = linear(p, f"layers.{i}.self", h) + 0.7 * weights @ linear(p, f"layers.{i}.neighbours", h)
    return x


def hoggcn_specs(entries):
    specs = lin("soft_first", FEATURES, HIDDEN) | lin("soft_second", HIDDEN, CLASSES) | {"mask": (entries, 1)}
    for i, (n, m) in enumerate([(FEATURES, HIDDEN), (HIDDEN, CLASSES)]):
        specs |= lin(f"layers.{i}.self", n, m) | lin(f"layers.{i}.neighbours", n, m, False)
    return specs


NETWORKS = {f"trunk_{m}": trunk(m) for m in ("resnet", "gcn", "sage", "gat", "gat_sep", "gt", "gt_sep")} | {
    "sgc": (lin("linear", FEATURES, CLASSES), sgc),
    "gat": (GAT, gat),
    "sage": (SAGE, sage),
    "mixhop": (MIXHOP, mixhop),
    "appnp": (MLP2, appnp),
    "gprgnn": (MLP2 | {"gamma": (5,)}, gprgnn),
    "gcnii": (GCNII, gcnii),
    "h2gcn": (H2GCN, h2gcn),
    "fagcn": (FAGCN, fagcn),
    "acm": acm(),
    "acmii": acm(relu_first=True),
    "acm_plus": acm(plus=True, structure=True),
    "acm_plus_plus": acm(plus=True, structure=True, residual=True),
    "linkx": (LINKX, linkx),
    "wrgat": (WRGAT, wrgat),
    "glognn": (GLOGNN, glognn),
    "hoggcn": (hoggcn_specs(int(Graph(small_graph(NODES)).looped.sum())), hoggcn),
}


def start_of(name):
    """(offset, scale) of a parameter's first values."""
    is_scale = "norm" in name and name.endswith(".weight")
    return (1.0, 0.25) if is_scale else (0.0, 0.5)


def tensors():
    edges = small_graph(NODES)
    graph, x = Graph(edges), uniform("x", (NODES, FEATURES))
    labels, mask = integers("labels", (NODES,), CLASSES), integers("mask", (NODES,), 2) == 0
    out = {"edges": edges, "x": x.astype(np.float32), "labels": labels, "mask": mask}
    chosen, target = torch.from_numpy(mask), torch.from_numpy(labels)
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
