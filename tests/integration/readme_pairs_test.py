"""Runs the commands of README.md's section "Preference pairs" as they stand there, in an empty folder
with the repository's examples beside it. `up` is started in the background and takes a free port,
which `dtrpoctl` is told; nothing else is changed.

Usage: readme_pairs_test.py REPOSITORY BIN_DIR
"""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time


def commands(readme: str) -> list[str]:
    section = readme.split("### Preference pairs\n")[1].split("\n##")[0]
    joined = re.sub(r"\\\n\s+", "", section)
    found = [line.strip() for line in joined.splitlines() if line.startswith("    $bin/")]
    return [line.split("  #")[0].strip() for line in found]


def main() -> None:
    repository, bin_dir = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
    lines = commands((repository / "README.md").read_text())
    for wanted in ("make-arithmetic", "train", "up", "submit", "get"):
        assert any(wanted in line.split() for line in lines), f"no {wanted} in {lines}"
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(repository / "examples", f"{folder}/examples")
        cluster = None
        try:
            for line in lines:
                words = shlex.split(line.replace("$bin", str(bin_dir)))
                print("+", line, flush=True)
                if words[1] == "up":
                    log = open(f"{folder}/up.log", "w", encoding="utf-8")
                    cluster = subprocess.Popen(words + ["--port", "0", "--cores", "2"], cwd=folder,
                                               stdout=log, stderr=log)
                    deadline = time.monotonic() + 90
                    while "up: coordinator=" not in pathlib.Path(f"{folder}/up.log").read_text():
                        assert time.monotonic() < deadline and cluster.poll() is None
                        time.sleep(0.2)
                    text = pathlib.Path(f"{folder}/up.log").read_text()
                    address = re.search(r"up: coordinator=(\S+)", text).group(1)
                    continue
                if words[0].endswith("dtrpoctl"):
                    words[1:1] = ["--address", address]
                done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=240)
                output = done.stdout + done.stderr
                assert done.returncode == 0, f"{line}\n{output}"
                if "train" in words:
                    assert re.search(r"\ntrain: pairs=6400 steps=100 seconds=[\d.]+ pairs_per_second="
                                     r"[\d.]+ peak_rss_bytes=\d+\n$", output), output
                if "submit" in words:
                    assert "SUCCEEDED" in output, output
                if "get" in words:
                    status = json.loads(done.stdout)
                    before, after = (status["pair_evaluations"][i] for i in (0, -1))
                    assert before["step"] == "0" and after["step"] == "100", status
                    assert after["accuracy"] > 0.6 and after["margin"] > 0.05, after
                    pairs = status["pairs"]
                    assert pairs["consumed"] == "6400" and pairs["stored"] == "0", pairs
        finally:
            if cluster is not None:
                cluster.send_signal(signal.SIGTERM)
                cluster.wait(timeout=60)


if __name__ == "__main__":
    main()
