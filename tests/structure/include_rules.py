#!/usr/bin/env python3
"""Checks the layering of the sources.

    include_rules.py ROOT          reports every broken rule as file:line: message; fails if there is one
    include_rules.py --self-test   each rule must accept its good example and reject its bad one

Each rule is a function from a Source to the (line number, message) pairs that it objects to.
"""
import re
import sys
from pathlib import Path

LAYERS = ["runtime", "kernels", "autograd", "models", "algorithms"]
CHECKED = LAYERS + ["tests", "bench"]
SUFFIXES = {".hpp", ".cpp", ".cu", ".cuh"}

# What kernels may know of the runtime: never Tensor, they see views.
KERNELS_SEE = {"error", "dtype", "half", "host_device", "shape", "view", "device", "stream", "rng",
               "profile"}
# The two places where the kernel layer meets the loader of device modules.
KERNELS_LOADER = {"kernels/backend.cpp": {"driver", "log"}, "kernels/cpu/module.cpp": {"driver"},
                  "kernels/cuda/module.cpp": {"driver"}}

PRIVATE_LIBRARIES = re.compile(r"^(nlohmann/|CLI/|fmt/|zlib\.h|png\.h|jpeglib\.h|cblas\.h|lapacke?\.h|"
                               r"cuda|cublas|cusparse|cusolver|nvtx)")
BLAS_SYMBOL = re.compile(r"\b(?:cblas_\w+|LAPACKE_\w+|openblas_\w+|"
                         r"[sd](?:gemm|gemv|syrk|trsm|trmm|axpy|dot|nrm2|scal|potrf|potri|getrf|gesv|"
                         r"geqrf|orgqr|gesdd|gesvd|syevd?|syevr)_)\s*\(")
INPUT_OUTPUT = {"fstream", "iostream", "filesystem", "cstdio", "stdio.h", "tessera/runtime/io/npy.hpp",
                "tessera/runtime/io/safetensors.hpp"}


class Source:
    def __init__(self, path, text):
        self.path = path  # relative to the root, with forward slashes
        self.parts = path.split("/")
        self.layer = self.parts[0]
        self.lines = text.split("\n")
        self.includes = []  # (line number, spelling, quoted)
        for number, line in enumerate(self.lines, 1):
            if match := re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line):
                self.includes.append((number, match[2], match[1] == '"'))

    @property
    def is_header(self):
        return self.path.endswith((".hpp", ".cuh"))

    def project_includes(self):
        for number, spelling, _ in self.includes:
            if spelling.startswith("tessera/"):
                yield number, spelling[len("tessera/"):]


def layers_point_down(source):
    if source.layer not in LAYERS:
        return
    own = LAYERS.index(source.layer)
    for number, target in source.project_includes():
        layer = target.split("/")[0]
        if layer not in LAYERS:
            yield number, f"{source.layer} must not include {target}"
        elif LAYERS.index(layer) > own:
            yield number, f"{source.layer} must not include {target}: {layer} lies above it"


def includes_spell_the_full_path(source):
    for number, spelling, quoted in source.includes:
        if quoted and not spelling.startswith(("tessera/", "gtest/", "benchmark/")):
            yield number, f'write "tessera/..." instead of "{spelling}"'


def kernels_see_views_only(source):
    if source.layer != "kernels":
        return
    allowed = KERNELS_SEE | KERNELS_LOADER.get(source.path, set())
    for number, target in source.project_includes():
        folder, _, name = target.rpartition("/")
        if folder == "runtime" and name.removesuffix(".hpp") not in allowed:
            yield number, f"kernels must not include {target}: they see views and streams"
        if folder in ("runtime/cuda", "runtime/simt", "runtime/io") and "cuda" not in source.parts:
            yield number, f"{target} is for kernels/cuda only"


