"""`dtrpoctl metrics` of a job that ran: TensorBoard's own reader and a JSON parser find the same curves.

usage: event_file_test.py REPOSITORY BIN_DIR
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dtrpo_client import Client
from local_system import LocalSystem

REPOSITORY, BIN_DIR = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        subprocess.run([BIN_DIR / "dtrpo", "make-arithmetic", "--output", folder / "data"],
                       check=True, capture_output=True, timeout=120)
        with LocalSystem(BIN_DIR, folder, "--rollouts", "0") as system:
            with Client(system.coordinator, timeout=60) as client:
                status = client.wait(client.submit({
                    "name": "pairs", "model": {"path": str(REPOSITORY / "examples/arithmetic/base")},
                    "data": {"pairs": str(folder / "data/pairs.jsonl"), "pairs_heldout": 0.01},
                    "sampling": {"unmask": "steps:2", "max_new_tokens": 4},
                    "training": {"steps": 4, "pairs_per_batch": 8},
                    "output": str(folder / "output")}))
                assert status.reason == "all steps made", status
            for kind in ("jsonl", "tensorboard"):
                subprocess.run(
                    [BIN_DIR / "dtrpoctl", "--address", system.coordinator, "metrics", status.job_id,
                     "--format", kind, "--out", folder / "curves"],
                    check=True, timeout=60)
        lines = [json.loads(line) for line in (folder / "curves/metrics.jsonl").read_text().splitlines()]
        steps = [line for line in lines if line["kind"] == "step"]
        assert [line["step"] for line in steps] == [1, 2, 3, 4], lines
        read = EventAccumulator(str(folder / "curves"))
        read.Reload()
        assert "heldout_pairs/accuracy" in read.Tags()["scalars"], read.Tags()
        for tag in ("loss", "margin", "gradient_norm"):
            points = read.Scalars(f"step/{tag}")
            assert [point.step for point in points] == [1, 2, 3, 4], points
            for point, line in zip(points, steps):
                assert abs(point.value - line[tag]) <= 1e-6 * max(1, abs(line[tag])), (tag, point, line)
                assert abs(point.wall_time - line["unix_ms"] / 1000) < 1e-3
        print(f"{len(read.Tags()['scalars'])} curves")


if __name__ == "__main__":
    main()
