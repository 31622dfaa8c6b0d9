"""Separation training of an autoencoder on a small image: losses of every step and residuals after every
period, without a mask, with that of the largest residuals and with a soft one (BiGSeT, MSNet)."""

import numpy as np
import torch
import torch.nn.functional as F

from values import uniform

ROWS, COLUMNS, WIDTHS = 9, 8, [6, 5, 3, 5, 6]
PERIODS, EPOCHS, LEARNING_RATE, LAMBDA, SHARE = 3, 15, 0.01, 1e-3, 0.1
KERNEL = torch.tensor([[-2, -4, -4, -4, -2], [-4, 0, 8, 0, -4], [-4, 8, 24, 8, -4], [-4, 0, 8, 0, -4],
                       [-2, -4, -4, -4, -2]], dtype=torch.float64)


def next_mask(residuals, kind):
    mask = torch.zeros_like(residuals)
    if kind == "binary":
        mask[torch.argsort(residuals, descending=True, stable=True)[:int(SHARE * len(mask))]] = 1
    elif kind == "soft":
        mask = (residuals - residuals.min()) / (residuals.max() - residuals.min())
    return mask


def train(x, initial, kind):
    parameters = [torch.tensor(p, dtype=torch.float64, requires_grad=True) for p in initial.values()]
    optimizer = torch.optim.Adam(parameters, LEARNING_RATE)

    def model():
        y = x
        for weight, bias in zip(parameters[::2], parameters[1::2]):
            y = F.linear(F.relu(y) if y is not x else y, weight, bias)
        return y

    losses, residuals, mask = [], [], torch.zeros(len(x), dtype=torch.float64)
    for _ in range(PERIODS):
        n1 = mask.sum()
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            y = model()
            image = F.pad(y.T.reshape(-1, 1, ROWS, COLUMNS), (2, 2, 2, 2), mode="reflect")
            laplacian = F.conv2d(image, KERNEL[None, None]).reshape(len(y.T), -1)
            likeness = ((1 - mask)[:, None] * (x - y)).square().sum() / (len(x) - n1)
            smoothness = (mask * laplacian).square().sum() / (n1 + 1e-6)
            loss = (likeness + LAMBDA * smoothness) / x.shape[1]
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        residuals.append((x - model()).square().sum(1).detach())
        mask = next_mask(residuals[-1], kind)
    return np.array(losses), torch.stack(residuals).numpy()


def tensors():
    out = {"x": uniform("x", (ROWS * COLUMNS, WIDTHS[0])).astype(np.float32)}
    for i, (a, b) in enumerate(zip(WIDTHS, WIDTHS[1:])):
        out[f"init.net.layers.{i}.weight"] = uniform(f"weight{i}", (b, a)).astype(np.float32)
        out[f"init.net.layers.{i}.bias"] = uniform(f"bias{i}", (b,)).astype(np.float32)
    initial = {k: v for k, v in out.items() if k.startswith("init.")}
    x = torch.tensor(out["x"], dtype=torch.float64)
    for kind in ("none", "binary", "soft"):
        out[f"loss.{kind}"], out[f"residuals.{kind}"] = train(x, initial, kind)
    return out
