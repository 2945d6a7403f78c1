"""Installs tools/python/dtrpo_rewards with pip into a folder, from a copy: pip leaves files behind.

usage: install_package.py REPOSITORY FOLDER
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile


def main() -> None:
    repository, folder = map(pathlib.Path, sys.argv[1:])
    package = pathlib.Path("tools/python/dtrpo_rewards")
    proto = pathlib.Path("proto/dtrpo/v1/reward.proto")
    with tempfile.TemporaryDirectory() as work:
        copy = pathlib.Path(work)
        shutil.copytree(repository / package, copy / package)
        (copy / proto).parent.mkdir(parents=True)
        shutil.copy(repository / proto, copy / proto)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run(
            [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet",
             "--no-deps", "--no-build-isolation", "--no-index", "--target", folder, copy / package],
            check=True)


if __name__ == "__main__":
    main()
