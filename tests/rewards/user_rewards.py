"""Rewards that misbehave, for the tests of the service."""

import os
import time

from dtrpo_rewards import Item, Judgement, reward


@reward("length")
def length(item: Item):
    """the answer's length"""
    return float(len(item.answer))


@reward("exact")
def exact(item: Item) -> bool:
    return item.answer == item.expected


@reward("pairwise", batch=3)
def pairwise(items):
    return [(len(items), f"in a batch of {len(items)}") for _ in items]


@reward("moody", timeout=2)
def moody(item: Item):
    if item.answer == "hang":
        time.sleep(10000)
    if item.answer == "die":
        os._exit(3)
    if item.answer == "raise":
        raise ValueError("no mood")
    if item.answer == "odd words":
        return Judgement(0.5, True, [b"\xff", "\ud800", "x" * 10_000_000])  # type: ignore[arg-type]
    if item.answer == "odd error":
        raise ValueError("\ud800")
    return {"nan": float("nan"), "text": "1", "none": None}.get(item.answer, Judgement(0.5, True, "fine"))


@reward("unfinished", judge_unfinished=True)
def unfinished(item: Item):
    return 0.25 if not item.finished else 1.0


@reward("field")
def field(item: Item):
    return item.data["points"]
