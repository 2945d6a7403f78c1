"""`math`: mathematical equivalence, as math-verify decides it."""

from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify

from dtrpo_rewards.registry import Item, Judgement, reward

_EXTRACT = (LatexExtractionConfig(), ExprExtractionConfig())


def expected_expressions(expected: str) -> list:
    """What the data says is right: LaTeX with or without its delimiters, or a whole solution."""
    found = parse(expected, extraction_config=_EXTRACT) if _delimited(expected) else []
    return found or parse(f"${expected}$", extraction_config=_EXTRACT)


def _delimited(text: str) -> bool:
    return "$" in text or "\\boxed" in text or "\\(" in text or "\\[" in text


@reward("math", timeout=30)
def math(item: Item) -> Judgement:
    """1 if the answer's expression equals the expected one (math-verify), else 0"""
    gold = expected_expressions(item.expected)
    if not gold:
        raise ValueError(f"expected answer {item.expected[:80]!r} holds no expression")
    answer = parse(item.answer, extraction_config=_EXTRACT)
    if not answer:
        return Judgement(0.0, False, "no expression in the answer")
    right = verify(gold, answer)
    return Judgement(float(right), right, f"{answer[-1]} {'equals' if right else 'is not'} {gold[-1]}")
