"""References of training: first loss and gradients, ten losses, Hessian-vector products."""

import itertools

import numpy as np
import torch
import torch.nn.functional as F

import networks
from values import integers, uniform

STEPS = 10


def initial(specs, dtype):
    return {name: torch.tensor(uniform(name, s.shape, s.scale, s.offset), dtype=dtype).requires_grad_()
            for name, s in specs.items()}


def probe(specs, dtype):
    """The direction v of the Hessian-vector products."""
    return {name: torch.tensor(uniform("v." + name, s.shape), dtype=dtype) for name, s in specs.items()}


def gradients(loss, params):
    return dict(zip(params, torch.autograd.grad(loss, list(params.values()))))


def hvp(loss, params, v):
    """Hessian times v by double backward."""
    grads = torch.autograd.grad(loss, list(params.values()), create_graph=True)
    dot = sum((g * v[name]).sum() for name, g in zip(params, grads))
    return gradients(dot, params)


def ggnvp(forward, params, v):
    """J' M J v, where M is the Hessian of the mean cross-entropy in the logits."""
    logits, tangent = torch.func.jvp(forward, (params,), (v,))
    prob = torch.softmax(logits, -1)
    curved = prob * tangent - prob * (prob * tangent).sum(-1, keepdim=True)
    _, pullback = torch.func.vjp(forward, params)
    return pullback(curved / logits.shape[0])[0]


def losses(specs, dtype, loss_fn, make_optimizer):
    """Loss before each of the steps; returns the trained parameters as well."""
    params = initial(specs, dtype)
    optimizer = make_optimizer(list(params.values()))
    history = []
    for _ in range(STEPS):
        loss = loss_fn(params)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    return np.array(history), params


# Errors of a 3x3 convolution in float32, over the root mean square of its results: with Winograd's
# F(4x4, 3x3) as measured; direct sums have a third of them.
ROUNDING = 2.0 ** -21
DRAWS = 16


def spread(net, history, run):
    """How far rounding in float32 may lead each step's loss away: the largest difference that float64
    runs have from `history` when all results of convolutions are disturbed by as much.

    Nearly all of it is due to units of a relu that are nearer to 0 than the disturbance, and pass their
    gradient or not; which ones is chance.
    """
    differences = []
    for draw in range(DRAWS):
        count = itertools.count()

        def disturbed(y):
            noise = torch.from_numpy(uniform(f"rounding.{draw}.{next(count)}", tuple(y.shape)))
            return y + ROUNDING * 3 ** 0.5 * y.detach().square().mean().sqrt() * noise

        net.rounding = disturbed
        differences.append(np.abs(run() - history))
    net.rounding = lambda y: y
    return np.max(differences, axis=0)


def numpy_of(prefix, tensors, dtype=np.float64):
    return {f"{prefix}.{name}": t.detach().numpy().astype(dtype) for name, t in tensors.items()}


def summary(prefix, tensors):
    """Euclidean norm and plain sum of every tensor."""
    out = {}
    for name, t in tensors.items():
        out[f"{prefix}_norm.{name}"] = np.array(t.detach().norm().item())
        out[f"{prefix}_sum.{name}"] = np.array(t.detach().sum().item())
    return out


def heads(prefix, tensors, count=8):
    """The first elements in row-major order, to locate an error that a norm only reveals."""
    return {f"{prefix}_head.{name}": t.detach().flatten()[:count].numpy() for name, t in tensors.items()}


def record(specs, logits_fn, loss_of_logits, make_optimizer, data, detail):
    """All references of one network.

    logits_fn(params, dtype) may keep state (running statistics): it is called once per evaluation, and
    a fresh one is made by the caller for each run. detail(prefix, tensors) picks what is stored.
    """
    def loss_fn(dtype):
        forward = logits_fn(dtype)
        return lambda params: loss_of_logits(forward(params))

    f64, f32 = torch.float64, torch.float32
    params, v = initial(specs, f64), probe(specs, f64)
    logits = logits_fn(f64)(params)
    loss = loss_of_logits(logits)
    out = dict(data)
    out.update({f"init.{name}": np.array([s.offset, s.scale]) for name, s in specs.items()})
    out.update(logits=logits.detach().numpy(), loss=np.array(loss.item()),
               loss_f32=np.array(loss_fn(f32)(initial(specs, f32)).item(), np.float32))
    out.update(detail("grad", gradients(loss, params)))
    product = hvp(loss_fn(f64)(params), params, v)
    out.update(detail("hvp", product))
    out["vhv"] = np.array(sum((v[name] * product[name]).sum().item() for name in specs))
    history, trained = losses(specs, f64, loss_fn(f64), make_optimizer)
    history32, _ = losses(specs, f32, loss_fn(f32), make_optimizer)
    out.update(losses=history, losses_f32=history32.astype(np.float32))
    out.update(summary("final", trained))
    return out, trained


def everything(prefix, tensors):
    return numpy_of(prefix, tensors) | summary(prefix, tensors)


