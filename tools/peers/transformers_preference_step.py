#!/usr/bin/env python3
"""A preference-training step of block diffusion on transformers, done plainly: what the learner in
common/training is measured against. A benchmark, not a dependency.

    transformers_preference_step.py --checkpoint DIR --prompts DIR --steps FILE --dtype float32

FILE is what learner_benchmark wrote with --tokens_out: the pairs of each step and the state drawn
for each block. Of each answer one sequence [noisy ; clean] of twice its length goes through the
model under the dense mask of Fast-dLLM-v2's training, and the head gives the logits of all its
rows. A pair is chosen and rejected, policy and reference: four forwards; DPO's loss on the answers'
log-ratios, autograd, gradients added up over the pairs of a step, clipping, torch's AdamW.

Everything is in the dtype asked for, the optimizer's state too. Prints a line of JSON.
"""

import argparse
import json
import pathlib
import time

import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

BETA, RATE, MAX_NORM = 0.1, 1e-5, 1.0


def load(checkpoint, dtype):
    folder = pathlib.Path(checkpoint)
    config = json.loads((folder / "config.json").read_text())
    for key in ("model_type", "architectures", "torch_dtype"):
        del config[key]
    block = config.pop("bd_size")
    added = json.loads((folder / "added_tokens.json").read_text())
    (mask,) = (id for token, id in added.items() if "MASK" in token)
    model = Qwen2ForCausalLM.from_pretrained(folder, config=Qwen2Config(**config), dtype=dtype,
                                             attn_implementation="sdpa")
    return model, block, mask


def dense_mask(length, block, dtype):
    """[1, 1, 2L, 2L]: 0 where a row of [noisy ; clean] sees another, else minus infinity."""
    of_block = torch.arange(length) // block
    query, key = of_block[:, None], of_block[None, :]
    top = torch.cat([query == key, query > key], dim=1)
    bottom = torch.cat([torch.zeros(length, length, dtype=torch.bool), query >= key], dim=1)
    sees = torch.cat([top, bottom])
    return torch.zeros(sees.shape, dtype=dtype).masked_fill_(~sees, float("-inf"))[None, None]


class Answer:
    """Rows and targets of one answer with one state drawn in each block."""

    def __init__(self, prompt, answer, drawn, block, mask):
        begin = len(prompt)
        clean = prompt + answer["response_tokens"]
        steps = [0] * begin + answer["unmask_step"]
        step_of_block = {begin // block + index: step for index, step in drawn}
        noisy, self.rows, self.targets, self.weights = list(clean), [], [], []
        for position in range(begin, len(clean)):
            step, drawn_step = steps[position], step_of_block.get(position // block)
            if step < 0 or (drawn_step is not None and step >= drawn_step):
                noisy[position] = mask
            if step == 0:  # read from the clean row before it
                self._target(len(clean) + position - 1, clean[position], 1)
            elif step == drawn_step:
                of_block = steps[position // block * block:(position // block + 1) * block]
                self._target(position - 1, clean[position], len({s for s in of_block if s > 0}))
        self.ids = torch.tensor([noisy + clean])
        self.positions = torch.arange(len(clean)).repeat(2)[None]
        self.length = len(clean)

    def _target(self, row, token, weight):
        self.rows.append(row)
        self.targets.append(token)
        self.weights.append(weight)


class Step:
    def __init__(self, options):
        dtype = getattr(torch, options.dtype)
        self.policy, self.block, self.mask = load(options.checkpoint, dtype)
        self.reference, _, _ = load(options.checkpoint, dtype)
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=RATE, weight_decay=0)
        self.dtype = dtype
        self.forwards = 0

    def log_probability(self, model, answer):
        """The answer's, estimated from one state of each block."""
        self.forwards += 1
        logits = model(input_ids=answer.ids, position_ids=answer.positions, use_cache=False,
                       attention_mask=dense_mask(answer.length, self.block, self.dtype)).logits[0]
        logits = logits.float()
        logits[:, self.mask] = float("-inf")
        scores = logits.log_softmax(-1)[answer.rows, answer.targets]
        return (scores * torch.tensor(answer.weights)).sum()

    def loss(self, pair, drawn):
        ratios = []
        for which in ("chosen", "rejected"):
            answer = Answer(pair["prompt_tokens"], pair[which], drawn[which], self.block, self.mask)
            with torch.no_grad():
                reference = self.log_probability(self.reference, answer)
            ratios.append(self.log_probability(self.policy, answer) - reference)
        return -torch.nn.functional.logsigmoid(BETA * (ratios[0] - ratios[1]))

    def run(self, pairs, drawn):
        """Mean loss and gradient norm."""
        self.optimizer.zero_grad()
        total = 0.0
        for which in drawn:
            loss = self.loss(pairs[which["id"]], which) / len(drawn)
            loss.backward()
            total += loss.item()
        norm = torch.nn.utils.clip_grad_norm_(self.policy.parameters(), MAX_NORM).item()
        self.optimizer.step()
        return total, norm


def peak_bytes():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return 1024 * int(line.split()[1])
    raise OSError("no VmHWM in /proc/self/status")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", required=True, metavar="DIR", help="of make_checkpoint.py")
    parser.add_argument("--prompts", required=True, metavar="DIR", help="of make_prompts.py")
    parser.add_argument("--steps", required=True, metavar="FILE", help="of learner_benchmark")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    lines = map(json.loads, (pathlib.Path(options.prompts) / "pairs.jsonl").read_text().splitlines())
    pairs = {line["id"]: line for line in lines}
    steps = [json.loads(line) for line in pathlib.Path(options.steps).read_text().splitlines()]
    step = Step(options)
    losses, norms, seconds = [], [], []
    for expected in steps:
        start = time.perf_counter()
        loss, norm = step.run(pairs, expected["pairs"])
        seconds.append(time.perf_counter() - start)
        losses.append(loss)
        norms.append(norm)
    if len(steps) < 2:
        parser.error(f"{options.steps} has fewer than two steps")
    timed = sum(len(expected["pairs"]) for expected in steps[1:])  # the first one warms up
    print(json.dumps({"pairs_per_second": timed / sum(seconds[1:]), "peak_bytes": peak_bytes(),
                      "forwards_per_step": step.forwards / len(steps), "losses": losses,
                      "gradient_norms": norms}))


if __name__ == "__main__":
    main()
