#!/usr/bin/env python3
"""Runs ours and peers alternately and reports medians of paired ratios.

    python bench/peers/run.py --rounds 5 --out bench/results/rowwise.json \\
        --ours "build/bench/bench_rowwise --out {out}" \\
        --peer "venv/bin/python bench/peers/torch_rowwise.py --threads 2 --min-time 0.5 --out {out}"

A busy machine drifts: two runs one after the other may differ by more than what is measured. Each round
runs every command once, in the order given, and a ratio is taken within a round only. `{out}` stands
for the result file; what its document calls itself, not the option, says whose it is. The file written
is one document per program and of the form of all others: medians over the rounds, and in a peer's
results `paired`, its seconds over ours.
"""

import argparse
import contextlib
import fcntl
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent))

import collect  # noqa: E402
import compare  # noqa: E402

OURS = "tessera"


def run(command, folder):
    out = pathlib.Path(folder) / "result.json"
    out.unlink(missing_ok=True)
    subprocess.run(command.replace("{out}", str(out)), shell=True, check=True)
    return compare.load(out)


@contextlib.contextmanager
def locked(path):
    """Holds the file locked, as flock(1) does; nothing without a path."""
    if not path:
        yield
        return
    with open(path, "a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def identity(document, result):
    return document["peer"], *compare.key(result), result.get("variant", "")


def over(to, seconds, reference):
    """The record `paired`: seconds over those of `to`, round by round."""
    ratios = [a / b for a, b in zip(seconds, reference)]
    return {"over": to, "rounds": len(ratios), "ratio": statistics.median(ratios),
            "least": min(ratios), "greatest": max(ratios)}


def joined(rounds):
    """The last round's documents with medians over all rounds and paired ratios."""
    taken = {}
    for documents in rounds:
        for document in documents:
            for result in document["results"]:
                taken.setdefault(identity(document, result), []).append(result)
    ours = compare.defaults(d for d in rounds[-1] if d["peer"] == OURS)
    seconds = {key: [r["median_s"] for r in results] for key, results in taken.items()}
    references = {of: reference for of, reference, _ in compare.OWN_TARGETS}
    for document in rounds[-1]:
        for result in document["results"]:
            mine = identity(document, result)
            name = references.get(result["name"]) if document["peer"] == OURS else result["name"]
            reference = ours.get((name, *compare.key(result)[1:]))
            results = taken[mine]
            result |= {"p10_s": min(r["p10_s"] for r in results), "n": sum(r["n"] for r in results),
                       "p90_s": max(r["p90_s"] for r in results)}
            if reference:
                theirs = seconds[OURS, *compare.key(reference), reference.get("variant", "")]
                result["paired"] = over(f"{OURS} {name}", seconds[mine], theirs)
        for result in document["results"]:
            result["median_s"] = statistics.median(seconds[identity(document, result)])
    return rounds[-1]


def rows(documents):
    ours = compare.defaults(d for d in documents if d["peer"] == OURS)
    for document in documents:
        for result in document["results"]:
            pair, mine = result.get("paired"), ours.get(compare.key(result))
            if not pair or document["peer"] == OURS:
                continue
            least = compare.speed_target(result["name"], document["peer"])
            memory = result.get("peak_bytes") and (mine["peak_bytes"] or 0) / result["peak_bytes"]
            yield (result["name"], result["case"], result["dtype"],
                   compare.label(document["peer"], result.get("variant")),
                   compare.seconds(mine["median_s"]), compare.seconds(result["median_s"]),
                   f"{pair['ratio']:.2f}", f"{pair['least']:.2f} .. {pair['greatest']:.2f}",
                   f">= {least:.2f}" if least else "",
                   compare.verdict(pair["ratio"] >= least) if least else "",
                   f"{memory:.3f}" if memory else "")


def own_rows(documents):
    for of, _, most in compare.OWN_TARGETS:
        for document in documents:
            for result in document["results"]:
                pair = result.get("paired")
                if document["peer"] == OURS and result["name"] == of and pair:
                    yield (of, result["case"], pair["over"], f"{pair['ratio']:.2f}",
                           f"{pair['least']:.2f} .. {pair['greatest']:.2f}", f"<= {most}",
                           compare.verdict(pair["ratio"] <= most))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in ("--ours", "--peer"):
        parser.add_argument(option, required=True, action="append", dest="commands",
                            metavar="COMMAND", help="command with {out}; repeatable")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--lock", help="file that is held locked during each round, where measurements "
                        "on one machine take turns")
    parser.add_argument("--out", help="write the documents here")
    args = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        for _ in range(args.rounds):
            with locked(args.lock):
                rounds.append(collect.merged(
                    document for command in args.commands for document in run(command, folder)))
    documents = joined(rounds)
    print(compare.table(("name", "case", "dtype", "peer", "ours", "theirs", "times faster", "range",
                         "target", "met", "our memory / theirs"), rows(documents)))
    print("\n" + compare.table(("name", "case", "over", "ratio", "range", "target", "met"),
                               own_rows(documents)))
    if args.out:
        pathlib.Path(args.out).write_text(json.dumps(documents, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
