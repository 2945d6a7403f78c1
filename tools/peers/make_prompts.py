#!/usr/bin/env python3
"""Makes the workloads of the benchmarks: JSONL of random token ids, the same on every machine.

    make_prompts.py --checkpoint DIR --output DIR

equal.jsonl   prompts of 128 tokens, 128 new ones each
mixed.jsonl   prompts of 64 to 192 tokens, 32 to 256 new ones each
A line: {"id": "equal-0", "prompt_tokens": [...], "max_new_tokens": 128}

pairs.jsonl   prompts of 128 tokens, two answers of 128 to 256 each that end with the stop token, and
              the step at which each token was unmasked, two tokens a step in random order; what is
              behind the stop token is masked
A line: {"id": "pair-0", "prompt_tokens": [...], "chosen": {"response_tokens": [...],
         "unmask_step": [...]}, "rejected": {...}}
"""

import argparse
import json
import pathlib
import random

COUNT = 128


def workload(name, vocabulary, prompt_lengths, new_lengths):
    rng = random.Random(name)
    for number in range(COUNT):
        prompt = [rng.randrange(vocabulary) for _ in range(rng.randint(*prompt_lengths))]
        yield {"id": f"{name}-{number}", "prompt_tokens": prompt,
               "max_new_tokens": rng.randint(*new_lengths)}


def answer(rng, vocabulary, prompt, block, mask, stop):
    """Block-first tokens have step 0, as with token shift; masks have -1."""
    length = rng.randint(128, 256)
    end = -(-(prompt + length) // block) * block
    tokens = [rng.randrange(vocabulary) for _ in range(length - 1)] + [stop]
    steps = []
    for begin in range(prompt // block * block, end, block):
        places = [p for p in range(max(begin, prompt), begin + block) if p < prompt + length]
        later = [p for p in places if p != begin]
        rng.shuffle(later)
        step = {p: 1 + i // 2 for i, p in enumerate(later)}
        steps += [step.get(p, 0) if p in places else -1
                  for p in range(max(begin, prompt), begin + block)]
    return {"response_tokens": tokens + [mask] * (end - prompt - length), "unmask_step": steps}


def preference_pairs(vocabulary, block, mask, stop, prompt=128):
    rng = random.Random("pairs")
    for number in range(COUNT):
        line = {"id": f"pair-{number}",
                "prompt_tokens": [rng.randrange(vocabulary) for _ in range(prompt)]}
        for which in ("chosen", "rejected"):
            line[which] = answer(rng, vocabulary, prompt, block, mask, stop)
        yield line


def write(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="DIR")
    options = parser.parse_args()
    # The special tokens come last in make_checkpoint.py's vocabularies.
    added = json.loads((options.checkpoint / "added_tokens.json").read_text())
    vocabulary = min(added.values()) - 32
    config = json.loads((options.checkpoint / "config.json").read_text())
    options.output.mkdir(parents=True, exist_ok=True)
    for name, prompt_lengths, new_lengths in [("equal", (128, 128), (128, 128)),
                                              ("mixed", (64, 192), (32, 256))]:
        write(options.output / f"{name}.jsonl",
              workload(name, vocabulary, prompt_lengths, new_lengths))
    (mask,) = (id for token, id in added.items() if "MASK" in token)
    stop = config["eos_token_id"]
    write(options.output / "pairs.jsonl",
          preference_pairs(vocabulary, config["bd_size"], mask,
                           stop[0] if isinstance(stop, list) else stop))


if __name__ == "__main__":
    main()
