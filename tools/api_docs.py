#!/usr/bin/env python3
"""Writes docs/api.md, the gRPC services and their messages, from the comments of proto/dtrpo/v1.

Usage: tools/api_docs.py           writes it
       tools/api_docs.py --check   exits with 1 when it isn't what would be written
"""

import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTOS = ROOT / "proto/dtrpo/v1"
PAGE = ROOT / "docs/api.md"
LEFT_OUT = {"config.proto", "replay_log.proto"}  # files on disk, no calls
ELSEWHERE = {"job.proto": "job.md"}

_INTRODUCTION = """# The gRPC API

<!-- Written by tools/api_docs.py from proto/dtrpo/v1: edit the comments there. -->

Package `dtrpo.v1`. Clients need `JobService` alone; the rest is what the services say to each other. Every call needs a deadline. Metadata: `x-dtrpo-protocol`
(the version of the protocol, 1; another one is refused, none is taken for the same) and `x-dtrpo-role`. Errors are gRPC statuses with words that name the field, file or id; the trailing
`dtrpo-error-bin` is an `ErrorDetail` with a stable reason and when to try again. Every call may be repeated but for `RollBackJob` and a `SubmitJob` without idempotency key.
Fields are only added: a message from another release is read for what both know (`tools/check_protos.py`). Health (`grpc.health.v1`) and reflection are there, too.
"""

_START = re.compile(r"^(message|enum|service) (\w+) \{(.*)$")
_FIELD = re.compile(r"^\s*(?:(optional|repeated) )?([\w.]+|map<[^>]+>) (\w+) = \d+;\s*(?://\s*(.*))?$")
_VALUE = re.compile(r"^\s*(\w+) = (\d+);\s*(?://\s*(.*))?$")
_RPC = re.compile(r"^\s*rpc (\w+)\((stream )?(\w+)\) returns \((stream )?(\w+)\)\s*(?:;|\{\})\s*(?://\s*(.*))?$")
_ONE_LINE = re.compile(r"(?:(optional|repeated) )?([\w.]+) (\w+) = \d+;")


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


class File:
    """One proto: its services, and its messages and enums in order, each a title and table rows."""

    def __init__(self, path: pathlib.Path) -> None:
        self.name = path.name
        self.about = ""
        self.services: list[tuple[str, str, list[str]]] = []
        self.types: list[tuple[str, str, list[str]]] = []
        self._above: list[str] = []
        self._stack: list[tuple[str, str]] = []  # (kind, name)
        self._rows: dict[str, list[str]] = {}
        for line in path.read_text().splitlines():
            self._line(line.rstrip())

    def _take(self, comment: str = "") -> str:
        words = " ".join([*self._above, comment]).strip()
        self._above = []
        return re.sub(r"\s+", " ", words)

    def _line(self, line: str) -> None:
        stripped = line.strip()
        if line.startswith("syntax"):
            self.about = self._take()
        elif stripped.startswith("//"):
            if set(stripped) <= set("/- ") or stripped.startswith("// ----"):
                self._above = []
            else:
                self._above.append(stripped[2:].strip())
        elif not stripped:
            self._above = []
        elif start := _START.match(stripped):
            self._begin(*start.groups())
        elif stripped.startswith("oneof "):
            self._stack.append(("oneof", ""))
        elif stripped == "}":
            self._stack.pop()
        elif self._stack:
            self._member(line)

    def _begin(self, kind: str, name: str, rest: str) -> None:
        outer = [inner for what, inner in self._stack if what == "message"]
        whole = ".".join([*outer, name])
        rows: list[str] = []
        (self.services if kind == "service" else self.types).append((whole, self._take(), rows))
        self._rows[whole] = rows
        if rest.strip().endswith("}"):
            for label, of, field in _ONE_LINE.findall(rest):
                rows.append(f"| `{field}` | {label + ' ' if label else ''}{of} | |")
            return
        self._stack.append((kind, name))

    def _member(self, line: str) -> None:
        kind = next(what for what, _ in reversed(self._stack) if what != "oneof")
        rows = self._rows[".".join(name for what, name in self._stack if what != "oneof")]
        if kind == "service" and (rpc := _RPC.match(line)):
            name, in_stream, request, out_stream, response, comment = rpc.groups()
            rows.append(f"| `{name}` | {in_stream or ''}[{request}](#{request.lower()}) | "
                        f"{out_stream or ''}[{response}](#{response.lower()}) | "
                        f"{_cell(self._take(comment or ''))} |")
        elif kind == "message" and (field := _FIELD.match(line)):
            label, of, name, comment = field.groups()
            rows.append(f"| `{name}` | {label + ' ' if label else ''}{_cell(of)} | "
                        f"{_cell(self._take(comment or ''))} |")
        elif kind == "enum" and (value := _VALUE.match(line)):
            rows.append(f"| `{value.group(1)}` | {value.group(2)} | "
                        f"{_cell(self._take(value.group(3) or ''))} |")
        else:
            self._above = []


def page() -> str:
    files = [File(path) for path in sorted(PROTOS.glob("*.proto")) if path.name not in LEFT_OUT]
    # What clients call first.
    files.sort(key=lambda file: (file.name != "coordinator.proto", not file.services, file.name))
    lines = [_INTRODUCTION]
    for file in files:
        lines += [f"## {file.name}", "", *([_cell(file.about), ""] if file.about else [])]
        if file.name in ELSEWHERE:
            lines += [f"The job file; its fields are in [{ELSEWHERE[file.name]}]({ELSEWHERE[file.name]}).", ""]
            continue
        for name, comment, rows in file.services:
            lines += [f"### {name}", "", *([_cell(comment), ""] if comment else []),
                      "| call | takes | answers | |", "|---|---|---|---|", *rows, ""]
        for name, comment, rows in file.types:
            lines += [f"### {name}", "", *([_cell(comment), ""] if comment else [])]
            if rows:
                lines += ["| name | is | meaning |", "|---|---|---|", *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def main() -> int:
    wanted = page()
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(wanted)
        return 0
    if PAGE.is_file() and PAGE.read_text() == wanted:
        return 0
    print("docs/api.md isn't what proto/dtrpo/v1 says; run tools/api_docs.py")
    return 1


if __name__ == "__main__":
    sys.exit(main())