def device_folders_are_private(source):
    for folder in ("kernels/cpu/", "kernels/cuda/"):
        if source.path.startswith(folder) or source.layer in ("tests", "bench"):
            continue
        for number, target in source.project_includes():
            if target.startswith(folder) and source.path not in ("kernels/backend.cpp", "kernels/threads.cpp"):
                yield number, f"{target} is private to {folder}"


def models_go_through_autograd(source):
    if source.layer != "models":
        return
    for number, target in source.project_includes():
        if target.startswith("kernels/") and not (
                source.path.startswith("models/optim/") and target == "kernels/optimizer.hpp"):
            yield number, f"models must not include {target}: use autograd"


def datasets_know_no_network(source):
    if not source.path.startswith("models/data/"):
        return
    for number, target in source.project_includes():
        if target.startswith(("models/nets/", "models/layers/", "models/optim/")):
            yield number, f"a dataset must not include {target}"


def algorithms_stand_alone(source):
    if source.layer != "algorithms" or len(source.parts) < 3:
        return
    for number, target in source.project_includes():
        parts = target.split("/")
        if parts[0] == "algorithms" and len(parts) > 2 and parts[1] != source.parts[1]:
            yield number, f"{source.parts[1]} must not include another algorithm's {target}"


def library_parts_do_no_input_output(source):
    if (source.layer != "algorithms" or len(source.parts) < 3
            or source.parts[-1].startswith(("experiment.", "experiment_"))):
        return
    for number, spelling, _ in source.includes:
        if spelling in INPUT_OUTPUT:
            yield number, f"the library part of an algorithm must not include {spelling}"


def one_home_for_openmp(source):
    if source.path == "kernels/cpu/parallel.hpp" or source.layer in ("tests", "bench"):
        return
    for number, line in enumerate(source.lines, 1):
        if re.match(r"\s*#\s*(pragma\s+omp|include\s*<omp\.h>)", line):
            yield number, "OpenMP belongs to kernels/cpu/parallel.hpp"


def one_home_for_blas(source):
    if source.path in ("kernels/cpu/blas.hpp", "kernels/cpu/lapack.hpp") or source.layer == "bench":
        return
    for number, line in enumerate(source.lines, 1):
        if match := BLAS_SYMBOL.search(line):
            yield number, f"{match[0]}...) belongs to kernels/cpu/blas.hpp or lapack.hpp"


def private_libraries_stay_private(source):
    wrapper = source.path in ("kernels/cpu/blas.hpp", "kernels/cpu/lapack.hpp")
    if not source.is_header or wrapper or source.parts[1:2] == ["cuda"]:
        return
    for number, spelling, _ in source.includes:
        if PRIVATE_LIBRARIES.match(spelling):
            yield number, f"<{spelling}> must stay out of headers"


def one_home_for_the_command_line(source):
    for number, spelling, _ in source.includes:
        if spelling.startswith("CLI/") and source.path != "algorithms/main.cpp":
            yield number, "CLI11 belongs to algorithms/main.cpp"


def cuda_switches_stay_in_their_folders(source):
    if source.path == "runtime/host_device.hpp" or source.parts[1:2] in (["cuda"], ["simt"]):
        return
    for number, line in enumerate(source.lines, 1):
        if re.match(r"\s*#\s*(if|ifdef|ifndef|elif)\b.*(CUDA|NVCC)", line):
            yield number, "no preprocessor switch on CUDA outside runtime/cuda and kernels/cuda"


def headers_are_guarded(source):
    if source.is_header and "#pragma once" not in source.lines[:20]:
        yield 1, "a header begins with #pragma once"


def names_say_something(source):
    stem = source.parts[-1].split(".")[0]
    if stem in ("util", "utils", "common", "misc", "helper", "helpers", "stuff"):
        yield 1, f"name the file after what it holds, not {stem}"


