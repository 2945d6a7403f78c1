"""The Python client as its users have it: installed with pip, against real processes.

usage: client_test.py REPOSITORY BIN_DIR
"""

import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

import grpc
import yaml

from dtrpo_client import FINAL_STATES, Client, ServiceError
from dtrpo_client.v1 import coordinator_pb2
from local_system import LocalSystem

REPOSITORY, BIN_DIR = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
STEPS = 3


class ClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls._folder = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls._folder.name)
        subprocess.run([BIN_DIR / "dtrpo", "make-arithmetic", "--output", cls.folder / "data"],
                       check=True, capture_output=True, timeout=120)
        cls.job = {
            "name": "arithmetic",
            "model": {"path": str(REPOSITORY / "examples/arithmetic/base")},
            "data": {"prompts": str(cls.folder / "data/train.jsonl"),
                     "heldout": str(cls.folder / "data/heldout.jsonl")},
            "sampling": {"unmask": "steps:2", "max_new_tokens": 4, "samples_per_prompt": 4},
            "training": {"steps": STEPS, "pairs_per_batch": 8, "learning_rate": 1e-4,
                         "checkpoint_every": 1},
            "evaluation": {"max_prompts": 8},
            "output": str(cls.folder / "output"),
        }
        cls.system = LocalSystem(BIN_DIR, cls.folder, "--rollouts", "1")

    @classmethod
    def tearDownClass(cls) -> None:
        cls.system.stop()
        cls._folder.cleanup()

    def client(self) -> Client:
        return Client(self.system.coordinator, timeout=60)

    def test_a_job_is_submitted_and_watched_to_its_end(self) -> None:
        with self.client() as client:
            job_id = client.submit(self.job, idempotency_key="once")
            self.assertEqual(client.submit(self.job, idempotency_key="once"), job_id)
            steps, states = [], []
            for status in client.watch(job_id):
                steps += [step.step for step in status.steps]
                states.append(status.state)
            self.assertEqual(states[-1], coordinator_pb2.SUCCEEDED, status.reason)
            self.assertEqual(steps, list(range(1, STEPS + 1)), "each step once")
            self.assertTrue(pathlib.Path(status.checkpoint, "model.safetensors").is_file())
            self.assertEqual(client.wait(job_id).state, coordinator_pb2.SUCCEEDED)
            events = list(client.events(job_id, follow=True))
            self.assertEqual([event.number for event in events], list(range(1, len(events) + 1)))
            for kind in ("state", "attempt", "checkpoint", "evaluation"):
                self.assertIn(kind, {event.kind for event in events})
            self.assertIn("SUCCEEDED", events[-1].text)
            self.assertEqual(len(client.get(job_id, steps=True).steps), STEPS)

    def test_the_example_submits_a_job_file_and_watches(self) -> None:
        file = self.folder / "job.yaml"
        file.write_text(yaml.safe_dump({**self.job, "output": str(self.folder / "second")}))
        done = subprocess.run(
            [sys.executable, REPOSITORY / "tools/python/dtrpo_client/examples/submit_and_watch.py",
             self.system.coordinator, file], capture_output=True, text=True, timeout=240, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertIn(f"step {STEPS} of {STEPS}, loss ", done.stdout)
        self.assertIn("SUCCEEDED", done.stdout)

    def test_a_dry_run_makes_no_job_and_tells_its_sizes(self) -> None:
        with self.client() as client:
            before = len(client.list())
            checked = client.dry_run(self.job)
            self.assertEqual(len(client.list()), before)
        self.assertGreater(checked.sizes.parameters, 300_000)
        self.assertEqual(checked.sizes.push_bytes, 4 * checked.sizes.parameters)
        self.assertEqual(checked.spec.sampling.temperature, 1)

    def test_refusals_are_errors_with_the_coordinators_words(self) -> None:
        with self.client() as client:
            with self.assertRaises(ServiceError) as unknown:
                client.get("nobody-9")
            self.assertEqual(unknown.exception.code, grpc.StatusCode.NOT_FOUND)
            with self.assertRaises(ServiceError) as bad:
                client.submit({**self.job, "objective": {"beta": -1}})
            self.assertIn("objective.beta", str(bad.exception))

    def test_jobs_are_paused_cancelled_and_listed(self) -> None:
        with self.client() as client:
            long = {**self.job, "name": "long", "output": str(self.folder / "third"),
                    "training": {**self.job["training"], "steps": 100_000}}
            job_id = client.submit(json.loads(json.dumps(long)))
            self.assertEqual(client.cancel(job_id, "enough").state, coordinator_pb2.JOB_CANCELLED)
            self.assertIn(job_id, [job.job_id for job in client.list()])
            self.assertIn(client.get(job_id).state, FINAL_STATES)
            self.assertIn("rollout", {worker.role for worker in client.workers().workers})


class WithoutAServiceTest(unittest.TestCase):
    def test_plain_text_to_another_machine_must_be_asked_for(self) -> None:
        with self.assertRaisesRegex(ValueError, "tls"):
            Client("203.0.113.1:7070")
        Client("203.0.113.1:7070", insecure=True).close()

    def test_a_coordinator_that_is_away_is_an_error_after_the_timeout(self) -> None:
        with Client("127.0.0.1:1", timeout=1) as client, self.assertRaises(ServiceError) as error:
            client.list()
        self.assertEqual(error.exception.code, grpc.StatusCode.UNAVAILABLE)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
