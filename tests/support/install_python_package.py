"""Installs a package of tools/python with pip into a folder, from a copy: pip leaves files behind.

usage: install_python_package.py REPOSITORY PACKAGE FOLDER
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile


def main() -> None:
    repository, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[3])
    package = pathlib.Path("tools/python") / sys.argv[2]
    with tempfile.TemporaryDirectory() as work:
        copy = pathlib.Path(work)
        for part in (package, pathlib.Path("proto/dtrpo/v1")):
            shutil.copytree(repository / part, copy / part)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet",
             "--no-deps", "--no-build-isolation", "--no-index", "--target", folder, copy / package],
            check=True)


if __name__ == "__main__":
    main()
