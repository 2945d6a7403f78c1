#!/usr/bin/env python3
"""Makes the workloads of the benchmarks: JSONL of random token ids, the same on every machine.

    make_prompts.py --checkpoint DIR --output DIR

equal.jsonl   prompts of 128 tokens, 128 new ones each
mixed.jsonl   prompts of 64 to 192 tokens, 32 to 256 new ones each
A line: {"id": "equal-0", "prompt_tokens": [...], "max_new_tokens": 128}
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--checkpoint", type=pathlib.Path, required=True, metavar="DIR")
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="DIR")
    options = parser.parse_args()
    # The special tokens come last in make_checkpoint.py's vocabularies.
    added = json.loads((options.checkpoint / "added_tokens.json").read_text())
    vocabulary = min(added.values()) - 32
    options.output.mkdir(parents=True, exist_ok=True)
    for name, prompt_lengths, new_lengths in [("equal", (128, 128), (128, 128)),
                                              ("mixed", (64, 192), (32, 256))]:
        lines = workload(name, vocabulary, prompt_lengths, new_lengths)
        (options.output / f"{name}.jsonl").write_text(
            "".join(json.dumps(line) + "\n" for line in lines))


if __name__ == "__main__":
    main()
