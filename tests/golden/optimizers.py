"""Five steps of every optimizer on one vector, with given gradients."""

import numpy as np
import torch

from values import uniform

STEPS, SIZE = 5, 7

CASES = {
    "sgd": (torch.optim.SGD, {"lr": 0.1}),
    "sgd_decay": (torch.optim.SGD, {"lr": 0.1, "weight_decay": 0.05}),
    "momentum": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "momentum_dampening": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "dampening": 0.1}),
    "momentum_decay": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.05}),
    "nesterov": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
    "nesterov_decay": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "nesterov": True,
                                         "weight_decay": 0.05}),
    "adam": (torch.optim.Adam, {"lr": 0.01}),
    "adam_decay": (torch.optim.Adam, {"lr": 0.01, "weight_decay": 0.05}),
    "adam_betas": (torch.optim.Adam, {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-6}),
    "adamw": (torch.optim.AdamW, {"lr": 0.01, "weight_decay": 0.05}),
}


def trajectory(optimizer_class, options, start, grads):
    p = torch.from_numpy(start.copy()).requires_grad_()
    optimizer = optimizer_class([p], **options)
    rows = []
    for g in grads:
        p.grad = torch.from_numpy(g.copy())
        optimizer.step()
        rows.append(p.detach().numpy().copy())
    return np.stack(rows)


def tensors():
    start = uniform("start", (SIZE,))
    grads = uniform("grads", (STEPS, SIZE))
    grads[:, -1] = 0.0  # a parameter that gets no gradient: only decay moves it
    out = {"start": start.astype(np.float32), "grads": grads.astype(np.float32)}
    for name, (optimizer_class, options) in CASES.items():
        out[f"{name}.params"] = trajectory(optimizer_class, options, start, grads)
    return out
