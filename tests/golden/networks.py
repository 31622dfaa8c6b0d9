"""The reference networks as pure functions of a dictionary {dotted name: tensor}.

Pure functions keep the names and layouts in one visible place; buffers (running statistics) live in a
second dictionary that training mode updates.
"""

import torch
import torch.nn.functional as F


class Spec:
    """Shape and initial distribution of one parameter: offset + scale * u."""

    def __init__(self, shape, scale, offset=0.0):
        self.shape, self.scale, self.offset = shape, scale, offset


def weight(shape, fan_in, gain=6.0):
    """Uniform with bound near sqrt(gain / fan_in), rounded to a power of two so that float32 is exact."""
    bound = torch.tensor(gain / fan_in).sqrt().log2().round()
    return Spec(shape, 2.0 ** bound.item())


def bias(n):
    return Spec((n,), 0.125)


def norm_weight(n):
    return Spec((n,), 0.25, 1.0)


# ---- multilayer perceptron: y = gelu(x W0' + b0) ... W2' + b2, weights [out, in]

MLP_SIZES = (5, 7, 6, 3)


def mlp_specs():
    specs = {}
    for i, (n, m) in enumerate(zip(MLP_SIZES, MLP_SIZES[1:])):
        specs[f"layers.{i}.weight"], specs[f"layers.{i}.bias"] = weight((m, n), n), bias(m)
    return specs


def mlp(p, x):
    last = len(MLP_SIZES) - 2
    for i in range(last + 1):
        x = F.linear(x, p[f"layers.{i}.weight"], p[f"layers.{i}.bias"])
        x = F.gelu(x) if i < last else x
    return x


# ---- graph convolutional network: A_hat relu(A_hat X W0 + b0) W1 + b1, weights [in, out]

GCN_SIZES = (6, 8, 3)


def gcn_specs():
    specs = {}
    for i, (n, m) in enumerate(zip(GCN_SIZES, GCN_SIZES[1:])):
        specs[f"layers.{i}.weight"], specs[f"layers.{i}.bias"] = weight((n, m), n), bias(m)
    return specs


def gcn(p, adjacency, x):
    h = adjacency @ (x @ p["layers.0.weight"]) + p["layers.0.bias"]
    return adjacency @ (torch.relu(h) @ p["layers.1.weight"]) + p["layers.1.bias"]


# ---- residual network of the CIFAR family (He et al. 2015), shortcut option A, no projection

