"""PyTorch: separation training of an autoencoder on an image, as bench/algorithms/bigset_bench.cpp measures it.

300 steps on all pixels, a mask of the 1 % largest residuals after every 50. Variants: `conv2d` forms the Laplacian of
a Gaussian of the whole image, as the authors' code does; `gathered` at masked pixels only.
"""

import torch
import torch.nn.functional as F

import graphs
from common import arguments
from torch_common import report

ROWS, COLUMNS, BANDS = 100, 100, 205
PERIODS, EPOCHS, SHARE, LAMBDA = 6, 50, 0.01, 1e-3
KERNEL = torch.tensor([[-2., -4, -4, -4, -2], [-4, 0, 8, 0, -4], [-4, 8, 24, 8, -4], [-4, 0, 8, 0, -4],
                       [-2, -4, -4, -4, -2]])


def network():
    widths = [BANDS, 64, 16, 64, BANDS]
    layers = []
    for a, b in zip(widths, widths[1:]):
        layers += [torch.nn.Linear(a, b), torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def taps():
    """Numbers of the pixels under the kernel's 21 entries about every pixel [pixels, 21], and the entries."""
    numbers = torch.arange(ROWS * COLUMNS, dtype=torch.float32).reshape(1, 1, ROWS, COLUMNS)
    near = F.unfold(F.pad(numbers, (2, 2, 2, 2), mode="reflect"), 5)[0].T.long()
    used = KERNEL.flatten() != 0
    return near[:, used], KERNEL.flatten()[used]


def roughness(y, masked, near, entries, variant):
    """Squares of the Laplacian at masked pixels, added up."""
    if variant == "gathered":
        return torch.einsum("ptb,t->pb", y[near[masked]], entries).square().sum()
    image = F.pad(y.T.reshape(1, BANDS, ROWS, COLUMNS), (2, 2, 2, 2), mode="reflect")
    laplacian = F.conv2d(image, KERNEL.repeat(BANDS, 1, 1, 1), groups=BANDS).reshape(BANDS, -1).T
    return laplacian[masked].square().sum()


def train(x, near, entries, variant):
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    background, masked = torch.ones(len(x), dtype=torch.bool), torch.empty(0, dtype=torch.long)
    for _ in range(PERIODS):
        weight = background.to(x.dtype).unsqueeze(1)
        for _ in range(EPOCHS):
            optimizer.zero_grad()
            y = model(x)
            loss = ((x - y) * weight).square().sum() / weight.sum()
            if len(masked):
                loss = loss + LAMBDA * roughness(y, masked, near, entries, variant) / (len(masked) + 1e-6)
            (loss / BANDS).backward()
            optimizer.step()
        with torch.no_grad():
            residuals = (x - model(x)).square().sum(1)
        masked = residuals.topk(int(SHARE * len(x))).indices
        background = torch.ones(len(x), dtype=torch.bool)
        background[masked] = False
    return loss.item() / BANDS


def main():
    args = arguments(__doc__)
    out = report(args)
    x = torch.from_numpy(graphs.values(1, ROWS * COLUMNS * BANDS)).reshape(-1, BANDS)
    x = (x - x.mean(0)) / x.std(0, correction=0)
    near, entries = taps()
    for variant in ("conv2d", "gathered"):
        out.add("bigset/separation", f"{ROWS}x{COLUMNS}x{BANDS}",
                lambda variant=variant: train(x, near, entries, variant), variant=variant)
    out.save()


if __name__ == "__main__":
    main()
