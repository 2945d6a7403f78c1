#!/usr/bin/env python3
"""Writes docs/job.md, the fields of a job file, from the comments of proto/dtrpo/v1/job.proto.

Usage: tools/job_docs.py           writes it
       tools/job_docs.py --check   exits with 1 when it isn't what would be written
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto/dtrpo/v1/job.proto"
PAGE = ROOT / "docs/job.md"

_MESSAGE = re.compile(r"^message (\w+) \{$")
_FIELD = re.compile(r"^  (optional |repeated )?(\w+) (\w+) = \d+;\s*(?://\s*(.*))?$")
_COMMENT = re.compile(r"^  // ?(.*)$")
_TYPES = {"string": "text", "bool": "true or false", "int32": "whole number",
          "repeated int32": "list of whole numbers",
          "repeated string": "list of texts", "int64": "whole number", "uint64": "whole number", "double": "number"}

_INTRODUCTION = """# The job file

<!-- Written by tools/job_docs.py from proto/dtrpo/v1/job.proto: edit the comments there. -->

A job is a YAML (or JSON) file of the message `JobSpec`; `examples/arithmetic/job.yaml` is one. A field
that isn't named takes its default; an unknown field is refused with file and line. Relative paths are
taken from the folder that `dtrpoctl submit` runs in, and the services must be able to read them.

<!-- not run: docs/first-job.md runs it -->

    dtrpoctl submit job.yaml --dry-run     checks the file, prints it with every default

Required: `name`, `model.path` or `model.from_job`, `data.prompts` or `data.pairs`, `training.steps`, `output`. B, K, G and S are the letters of
ARCHITECTURE.md: pairs per batch, draws, samples per prompt, staleness in versions.
"""


def _words(comment: list[str]) -> str:
    """One line. Indented lines of a comment are a list: term, two or more blanks, meaning, ..."""
    words = []
    for line in comment:
        cells = re.split(r"\s{2,}", line.strip())
        if line.startswith("  ") and len(cells) % 2 == 0:
            pairs = zip(cells[::2], cells[1::2])
            words += [f"<br>`{term}` {meaning}" for term, meaning in pairs]
        else:
            words += line.split()
    return " ".join(words)


def messages(text: str) -> dict[str, list[tuple[str, str, str]]]:
    """(type, name, comment) of each field, by message."""
    found, fields, above = {}, None, []
    for line in text.splitlines():
        if line.startswith("//"):
            continue
        if message := _MESSAGE.match(line):
            fields, above = found.setdefault(message.group(1), []), []
        elif comment := _COMMENT.match(line):
            above.append(comment.group(1))
        elif field := _FIELD.match(line):
            kind = ("repeated " if field.group(1) == "repeated " else "") + field.group(2)
            fields.append((kind, field.group(3), _words(above + [field.group(4) or ""])))
            above = []
        elif fields is not None and line.strip() not in ("", "}") and "reserved" not in line:
            raise ValueError(f"{PROTO}: not understood: {line}")
    return found


def _table(rows: list[tuple[str, str, str]], prefix: str) -> list[str]:
    lines = ["| field | is | meaning |", "|---|---|---|"]
    for kind, name, comment in rows:
        comment = comment.replace("|", "\\|").replace("<=", "&le;")
        lines.append(f"| `{prefix}{name}` | {_TYPES[kind]} | {comment} |")
    return lines


def _sections(specs: dict, message: str, prefix: str) -> list[str]:
    """The table of a message's own fields, then a section for each message in it."""
    lines = _table([row for row in specs[message] if row[0] in _TYPES], prefix)
    for kind, name, _ in specs[message]:
        if kind not in _TYPES:
            each = "[]" if kind.startswith("repeated ") else ""
            field = f"{prefix}{name}{each}"
            lines += ["", f"## {field}", ""]
            lines += _sections(specs, kind.removeprefix("repeated "), f"{field}.")
    return lines


def page(text: str) -> str:
    specs = messages(text)
    return "\n".join([_INTRODUCTION] + _sections(specs, "JobSpec", "")) + "\n"


def main() -> int:
    wanted = page(PROTO.read_text())
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted)
        return 0
    if PAGE.is_file() and PAGE.read_text() == wanted:
        return 0
    print("docs/job.md isn't what proto/dtrpo/v1/job.proto says; run tools/job_docs.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
