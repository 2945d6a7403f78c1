"""`ifeval` and `ifeval_loose`: the share of an IFEval prompt's instructions that the answer follows.

The checks are lm-eval's. Of that package only they are loaded: the rest of it needs much that a
reward doesn't. Two checks split text with NLTK's "punkt_tab", which NLTK downloads; where it isn't
there, an untrained Punkt with a list of abbreviations stands in, and a few sentence counts differ.
"""

import contextlib
import importlib
import importlib.util
import io
import sys
import types

import langdetect
import nltk

from dtrpo_rewards.registry import Item, Judgement, reward

_ABBREVIATIONS = (
    "dr mr mrs ms prof sr jr st vs etc e.g i.e u.s a.m p.m no inc ltd co corp fig jan feb mar apr "
    "aug sep sept oct nov dec").split()


def _has_punkt() -> bool:
    try:
        nltk.data.find("tokenizers/punkt_tab")
        return True
    except LookupError:
        return False


def _plain_punkt() -> nltk.tokenize.punkt.PunktSentenceTokenizer:
    parameters = nltk.tokenize.punkt.PunktParameters()
    parameters.abbrev_types.update(_ABBREVIATIONS)
    return nltk.tokenize.punkt.PunktSentenceTokenizer(parameters)


def _load_checks() -> types.ModuleType:
    """lm_eval.tasks.ifeval.utils without lm_eval/__init__.py and lm_eval/tasks/__init__.py."""
    spec = importlib.util.find_spec("lm_eval")
    if spec is None or not spec.submodule_search_locations:
        raise ImportError("ifeval needs the package lm-eval")
    folder = spec.submodule_search_locations[0]
    for name, path in (("lm_eval", folder), ("lm_eval.tasks", f"{folder}/tasks")):
        if name not in sys.modules:
            package = types.ModuleType(name)
            package.__path__ = [path]  # type: ignore[attr-defined]
            sys.modules[name] = package
    download = nltk.download
    nltk.download = lambda *_, **__: False  # importing the checks tries to, and says it did
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            utils = importlib.import_module("lm_eval.tasks.ifeval.utils")
    finally:
        nltk.download = download
    if not _has_punkt():
        util = importlib.import_module("lm_eval.tasks.ifeval.instructions_util")
        sentences = _plain_punkt()
        util.count_sentences = lambda text: len(sentences.tokenize(text))
        words = nltk.tokenize.NLTKWordTokenizer()
        nltk.word_tokenize = lambda text, *_, **__: [
            word for sentence in sentences.tokenize(text) for word in words.tokenize(sentence)
        ]
    return utils


langdetect.DetectorFactory.seed = 0  # the same answer always has the same language
_CHECKS = _load_checks()


def _judge(item: Item, check_name: str) -> Judgement:
    for field in ("instruction_id_list", "kwargs"):
        if field not in item.data:
            raise ValueError(f"the prompt's line has no field '{field}', as IFEval's have")
    ids = item.data["instruction_id_list"]
    known = _CHECKS.instructions_registry.INSTRUCTION_DICT
    for name in ids:
        if name not in known:
            raise ValueError(f"unknown instruction '{name}'")
    example = _CHECKS.InputExample(
        key=item.data.get("key", 0), instruction_id_list=ids,
        prompt=str(item.data.get("prompt", item.prompt)), kwargs=item.data["kwargs"])
    followed = getattr(_CHECKS, check_name)(example, item.answer).follow_instruction_list
    missed = [name for name, ok in zip(ids, followed) if not ok]
    reason = f"not followed: {', '.join(missed)}" if missed else "all followed"
    return Judgement(sum(followed) / max(1, len(ids)), not missed, reason)


@reward("ifeval", timeout=30)
def ifeval(item: Item) -> Judgement:
    """share of IFEval's instructions that are followed; right when all are (strict)"""
    return _judge(item, "test_instruction_following_strict")


@reward("ifeval_loose", timeout=30)
def ifeval_loose(item: Item) -> Judgement:
    """the same without regard for markup and for a first or last line (loose)"""
    return _judge(item, "test_instruction_following_loose")
