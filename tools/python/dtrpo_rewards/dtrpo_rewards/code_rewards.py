"""`code`: 1 if the answer's Python passes its unit tests in the sandbox, else 0.

The tests are in the prompt's line, in one of these layouts:
  MBPP, MBPP+     test_list: asserts; test: a whole script instead; test_imports, test_setup_code
  LiveCodeBench   public_test_cases, private_test_cases: [{"input", "output", "testtype"}] as JSON;
                  testtype "stdin", or "functional" with metadata.func_name

Answer and tests share an interpreter, as in those benchmarks' own harnesses. Ending early or
printing what the harness would print passes nothing; code that hunts for the harness's secret in
the interpreter's memory could.
"""

from __future__ import annotations

import base64
import io
import json
import pickle
import re
import secrets
import time
import zlib
from typing import Any

from dtrpo_rewards import sandbox
from dtrpo_rewards.registry import Item, Judgement, reward
from dtrpo_rewards.sandbox import Limits

SECONDS = 10.0  # for all asserts together, or for one input
ALL_SECONDS = 120.0  # for all inputs

_FENCE = re.compile(r"```(?:python|py|python3)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)

# argv: none. stdin: the secret, then the JSON of {"setup", "answer", "tests"}. Prints the secret
# and a list of outcomes, "" for a test that passed.
_HARNESS = '''
import io, json, os, sys
def main():
    secret = sys.stdin.readline().strip()
    task = json.loads(sys.stdin.read())
    out = os.fdopen(os.dup(1), "w")
    sys.stdin = io.StringIO("")
    sys.stdout = sys.stderr = io.StringIO()
    outcomes = []
    names = {"__name__": "answer"}
    try:
        exec(compile(task["setup"], "setup", "exec"), names)
        exec(compile(task["answer"], "answer", "exec"), names)
    except BaseException as error:
        outcomes = ["the answer: %s: %s" % (type(error).__name__, error)] * len(task["tests"])
    else:
        for test in task["tests"]:
            try:
                exec(compile(test, "test", "exec"), names)
                outcomes.append("")
            except BaseException as error:
                outcomes.append("%s: %s" % (type(error).__name__, error))
    out.write("\\n" + secret + json.dumps([o[:200] for o in outcomes]) + "\\n")
    out.flush()
    os._exit(0)
main()
'''

_CALL = '''
import json as _json
_solution = Solution() if "Solution" in globals() else None
_function = getattr(_solution, {name!r}, None) or globals()[{name!r}]
_got = _function(*[_json.loads(line) for line in {given!r}.splitlines() if line.strip()])
_got = list(_got) if isinstance(_got, tuple) else _got
assert _got == _json.loads({wanted!r}), "got " + repr(_got)[:80]
'''


def extract_code(answer: str) -> str:
    """The last fenced block, or the answer as it is."""
    blocks = _FENCE.findall(answer)
    return blocks[-1] if blocks else answer


def _asserts(answer: str, setup: str, tests: list[str]) -> Judgement:
    secret = secrets.token_hex(16)
    task = json.dumps({"setup": setup, "answer": answer, "tests": tests})
    outcome = sandbox.run_python(_HARNESS, f"{secret}\n{task}",
                                 Limits(wall_seconds=SECONDS, cpu_seconds=int(SECONDS)))
    told = [line for line in outcome.stdout.splitlines() if line.startswith(secret)]
    if not told:
        return Judgement(0.0, False, _why(outcome))
    outcomes = json.loads(told[-1][len(secret):])
    return _judge(outcomes, len(tests))


def _why(outcome: sandbox.Outcome) -> str:
    if outcome.stopped:
        limit = f"{SECONDS:g} s" if outcome.stopped == "wall_seconds" else "bytes of output"
        return f"stopped: more than its {limit}"
    return f"ended early with exit code {outcome.exit_code} {outcome.stderr.strip()[-120:]}".strip()


def _judge(outcomes: list[str], tests: int) -> Judgement:
    passed = sum(1 for outcome in outcomes if outcome == "")
    right = passed == tests == len(outcomes)
    first = next((outcome for outcome in outcomes if outcome), "")
    return Judgement(float(right), right, f"{passed} of {tests} tests passed"
                     + (f"; {first[:120]}" if first else ""))


def _standard_input(answer: str, cases: list[dict[str, Any]]) -> Judgement:
    outcomes = []
    deadline = time.monotonic() + ALL_SECONDS
    for case in cases:
        seconds = max(0.0, min(SECONDS, deadline - time.monotonic()))
        outcome = sandbox.run_python(answer, case["input"],
                                     Limits(wall_seconds=seconds, cpu_seconds=int(SECONDS)))
        if outcome.stopped or outcome.exit_code != 0:
            outcomes.append(_why(outcome))
        elif _lines(outcome.stdout) != _lines(case["output"]):
            outcomes.append(f"wrong output {outcome.stdout[:60]!r}")
        else:
            outcomes.append("")
        if outcomes[-1]:
            break  # one is enough
    return _judge(outcomes, len(cases))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.strip().splitlines()]


class _OnlyText(pickle.Unpickler):
    """LiveCodeBench packs private cases as a pickled string; nothing else is let in."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} in test cases")


def _cases(value: Any) -> list[dict[str, Any]]:
    if not value:
        return []
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except json.JSONDecodeError:
            packed = zlib.decompress(base64.b64decode(value))
            value = json.loads(_OnlyText(io.BytesIO(packed)).load())
    return value


@reward("code", timeout=ALL_SECONDS + SECONDS)
def code(item: Item) -> Judgement:
    """1 if the answer's Python code passes the prompt's unit tests in a sandbox, else 0"""
    sandbox.check()
    data = item.data
    answer = extract_code(item.answer)
    if not answer.strip():
        return Judgement(0.0, False, "no code in the answer")
    tests = [data["test"]] if isinstance(data.get("test"), str) else data.get("test_list")
    if tests:
        imports = data.get("test_imports") or []
        setup = "\n".join([*imports, data.get("test_setup_code") or ""])
        return _asserts(answer, setup, list(tests))
    cases = _cases(data.get("public_test_cases")) + _cases(data.get("private_test_cases"))
    if not cases:
        raise ValueError("the prompt's line has no tests: test_list, test or public_test_cases")
    if cases[0].get("testtype") != "functional":
        return _standard_input(answer, cases)
    metadata = data.get("metadata") or {}
    metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    calls = [_CALL.format(name=metadata["func_name"], given=case["input"], wanted=case["output"])
             for case in cases]
    return _asserts(answer, "from typing import *", calls)
