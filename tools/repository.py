"""What the repository checks share: its files, and the targets its CMakeLists.txt files declare."""

import pathlib
import re
import subprocess
from dataclasses import dataclass, field

CPP_SUFFIXES = {".cc", ".h"}
_TARGET_CALL = re.compile(r"^\s*dtrpo_(library|binary|test|benchmark)\s*\(([^)]*)\)", re.M)
_KEYWORDS = {"NAME", "SRCS", "HDRS", "DEPS", "TORCH", "LABELS", "TIMEOUT", "ENV"}


def files(root: pathlib.Path) -> list[pathlib.Path]:
    """Every file of the checkout that git doesn't ignore; without git, every file outside build/."""
    listing = subprocess.run(
        ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        capture_output=True, text=True, check=False)
    if listing.returncode == 0:
        names = [root / name for name in listing.stdout.split("\0") if name]
    else:
        names = [path for path in root.rglob("*")
                 if not {"build", ".git"} & set(path.relative_to(root).parts)]
    return sorted(path for path in set(names) if path.is_file())


def room_of(path: pathlib.PurePath) -> str:
    """`path` is relative to the root. "common/base", "services/replay"; else the top folder."""
    depth = 2 if path.parts[0] in ("common", "services") else 1
    return "/".join(path.parts[:depth])


@dataclass
class Target:
    kind: str
    name: str
    path: pathlib.PurePath  # of its CMakeLists.txt, relative to the root
    line: int
    torch: bool = False
    sources: list[str] = field(default_factory=list)
    deps: list[str] = field(default_factory=list)


def targets(root: pathlib.Path, paths: list[pathlib.Path]) -> dict[str, Target]:
    """The targets declared with the functions of cmake/DtrpoRooms.cmake, by name."""
    found = {}
    for path in paths:
        if path.name != "CMakeLists.txt":
            continue
        text = re.sub(r"#.*", "", path.read_text())
        for call in _TARGET_CALL.finditer(text):
            words = {keyword: [] for keyword in _KEYWORDS}
            keyword = ""
            for word in call.group(2).split():
                if word in _KEYWORDS:
                    keyword = word
                    if word == "TORCH":
                        words["TORCH"].append(word)
                elif keyword:
                    words[keyword].append(word)
            name = (words["NAME"] or ["?"])[0]
            found[name] = Target(
                kind=call.group(1), name=name, path=path.relative_to(root),
                line=text.count("\n", 0, call.start(2)) + 1, torch=bool(words["TORCH"]),
                sources=words["SRCS"] + words["HDRS"], deps=words["DEPS"])
    # The generated protocol code is built by plain CMake commands.
    found.setdefault("dtrpo_proto", Target(
        kind="library", name="dtrpo_proto", path=pathlib.PurePath("proto/CMakeLists.txt"), line=1))
    return found
