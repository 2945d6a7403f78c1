"""Runs a program that nobody trusts, with bubblewrap (bwrap) and prlimit.

What it sees: /usr read-only, its own files read-only under /task, an empty /scratch in memory, its
own /proc and a bare /dev. No network (a namespace without interfaces), no other processes, no
environment, no capabilities, no further namespaces. What it may use: Limits. Whatever it leaves
running is killed with it, and nothing of /scratch is left.

Without bwrap, or where the kernel forbids its namespaces, nothing runs: SandboxUnavailable.
Under root the program has another user id, since limits on processes don't bind root.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib
import selectors
import shutil
import subprocess
import sys
import tempfile
import time
from typing import Any

# Of nobody and nothing else, so that the program shares no limit and no file with anybody.
_USER_ID = 64999
_PYTHON = ["/usr/bin/python3", "-I", "/task/main.py"]


_LOOK = 0.05  # seconds
_PAGE = os.sysconf("SC_PAGE_SIZE")


class SandboxUnavailable(RuntimeError):
    """Nothing was run."""


@dataclasses.dataclass(frozen=True)
class Limits:
    wall_seconds: float = 10.0  # for all of it
    cpu_seconds: int = 10  # of each process
    memory_bytes: int = 512 << 20  # address space of each process
    all_memory_bytes: int = 1 << 30  # resident, all processes together; looked at every _LOOK seconds
    processes: int = 16  # at once, threads included
    file_bytes: int = 16 << 20  # of each file
    scratch_bytes: int = 64 << 20  # of all files
    output_bytes: int = 64 << 10  # of stdout and stderr together; more ends the program


@dataclasses.dataclass(frozen=True)
class Outcome:
    exit_code: int  # as a shell says it: 128 + N for signal N
    stdout: str
    stderr: str
    seconds: float
    stopped: str  # why it was killed: "wall_seconds", "output_bytes", "memory"; "": it ended itself


def _command(task: str, program: list[str], limits: Limits) -> list[str]:
    bwrap, prlimit = shutil.which("bwrap"), "/usr/bin/prlimit"
    if bwrap is None:
        raise SandboxUnavailable("bubblewrap (bwrap) isn't installed")
    return [
        bwrap, "--unshare-user", "--unshare-all", "--disable-userns", "--die-with-parent",
        "--new-session", "--clearenv", "--cap-drop", "ALL", "--hostname", "sandbox",
        "--ro-bind", "/usr", "/usr", "--symlink", "usr/bin", "/bin", "--symlink", "usr/lib", "/lib",
        "--symlink", "usr/lib64", "/lib64", "--proc", "/proc", "--dev", "/dev",
        "--ro-bind", task, "/task",
        "--size", str(limits.scratch_bytes), "--tmpfs", "/scratch", "--chdir", "/scratch",
        "--remount-ro", "/dev", "--remount-ro", "/",
        "--setenv", "PATH", "/usr/bin", "--setenv", "HOME", "/scratch",
        "--setenv", "TMPDIR", "/scratch", "--setenv", "LANG", "C.UTF-8", "--",
        prlimit, f"--cpu={limits.cpu_seconds}", f"--as={limits.memory_bytes}",
        f"--nproc={limits.processes}", f"--fsize={limits.file_bytes}", "--nofile=64", "--core=0",
        "--", *program,
    ]


def _drop_root() -> None:
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(_USER_ID)
        os.setuid(_USER_ID)


@functools.lru_cache(maxsize=1)
def check() -> None:
    """Raises SandboxUnavailable, with the reason, unless programs can be run here."""
    outcome = _run(_PYTHON, {"main.py": "print('runs')"}, "", Limits(wall_seconds=60))
    if outcome.exit_code != 0 or outcome.stdout != "runs\n":
        raise SandboxUnavailable(f"bubblewrap can't run a program here: {outcome.stderr.strip()}")


def run(
    program: list[str], files: dict[str, str], stdin: str = "", limits: Limits = Limits()
) -> Outcome:
    """Runs `program`; `files` are put into /task. Raises SandboxUnavailable."""
    check()
    return _run(program, files, stdin, limits)


def run_python(source: str, stdin: str = "", limits: Limits = Limits()) -> Outcome:
    """Runs Python source with the system's interpreter, isolated from environment and site."""
    return run(_PYTHON, {"main.py": source}, stdin, limits)


def run_pair(source: str, tests: str, answer: str, limits: Limits = Limits()) -> Outcome:
    """Runs `source` in two sandboxes, with the arguments "tests" and "answer".

    Each finds the text of that name as /task/task.json, and reads what the other one writes. The
    outcome is that of "tests"; its stdout is empty. The limits are of each, but for all_memory_bytes.
    """
    check()
    to_answer, to_tests = os.pipe(), os.pipe()
    ends = [*to_answer, *to_tests]
    try:
        with _Sandbox([*_PYTHON, "answer"], {"main.py": source, "task.json": answer}, limits,
                      stdin=to_answer[0], stdout=to_tests[1], stderr=subprocess.DEVNULL) as other, \
             _Sandbox([*_PYTHON, "tests"], {"main.py": source, "task.json": tests}, limits,
                      stdin=to_tests[0], stdout=to_answer[1], stderr=subprocess.PIPE) as judge:
            while ends:
                os.close(ends.pop())
            return judge.outcome(other)
    finally:
        while ends:
            os.close(ends.pop())


