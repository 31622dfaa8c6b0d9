"""PyTorch: softmax, layer norm and cross-entropy."""

import torch
import torch.nn.functional as F

from common import arguments
from torch_common import report


def forward_backward(fn, inputs, gy):
    """One differentiable call and its gradients in every input."""
    return lambda: torch.autograd.grad(fn(*inputs), inputs, gy)


def main():
    args = arguments(__doc__)
    out = report(args)
    rows, width = 4096, 1024
    case = f"{rows}x{width}"
    x, gy = torch.randn(rows, width), torch.randn(rows, width)
    weight, bias = torch.randn(width), torch.randn(width)
    softmax = lambda x: torch.softmax(x, -1)
    norm = lambda x, w, b: F.layer_norm(x, (width,), w, b)
    with torch.no_grad():
        out.add("rowwise/softmax", case, lambda: softmax(x))
        out.add("rowwise/layer_norm", case, lambda: norm(x, weight, bias))
    tracked = [t.clone().requires_grad_() for t in (x, weight, bias)]
    out.add("rowwise/softmax_fwd_bwd", case, forward_backward(softmax, tracked[:1], gy))
    out.add("rowwise/layer_norm_fwd_bwd", case, forward_backward(norm, tracked, gy))

    rows, classes = 2048, 8000
    logits = torch.randn(rows, classes, requires_grad=True)
    labels = torch.randint(classes, (rows,))
    loss = lambda x: F.cross_entropy(x, labels, label_smoothing=0.1)
    out.add("rowwise/cross_entropy_fwd_bwd", f"{rows}x{classes}",
            forward_backward(loss, [logits], torch.ones(())), notes="label smoothing 0.1, mean")
    out.save()


if __name__ == "__main__":
    main()
