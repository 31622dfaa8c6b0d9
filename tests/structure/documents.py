#!/usr/bin/env python3
"""Files and folders that the documents name exist.

    documents.py ROOT         lists names in *.md that lead nowhere
    documents.py --self-test  checks that it would notice one

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
PRODUCED = re.compile(r"build[\w-]*/|results/|lib/")  # what builds and runs leave


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


def self_test():
    text = ("[a](here.md) `x/here.hpp` `here.hpp/.cpp` `there/` `tensor.to(x)` `build/bin/a.cpp` `m/n`\n"
            "    `gone.hpp`\n```\n`gone.cpp`\n```\n[b](gone.md#x) `y/gone.hpp` `gone.hpp/.cpp` `gone/` [c](https://a.b/c)")
    found = leads_nowhere(text, lambda name: "here" in name)
    expected = ["gone.md", "y/gone.hpp", "gone.hpp", "gone.cpp", "gone/"]
    if found != expected:
        print(f"found {found}, expected {expected}")
    return found != expected


def check(root):
    documents = [path for path in sorted(root.rglob("*.md"))
                 if not any(part.startswith((".", "build")) for part in path.relative_to(root).parts)]
    failures = 0
    for path in documents:
        for name in leads_nowhere(path.read_text(encoding="utf-8"),
                                  lambda name: (path.parent / name).exists() or (root / name).exists()):
            failures += 1
            print(f"{path.relative_to(root)}: {name} does not exist")
    print(f"{len(documents)} documents, {failures} names that lead nowhere")
    return failures if documents else 1


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(1 if (self_test() if sys.argv[1] == "--self-test" else check(Path(sys.argv[1]))) else 0)
