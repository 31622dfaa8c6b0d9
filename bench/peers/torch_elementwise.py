"""PyTorch: add, gelu, cast and fused Adam on 16 Mi floats."""

import torch
import torch.nn.functional as F

from common import arguments
from torch_common import report

N = 1 << 24


def main():
    args = arguments(__doc__)
    out = report(args)
    case = str(N)
    fresh = {"variant": "allocating", "notes": "new pages for every result"}
    a, b, c = torch.randn(N), torch.randn(N), torch.empty(N)
    out.add("memory/copy", case, lambda: c.copy_(a))
    out.add("elementwise/add", case, lambda: torch.add(a, b, out=c))
    out.add("elementwise/add", case, lambda: a + b, **fresh)
    out.add("elementwise/gelu", case, lambda: torch.ops.aten.gelu.out(a, out=c))
    out.add("elementwise/gelu", case, lambda: F.gelu(a), **fresh)
    for name, dtype in (("f16", torch.float16), ("bf16", torch.bfloat16)):
        half = torch.empty(N, dtype=dtype)
        out.add("elementwise/cast", case, lambda: half.copy_(a), dtype=f"f32->{name}")
        out.add("elementwise/cast", case, lambda: a.to(dtype), dtype=f"f32->{name}", **fresh)
    p = torch.nn.Parameter(a.clone())
    p.grad = b
    optimizer = torch.optim.Adam([p], lr=1e-3, fused=True)
    out.add("optimizer/adam", case, optimizer.step, notes="fused=True")
    out.save()


if __name__ == "__main__":
    main()
