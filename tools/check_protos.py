#!/usr/bin/env python3
"""Checks proto/ with buf: its style, and that nothing breaks for who uses the last release.

Usage: tools/check_protos.py --buf PROGRAM [--root FOLDER] [--release VERSION]

buf is in the environment of tools/deps/python.sh, bin/buf. The image of a release lies in
proto/releases/VERSION.binpb; the newest counts. --release cuts one: writes the image of proto/ as
it is, after the checks have passed.
"""

import argparse
import pathlib
import re
import subprocess
import sys

_VERSION = re.compile(r"\d+\.\d+\.\d+")


def newest_image(root: pathlib.Path) -> pathlib.Path:
    images = [path for path in (root / "proto/releases").glob("*.binpb")
              if _VERSION.fullmatch(path.stem)]
    if not images:
        raise SystemExit("check_protos.py: proto/releases holds no image of a release")
    return max(images, key=lambda path: [int(number) for number in path.stem.split(".")])


def run(buf: str, root: pathlib.Path, *arguments: str) -> bool:
    return subprocess.run([buf, *arguments], cwd=root, timeout=120, check=False).returncode == 0


def check(buf: str, root: pathlib.Path) -> bool:
    image = newest_image(root)
    lint = run(buf, root, "lint")
    kept = run(buf, root, "breaking", "--against", str(image.relative_to(root)))
    if not kept:
        print(f"check_protos.py: proto/ breaks users of release {image.stem}", file=sys.stderr)
    return lint and kept


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--buf", required=True, metavar="PROGRAM")
    parser.add_argument("--root", type=pathlib.Path, metavar="FOLDER",
                        default=pathlib.Path(__file__).resolve().parent.parent)
    parser.add_argument("--release", metavar="VERSION", help="cut an image, for example 0.2.0")
    arguments = parser.parse_args()
    if not check(arguments.buf, arguments.root):
        return 1
    if arguments.release is None:
        return 0
    if not _VERSION.fullmatch(arguments.release):
        parser.error(f"--release {arguments.release}: not like 0.2.0")
    image = f"proto/releases/{arguments.release}.binpb"
    if not run(arguments.buf, arguments.root, "build", "--exclude-source-info", "-o", image):
        return 1
    print(image)
    return 0


if __name__ == "__main__":
    sys.exit(main())
