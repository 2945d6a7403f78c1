"""A cluster of `dtrpo up` for the tests beside this file, and a job on the example's model."""

import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess
import time

JOB = """
name: watched
seed: 1
model: {{ path: {repository}/examples/arithmetic/base }}
data: {{ prompts: {folder}/data/train.jsonl, heldout: {folder}/heldout.jsonl }}
sampling: {{ unmask: "steps:2", temperature: 1, max_new_tokens: 4, samples_per_prompt: 4 }}
reward: {{ verifier: exact }}
objective: {{ draws: 2, sft_weight: 0.1 }}
training: {{ steps: {steps}, pairs_per_batch: 8, learning_rate: 1.0e-5, checkpoint_every: 5 }}
evaluation: {{ every_versions: 5 }}
output: {folder}/output
"""


class Cluster:
    def __init__(self, repository: pathlib.Path, bin_dir: pathlib.Path, folder: pathlib.Path, address: str):
        self.repository, self.bin_dir, self.folder, self.address = repository, bin_dir, folder, address

    def members(self) -> dict:
        return json.loads((self.folder / "run/cluster.json").read_text())

    def ctl(self, *words: str, timeout: float = 120) -> str:
        mine = self.folder / "run/certs/client"  # of `dtrpo up --tls`
        tls = {"CERTIFICATE": "tls.crt", "KEY": "tls.key", "CA": "ca.crt"} if mine.exists() else {}
        done = subprocess.run([self.bin_dir / "dtrpoctl", "--address", self.address, *words],
                              capture_output=True, text=True, timeout=timeout,
                              env=os.environ | {f"DTRPO_TLS_{name}": str(mine / file) for name, file in tls.items()})
        assert done.returncode == 0, f"dtrpoctl {words}: {done.stdout}{done.stderr}"
        return done.stdout

    def submit(self, steps: int) -> str:
        path = self.folder / "job.yaml"
        path.write_text(JOB.format(repository=self.repository, folder=self.folder, steps=steps))
        return self.ctl("submit", str(path)).strip()


def wait_for(what: str, done, seconds: float = 120, poll: float = 0.5):
    """What `done` returns once it is true."""
    begun = time.monotonic()
    while not (result := done()):
        assert time.monotonic() - begun < seconds, f"waited {seconds} s for {what}"
        time.sleep(poll)
    print(f"{what}: after {time.monotonic() - begun:.1f} s", flush=True)
    return result


@contextlib.contextmanager
def started(repository: str, bin_dir: str, folder: str, *options: str):
    repository, bin_dir, folder = (pathlib.Path(path).resolve() for path in (repository, bin_dir, folder))
    subprocess.run([bin_dir / "dtrpo", "make-arithmetic", "--output", folder / "data"], check=True, timeout=60,
                   stdout=subprocess.DEVNULL)
    heldout = (folder / "data/heldout.jsonl").read_text().splitlines()
    (folder / "heldout.jsonl").write_text("\n".join(heldout[::25]) + "\n")
    log = folder / "up.log"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([bin_dir / "dtrpo", "up", "--port", "0", "--cores", "2", "--dir", folder / "run",
                                    *options], stdout=output, stderr=output, cwd=folder)
    try:
        found = wait_for("the cluster to start",
                         lambda: re.search(r"up: coordinator=(\S+)", log.read_text()) or process.poll() is not None)
        assert not isinstance(found, bool), log.read_text()
        yield Cluster(repository, bin_dir, folder, found.group(1))
    except BaseException:
        for path in sorted(folder.glob("run/logs/*")) + [log]:
            print(f"---- {path.name}", *path.read_text(errors="replace").splitlines()[-20:], sep="\n", flush=True)
        raise
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
