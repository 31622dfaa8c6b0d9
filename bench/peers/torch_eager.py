"""PyTorch: what one operation on ten elements costs from Python, and from C++ with --cpp."""

import torch
from torch.utils.benchmark import Timer

from common import arguments
from torch_common import report

CPP_CASES = {
    "eager/add10": "auto a = torch::randn({10}), b = torch::randn({10}); c10::NoGradGuard guard;",
    "eager/add10_tape": "auto a = torch::randn({10}), b = torch::randn({10}); a.requires_grad_();",
}


def python_results(out):
    a, b = torch.randn(10), torch.randn(10)
    with torch.no_grad():
        out.add("eager/add10", "10", lambda: a + b, variant="python")
    tracked = a.clone().requires_grad_()
    out.add("eager/add10_tape", "10", lambda: tracked + b, variant="python", notes="forward, recorded")


def cpp_results(out):
    """Compiles a loop per case (needs a C++ compiler and ninja, about a minute each)."""
    for name, setup in CPP_CASES.items():
        if not out.wants(name):
            continue
        timer = Timer("auto c = a + b;", setup, language="c++", num_threads=out.document["threads"])
        samples = timer.blocked_autorange(min_run_time=out.args.min_time).times
        out.append(name, "10", samples, variant="c++")


def main():
    args = arguments(__doc__, flags=(("--cpp", "also from C++"),))
    out = report(args)
    python_results(out)
    if args.cpp:
        cpp_results(out)
    out.save()


if __name__ == "__main__":
    main()
