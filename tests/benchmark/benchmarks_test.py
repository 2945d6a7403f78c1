#!/usr/bin/env python3
"""The benchmark programs still run, on the example's tiny checkpoint; tools/peers is still Python.

Usage: benchmarks_test.py FOLDER_OF_PROGRAMS
"""

import ast
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHECKPOINT = ROOT / "examples/arithmetic/base"
PEERS = ROOT / "tools/peers"


def run(*command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=60)
    if done.returncode != 0:
        raise AssertionError(f"{command} exits with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


class BenchmarksTest(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.addCleanup(self.scratch.cleanup)
        self.folder = pathlib.Path(self.scratch.name)
        run(sys.executable, PEERS / "make_prompts.py", "--checkpoint", CHECKPOINT, "--output",
            self.folder)

    def results(self, program, names):
        output = run(PROGRAMS / program, "--checkpoint", CHECKPOINT, "--prompts", self.folder,
                     "--threads", "1", "--new_tokens_divisor", "16", "--tokens_out",
                     self.folder / "tokens.jsonl", "--benchmark_format=json",
                     f"--benchmark_filter={names}")
        return json.loads(output)["benchmarks"]

    def test_rollouts_are_counted_and_their_tokens_written(self):
        (result,) = self.results("rollout_benchmark", "rollout/float32/batch:16/static/mixed")
        lines = list(map(json.loads, (self.folder / "tokens.jsonl").read_text().splitlines()))
        self.assertEqual([line["id"] for line in lines], [f"mixed-{i}" for i in range(16)])
        self.assertEqual(result["tokens"], sum(len(line["response_tokens"]) for line in lines))
        self.assertEqual(result["rows"], 4 * result["sequence_forwards"])
        self.assertGreater(result["tokens_per_second"], 0)

    def test_a_step_is_timed_against_the_multiplications_in_it(self):
        (result,) = self.results("rollout_benchmark", "step/float32/batch:1/")
        self.assertGreater(result["matmul_fraction"], 0)

    def test_a_checkpoint_is_loaded_and_its_memory_counted(self):
        (result,) = self.results("checkpoint_benchmark", "checkpoint/float32")
        self.assertGreater(result["seconds_per_block"], 0)
        self.assertGreater(result["resident_after_load_bytes"], result["weights_bytes"])
        self.assertGreaterEqual(result["peak_bytes"], result["resident_after_block_bytes"])

    def test_a_training_step_is_timed_and_its_draws_written(self):
        (result,) = self.results("learner_benchmark", "step/float32/dtrpo")
        self.assertEqual(result["pairs"], 8)  # of three steps the first warms up
        self.assertGreater(result["matmul_fraction"], 0)
        self.assertGreater(result["peak_bytes"], 0)
        # Of two answers: the prompt's rows once, each block but the last clean, and noisy those
        # that have a step to draw.
        def rows(steps):
            blocks = [steps[i:i + 4] for i in range(0, len(steps), 4)]
            return 4 * (len(blocks) - 1 + sum(max(block) > 0 for block in blocks))

        pairs = map(json.loads, (self.folder / "pairs.jsonl").read_text().splitlines())
        rows = [128 + sum(rows(pair[which]["unmask_step"]) for which in ("chosen", "rejected"))
                for pair in pairs]
        self.assertEqual(result["rows_per_pair"], sum(rows[4:12]) / 8)
        steps = list(map(json.loads, (self.folder / "tokens.jsonl").read_text().splitlines()))
        self.assertEqual([pair["id"] for step in steps for pair in step["pairs"]],
                         [f"pair-{i}" for i in range(12)])
        self.assertAlmostEqual(steps[0]["loss"], math.log(2), places=6)
        self.assertNotAlmostEqual(steps[2]["loss"], math.log(2), places=3)

    def test_the_peer_programs_are_python(self):
        programs = sorted(PEERS.glob("*.py"))
        self.assertTrue(programs)
        for path in programs:
            ast.parse(path.read_text(), str(path))


if __name__ == "__main__":
    PROGRAMS = pathlib.Path(sys.argv.pop(1))
    unittest.main()
