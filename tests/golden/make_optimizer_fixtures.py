#!/usr/bin/env python3
"""Writes tests/golden/optimizer/expected.json: AdamW, clipping and schedules as torch does them.

    make_optimizer_fixtures.py        # needs torch; writes beside itself

Each case is a training of 12 steps: the gradients (functions of the weights, written down), the
rate of each step, the norm before clipping and the weights after it. Matrices decay, vectors don't.
"""

import json
import pathlib

import torch
from torch.optim import lr_scheduler

STEPS, WARM_UP, RATE, RATIO, DECAY, MAX_NORM = 12, 3, 0.05, 0.2, 0.3, 0.5


def schedule(optimizer, kind, warm_up):
    span = STEPS - 1 - warm_up
    after = {
        "constant": lambda: lr_scheduler.ConstantLR(optimizer, 1.0),
        "linear": lambda: lr_scheduler.LinearLR(optimizer, 1.0, RATIO, span),
        "cosine": lambda: lr_scheduler.CosineAnnealingLR(optimizer, span, RATIO * RATE),
    }[kind]()
    if not warm_up:
        return after
    rising = lr_scheduler.LinearLR(optimizer, 1 / warm_up, 1.0, warm_up - 1)
    return lr_scheduler.SequentialLR(optimizer, [rising, after], [warm_up])


def train(kind, warm_up):
    generator = torch.Generator().manual_seed(1)
    matrix = torch.nn.Parameter(torch.randn(3, 4, generator=generator))
    vector = torch.nn.Parameter(torch.randn(5, generator=generator))
    optimizer = torch.optim.AdamW([{"params": [matrix], "weight_decay": DECAY},
                                   {"params": [vector], "weight_decay": 0.0}], lr=RATE)
    rates = schedule(optimizer, kind, warm_up)
    case = {"schedule": kind, "warmup_steps": warm_up, "matrix": matrix.tolist(),
            "vector": vector.tolist(), "steps": []}
    for _ in range(STEPS):
        matrix.grad = torch.randn(matrix.shape, generator=generator) * 0.2
        vector.grad = torch.randn(vector.shape, generator=generator) * 0.2
        step = {"matrix_gradient": matrix.grad.tolist(), "vector_gradient": vector.grad.tolist(),
                "rate": optimizer.param_groups[0]["lr"]}
        step["norm"] = torch.nn.utils.clip_grad_norm_([matrix, vector], MAX_NORM).item()
        optimizer.step()
        rates.step()
        case["steps"].append({**step, "matrix": matrix.tolist(), "vector": vector.tolist()})
    return case


def main():
    cases = [train(kind, warm_up) for kind in ("constant", "linear", "cosine")
             for warm_up in (0, WARM_UP)]
    path = pathlib.Path(__file__).parent / "optimizer" / "expected.json"
    path.parent.mkdir(exist_ok=True)
    fixture = {"learning_rate": RATE, "final_learning_rate_ratio": RATIO, "weight_decay": DECAY,
               "max_gradient_norm": MAX_NORM, "cases": cases}
    path.write_text(json.dumps(fixture) + "\n")


if __name__ == "__main__":
    main()
