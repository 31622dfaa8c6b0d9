"""PyTorch: convolution 3x3, 64 -> 64 channels, 32x32, batch 32."""

import torch
import torch.nn.functional as F

from common import arguments
from torch_common import report


def main():
    args = arguments(__doc__)
    out = report(args)
    case = "32x64x32x32->64"
    for variant, layout in (("", torch.contiguous_format), ("channels_last", torch.channels_last)):
        x = torch.randn(32, 64, 32, 32).to(memory_format=layout).requires_grad_()
        w = torch.randn(64, 64, 3, 3).to(memory_format=layout).requires_grad_()
        gy = torch.randn(32, 64, 32, 32).to(memory_format=layout)
        forward = lambda: F.conv2d(x, w, padding=1)
        with torch.no_grad():
            out.add("conv/3x3", case, forward, variant=variant)
        out.add("conv/3x3_fwd_bwd", case, lambda: torch.autograd.grad(forward(), (x, w), gy),
                variant=variant, notes="data and weight gradients")
    out.save()


if __name__ == "__main__":
    main()
