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

# Of nobody and nothing else, so that the program shares no limit and no file with anybody.
_USER_ID = 64999
_SYSTEM_PYTHON = "/usr/bin/python3"


class SandboxUnavailable(RuntimeError):
    """Nothing was run."""


@dataclasses.dataclass(frozen=True)
class Limits:
    wall_seconds: float = 10.0  # for all of it
    cpu_seconds: int = 10  # of each process
    memory_bytes: int = 512 << 20  # address space of each process
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
    stopped: str  # why it was killed: "wall_seconds", "output_bytes", or "" if it ended by itself


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
    outcome = _run([_SYSTEM_PYTHON, "-I", "-c", "print('runs')"], {}, "", Limits(wall_seconds=60))
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
    return run([_SYSTEM_PYTHON, "-I", "/task/main.py"], {"main.py": source}, stdin, limits)


def _run(program: list[str], files: dict[str, str], stdin: str, limits: Limits) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="dtrpo-sandbox-") as task:
        for name, content in files.items():
            path = pathlib.Path(task) / name
            path.write_text(content, encoding="utf-8", errors="surrogatepass")
            path.chmod(0o444)
        given = pathlib.Path(task) / ".stdin"
        given.write_text(stdin, encoding="utf-8", errors="surrogatepass")
        given.chmod(0o444)
        pathlib.Path(task).chmod(0o755)
        started = time.monotonic()
        with open(given, "rb") as standard_input:
            process = subprocess.Popen(
                _command(task, program, limits), stdin=standard_input, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, close_fds=True, start_new_session=True, env={},
                preexec_fn=_drop_root if sys.platform == "linux" else None)
        try:
            stdout, stderr, stopped = _read(process, started + limits.wall_seconds, limits)
        finally:
            process.kill()  # bwrap's first process dies with it, and the rest with that
            code = process.wait()
        return Outcome(
            exit_code=code if code >= 0 else 128 - code,
            stdout=stdout.decode("utf-8", "replace"),
            stderr=stderr.decode("utf-8", "replace"),
            seconds=time.monotonic() - started,
            stopped=stopped)


def _read(process, deadline: float, limits: Limits) -> tuple[bytes, bytes, str]:
    """Until the program has closed both pipes and ended, or is to be killed."""
    parts: dict[int, bytearray] = {0: bytearray(), 1: bytearray()}
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ, 0)
        selector.register(process.stderr, selectors.EVENT_READ, 1)
        stopped = ""
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                stopped = "wall_seconds"
                break
            for key, _ in selector.select(left):
                chunk = os.read(key.fd, 65536)
                if not chunk:
                    selector.unregister(key.fileobj)
                parts[key.data] += chunk
            if len(parts[0]) + len(parts[1]) > limits.output_bytes:
                stopped = "output_bytes"
                break
    if not stopped:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            stopped = "wall_seconds"
    for pipe in (process.stdout, process.stderr):
        pipe.close()
    return bytes(parts[0][:limits.output_bytes]), bytes(parts[1][:limits.output_bytes]), stopped
