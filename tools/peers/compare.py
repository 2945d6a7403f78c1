#!/usr/bin/env python3
"""Runs the rollout engine and transformers_block_diffusion.py in turn on the same weights and
prompts, and prints tokens per second and the ratio of medians as Markdown.

    compare.py --checkpoint DIR --prompts DIR            # the aims, 3 rounds, 10 minutes or less
    compare.py --checkpoint DIR --prompts DIR --quick    # a quarter of the length, 2 rounds
    compare.py --checkpoint DIR --prompts DIR --all      # every cell, 1 round; also with --quick
    compare.py --checkpoint DIR --prompts DIR --verify   # float32, one at a time: the same tokens

Each round runs every cell once, engine first, peer second. A pair during which other programs used
more than a tenth of the machine doesn't count and is run again. "Same" counts the answers of the
last round that are equal token for token: in float32 nearly all; in bfloat16 rounding decides many
near-ties and then everything after them.
"""

import argparse
import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import resource
import signal
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
LOCK_SECONDS = 1200   # and waiting for --lock ends the program


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
    responses: dict      # id -> tokens
    others: float = 0.0  # share of the machine that other programs had meanwhile


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


@contextlib.contextmanager
def exclusive(path):
    """Holds the file's lock, as `flock PATH command` does."""
    if not path:
        yield
        return
    with open(path, "w") as file:
        signal.alarm(LOCK_SECONDS)
        fcntl.flock(file, fcntl.LOCK_EX)
        signal.alarm(0)
        yield


class OtherWork:
    """Share of the machine's CPU time that other programs use while the block runs."""

    def __enter__(self):
        self.start = time.monotonic(), self._others()
        return self

    def __exit__(self, *_):
        seconds = time.monotonic() - self.start[0]
        self.share = max(0.0, self._others() - self.start[1]) / (seconds * os.cpu_count())

    @staticmethod
    def _others():
        user, nice, system, _, _, irq, softirq = map(
            int, pathlib.Path("/proc/stat").read_text().split()[1:8])
        busy = (user + nice + system + irq + softirq) / os.sysconf("SC_CLK_TCK")
        us = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        return busy - sum(usage.ru_utime + usage.ru_stime for usage in us)


def run_pair(cell, divisor, programs, options):
    """One run of each program, or None when other work disturbed one of them."""
    pair = []
    with exclusive(options.lock):
        for program in programs:
            with OtherWork() as others:
                pair.append(program.run(cell, divisor))
            pair[-1].others = others.share
            if others.share > options.max_others:
                print(f"{cell.name}: disturbed, others use {others.share:.0%}", file=sys.stderr)
                return None
    return pair


def measure(cells, options):
    """{cell: [(engine run, peer run)]}, for those cells that could be measured."""
    programs = Engine(options), Peer(options)
    pairs = {cell: [] for cell in cells}
    deadline = time.monotonic() + 60 * options.minutes
    while any(len(done) < options.rounds for done in pairs.values()):
        for cell in cells:
            if time.monotonic() > deadline:
                print("time is up", file=sys.stderr)
                return {cell: done for cell, done in pairs.items() if done}
            if len(pairs[cell]) == options.rounds:
                continue
            # 64 long answers take minutes; a quarter of their length tells the same rate.
            divisor = max(options.divisor, 4 if cell.batch == 64 else 1)
            pair = run_pair(cell, divisor, programs, options)
            if pair is None:
                time.sleep(options.pause)
                continue
            pairs[cell].append(pair)
            ours, theirs = (run.tokens_per_second for run in pair)
            print(f"{cell.name}: {ours:.1f} {theirs:.1f}", file=sys.stderr)
    return pairs


def same_answers(ours, theirs):
    return sum(theirs.responses[id] == tokens for id, tokens in ours.responses.items())


def print_table(pairs):
    print("| dtype | batch | policy | lengths | engine tokens/s | peer tokens/s | ratio | forwards "
          "| same | rounds |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for cell, done in pairs.items():
        a, b = (statistics.median(run.tokens_per_second for run in who) for who in zip(*done))
        ours, theirs = done[-1]
        print(f"| {cell.dtype} | {cell.batch} | {cell.policy} | {cell.lengths} | {a:.1f} | {b:.1f} "
              f"| **{a / b:.2f}** | {ours.forwards} / {theirs.forwards} "
              f"| {same_answers(ours, theirs)} of {cell.requests} | {len(done)} |")


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
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--minutes", type=float, default=15,
                        help="no new pair is begun after that")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--drop-finished", action="store_true",
                        help="finished sequences leave the peer's batch")
    parser.add_argument("--lock", metavar="FILE",
                        help="hold this file's lock while a pair runs: for shared machines")
    parser.add_argument("--max-others", type=float, default=0.1, metavar="SHARE",
                        help="of the machine for other programs, above which a pair doesn't "
                             "count")
    parser.add_argument("--pause", type=float, default=5, help="seconds before it is run again")
    parser.add_argument("--filter", default="", help="only cells whose name contains this")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--verify", action="store_true")
    options = parser.parse_args()
    options.divisor = 4 if options.quick else 1
    options.rounds = options.rounds or (1 if options.all else 2 if options.quick else 3)

    torch.set_num_threads(options.threads)
    if options.verify:
        return verify(options)
    cells = [cell for cell in (ALL if options.all else AIMS) if options.filter in cell.name]
    print_table(measure(cells, options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
