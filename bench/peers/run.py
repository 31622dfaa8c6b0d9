#!/usr/bin/env python3
"""Runs ours and peers alternately and reports medians of paired ratios.

    python bench/peers/run.py --rounds 5 --out pairs.json \\
        --ours "build/bench/tessera_bench --filter rowwise --out {out}" \\
        --peer "venv/bin/python bench/peers/torch_rowwise.py --threads 2 --min-time 0.5 --out {out}"

A busy machine drifts: two runs one after the other may differ by more than what is measured. Each round
runs every command once, and a ratio is taken within a round only. `{out}` stands for the result file.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import compare  # noqa: E402


def run(command, folder):
    out = pathlib.Path(folder) / "result.json"
    out.unlink(missing_ok=True)
    subprocess.run(command.replace("{out}", str(out)), shell=True, check=True)
    return compare.load(out)


def paired(ours, peers):
    """Yields (identity, our seconds, their seconds) of one round."""
    mine = compare.defaults(ours)
    for document in peers:
        for theirs in document["results"]:
            if compare.key(theirs) in mine:
                identity = (*compare.key(theirs), document["peer"], theirs.get("variant", ""))
                yield identity, mine[compare.key(theirs)]["median_s"], theirs["median_s"]


def summarised(rounds):
    """One record per identity over all rounds."""
    collected = {}
    for pairs in rounds:
        for identity, ours, theirs in pairs:
            collected.setdefault(identity, []).append((ours, theirs))
    for (name, case, dtype, peer, variant), values in collected.items():
        ratios = [theirs / ours for ours, theirs in values]
        yield {"name": name, "case": case, "dtype": dtype, "peer": peer, "variant": variant,
               "rounds": len(values), "ours_s": statistics.median(o for o, _ in values),
               "peer_s": statistics.median(t for _, t in values),
               "ratio": statistics.median(ratios), "ratio_min": min(ratios), "ratio_max": max(ratios)}


def row(pair):
    least = compare.speed_target(pair["name"], pair["peer"])
    return (pair["name"], pair["case"], pair["dtype"], compare.label(pair["peer"], pair["variant"]),
            compare.seconds(pair["ours_s"]), compare.seconds(pair["peer_s"]), f"{pair['ratio']:.2f}",
            f"{pair['ratio_min']:.2f} .. {pair['ratio_max']:.2f}", f">= {least:.2f}" if least else "",
            compare.verdict(pair["ratio"] >= least) if least else "")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ours", required=True, help="command with {out}")
    parser.add_argument("--peer", required=True, action="append", help="command with {out}; repeatable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", help="write the pairs and the last round's documents here")
    args = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            ours = run(args.ours, folder)
            peers = [document for command in args.peer for document in run(command, folder)]
            rounds.append(list(paired(ours, peers)))
    pairs = list(summarised(rounds))
    print(compare.table(("name", "case", "dtype", "peer", "ours", "theirs", "times faster", "range",
                         "target", "met"), map(row, pairs)))
    if args.out:
        document = {"pairs": pairs, "last_round": ours + peers}
        pathlib.Path(args.out).write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
