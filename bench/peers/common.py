"""What every peer script shares: arguments, timing, and the result file (schema.json)."""

import argparse
import json
import math
import os
import platform
import statistics
import time


def arguments(description, data=False, flags=()):
    """Parses the shared options, `--data` where a script needs it, and the script's own switches."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--out", help="result file; standard output if not given")
    parser.add_argument("--filter", default="", help="only results of which `name variant` contains this")
    parser.add_argument("--min-time", type=float, default=2.0, help="seconds of samples per result")
    parser.add_argument("--machine", help="name of the processor instead of /proc/cpuinfo's")
    if data:
        parser.add_argument("--data", required=True, help="graph in .npz form")
    for flag, meaning in flags:
        parser.add_argument(flag, action="store_true", help=meaning)
    return parser.parse_args()


def cpu_name():
    fields = {}
    with open("/proc/cpuinfo") as info:
        for line in info:
            key, _, value = line.partition(":")
            fields.setdefault(key.strip(), value.strip())
    return "{} (family {} model {})".format(
        fields.get("model name", platform.machine()), fields.get("cpu family", "?"),
        fields.get("model", "?"))


def machine(name=None):
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return {"cpu": name or cpu_name(), "cores": os.cpu_count(), "memory_bytes": pages,
            "load_1m": os.getloadavg()[0]}


def timed(fn, repeats):
    start = time.perf_counter()
    for _ in range(repeats):
        fn()
    return (time.perf_counter() - start) / repeats


def samples_of(fn, min_time, max_samples=1000):
    """Seconds per call. Calls too short for the clock are timed in groups; the first call is dropped.
    With a min_time of 0 one call of what takes more than a second has to do: rounds of run.py repeat it.
    """
    once = timed(fn, 1)
    if min_time == 0 and once > 1:
        return [once]
    if once < 1:
        once = timed(fn, 1)
    group = max(1, math.ceil(2e-4 / max(once, 1e-7)))
    least = 3 if once > 5 else 5
    samples = []
    while len(samples) < least or (sum(samples) * group < min_time and len(samples) < max_samples):
        samples.append(timed(fn, group))
    return samples


def percentile(ordered, fraction):
    return ordered[min(len(ordered) - 1, int(fraction * len(ordered)))]


class Report:
    """Collects results and writes them on `save`."""

    def __init__(self, peer, versions, threads, args):
        self.args = args
        self.document = {"peer": peer, "versions": versions | {"python": platform.python_version()},
                         "machine": machine(args.machine), "threads": threads, "results": []}

    def wants(self, name, variant=""):
        return self.args.filter in f"{name} {variant}"

    def add(self, name, case, fn, peak=None, **fields):
        """Times fn; peak, if given, is a function that runs fn once and returns its peak bytes."""
        if self.wants(name, fields.get("variant", "")):
            samples = samples_of(fn, self.args.min_time)
            self.append(name, case, samples, peak_bytes=peak(fn) if peak else None, **fields)

    def append(self, name, case, samples, dtype="f32", variant="", notes="", peak_bytes=None, device="cpu"):
        samples = sorted(samples)
        self.document["results"].append(
            {"name": name, "case": case, "variant": variant, "device": device, "dtype": dtype,
             "median_s": statistics.median(samples), "p10_s": percentile(samples, 0.1),
             "p90_s": percentile(samples, 0.9), "n": len(samples), "peak_bytes": peak_bytes,
             "notes": notes})

    def save(self):
        text = json.dumps(self.document, indent=1) + "\n"
        if self.args.out:
            with open(self.args.out, "w") as f:
                f.write(text)
        else:
            print(text, end="")
