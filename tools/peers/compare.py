#!/usr/bin/env python3
"""Runs the rollout engine and transformers_block_diffusion.py in turn on the same weights and
prompts, and prints tokens per second and the ratio of medians as Markdown.

    compare.py --checkpoint DIR --prompts DIR            # the aims, 3 rounds, about 10 minutes
    compare.py --checkpoint DIR --prompts DIR --quick    # shorter answers, 2 rounds
    compare.py --checkpoint DIR --prompts DIR --all      # every cell, 1 round
    compare.py --checkpoint DIR --prompts DIR --verify   # float32, one at a time: the same tokens

Each round runs every cell once, engine first, peer second, so that a slow hour of the machine
slows both. "Same" counts the answers of the last round that are equal token for token: in float32
nearly all; in bfloat16 rounding decides many near-ties and then everything after them.
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

import torch

import transformers_block_diffusion as peer_program

ROOT = pathlib.Path(__file__).resolve().parents[2]
UNMASK = {"threshold": "threshold:0.9", "static": "steps:4"}
ENGINE_SECONDS = 600  # one run is killed after that


@dataclasses.dataclass(frozen=True)
class Cell:
    dtype: str
    batch: int
    policy: str
    lengths: str
    requests: int

    @property
    def name(self):
        return f"rollout/{self.dtype}/batch:{self.batch}/{self.policy}/{self.lengths}"


AIMS = [Cell("float32", 1, "threshold", "equal", 2), Cell("float32", 16, "threshold", "equal", 16),
        Cell("float32", 16, "threshold", "mixed", 16)]
ALL = [Cell(dtype, batch, policy, lengths, max(2, batch)) for dtype in ("float32", "bfloat16")
       for batch in (1, 16, 64) for policy in UNMASK for lengths in ("equal", "mixed")]


@dataclasses.dataclass
class Run:
    tokens_per_second: float
    forwards: int
    responses: dict  # id -> tokens


class Engine:
    def __init__(self, options):
        self.options = options

    def run(self, cell, divisor):
        options = self.options
        with tempfile.TemporaryDirectory() as scratch:
            tokens = pathlib.Path(scratch) / "tokens.jsonl"
            done = subprocess.run(
                [options.engine, "--checkpoint", options.checkpoint, "--prompts", options.prompts,
                 "--requests", str(cell.requests), "--new_tokens_divisor", str(divisor),
                 "--threads", str(options.threads), "--tokens_out", tokens,
                 f"--benchmark_filter=^{cell.name}/", "--benchmark_format=json"],
                env={**os.environ, "OMP_NUM_THREADS": str(options.threads)}, check=True,
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=ENGINE_SECONDS)
            result = json.loads(done.stdout)["benchmarks"][0]
            lines = map(json.loads, tokens.read_text().splitlines())
            responses = {line["id"]: line["response_tokens"] for line in lines}
        return Run(result["tokens_per_second"], round(result["forwards"]), responses)


class Peer:
    def __init__(self, options):
        self.options = options
        self.models = {}

    def run(self, cell, divisor):
        if cell.dtype not in self.models:
            self.models[cell.dtype] = peer_program.Peer(self.options.checkpoint, cell.dtype)
        model = self.models[cell.dtype]
        path = pathlib.Path(self.options.prompts) / f"{cell.lengths}.jsonl"
        requests = peer_program.read_requests(path, cell.requests, divisor)
        how = peer_program.Options(UNMASK[cell.policy], batch=cell.batch,
                                   drop_finished=self.options.drop_finished)
        warm_up = [dataclasses.replace(requests[0], max_new_tokens=1)]
        model.generate(warm_up, how)
        start = time.perf_counter()
        responses = model.generate(requests, how)
        seconds = time.perf_counter() - start
        tokens = sum(map(len, responses))
        return Run(tokens / seconds, model.forwards,
                   {request.id: tokens for request, tokens in zip(requests, responses)})


def measure(cells, options):
    """{cell: ([engine runs], [peer runs])}; every cell has at least one of each."""
    engine, peer = Engine(options), Peer(options)
    runs = {cell: ([], []) for cell in cells}
    deadline = time.monotonic() + 60 * options.minutes
    for number in range(options.rounds):
        for cell in cells:
            if number > 0 and time.monotonic() > deadline:
                print(f"time is up in round {number + 1}", file=sys.stderr)
                return runs
            # 64 long answers take minutes; a quarter of their length tells the same rate.
            divisor = max(options.divisor, 4 if cell.batch == 64 else 1)
            for who, program in zip(runs[cell], (engine, peer)):
                who.append(program.run(cell, divisor))
            ours, theirs = (who[-1].tokens_per_second for who in runs[cell])
            print(f"round {number + 1} {cell.name}: {ours:.1f} {theirs:.1f}", file=sys.stderr)
    return runs


def same_answers(ours, theirs):
    return sum(theirs.responses[id] == tokens for id, tokens in ours.responses.items())


def print_table(runs):
    print("| dtype | batch | policy | lengths | engine tokens/s | peer tokens/s | ratio | forwards "
          "| same | rounds |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for cell, (ours, theirs) in runs.items():
        a, b = (statistics.median(run.tokens_per_second for run in who) for who in (ours, theirs))
        print(f"| {cell.dtype} | {cell.batch} | {cell.policy} | {cell.lengths} | {a:.1f} | {b:.1f} "
              f"| **{a / b:.2f}** | {ours[-1].forwards} / {theirs[-1].forwards} "
              f"| {same_answers(ours[-1], theirs[-1])} of {cell.requests} | {len(ours)} |")


def verify(options):
    """The peer's decoding is the engine's: equal tokens, prompts of any length modulo the block."""
    engine, peer = Engine(options), Peer(options)
    for policy in UNMASK:
        cell = Cell("float32", 1, policy, "mixed", requests=6)
        ours, theirs = engine.run(cell, 4), peer.run(cell, 4)
        same = same_answers(ours, theirs)
        print(f"{cell.name}: {same} of {cell.requests} answers are the same, "
              f"{sum(map(len, ours.responses.values()))} tokens")
        if same != cell.requests or set(ours.responses) != set(theirs.responses):
            return 1
    return 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="of make_checkpoint.py")
    parser.add_argument("--prompts", required=True, metavar="DIR", help="of make_prompts.py")
    parser.add_argument("--engine", default=ROOT / "build/release/bin/rollout_benchmark")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=15, help="no new run after that")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--drop-finished", action="store_true",
                        help="finished sequences leave the peer's batch")
    parser.add_argument("--filter", default="", help="only cells whose name contains this")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--quick", action="store_true")
    which.add_argument("--all", action="store_true")
    which.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    options.divisor = 4 if options.quick else 1
    if options.quick:
        options.rounds = min(options.rounds, 2)
    if options.all:
        options.rounds = 1

    torch.set_num_threads(options.threads)
    if options.verify:
        return verify(options)
    cells = [cell for cell in (ALL if options.all else AIMS) if options.filter in cell.name]
    print_table(measure(cells, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
