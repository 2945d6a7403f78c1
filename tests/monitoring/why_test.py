"""While a job runs, one service after another is stopped with SIGSTOP, and `dtrpoctl why` must name it; once it goes on,
so must the job. `dtrpoctl top --once` shows it, too.

Usage: why_test.py REPOSITORY BIN_DIR
"""

import json
import os
import signal
import sys
import tempfile

from cluster import started, wait_for


def main() -> None:
    repository, bin_dir = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as folder, started(repository, bin_dir, folder) as cluster:
        job = cluster.submit(steps=100000)

        def status() -> dict:
            return json.loads(cluster.ctl("--json", "get", job))

        def blocked() -> list:
            return json.loads(cluster.ctl("--json", "why", job))["blocked"]

        wait_for("the first step", lambda: int(status()["step"]) > 0)
        for name in ("rollout-0", "replay", "reference"):
            member = cluster.members()[name]
            os.kill(member["pid"], signal.SIGSTOP)
            try:
                wait_for(f"why to name {name}", lambda: [
                    end for end in blocked()
                    if end["reason"] == "hasn't answered" and end["who"].startswith(member["kind"])])
                print(cluster.ctl("why", job), end="", flush=True)
                assert member["address"] in cluster.ctl("why", job)
                frame = cluster.ctl("top", "--once")
                assert job in frame and "learner-1" in frame, frame
            finally:
                os.kill(member["pid"], signal.SIGCONT)
            step = int(status()["step"])
            wait_for(f"the job to go on without {name} being blamed", lambda: int(status()["step"]) > step and not [
                end for end in blocked() if end["reason"] == "hasn't answered"])
        cluster.ctl("cancel", job)


if __name__ == "__main__":
    main()
