"""Services one release apart work together during an upgrade: messages and calls of the last release,
made from its image in proto/releases, against today's processes, and the other way around.

usage: last_release_test.py REPOSITORY BIN_DIR
"""

import concurrent.futures
import json
import pathlib
import signal
import subprocess
import sys
import tempfile
import threading
import time
import unittest

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory

from dtrpo_client.v1 import coordinator_pb2

REPOSITORY, BIN_DIR = (pathlib.Path(argument).resolve() for argument in sys.argv[1:3])
OLD_METADATA = (("x-dtrpo-protocol", "1"), ("x-dtrpo-role", "client"))
TIMEOUT = 60


class LastRelease:
    """Its messages and services."""

    def __init__(self) -> None:
        image = max((REPOSITORY / "proto/releases").glob("*.binpb"),
                    key=lambda path: [int(part) for part in path.stem.split(".")])
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(image.read_bytes()).file:
            pool.AddSerializedFile(file.SerializeToString())
        self.pool = pool

    def message(self, name: str):
        return message_factory.GetMessageClass(self.pool.FindMessageTypeByName(f"dtrpo.v1.{name}"))

    def methods(self, service: str):
        return self.pool.FindServiceByName(f"dtrpo.v1.{service}").methods

    def call(self, channel: grpc.Channel, service: str, method: str, request, metadata=OLD_METADATA):
        (found,) = [each for each in self.methods(service) if each.name == method]
        response = message_factory.GetMessageClass(found.output_type)
        make = channel.unary_stream if found.server_streaming else channel.unary_unary
        return make(f"/dtrpo.v1.{service}/{method}", type(request).SerializeToString,
                    response.FromString)(request, timeout=TIMEOUT, metadata=metadata)


OLD = LastRelease()


def started(program: str, folder: pathlib.Path, config: dict) -> tuple[subprocess.Popen, str]:
    """A process with that configuration, and its address."""
    port_file = folder / f"{program}.ports"
    config = {**config, "server": {"listen": "127.0.0.1:0", "port_file": str(port_file)}}
    file = folder / f"{program}.json"
    file.write_text(json.dumps(config))
    with (folder / f"{program}.log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen([BIN_DIR / program, "--config", file], stdout=log, stderr=log)
    deadline = time.monotonic() + TIMEOUT
    while not port_file.is_file() or not port_file.read_text().strip():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{program}: " + (folder / f"{program}.log").read_text()[-3000:])
        time.sleep(0.05)
    return process, json.loads(port_file.read_text())["grpc"]


def stop(process: subprocess.Popen) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(timeout=TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(timeout=TIMEOUT)


class OldClientTest(unittest.TestCase):
    """Clients and workers of the last release, today's coordinator."""

    @classmethod
    def setUpClass(cls) -> None:
        cls._folder = tempfile.TemporaryDirectory()
        cls.folder = pathlib.Path(cls._folder.name)
        (cls.folder / "p.jsonl").write_text('{"id": "a", "prompt": "1+1=", "answer": "2"}\n')
        cls.process, address = started("dtrpo-coordinator", cls.folder, {"replay": ["127.0.0.1:1"]})
        cls.channel = grpc.insecure_channel(address)

    @classmethod
    def tearDownClass(cls) -> None:
        cls.channel.close()
        stop(cls.process)
        cls._folder.cleanup()

    def call(self, service: str, method: str, request):
        return OLD.call(self.channel, service, method, request)

    def submit(self) -> str:
        request = json_format.ParseDict({
            "spec": {"name": "old", "model": {"path": str(REPOSITORY / "examples/arithmetic/base")},
                     "data": {"prompts": str(self.folder / "p.jsonl")},
                     "sampling": {"max_new_tokens": 4}, "training": {"steps": 3},
                     "output": str(self.folder / "out")}}, OLD.message("SubmitJobRequest")())
        return self.call("JobService", "SubmitJob", request).job_id

    def test_jobs_are_submitted_watched_and_cancelled(self) -> None:
        job_id = self.submit()
        status = self.call("JobService", "GetJob", OLD.message("GetJobRequest")(job_id=job_id))
        self.assertEqual(status.spec.training.pairs_per_batch, 32, "a default")
        watch = self.call("JobService", "WatchJob", OLD.message("WatchJobRequest")(job_id=job_id))
        self.assertEqual(next(watch).job_id, job_id)
        watch.cancel()
        jobs = self.call("JobService", "ListJobs", OLD.message("ListJobsRequest")()).jobs
        self.assertIn(job_id, [job.job_id for job in jobs])
        ended = self.call("JobService", "CancelJob", OLD.message("CancelJobRequest")(job_id=job_id))
        self.assertEqual(ended.state, coordinator_pb2.JOB_CANCELLED)

    def test_fields_that_the_old_one_does_not_know_pass_through_it(self) -> None:
        job_id = self.submit()
        old = self.call("JobService", "GetJob", OLD.message("GetJobRequest")(job_id=job_id))
        new = coordinator_pb2.JobStatus.FromString(old.SerializeToString())
        self.assertTrue(new.spec.evaluation.keep_best, "a field of today, by way of the old message")

    def test_a_worker_registers_beats_and_asks_for_prompts(self) -> None:
        worker = self.call("WorkerService", "RegisterWorker", OLD.message("RegisterWorkerRequest")(
            role="rollout", address="127.0.0.1:2", pid=1, incarnation="old")).worker_id
        beat = OLD.message("HeartbeatRequest")(worker_id=worker, state="idle", version=-1)
        self.assertEqual(self.call("WorkerService", "Heartbeat", beat).assignment.job.job_id, "")
        ask = OLD.message("LeasePromptsRequest")(worker_id=worker, max_prompts=1)
        ask.job.job_id = self.submit()
        self.assertEqual(len(self.call("WorkerService", "LeasePrompts", ask).leases), 0)

    def test_a_caller_of_another_protocol_version_is_refused_and_one_without_is_not(self) -> None:
        request = OLD.message("ListJobsRequest")()
        OLD.call(self.channel, "JobService", "ListJobs", request, metadata=())
        with self.assertRaises(grpc.RpcError) as refused:
            OLD.call(self.channel, "JobService", "ListJobs", request,
                     metadata=(("x-dtrpo-protocol", "2"),))
        self.assertEqual(refused.exception.code(), grpc.StatusCode.FAILED_PRECONDITION)
        self.assertIn("protocol version 2, this server 1", refused.exception.details())


class OldCoordinator:
    """Answers as a coordinator of the last release: its messages, its methods and no others."""

    def __init__(self) -> None:
        self.submitted, self.registered, self.beats = [], [], threading.Semaphore(0)
        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(8))
        for service in ("JobService", "WorkerService"):
            handlers = {}
            for method in OLD.methods(service):
                answer = getattr(self, method.name, None)
                if answer is None:
                    continue
                handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                    lambda request, _, answer=answer: answer(request),
                    message_factory.GetMessageClass(method.input_type).FromString,
                    message_factory.GetMessageClass(method.output_type).SerializeToString)
            self.server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(f"dtrpo.v1.{service}", handlers),))
        self.address = f"127.0.0.1:{self.server.add_insecure_port('127.0.0.1:0')}"
        self.server.start()

    def SubmitJob(self, request):  # noqa: N802
        self.submitted.append(request)
        return OLD.message("SubmitJobResponse")(job_id="old-1")

    def GetJob(self, _):  # noqa: N802
        return OLD.message("JobStatus")(job_id="old-1", state=coordinator_pb2.PENDING, total_steps=3)

    def ListJobs(self, request):  # noqa: N802
        return OLD.message("ListJobsResponse")(jobs=[self.GetJob(request)])

    def RegisterWorker(self, request):  # noqa: N802
        self.registered.append(request)
        return OLD.message("RegisterWorkerResponse")(worker_id="w-1", heartbeat_interval_ms=50)

    def Heartbeat(self, _):  # noqa: N802
        self.beats.release()
        return OLD.message("HeartbeatResponse")()


