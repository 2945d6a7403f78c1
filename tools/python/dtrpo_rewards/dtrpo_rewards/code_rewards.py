"""`code`: 1 if the answer's Python passes its unit tests in the sandbox, else 0.

The tests are in the prompt's line, in one of these layouts:
  MBPP, MBPP+     test_list: asserts; test: a whole script instead; test_imports, test_setup_code
  LiveCodeBench   public_test_cases, private_test_cases: [{"input", "output", "testtype"}] as JSON;
                  testtype "stdin", or "functional" with metadata.func_name

The answer's code can't reach the tests, nor what judges it: asserts and calls run in a sandbox of
their own (in_sandbox.py), outputs are compared here.
"""

from __future__ import annotations

import json
import pathlib
import re
import time
from typing import Any

from dtrpo_rewards import packed_cases, sandbox
from dtrpo_rewards.registry import Item, Judgement, reward
from dtrpo_rewards.sandbox import Limits

SECONDS = 10.0  # for all asserts together, or for one input
ALL_SECONDS = 120.0  # for all inputs

_FENCE = re.compile(r"```(?:python|py|python3)?[ \t]*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)
_DEFINED = re.compile(r"^(?:def|class) +(\w+)", re.MULTILINE)
_IN_SANDBOX = pathlib.Path(__file__).with_name("in_sandbox.py").read_text(encoding="utf-8")

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


def _asserts(answer: str, setup: str, tests: list[str], replaces: list[str]) -> Judgement:
    outcome = sandbox.run_pair(
        _IN_SANDBOX,
        json.dumps({"setup": setup, "tests": tests, "replaces": replaces}),
        json.dumps({"setup": setup, "answer": answer}),
        Limits(wall_seconds=SECONDS, cpu_seconds=int(SECONDS)))
    told = outcome.stderr.splitlines()[-1:]
    if outcome.stopped or outcome.exit_code != 0 or not told:
        return Judgement(0.0, False, _why(outcome))
    verdict = json.loads(told[0])
    if "broken" in verdict:
        raise ValueError(f"the prompt's tests can't be run: {verdict['broken']}")
    return _judge(verdict["outcomes"], len(tests))


def _why(outcome: sandbox.Outcome) -> str:
    if outcome.stopped:
        limit = {"wall_seconds": f"{SECONDS:g} s", "output_bytes": "bytes of output",
                 "memory": "memory"}[outcome.stopped]
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


def _cases(value: Any) -> list[dict[str, Any]]:
    """A list, as JSON or packed (private_test_cases)."""
    if isinstance(value, str) and value:
        value = json.loads(value if value.lstrip()[:1] == "[" else packed_cases.unpack(value))
    if not value:
        return []
    if not isinstance(value, list) or not all(
            isinstance(case, dict) and isinstance(case.get("input"), str)
            and isinstance(case.get("output"), str) for case in value):
        raise ValueError("test cases must be a list of {input, output, testtype}")
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
        # A prompt may ask for a function of a builtin's name (MBPP's "sum").
        replaces = _DEFINED.findall(str(data.get("code") or ""))
        return _asserts(answer, setup, list(tests), replaces)
    cases = _cases(data.get("public_test_cases")) + _cases(data.get("private_test_cases"))
    if not cases:
        raise ValueError("the prompt's line has no tests: test_list, test or public_test_cases")
    if cases[0].get("testtype") != "functional":
        return _standard_input(answer, cases)
    metadata = data.get("metadata") or {}
    metadata = json.loads(metadata) if isinstance(metadata, str) else metadata
    calls = [_CALL.format(name=metadata["func_name"], given=case["input"], wanted=case["output"])
             for case in cases]
    return _asserts(answer, "from typing import *", calls, [metadata["func_name"]])
