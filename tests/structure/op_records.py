#!/usr/bin/env python3
"""Every differentiable function of autograd/ops/*.hpp has a record in tests/autograd/op_cases/*.cpp.

    op_records.py ROOT        lists functions without a record
    op_records.py --self-test checks that it would notice one

A function is differentiable when it returns Var, Vars, a pair that begins with a Var, or a struct of Vars. A
record gives its name as `.name = "matmul/batched"` or as first argument of one of the table's `..._case("...")`;
up to the '/' it is the function's name.
"""

import re
import sys
from pathlib import Path

RESULT = r"(?:Var|Vars|std::pair<Var, \w+>|\w+Result)"
DECLARATION = re.compile(rf"^{RESULT} (\w+)\(", re.MULTILINE)
RECORD = re.compile(r'(?:_case\(|\.name =)\s*"([^"/]*)')


def functions(header):
    return {name for name in DECLARATION.findall(header) if not name.startswith("operator")}


def records(source):
    return set(RECORD.findall(source))


def missing(headers, source):
    recorded = records(source)
    return sorted(name for header in headers for name in functions(header) if name not in recorded)


def self_test():
    header = ("Var exp(const Var& x);\nstd::pair<Var, Tensor> top_k(const Var& x, int64_t k);\n"
              "QrResult qr(const Var& a);\nTensor argmax(const Var& x);\ninline Var operator+(const Var& a);\n")
    cases = (
        ('unary_case("exp", exp); add({.name = "top_k"}); linalg_case("qr/wide", f)', []),
        ('unary_case("exp/fast", exp); label("qr")', ["qr", "top_k"]),
        ("", ["exp", "qr", "top_k"]),
    )
    failures = 0
    for source, expected in cases:
        if missing([header], source) != expected:
            failures += 1
            print(f"{source}: {missing([header], source)}, expected {expected}")
    return failures


def check(root):
    headers = [path.read_text(encoding="utf-8") for path in sorted((root / "autograd/ops").glob("*.hpp"))]
    source = "".join(path.read_text(encoding="utf-8") for path in sorted((root / "tests/autograd/op_cases").glob("*.cpp")))
    without = missing(headers, source)
    for name in without:
        print(f"autograd op {name} has no record in tests/autograd/op_cases")
    count = sum(len(functions(header)) for header in headers)
    print(f"{count} operations, {len(without)} without a record")
    return len(without) if count else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(1 if (self_test() if sys.argv[1] == "--self-test" else check(Path(sys.argv[1]))) else 0)
