#!/usr/bin/env python3
"""Runs the learner's step and transformers_preference_step.py in turn on the same weights, pairs
and draws, and prints pairs per second, peak memory and forwards as Markdown.

    compare_learner.py --checkpoint DIR --prompts DIR            # 3 rounds of 4 steps, 20 minutes
    compare_learner.py --checkpoint DIR --prompts DIR --quick    # 1 round of 2 steps

Each round runs every type once, learner first, peer second, each in a process of its own. The first
step warms up. A pair of runs during which other programs used more than a tenth of the machine
doesn't count and is run again. "Loss" is the largest difference of a step's loss in the last round:
in float32 both do the same work; in bfloat16 the peer also rounds the optimizer's state and the
weights it keeps.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

from compare import OtherWork, exclusive

ROOT = pathlib.Path(__file__).resolve().parents[2]
PEER = pathlib.Path(__file__).with_name("transformers_preference_step.py")
RUN_SECONDS = 900  # one run is killed after that
PAIRS_PER_STEP = 4


@dataclasses.dataclass
class Run:
    pairs_per_second: float
    peak_bytes: float
    forwards: float
    losses: list
    matmul_fraction: float = 0


def call(options, *command):
    return subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": str(options.threads)},
                          check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=RUN_SECONDS).stdout


def run_learner(options, dtype, objective, steps):
    result = json.loads(call(
        options, options.learner, "--checkpoint", options.checkpoint, "--prompts", options.prompts,
        "--requests", str(PAIRS_PER_STEP * options.steps), "--threads", str(options.threads),
        "--tokens_out", steps, f"--benchmark_filter=^step/{dtype}/{objective}/",
        "--benchmark_format=json"))["benchmarks"][0]
    losses = [json.loads(line)["loss"] for line in pathlib.Path(steps).read_text().splitlines()]
    return Run(result["pairs_per_second"], result["peak_bytes"], result["forwards_per_step"],
               losses, result["matmul_fraction"])


def run_peer(options, dtype, steps):
    result = json.loads(call(
        options, sys.executable, PEER, "--checkpoint", options.checkpoint, "--prompts",
        options.prompts, "--steps", steps, "--dtype", dtype, "--threads", str(options.threads)))
    return Run(result["pairs_per_second"], result["peak_bytes"], result["forwards_per_step"],
               result["losses"])


def run_pair(options, dtype):
    """One run of each, or None when other work disturbed one of them."""
    with tempfile.TemporaryDirectory() as scratch, exclusive(options.lock):
        steps = pathlib.Path(scratch) / "steps.jsonl"
        pair = []
        for run in (lambda: run_learner(options, dtype, "dtrpo", steps),
                    lambda: run_peer(options, dtype, steps)):
            with OtherWork() as others:
                pair.append(run())
            if others.share > options.max_others:
                print(f"{dtype}: disturbed, others use {others.share:.0%}", file=sys.stderr)
                return None
    print(f"{dtype}: {pair[0].pairs_per_second:.3f} {pair[1].pairs_per_second:.3f}",
          file=sys.stderr)
    return pair


def measure(options):
    pairs = {dtype: [] for dtype in options.dtypes}
    deadline = time.monotonic() + 60 * options.minutes
    while any(len(done) < options.rounds for done in pairs.values()):
        for dtype, done in pairs.items():
            if time.monotonic() > deadline:
                print("time is up", file=sys.stderr)
                return {dtype: done for dtype, done in pairs.items() if done}
            if len(done) == options.rounds:
                continue
            pair = run_pair(options, dtype)
            if pair is None:
                time.sleep(options.pause)
            else:
                done.append(pair)
    return pairs


def print_table(pairs):
    print("| dtype | learner pairs/s | peer pairs/s | ratio | learner peak GB | peer peak GB "
          "| ratio | forwards a step | of bare products | loss | rounds |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for dtype, done in pairs.items():
        learner, peer = zip(*done)
        a, b = (statistics.median(run.pairs_per_second for run in runs) for runs in (learner, peer))
        m, n = (statistics.median(run.peak_bytes for run in runs) / 1e9 for runs in (learner, peer))
        fraction = statistics.median(run.matmul_fraction for run in learner)
        loss = max(abs(x - y) for x, y in zip(learner[-1].losses, peer[-1].losses))
        print(f"| {dtype} | {a:.3f} | {b:.3f} | **{a / b:.2f}** | {m:.2f} | {n:.2f} "
              f"| **{m / n:.2f}** | {learner[-1].forwards:.0f} / {peer[-1].forwards:.0f} "
              f"| {fraction:.2f} | {loss:.1e} | {len(done)} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="of make_checkpoint.py")
    parser.add_argument("--prompts", required=True, metavar="DIR", help="of make_prompts.py")
    parser.add_argument("--learner", default=ROOT / "build/release/bin/learner_benchmark")
    parser.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--minutes", type=float, default=30,
                        help="no new pair of runs is begun after that")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--lock", metavar="FILE",
                        help="hold this file's lock while a pair runs: for shared machines")
    parser.add_argument("--max-others", type=float, default=0.1, metavar="SHARE",
                        help="of the machine for other programs, above which a pair doesn't count")
    parser.add_argument("--pause", type=float, default=5, help="seconds before it is run again")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.rounds = options.rounds or (1 if options.quick else 3)
    options.steps = options.steps or (2 if options.quick else 4)
    print_table(measure(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
