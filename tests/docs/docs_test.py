"""Commands in the documentation are run, or marked as not run there.

A block of commands (indented, or between fences) stands below one of these comments:

  <!-- run -->                   run, in the page's folder, after the page's blocks above it
  <!-- run NAME=VALUE ... -->    with these variables; a path of the repository as VALUE is made whole
  <!-- run until: TEXT -->       started in the background; TEXT in its output says that it is up
  <!-- run by PATH -->           another test runs it
  <!-- not run: WHY -->

`<!-- commands not run: WHY -->` speaks for all unmarked blocks of its page. Blocks are run by bash -e
in an empty folder with the repository's examples/ and tools/python/ beside it, its programs and the
Python that runs this script in PATH (bin is the programs' folder); `dtrpo up` takes a free port, and
the coordinator's usual address is replaced.

usage: docs_test.py REPOSITORY BIN_DIR [PAGE ...]   without BIN_DIR: checks the marks, runs nothing
"""

from __future__ import annotations

import dataclasses
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile
import time

COMMAND = re.compile(
    r"(\$ )?(sudo |nice |[A-Z_]+=\S+ )*(\$bin/|bin=|build/|tools/|dtrpo|docker|podman|buildah|kubectl|kustomize|"
    r"helm|pip |python|cmake|ctest|git |curl |openssl |psql |pg_|promtool|prometheus|grafana|ssh |scp |"
    r"rsync |tar |cp |mkdir |cat |echo |systemctl|nvidia-smi|MODEL=)")
MARK = re.compile(r"<!-- ((?:commands )?not run: .+|run(?: .+)?) -->")
BLOCK_SECONDS = 300


@dataclasses.dataclass
class Block:
    page: str
    line: int
    mark: str
    text: str


def blocks(page: str, text: str) -> list[Block]:
    """Those that hold commands; mark "" where there is none."""
    found, lines, mark, page_mark = [], text.splitlines(), "", ""
    i = 0
    while i < len(lines):
        line = lines[i]
        start, body = i, []
        if line.startswith("```"):
            i += 1
            while i < len(lines) and not lines[i].startswith("```"):
                body.append(lines[i])
                i += 1
            if line[3:].strip() not in ("", "console", "sh", "bash", "shell"):
                body = []
        elif line.startswith("    ") and (i == 0 or not lines[i - 1].strip()):
            while i < len(lines) and (lines[i].startswith("    ") or not lines[i].strip()):
                body.append(lines[i][4:])
                i += 1
            i -= 1
        elif comment := MARK.fullmatch(line.strip()):
            if comment.group(1).startswith("commands not run: "):
                page_mark = comment.group(1)
            else:
                mark = comment.group(1)
        elif line.strip():
            mark = ""
        if any(COMMAND.match(each) for each in body):
            found.append(Block(page, start + 1, mark or page_mark, "\n".join(body).rstrip() + "\n"))
        if body:
            mark = ""
        i += 1
    return found


def complaints(repository: pathlib.Path, found: list[Block]) -> list[str]:
    wrong = []
    for block in found:
        if not block.mark:
            wrong.append(f"{block.page}:{block.line}: commands that are neither run nor marked "
                         "(tests/docs/docs_test.py says how)")
        elif block.mark.startswith("run by ") and not (repository / block.mark[7:]).is_file():
            wrong.append(f"{block.page}:{block.line}: there is no {block.mark[7:]}")
    return wrong


class Page:
    """Runs the blocks of one page."""

    def __init__(self, repository: pathlib.Path, bin_dir: pathlib.Path, folder: pathlib.Path) -> None:
        self.repository, self.folder = repository, folder
        self.address = ""
        self.background: list[subprocess.Popen] = []
        (folder / "tools").mkdir()
        for linked in ("examples", "tools/python"):
            (folder / linked).symlink_to(repository / linked)
        python = pathlib.Path(sys.executable).parent
        self.environment = {
            **os.environ, "bin": str(bin_dir), "PATH": f"{bin_dir}:{python}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1"}

    def run(self, block: Block) -> str:
        """What went wrong; empty: nothing."""
        text = block.text.replace("build/release/bin", self.environment["bin"])
        text = re.sub(r"(dtrpo up\b)", r"\1 --port 0 --cores 2", text)
        if self.address:
            text = text.replace("127.0.0.1:7070", self.address)
        environment = dict(self.environment)
        until = block.mark.removeprefix("run until: ") if block.mark.startswith("run until: ") else ""
        if not until:
            for word in block.mark.split()[1:]:
                name, _, value = word.partition("=")
                whole = self.repository / value
                environment[name] = str(whole) if whole.exists() else value
        log = self.folder / f"block-{block.line}.log"
        with log.open("w", encoding="utf-8") as out:
            process = subprocess.Popen(["bash", "-e", "-o", "pipefail", "-c", text], cwd=self.folder,
                                       env=environment, stdout=out, stderr=out, start_new_session=True)
        deadline = time.monotonic() + BLOCK_SECONDS
        if until:
            self.background.append(process)
            while until not in log.read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    return "didn't start:\n" + log.read_text()[-3000:]
                time.sleep(0.1)
            if found := re.search(r"coordinator=(\S+)", log.read_text()):
                self.address = self.environment["DTRPO_COORDINATOR"] = found.group(1)
            return ""
        try:
            code = process.wait(timeout=BLOCK_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            return f"not done after {BLOCK_SECONDS} s:\n" + log.read_text()[-3000:]
        return "" if code == 0 else f"ended with {code}:\n" + log.read_text()[-3000:]

    def stop(self) -> None:
        for process in reversed(self.background):
            os.killpg(process.pid, signal.SIGTERM)
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def run_page(repository: pathlib.Path, bin_dir: pathlib.Path, found: list[Block]) -> list[str]:
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        page = Page(repository, bin_dir, pathlib.Path(folder))
        try:
            for block in found:
                started = time.monotonic()
                problem = page.run(block)
                print(f"{block.page}:{block.line}: {time.monotonic() - started:.1f} s", flush=True)
                if problem:
                    wrong.append(f"{block.page}:{block.line}: {block.text}{problem}")
                    break  # what follows builds upon it
        finally:
            page.stop()
    return wrong


def main() -> int:
    repository = pathlib.Path(sys.argv[1]).resolve()
    wanted = sys.argv[3:]
    pages = ["README.md", "CONTRIBUTING.md", *sorted(
        str(path.relative_to(repository)) for folder in ("docs", "examples")
        for path in (repository / folder).rglob("*.md"))]
    wrong = []
    for name in pages:
        if wanted and name not in wanted:
            continue
        found = blocks(name, (repository / name).read_text())
        wrong += complaints(repository, found)
        run = [block for block in found
               if block.mark.startswith("run") and not block.mark.startswith("run by ")]
        if len(sys.argv) > 2 and run:
            wrong += run_page(repository, pathlib.Path(sys.argv[2]).resolve(), run)
    print("\n".join(wrong))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
