#!/usr/bin/env python3
"""Checks what neither the compiler nor clang-format sees: long files, dead files, leftovers.
Prints file:line for each finding and exits with 1 if there is one.

Usage: tools/check_tidy.py [root of the repository]
"""

import pathlib
import re
import sys

import repository

MAX_LINES = 450
# Not .proto: moving messages to another file would break who includes and imports them.
COUNTED_SUFFIXES = {".cc", ".h", ".py", ".sh", ".cmake", ".rs"}
TEXT_SUFFIXES = COUNTED_SUFFIXES | {".proto"} | {".md", ".txt", ".yaml", ".yml", ".json", ".toml", ""}

# pattern, what is wrong, path pattern it applies to, path pattern it does not apply to.
# (The leftovers are spelt in two halves so that this file passes its own check.)
LINE_RULES = [
    (r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b", "unfinished work belongs in an issue", r".", r"^$"),
    (r"(?<![\w./])/(home|root|work|Users)/\w", "absolute path of one machine", r".", r"^$"),
    (r"#include <torch/(torch|all)\.h>",
     "triples compile time; include <torch/types.h>, <torch/autograd.h>, ...", r"\.(h|cc)$", r"^$"),
    (r"\bgrpc::Status\b", "grpc::Status belongs in *_service files, common/rpc and common/wire",
     r"^(common|services)/.*\.(h|cc)$", r"(_service\.(h|cc)$|^common/(rpc|wire)/)"),
    (r"std::(thread::)?sleep_(for|until)\(|std::this_thread::sleep", "wait through common/base/clock.h",
     r"^(common|services)/.*\.(h|cc)$", r"^common/base/"),
]


def _check_lines(relative: str, lines: list[str]) -> list[str]:
    errors = []
    if len(lines) > MAX_LINES and pathlib.PurePath(relative).suffix in COUNTED_SUFFIXES:
        errors.append(f"{relative}:{MAX_LINES}: {len(lines)} lines, more than {MAX_LINES}")
    if relative.endswith(".h") and not any(line == "#pragma once" for line in lines):
        errors.append(f"{relative}:1: no #pragma once")
    rules = [(re.compile(pattern), message) for pattern, message, where, but in LINE_RULES
             if re.search(where, relative) and not re.search(but, relative)]
    for number, line in enumerate(lines, start=1):
        for pattern, message in rules:
            if pattern.search(line):
                errors.append(f"{relative}:{number}: {message}: {line.strip()[:80]}")
    return errors


def _check_registered(root: pathlib.Path, paths: list[pathlib.Path]) -> list[str]:
    """A C++ file that no CMakeLists.txt names is dead, a test or fuzzer among them never runs."""
    named = set()
    for path in paths:
        if path.name == "CMakeLists.txt":
            text = re.sub(r"#.*", "", path.read_text())
            words = re.findall(r'[^\s()"]+', text)
            words += [f"{name}_fuzz.cc" for name in re.findall(r"dtrpo_fuzzer\(NAME (\w+)", text)]
            named |= {(path.parent / word).resolve() for word in words
                      if pathlib.PurePath(word).suffix in repository.CPP_SUFFIXES}
    return [f"{path.relative_to(root)}:1: named by no CMakeLists.txt, so it is never built"
            for path in paths
            if path.suffix in repository.CPP_SUFFIXES and path.resolve() not in named]


def check(root: pathlib.Path) -> list[str]:
    paths = repository.files(root)
    errors = _check_registered(root, paths)
    for path in paths:
        if path.suffix not in TEXT_SUFFIXES or path.name.endswith(".lock"):
            continue
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue  # not text after all
        errors += _check_lines(str(path.relative_to(root)), lines)
    return errors


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    root = root if root.is_dir() else root.parent.parent
    errors = check(root)
    print("\n".join(errors) or "check_tidy: nothing found")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
