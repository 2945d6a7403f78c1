"""The client's types hold: mypy --strict over the installed package and its example.

usage: typed_test.py REPOSITORY INSTALLED
"""

import pathlib
import subprocess
import sys
import tempfile

REPOSITORY, INSTALLED = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])

with tempfile.TemporaryDirectory() as cache:
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--cache-dir", cache,
         INSTALLED / "dtrpo_client/client.py",
         REPOSITORY / "tools/python/dtrpo_client/examples/submit_and_watch.py"],
        cwd=INSTALLED, env={"MYPYPATH": str(INSTALLED)}, timeout=240, check=False)
sys.exit(done.returncode)
