"""Checks that PEFT loads the adapters our C++ writes, and `transformers` the merged checkpoint, with
the same logits.

    python tests/golden/check_saved_adapter.py build/release/tests/bin/save_adapter

Needs peft. For every adapter of tests/golden/lora: any missing or unexpected tensor, or a difference
from PEFT's own logits above 1e-4, ends in a non-zero exit.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from peft import PeftModel
from safetensors.torch import load_file

import make_lora_fixtures as lora
import make_model_fixtures as maker
import reference_models


def difference(model, fixture):
    with torch.no_grad():
        logits = lora.logits_of(model.eval().double(), lora.first_case(fixture.name)).float()
    return (logits - load_file(fixture / "expected.safetensors")["logits"]).abs().max().item()


def check(program, fixture, scratch):
    base, out, merged = maker.OUTPUT / fixture.name, scratch / "adapter", scratch / "merged"
    subprocess.run([program, base, fixture / "adapter", out, merged], check=True, timeout=60)
    written = load_file(out / "adapter_model.safetensors")
    assert set(written) == set(load_file(fixture / "adapter" / "adapter_model.safetensors"))
    targets = json.loads((out / "adapter_config.json").read_text())["target_modules"]
    adapted = PeftModel.from_pretrained(reference_models.load(base), out)
    differences = difference(adapted, fixture), difference(reference_models.load(merged), fixture)
    print(f"{fixture.name}: targets {targets}; adapter {differences[0]:.2g}, merged {differences[1]:.2g}")
    return max(differences)


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    found = []
    for fixture in sorted(path for path in lora.OUTPUT.iterdir() if path.is_dir()):
        with tempfile.TemporaryDirectory() as scratch:
            found.append(check(program, fixture, pathlib.Path(scratch)))
    sys.exit(0 if found and max(found) < 1e-4 else "the saved adapters differ")


if __name__ == "__main__":
    main()
