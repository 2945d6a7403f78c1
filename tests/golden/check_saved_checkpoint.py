"""Checks that `transformers` loads what our C++ writes, and gets the same logits.

    python tests/golden/check_saved_checkpoint.py build/release/tests/bin/resave_checkpoint

Every checkpoint of tests/golden/model is loaded and written by the given program, in one file and in
shards, read back with from_pretrained, and run on its fixture's cases. Any missing or unexpected
tensor, a difference above 1e-4, or any between the two ways of writing, ends in a non-zero exit.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

from safetensors.torch import load_file

import make_model_fixtures as maker
import reference_models


SHARD_BYTES = 8000  # several files of each of these tiny models


def saved_model(program, fixture, saved, max_shard_bytes):
    subprocess.run([program, fixture, saved, str(max_shard_bytes)], check=True, timeout=60)
    shards = len(list(saved.glob("model-*-of-*.safetensors")))
    indexed = (saved / "model.safetensors.index.json").exists()
    assert (shards > 2 and indexed) if max_shard_bytes else (shards == 0 and not indexed), saved
    return reference_models.load(saved).eval().double(), shards


def check(program, fixture, scratch):
    """The largest difference from the fixture's logits, and the one between file and shards."""
    whole, _ = saved_model(program, fixture, scratch / fixture.name, 0)
    sharded, shards = saved_model(program, fixture, scratch / (fixture.name + "-shards"), SHARD_BYTES)
    expected = load_file(fixture / "expected.safetensors")
    worst, between = 0.0, 0.0
    for case in json.loads((fixture / "cases.json").read_text()):
        logits = maker.logits_of(whole, case)
        difference = logits.float() - expected[case["name"] + ".logits"]
        worst = max(worst, difference.abs().max().item())
        between = max(between, (maker.logits_of(sharded, case) - logits).abs().max().item())
    print(f"{fixture.name}: largest difference {worst:.2g}; in {shards} shards {between:.2g}")
    return worst, between


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    fixtures = sorted(path for path in maker.OUTPUT.iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory() as scratch:
        found = [check(program, fixture, pathlib.Path(scratch)) for fixture in fixtures]
    good = all(worst < 1e-4 and between == 0 for worst, between in found)
    sys.exit(0 if good else "the saved checkpoints differ")


if __name__ == "__main__":
    main()
