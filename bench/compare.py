#!/usr/bin/env python3
"""Joins result files (bench/peers/schema.json) and prints a table of ratios with their targets.

    python bench/compare.py ours.json [peers.json ...]

Ours are in the first file, and peers may be there as well, as in those of peers/run.py. Results join on
(name, case, dtype); each variant of each peer gets a line.
"""

import argparse
import fnmatch
import json
import sys

# Speed of a peer over ours: (pattern of names, peer, least ratio).
SPEED_TARGETS = (
    ("train/gcn_cora", "*", 5.0),
    ("rowwise/softmax*", "torch", 1.3),
    ("rowwise/layer_norm*", "torch", 1.2),
    ("rowwise/cross_entropy*", "torch", 4.0),
    ("svd/economy", "numpy", 1.0),
    ("conv/3x3*", "torch", 1.2),
    ("train/resnet20_step", "torch", 1.2),
    ("spmm/*", "scipy", 8.0),
    ("spmm/*", "torch", 3.0),
    ("hvp/resnet20", "torch", 1 / 0.6),
    ("information/ross", "sklearn", 10.0),
    ("bigset/grx", "spectral", 5.0),
    ("bigset/separation", "torch", 5.0),
)
# Our peak memory over the peer's: (name, peer, greatest ratio).
MEMORY_TARGETS = (("hvp/resnet20", "torch", 0.6),)
# Our own time in seconds: (name, greatest).
TIME_TARGETS = (("eager/add10", 0.3e-6), ("eager/add10_tape", 1e-6))
# Our own times against each other: (name, reference, greatest ratio).
OWN_TARGETS = (("hvp/resnet20", "grad/resnet20", 3.0),)
# Share of a threaded copy's bandwidth: (name, dtype, bytes per element), the copy moving eight.
BANDWIDTH_TARGETS = (
    ("elementwise/add", "f32", 12), ("elementwise/gelu", "f32", 8), ("elementwise/cast", "f32->f16", 6),
    ("elementwise/cast", "f32->bf16", 6), ("optimizer/adam", "f32", 28),
)
LEAST_BANDWIDTH = 0.8
DEFAULT_VARIANTS = ("", "default", "automatic")


def load(path):
    """The documents of a file."""
    with open(path) as f:
        content = json.load(f)
    return content if isinstance(content, list) else [content]


def key(result):
    return result["name"], result["case"], result["dtype"]


def defaults(documents):
    """{key: result}: the default variant where there is one, else the fastest."""
    chosen = {}
    for result in (r for d in documents for r in d["results"]):
        rank = (result.get("variant", "") not in DEFAULT_VARIANTS, result["median_s"])
        if key(result) not in chosen or rank < chosen[key(result)][0]:
            chosen[key(result)] = rank, result
    return {k: result for k, (_, result) in chosen.items()}


def speed_target(name, peer):
    for pattern, of, least in SPEED_TARGETS:
        if fnmatch.fnmatch(name, pattern) and fnmatch.fnmatch(peer, of):
            return least
    return None


def seconds(value):
    for unit, factor in (("s", 1), ("ms", 1e3), ("us", 1e6)):
        if value * factor >= 0.9995:
            break
    else:
        unit, factor = "ns", 1e9
    return f"{value * factor:.3g} {unit}"


def verdict(met):
    return "yes" if met else "NO"


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def label(peer, variant):
    return f"{peer} {variant}" if variant else peer


def peer_rows(ours, peers):
    for document in peers:
        for theirs in document["results"]:
            mine = ours.get(key(theirs))
            if not mine:
                continue
            ratio = theirs["median_s"] / mine["median_s"]
            least = speed_target(theirs["name"], document["peer"])
            yield (theirs["name"], theirs["case"], theirs["dtype"],
                   label(document["peer"], theirs.get("variant")), seconds(mine["median_s"]),
                   seconds(theirs["median_s"]), f"{ratio:.2f}",
                   f">= {least:.2f}" if least else "", verdict(ratio >= least) if least else "")


def memory_target(name, peer):
    for of, whose, most in MEMORY_TARGETS:
        if (of, whose) == (name, peer):
            return most
    return None


def memory_rows(ours, peers):
    for document in peers:
        for theirs in document["results"]:
            mine = ours.get(key(theirs), {})
            if not (theirs.get("peak_bytes") and mine.get("peak_bytes")):
                continue
            ratio = mine["peak_bytes"] / theirs["peak_bytes"]
            most = memory_target(theirs["name"], document["peer"])
            yield (theirs["name"], theirs["case"], label(document["peer"], theirs.get("variant")),
                   f"{mine['peak_bytes'] / 1e6:.1f} MB", f"{theirs['peak_bytes'] / 1e6:.1f} MB",
                   f"{ratio:.2f}", f"<= {most}" if most else "", verdict(ratio <= most) if most else "")


def own_rows(ours):
    """Targets that need no peer."""
    by_name = {}
    for (name, case, dtype), result in ours.items():
        by_name.setdefault((name, dtype), {})[case] = result["median_s"]
    for name, most in TIME_TARGETS:
        for case, mine in by_name.get((name, "f32"), {}).items():
            yield name, case, seconds(mine), f"<= {seconds(most)}", verdict(mine <= most)
    for name, reference, most in OWN_TARGETS:
        for case, mine in by_name.get((name, "f32"), {}).items():
            base = by_name.get((reference, "f32"), {}).get(case)
            if base:
                yield (name, case, f"{mine / base:.2f} x {reference}", f"<= {most}",
                       verdict(mine / base <= most))
    for name, dtype, element_bytes in BANDWIDTH_TARGETS:
        for case, mine in by_name.get((name, dtype), {}).items():
            copy = by_name.get(("memory/copy", "f32"), {}).get(case)
            if copy:
                share = (element_bytes / mine) / (8 / copy)
                yield (f"{name} {dtype}", case, f"{share:.2f} of copy's bandwidth",
                       f">= {LEAST_BANDWIDTH}", verdict(share >= LEAST_BANDWIDTH))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ours")
    parser.add_argument("peers", nargs="*")
    args = parser.parse_args()
    first = load(args.ours)
    ours = defaults(d for d in first if d["peer"] == "tessera")
    peers = [d for d in first if d["peer"] != "tessera"]
    peers += [document for path in args.peers for document in load(path)]
    print(table(("name", "case", "dtype", "peer", "ours", "theirs", "times faster", "target", "met"),
                peer_rows(ours, peers)))
    print("\n" + table(("memory of", "case", "peer", "ours", "theirs", "ratio", "target", "met"),
                       memory_rows(ours, peers)))
    print("\n" + table(("name", "case", "ours", "target", "met"), own_rows(ours)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
