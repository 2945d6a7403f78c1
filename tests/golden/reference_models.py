"""Loads a checkpoint folder of one of our families as the stock class of `transformers` it agrees with.

The families' own classes are on the hub only. Fast-dLLM-v2 and Dream have Qwen2's tensors and names,
SDAR has Qwen3's, LLaDA has Llama's tensors under names of its own.
"""

import json

import torch
from safetensors.torch import load_file
from transformers import (LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)

CLASSES = {
    "Fast_dLLM_Qwen": (Qwen2Config, Qwen2ForCausalLM),
    "Dream": (Qwen2Config, Qwen2ForCausalLM),
    "sdar": (Qwen3Config, Qwen3ForCausalLM),
}

# As the stock classes name them -> as LLaDA's released code does.
LLADA_NAMES = {
    "model.embed_tokens": "model.transformer.wte",
    "model.layers": "model.transformer.blocks",
    "model.norm": "model.transformer.ln_f",
    "lm_head": "model.transformer.ff_out",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ff_norm",
    "self_attn.o_proj": "attn_out",
    "self_attn.": "",
    "mlp.gate_proj": "ff_proj",
    "mlp.up_proj": "up_proj",
    "mlp.down_proj": "ff_out",
}


def llada_name(key):
    for stock, released in LLADA_NAMES.items():
        key = key.replace(stock, released)
    return key


def _load_llada(folder, config):
    stock = LlamaConfig(
        hidden_size=config["d_model"], num_hidden_layers=config["n_layers"],
        num_attention_heads=config["n_heads"], num_key_value_heads=config["n_kv_heads"],
        intermediate_size=config["mlp_hidden_size"], vocab_size=config["vocab_size"],
        rms_norm_eps=config["rms_norm_eps"], tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": config["rope_theta"]},
        attn_implementation="eager")
    model = LlamaForCausalLM(stock)
    released = {llada_name(key): key for key in model.state_dict()}
    state = {}
    for file in folder.glob("model*.safetensors"):  # one, or shards
        state.update(load_file(file))
    model.load_state_dict({released[key]: value for key, value in state.items()}, strict=True)
    return model


def load(folder):
    """In float32. A missing, unexpected or misshapen tensor is an assertion error."""
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "llada":
        return _load_llada(folder, config)
    config_class, model_class = CLASSES[config["model_type"]]
    fields = {key: value for key, value in config.items() if key not in ("model_type", "architectures")}
    model, info = model_class.from_pretrained(
        folder, config=config_class(**fields), attn_implementation="eager", dtype=torch.float32,
        output_loading_info=True)
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        assert not info[problem], f"{folder.name}: {problem} {info[problem]}"
    return model
