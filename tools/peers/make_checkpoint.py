#!/usr/bin/env python3
"""Makes checkpoints with random weights in Fast-dLLM-v2's layout, for benchmarks.

    make_checkpoint.py --shape 512 --output DIR
    make_checkpoint.py --shape fast-dllm-1.5b --dtype bfloat16 --output DIR     # 3.1 GB

The weights are a function of shape, dtype and seed. Names and shapes of the tensors are those of
transformers' Qwen2ForCausalLM. Written shard by shard: memory stays near the size of one shard.

What is drawn makes generation look like that of a trained model to a benchmark: mask rows of one
block tell different tokens, confidences spread over (0, 1), so that a threshold of 0.9 commits
one or several tokens a step, and the stop token's row of the head is zero, so that answers
have exactly the length asked for.
"""

import argparse
import json
import math
import pathlib
import zlib

import torch
from safetensors.torch import save_file
from transformers import Qwen2Config, Qwen2ForCausalLM

SHAPES = {
    "512": {
        "hidden_size": 512, "num_hidden_layers": 8, "num_attention_heads": 8,
        "num_key_value_heads": 2, "intermediate_size": 1408, "vocab_size": 32000,
        "tie_word_embeddings": False, "mask": 31999, "stop": 31998,
    },
    "fast-dllm-1.5b": {
        "hidden_size": 1536, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "intermediate_size": 8960, "vocab_size": 151936,
        "tie_word_embeddings": True, "mask": 151665, "stop": 151645,
    },
}
BLOCK = 32
SHARD_BYTES = 2**29

# Above sqrt(2 ln V), about 4.6, the best of V normal logits of this deviation holds a fair share of
# the probability.
LOGIT_DEVIATION = 16.0
# Queries and keys: attention looks at few rows, so that rows of equal tokens become different.
SHARP = 2.0


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_config(folder, shape, dtype):
    config = {
        "architectures": ["Fast_dLLM_QwenForCausalLM"], "model_type": "Fast_dLLM_Qwen",
        **{key: value for key, value in shape.items() if key not in ("mask", "stop")},
        "max_position_embeddings": 32768, "rope_theta": 1e6, "rms_norm_eps": 1e-6,
        "hidden_act": "silu", "bd_size": BLOCK, "eos_token_id": shape["stop"],
        "torch_dtype": dtype,
    }
    write_json(folder / "config.json", config)
    write_json(folder / "added_tokens.json", {"|<MASK>|": shape["mask"]})
    write_json(folder / "generation_config.json", {"eos_token_id": shape["stop"]})


def tensor_shapes(shape):
    """Names and shapes in checkpoint order, without making the model."""
    fields = {key: value for key, value in shape.items() if key not in ("mask", "stop")}
    with torch.device("meta"):
        model = Qwen2ForCausalLM(Qwen2Config(**fields))
    names = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    if shape["tie_word_embeddings"]:
        del names["lm_head.weight"]
    return names


def draw(name, size, shape, seed):
    """float32, a function of the tensor's name and the seed."""
    if name.endswith("norm.weight"):
        return torch.ones(size)
    generator = torch.Generator().manual_seed(seed * 2**32 + zlib.crc32(name.encode()))
    value = torch.randn(size, generator=generator)
    if name.endswith("bias"):
        return value * 0.1
    is_head = name == "lm_head.weight"
    if name == "model.embed_tokens.weight":
        if not shape["tie_word_embeddings"]:
            return value
        is_head = True
    value *= (LOGIT_DEVIATION if is_head else 1.0) / math.sqrt(size[1])
    if "q_proj" in name or "k_proj" in name:
        value *= SHARP
    if is_head:
        value[shape["stop"]] = 0
    return value


def write_tensors(folder, shape, dtype, seed):
    shards, shard, size = [], {}, 0

    def flush():
        nonlocal shard, size
        if shard:
            path = folder / f"shard-{len(shards)}.safetensors"
            save_file(shard, path, metadata={"format": "pt"})
            shards.append((path, list(shard), size))
        shard, size = {}, 0

    for name, tensor_shape in tensor_shapes(shape).items():
        tensor = draw(name, tensor_shape, shape, seed).to(dtype)
        if size + tensor.nbytes > SHARD_BYTES:
            flush()
        shard[name] = tensor
        size += tensor.nbytes
    flush()
    if len(shards) == 1:
        shards[0][0].rename(folder / "model.safetensors")
        return
    where = {}
    for number, (path, names, _) in enumerate(shards, start=1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        path.rename(folder / name)
        where.update(dict.fromkeys(names, name))
    write_json(folder / "model.safetensors.index.json",
               {"metadata": {"total_size": sum(size for _, _, size in shards)},
                "weight_map": where})


def make_checkpoint(folder, shape, dtype, seed):
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.safetensors*"):
        old.unlink()
    write_config(folder, shape, dtype)
    write_tensors(folder, shape, getattr(torch, dtype), seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", choices=SHAPES, default="512")
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--output", type=pathlib.Path, required=True, metavar="DIR")
    options = parser.parse_args()
    make_checkpoint(options.output, SHAPES[options.shape], options.dtype, options.seed)


if __name__ == "__main__":
    main()
