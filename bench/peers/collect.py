#!/usr/bin/env python3
"""Runs every peer once and writes one file, an array with one document per peer.

    venv/bin/python bench/peers/collect.py --data cora.npz --threads 2 --out bench/results/peers.json
"""

import argparse
import json
import pathlib
import shlex
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = ("scipy_spmm", "torch_spmm", "torch_elementwise", "torch_rowwise", "torch_gemm", "torch_conv",
           "torch_eager", "torch_resnet", "torch_super_resolution", "torch_gcn", "pyg_gcn")
NEED_DATA = ("torch_gcn", "pyg_gcn")


def run(script, args, folder):
    out = pathlib.Path(folder) / "result.json"
    command = [*shlex.split(args.prefix), sys.executable, "-W", "ignore", str(HERE / f"{script}.py"),
               "--threads", str(args.threads), "--min-time", str(args.min_time), "--out", str(out)]
    command += ["--machine", args.machine] if args.machine else []
    command += ["--data", args.data] if script in NEED_DATA else []
    command += ["--cpp"] if args.cpp and script == "torch_eager" else []
    print(script, file=sys.stderr, flush=True)
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
    parser.add_argument("--data", required=True, help="cora.npz")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--min-time", type=float, default=2.0)
    parser.add_argument("--machine", default="")
    parser.add_argument("--prefix", default="", help='put before each command, such as "chrt -f 10"')
    parser.add_argument("--cpp", action="store_true", help="also PyTorch's eager cost from C++")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        documents = merged(run(script, args, folder) for script in SCRIPTS)
    pathlib.Path(args.out).write_text(json.dumps(documents, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