# rule: (accepted path and text, rejected path and text)
EXAMPLES = {
    layers_point_down: (
        ("autograd/var.cpp", '#include "tessera/kernels/gemm.hpp"'),
        ("kernels/gemm.hpp", '#include "tessera/autograd/var.hpp"')),
    includes_spell_the_full_path: (
        ("runtime/a.cpp", '#include "tessera/runtime/a.hpp"'), ("runtime/a.cpp", '#include "a.hpp"')),
    kernels_see_views_only: (
        ("kernels/gemm.hpp", '#include "tessera/runtime/view.hpp"'),
        ("kernels/gemm.hpp", '#include "tessera/runtime/tensor.hpp"')),
    device_folders_are_private: (
        ("kernels/cpu/gemm.cpp", '#include "tessera/kernels/cpu/simd.hpp"'),
        ("autograd/var.cpp", '#include "tessera/kernels/cpu/simd.hpp"')),
    models_go_through_autograd: (
        ("models/optim/adam.cpp", '#include "tessera/kernels/optimizer.hpp"'),
        ("models/layers/linear.cpp", '#include "tessera/kernels/gemm.hpp"')),
    datasets_know_no_network: (
        ("models/data/graph.cpp", '#include "tessera/models/data/dataset.hpp"'),
        ("models/data/graph.cpp", '#include "tessera/models/nets/mlp.hpp"')),
    algorithms_stand_alone: (
        ("algorithms/gsl/gsl.cpp", '#include "tessera/algorithms/experiment.hpp"'),
        ("algorithms/gsl/gsl.cpp", '#include "tessera/algorithms/gfs/gfs.hpp"')),
    library_parts_do_no_input_output: (
        ("algorithms/gsl/experiment.cpp", "#include <fstream>"),
        ("algorithms/gsl/gsl.cpp", "#include <fstream>")),
    one_home_for_openmp: (
        ("kernels/cpu/parallel.hpp", "#pragma omp parallel"),
        ("kernels/cpu/gemm.cpp", "  #pragma omp simd")),
    one_home_for_blas: (
        ("kernels/cpu/gemm.cpp", "blas::gemm(a); shape_(s);"), ("kernels/cpu/gemm.cpp", "sgemm_(&n);")),
    private_libraries_stay_private: (
        ("runtime/config.cpp", "#include <nlohmann/json.hpp>"),
        ("runtime/config.hpp", "#include <nlohmann/json.hpp>")),
    one_home_for_the_command_line: (
        ("algorithms/main.cpp", "#include <CLI/CLI.hpp>"),
        ("algorithms/experiment.cpp", "#include <CLI/CLI.hpp>")),
    cuda_switches_stay_in_their_folders: (
        ("kernels/cuda/gemm.cu", "#if defined(__CUDA_ARCH__)"),
        ("kernels/functors.hpp", "#ifdef __CUDACC__")),
    headers_are_guarded: (("runtime/a.hpp", "#pragma once"), ("runtime/a.hpp", "int a;")),
    names_say_something: (("runtime/shape.cpp", ""), ("runtime/utils.cpp", "")),
}


def self_test():
    failures = 0
    for rule, (good, bad) in EXAMPLES.items():
        for (path, text), expected in ((good, False), (bad, True)):
            found = bool(list(rule(Source(path, text))))
            if found != expected:
                failures += 1
                print(f"{rule.__name__} {'accepts' if expected else 'rejects'} {path}: {text}")
    return failures


def check(root):
    files = sorted(path for folder in CHECKED for path in (root / folder).rglob("*")
                   if path.suffix in SUFFIXES)
    failures = 0
    for path in files:
        source = Source(path.relative_to(root).as_posix(), path.read_text(encoding="utf-8"))
        for rule in EXAMPLES:
            for number, message in rule(source):
                failures += 1
                print(f"{source.path}:{number}: {message}")
    print(f"{len(files)} files, {failures} broken rules")
    return failures if files else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(1 if (self_test() if sys.argv[1] == "--self-test" else check(Path(sys.argv[1]))) else 0)
