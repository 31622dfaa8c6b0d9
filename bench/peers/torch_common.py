"""Setup and memory measurement of the PyTorch peers."""

import os

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # the profiler reports a missing GPU as an error

import torch  # noqa: E402

from common import Report  # noqa: E402


def report(args, peer="torch", versions=None):
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    blas = "mkl" if torch.backends.mkl.is_available() else "other"
    found = {"torch": torch.__version__, "blas": blas,
             "cpu_capability": torch.backends.cpu.get_cpu_capability()}
    return Report(peer, found | (versions or {}), args.threads, args)


def peak_bytes(fn):
    """Highest number of live tensor bytes during fn above those live before it.

    Read from the allocator's own events: resident memory would add what malloc keeps.
    """
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU],
                                profile_memory=True) as profile:
        fn()
    events = [e for e in profile.profiler.kineto_results.events() if e.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    return peak