class ResNet:
    def __init__(self, widths, blocks, classes=10):
        self.widths, self.blocks, self.classes = widths, blocks, classes
        self.rounding = lambda y: y  # what becomes of a convolution's result

    def block_list(self):
        """(prefix, channels in, channels out, stride) of every block."""
        channels = self.widths[0]
        for stage, width in enumerate(self.widths):
            for block in range(self.blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                yield f"layer{stage + 1}.{block}", channels, width, stride
                channels = width

    def norms(self):
        """(prefix, channels) of every batch norm."""
        yield "bn1", self.widths[0]
        for prefix, _, width, _ in self.block_list():
            yield f"{prefix}.bn1", width
            yield f"{prefix}.bn2", width

    def specs(self):
        conv = lambda m, n: weight((m, n, 3, 3), 9 * n)
        specs = {"conv1.weight": conv(self.widths[0], 3)}
        for prefix, n, m, _ in self.block_list():
            specs[f"{prefix}.conv1.weight"] = conv(m, n)
            specs[f"{prefix}.conv2.weight"] = conv(m, m)
        for prefix, width in self.norms():
            specs[f"{prefix}.weight"], specs[f"{prefix}.bias"] = norm_weight(width), bias(width)
        width = self.widths[-1]
        specs["fc.weight"] = weight((self.classes, width), width, 3.0)
        specs["fc.bias"] = bias(self.classes)
        return specs

    def buffers(self, dtype):
        made = {}
        for prefix, width in self.norms():
            made[f"{prefix}.running_mean"] = torch.zeros(width, dtype=dtype)
            made[f"{prefix}.running_var"] = torch.ones(width, dtype=dtype)
        return made

    def __call__(self, p, buffers, x, training=True):
        def norm(prefix, x):
            return F.batch_norm(x, buffers[f"{prefix}.running_mean"], buffers[f"{prefix}.running_var"],
                                p[f"{prefix}.weight"], p[f"{prefix}.bias"], training, 0.1, 1e-5)

        def conv(name, x, stride=1):
            return self.rounding(F.conv2d(x, p[f"{name}.weight"], stride=stride, padding=1))

        x = torch.relu(norm("bn1", conv("conv1", x)))
        for prefix, n, m, stride in self.block_list():
            y = torch.relu(norm(f"{prefix}.bn1", conv(f"{prefix}.conv1", x, stride)))
            y = norm(f"{prefix}.bn2", conv(f"{prefix}.conv2", y))
            x = torch.relu(y + shortcut(x, n, m, stride))
        return F.linear(x.mean((2, 3)), p["fc.weight"], p["fc.bias"])


def shortcut(x, channels_in, channels_out, stride):
    """Option A: every stride-th pixel; the new channels are zeros, half before and half behind."""
    extra = channels_out - channels_in
    x = x[:, :, ::stride, ::stride]
    return F.pad(x, (0, 0, 0, 0, extra // 2, extra - extra // 2))


TINY_RESNET = ResNet((4, 8, 16), 1)
RESNET20 = ResNet((16, 32, 64), 3)


# ---- vision transformer, pre-norm, class token; names and layouts of timm

VIT = {"dim": 32, "depth": 2, "heads": 4, "patch": 4, "image": 16, "channels": 3, "mlp": 128,
       "classes": 5}


def vit_specs():
    d, hidden, patch = VIT["dim"], VIT["mlp"], VIT["patch"]
    tokens = (VIT["image"] // patch) ** 2 + 1
    fan = VIT["channels"] * patch * patch
    specs = {"cls_token": Spec((1, 1, d), 0.25), "pos_embed": Spec((1, tokens, d), 0.25),
             "patch_embed.proj.weight": weight((d, VIT["channels"], patch, patch), fan, 3.0),
             "patch_embed.proj.bias": bias(d)}
    for i in range(VIT["depth"]):
        b = f"blocks.{i}"
        for norm in ("norm1", "norm2"):
            specs[f"{b}.{norm}.weight"], specs[f"{b}.{norm}.bias"] = norm_weight(d), bias(d)
        for layer, n, m in (("attn.qkv", d, 3 * d), ("attn.proj", d, d), ("mlp.fc1", d, hidden),
                            ("mlp.fc2", hidden, d)):
            specs[f"{b}.{layer}.weight"] = weight((m, n), n, 3.0)
            specs[f"{b}.{layer}.bias"] = bias(m)
    specs["norm.weight"], specs["norm.bias"] = norm_weight(d), bias(d)
    specs["head.weight"] = weight((VIT["classes"], d), d, 3.0)
    specs["head.bias"] = bias(VIT["classes"])
    return specs


def vit(p, x):
    def norm(name, x):
        return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], 1e-6)

    def linear(name, x):
        return F.linear(x, p[f"{name}.weight"], p[f"{name}.bias"])

    def attention(name, x):
        batch, tokens, d = x.shape
        heads = VIT["heads"]
        qkv = linear(f"{name}.qkv", x).reshape(batch, tokens, 3, heads, d // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        weights = torch.softmax(q @ k.transpose(-1, -2) * (d // heads) ** -0.5, -1)
        return linear(f"{name}.proj", (weights @ v).transpose(1, 2).reshape(batch, tokens, d))

    x = F.conv2d(x, p["patch_embed.proj.weight"], p["patch_embed.proj.bias"], VIT["patch"])
    x = x.flatten(2).transpose(1, 2)
    x = torch.cat([p["cls_token"].expand(x.shape[0], -1, -1), x], 1) + p["pos_embed"]
    for i in range(VIT["depth"]):
        b = f"blocks.{i}"
        x = x + attention(f"{b}.attn", norm(f"{b}.norm1", x))
        x = x + linear(f"{b}.mlp.fc2", F.gelu(linear(f"{b}.mlp.fc1", norm(f"{b}.norm2", x))))
    return linear("head", norm("norm", x)[:, 0])