class OldServerTest(unittest.TestCase):
    """Today's clients and workers, a coordinator of the last release."""

    def setUp(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.addCleanup(self._folder.cleanup)
        self.folder = pathlib.Path(self._folder.name)
        self.coordinator = OldCoordinator()
        self.addCleanup(lambda: self.coordinator.server.stop(grace=1).wait())
        self.job = self.folder / "job.yaml"
        self.job.write_text("name: old\npriority: 5\nmodel: {path: /model}\n"
                            "data: {prompts: /p.jsonl}\ntraining: {steps: 3}\noutput: /out\n")

    def dtrpoctl(self, *arguments) -> subprocess.CompletedProcess:
        return subprocess.run(
            [BIN_DIR / "dtrpoctl", "--address", self.coordinator.address, *arguments],
            capture_output=True, text=True, timeout=TIMEOUT, check=False)

    def test_jobs_are_submitted_and_shown(self) -> None:
        submitted = self.dtrpoctl("submit", self.job)
        self.assertEqual(submitted.stdout, "old-1\n", submitted.stderr)
        self.assertEqual(self.coordinator.submitted[0].spec.training.steps, 3)
        self.assertIn("PENDING", self.dtrpoctl("get", "old-1").stdout)
        self.assertIn("old-1", self.dtrpoctl("list").stdout)

    def test_what_it_does_not_know_is_refused_in_words(self) -> None:
        for command in (["logs", "old-1"], ["rollback", "old-1", "--to-checkpoint", "1"]):
            refused = self.dtrpoctl(*command)
            self.assertEqual(refused.returncode, 1, refused.stdout)
            self.assertIn("is of an older release", refused.stderr)

    def test_a_dry_run_is_not_taken_for_a_submission(self) -> None:
        refused = self.dtrpoctl("submit", self.job, "--dry-run")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("is of an older release", refused.stderr)
        self.assertEqual(self.coordinator.submitted, [])

    def test_a_worker_registers_and_beats(self) -> None:
        process, _ = started("dtrpo-reference", self.folder, {"coordinator": self.coordinator.address})
        self.addCleanup(stop, process)
        for _ in range(3):
            self.assertTrue(self.coordinator.beats.acquire(timeout=TIMEOUT))
        self.assertEqual(self.coordinator.registered[0].role, "reference")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
