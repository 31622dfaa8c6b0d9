"""PyTorch on a GPU: the cases of bench/kernels/gpu_bench.cpp that it has, timed with events."""

import math
import statistics

import torch

import graphs
import torch_resnet
from common import arguments
from torch_common import report

DTYPES = {"f64": torch.float64, "f32": torch.float32, "f16": torch.float16, "bf16": torch.bfloat16}
CACHE_BYTES = 128e6  # operands rotate through twice the largest second-level cache


class Cases:
    def __init__(self, out, min_time):
        self.out, self.min_time = out, min_time

    def add(self, name, case, dtype, make, bytes_per_call, variant=""):
        """make() builds operands and returns the call; several of them take turns."""
        if not self.out.wants(name, variant):
            return
        calls = [make() for _ in range(max(1, min(64, math.ceil(CACHE_BYTES / bytes_per_call))))]
        samples = self.samples(calls)
        self.out.append(name, case, samples, dtype=dtype, variant=variant, device="cuda:0")
        print(f"{name} {case} {dtype} {variant}: {statistics.median(samples) * 1e6:.1f} us", flush=True)

    def samples(self, calls):
        def seconds(repeats):
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            for i in range(repeats):
                calls[i % len(calls)]()
            end.record()
            end.synchronize()
            return begin.elapsed_time(end) / 1e3 / repeats

        seconds(3)
        once = seconds(len(calls))
        group = max(1, math.ceil(2e-3 / once))
        count = max(5, math.ceil(self.min_time / (group * once)))
        return [seconds(group) for _ in range(count)]


def random(shape, dtype):
    return (torch.rand(shape, device="cuda") * 2 - 1).to(DTYPES[dtype])


def products(cases):
    def gemm(name, m, n, k, dtype):
        def make():
            a = random((k, m), dtype).T if name[5] == "t" else random((m, k), dtype)
            b = random((n, k), dtype).T if name[6] == "t" else random((k, n), dtype)
            c = torch.empty(m, n, device="cuda", dtype=DTYPES[dtype])
            return lambda: torch.mm(a, b, out=c)
        size = DTYPES[dtype].itemsize
        cases.add(name, f"{m}x{n}x{k}", dtype, make, size * (m * k + k * n + m * n))

    for dtype in ("bf16", "f16"):
        for n in (1024, 2048, 4096, 8192):
            gemm("gemm/nn", n, n, n, dtype)
    for name in ("gemm/nt", "gemm/tn", "gemm/tt"):
        gemm(name, 4096, 4096, 4096, "bf16")
    gemm("gemm/nt", 2048, 4096, 8192, "bf16")
    gemm("gemm/nt", 16, 28672, 8192, "bf16")
    gemm("gemm/nn", 4096, 4096, 4096, "f32")
    gemm("gemm/nn", 4096, 4096, 4096, "f64")

    def codes(m, n, k):
        def make():
            a = torch.randint(-128, 128, (m, k), device="cuda", dtype=torch.int8)
            b = torch.randint(-128, 128, (n, k), device="cuda", dtype=torch.int8)
            return lambda: torch._int_mm(a, b.T)
        cases.add("qgemm/w8a8", f"{m}x{n}x{k}", "i8", make, m * k + n * k + 4 * m * n, "int32 sums")

    for m, n, k in ((4096, 4096, 4096), (8192, 8192, 8192), (2048, 4096, 8192)):
        codes(m, n, k)


def sparse(cases):
    for name, case, nodes, (row_ptr, col, values), dense in graphs.spmm_cases():
        def make():
            a = torch.sparse_csr_tensor(torch.from_numpy(row_ptr), torch.from_numpy(col),
                                        torch.from_numpy(values), (nodes, nodes)).cuda()
            x = torch.from_numpy(dense).cuda()
            return lambda: a @ x
        cases.add(name, case, "f32", make, CACHE_BYTES)


