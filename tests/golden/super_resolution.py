"""Networks for super-resolution of one channel with PyTorch's own modules: values, loss and gradients."""

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from values import uniform

CHANNELS, SIZE, SCALE = 4, 6, 2


# ---- ends: residual blocks with instance norm, or one convolution each


class ResBlock(nn.Module):
    def __init__(self, n, m, last=False):
        super().__init__()
        norm = lambda: nn.Identity() if last else nn.InstanceNorm2d(m, affine=True)
        self.conv1, self.norm1 = nn.Conv2d(n, m, 3, padding=1), norm()
        self.conv2, self.norm2 = nn.Conv2d(m, m, 3, padding=1), norm()
        self.last, self.match = last, n != m
        if self.match:
            self.match_conv, self.match_norm = nn.Conv2d(n, m, 1), norm()

    def forward(self, x):
        shortcut = self.match_norm(self.match_conv(x)) if self.match else x
        y = self.norm2(self.conv2(F.relu(self.norm1(self.conv1(x))))) + shortcut
        return y if self.last else F.relu(y)


class UpBlock(nn.Module):
    def __init__(self, n):
        super().__init__()
        self.up, self.res = nn.Module(), ResBlock(n, n)
        self.up.conv, self.up.norm = nn.Conv2d(n, 4 * n, 3, padding=1), nn.InstanceNorm2d(n, affine=True)

    def forward(self, x):
        return self.res(F.relu(self.up.norm(F.pixel_shuffle(self.up.conv(x), 2))))


class Stack(nn.Module):
    def __init__(self, n, m, blocks):
        super().__init__()
        self.block1, self.blocks, self.blockn = ResBlock(n, CHANNELS), blocks, ResBlock(CHANNELS, m, last=True)

    def forward(self, x):
        return self.blockn(self.blocks(self.block1(x)))


class SubPixel(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(CHANNELS, SCALE * SCALE, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.conv(x), SCALE)


# ---- bodies


def conv_body():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            conv = lambda: nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)
            self.body = nn.Sequential(conv(), nn.ReLU(), conv())

        def forward(self, x):
            return x + self.body(x)

    return nn.Sequential(Block(), Block(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1))


# ---- networks


def imresize_matrix(n, m):
    """[m, n]: MATLAB's bicubic interpolation of n points to m >= n."""
    matrix = np.zeros((m, n))
    for i in range(m):
        at = (i + 0.5) * n / m - 0.5
        for j in range(int(np.floor(at)) - 1, int(np.floor(at)) + 3):
            d = abs(at - j)
            weight = 1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2
            k = j % (2 * n)
            matrix[i, k if k < n else 2 * n - 1 - k] += weight
    return torch.tensor(matrix / matrix.sum(1, keepdims=True))


class Network(nn.Module):
    def __init__(self, body, plain=False):
        super().__init__()
        self.plain, self.body = plain, body
        if plain:
            self.head, self.tail = nn.Conv2d(1, CHANNELS, 3, padding=1), SubPixel()
        else:
            self.head = Stack(1, CHANNELS, nn.Sequential(ResBlock(CHANNELS, CHANNELS)))
            self.tail = Stack(CHANNELS, 1, nn.Sequential(UpBlock(CHANNELS)))

    def forward(self, x):
        z = self.head(x)
        y = self.tail(z + self.body(z))
        if not self.plain:
            return y
        up = imresize_matrix(SIZE, SCALE * SIZE)
        return y + up @ x @ up.T


NETWORKS = {
    "conv": lambda: Network(conv_body()),
    "conv_plain": lambda: Network(conv_body(), plain=True),
}


def start_of(name, shape):
    """(offset, scale) of a parameter's first values."""
    if "norm" in name:
        return (1.0, 0.25) if name.endswith("weight") else (0.0, 0.125)
    if len(shape) == 1:
        return 0.0, 0.125
    fan_in = int(np.prod(shape[1:]))
    return 0.0, 2.0 ** round(np.log2((3 / fan_in) ** 0.5))


def initialize(network):
    """Values of the formula by the parameters' names; their (offset, scale)."""
    starts = {}
    with torch.no_grad():
        for name, p in network.named_parameters():
            starts[name] = start_of(name, p.shape)
            p.copy_(torch.tensor(uniform(name, tuple(p.shape), starts[name][1], starts[name][0])))
    return starts


def tensors():
    x = uniform("x", (2, 1, SIZE, SIZE))
    target = uniform("target", (2, 1, SCALE * SIZE, SCALE * SIZE))
    out = {"x": x.astype(np.float32), "target": target.astype(np.float32)}
    for name, make in NETWORKS.items():
        network = make().double()
        starts = initialize(network)
        y = network(torch.tensor(x))
        loss = F.l1_loss(y, torch.tensor(target))
        loss.backward()
        out[f"{name}.y"], out[f"{name}.loss"] = y.detach().numpy(), np.array(loss.item())
        for path, p in network.named_parameters():
            out[f"{name}.init.{path}"] = np.array(starts[path])
            out[f"{name}.grad.{path}"] = p.grad.numpy().astype(np.float32)
    return out
