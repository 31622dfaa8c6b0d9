#!/usr/bin/env python3
"""Files and folders that the documents name exist, and every folder of a layer has its README.md.

    documents.py ROOT         lists names in *.md that lead nowhere, and folders without a README.md
    documents.py --self-test  checks that it would notice either

Checked are links and what stands in backticks alone: sources by their ending, and whatever has a '/' and an
ending or a '/' at its end. A name starts at the document's folder or at the root; `a.hpp/.cpp` means both.
"""
import re
import sys
from pathlib import Path

LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
QUOTED = re.compile(r"`([^`\n]+)`")
SOURCE = re.compile(r"[\w./-]+\.(?:hpp|cpp|cu|cuh|py|cmake|md|awk)")
PATH = re.compile(r"[\w.-]+(?:/[\w.-]+)*/(?:[\w.-]+\.\w+)?")
LAYERS = ["runtime", "kernels", "autograd", "models", "algorithms", "tests", "bench"]
SUFFIXES = {".hpp", ".cpp", ".cu", ".cuh"}
COVERED = {"tests": 1, "bench": 1}  # the READMEs of these describe their folders
PRODUCED = re.compile(r"build[\w-]*/|results/|lib/|\.deps/")  # what builds and runs leave, what is carried


def names(text):
    text = re.sub(r"^(?:```.*?^```|    .*?$)", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from LINK.findall(text)
    for quoted in QUOTED.findall(text):
        first, _, second = quoted.partition("/.")
        for name in [first, first.rsplit(".", 1)[0] + "." + second] if second else [quoted]:
            if (SOURCE.fullmatch(name) or PATH.fullmatch(name)) and not PRODUCED.match(name):
                yield name


def leads_nowhere(text, exists):
    return [name for name in names(text) if not exists(name)]


def without_readme(files):
    """Folders of sources, from a list of paths, that have no README.md and are not covered by a parent's."""
    folders = {path.parent for path in files if path.suffix in SUFFIXES and path.parts[0] in LAYERS}
    described = {path.parent for path in files if path.name == "README.md"}
    return sorted(folder for folder in folders
                  if Path(*folder.parts[:COVERED.get(folder.parts[0])]) not in described)


def self_test():
    text = ("[a](here.md) `x/here.hpp` `here.hpp/.cpp` `there/` `tensor.to(x)` `build/bin/a.cpp` `m/n`\n"
            "    `gone.hpp`\n```\n`gone.cpp`\n```\n[b](gone.md#x) `y/gone.hpp` `gone.hpp/.cpp` `gone/` [c](https://a.b/c)")
    found = leads_nowhere(text, lambda name: "here" in name)
    expected = ["gone.md", "y/gone.hpp", "gone.hpp", "gone.cpp", "gone/"]
    bare = without_readme([Path(name) for name in ["models/README.md", "models/a.hpp", "models/nets/b.cpp", "tests/README.md",
                                                   "tests/nets/c.cpp", "cmake/d.hpp"]])
    for found, expected in [(found, expected), (bare, [Path("models/nets")])]:
        if found != expected:
            print(f"found {found}, expected {expected}")
            return True
    return False


def check(root):
    files = [path for path in sorted(root.rglob("*.*"))
             if not any(part.startswith((".", "build")) for part in path.relative_to(root).parts)]
    documents = [path for path in files if path.suffix == ".md"]
    failures = 0
    for path in documents:
        for name in leads_nowhere(path.read_text(encoding="utf-8"),
                                  lambda name: (path.parent / name).exists() or (root / name).exists()):
            failures += 1
            print(f"{path.relative_to(root)}: {name} does not exist")
    bare = without_readme([path.relative_to(root) for path in files])
    for folder in bare:
        print(f"{folder} has no README.md")
    print(f"{len(documents)} documents, {failures} names that lead nowhere, {len(bare)} folders without a README.md")
    return failures + len(bare) if documents else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(1 if (self_test() if sys.argv[1] == "--self-test" else check(Path(sys.argv[1]))) else 0)
