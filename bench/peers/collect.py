#!/usr/bin/env python3
"""Runs every peer once and writes one file, an array with one document per peer, anew after each script.

    venv/bin/python bench/peers/collect.py --data graphs/ --threads 2 --out bench/results/peers.json

A script that measures on graphs runs once for each of its graphs that the folder has.
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
# Every script, and the graphs it measures on; torch_gpu is bench/gpu.sh's.
SCRIPTS = {"scipy_spmm": (), "torch_spmm": (), "torch_elementwise": (), "torch_rowwise": (),
           "torch_gemm": (), "numpy_svd": (), "torch_conv": (), "torch_eager": (), "torch_resnet": (),
           "torch_separation": (), "torch_super_resolution": (), "spectral_rx": (),
           "torch_gcn": ("cora",), "pyg_gcn": ("cora",), "pyg_gat": ("tolokers",),
           "pyg_networks": ("cora", "squirrel"), "sklearn_tfi": ("coauthor_physics",)}


def jobs(folder, only):
    """(script, graph file or None); a graph that is not there is left out and told."""
    for script, graphs in SCRIPTS.items():
        if only not in script:
            continue
        if not graphs:
            yield script, None
        for graph in graphs:
            path = pathlib.Path(folder) / f"{graph}.npz"
            if path.exists():
                yield script, path
            else:
                print(f"{script} left out: no {path}", file=sys.stderr)


def run(script, graph, args, folder):
    out = pathlib.Path(folder) / "result.json"
    command = [*shlex.split(args.prefix), sys.executable, "-W", "ignore", str(HERE / f"{script}.py"),
               "--threads", str(args.threads), "--min-time", str(args.min_time), "--out", str(out)]
    command += ["--machine", args.machine] if args.machine else []
    command += ["--data", str(graph)] if graph else []
    command += ["--cpp"] if args.cpp and script == "torch_eager" else []
    print(script, graph.stem if graph else "", file=sys.stderr, flush=True)
    subprocess.run(command, check=True)
    return json.loads(out.read_text())


def merged(documents):
    """One document per peer; the first script's machine and versions stand for all."""
    by_peer = {}
    for document in documents:
        if document["peer"] in by_peer:
            by_peer[document["peer"]]["results"] += document["results"]
        else:
            by_peer[document["peer"]] = document
    return list(by_peer.values())


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True, help="folder of graphs: cora.npz, tolokers.npz, ...")
    parser.add_argument("--only", default="", help="only scripts whose name contains this")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--min-time", type=float, default=2.0)
    parser.add_argument("--machine", default="")
    parser.add_argument("--prefix", default="", help='put before each command, such as "chrt -f 10"')
    parser.add_argument("--cpp", action="store_true", help="also PyTorch's eager cost from C++")
    args = parser.parse_args()
    measure = {path.stem for path in HERE.glob("*_*.py") if "= arguments(" in path.read_text()}
    if unlisted := measure - SCRIPTS.keys() - {"torch_gpu"}:
        parser.error(f"SCRIPTS does not name {', '.join(sorted(unlisted))}")
    documents = []
    with tempfile.TemporaryDirectory() as folder:
        for script, graph in jobs(args.data, args.only):
            documents = merged([*documents, run(script, graph, args, folder)])
            pathlib.Path(args.out).write_text(json.dumps(documents, indent=1) + "\n")  # kept if the next fails
    return 0


if __name__ == "__main__":
    sys.exit(main())
