#!/usr/bin/env python3
"""Makes tests/golden/objectives.json: losses and gradients of objectives on random masks.

    python tests/golden/make_objective_fixtures.py

Needs torch and transformers. A twin of common/dtrpo that shares no code with it: every mask is a
forward of its own over one plain sequence with a dense mask, in float64 (but for the norms, which
`transformers` computes in float32), and autograd does the rest.
Policy and reference are the checkpoints of tests/golden/model named below.
tests/unit/dtrpo/objective_golden_test.cc wants the same numbers.

MASKS are what common/trajectory draws for job seed 7 and use 3; the test checks that too.
"""

import json
import math
import pathlib

import torch

import attention_masks
import make_model_fixtures
import reference_models

FOLDER = pathlib.Path(__file__).parent
POLICY, REFERENCE = "fast_dllm_4_2_tied", "fast_dllm_4_4_tied"
MASK, BLOCK = make_model_fixtures.MASK_ID, make_model_fixtures.BLOCK
SEED, USE, BETA = 7, 3, 0.3
PROMPT = [10, 11, 12, 13, 14, 15]  # two tokens share the first response block
ANSWERS = {
    "chosen": {"response_tokens": [20, 21, 22, 23, 24, 25, 26, 27, 2, MASK],
               "unmask_step": [2, 1, 0, 1, 3, 2, 0, 2, 1, -1], "stop_index": 8},
    "rejected": {"response_tokens": [30, 31, 32, 33, 34, 2],
                 "unmask_step": [1, 2, 0, 2, 1, 2], "stop_index": 5},
}
# Masked targets (response indices) of each draw of each block.
MASKS = {
    ("vrpo", "chosen"): [[[0], [0, 1], [0, 1], [1]], [[3, 4, 5], [5], [3, 4, 5], [3]],
                         [[8], [7, 8], [8], [7, 8]]],
    ("random_mask", "chosen"): [[[0]], [[3, 4, 5]], [[8]]],
    ("vrpo", "rejected"): [[[0, 1], [1], [1], [0, 1]], [[3, 4, 5], [5], [3], [3, 4, 5]]],
    ("random_mask", "rejected"): [[[0, 1]], [[3, 4, 5]]],
}
LOSSES = {
    "sigmoid": lambda d: -torch.nn.functional.logsigmoid(BETA * d),
    "smoothed": lambda d: -(0.9 * torch.nn.functional.logsigmoid(BETA * d)
                            + 0.1 * torch.nn.functional.logsigmoid(-BETA * d)),
    "ipo": lambda d: (d - 1 / (2 * BETA)) ** 2,
}


def log_probs(model, tokens):
    """[rows, vocabulary]; row i predicts token i + 1."""
    logits = model(input_ids=torch.tensor([tokens]), use_cache=False,
                   attention_mask=attention_masks.block_causal(len(tokens), BLOCK, torch.float64),
                   position_ids=torch.arange(len(tokens))[None]).logits[0]
    logits = logits.index_fill(1, torch.tensor([MASK]), -math.inf)
    return logits.log_softmax(-1)


def answer_log_prob(model, kind, side):
    """What R is the difference of: block-first terms, and each draw's weighed sum."""
    answer, response = ANSWERS[side], ANSWERS[side]["response_tokens"]
    sequence = PROMPT + response
    total = torch.zeros((), dtype=torch.float64)
    for b, draws in enumerate(MASKS[kind, side]):
        end = (len(PROMPT) // BLOCK + b + 1) * BLOCK
        begin = max(end - BLOCK, len(PROMPT))
        in_block = range(begin - len(PROMPT), end - len(PROMPT))
        if end - BLOCK >= len(PROMPT):  # read from the clean row before the block
            total = total + log_probs(model, sequence[:begin])[-1, sequence[begin]]
        targets = [i for i in in_block if answer["unmask_step"][i] > 0 and i <= answer["stop_index"]]
        for masked in draws:
            state = sequence[:end]
            for i in in_block:
                if i in masked or i > answer["stop_index"]:
                    state[len(PROMPT) + i] = MASK
            rows = log_probs(model, state)
            terms = sum(rows[len(PROMPT) + i - 1, response[i]] for i in masked)
            noise_level = len(masked) / len(targets)  # t
            total = total + terms / len(draws) / (noise_level if kind == "vrpo" else 1)
    return total


def case(policy, reference, kind, loss):
    ratios = {}
    for side in ANSWERS:
        with torch.no_grad():
            fixed = answer_log_prob(reference, kind, side)
        ratios[side] = answer_log_prob(policy, kind, side) - fixed
    policy.zero_grad()
    value = LOSSES[loss](ratios["chosen"] - ratios["rejected"])
    value.backward()
    return {"kind": kind, "loss_kind": loss, "loss": value.item(),
            "log_ratio_chosen": ratios["chosen"].item(),
            "log_ratio_rejected": ratios["rejected"].item(),
            # Two numbers of each parameter's gradient: its norm, and its sum with weights cos(index).
            "gradients": {name: [p.grad.norm().item(),
                                 (p.grad.flatten() * torch.arange(p.numel()).double().cos()).sum().item()]
                          for name, p in policy.named_parameters()}}


def main():
    policy, reference = (reference_models.load(FOLDER / "model" / name).eval().double()
                         for name in (POLICY, REFERENCE))
    # The stop token is the pad token, whose row of the embedding would get no gradient.
    policy.get_input_embeddings().padding_idx = None
    fixture = {
        "policy": POLICY, "reference": REFERENCE, "job_seed": SEED, "use_index": USE, "beta": BETA,
        "block_size": BLOCK, "prompt_tokens": PROMPT, "answers": ANSWERS,
        "masks": {f"{kind}/{side}": masks for (kind, side), masks in MASKS.items()},
        "cases": [case(policy, reference, kind, loss)
                  for kind in ("vrpo", "random_mask") for loss in LOSSES]}
    (FOLDER / "objectives.json").write_text(json.dumps(fixture, indent=1) + "\n")


if __name__ == "__main__":
    main()