def streaming(cases):
    functional = torch.nn.functional
    n = 1 << 27
    for dtype in ("f32", "bf16"):
        size = DTYPES[dtype].itemsize

        def unary(name, shape, call, passes=2):
            def make():
                x = random(shape, dtype)
                return lambda: call(x)
            cases.add(name, "x".join(map(str, shape)), dtype, make, passes * size * math.prod(shape))

        def addition():
            x, y, z = random(n, dtype), random(n, dtype), torch.empty(n, device="cuda", dtype=DTYPES[dtype])
            return lambda: torch.add(x, y, out=z)

        unary("copy/contiguous", (n,), torch.clone)
        cases.add("elementwise/add", str(n), dtype, addition, 3 * size * n)
        unary("elementwise/gelu", (n,), functional.gelu)
        unary("reduce/sum", (n,), torch.sum, 1)
        unary("rowwise/softmax", (16384, 4096), lambda x: functional.softmax(x, -1))
        weight, bias = random(4096, dtype), random(4096, dtype)
        unary("rowwise/layer_norm", (16384, 4096), lambda x: functional.layer_norm(x, (4096,), weight, bias))


def networks(cases):
    functional = torch.nn.functional
    for dtype in ("f32", "bf16"):
        size = DTYPES[dtype].itemsize
        for batch, channels, pixels in ((256, 64, 32), (256, 128, 16), (256, 256, 8)):
            shape = (batch, channels, pixels, pixels)

            def make(which, layout):
                x, dy = (random(shape, dtype).to(memory_format=layout) for _ in range(2))
                w = random((channels, channels, 3, 3), dtype).to(memory_format=layout)
                if which == "forward":
                    return lambda: functional.conv2d(x, w, padding=1)
                mask = (which == "data", which == "weight", False)
                return lambda: torch.ops.aten.convolution_backward(
                    dy, x, w, None, (1, 1), (1, 1), (1, 1), False, (0, 0), 1, mask)

            for which in ("forward", "data", "weight"):
                for variant, layout in (("", torch.contiguous_format), ("channels_last", torch.channels_last)):
                    cases.add(f"conv/3x3_{which}", "x".join(map(str, shape)), dtype,
                              lambda: make(which, layout), 2 * size * math.prod(shape), variant)

        def attention():
            q, k, v = (random((8, 16, 2048, 64), dtype) for _ in range(3))
            return lambda: functional.scaled_dot_product_attention(q, k, v)
        cases.add("attention/forward", "8x16x2048x64", dtype, attention, 4 * size * 8 * 16 * 2048 * 64)

    def sort():
        x = random(1 << 24, "f32")
        return lambda: torch.sort(x)
    cases.add("sort/sort", str(1 << 24), "f32", sort, 8 << 24)

    def eigh():
        x = random((256, 128, 128), "f32")
        return lambda: torch.linalg.eigh(x)
    cases.add("linalg/eigh", "256x128x128", "f32", eigh, 8 * 256 * 128 * 128)


def curvature(cases):
    model = torch_resnet.ResNet20().cuda()
    x = torch.randn(torch_resnet.BATCH, 3, 32, 32, device="cuda")
    labels = torch.randint(10, (torch_resnet.BATCH,), device="cuda")
    params = list(model.parameters())
    loss = lambda: torch.nn.functional.cross_entropy(model(x), labels)
    size = str(torch_resnet.BATCH)
    cases.add("grad/resnet20", size, "f32", lambda: lambda: torch.autograd.grad(loss(), params), CACHE_BYTES)
    cases.add("hvp/resnet20", size, "f32", lambda: torch_resnet.hvp(params, loss), CACHE_BYTES)


def main():
    args = arguments(__doc__)
    out = report(args, versions={"cuda": torch.version.cuda or "none"})
    out.document["machine"]["gpu"] = torch.cuda.get_device_name()
    torch.backends.cuda.matmul.allow_tf32 = False  # floats as precise as ours
    torch.backends.cudnn.allow_tf32 = False
    cases = Cases(out, args.min_time)
    for group in (products, sparse, streaming, networks, curvature):
        try:
            group(cases)
        except Exception as error:  # one peer's missing kernel does not cost the others
            print(f"{group.__name__}: {error}", flush=True)
        out.save()


if __name__ == "__main__":
    main()