def mlp():
    x, labels = uniform("x", (8, 5), 2.0), integers("labels", (8,), 3)
    specs = networks.mlp_specs()
    forward = lambda dtype: lambda p: networks.mlp(p, torch.tensor(x, dtype=dtype))
    out, _ = record(specs, forward, lambda y: F.cross_entropy(y, torch.from_numpy(labels)),
                    lambda p: torch.optim.Adam(p, lr=1e-2),
                    {"x": x.astype(np.float32), "labels": labels}, everything)
    params, v = initial(specs, torch.float64), probe(specs, torch.float64)
    out.update(numpy_of("param", params, np.float32))
    out.update(numpy_of("v", v, np.float32))
    out.update(everything("ggnvp", ggnvp(forward(torch.float64), params, v)))
    return out


def small_graph(nodes=17, tries=40):
    """Undirected simple edges, sorted, u < v; the last node stays isolated."""
    ends = integers("edges", (tries, 2), nodes - 1)
    pairs = {(min(u, v), max(u, v)) for u, v in ends.tolist() if u != v}
    return np.array(sorted(pairs), np.int32).T


def normalised(edges, nodes):
    """D^-1/2 (A + I) D^-1/2, dense."""
    a = np.eye(nodes)
    a[edges[0], edges[1]] = a[edges[1], edges[0]] = 1
    d = 1 / np.sqrt(a.sum(1))
    return d[:, None] * a * d[None, :]


def csr(dense):
    rows, cols = np.nonzero(dense)
    row_ptr = np.searchsorted(rows, np.arange(dense.shape[0] + 1)).astype(np.int32)
    return row_ptr, cols.astype(np.int32), dense[rows, cols]


def gcn():
    nodes = 17
    edges = small_graph(nodes)
    dense = normalised(edges, nodes)
    row_ptr, col, values = csr(dense)
    x, labels = uniform("x", (nodes, 6)), integers("labels", (nodes,), 3)
    mask = integers("mask", (nodes,), 2) == 0
    specs = networks.gcn_specs()

    def forward(dtype):
        features, adjacency = torch.tensor(x, dtype=dtype), torch.tensor(dense, dtype=dtype)
        return lambda p: networks.gcn(p, adjacency, features)

    chosen, target = torch.from_numpy(mask), torch.from_numpy(labels)
    out, _ = record(specs, forward, lambda y: F.cross_entropy(y[chosen], target[chosen]),
                    lambda p: torch.optim.Adam(p, lr=1e-2, weight_decay=5e-4),
                    {"edges": edges, "row_ptr": row_ptr, "col": col, "values": values,
                     "x": x.astype(np.float32), "labels": labels, "mask": mask}, everything)
    out.update(numpy_of("param", initial(specs, torch.float64), np.float32))
    return out


def resnet(net, batch, size, detail):
    x, labels = uniform("x", (batch, 3, size, size), 2.0), integers("labels", (batch,), net.classes)
    latest = {}

    def forward(dtype):
        buffers = net.buffers(dtype)
        if dtype == torch.float64:
            latest["buffers"] = buffers  # of the most recent run: the ten float64 steps come last
        return lambda p: net(p, buffers, torch.tensor(x, dtype=dtype))

    def loss_of(logits):
        return F.cross_entropy(logits, torch.from_numpy(labels))

    def optimizer(params):
        return torch.optim.SGD(params, lr=0.02, momentum=0.9, weight_decay=1e-4, nesterov=True)

    def run():
        logits = forward(torch.float64)
        return losses(net.specs(), torch.float64, lambda p: loss_of(logits(p)), optimizer)[0]

    out, trained = record(net.specs(), forward, loss_of, optimizer,
                          {"x": x.astype(np.float32), "labels": labels}, detail)
    buffers = latest["buffers"]
    out.update(numpy_of("buffer_final", buffers))
    evaluated = net(trained, buffers, torch.from_numpy(x), training=False)
    out["logits_eval_final"] = evaluated.detach().numpy()
    out["losses_spread"] = spread(net, out["losses"], run)
    return out


def tiny_resnet():
    out = resnet(networks.TINY_RESNET, 4, 8, everything)
    params = initial(networks.TINY_RESNET.specs(), torch.float64)
    out.update(numpy_of("param", params, np.float32))
    return out


RESNET20_WHOLE = ("conv1.weight", "bn1.weight", "bn1.bias", "layer2.0.bn1.weight", "fc.weight", "fc.bias")


def resnet20():
    def detail(prefix, tensors):
        whole = {name: tensors[name] for name in RESNET20_WHOLE}
        return numpy_of(prefix, whole) | summary(prefix, tensors) | heads(prefix, tensors)

    return resnet(networks.RESNET20, 8, 16, detail)


def vit():
    size = networks.VIT["image"]
    x, labels = uniform("x", (4, 3, size, size)), integers("labels", (4,), networks.VIT["classes"])

    def detail(prefix, tensors):
        stored = numpy_of(prefix, tensors, np.float32) if prefix == "grad" else heads(prefix, tensors)
        return stored | summary(prefix, tensors)

    forward = lambda dtype: lambda p: networks.vit(p, torch.tensor(x, dtype=dtype))
    out, _ = record(networks.vit_specs(), forward,
                    lambda y: F.cross_entropy(y, torch.from_numpy(labels), label_smoothing=0.1),
                    lambda p: torch.optim.AdamW(p, lr=1e-3, weight_decay=0.05),
                    {"x": x.astype(np.float32), "labels": labels}, detail)
    return out
