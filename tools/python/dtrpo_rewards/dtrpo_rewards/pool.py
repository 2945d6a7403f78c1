"""Worker processes that call the reward functions.

Each process judges one batch at a time. One that runs out of time or dies takes its batch's items
with it, never the service: they fail with the reason, and another process takes its place.

    queue --> thread 0 --pipe--> process 0   (spawned; imports the rewards' modules)
          --> thread 1 --pipe--> process 1
"""

from __future__ import annotations

import ctypes
import dataclasses
import importlib
import multiprocessing
import multiprocessing.connection
import os
import queue
import signal
import sys
import threading
import time
import traceback
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from dtrpo_rewards import registry
from dtrpo_rewards.registry import REWARDS, Item, Judgement

START_SECONDS = 120.0  # importing the modules, on a busy machine
_SPAWN = multiprocessing.get_context("spawn")


@dataclasses.dataclass
class _Batch:
    reward: str
    items: Sequence[Item]
    future: Future[list[Judgement | str]]


def judge_here(name: str, items: Sequence[Item]) -> list[Judgement | str]:
    """Of each item its judgement, or why there is none."""
    entry = REWARDS[name]
    results: list[Judgement | str] = ["not judged"] * len(items)
    asked = []
    for i, item in enumerate(items):
        if item.finished or entry.judge_unfinished:
            asked.append(i)
        else:
            results[i] = Judgement(0.0, False, "no stop token")
    try:
        if entry.batch > 0 and asked:
            returned = list(entry.function([items[i] for i in asked]))
            if len(returned) != len(asked):
                raise ValueError(f"{len(returned)} results for {len(asked)} items")
        for k, i in enumerate(asked):
            try:
                one = returned[k] if entry.batch > 0 else entry.function(items[i])
                results[i] = registry.to_judgement(one)
            except Exception as error:  # pylint: disable=broad-except
                results[i] = _describe(error)
    except Exception as error:  # pylint: disable=broad-except
        for i in asked:
            results[i] = _describe(error)
    return results


def _describe(error: Exception) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({os.path.basename(frames[-1].filename)}:{frames[-1].lineno})" if frames else ""
    return registry.sendable(f"{type(error).__name__}: {error}{where}")


def _work(connection: multiprocessing.connection.Connection, modules: Sequence[str]) -> None:
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: dies with the service
    try:
        for module in modules:
            importlib.import_module(module)
        connection.send(None)
    except BaseException as error:  # pylint: disable=broad-except
        connection.send(f"{type(error).__name__}: {error}")
        return
    while True:
        try:
            name, items = connection.recv()
        except EOFError:  # the service is gone
            return
        connection.send(judge_here(name, items))


class _Process:
    def __init__(self, modules: Sequence[str]) -> None:
        self._pipe, theirs = _SPAWN.Pipe()
        self._process = _SPAWN.Process(
            target=_work, args=(theirs, modules), daemon=True)
        self._process.start()
        theirs.close()
        failure = self._receive(START_SECONDS, "starting")
        if failure is not None:
            self.kill()
            raise RuntimeError(f"a worker process can't start: {failure}")

    @property
    def pid(self) -> int | None:
        return self._process.pid

    def judge(self, batch: _Batch, seconds: float) -> list[Judgement | str]:
        self._pipe.send((batch.reward, batch.items))
        return self._receive(seconds, f"reward '{batch.reward}'")  # type: ignore[no-any-return]

    def _receive(self, seconds: float, what: str) -> Any:
        try:
            if not self._pipe.poll(seconds):
                raise TimeoutError(f"{what}: timed out after {seconds:g} s")
            return self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join(5)
            raise RuntimeError(
                f"{what}: the worker process died (exit code {self._process.exitcode})") from None

    def kill(self) -> None:
        self._process.kill()
        self._process.join(30)
        self._pipe.close()


class Pool:
    """Thread-safe."""

    def __init__(self, workers: int, modules: Sequence[str], max_queued: int = 4096) -> None:
        self._modules = list(modules)
        self._queue: queue.Queue[_Batch | None] = queue.Queue(max_queued)
        self._pids: dict[int, int | None] = {}
        self.restarts = 0
        first = [_Process(self._modules)]  # a module that can't be imported is told at once
        self._threads = [
            threading.Thread(target=self._serve, args=(i, first.pop() if first else None), daemon=True)
            for i in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, name: str, items: Sequence[Item]) -> list[Future[list[Judgement | str]]]:
        """Futures of the items' batches, in order. Raises queue.Full."""
        size = max(1, REWARDS[name].batch)
        futures = []
        for begin in range(0, len(items), size):
            batch = _Batch(name, items[begin:begin + size], Future())
            self._queue.put_nowait(batch)
            futures.append(batch.future)
        return futures

    def pids(self) -> list[int]:
        return [pid for pid in self._pids.values() if pid is not None]

    def close(self, seconds: float = 10.0) -> None:
        """What is under way then dies with this process."""
        for _ in self._threads:
            self._queue.put(None)
        deadline = time.monotonic() + seconds
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _serve(self, number: int, process: _Process | None) -> None:
        while True:
            try:
                if process is None:
                    process = _Process(self._modules)
                self._pids[number] = process.pid
                batch = self._queue.get()
                if batch is None:
                    process.kill()
                    return
                if not batch.future.set_running_or_notify_cancel():
                    continue
                seconds = REWARDS[batch.reward].timeout * len(batch.items)
                try:
                    batch.future.set_result(process.judge(batch, seconds))
                except Exception as error:  # pylint: disable=broad-except
                    batch.future.set_result([str(error)] * len(batch.items))
                    process.kill()
                    process = None
                    self.restarts += 1
            except RuntimeError as error:  # can't start just now; later, perhaps
                print(f"dtrpo-rewards: {error}", file=sys.stderr, flush=True)
                process = None
                time.sleep(1)
