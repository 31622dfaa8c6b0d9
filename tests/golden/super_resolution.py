"""Networks for super-resolution of one channel with PyTorch's own modules: values, loss and gradients."""

import numpy as np
import torch
from torch import nn
import torch.nn.functional as F

from values import uniform

SIZE, SCALE = 6, 2


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
    def __init__(self, n, channels, m, block):
        super().__init__()
        self.block1, self.blocks = ResBlock(n, channels), nn.Sequential(block)
        self.blockn = ResBlock(channels, m, last=True)

    def forward(self, x):
        return self.blockn(self.blocks(self.block1(x)))


class SubPixel(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, SCALE * SCALE, 3, padding=1)

    def forward(self, x):
        return F.pixel_shuffle(self.conv(x), SCALE)


# ---- bodies


def conv_body(channels, blocks=2):
    conv = lambda: nn.Conv2d(channels, channels, 3, padding=1)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(conv(), nn.ReLU(), conv())

        def forward(self, x):
            return x + self.body(x)

    return nn.Sequential(*(Block() for _ in range(blocks)), conv())


class LowRankAttention(nn.MultiheadAttention):
    """With low-rank updates of the projections to queries and values."""

    def __init__(self, width, heads, rank):
        super().__init__(width, heads, bias=False, batch_first=True)
        self.lora = nn.Module()
        for of in "qv":
            setattr(self.lora, f"w_A_{of}", nn.Linear(width, rank, bias=False))
            setattr(self.lora, f"w_B_{of}", nn.Linear(rank, width, bias=False))

    def forward(self, query, key, value):
        wq, wk, wv = self.in_proj_weight.chunk(3)
        wq = wq + self.lora.w_B_q.weight @ self.lora.w_A_q.weight
        wv = wv + self.lora.w_B_v.weight @ self.lora.w_A_v.weight
        heads = lambda x: x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        y = F.scaled_dot_product_attention(heads(query @ wq.T), heads(key @ wk.T), heads(value @ wv.T))
        return self.out_proj(y.transpose(1, 2).flatten(-2)), None


def attention(width, heads, rank):
    if rank:
        return LowRankAttention(width, heads, rank)
    return nn.MultiheadAttention(width, heads, bias=False, batch_first=True)


class TransformerLayer(nn.Module):
    def __init__(self, width, heads, hidden, rank, decoder):
        super().__init__()
        self.self_attn = attention(width, heads, rank)
        if decoder:
            self.multihead_attn, self.norm3 = attention(width, heads, rank), nn.LayerNorm(width)
        self.linear1, self.linear2 = nn.Linear(width, hidden), nn.Linear(hidden, width)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, t, memory=None, query=0):
        n = self.norm1(t)
        t = t + self.self_attn(n + query, n + query, n)[0]
        norm = self.norm2
        if memory is not None:
            t = t + self.multihead_attn(self.norm2(t) + query, memory, memory)[0]
            norm = self.norm3
        return t + self.linear2(F.relu(self.linear1(norm(t))))


