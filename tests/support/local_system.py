"""A whole system of real processes for Python tests: `dtrpo up` in a folder, on free ports."""

import os
import pathlib
import re
import signal
import subprocess
import time

START_SECONDS = 120


class LocalSystem:
    """Starts it, or raises with the end of its log; stop() ends it in order."""

    def __init__(self, bin_dir: pathlib.Path, folder: pathlib.Path, *options: str) -> None:
        self.log = folder / "up.log"
        with self.log.open("w", encoding="utf-8") as log:
            self._process = subprocess.Popen(
                [bin_dir / "dtrpo", "up", "--port", "0", "--cores", "2", *options],
                cwd=folder, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        deadline = time.monotonic() + START_SECONDS
        while True:
            found = re.search(r"up: coordinator=(\S+)", self.log.read_text())
            if found:
                self.coordinator = found.group(1)
                return
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                raise RuntimeError("dtrpo up didn't start:\n" + self.log.read_text()[-4000:])
            time.sleep(0.1)

    def stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait(timeout=30)

    def __enter__(self) -> "LocalSystem":
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
