"""Client: one coordinator over one gRPC channel. Thread-safe, as gRPC channels are."""

from __future__ import annotations

import dataclasses
import ipaddress
import pathlib
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import grpc
from google.protobuf import json_format

from dtrpo_client.v1 import common_pb2, coordinator_pb2, coordinator_pb2_grpc, job_pb2

PROTOCOL_VERSION = 1  # common/rpc/metadata.h: others are refused
FINAL_STATES = frozenset(
    {coordinator_pb2.SUCCEEDED, coordinator_pb2.FAILED, coordinator_pb2.JOB_CANCELLED})
_METADATA = (("x-dtrpo-protocol", str(PROTOCOL_VERSION)), ("x-dtrpo-role", "client"))
_AWAY = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED)
_SUBMIT_SECONDS = 120.0  # the coordinator reads and checks every prompt before it answers
_WATCH_SECONDS = 300.0   # of one stream; another follows

Response = TypeVar("Response")


@dataclasses.dataclass(frozen=True)
class Tls:
    """PEM files, as `dtrpo certs` makes them: the authority, and the client's own certificate and key."""

    ca: pathlib.Path
    certificate: pathlib.Path
    key: pathlib.Path

    def credentials(self) -> grpc.ChannelCredentials:
        return grpc.ssl_channel_credentials(
            self.ca.read_bytes(), self.key.read_bytes(), self.certificate.read_bytes())


class ServiceError(Exception):
    """What the coordinator refused, or that it can't be reached."""

    def __init__(self, error: grpc.RpcError) -> None:
        call: grpc.Call = error  # type: ignore[assignment]
        self.code: grpc.StatusCode = call.code()
        self.reason = ""  # a word for programs, "too_many_jobs"; empty: there is none
        self.retry_after_seconds = 0.0
        for key, value in call.trailing_metadata() or ():
            if key == "dtrpo-error-bin" and isinstance(value, bytes):
                detail = common_pb2.ErrorDetail.FromString(value)
                self.reason = detail.reason
                self.retry_after_seconds = detail.retry_after_ms / 1000
        super().__init__(f"{self.code.name}: {call.details()}")


