"""Reward functions by name, what they are given and what they may return."""

from __future__ import annotations

import dataclasses
import json
import math
import typing
from collections.abc import Callable, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Item:
    """One answer to be judged."""

    prompt: str
    answer: str  # without its stop token
    expected: str  # what the data says is right; may be empty
    data: dict[str, Any]  # the prompt's whole line of the data file
    finished: bool = True  # the stop token is there
    tokens: int = 0  # of the answer, the stop token included


@dataclasses.dataclass(frozen=True)
class Judgement:
    reward: float
    correct: bool | None = None  # None: right is what has a reward above 0
    reason: str = ""


# What a reward function may return: a Judgement, (reward, reason), a number, or a bool for 1 and 0.
Returned = Judgement | tuple[float, str] | float | bool
OneFunction = Callable[[Item], Returned]
BatchFunction = Callable[[Sequence[Item]], Sequence[Returned]]


@dataclasses.dataclass(frozen=True)
class Reward:
    name: str
    function: Callable[[Any], Any]
    timeout: float  # seconds for each item
    batch: int  # items of a call of `function`; 0: one, which isn't in a list
    judge_unfinished: bool

    @property
    def description(self) -> str:
        return (self.function.__doc__ or "").strip().split("\n")[0]


REWARDS: dict[str, Reward] = {}

F = typing.TypeVar("F", bound=Callable[[Any], Any])


def reward(
    name: str, *, timeout: float = 10.0, batch: int = 0, judge_unfinished: bool = False
) -> Callable[[F], F]:
    """Makes a function a reward that jobs can ask as `service:NAME`.

    timeout: seconds for one item. A process that takes longer is killed, and the item fails.
    batch: with N > 0 the function gets a list of up to N items and returns as many results.
    judge_unfinished: also asked about answers without a stop token; otherwise those get 0, as from
        the built-in rules.
    """
    if not name or timeout <= 0 or batch < 0:
        raise ValueError(f"reward {name!r}: needs a name, a timeout above 0 and batch >= 0")

    def register(function: F) -> F:
        known = REWARDS.get(name)
        if known is not None and known.function.__qualname__ != function.__qualname__:
            raise ValueError(f"there is a reward {name!r} already: {known.function.__qualname__}")
        REWARDS[name] = Reward(name, function, timeout, batch, judge_unfinished)
        return function

    return register


def to_judgement(returned: object) -> Judgement:
    """Raises TypeError or ValueError for what is no reward; NaN and infinities are none."""
    if isinstance(returned, tuple) and len(returned) == 2:
        value, reason = returned
        judgement = Judgement(value, None, str(reason))
    elif isinstance(returned, Judgement):
        judgement = returned
    else:
        judgement = Judgement(typing.cast(float, returned))
    if isinstance(judgement.reward, (str, bytes)) or judgement.reward is None:
        raise TypeError(f"the reward is {judgement.reward!r}, no number")
    value = float(judgement.reward)  # numpy's numbers, too
    if not math.isfinite(value):
        raise ValueError(f"the reward is {value}, no number")
    correct = value > 0 if judgement.correct is None else bool(judgement.correct)
    return Judgement(value, correct, sendable(judgement.reason))


def sendable(text: object) -> str:
    """A reason as gRPC takes it: one of something else would fail the whole call's items."""
    return str(text)[:500].encode("utf-8", "replace").decode()


def parse_data(data_json: str) -> dict[str, Any]:
    data = json.loads(data_json) if data_json else {}
    if not isinstance(data, dict):
        raise ValueError("data_json is no JSON object")
    return data
