"""PyTorch: training steps of networks that enlarge 16 images of 24 x 24 pixels by two."""

import pathlib
import sys

import torch
import torch.nn.functional as F

from common import arguments
from torch_common import peak_bytes, report

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/golden"))
import super_resolution as reference  # noqa: E402

BATCH, SIDE = 16, 24


def train_step(model):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    x, target = torch.randn(BATCH, 1, SIDE, SIDE), torch.randn(BATCH, 1, 2 * SIDE, 2 * SIDE)

    def step():
        optimizer.zero_grad()
        F.l1_loss(model(x), target).backward()
        optimizer.step()
    return step


class Plain(reference.Network):
    """The bicubic skip by PyTorch's own interpolation."""

    def forward(self, x):
        z = self.head(x)
        return self.tail(z + self.body(z)) + F.interpolate(x, scale_factor=2, mode="bicubic")


def main():
    args = arguments(__doc__)
    out = report(args)
    reference.SIZE, body = SIDE, reference.TransformerBody
    body.HEADS, body.LAYERS, body.RATIO = 12, 2, 4
    for name, model in {
        "sr_plain": Plain(32, reference.conv_body(32, 4), plain=True),
        "sr_residual": reference.Network(64, reference.conv_body(64, 4)),
        "sr_transformer": Plain(16, body(16), plain=True),
    }.items():
        for variant, layout in {"": torch.contiguous_format, "channels_last": torch.channels_last}.items():
            out.add(f"train/{name}_step", f"{BATCH}x{SIDE}x{SIDE}",
                    train_step(model.to(memory_format=layout)), variant=variant, peak=peak_bytes, notes="Adam 1e-3, L1")
    out.save()


if __name__ == "__main__":
    main()
