#!/usr/bin/env python3
"""Writes the golden files beside this script. See README.md for the meaning of every key.

    python generate.py            write all files
    python generate.py --check    compare with the committed files, write nothing
"""

import argparse
import pathlib
import sys
import tempfile

import numpy as np
import torch

import container
import graph_networks
import mutual_information
import optimizers
import ops
import philox
import samples
import separation
import super_resolution
import training
import trunk_modules

HERE = pathlib.Path(__file__).resolve().parent

FILES = {
    "ops": ops.tensors,
    "optimizers": optimizers.tensors,
    "philox": philox.tensors,
    "mlp": training.mlp,
    "gcn": training.gcn,
    "mutual_information": mutual_information.tensors,
    "separation": separation.tensors,
    "graph_networks": graph_networks.tensors,
    "trunk_modules": trunk_modules.tensors,
    "super_resolution": super_resolution.tensors,
    "super_resolution_ipt": super_resolution.ipt,
    "super_resolution_swinir": super_resolution.swinir,
    "tiny_resnet": training.tiny_resnet,
    "resnet20": training.resnet20,
    "vit": training.vit,
}


def write_all(folder):
    metadata = {"torch": torch.__version__, "numpy": np.__version__, "by": "tests/golden/generate.py"}
    for name, make in FILES.items():
        container.write(folder / f"{name}.safetensors", make(), metadata)
    (folder / "files").mkdir(exist_ok=True)
    samples.write_all(folder / "files")


def differing(folder):
    """Names of the files in folder whose bytes are not those committed."""
    written = [p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file()]
    return [str(p) for p in written
            if not (HERE / p).exists() or (HERE / p).read_bytes() != (folder / p).read_bytes()]


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)  # one order of summation, hence the same bits on every run
    torch.use_deterministic_algorithms(True)
    if not args.check:
        write_all(HERE)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        write_all(pathlib.Path(scratch))
        bad = differing(pathlib.Path(scratch))
    print("\n".join(f"differs: {name}" for name in bad) or "all golden files are reproduced")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