class TransformerBody(nn.Module):
    PATCH, HEADS, LAYERS, RATIO = 3, 3, 2, 2

    def __init__(self, channels, rank=0):
        super().__init__()
        width, tokens = channels * self.PATCH**2, (SIZE // self.PATCH) ** 2
        hidden = self.RATIO * width
        layers = lambda decoder: nn.ModuleList(
            [TransformerLayer(width, self.HEADS, hidden, rank, decoder) for _ in range(self.LAYERS)])
        self.linear_encoding = nn.Linear(width, width)
        self.mlp_head = nn.Sequential(nn.Linear(width, hidden), nn.Dropout(0.0), nn.ReLU(), nn.Linear(hidden, width))
        self.query_embed = nn.Embedding(1, tokens * width)
        self.encoder, self.decoder, self.position_encoding = nn.Module(), nn.Module(), nn.Module()
        self.encoder.layers, self.decoder.layers = layers(False), layers(True)
        self.position_encoding.pe = nn.Embedding(tokens, width)

    def forward(self, x):
        t = F.unfold(x, self.PATCH, stride=self.PATCH).transpose(1, 2)
        t = t + self.linear_encoding(t) + self.position_encoding.pe.weight
        for layer in self.encoder.layers:
            t = layer(t)
        memory, query = t, self.query_embed.weight[0].reshape(t.shape[1:])
        for layer in self.decoder.layers:
            t = layer(t, memory, query)
        t = t + self.mlp_head(t)
        return F.fold(t.transpose(1, 2), (SIZE, SIZE), self.PATCH, stride=self.PATCH)


class WindowAttention(nn.Module):
    """Pixel by pixel: who sees whom, and which entry of the table is added, follow from coordinates."""

    def __init__(self, width, window, heads):
        super().__init__()
        self.window, self.heads = window, heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x, shift):
        n, h, w, width = x.shape
        m, y = self.window, torch.empty_like(x)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in self.qkv(x).chunk(3, -1))
        for top in range(0, h, m):
            for left in range(0, w, m):
                places = [((top + i + shift) % h, (left + j + shift) % w) for i in range(m) for j in range(m)]
                for i, (r, c) in enumerate(places):
                    seen = [j for j, (s, d) in enumerate(places) if abs(r - s) < m and abs(c - d) < m]
                    rows, columns = zip(*(places[j] for j in seen))
                    offsets = [(i // m - j // m + m - 1) * (2 * m - 1) + i % m - j % m + m - 1 for j in seen]
                    scores = torch.einsum("nhd,nkhd->nkh", q[:, r, c], k[:, rows, columns]) / q.shape[-1] ** 0.5
                    shares = torch.softmax(scores + self.relative_position_bias_table[offsets], 1)
                    y[:, r, c] = torch.einsum("nkh,nkhd->nhd", shares, v[:, rows, columns]).flatten(1)
        return self.proj(y)


class SwinBlock(nn.Module):
    def __init__(self, width, window, shift, heads, hidden):
        super().__init__()
        self.shift, self.mlp = shift, nn.Module()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attn = WindowAttention(width, window, heads)
        self.mlp.fc1, self.mlp.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x):
        x = x + self.attn(self.norm1(x), self.shift)
        return x + self.mlp.fc2(F.gelu(self.mlp.fc1(self.norm2(x))))


class SwinBody(nn.Module):
    WINDOW, GROUPS, DEPTH, HEADS, RATIO = 3, 2, 2, 2, 2

    def __init__(self, channels):
        super().__init__()
        self.patch_embed, self.layers = nn.Module(), nn.ModuleList()
        self.patch_embed.norm, self.norm = nn.LayerNorm(channels), nn.LayerNorm(channels)
        for _ in range(self.GROUPS):
            group = nn.Module()
            group.residual_group, group.conv = nn.Module(), nn.Conv2d(channels, channels, 3, padding=1)
            group.residual_group.blocks = nn.Sequential(*(
                SwinBlock(channels, self.WINDOW, self.WINDOW // 2 * (i % 2), self.HEADS, self.RATIO * channels)
                for i in range(self.DEPTH)))
            self.layers.append(group)
        self.conv_after_body = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x):
        last, first = lambda y: y.permute(0, 2, 3, 1), lambda y: y.permute(0, 3, 1, 2)
        y = self.patch_embed.norm(last(x))
        for group in self.layers:
            y = y + last(group.conv(first(group.residual_group.blocks(y))))
        return self.conv_after_body(first(self.norm(y)))


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
    def __init__(self, channels, body, plain=False):
        super().__init__()
        self.plain, self.body = plain, body
        if plain:
            self.head, self.tail = nn.Conv2d(1, channels, 3, padding=1), SubPixel(channels)
        else:
            self.head = Stack(1, channels, channels, ResBlock(channels, channels))
            self.tail = Stack(channels, channels, 1, UpBlock(channels))

    def forward(self, x):
        z = self.head(x)
        y = self.tail(z + self.body(z))
        if not self.plain:
            return y
        up = imresize_matrix(SIZE, SCALE * SIZE)
        return y + up @ x @ up.T


NETWORKS = {
    "conv": lambda: Network(4, conv_body(4)),
    "conv_plain": lambda: Network(4, conv_body(4), plain=True),
    "transformer": lambda: Network(2, TransformerBody(2)),
    "low_rank": lambda: Network(2, TransformerBody(2, rank=2)),
    "swin": lambda: Network(4, SwinBody(4), plain=True),
}


def start_of(name, shape):
    """(offset, scale) of a parameter's first values."""
    if "norm" in name:
        return (1.0, 0.25) if name.endswith("weight") else (0.0, 0.125)
    if len(shape) == 1:
        return 0.0, 0.125
    if "embed" in name or "position_encoding" in name or "table" in name:
        return 0.0, 0.5
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
            if name != "low_rank" or "lora" in path:
                out[f"{name}.grad.{path}"] = p.grad.numpy().astype(np.float32)
    return out


# ---- checkpoints as other programs write them, with the bodies of the above


def state_of(name, prefix):
    network = NETWORKS[name]()
    initialize(network)
    return {prefix + path: p.detach().numpy() for path, p in network.body.named_parameters()}


def ipt():
    """Two tasks, of which the first is the network's; a head and a tail of its own."""
    state = state_of("transformer", "body.")
    query = state["body.query_embed.weight"]
    state["body.query_embed.weight"] = np.concatenate([query, query + 1])
    state["body.position_encoding.position_ids"] = np.arange(query.size // 18)[None]
    return state | {"sub_mean.bias": np.zeros(3, np.float32), "head.0.0.weight": np.ones((2, 3, 3, 3), np.float32)}


def swinir():
    """With the buffers of a training on 6 x 6 pixels, and a first and a last convolution of its own."""
    state, m = state_of("swin", ""), SwinBody.WINDOW
    pixel = np.arange(m * m)
    offset = lambda of: of[:, None] - of[None] + m - 1
    for layer in range(SwinBody.GROUPS):
        for block in range(SwinBody.DEPTH):
            prefix = f"layers.{layer}.residual_group.blocks.{block}"
            index = offset(pixel // m) * (2 * m - 1) + offset(pixel % m)
            state[f"{prefix}.attn.relative_position_index"] = index
            if block % 2:
                state[f"{prefix}.attn_mask"] = np.zeros((4, m * m, m * m), np.float32)
    for outside in ("conv_first", "conv_before_upsample.0", "upsample.0", "conv_last"):
        state[f"{outside}.weight"] = np.ones((1, 1, 3, 3), np.float32)
    return state
