#!/usr/bin/env python3
"""Checks that arrows between rooms only go down: includes and linked libraries of every room
against the table below. Prints file:line for each wrong arrow and exits with 1 if there is one.

Usage: tools/check_layers.py [root of the repository]
"""

import pathlib
import re
import sys

import repository

# room: what it may include and link, itself aside. Lowest first; the table of ARCHITECTURE.md.
ROOMS = {
    "proto": "",
    "common/base": "",
    "common/trajectory": "base",
    "common/reward": "base trajectory",
    "common/job": "base trajectory reward",
    "common/text": "base",
    "common/evaluation": "base trajectory reward text",
    "common/report": "base evaluation",
    "common/checkpoint": "base",
    "common/pairs": "base trajectory job text checkpoint",
    "common/weights": "base",
    "common/model": "base trajectory checkpoint",
    "common/collectives": "base model",
    "common/diffusion": "base trajectory checkpoint model",
    "common/dtrpo": "base trajectory job checkpoint model",
    "common/training": "base trajectory job checkpoint weights model collectives dtrpo",
    "common/storage": "base",
    "common/rpc": "proto base",
    "common/wire": "proto base trajectory reward job weights rpc",
    "common/runtime": "proto base rpc",
    "services/coordinator": "proto base trajectory job text evaluation report checkpoint storage rpc "
                            "wire runtime",
    "services/replay": "proto base trajectory job storage rpc wire runtime",
    "services/reference": "proto base trajectory job checkpoint weights model dtrpo rpc wire runtime",
    "services/rollout": "proto base trajectory job text evaluation checkpoint weights model diffusion "
                        "reward rpc wire runtime",
    "services/learner": "proto base trajectory job text checkpoint pairs weights model collectives "
                        "dtrpo training rpc wire runtime",
}
# These may use everything.
TOPS = {"tools", "tests", "cmake"}

# Outside libraries that only some rooms may know: include pattern, link pattern, rooms.
SPEAKERS = {"proto", "common/rpc", "common/wire", "common/runtime"} | {
    room for room in ROOMS if room.startswith("services/")}
OUTSIDE = [
    ("LibTorch", r"(torch|ATen|c10)/", r"LibTorch::",
     {"common/model", "common/collectives", "common/diffusion", "common/dtrpo", "common/training",
      "services/reference", "services/rollout", "services/learner"}),
    ("gRPC", r"grpc(pp)?/", r"gRPC::", SPEAKERS),
    ("protobuf", r"google/protobuf/", r"protobuf::", SPEAKERS),
    ("RocksDB", r"rocksdb/", r"PkgConfig::ROCKSDB", {"common/storage"}),
    ("libpq", r"(libpq-fe|pg_config)\b", r"PkgConfig::LIBPQ", {"common/storage"}),
    ("Prometheus", r"prometheus/", r"prometheus-cpp::", {"common/runtime"}),
    ("flags", r"CLI/", r"CLI11::",
     {"common/runtime"} | {room for room in ROOMS if room.startswith("services/")}),
]

# Programs that must start without LibTorch, through any chain of libraries.
TORCH_FREE_PROGRAMS = ("dtrpo-coordinator", "dtrpo-replay", "dtrpoctl")

_INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def _allowed(room: str) -> set[str]:
    names = ROOMS[room].split()
    return {room} | {name if name == "proto" else f"common/{name}" for name in names}


def _check_includes(root: pathlib.Path, paths: list[pathlib.Path]) -> list[str]:
    errors = []
    for path in paths:
        relative = path.relative_to(root)
        room = repository.room_of(relative)
        if path.suffix not in repository.CPP_SUFFIXES or room in TOPS:
            continue
        if room not in ROOMS:
            errors.append(f"{relative}:1: room {room} is not in the table of check_layers.py")
            continue
        for number, line in enumerate(path.read_text().splitlines(), start=1):
            match = _INCLUDE.match(line)
            if not match:
                continue
            quote, header = match.groups()
            where = f"{relative}:{number}: {room}"
            if quote == '"':
                other = repository.room_of(pathlib.PurePath(header))
                if (other in ROOMS or other in TOPS) and other not in _allowed(room):
                    errors.append(f"{where} may not include {header}")
                continue
            for name, include, _, rooms in OUTSIDE:
                if re.match(include, header) and room not in rooms:
                    errors.append(f"{where} may not know {name}: <{header}>")
    return errors


def _check_links(targets: dict[str, repository.Target]) -> list[str]:
    errors = []
    for target in targets.values():
        room = repository.room_of(target.path)
        if room in TOPS or room not in ROOMS:
            continue
        where = f"{target.path}:{target.line}: {target.name}"
        torch_rooms = OUTSIDE[0][3]
        if target.torch and room not in torch_rooms:
            errors.append(f"{where} may not be a TORCH library")
        for dep in target.deps:
            if dep in targets:
                other = repository.room_of(targets[dep].path)
                if other not in _allowed(room):
                    errors.append(f"{where} may not link {dep} of {other}")
            for name, _, link, rooms in OUTSIDE:
                if re.match(link, dep) and room not in rooms:
                    errors.append(f"{where} may not link {name}: {dep}")
    return errors


def _path_to_torch(name: str, targets: dict[str, repository.Target]) -> list[str]:
    """The chain of targets from `name` down to one that links LibTorch; empty when there is none."""
    target = targets.get(name)
    if target is None:
        return [name] if name.startswith("LibTorch::") else []
    if target.torch:
        return [name]
    for dep in target.deps:
        chain = _path_to_torch(dep, targets)
        if chain:
            return [name] + chain
    return []


def check(root: pathlib.Path) -> list[str]:
    paths = repository.files(root)
    targets = repository.targets(root, paths)
    errors = _check_includes(root, paths) + _check_links(targets)
    for program in TORCH_FREE_PROGRAMS:
        chain = _path_to_torch(program, targets)
        if chain:
            target = targets[program]
            errors.append(f"{target.path}:{target.line}: LibTorch reached by {' -> '.join(chain)}")
    return errors


def main() -> int:
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else __file__).resolve()
    root = root if root.is_dir() else root.parent.parent
    errors = check(root)
    print("\n".join(errors) or "check_layers: every arrow goes down")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