def job_spec(job: Mapping[str, Any] | job_pb2.JobSpec | pathlib.Path) -> job_pb2.JobSpec:
    """A job as a mapping like the job file's, as a message, or as a file (.json, or .yaml with PyYAML).

    Relative paths in it are the coordinator's to find: better have none."""
    if isinstance(job, job_pb2.JobSpec):
        return job
    if isinstance(job, pathlib.Path):
        text = job.read_text()
        if job.suffix == ".json":
            return json_format.Parse(text, job_pb2.JobSpec())
        import yaml  # type: ignore[import-untyped, unused-ignore]  # only who wants it needs it

        return json_format.ParseDict(yaml.safe_load(text), job_pb2.JobSpec())
    return json_format.ParseDict(dict(job), job_pb2.JobSpec())


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Client:
    """Jobs of one coordinator. Calls that failed because it was away are repeated until `timeout` seconds."""

    def __init__(self, address: str, *, tls: Tls | None = None, insecure: bool = False,
                 timeout: float = 30.0) -> None:
        """`insecure` allows plain text to a coordinator that isn't on this machine."""
        if tls is None and not insecure and not _is_loopback(address):
            raise ValueError(f"{address} isn't this machine: give tls, or insecure=True for plain text")
        self._timeout = timeout
        self._channel = (grpc.secure_channel(address, tls.credentials()) if tls is not None
                         else grpc.insecure_channel(address))
        self._jobs = coordinator_pb2_grpc.JobServiceStub(self._channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._channel.close()

    # ------------------------------------------------------------------ jobs

    def submit(self, job: Mapping[str, Any] | job_pb2.JobSpec | pathlib.Path,
               idempotency_key: str | None = None) -> str:
        """The new job's id. The same key again is the same job; by default each call makes one."""
        request = coordinator_pb2.SubmitJobRequest(
            spec=job_spec(job), idempotency_key=idempotency_key or uuid.uuid4().hex)
        return self._call(self._jobs.SubmitJob, request, _SUBMIT_SECONDS).job_id

    def dry_run(self, job: Mapping[str, Any] | job_pb2.JobSpec | pathlib.Path
                ) -> coordinator_pb2.SubmitJobResponse:
        """Everything a submission checks; the resolved specification and what the job takes (bytes)."""
        try:
            self._call(self._jobs.ListJobEvents, coordinator_pb2.ListJobEventsRequest())
        except ServiceError as error:
            # A coordinator of release 0.1.0 doesn't know the call, and would take a dry run for a submission.
            if error.code != grpc.StatusCode.NOT_FOUND:
                raise
        request = coordinator_pb2.SubmitJobRequest(spec=job_spec(job), dry_run=True)
        return self._call(self._jobs.SubmitJob, request, _SUBMIT_SECONDS)

    def get(self, job_id: str, *, steps: bool = False) -> coordinator_pb2.JobStatus:
        """`steps`: with the learner's curve."""
        request = coordinator_pb2.GetJobRequest(job_id=job_id, include_steps=steps)
        return self._call(self._jobs.GetJob, request)

    def list(self) -> list[coordinator_pb2.JobStatus]:
        return list(self._call(self._jobs.ListJobs, coordinator_pb2.ListJobsRequest()).jobs)

    def watch(self, job_id: str, *, after_step: int = 0) -> Iterator[coordinator_pb2.JobStatus]:
        """The job's status now and whenever it changes, each step beyond `after_step` once, to its end."""
        heard = time.monotonic()
        while True:
            request = coordinator_pb2.WatchJobRequest(job_id=job_id, after_step=after_step)
            try:
                for status in self._jobs.WatchJob(request, timeout=_WATCH_SECONDS, metadata=_METADATA):
                    heard = time.monotonic()
                    after_step = max([after_step, *(step.step for step in status.steps)])
                    yield status
                    if status.state in FINAL_STATES:
                        return
            except grpc.RpcError as error:
                failure = ServiceError(error)
                over = failure.code == grpc.StatusCode.DEADLINE_EXCEEDED  # the stream's own
                if not over and (failure.code not in _AWAY
                                 or time.monotonic() - heard > self._timeout):
                    raise failure from error
            time.sleep(0.2)

    def wait(self, job_id: str) -> coordinator_pb2.JobStatus:
        """Its status once it is over."""
        *_, last = self.watch(job_id)
        return last

    def cancel(self, job_id: str, reason: str = "") -> coordinator_pb2.JobStatus:
        request = coordinator_pb2.CancelJobRequest(job_id=job_id, reason=reason)
        return self._call(self._jobs.CancelJob, request)

    def pause(self, job_id: str) -> coordinator_pb2.JobStatus:
        return self._call(self._jobs.PauseJob, coordinator_pb2.PauseJobRequest(job_id=job_id))

    def resume(self, job_id: str) -> coordinator_pb2.JobStatus:
        return self._call(self._jobs.ResumeJob, coordinator_pb2.ResumeJobRequest(job_id=job_id))

    def roll_back(self, job_id: str, *, checkpoint_step: int) -> coordinator_pb2.JobStatus:
        """The whole fleet goes on from that checkpoint's weights; of step 0: the base model's."""
        request = coordinator_pb2.RollBackJobRequest(job_id=job_id, checkpoint_step=checkpoint_step)
        return self._call(self._jobs.RollBackJob, request, repeat=False)

    def events(self, job_id: str, *, after: int = 0, follow: bool = False
               ) -> Iterator[coordinator_pb2.JobEvent]:
        """What happened to the job, beyond event `after`; `follow`: and what happens, to its end."""
        while True:
            request = coordinator_pb2.ListJobEventsRequest(job_id=job_id, after=after)
            page = self._call(self._jobs.ListJobEvents, request)
            for event in page.events:
                after = event.number
                yield event
            if not follow or page.state in FINAL_STATES:
                return
            time.sleep(1)

    def workers(self) -> coordinator_pb2.ListWorkersResponse:
        return self._call(self._jobs.ListWorkers, coordinator_pb2.ListWorkersRequest())

    # ------------------------------------------------------------------ calls

    def _call(self, method: Callable[..., Response], request: object, timeout: float | None = None,
              *, repeat: bool = True) -> Response:
        deadline = time.monotonic() + (timeout or self._timeout)
        pause = 0.1
        while True:
            left = deadline - time.monotonic()
            try:
                return method(request, timeout=max(left, 0.001), metadata=_METADATA)
            except grpc.RpcError as error:
                failure = ServiceError(error)
                pause = max(pause, failure.retry_after_seconds)
                if not repeat or failure.code not in _AWAY or left < pause:
                    raise failure from error
            time.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, 5.0)
