"""Checks that `transformers` loads what our C++ writes, and gets the same logits.

    python tests/golden/check_saved_checkpoint.py build/release/tests/bin/resave_checkpoint

Every checkpoint of tests/golden/model is loaded and written by the given program, read back with
from_pretrained, and run on its fixture's cases. Any missing or unexpected tensor, or a difference
above 1e-4, ends in a non-zero exit.
"""

import json
import pathlib
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file
from transformers import (LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)

import make_model_fixtures as maker

CLASSES = {
    "Fast_dLLM_Qwen": (Qwen2Config, Qwen2ForCausalLM),
    "sdar": (Qwen3Config, Qwen3ForCausalLM),
}


def load_llada(folder, config):
    """LLaDA's own code is on the hub only: its tensors go under the names of the stock class."""
    stock = LlamaConfig(
        hidden_size=config["d_model"], num_hidden_layers=config["n_layers"],
        num_attention_heads=config["n_heads"], num_key_value_heads=config["n_kv_heads"],
        intermediate_size=config["mlp_hidden_size"], vocab_size=config["vocab_size"],
        rms_norm_eps=config["rms_norm_eps"], tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": config["rope_theta"]},
        attn_implementation="eager")
    model = LlamaForCausalLM(stock)
    released = {maker.llada_name(key): key for key in model.state_dict()}
    state = load_file(folder / "model.safetensors")
    model.load_state_dict({released[key]: value for key, value in state.items()}, strict=True)
    return model


def load(folder):
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "llada":
        return load_llada(folder, config)
    config_class, model_class = CLASSES[config["model_type"]]
    fields = {key: value for key, value in config.items() if key not in ("model_type", "architectures")}
    model, info = model_class.from_pretrained(
        folder, config=config_class(**fields), attn_implementation="eager", dtype=torch.float32,
        output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[problem], f"{folder.name}: {problem} {info[problem]}"
    return model


def check(program, fixture, scratch):
    saved = scratch / fixture.name
    subprocess.run([program, fixture, saved], check=True, timeout=60)
    model = load(saved).eval().double()
    expected = load_file(fixture / "expected.safetensors")
    worst = 0.0
    for case in json.loads((fixture / "cases.json").read_text()):
        logits = maker.logits_of(model, case).float()
        worst = max(worst, (logits - expected[case["name"] + ".logits"]).abs().max().item())
    print(f"{fixture.name}: largest difference {worst:.2g}")
    return worst


def main():
    program = pathlib.Path(sys.argv[1]).resolve()
    fixtures = sorted(path for path in maker.OUTPUT.iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory() as scratch:
        worst = max(check(program, fixture, pathlib.Path(scratch)) for fixture in fixtures)
    sys.exit(0 if worst < 1e-4 else "the saved checkpoints differ")


if __name__ == "__main__":
    main()