def _run(program: list[str], files: dict[str, str], stdin: str, limits: Limits) -> Outcome:
    with tempfile.TemporaryFile() as given:
        given.write(stdin.encode("utf-8", "surrogatepass"))
        given.seek(0)
        with _Sandbox(program, files, limits, stdin=given, stdout=subprocess.PIPE,
                      stderr=subprocess.PIPE) as sandbox:
            return sandbox.outcome()


class _Sandbox:
    """A program in its sandbox; at the end it is killed, and all that it left with it."""

    def __init__(self, program: list[str], files: dict[str, str], limits: Limits, **streams: Any):
        self._limits = limits
        self._folder = tempfile.TemporaryDirectory(prefix="dtrpo-sandbox-")
        try:
            task = pathlib.Path(self._folder.name)
            for name, content in files.items():
                (task / name).write_text(content, encoding="utf-8", errors="surrogatepass")
                (task / name).chmod(0o444)
            task.chmod(0o755)
            self._started = time.monotonic()
            self._process = subprocess.Popen(
                _command(str(task), program, limits), **streams, close_fds=True,
                start_new_session=True, env={},
                preexec_fn=_drop_root if sys.platform == "linux" else None)
        except BaseException:
            self._folder.cleanup()
            raise

    def __enter__(self) -> _Sandbox:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()  # bwrap's first process dies with it, and the rest with that
        self._process.wait()
        for pipe in (self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._folder.cleanup()

    def outcome(self, *others: _Sandbox) -> Outcome:
        """Waits for the end, or makes one of it where a limit is passed, by `others` too."""
        memory = _Memory([sandbox._process.pid for sandbox in (self, *others)])
        stdout, stderr, stopped = self._read(memory)
        if stopped:
            self._process.kill()
        code = self._process.wait()
        return Outcome(
            exit_code=code if code >= 0 else 128 - code,
            stdout=stdout.decode("utf-8", "replace"),
            stderr=stderr.decode("utf-8", "replace"),
            seconds=time.monotonic() - self._started,
            stopped=stopped)

    def _read(self, memory: _Memory) -> tuple[bytes, bytes, str]:
        """Until the program has closed its pipes and ended, or is to be killed."""
        limits, process = self._limits, self._process
        deadline = self._started + limits.wall_seconds
        parts = {1: bytearray(), 2: bytearray()}
        with selectors.DefaultSelector() as selector:
            for number, pipe in ((1, process.stdout), (2, process.stderr)):
                if pipe is not None:
                    selector.register(pipe, selectors.EVENT_READ, number)
            stopped = ""
            while not stopped and (selector.get_map() or process.poll() is None):
                if selector.get_map():
                    for key, _ in selector.select(_LOOK):
                        chunk = os.read(key.fd, 65536)
                        if not chunk:
                            selector.unregister(key.fileobj)
                        parts[key.data] += chunk
                else:
                    time.sleep(0.001)
                if len(parts[1]) + len(parts[2]) > limits.output_bytes:
                    stopped = "output_bytes"
                elif time.monotonic() >= deadline:
                    stopped = "wall_seconds"
                elif memory.bytes() > limits.all_memory_bytes:
                    stopped = "memory"
        return bytes(parts[1][:limits.output_bytes]), bytes(parts[2][:limits.output_bytes]), stopped


class _Memory:
    """How much is resident in some processes and all below them, looked up at most that often."""

    def __init__(self, pids: list[int]) -> None:
        self._pids = pids
        self._next = 0.0
        self._bytes = 0

    def bytes(self) -> int:
        started = time.monotonic()
        if started >= self._next:
            self._bytes = self._look()
            ended = time.monotonic()
            self._next = ended + max(_LOOK, 20 * (ended - started))  # on a machine of many processes
        return self._bytes

    def _look(self) -> int:
        children: dict[int, list[tuple[int, int]]] = {}
        for entry in os.scandir("/proc"):
            if not entry.name.isdigit():
                continue
            try:
                # Behind the name, which may hold anything: state, parent, ...; resident pages is 24th.
                fields = pathlib.Path(entry.path, "stat").read_bytes().rpartition(b") ")[2].split()
            except OSError:  # gone meanwhile
                continue
            children.setdefault(int(fields[1]), []).append((int(entry.name), int(fields[21])))
        pages, below = 0, list(self._pids)
        while below:
            for pid, resident in children.get(below.pop(), ()):
                pages += resident
                below.append(pid)
        return pages * _PAGE
