"""Hostile programs in the sandbox. Times are patience, never speed: machines are slow and busy."""

import os
import pathlib
import tempfile
import time
import unittest
from unittest import mock

from dtrpo_rewards import code_rewards, sandbox
from dtrpo_rewards.registry import Item
from dtrpo_rewards.sandbox import Limits

PATIENT = Limits(wall_seconds=60, cpu_seconds=50)
SECRET = "a secret of the service's environment"


def run(source: str, limits: Limits = PATIENT) -> sandbox.Outcome:
    return sandbox.run_python(source, limits=limits)


def left_running() -> list[str]:
    """Processes of sandboxes; the kernel needs a moment to end them all."""
    deadline = time.monotonic() + 60
    while (found := _processes_with("/task/main.py")) and time.monotonic() < deadline:
        time.sleep(0.05)
    return found


def _processes_with(word: str) -> list[str]:
    found = []
    for folder in pathlib.Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
        except OSError:  # gone meanwhile
            continue
        if word.encode() in command and folder.name != str(os.getpid()):
            found.append(command.decode(errors="replace"))
    return found


class SandboxTest(unittest.TestCase):
    def test_a_harmless_program_runs(self):
        outcome = sandbox.run_python("print(int(input()) + 1)", "41", PATIENT)
        self.assertEqual((outcome.exit_code, outcome.stdout, outcome.stopped), (0, "42\n", ""))

    def test_a_fork_bomb_hits_the_limit_on_processes_and_nothing_of_it_is_left(self):
        outcome = run("import os, time\nn = 0\ntry:\n  while n < 1000:\n    if os.fork() == 0:\n"
                      "      time.sleep(1000)  # fork-bomb-of-the-test\n    n += 1\n"
                      "except OSError: print('stopped at', n, flush=True)\n")
        self.assertRegex(outcome.stdout, r"stopped at \d+\n")
        self.assertLess(int(outcome.stdout.split()[-1]), PATIENT.processes)
        self.assertEqual(left_running(), [])

    def test_endless_forks_end(self):
        outcome = run("import os\nwhile True:\n  try: os.fork()\n  except OSError: pass\n",
                      Limits(wall_seconds=3))
        self.assertEqual(outcome.stopped, "wall_seconds")
        self.assertEqual(left_running(), [])

    def test_endless_output_is_cut_and_ends_the_program(self):
        for stream in ("stdout", "stderr"):
            outcome = run(f"import sys\nwhile True: sys.{stream}.write('x' * 1000)")
            self.assertEqual(outcome.stopped, "output_bytes")
            self.assertLessEqual(len(outcome.stdout) + len(outcome.stderr), PATIENT.output_bytes)

    def test_secrets_of_the_machine_are_not_there(self):
        with tempfile.NamedTemporaryFile("w") as secret, mock.patch.dict(
                os.environ, {"DTRPO_TEST_SECRET": SECRET}):
            secret.write(SECRET)
            secret.flush()
            for path in ("/etc/passwd", "/etc/shadow", "/root", os.path.expanduser("~"),
                         "/var", "/home", "/sys", "/run", secret.name):
                with self.subTest(path=path):
                    self.assertEqual(run(f"import os; print(os.path.exists({path!r}))").stdout,
                                     "False\n")
            # Its own environment and those of every process that it sees, bwrap's own among them.
            outcome = run("import glob, os\nprint(dict(os.environ))\n"
                          "for path in glob.glob('/proc/*/environ') + glob.glob('/proc/*/cmdline'):\n"
                          "  try: print(open(path, 'rb').read())\n"
                          "  except OSError as error: print(error)\n")
            self.assertIn("PATH", outcome.stdout)
            self.assertNotIn(SECRET, outcome.stdout)
            self.assertNotIn("DTRPO_TEST_SECRET", outcome.stdout)

    def test_other_processes_are_neither_seen_nor_killed(self):
        outcome = run(f"import os, signal\nprint(os.path.exists('/proc/{os.getpid()}/exe') and "
                      f"os.readlink('/proc/{os.getpid()}/exe'))\n"
                      "try: os.kill(-1, signal.SIGKILL)\nexcept OSError: print('nobody')\n")
        self.assertIn("nobody", outcome.stdout)
        self.assertNotIn("venv", outcome.stdout)

    def test_there_is_no_network(self):
        outcome = run(
            "import socket\n"
            "for kind, where in ((socket.AF_INET, ('127.0.0.1', 22)), (socket.AF_INET, ('1.1.1.1', 53)),"
            " (socket.AF_INET6, ('::1', 22))):\n"
            "  s = socket.socket(kind); s.settimeout(20)\n"
            "  try: s.connect(where); print('connected')\n"
            "  except OSError as error: print('refused', error.errno)\n"
            "print(sorted(name for _, name in socket.if_nameindex()))\n")
        self.assertNotIn("connected", outcome.stdout)
        self.assertTrue(outcome.stdout.endswith("['lo']\n"), outcome.stdout + outcome.stderr)

    def test_a_listener_of_the_machine_is_out_of_reach(self):
        import socket
        with socket.create_server(("127.0.0.1", 0)) as server:
            port = server.getsockname()[1]
            outcome = run(f"import socket; socket.create_connection(('127.0.0.1', {port}), 20)")
            self.assertNotEqual(outcome.exit_code, 0)
            server.settimeout(0)
            with self.assertRaises(BlockingIOError):
                server.accept()

    def test_writes_reach_nothing_but_scratch_which_is_gone_after(self):
        for path in ("/x", "/usr/x", "/task/main.py", "/proc/sys/kernel/core_pattern", "/dev/x",
                     "/dev/shm/x", "/lib/x"):
            with self.subTest(path=path):
                self.assertNotEqual(run(f"open({path!r}, 'w').write('x')").exit_code, 0)
        self.assertEqual(run("open('/scratch/x', 'w').write('x')").exit_code, 0)
        self.assertEqual(run("import os; print(os.listdir('/scratch'))").stdout, "[]\n")

    def test_files_and_their_sum_are_bounded(self):
        self.assertIn("File too large", run(
            "open('a', 'w').write('x' * (20 << 20))").stderr)
        self.assertIn("No space left", run(
            "for i in range(10): open(str(i), 'w').write('x' * (15 << 20))").stderr)

    def test_memory_is_bounded(self):
        self.assertIn("MemoryError", run("x = 'a' * (2 << 30)").stderr)

    def test_the_memory_of_all_processes_together_is_bounded(self):
        outcome = run("import os, time\n"
                      "for i in range(4): os.fork() or (bytearray(b'x' * (60 << 20)), time.sleep(1000))\n"
                      "time.sleep(1000)\n",
                      Limits(wall_seconds=120, memory_bytes=256 << 20, all_memory_bytes=100 << 20))
        self.assertEqual(outcome.stopped, "memory")
        self.assertEqual(left_running(), [])

    def test_sleeping_and_spinning_end(self):
        self.assertEqual(run("import time; time.sleep(10000)", Limits(wall_seconds=2)).stopped,
                         "wall_seconds")
        spun = run("while True: pass", Limits(wall_seconds=60, cpu_seconds=1))
        self.assertEqual((spun.stopped, spun.exit_code), ("", 128 + 9))

    def test_a_child_that_outlives_its_parent_is_killed(self):
        # It holds stdout open, so the program isn't over before it is.
        outcome = run("import os, time\nif os.fork() == 0:\n  os.setsid(); time.sleep(10000)\n",
                      Limits(wall_seconds=5))
        self.assertEqual(left_running(), [], outcome)

    def test_privileges_are_none(self):
        outcome = run("import os, ctypes\nprint(os.getuid() != 0 or 'uid 0')\n"
                      "print([l.split()[1] for l in open('/proc/self/status') if l.startswith('Cap')])\n"
                      "libc = ctypes.CDLL(None)\n"
                      "print(libc.unshare(0x10000000), libc.mount(b'x', b'/scratch', b'tmpfs', 0, 0))\n")
        self.assertIn("['0000000000000000', '0000000000000000', '0000000000000000', "
                      "'0000000000000000', '0000000000000000']", outcome.stdout)
        self.assertIn("-1 -1", outcome.stdout)

    def test_without_bubblewrap_nothing_runs(self):
        sandbox.check.cache_clear()
        self.addCleanup(sandbox.check.cache_clear)
        with mock.patch.object(sandbox.shutil, "which", return_value=None):
            with self.assertRaisesRegex(sandbox.SandboxUnavailable, "isn't installed"):
                code_rewards.code(Item("", "x = 1", "", {"test_list": ["assert x"]}))
        sandbox.check.cache_clear()
        with mock.patch.object(sandbox.shutil, "which", return_value="/usr/bin/false"):
            with self.assertRaisesRegex(sandbox.SandboxUnavailable, "can't run"):
                run("print('unprotected')")


if __name__ == "__main__":
    unittest.main()
