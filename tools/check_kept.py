#!/usr/bin/env python3
"""Checks that a class with a list of kept members (services/coordinator/kept_state.h) lists all of
them: one that is forgotten would be lost by a restart. Members that needn't be kept are named in a
comment that begins with "Not kept:", or have a comment that says "not kept". Prints file:line for each finding and exits with 1 if there
is one.

Usage: tools/check_kept.py [root of the repository]
"""

import pathlib
import re
import sys

import repository

_CLASS = re.compile(r"\b(?:class|struct)\s+(\w+)[^;{()]*\{")
_KEPT = re.compile(r"void Kept\(Archive& archive\)\s*\{")
_COMMENT = re.compile(r"//[^\n]*")
_NOT_KEPT = re.compile(r"Not kept:((?:[^\n]*\n\s*//)*[^\n]*)")
_MEMBER_NOT_KEPT = re.compile(r"(\w+)(?: = [^;]*)?;\s*//.*\b(?:not|nor) kept\b")
# A member: a type, a name, perhaps a value. Constants come from the constructor.
_MEMBER = re.compile(r"^(?!const\b|constexpr\b|static\b|using\b|friend\b|typedef\b|enum\b|struct\b|"
                     r"class\b|return\b|template\b)"
                     r"(?:mutable\s+)?[\w:][\w:<>,\s*&]*[\s>*&](\w+)(?:\s+ABSL_\w+\([^)]*\))?"
                     r"(?:\s*=.*|\s*\{.*\})?$", re.S)


def _matching_brace(text: str, start: int) -> int:
    depth = 0
    for i in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[i], 0)
        if depth == 0:
            return i
    return len(text)


def _statements(body: str):
    """(offset, text) of what stands directly in a class, blocks in braces blanked out."""
    depth, begin, out = 0, 0, []
    for i, char in enumerate(body):
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            # A function's body ends a statement; a value in braces is followed by a semicolon.
            if depth == 0 and not body[i + 1:].lstrip().startswith((";", ",", ")")):
                begin = i + 1
        elif char == ";" and depth == 0:
            out.append((begin, body[begin:i]))
            begin = i + 1
        elif char == ":" and depth == 0 and re.search(r"\b(public|private|protected)$", body[:i]):
            begin = i + 1
    return out


def _check_class(body: str) -> list[tuple[int, str]]:
    code = _COMMENT.sub(lambda match: " " * len(match.group()), body)
    # Nested classes have lists of their own.
    for match in reversed(list(_CLASS.finditer(code))):
        end = _matching_brace(code, match.end() - 1)
        code = code[:match.start()] + " " * (end + 1 - match.start()) + code[end + 1:]
    kept = _KEPT.search(code)
    if kept is None:
        return []
    listed = set(re.findall(r"\w+", code[kept.end():_matching_brace(code, kept.end() - 1)]))
    listed |= set(_MEMBER_NOT_KEPT.findall(body))
    for match in _NOT_KEPT.finditer(body):
        listed |= set(re.findall(r"\w+", match.group(1)))
    findings = []
    for offset, statement in _statements(code):
        text = statement.strip()
        match = _MEMBER.match(text)
        if match and "(" not in text.split("=")[0].split("ABSL_")[0] \
                and match.group(1) not in listed:
            findings.append((offset + len(statement) - len(statement.lstrip()), match.group(1)))
    return findings


def check(root: pathlib.Path) -> list[str]:
    errors = []
    for path in repository.files(root):
        if path.suffix != ".h":
            continue
        text = path.read_text()
        if _KEPT.search(text) is None:
            continue
        bare = _COMMENT.sub(lambda match: " " * len(match.group()), text)
        for match in _CLASS.finditer(bare):
            begin = match.end()
            for offset, name in _check_class(text[begin:_matching_brace(bare, begin - 1)]):
                line = text.count("\n", 0, begin + offset) + 1
                errors.append(f"{path.relative_to(root)}:{line}: {match.group(1)}::{name} is "
                              "neither in the list of Kept() nor said to be \"Not kept:\"")
    return errors


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    errors = check(root if root.is_dir() else root.parent.parent)
    print("\n".join(errors) if errors else "kept members: fine")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
